"""The options of ``vlcam export``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer


@final
@dataclass(frozen=True, kw_only=True)
class ExportFormatOptions:
    """The options of ``vlcam export``; without ``threshold`` that of the Grad-CAM paper."""

    source: Annotated[
        Path,
        typer.Argument(
            help="The folder of a run, a saved explanation (.safetensors), or a folder of them (--out of other commands).",
            show_default=False,
        ),
    ]
    coco: Annotated[
        Path | None,
        typer.Option(
            "--coco", help="A JSON file for the boxes of all maps, in COCO's format of instances, with scores."
        ),
    ] = None
    results: Annotated[
        Path | None,
        typer.Option("--coco-results", help="A JSON file for the boxes as COCO's results; requires --truth."),
    ] = None
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="COCO's instances JSON of the same photos, whose ids --coco-results takes."),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="From what fraction of a map's maximum a pixel belongs to a box, above 0 and at most 1; by default 0.15.",
            show_default=False,
        ),
    ] = None
    dataset: Annotated[
        Path | None,
        typer.Option("--dataset", help="A new folder for a dataset of Hugging Face (datasets.load_from_disk)."),
    ] = None
