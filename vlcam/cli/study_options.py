"""The options of ``vlcam study``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import ArchOption, DeviceOption, JsonOption, ModelOption, RevisionOption, SeedOption


@final
@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The options of ``vlcam study make``. By default ``model`` is the bundled classifier, and ``data`` are generated pictures."""

    out: Annotated[Path, typer.Option("--out", help="Folder for the pages and key.json.", show_default=False)]
    part: Annotated[str, typer.Option("--part", help="discrimination, trust, or both.")] = "both"
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", help="A method to show; may be given several times. By default those of the paper."),
    ] = None
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures, each shown with every method.")] = 90
    model: ModelOption = None
    against: Annotated[
        str | None, typer.Option("--against", help="The weaker model that the trust study compares --model with.")
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Photos with categories: a folder with categories.csv (FILE,CATEGORY,CATEGORY), Pascal VOC, or COCO's instances JSON.",
        ),
    ] = None
    split: Annotated[str, typer.Option("--split", help="Which list of Pascal VOC's ImageSets/Main.")] = "val"
    arch: ArchOption = None
    revision: RevisionOption = None
    device: DeviceOption = None
    note: Annotated[
        str,
        typer.Option("--note", help="Text for the first screen, such as who is asking and where to send the answers."),
    ] = ""
    whole: Annotated[
        bool, typer.Option("--whole", help="Every rater sees every method of each picture, not just one.")
    ] = False
    seed: SeedOption = 0


@final
@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """The options of ``vlcam study score``."""

    key: Annotated[Path, typer.Argument(help="The key.json of the study.", show_default=False)]
    answers: Annotated[list[Path], typer.Argument(help="The raters' CSV files.", show_default=False)]
    partial: Annotated[bool, typer.Option("--partial", help="Also score raters who left questions out.")] = False
    draws: Annotated[int, typer.Option("--bootstrap", min=100, help="Draws for the intervals.")] = 2000
    seed: SeedOption = 0
    out: Annotated[Path | None, typer.Option("--out", help="A JSON file for the scores.")] = None
    as_json: JsonOption = False
