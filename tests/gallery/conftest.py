"""Runs and galleries that several tests look at; made once, for reading only."""

import shutil
from pathlib import Path

import pytest

from tests.support.examples_of_explanations import PAYLOADS, captioning, classification, hostile, vqa
from tests.support.run_folders import make_run, start_run, write_explanations
from tests.support.stored import made_once
from vlcam.gallery import compare_runs, make_gallery

PHOTOS = 60


def _make_classified(folder: Path) -> None:
    make_run(folder / "run", PHOTOS, shard=25)
    make_gallery(folder / "run")


def _make_told(folder: Path) -> None:
    write_explanations(folder / "run", [captioning(), vqa(), classification(), ValueError("the file is cut short")])
    make_gallery(folder / "run", title="Told")


def _make_hostile(folder: Path) -> None:
    texts = [*(one for one in PAYLOADS if "\ud800" not in one), "\u202eright to left", "x" * 5000, "שלום עולם"]
    found = [hostile(text, kind) for text in texts for kind in ("word", "class")]
    write_explanations(folder / "run", [*found, ValueError(texts[0])], [texts[1]] * len(found))
    make_gallery(folder / "run", title=texts[0])


def _make_two(folder: Path) -> None:
    make_run(folder / "a", 40)
    make_run(folder / "b", 36, seed=1, method="layercam")
    compare_runs(folder / "a", folder / "b", folder / "gallery")


@pytest.fixture(scope="session")
def classified() -> Path:
    """The folder of a run of a classifier, with its gallery: right, wrong, faint, empty and failed photos."""
    return made_once("gallery of a classifier", _make_classified) / "run"


@pytest.fixture(scope="session")
def told() -> Path:
    """A run with a caption, an answer, a class and a failure, with its gallery."""
    return made_once("gallery of texts", _make_told) / "run"


@pytest.fixture(scope="session")
def attacked() -> Path:
    """A run whose every text is hostile, with its gallery."""
    return made_once("gallery of hostile texts", _make_hostile) / "run"


@pytest.fixture(scope="session")
def two() -> Path:
    """A folder with two runs, ``a`` and ``b``, and the ``gallery`` that compares them."""
    return made_once("gallery of two runs", _make_two)


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A run in which every photo failed."""
    write_explanations(tmp_path / "failed", [ValueError(f"no. {n}") for n in range(3)])
    return tmp_path / "failed"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A run that has written nothing yet."""
    start_run(tmp_path / "empty", 7)
    return tmp_path / "empty"


@pytest.fixture
def own_copy(classified: Path, tmp_path: Path) -> Path:
    """A copy of the classifier's run that a test may spoil."""
    return Path(shutil.copytree(classified, tmp_path / "copy"))
