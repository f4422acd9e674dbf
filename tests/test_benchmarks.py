"""The benchmarks run; how fast is for a quiet machine to say."""

import runpy
import sys
from pathlib import Path

import pytest


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
    assert all("peak memory in MiB: bare " in line and "  vlcam " in line for line in lines[1::2])
