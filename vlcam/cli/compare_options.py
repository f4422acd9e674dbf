"""The options of ``vlcam compare``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import (
    ArchOption,
    DeviceOption,
    JsonOption,
    LabelsOption,
    ModelOption,
    RecipeOption,
    RevisionOption,
    SeedOption,
)


@final
@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The options of ``vlcam compare``; ``methods`` and ``layers`` are texts separated by commas."""

    photos: Annotated[
        list[str],
        typer.Argument(help="Image files, best 20 or more, or scene:SEED for a generated picture.", show_default=False),
    ]
    model: ModelOption = None
    methods: Annotated[
        str | None,
        typer.Option("--methods", help="Methods to compare, separated by commas; by default some of one run."),
    ] = None
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="Layers to compare, by dotted names separated by commas; by default the usual one and the last with a finer grid.",
        ),
    ] = None
    question: Annotated[
        str | None, typer.Option("--question", help="For models that answer questions: one for all photos.")
    ] = None
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class or an answer to explain in all photos; may be given several times."),
    ] = None
    each: Annotated[
        int, typer.Option("--each", min=1, help="At most so many words, classes or answers of a photo are judged.")
    ] = 3
    html: Annotated[Path | None, typer.Option("--html", help="A file for the page.")] = None
    save: Annotated[
        Path | None,
        typer.Option("--save", help="A recipe (NAME.toml), new or there already, to write the choice into."),
    ] = None
    recipe: RecipeOption = None
    arch: ArchOption = None
    revision: RevisionOption = None
    labels: LabelsOption = None
    device: DeviceOption = None
    seed: SeedOption = 0
    as_json: JsonOption = False
