"""``vlcam study``: the human studies of the Grad-CAM paper. Nothing heavy is imported before a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from vlcam.cli.options import ArchOption, DeviceOption, JsonOption, ModelOption, RevisionOption, SeedOption

study_app = typer.Typer(
    help="Human studies of heatmaps as offline pages: which category is shown, and which model looks more reliable.",
    no_args_is_help=True,
)


@study_app.command("make")
def study_make(
    out: Annotated[Path, typer.Option("--out", help="Folder for the pages and key.json.", show_default=False)],
    part: Annotated[str, typer.Option("--part", help="discrimination, trust, or both.")] = "both",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="A method to show; may be given several times. By default those of the paper."),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures, each shown with every method.")] = 90,
    model: ModelOption = None,
    against: Annotated[
        str | None, typer.Option("--against", help="The weaker model that trust compares --model with, named alike.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Photos with categories: a folder with categories.csv (FILE,CATEGORY,CATEGORY), Pascal VOC, or COCO's instances JSON.",
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which list of Pascal VOC's ImageSets/Main.")] = "val",
    arch: ArchOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    note: Annotated[
        str, typer.Option("--note", help="Text for the first screen, such as who asks and where answers go.")
    ] = "",
    whole: Annotated[
        bool, typer.Option("--whole", help="Every rater sees every method of each picture, not one of them.")
    ] = False,
    seed: SeedOption = 0,
) -> None:
    """Write the pages that raters open, and the key that you keep. Without --model and --data, of the bundled world."""
    from vlcam.cli.run_study import StudyOptions, run_make

    wanted = StudyOptions(
        part=part,
        methods=None if not method else tuple(method),
        n=n,
        model=model,
        against=against,
        data=data,
        split=split,
        arch=arch,
        revision=revision,
        device=device,
        note=note,
        whole=whole,
        seed=seed,
    )
    run_make(wanted, out)


@study_app.command("score")
def study_score(
    key: Annotated[Path, typer.Argument(help="The key.json of the study.", show_default=False)],
    answers: Annotated[list[Path], typer.Argument(help="The raters' CSV files.", show_default=False)],
    partial: Annotated[bool, typer.Option("--partial", help="Also score raters who left questions out.")] = False,
    draws: Annotated[int, typer.Option("--bootstrap", min=100, help="Draws for the intervals.")] = 2000,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option("--out", help="A JSON file for the scores.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score the answers as the paper does, with 95 % intervals and the raters' agreement."""
    from vlcam.cli.run_study import run_score

    run_score(key, answers, partial=partial, draws=draws, seed=seed, out=out, as_json=as_json)
