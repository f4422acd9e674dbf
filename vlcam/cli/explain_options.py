"""The options of ``vlcam classify``, ``caption`` and ``vqa``, and of ``demo`` and ``models``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import (
    ARCH,
    LABELS,
    METHOD,
    METHOD_HELP,
    REQUIRED,
    ArchOption,
    DeviceOption,
    In,
    JsonOption,
    LabelsOption,
    LayerOption,
    ModelOption,
    NamesOption,
    RecipeOption,
    RevisionOption,
)
from vlcam.tasks.recipe import INTERPOLATIONS


@final
@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """The options of classify, caption and vqa.

    ``contrast`` are texts THIS:THAT; ``model``, ``arch``, ``revision``, ``device``, ``dtype`` and ``length`` are those of
    :func:`vlcam.load`; by default the bundled model is explained.
    """

    images: Annotated[
        list[str], typer.Argument(help="Image files, or scene:SEED for a generated picture.", show_default=False)
    ]
    classes: Annotated[
        list[str] | None,
        In("classify", typer.Option("--class", help="A class to explain; may be given several times.")),
    ] = None
    caption: Annotated[
        str | None,
        In("caption", typer.Option("--caption", help="The caption to explain instead of the model's own.")),
    ] = None
    beams: Annotated[
        int | None,
        In(
            "caption",
            typer.Option(
                "--beams", min=1, max=64, help="How many beams to search for the model's own caption with (1)."
            ),
        ),
    ] = None
    question: Annotated[
        str | None,
        In(
            "vqa",
            typer.Option("--question", help='Such as "what colour is the star".', show_default=False),
            default=REQUIRED,
        ),
    ] = None
    answers: Annotated[
        list[str] | None,
        In("vqa", typer.Option("--answer", help="An answer to explain; may be given several times.")),
    ] = None
    contrast: Annotated[
        list[str] | None,
        typer.Option("--contrast", help="THIS:THAT explains this rather than that; may be given several times."),
    ] = None
    top: Annotated[
        int,
        In(
            "classify vqa",
            typer.Option("--top", min=1, help="How many of the model's own to explain, if none are given."),
        ),
    ] = 3
    measure: Annotated[
        str,
        In(
            "caption vqa",
            typer.Option(
                "--measure",
                help="Score of each word to explain: log-probability, or logit for words that are nearly certain.",
            ),
        ),
    ] = "log-probability"
    gain: Annotated[
        str | None,
        In("caption vqa", typer.Option("--gain", help="Also score the words with the image replaced: blank or blur.")),
    ] = None
    layer: LayerOption = None
    method: Annotated[
        str | None,
        In("classify vqa", METHOD),
        In(
            "caption",
            typer.Option(
                "--method",
                help=METHOD_HELP,
                show_default=False,
            ),
        ),
    ] = None
    ranking: Annotated[
        str, typer.Option("--ranking", help="Rank neurons by contribution in this image, or by alpha as in the paper.")
    ] = "contribution"
    text: Annotated[
        str,
        typer.Option(
            "--text",
            help="About neurons: one sentence (short), all with numbers and units (full), or the paper's lists (paper).",
        ),
    ] = "short"
    names: NamesOption = None
    model: ModelOption = None
    recipe: RecipeOption = None
    arch: Annotated[str | None, In("classify", ARCH)] = None
    revision: RevisionOption = None
    labels: Annotated[Path | None, In("classify", LABELS)] = None
    size: Annotated[
        str | None,
        In("classify", typer.Option("--size", help="The model's input in pixels: a side, or WIDTHxHEIGHT.")),
    ] = None
    mode: Annotated[
        str | None,
        In(
            "classify",
            typer.Option(
                "--mode", help="All of the photo (resize), its middle (crop), or all with margins (letterbox)."
            ),
        ),
    ] = None
    resize_shorter: Annotated[
        int | None,
        In(
            "classify",
            typer.Option("--resize-shorter", min=1, help="Length of the photo's shorter side before it is cropped."),
        ),
    ] = None
    mean: Annotated[
        str | None,
        In(
            "classify",
            typer.Option("--mean", help="Mean of values from 0 to 1: 0.5, or one per channel as in 0.485,0.456,0.406."),
        ),
    ] = None
    std: Annotated[
        str | None,
        In("classify", typer.Option("--std", help="Standard deviation of values from 0 to 1, like --mean.")),
    ] = None
    interpolation: Annotated[
        str | None,
        In("classify", typer.Option("--interpolation", help=f"How photos are resized: {', '.join(INTERPOLATIONS)}.")),
    ] = None
    white: Annotated[
        float | None,
        typer.Option(
            "--white",
            help="The value that is white, in the photos' own numbers, such as 4095 for 12 bits in a 16-bit file.",
        ),
    ] = None
    prompt: Annotated[
        str | None,
        In(
            "caption vqa",
            typer.Option("--prompt", help="What a model that writes text is told first; {} stands for the question."),
        ),
    ] = None
    length: Annotated[
        int | None,
        In(
            "caption vqa",
            typer.Option("--length", min=1, max=1000, help="The most tokens that your own model writes (40)."),
        ),
    ] = None
    device: DeviceOption = None
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, float16 or bfloat16; by default that of the weights.")
    ] = None
    verify: Annotated[
        bool, typer.Option("--verify", help="Test every map against random regions and untrained models.")
    ] = False
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.html, pictures and saved explanations.")
    ] = None
    as_json: JsonOption = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The classes or answers that were asked for; a class that is given twice counts once."""
        return (*dict.fromkeys(self.classes or ()), *(self.answers or ()))


@final
@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """The options of ``vlcam demo``."""

    out: Annotated[Path, typer.Option("--out", help="Folder for report.html.")] = Path("vlcam-demo")


@final
@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """The options of ``vlcam models``."""

    name: Annotated[
        str | None, typer.Argument(help="A model, as for --model: list its layers.", show_default=False)
    ] = None
    recipe: RecipeOption = None
    arch: ArchOption = None
    labels: LabelsOption = None
    revision: RevisionOption = None
    as_json: JsonOption = False

    @property
    def model(self) -> str | None:
        """The model, as the other commands call it."""
        return self.name
