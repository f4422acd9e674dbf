"""The options of ``vlcam scenes``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import METHOD, JsonOption, WeightsOption


@final
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of ``vlcam scenes export``."""

    folder: Annotated[Path, typer.Argument(help="A folder that doesn't exist yet, or an empty one.")]
    split: Annotated[str, typer.Option("--split", help="train, val, test or unseen.")] = "test"
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 200
    size: Annotated[int, typer.Option("--size", min=32, max=2048, help="Side of a picture in pixels.")] = 96


@final
@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of ``vlcam scenes train``."""

    folder: Annotated[Path, typer.Argument(help="Where drawn scenes, checkpoints, metrics and weights go.")]
    scenes: Annotated[int, typer.Option("--scenes", min=64, help="How many pictures to draw and train on.")] = 80_000
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Steps of 64 pictures that train everything together.")
    ] = 6_000
    head_steps: Annotated[
        int, typer.Option("--head-steps", min=1, help="Steps of 256 pictures with the trunk fixed.")
    ] = 6_000
    caption_steps: Annotated[
        int, typer.Option("--caption-steps", min=0, help="Steps of 256 pictures for the captioner's head alone.")
    ] = 1_000
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, order and augmentation.")] = 0
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False
    device: Annotated[str | None, typer.Option("--device", help="cpu or cuda; by default a GPU if there is one.")] = (
        None
    )


@final
@dataclass(frozen=True, kw_only=True)
class NameScenesOptions:
    """The options of ``vlcam scenes name``."""

    weights: WeightsOption = None
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the JSON files go; by default beside the weights.")
    ] = None
    n: Annotated[int, typer.Option("--n", min=50, help="How many validation scenes to look at.")] = 1000
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the permutations.")] = 0


@final
@dataclass(frozen=True, kw_only=True)
class EvaluateModelsOptions:
    """The options of ``vlcam scenes evaluate``."""

    weights: WeightsOption = None
    n: Annotated[int, typer.Option("--n", min=10, help="Scenes per split for the quality table.")] = 2000
    grounding: Annotated[int, typer.Option("--grounding", min=0, help="Scenes per split for the pointing game.")] = 500
    gain: Annotated[int, typer.Option("--gain", min=0, help="Test scenes for the visual gain of words.")] = 0
    method: Annotated[str, METHOD] = "gradcam"
    card: Annotated[
        Path | None,
        typer.Option("--card", help="Folder for MODEL_CARD.md and card.json; needs plan.json of the training."),
    ] = None
    as_json: JsonOption = False
