"""Killed without warning at any moment, and started again: nothing is lost, nothing is there twice, and little is done again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vlcam
from tests.runs.tiny_run import run_slowly
from vlcam.runs import Run
from vlcam.runs.shards import name_shard

PHOTOS = 60
SHARDS = 10


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for number in range(PHOTOS):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(home / f"{number:03}.png")
    return home


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run without any accident."""
    return run_slowly(photos, tmp_path_factory.mktemp("whole") / "run", 0.02)


def start(photos: Path, out: Path, root: Path, pause: float, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.runs.tiny_run", str(photos), str(out), str(pause), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    return process


def kill_when(process: subprocess.Popen[str], out: Path, shards: int, wait: float) -> set[str]:
    """Kill the process some time after it has written so many shards; which are there then."""
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until and len(list(out.glob("part-*.parquet"))) < shards:
        time.sleep(0.005)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return {one.name for one in out.glob("part-*.parquet")}


def check_whole(run: Run, whole: Run) -> None:
    """Nothing is lost, nothing is twice, and no scratch file is left."""
    assert run.is_complete and len(run) == len(whole) == 2 * PHOTOS and len(run.photos) == PHOTOS
    assert run.to_table(["id"]).equals(whole.to_table(["id"]))
    assert run.to_table().equals(whole.to_table())
    files = {one.name for one in run.folder.rglob("*") if one.is_file()}
    assert files == {".huggingface.yaml", "_manifest.json", *map(name_shard, range(SHARDS))}


def kill_and_resume(photos: Path, out: Path, root: Path, whole: Run, moment: random.Random, *more: str) -> int:
    """Kill one run at random moments until it is done; how often that was."""
    kills = 0
    had: set[str] = set()
    for _ in range(3):
        process = start(photos, out, root, 0.02, *more)
        have = kill_when(process, out, min(len(had) + moment.randrange(4), SHARDS - 1), moment.random() * 0.12)
        kills += process.returncode == -signal.SIGKILL
        assert have >= had  # what was there is there still
        stamps = {name: (out / name).stat().st_mtime_ns for name in had}
        if have:
            opened = vlcam.open_run(out)  # whole at every moment
            assert len(opened) % 12 == 0 and len(opened.photos) == len(opened) // 2
        assert stamps == {name: (out / name).stat().st_mtime_ns for name in had}
        had = have
    before = {name: (out / name).stat().st_mtime_ns for name in had}
    check_whole(run_slowly(photos, out, 0.02), whole)
    assert before == {name: (out / name).stat().st_mtime_ns for name in had}  # none of it was done again
    return kills


def test_a_killed_run_goes_on(photos: Path, whole: Run, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(photos, out, root, 0.02)
    had = kill_when(process, out, 3, 0.05)
    assert process.returncode == -signal.SIGKILL and 3 <= len(had) < SHARDS
    stamps = {name: (out / name).stat().st_mtime_ns for name in had}
    assert not vlcam.open_run(out).is_complete
    check_whole(run_slowly(photos, out, 0.02), whole)
    assert stamps == {name: (out / name).stat().st_mtime_ns for name in had}


def test_two_workers_of_which_one_is_killed(photos: Path, whole: Run, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(photos, out, root, 0.02)
    kill_when(process, out, 1, 0.0)
    for part in ((1, 2), (2, 2)):
        run_slowly(photos, out, 0.02, part=part)
    check_whole(vlcam.open_run(out), whole)


@pytest.mark.extended
def test_killed_at_twenty_random_moments(photos: Path, whole: Run, root: Path, tmp_path: Path) -> None:
    moment, kills, runs = random.Random(5), 0, 0
    while kills < 20:
        kills += kill_and_resume(photos, tmp_path / str(runs), root, whole, moment)
        runs += 1
    assert runs < 20


@pytest.mark.extended
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(photos: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from vlcam.cli import main; sys.exit(main())"
    arguments = ["run", "scene:0-400", "--out", str(out), "--method", "gradcam", "--shard-size", "8"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while process.poll() is None and len(list(out.glob("part-*.parquet"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    done = len(list(out.glob("part-*.parquet")))
    assert process.returncode == 130 and "Traceback" not in said
    last = said.splitlines()[-1]
    assert last == f"interrupted: {8 * done} of 401 photos are done, in '{out}'; run the same again to go on"
    assert not list(out.rglob(".vlcam-*")) and len(vlcam.open_run(out).photos) == 8 * done
