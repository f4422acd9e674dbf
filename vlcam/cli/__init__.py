"""The ``vlcam`` command."""

from vlcam.cli.app import main

__all__ = ["main"]
