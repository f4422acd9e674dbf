"""Runs on Ray: the same folder as without it, also after a kill; and what is said where Ray isn't there or can't start."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
from PIL import Image

import vlcam
from tests.runs.test_kill_and_resume import SHARDS, check_whole, kill_when, start
from tests.runs.tiny_run import run_slowly
from vlcam.cli import main
from vlcam.cli.run_options import complete_ray
from vlcam.runs import PhotoList, Run

PHOTOS = 60


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for number in range(PHOTOS):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(home / f"{number:03}.png")
    return home


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_slowly(photos, tmp_path_factory.mktemp("whole") / "run")


class FailingRay:
    """Stands for a Ray that is installed and doesn't start."""

    def is_initialized(self) -> bool:
        return False

    def init(self, **_: Any) -> None:
        raise RuntimeError("node timed out during startup")

    def shutdown(self) -> None:
        pass


def test_a_missing_extra_is_one_message(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(vlcam.InputError, match=r"ray can't be imported .*pip install 'vlcam\[ray\]'"):
        run_slowly(photos, tmp_path / "run", ray=True)


def test_a_ray_that_does_not_start_is_one_message(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", FailingRay())
    with pytest.raises(
        vlcam.InputError, match=r"^Ray could not start: node timed out during startup \(at 'auto'\); try"
    ):
        run_slowly(photos, tmp_path / "run", ray="auto")
    with pytest.raises(vlcam.InputError, match="ray_actors=0 was given; expected a whole number from 1"):
        run_slowly(photos, tmp_path / "run", ray=True, ray_actors=0)
    command = ["run", "scene:0", "--out", str(tmp_path / "scene"), "--ray", "--method", "gradcam"]
    assert main(command) == 2
    assert "vlcam: Ray could not start: node timed out during startup (on this machine)" in capsys.readouterr().err
    assert main(["run", "--ray", str(photos), "scene:0", "--out", str(tmp_path / "x")]) == 2
    assert "is no address of a Ray; give --ray=local, or put --ray after the photos" in capsys.readouterr().err


def test_ray_without_an_address_is_a_local_one() -> None:
    assert complete_ray(["run", "a", "--ray"]) == ["run", "a", "--ray", "local"]
    assert complete_ray(["run", "a", "--ray", "auto", "--out", "b"]) == ["run", "a", "--ray", "auto", "--out", "b"]


@pytest.fixture
def local_ray() -> Iterator[Any]:
    """A Ray for the tests that need one; where it can't start they say so in its own words."""
    import ray

    from vlcam.runs.on_ray import open_ray

    with open_ray(True, 2) as opened:
        assert opened is ray
        yield ray


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_the_folder_is_that_of_a_plain_run(photos: Path, whole: Run, local_ray: Any, tmp_path: Path) -> None:
    run = run_slowly(photos, tmp_path / "run", ray=True, ray_actors=2)
    check_whole(run, whole)
    assert run.manifest == whole.manifest
    (run.folder / "part-000003.parquet").unlink()
    check_whole(run_slowly(photos, tmp_path / "run", ray=True), whole)  # only that one was missing
    (run.folder / "part-000004.parquet").unlink()
    check_whole(run_slowly(photos, tmp_path / "run"), whole)  # a plain run goes on where one on Ray stopped
    assert local_ray.is_initialized()  # a Ray of the caller's own is left alone


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_photo_that_fails_and_a_shard_that_cannot_be_written(photos: Path, local_ray: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    run = run_slowly(tmp_path / "photos", tmp_path / "run", ray=True)
    assert len(run.errors) == 1
    (tmp_path / "more" / "_photos" / "part-000000.parquet").mkdir(parents=True)  # in the place of a shard
    with pytest.raises(vlcam.InputError, match=r"part-000000.parquet' can't be written"):
        run_slowly(photos, tmp_path / "more", ray=True)


@final
@dataclass(frozen=True)
class LoadAndDie:
    """Opens photos; the process that opens the fifth one ends, the first time."""

    files: tuple[str, ...]
    mark: str

    def __call__(self, place: int) -> str:
        if place == 4 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os._exit(1)
        return self.files[place]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_lost_actor_is_replaced(photos: Path, whole: Run, local_ray: Any, tmp_path: Path) -> None:
    files = tuple(str(one) for one in sorted(photos.iterdir()))
    dying = PhotoList([Path(one).name for one in files], LoadAndDie(files, str(tmp_path / "mark")), paths=files)
    run = run_slowly(dying, tmp_path / "run", ray=True, ray_actors=2)
    assert (tmp_path / "mark").exists()
    check_whole(run, whole)


@pytest.mark.ray
def test_killed_on_ray_at_five_random_moments(photos: Path, whole: Run, root: Path, tmp_path: Path) -> None:
    moment, out, kills = random.Random(7), tmp_path / "run", 0
    had: set[str] = set()
    for number in range(5):
        process = start(photos, out, root, 0.05, "ray")
        have = kill_when(process, out, min(number * 2, SHARDS - 1), moment.random() * 0.3)
        if process.returncode == 2 or process.returncode == 1:
            pytest.fail("Ray could not start")
        kills += process.returncode == -signal.SIGKILL
        assert have >= had
        _wait_for_workers(out)
        had = {one.name for one in out.glob("part-*.parquet")}
    assert kills == 5
    check_whole(run_slowly(photos, out), whole)


def _wait_for_workers(out: Path) -> None:
    """Until the actors of a Ray whose driver was killed have ended, too, and nothing more is written."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        alive = [
            one
            for one in Path("/proc").glob("[0-9]*/cmdline")
            if b"ShardWorker" in _read(one) and one.stat().st_uid == os.getuid()
        ]
        if not alive:
            return
        time.sleep(0.2)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
