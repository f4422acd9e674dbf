"""The command line. Nothing heavy is imported before a command runs, so ``vlcam --help`` is fast.

Exit codes: 0 done; 1 something could not be done (of several images the others are finished); 2 the command was not understood, or an
option names something that doesn't exist; 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from io import TextIOWrapper
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from vlcam.cli.app_options import AppOptions
from vlcam.cli.compare_options import CompareOptions
from vlcam.cli.explain_options import DemoOptions, ExplainOptions, ModelsOptions
from vlcam.cli.export_options import ExportFormatOptions
from vlcam.cli.gallery_options import CompareRunsOptions, GalleryOptions
from vlcam.cli.neuron_options import EvaluateTextsOptions, ListOptions, NeuronOptions
from vlcam.cli.options import add_command
from vlcam.cli.reproduce_options import ReproduceOptions
from vlcam.cli.run_options import RunOptions, complete_ray
from vlcam.cli.scene_options import EvaluateModelsOptions, ExportOptions, NameScenesOptions, TrainOptions
from vlcam.cli.study_options import ScoreOptions, StudyOptions


class _DefaultListGroup(TyperGroup):
    """A group that takes "vlcam neurons captioner" for "vlcam neurons list captioner"."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asked = next((one for one in args if not one.startswith("-")), None)
        mistyped = asked is not None and get_close_matches(asked, self.commands, 1, 0.7)
        if args[:1] not in (["--help"], ["-h"]) and not mistyped:
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="vlcam",
    help="Which parts of the image, and which named neurons, made the model say this?",
    epilog="Exit codes: 0 done; 1 something could not be done (of several images the others are finished); 2 the command was not "
    "understood, or an option names something that doesn't exist; 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
