"""Every script in examples/ runs, from another folder, and says what it does."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("**/*.py"))
QUICK = {"any_classifier", "own_captioner", "own_vqa"}
"""Those that the default run runs: one for each kind of task."""


def test_there_are_examples() -> None:
    assert EXAMPLES


def mark(script: Path) -> Any:
    """A parameter; what trains or draws for long is for the extended run."""
    return pytest.param(script, id=script.stem, marks=() if script.stem in QUICK else pytest.mark.extended)


@pytest.mark.parametrize("script", [mark(script) for script in EXAMPLES])
def test_the_example_runs(script: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "MPLBACKEND": "Agg", "WANDB_SILENT": "true"}
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Warning" not in ran.stderr, ran.stderr
    assert ran.stdout.strip(), f"{script.name} says nothing"


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_the_example_has_a_docstring_and_is_short(script: Path) -> None:
    source = script.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), f"{script.name} doesn't say what it shows"
    assert len(source.splitlines()) <= 120, f"{script.name} is no short script any more"
