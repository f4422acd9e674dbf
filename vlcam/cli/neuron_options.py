"""The options of ``vlcam neurons``. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import typer

from vlcam.cli.options import (
    NAMES,
    ArchOption,
    CardOption,
    DeviceOption,
    In,
    JsonOption,
    LayerOption,
    NamesOption,
    RevisionOption,
    SeedOption,
    WeightsOption,
)


@final
@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """The options of ``vlcam neurons list``."""

    model: Annotated[str, typer.Argument(help="classifier, captioner or vqa.")] = "captioner"
    names: NamesOption = None
    unit: Annotated[int | None, typer.Option("--unit", help="Explain one channel, by number from 0.")] = None
    concept: Annotated[str | None, typer.Option("--concept", help="List the channels with this name.")] = None
    as_json: JsonOption = False


@final
@dataclass(frozen=True, kw_only=True)
class NeuronOptions:
    """The options of ``vlcam neurons name`` and ``report``; those of the model are those of :func:`vlcam.load`."""

    out: Annotated[
        Path,
        In("name", typer.Option("--out", help="Folder for names.json and names.csv.", show_default=False)),
        In(
            "report",
            typer.Option("--out", help="Folder for report.html, names.json and names.csv.", show_default=False),
        ),
    ]
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="classifier, captioner or vqa, torchvision/NAME, timm/NAME, a folder or hub id of transformers, or a state dict (--arch).",
        ),
    ] = "scenes/captioner"
    probe: Annotated[
        str,
        typer.Option(
            "--probe",
            help="scenes:SPLIT:N; a folder with a subfolder per class; a photo folder (with --labels and --concepts, or with --words and "
            "--encoder); COCO's instances JSON; a Pascal VOC or Broden folder.",
        ),
    ] = "scenes"
    names: Annotated[Path | None, In("report", NAMES)] = None
    exemplars: Annotated[
        int, In("report", typer.Option("--exemplars", min=0, max=50, help="Pictures shown for each channel."))
    ] = 8
    photos: Annotated[
        int,
        In(
            "report",
            typer.Option("--photos", min=0, help="Pictures to run the whole model on, to see what each channel helps."),
        ),
    ] = 24
    task: Annotated[
        str | None, typer.Option("--task", help="The task of a model that can do more than one: captioning or vqa.")
    ] = None
    arch: ArchOption = None
    revision: RevisionOption = None
    device: DeviceOption = None
    layer: LayerOption = None
    question: Annotated[
        str | None, typer.Option("--question", help="What a question answerer is asked meanwhile; required for one.")
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="What a model that writes text is told meanwhile, such as 'a photo of'."),
    ] = None
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder of label maps (PNG) for a photo folder.")] = (
        None
    )
    concepts: Annotated[
        Path | None,
        typer.Option("--concepts", help="File that says what the numbers of label maps mean (JSON or text)."),
    ] = None
    words: Annotated[Path | None, typer.Option("--words", help="Text file with one word per line, for --encoder.")] = (
        None
    )
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help="Image-text encoder of transformers that compares photos and words."),
    ] = None
    split: Annotated[str | None, typer.Option("--split", help="Split of scenes, Pascal VOC or Broden.")] = None
    n: Annotated[int | None, typer.Option("--n", min=2, help="How many pictures of the probe to use.")] = None
    scorer: Annotated[
        str | None, typer.Option("--scorer", help="iou, auprc or correlation; with words soft-wpmi or www.")
    ] = None
    quantile: Annotated[float, typer.Option("--quantile", help="Share of positions at which a channel fires.")] = 0.01
    min_score: Annotated[float | None, typer.Option("--min-score", help="The lowest score that gives a name.")] = None
    permutations: Annotated[
        int, typer.Option("--permutations", min=19, help="Permutations of the test against chance.")
    ] = 200
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Bootstrap samples for the names' stability.")
    ] = 100
    length: Annotated[
        int, typer.Option("--length", min=1, max=3, help="Most concepts in a formula; 1 for no formulas.")
    ] = 1
    seed: SeedOption = 0
    mask_size: Annotated[
        int | None, typer.Option("--mask-size", min=2, help="Cells per side of the grid that labels are compared on.")
    ] = None
    hypernyms: Annotated[
        bool, typer.Option("--hypernyms", help="Also try the broader concepts of each (hypernyms).")
    ] = False
    wordnet: Annotated[bool, typer.Option("--wordnet", help="Use nltk's WordNet, if it is on this machine.")] = False
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures in one forward pass.")] = 16
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder to keep the layer's maps in.")] = None


@final
@dataclass(frozen=True, kw_only=True)
class EvaluateTextsOptions:
    """The options of ``vlcam neurons evaluate``."""

    n: Annotated[int, typer.Option("--n", min=10, help="Test scenes.")] = 200
    method: Annotated[
        str | None,
        typer.Option("--method", help="Whose contributions the texts rest on; by default what explains by itself."),
    ] = None
    seed: SeedOption = 0
    weights: WeightsOption = None
    card: CardOption = None
    as_json: JsonOption = False
