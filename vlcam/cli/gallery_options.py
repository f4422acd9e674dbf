"""The options of ``vlcam gallery`` and ``vlcam compare-runs``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import JsonOption


@final
@dataclass(frozen=True, kw_only=True)
class GalleryOptions:
    """The options of ``vlcam gallery``."""

    run: Annotated[Path, typer.Argument(help="The folder that vlcam run wrote.", show_default=False)]
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the gallery; by default _gallery in that of the run.")
    ] = None
    title: Annotated[
        str | None, typer.Option("--title", help="The gallery's title; by default the name of the run's folder.")
    ] = None


@final
@dataclass(frozen=True, kw_only=True)
class CompareRunsOptions:
    """The options of ``vlcam compare-runs``."""

    a: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)]
    b: Annotated[Path, typer.Argument(help="The folder of another run of the same photos.", show_default=False)]
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the gallery; by default _compared/NAME_OF_B in that of the first run."),
    ] = None
    as_json: JsonOption = False
