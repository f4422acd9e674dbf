"""The benchmarks run; how fast is for a quiet machine to say."""

import json
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest


@pytest.mark.extended
def test_the_speed_benchmark_runs(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    threads = str(torch.get_num_threads())
    monkeypatch.setattr(sys, "argv", ["speed.py", "--short", "--rounds", "1", "--threads", threads])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tests" / "benchmarks" / "speed.py"), run_name="__main__")
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(" ms  vlcam " in line for line in lines[::2])
    peaks = [re.search(r"peak memory in MiB: bare (\d+)  vlcam (\d+)", line) for line in lines[1::2]]
    assert all(one is not None and int(one[1]) > 0 and int(one[2]) > 0 for one in peaks), lines[1::2]


@pytest.mark.extended
def test_the_recipe_benchmark_runs(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    threads = str(torch.get_num_threads())
    monkeypatch.setattr(sys, "argv", ["recipe.py", "--short", "--rounds", "1", "--threads", threads])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tests" / "benchmarks" / "recipe.py"), run_name="__main__")
    assert end.value.code == 0  # 1 if the maps differ
    first, *rows, last = capsys.readouterr().out.splitlines()
    assert first.startswith("largest difference of vlcam's maps: ")
    assert [row.split()[0] for row in rows] == ["plain", "careful", "vlcam", "bare"]
    assert "times faster than the plain recipe" in last


def test_the_benchmark_of_real_photos_says_what_it_lacks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "real_photos.py"))
    bench["main"].__globals__["folder"] = lambda: None
    assert bench["main"](["--photos", "2"]) == 2
    assert "no folder shared/real" in capsys.readouterr().err


@pytest.mark.extended
def test_the_comparison_of_metrics_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "metric_peers.py"))
    assert bench["main"](["--short"]) == 0  # 1 if a peer's number differs where the formula is the same
    first, *rows = capsys.readouterr().out.splitlines()
    assert "maps of the bundled classifier; not installed: " in first
    assert all("largest difference" in row or row.startswith("    ") for row in rows)


@pytest.mark.extended
def test_the_comparison_of_faithfulness_runs_or_says_what_it_lacks(root: Path) -> None:
    import torch

    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "faithfulness_peers.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        code = bench["main"](["--photos", "1", "--threads", str(torch.get_num_threads())])
    assert code in (0, 2)  # 2: no peer is installed


@pytest.mark.extended
def test_the_comparison_of_the_drop_in_runs_or_says_what_it_lacks(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "drop_in.py"))
    code = bench["main"](["--short", "--images", "2", "--json", str(tmp_path / "table.json")])
    printed = capsys.readouterr()
    if code:
        assert code == 2 and "pytorch-grad-cam can't be imported" in printed.err
    else:
        rows = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["rows"]
        assert [row[0] for row in rows[:4]] == ["`GradCAM`", "`HiResCAM`", "`LayerCAM`", "`XGradCAM`"]
        assert all(row[2] == row[3] == "4" for row in rows[:4])


def test_the_experiments_on_real_photos_say_what_they_lack(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "real_experiments.py"))
    bench["REAL"]["folder"] = lambda: None
    assert bench["main"]([]) == 2
    assert "no folder shared/real" in capsys.readouterr().err
