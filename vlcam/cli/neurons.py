"""``vlcam neurons``: list, name, report and evaluate. Nothing heavy is imported before a command runs."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vlcam.cli.options import (
    ArchOption,
    BatchOption,
    BootstrapOption,
    CacheOption,
    ConceptsOption,
    DeviceOption,
    EncoderOption,
    FormulaOption,
    HypernymsOption,
    JsonOption,
    LabelsOption,
    LayerOption,
    MaskSizeOption,
    MinScoreOption,
    NamedModelOption,
    NamesOption,
    PermutationsOption,
    PicturesOption,
    ProbeOption,
    QuantileOption,
    QuestionOption,
    RevisionOption,
    ScorerOption,
    SeedOption,
    SplitOption,
    TaskOption,
    WordnetOption,
    WordsOption,
)


class _DefaultListGroup(TyperGroup):
    """A group that takes "vlcam neurons captioner" for "vlcam neurons list captioner"."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asked = next((one for one in args if not one.startswith("-")), None)
        mistyped = asked is not None and get_close_matches(asked, self.commands, 1, 0.7)
        if args[:1] != ["--help"] and not mistyped:
            args = ["list", *args]
        return super().parse_args(ctx, args)


neurons_app = typer.Typer(
    cls=_DefaultListGroup, help="What the channels of a layer stand for: list, name, report and evaluate."
)


@neurons_app.command("list")
def neurons_list(
    model: Annotated[str, typer.Argument(help="classifier, captioner or vqa.")] = "captioner",
    names: NamesOption = None,
    unit: Annotated[int | None, typer.Option("--unit", help="Explain one channel, by number from 0.")] = None,
    concept: Annotated[str | None, typer.Option("--concept", help="List the channels with this name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the names of a layer's channels, or explain one; "vlcam neurons captioner" is short for this."""
    from vlcam.cli.run_neurons import run_list

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
    from vlcam.cli.run_neurons import pick_options, run_name

    run_name(pick_options(options), out)


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
    from vlcam.cli.run_neurons import pick_options, run_report

    run_report(pick_options(options), out, given=names, exemplars=exemplars, photos=photos)


@neurons_app.command("evaluate")
def neurons_evaluate(
    n: Annotated[int, typer.Option("--n", min=10, help="Test scenes.")] = 200,
    seed: SeedOption = 0,
    folder: Annotated[
        Path | None, typer.Option("--weights", help="Folder of the weights; by default the packaged ones.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", help="Folder of a model card to add the tables to (card.json, plan.json).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure on generated scenes whether the texts about the bundled models' channels are true."""
    from vlcam.cli.run_neurons import run_evaluate

    run_evaluate(n=n, seed=seed, folder=folder, as_json=as_json, card_folder=card)
