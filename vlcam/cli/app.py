"""The command line. Nothing heavy is imported before a command runs, so ``vlcam --help`` is quick.

Exit codes: 0 done; 1 something could not be done (in a list of images the others are finished); 2 the command was not understood or
an option names something that doesn't exist; 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from vlcam.cli.neurons import neurons_app
from vlcam.cli.options import (
    ArchOption,
    ContrastOption,
    DeviceOption,
    DtypeOption,
    GainOption,
    Images,
    JsonOption,
    LayerOption,
    LengthOption,
    MeasureOption,
    MethodOption,
    ModelOption,
    NamesOption,
    OutOption,
    PromptOption,
    RankingOption,
    RevisionOption,
    TopOption,
    VerifyOption,
    WordMethodOption,
)
from vlcam.cli.reproduce import reproduce
from vlcam.cli.scenes import scenes_app
from vlcam.cli.study import study_app

app = typer.Typer(
    name="vlcam",
    help="Which parts of the image, and which named neurons, made the model say this?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(scenes_app, name="scenes")
app.add_typer(neurons_app, name="neurons")
app.add_typer(study_app, name="study")


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


@app.command()
def demo(out: Annotated[Path, typer.Option("--out", help="Folder for report.html.")] = Path("vlcam-demo")) -> None:
    """Explain captions, answers and classes of a few generated pictures, and write a page to look at."""
    from vlcam.cli.run_demo import run_demo

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
    verify: VerifyOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain the classes that a classifier sees: the bundled one, or one of torchvision, timm or transformers."""
    from vlcam.cli.run_explain import ExplainOptions, run_task

    wanted = ExplainOptions(
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
        verify=verify,
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
    method: WordMethodOption = None,
    ranking: RankingOption = "contribution",
    names: NamesOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    prompt: PromptOption = None,
    length: LengthOption = 40,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    verify: VerifyOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain each word of a captioner's caption, or of one you give: the bundled captioner, or one of transformers."""
    from vlcam.cli.run_explain import ExplainOptions, choose_word_method, run_task

    wanted = ExplainOptions(
        caption=text,
        contrast=tuple(contrast or ()),
        measure=measure,
        gain=gain,
        layer=layer,
        method=method or choose_word_method(model, layer),
        ranking=ranking,
        names=names,
        beams=beams,
        model=model,
        revision=revision,
        prompt=prompt,
        length=length,
        device=device,
        dtype=dtype,
        verify=verify,
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
    verify: VerifyOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain the answers to a question: of the bundled model, or of one of transformers."""
    from vlcam.cli.run_explain import ExplainOptions, run_task

    wanted = ExplainOptions(
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
        verify=verify,
    )
    return run_task("vqa", images, wanted, out=out, as_json=as_json)


app.command()(reproduce)


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
    from vlcam.cli.run_models import run_models

    run_models(name, arch=arch, revision=revision, as_json=as_json)
