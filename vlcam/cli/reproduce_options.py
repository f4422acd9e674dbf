"""The options of ``vlcam reproduce``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import ArchOption, JsonOption, SeedOption


@final
@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """The options of ``vlcam reproduce``."""

    experiments: Annotated[
        list[str] | None,
        typer.Argument(metavar="LIST", help="all, numbers (1 3-6), or keys (localisation, words).", show_default=False),
    ] = None
    list_all: Annotated[bool, typer.Option("--list", help="List the experiments and exit.")] = False
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder of a data set: ILSVRC, VOC, COCO, VQA v2 or VQA-HAT; by default the bundled world."
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model, as for classify, caption and vqa; by default the bundled ones."),
    ] = None
    rival: Annotated[str | None, typer.Option("--rival", help="A weaker model to compare with, for experiment 5.")] = (
        None
    )
    arch: ArchOption = None
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="An additional method to compare; may be given several times.")
    ] = None
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", help="An additional measure in experiment 6 (faithfulness); may be given several times."
        ),
    ] = None
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="MODULE",
            help="A module, or the path of a .py file, that registers experiments, methods or metrics of your own; it is run.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for JSON files, figures, and a results.md about all results in it."),
    ] = None
    quick: Annotated[bool, typer.Option("--quick", help="Fewer pictures: minutes instead of hours.")] = False
    most: Annotated[int | None, typer.Option("--n", min=1, help="At most that many pictures in each experiment.")] = (
        None
    )
    seed: SeedOption = 0
    as_json: JsonOption = False
