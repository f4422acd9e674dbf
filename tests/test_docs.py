"""What the documentation shows works as it stands there. That the site builds, with its notebooks run, is for .ci/run to say."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import documents
from tests.support.trackers import stay_local
from vlcam.methods import registry

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))


def name(page: Path) -> str:
    """How a page is called in a report."""
    return page.relative_to(DOCS).as_posix()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that has the files that the pages talk about."""
    documents.make_world(tmp_path)
    documents.stay_offline(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    return tmp_path


SLOW_CODE = ("experiments", "name-neurons")
SLOW_COMMANDS = ("bundled-world", "compare", "human-studies", "models-by-name", "name-neurons", "test-a-heatmap")
"""Pages whose code or commands run models for long; their tests are for the extended run."""
EXTRAS = ("trackers",)
"""Pages whose code needs packages of the extras."""


def list_pages(find: Callable[[Path], Sequence[object]], slow: tuple[str, ...]) -> list[Any]:
    """The pages with code or commands as parameters."""
    return [pytest.param(page, id=name(page), marks=_choose_marks(page, slow)) for page in PAGES if find(page)]


def _choose_marks(page: Path, slow: tuple[str, ...]) -> list[pytest.MarkDecorator]:
    if page.stem in EXTRAS:  # which warn of things of their own
        return [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]
    return [pytest.mark.extended] if page.stem in slow else []


@pytest.mark.parametrize("page", list_pages(documents.find_code, SLOW_CODE))
def test_the_code_of_a_page_runs(page: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem == "trackers":
        stay_local(world, monkeypatch)
    if page.stem == "training":
        pytest.importorskip("tensorboard", reason="the extra 'tensorboard' isn't installed")
        pytest.importorskip("lightning", reason="the extra 'lightning' isn't installed")
    space = documents.run_code(page, world)
    check(page, space, world)


def check(page: Path, space: dict[str, Any], world: Path) -> None:
    """What must have come of the code, where a page promises more than that it runs."""
    match page.stem:
        case "experiments":
            assert {"gradcam", "layercam"} <= {row[0] for row in [(one.name,) for one in space["result"].rows]}
        case "training":
            assert list((world / "runs").rglob("events*"))
        case "trackers":
            assert (world / "mlflow.db").is_file() and list(world.rglob("media/**/*.png"))
        case "name-neurons":
            assert space["names"].layer == "features" and len(space["names"]) == len(space["theirs"]) == 192
            assert space["theirs"].units[1].name == "star"
        case "test-a-heatmap":
            assert "random regions and" in space["test"].verdict and 0 < space["test"].p <= 1
        case "batches":
            assert space["result"].maps.shape[:2] == (2, 2)
            assert space["slopes"].shape[:2] == (3, 2)
        case "saved-files":
            assert "<html" in (world / "photo.html").read_text("utf-8") and "<html" in space["page"]
        case "extend":
            assert {"mine"} <= set(registry.REGISTRY)
        case _:
            assert space


@pytest.mark.parametrize("page", list_pages(documents.find_commands, SLOW_COMMANDS))
def test_the_commands_of_a_page_run(
    page: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = documents.stub_experiments(monkeypatch)
    for line, code in documents.run_commands(page, world):
        assert code == 0, (line, capsys.readouterr().err)
    if page.stem == "experiments":
        assert len(ran) == 1 + 16 + 4 + 1


def test_every_command_of_the_pages_is_seen() -> None:
    """A line in a block of another language, or outside of blocks, would never run."""
    for page in PAGES:
        lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("vlcam ")]
        assert lines == documents.find_commands(page), name(page)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_is_committed_without_output(notebook: Path) -> None:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    assert cells[0]["cell_type"] == "markdown" and "".join(cells[0]["source"]).startswith("# ")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_links_of_a_notebook_lead_to_pages(notebook: Path) -> None:
    """The build checks the links of pages, but not those of notebooks."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not link.startswith("https://")]
    assert links
    assert [link for link in links if not (notebook.parent / link).exists()] == []


def test_there_are_three_tutorials() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == ["first-explanation", "neurons", "own-captioner"]
