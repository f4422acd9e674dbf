"""``vlcam scenes``: the bundled world and its models. Nothing heavy is imported before a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from vlcam.cli.options import JsonOption, MethodOption

scenes_app = typer.Typer(
    help="The bundled world: generated pictures with exact ground truth, and its models.", no_args_is_help=True
)


@scenes_app.command("export")
def scenes_export(
    folder: Annotated[Path, typer.Argument(help="A folder that doesn't exist yet, or an empty one.")],
    split: Annotated[str, typer.Option("--split", help="train, val, test or unseen.")] = "test",
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 200,
    size: Annotated[int, typer.Option("--size", min=32, max=2048, help="Side of a picture in pixels.")] = 96,
) -> None:
    """Write pictures, COCO instances, captions and questions."""
    from vlcam.cli.run_scenes import run_export

    run_export(folder, split, n, size)


@scenes_app.command("train")
def scenes_train(
    folder: Annotated[Path, typer.Argument(help="Where drawn scenes, checkpoints, metrics and weights go.")],
    scenes: Annotated[int, typer.Option("--scenes", min=64, help="How many pictures to draw and train on.")] = 80_000,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of 64 pictures, all together.")] = 6_000,
    head_steps: Annotated[
        int, typer.Option("--head-steps", min=1, help="Steps of 256 pictures, the trunk fixed.")
    ] = 6_000,
    caption_steps: Annotated[
        int, typer.Option("--caption-steps", min=0, help="Steps of 256 pictures, the captioner's head alone.")
    ] = 1_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda; by default a GPU if there is one.")
    ] = None,
) -> None:
    """Train the bundled models anew (about 100 minutes on 2 quiet cores)."""
    from vlcam.cli.run_scenes import run_train

    run_train(
        folder,
        scenes=scenes,
        steps=steps,
        head_steps=head_steps,
        caption_steps=caption_steps,
        seed=seed,
        resume=resume,
        device=device,
    )


@scenes_app.command("name")
def scenes_name(
    folder: Annotated[
        Path | None, typer.Option("--weights", help="Folder of the weights; by default the packaged ones.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the JSON files go; by default beside the weights.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=50, help="How many validation scenes to look at.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the permutations.")] = 0,
) -> None:
    """Name the last conv channels of the bundled models by Network Dissection."""
    from vlcam.cli.run_scenes import run_name

    run_name(folder, out, n=n, seed=seed)


@scenes_app.command("evaluate")
def scenes_evaluate(
    folder: Annotated[
        Path | None, typer.Option("--weights", help="Folder of the weights; by default the packaged ones.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=10, help="Scenes per split for the quality table.")] = 2000,
    grounding: Annotated[int, typer.Option("--grounding", min=0, help="Scenes per split for the pointing game.")] = 500,
    gain: Annotated[int, typer.Option("--gain", min=0, help="Test scenes for the visual gain of words.")] = 0,
    method: MethodOption = "gradcam",
    card: Annotated[
        Path | None,
        typer.Option("--card", help="Folder for MODEL_CARD.md and card.json; needs plan.json of the training."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the models' quality and how well the heatmaps point, on test scenes and on unseen pairs."""
    from vlcam.cli.run_scenes import run_evaluate

    run_evaluate(folder, n=n, grounded=grounding, gain=gain, method=method, card_folder=card, as_json=as_json)
