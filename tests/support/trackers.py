"""Trackers of experiments kept to one folder and to this machine."""

import sys
from importlib import import_module
from pathlib import Path

import pytest


def stay_local(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow sends no usage figures, and Trackio, if it is installed, keeps its runs below a folder."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("TRACKIO_SPACE_ID", raising=False)
    monkeypatch.delenv("TRACKIO_SERVER_URL", raising=False)
    try:
        import_module("trackio")
    except ImportError:
        return
    for module in [one for name, one in sys.modules.items() if name.partition(".")[0] == "trackio"]:
        for name, place in (("TRACKIO_DIR", folder), ("MEDIA_DIR", folder / "media")):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, place)
