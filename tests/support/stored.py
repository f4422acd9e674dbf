"""What several tests need and is slow to make: files that are made once in a run, and shared by all its processes."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

STORE = "VLCAM_TESTS_STORE"
"""The environment variable with the folder that all processes of a run of the tests share (see ``tests/conftest.py``)."""


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is filled once in a run of the tests, by whichever process needs it first; for reading only."""
    stored = Path(os.environ[STORE]) / name
    if not stored.exists():
        scratch = Path(tempfile.mkdtemp(dir=stored.parent))
        make(scratch)
        try:
            scratch.rename(stored)
        except OSError:  # another process was quicker
            shutil.rmtree(scratch)
    return stored
