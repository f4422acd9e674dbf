"""``vlcam reproduce``: the experiments of the Grad-CAM paper. Nothing heavy is imported before the command runs."""

from pathlib import Path
from typing import Annotated

import typer

from vlcam.cli.options import ArchOption, JsonOption, SeedOption


def reproduce(
    experiments: Annotated[
        list[str],
        typer.Argument(metavar="LIST", help="all, numbers (1 3-6), or keys (localisation, words).", show_default=False),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder of a data set: ILSVRC, VOC, COCO, VQA v2 or VQA-HAT; else the bundled world."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model, as for classify, caption and vqa; else the bundled ones.")
    ] = None,
    rival: Annotated[
        str | None, typer.Option("--rival", help="A weaker model to compare with, for experiment 5.")
    ] = None,
    arch: ArchOption = None,
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="A further method to compare; may be given several times.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for JSON files, figures, and results.md of all that is in it.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer pictures: minutes instead of hours.")] = False,
    most: Annotated[
        int | None, typer.Option("--n", min=1, help="At most that many pictures in each experiment.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> int:
    """Run experiments of the Grad-CAM paper: ours beside the paper's number, with intervals and controls."""
    from vlcam.cli.run_reproduce import make_setting, run_reproduce

    setting = make_setting(data, model, arch, rival, methods or (), out, quick=quick, most=most, seed=seed)
    return run_reproduce(experiments, setting, as_json=as_json)
