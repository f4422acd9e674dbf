"""The command line. Nothing heavy is imported before a command runs, so ``vlcam --help`` is quick.

Exit codes: 0 done; 1 something could not be done (in a list of images the others are finished); 2 the command was not understood or
an option names something that doesn't exist; 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

app = typer.Typer(
    name="vlcam",
    help="Which parts of the image, and which named neurons, made the model say this?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
scenes_app = typer.Typer(
    help="The bundled world: generated pictures with exact ground truth, and its models.", no_args_is_help=True
)
app.add_typer(scenes_app, name="scenes")


class _ListByDefault(TyperGroup):
    """A group that takes "vlcam neurons captioner" for "vlcam neurons list captioner"."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asked = next((one for one in args if not one.startswith("-")), None)
        if not {"--help", "-h"} & set(args[:1]) and (asked is None or asked not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


neurons_app = typer.Typer(
    cls=_ListByDefault, help="What the channels of a layer stand for: list, name, report and evaluate."
)
app.add_typer(neurons_app, name="neurons")

Images = Annotated[
    list[str], typer.Argument(help="Image files, or scene:SEED for a generated picture.", show_default=False)
]
LayerOption = Annotated[str | None, typer.Option("--layer", help="The layer to explain, by dotted name.")]
MethodOption = Annotated[
    str, typer.Option("--method", help="gradcam, counterfactual, hirescam, layercam, gradcam++ or xgradcam.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for report.html, pictures and saved explanations.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a summary.")]
ContrastOption = Annotated[
    list[str] | None,
    typer.Option("--contrast", help="THIS:THAT explains this rather than that; may be given several times."),
]
TopOption = Annotated[int, typer.Option("--top", min=1, help="How many the model names by itself.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="torchvision/NAME, timm/NAME, a folder or hub id of transformers, or a state dict (with --arch); see: vlcam models.",
    ),
]
ArchOption = Annotated[
    str | None, typer.Option("--arch", help="What the state dict is the state of, such as torchvision/resnet50.")
]
NamedModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="classifier, captioner or vqa, torchvision/NAME, timm/NAME, a folder or hub id of transformers, or a state dict (--arch).",
    ),
]
ProbeOption = Annotated[
    str,
    typer.Option(
        "--probe",
        help="scenes:SPLIT:N; a folder with a subfolder per class; a photo folder (with --labels and --concepts, or with --words and "
        "--encoder); COCO's instances JSON; a Pascal VOC or Broden folder.",
    ),
]
NamesOption = Annotated[
    Path | None,
    typer.Option(
        "--names", help="A file of names (or a folder with names.json): vlcam's, NetDissect's or CLIP-Dissect's."
    ),
]
TaskOption = Annotated[
    str | None, typer.Option("--task", help="What a model that can do more shall do: captioning or vqa.")
]
QuestionOption = Annotated[str | None, typer.Option("--question", help="What a question answerer is asked meanwhile.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="Folder of label maps (PNG) for a photo folder.")]
ConceptsOption = Annotated[
    Path | None, typer.Option("--concepts", help="File that says what the numbers of label maps mean (JSON or text).")
]
WordsOption = Annotated[Path | None, typer.Option("--words", help="Text file with a word a line, for --encoder.")]
EncoderOption = Annotated[
    str | None, typer.Option("--encoder", help="Image-text encoder of transformers that compares photos and words.")
]
SplitOption = Annotated[str | None, typer.Option("--split", help="Split of scenes, Pascal VOC or Broden.")]
PicturesOption = Annotated[int | None, typer.Option("--n", min=2, help="How many pictures of the probe to use.")]
ScorerOption = Annotated[
    str | None, typer.Option("--scorer", help="iou, auprc or correlation; with words soft-wpmi or www.")
]
QuantileOption = Annotated[float, typer.Option("--quantile", help="Share of positions at which a channel fires.")]
MinScoreOption = Annotated[float | None, typer.Option("--min-score", help="The least score of a name.")]
PermutationsOption = Annotated[int, typer.Option("--permutations", min=19, help="Draws of the test against chance.")]
BootstrapOption = Annotated[int, typer.Option("--bootstrap", min=0, help="Samples for the names' stability.")]
FormulaOption = Annotated[int, typer.Option("--length", min=1, max=3, help="Most concepts in a formula; 1: none.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
MaskSizeOption = Annotated[int | None, typer.Option("--mask-size", min=2, help="Cells a side to compare labels on.")]
HypernymsOption = Annotated[bool, typer.Option("--hypernyms", help="Also try what concepts are kinds of.")]
WordnetOption = Annotated[bool, typer.Option("--wordnet", help="Use the WordNet of nltk, if it is on this machine.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Pictures in one forward pass.")]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="Folder to keep the layer's maps in.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Where to run it, such as cuda; by default the CPU.")
]
MeasureOption = Annotated[
    str, typer.Option("--measure", help="Explain each word's log-probability, or its logit if that is nearly certain.")
]
GainOption = Annotated[
    str | None, typer.Option("--gain", help="Also score the words without the image: blank, or blur.")
]
DtypeOption = Annotated[
    str | None, typer.Option("--dtype", help="float32, float16 or bfloat16; by default as the weights are.")
]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="A branch, tag or commit of a hub model.")]
PromptOption = Annotated[
    str | None, typer.Option("--prompt", help="What a model that writes is told first; {} stands for the question.")
]
LengthOption = Annotated[
    int, typer.Option("--length", min=1, max=1000, help="How many tokens a model of yours says at most.")
]
RankingOption = Annotated[
    str, typer.Option("--ranking", help="Neurons by contribution in this image, or as in the paper by alpha.")
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Errors that vlcam knows, and those of usage, become one line on stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows ?
    try:
        code = app(arguments, prog_name="vlcam", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # sorted into usage, known and unknown below
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    """Say what went wrong and return the exit code; an error that nobody foresaw goes on, with its traceback."""
    if isinstance(error, typer.Abort):
        return 130
    if hasattr(error, "format_message"):  # a usage error of typer, which has kept the class in several places
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
        else:
            see = f" (see {context.command_path} --help)" if context is not None else ""
            _complain(error.format_message().rstrip(".") + see)
        return int(getattr(error, "exit_code", 2))
    from vlcam.contracts import VlcamError

    if isinstance(error, VlcamError):
        _complain(str(error.args[0]) if error.args else type(error).__name__)
        return 2
    if isinstance(error, OSError):  # the disk is full, a folder was taken away
        _complain(f"{error.filename2 or error.filename or 'the system'}: {error.strerror or error}")
        return 1
    raise error


def _complain(text: str) -> None:
    """One line on stderr, without anything that a terminal would obey."""
    from vlcam.console import complain

    complain(text)


def _version(wanted: bool) -> bool:
    if wanted:
        from vlcam import __version__

        print(f"vlcam {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which parts of the image, and which named neurons, made the model say this?"""


@app.command()
def demo(out: Annotated[Path, typer.Option("--out", help="Folder for report.html.")] = Path("vlcam-demo")) -> None:
    """Explain captions, answers and classes of a few generated pictures, and write a page to look at."""
    from vlcam.demo import run_demo

    run_demo(out)


@app.command()
def classify(
    images: Images,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="A class to explain; may be given several times.")
    ] = None,
    contrast: ContrastOption = None,
    top: TopOption = 3,
    layer: LayerOption = None,
    method: MethodOption = "gradcam",
    ranking: RankingOption = "contribution",
    names: NamesOption = None,
    model: ModelOption = None,
    arch: ArchOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain the classes that a classifier sees: the bundled one, or one of torchvision, timm or transformers."""
    from vlcam.commands import Wanted, run_task

    wanted = Wanted(
        targets=tuple(dict.fromkeys(classes or ())),
        contrast=tuple(contrast or ()),
        top=top,
        layer=layer,
        method=method,
        ranking=ranking,
        names=names,
        model=model,
        arch=arch,
        revision=revision,
        device=device,
        dtype=dtype,
    )
    return run_task("classification", images, wanted, out=out, as_json=as_json)


@app.command()
def caption(
    images: Images,
    text: Annotated[
        str | None, typer.Option("--caption", help="The caption to explain instead of the model's own.")
    ] = None,
    beams: Annotated[
        int, typer.Option("--beams", min=1, max=64, help="Search for the model's own caption with that many beams.")
    ] = 1,
    contrast: ContrastOption = None,
    measure: MeasureOption = "log-probability",
    gain: GainOption = None,
    layer: LayerOption = None,
    method: MethodOption = "gradcam",
    ranking: RankingOption = "contribution",
    names: NamesOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    prompt: PromptOption = None,
    length: LengthOption = 40,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain each word of a captioner's caption, or of one you give: the bundled captioner, or one of transformers."""
    from vlcam.commands import Wanted, run_task

    wanted = Wanted(
        caption=text,
        contrast=tuple(contrast or ()),
        measure=measure,
        gain=gain,
        layer=layer,
        method=method,
        ranking=ranking,
        names=names,
        beams=beams,
        model=model,
        revision=revision,
        prompt=prompt,
        length=length,
        device=device,
        dtype=dtype,
    )
    return run_task("captioning", images, wanted, out=out, as_json=as_json)


@app.command()
def vqa(
    images: Images,
    question: Annotated[str, typer.Option("--question", help='Such as "what colour is the star".', show_default=False)],
    answers: Annotated[
        list[str] | None, typer.Option("--answer", help="An answer to explain; may be given several times.")
    ] = None,
    contrast: ContrastOption = None,
    top: TopOption = 3,
    measure: MeasureOption = "log-probability",
    gain: GainOption = None,
    layer: LayerOption = None,
    method: MethodOption = "gradcam",
    ranking: RankingOption = "contribution",
    names: NamesOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    prompt: PromptOption = None,
    length: LengthOption = 40,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain the answers to a question: of the bundled model, or of one of transformers."""
    from vlcam.commands import Wanted, run_task

    wanted = Wanted(
        targets=tuple(answers or ()),
        question=question,
        contrast=tuple(contrast or ()),
        top=top,
        measure=measure,
        gain=gain,
        layer=layer,
        method=method,
        ranking=ranking,
        names=names,
        model=model,
        revision=revision,
        prompt=prompt,
        length=length,
        device=device,
        dtype=dtype,
    )
    return run_task("vqa", images, wanted, out=out, as_json=as_json)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, as for --model: list its layers.", show_default=False)
    ] = None,
    arch: ArchOption = None,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the model families that vlcam knows; with a name, the layers of that model and which one is explained."""
    from vlcam.catalogue import run_models

    run_models(name, arch=arch, revision=revision, as_json=as_json)


@neurons_app.command("list")
def neurons_list(
    model: Annotated[str, typer.Argument(help="classifier, captioner or vqa.")] = "captioner",
    names: NamesOption = None,
    unit: Annotated[int | None, typer.Option("--unit", help="Explain one channel, by number from 0.")] = None,
    concept: Annotated[str | None, typer.Option("--concept", help="List the channels with this name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the names of a layer's channels, or explain one; "vlcam neurons captioner" is short for this."""
    from vlcam.neuron_commands import run_list

    run_list(model, names=names, unit=unit, concept=concept, as_json=as_json)


@neurons_app.command("name")
def neurons_name(
    out: Annotated[Path, typer.Option("--out", help="Folder for names.json and names.csv.", show_default=False)],
    model: NamedModelOption = "scenes/captioner",
    probe: ProbeOption = "scenes",
    task: TaskOption = None,
    arch: ArchOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    layer: LayerOption = None,
    question: QuestionOption = None,
    labels: LabelsOption = None,
    concepts: ConceptsOption = None,
    words: WordsOption = None,
    encoder: EncoderOption = None,
    split: SplitOption = None,
    n: PicturesOption = None,
    scorer: ScorerOption = None,
    quantile: QuantileOption = 0.01,
    min_score: MinScoreOption = None,
    permutations: PermutationsOption = 200,
    bootstrap: BootstrapOption = 100,
    length: FormulaOption = 1,
    seed: SeedOption = 0,
    mask_size: MaskSizeOption = None,
    hypernyms: HypernymsOption = False,
    wordnet: WordnetOption = False,
    batch: BatchOption = 16,
    cache: CacheOption = None,
) -> None:
    """Name the channels of a model's layer by what is in the pictures where they fire."""
    options = dict(locals())
    from vlcam.neuron_commands import run_name, wanted_of

    run_name(wanted_of(options), out)


@neurons_app.command("report")
def neurons_report(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for report.html, names.json and names.csv.", show_default=False)
    ],
    model: NamedModelOption = "scenes/captioner",
    probe: ProbeOption = "scenes",
    names: NamesOption = None,
    exemplars: Annotated[int, typer.Option("--exemplars", min=0, max=50, help="Pictures shown of each channel.")] = 8,
    photos: Annotated[
        int, typer.Option("--photos", min=0, help="Pictures to run the whole model on, for what each channel helps.")
    ] = 24,
    task: TaskOption = None,
    arch: ArchOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    layer: LayerOption = None,
    question: QuestionOption = None,
    labels: LabelsOption = None,
    concepts: ConceptsOption = None,
    words: WordsOption = None,
    encoder: EncoderOption = None,
    split: SplitOption = None,
    n: PicturesOption = None,
    scorer: ScorerOption = None,
    quantile: QuantileOption = 0.01,
    min_score: MinScoreOption = None,
    permutations: PermutationsOption = 200,
    bootstrap: BootstrapOption = 100,
    length: FormulaOption = 1,
    seed: SeedOption = 0,
    mask_size: MaskSizeOption = None,
    hypernyms: HypernymsOption = False,
    wordnet: WordnetOption = False,
    batch: BatchOption = 16,
    cache: CacheOption = None,
) -> None:
    """Name the channels (or take names from a file) and write one page about all of them, with pictures."""
    options = dict(locals())
    from vlcam.neuron_commands import run_report, wanted_of

    run_report(wanted_of(options), out, given=names, exemplars=exemplars, photos=photos)


@neurons_app.command("evaluate")
def neurons_evaluate(
    n: Annotated[int, typer.Option("--n", min=10, help="Test scenes.")] = 200,
    seed: SeedOption = 0,
    folder: Annotated[
        Path | None, typer.Option("--weights", help="Folder of the weights; by default the packaged ones.")
    ] = None,
    card: Annotated[Path | None, typer.Option("--card", help="Also write the numbers to this JSON file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure on generated scenes whether the texts about the bundled models' channels are true."""
    from vlcam.neuron_commands import run_evaluate

    run_evaluate(n=n, seed=seed, folder=folder, as_json=as_json, card=card)


@scenes_app.command("export")
def scenes_export(
    folder: Annotated[Path, typer.Argument(help="A folder that doesn't exist yet, or an empty one.")],
    split: Annotated[str, typer.Option("--split", help="train, val, test or unseen.")] = "test",
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 200,
    size: Annotated[int, typer.Option("--size", min=32, max=2048, help="Side of a picture in pixels.")] = 96,
) -> None:
    """Write pictures, COCO instances, captions and questions."""
    from vlcam.upkeep import run_export

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
    from vlcam.upkeep import run_train

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
    from vlcam.upkeep import run_name

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
    from vlcam.upkeep import run_evaluate

    run_evaluate(folder, n=n, grounded=grounding, gain=gain, method=method, card_folder=card, as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
