"""The options of ``vlcam run``. Nothing heavy is imported here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import (
    METHOD,
    ArchOption,
    DeviceOption,
    LabelsOption,
    LayerOption,
    ModelOption,
    NamesOption,
    RecipeOption,
    RevisionOption,
)

TASKS = {"classify": "classification", "caption": "captioning", "vqa": "vqa"}
"""What --task may be, and the kind of task that it means."""

RAY = "--ray"
LOCAL = "local"


def complete_ray(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line, in which ``--ray`` without an address has one: a Ray of its own on this machine.

    >>> complete_ray(["run", "photos", "--ray", "--out", "run"])
    ['run', 'photos', '--ray', 'local', '--out', 'run']
    """
    found: list[str] = []
    for one, after in zip(arguments, [*arguments, "-"][1:], strict=True):
        found += [one, LOCAL] if one == RAY and after.startswith("-") else [one]
    return found


@final
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of ``vlcam run``: those of :func:`vlcam.run`, and those by which a model is opened."""

    photos: Annotated[
        list[str],
        typer.Argument(
            help="Folders, files, patterns; lists (.txt, .csv); COCO's .json, Pascal VOC; .parquet, WebDataset's .tar; scene:0-99.",
            show_default=False,
        ),
    ]
    out: Annotated[Path, typer.Option("--out", help="Folder for the results; run again to go on.", show_default=False)]
    task: Annotated[
        str | None,
        typer.Option("--task", help=f"{', '.join(TASKS)}; by default what the model is for.", show_default=False),
    ] = None
    model: ModelOption = None
    recipe: RecipeOption = None
    arch: ArchOption = None
    revision: RevisionOption = None
    labels: LabelsOption = None
    device: DeviceOption = None
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, float16 or bfloat16; by default that of the weights.")
    ] = None
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", "--answer", help="A class or answer to explain; may be given several times."),
    ] = None
    caption: Annotated[
        str | None, typer.Option("--caption", help="The caption to explain instead of the model's own.")
    ] = None
    question: Annotated[
        str | None, typer.Option("--question", help="What is asked of each photo, unless a list of photos says it.")
    ] = None
    contrast: Annotated[
        list[str] | None,
        typer.Option("--contrast", help="THIS:THAT explains this rather than that; may be given several times."),
    ] = None
    top: Annotated[
        int, typer.Option("--top", min=1, help="How many of the model's own to explain, if none are given.")
    ] = 3
    measure: Annotated[
        str, typer.Option("--measure", help="Score of each word to explain: log-probability or logit.")
    ] = "log-probability"
    gain: Annotated[
        str | None, typer.Option("--gain", help="Also score the words with the image replaced: blank or blur.")
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="What a model that writes text is told first; {} stands for the question."),
    ] = None
    length: Annotated[
        int | None, typer.Option("--length", min=1, max=1000, help="The most tokens that your own model writes (40).")
    ] = None
    beams: Annotated[
        int | None,
        typer.Option("--beams", min=1, max=64, help="How many beams to search for a caption with (1)."),
    ] = None
    layer: LayerOption = None
    method: Annotated[str | None, METHOD] = None
    ranking: Annotated[
        str, typer.Option("--ranking", help="Rank neurons by contribution in this image, or by alpha as in the paper.")
    ] = "contribution"
    names: NamesOption = None
    verify: Annotated[
        bool, typer.Option("--verify", help="Test every map against random regions and untrained models.")
    ] = False
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth",
            help="CSV file with columns photo and label, or folders: the photos lie in a folder for each class.",
        ),
    ] = None
    contrast_truth: Annotated[
        bool,
        typer.Option(
            "--contrast-truth/--no-contrast-truth",
            help="Of wrong photos also explain what was predicted rather than what is true.",
        ),
    ] = True
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="How many photos go through the model together.")
    ] = 8
    shard_size: Annotated[
        int, typer.Option("--shard-size", min=1, help="How many photos a file has: what a crash may cost.")
    ] = 128
    part: Annotated[
        str | None, typer.Option("--part", help="I/N: the I-th of N parts, for array jobs that share a folder.")
    ] = None
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first so many photos only.")] = None
    shuffle: Annotated[
        int | None, typer.Option("--shuffle", min=0, help="Take the photos in the random order of this seed.")
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            RAY,
            metavar="[ADDRESS]",
            help="Work on Ray: one of its own on this machine, or the cluster at an address (auto: the one that this machine is in).",
        ),
    ] = None
    ray_actors: Annotated[
        int | None, typer.Option("--ray-actors", min=1, help="How many actors; by default one for each GPU or CPU.")
    ] = None
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write the rows as a CSV file, without the maps.")] = (
        None
    )
    gallery: Annotated[
        bool,
        typer.Option("--gallery/--no-gallery", help="Also write the gallery (OUT/_gallery) when all photos are done."),
    ] = True