scenes_app = typer.Typer(
    help="The bundled world: generated pictures with exact ground truth, and its models.", no_args_is_help=True
)
neurons_app = typer.Typer(
    cls=_DefaultListGroup, help="What the channels of a layer stand for: list, name, report and evaluate."
)
study_app = typer.Typer(
    help="Human studies of heatmaps as offline pages: which category is shown, and which model looks more reliable.",
    no_args_is_help=True,
)
app.add_typer(scenes_app, name="scenes")
app.add_typer(neurons_app, name="neurons")
app.add_typer(study_app, name="study")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. vlcam's own errors, and usage errors, become one line on stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows ?
    try:
        code = app(
            complete_ray(sys.argv[1:] if arguments is None else arguments), prog_name="vlcam", standalone_mode=False
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # sorted into usage, known and unknown below
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    """Say what went wrong and return the exit code; an unexpected error is raised again, with its traceback."""
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
    from vlcam.errors import VlcamError

    if isinstance(error, VlcamError):
        _complain(str(error.args[0]) if error.args else type(error).__name__)
        return 2
    if isinstance(error, OSError):  # the disk is full, a folder was taken away
        _complain(f"{error.filename2 or error.filename or 'the system'}: {error.strerror or error}")
        return 1
    raise error


def _complain(text: str) -> None:
    """One line on stderr, without anything that a terminal would obey."""
    from vlcam.cli.console import complain

    complain(text)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from vlcam._version import __version__

        print(f"vlcam {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which parts of the image, and which named neurons, made the model say this?"""


@add_command(app, "demo", DemoOptions)
def demo(wanted: DemoOptions) -> None:
    """Explain captions, answers and classes for a few generated pictures, and write a page that shows them."""
    from vlcam.cli.check_places import check_out

    check_out(wanted.out)
    from vlcam.cli.run_demo import run_demo

    run_demo(wanted)


def _explain(kind: Literal["classification", "captioning", "vqa"], wanted: ExplainOptions) -> int:
    """Explain images, if there is one that can be opened; what needs no model is checked before torch is imported."""
    from vlcam.cli.check_explain import check_explain, print_failures

    checked = check_explain(kind, wanted)
    if len(checked.failed) == len(wanted.images):
        return print_failures(wanted, checked)
    from vlcam.cli.run_explain import run_explain

    return run_explain(kind, wanted, checked)


@add_command(app, "classify", ExplainOptions)
def classify(wanted: ExplainOptions) -> int:
    """Explain the classes that a classifier sees: the bundled one, or one from torchvision, timm or transformers."""
    return _explain("classification", wanted)


@add_command(app, "caption", ExplainOptions)
def caption(wanted: ExplainOptions) -> int:
    """Explain each word of a model's caption, or of one you give: by the bundled captioner, or one from transformers."""
    return _explain("captioning", wanted)


@add_command(app, "vqa", ExplainOptions)
def vqa(wanted: ExplainOptions) -> int:
    """Explain the answers to a question: by the bundled model, or one from transformers."""
    return _explain("vqa", wanted)


@add_command(app, "run", RunOptions)
def run(wanted: RunOptions) -> int:
    """Explain many photos into a folder of tables, which can be read by pandas and others; run again to go on after a stop."""
    from vlcam.cli.check_run import check_run

    checked = check_run(wanted)
    from vlcam.cli.run_run import run_run

    return run_run(wanted, checked)


@add_command(app, "compare", CompareOptions)
def compare(wanted: CompareOptions) -> None:
    """Measure which method, at which layer, is most faithful on a model: on a few photos, without any mask."""
    from vlcam.cli.check_compare import check_compare

    check_compare(wanted)
    from vlcam.cli.run_compare import run_compare

    run_compare(wanted)


@add_command(app, "gallery", GalleryOptions)
def gallery(wanted: GalleryOptions) -> None:
    """Write a run's gallery: pages on disk with all its photos, to filter, sort, group and search, and to open one."""
    from vlcam.cli.run_gallery import run_gallery

    run_gallery(wanted)


@add_command(app, "compare-runs", CompareRunsOptions)
def compare_runs(wanted: CompareRunsOptions) -> None:
    """Compare two runs of the same photos, by other models, methods or layers: where their maps disagree most, side by side."""
    from vlcam.cli.run_gallery import run_compare_runs

    run_compare_runs(wanted)


@add_command(app, "app", AppOptions)
def serve(wanted: AppOptions) -> None:
    """Serve a page on this machine: upload a photo, ask, point at words, switch method and layer, test the maps (extra "app")."""
    from vlcam.cli.check_explain import make_recipe

    if any(one is not None for one in (wanted.model, wanted.recipe, wanted.arch, wanted.revision, wanted.labels)):
        make_recipe(None, wanted)  # before torch is imported
    from vlcam.cli.run_app import run_app

    run_app(wanted)


@add_command(app, "export", ExportFormatOptions)
def export(wanted: ExportFormatOptions) -> None:
    """Write a run, or saved explanations, in the formats of other tools: COCO's JSON of boxes, a dataset of Hugging Face."""
    from vlcam.cli.check_places import check_export

    check_export(wanted)
    from vlcam.cli.run_export import export_formats

    export_formats(wanted)


@add_command(app, "reproduce", ReproduceOptions)
def reproduce(wanted: ReproduceOptions) -> int:
    """Run the Grad-CAM paper's experiments: our numbers beside the paper's, with intervals and controls."""
    from vlcam.cli.check_places import check_reproduce

    check_reproduce(wanted)
    from vlcam.cli.run_reproduce import run_reproduce

    return run_reproduce(wanted)


@add_command(app, "models", ModelsOptions)
def models(wanted: ModelsOptions) -> None:
    """List the model families that vlcam knows; with a name, the layers of that model and which one is explained."""
    from vlcam.cli.check_explain import make_recipe

    if wanted.name is not None or wanted.recipe is not None:
        make_recipe(None, wanted)  # before torch is imported
    from vlcam.cli.run_models import run_models

    run_models(wanted)


@add_command(scenes_app, "export", ExportOptions)
def scenes_export(wanted: ExportOptions) -> None:
    """Write pictures, COCO instances, captions and questions."""
    from vlcam.cli.run_scenes import run_export

    run_export(wanted)


@add_command(scenes_app, "train", TrainOptions)
def scenes_train(wanted: TrainOptions) -> None:
    """Train the bundled models from scratch (about 100 minutes on 2 idle cores)."""
    from vlcam.cli.run_scenes import run_train

    run_train(wanted)


@add_command(scenes_app, "name", NameScenesOptions)
def scenes_name(wanted: NameScenesOptions) -> None:
    """Name the last conv channels of the bundled models by Network Dissection."""
    from vlcam.cli.run_scenes import run_name

    run_name(wanted)


@add_command(scenes_app, "evaluate", EvaluateModelsOptions)
def scenes_evaluate(wanted: EvaluateModelsOptions) -> None:
    """Measure the models' quality and how well the heatmaps point, on test scenes and on unseen pairs."""
    from vlcam.cli.run_scenes import run_evaluate

    run_evaluate(wanted)


@add_command(neurons_app, "list", ListOptions)
def neurons_list(wanted: ListOptions) -> None:
    """List the names of a layer's channels, or explain one; "vlcam neurons captioner" is short for this."""
    from vlcam.cli.run_neurons import run_list

    run_list(wanted)


@add_command(neurons_app, "name", NeuronOptions)
def neurons_name(wanted: NeuronOptions) -> None:
    """Name the channels of a model's layer after what the pictures show where they fire."""
    from vlcam.cli.check_places import check_out

    check_out(wanted.out)
    from vlcam.cli.run_neurons import run_name

    run_name(wanted)


@add_command(neurons_app, "report", NeuronOptions)
def neurons_report(wanted: NeuronOptions) -> None:
    """Name the channels (or take names from a file) and write one page about all of them, with pictures."""
    from vlcam.cli.check_places import check_out

    check_out(wanted.out)
    from vlcam.cli.run_neurons import run_report

    run_report(wanted)


@add_command(neurons_app, "evaluate", EvaluateTextsOptions)
def neurons_evaluate(wanted: EvaluateTextsOptions) -> None:
    """Measure on generated scenes whether the texts about the bundled models' channels are true."""
    from vlcam.cli.run_neurons import run_evaluate

    run_evaluate(wanted)


@add_command(study_app, "make", StudyOptions)
def study_make(wanted: StudyOptions) -> None:
    """Write the pages that raters open, and the key that you keep; without --model and --data, about the bundled world."""
    from vlcam.cli.check_places import check_out

    check_out(wanted.out)
    from vlcam.cli.run_study import run_make

    run_make(wanted)


@add_command(study_app, "score", ScoreOptions)
def study_score(wanted: ScoreOptions) -> None:
    """Score the answers as the paper does, with 95 % intervals and the raters' agreement."""
    from vlcam.cli.run_study import run_score

    run_score(wanted)
