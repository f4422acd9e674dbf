"""What classify, caption and vqa of :mod:`vlcam.cli` do. Imported when a command runs, never before."""

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal
from urllib.parse import quote

from PIL import Image

from vlcam.cli import console, printing
from vlcam.cli.check_explain import BUNDLED, CheckedExplain, TaskKind, name_options, read_scene, report_failures
from vlcam.cli.document import GrowingDocument
from vlcam.cli.explain_options import ExplainOptions
from vlcam.cli.results_folder import ResultsFolder
from vlcam.contracts import Gain, InputError, LayerError, Method, PerturbationMethod, Request, Task, VlcamError
from vlcam.explanation.explain import check_layer, explain, get_defaults
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import TextForm
from vlcam.files import replace_surrogates
from vlcam.image.photo import open_photo
from vlcam.methods import get_method
from vlcam.neurons import NeuronNames, read_names
from vlcam.neurons.names.json_files import find_names_file
from vlcam.scenes.sample import make
from vlcam.tasks.adapt import drop_remark
from vlcam.tasks.load import open_recipe
from vlcam.tasks.recipe import Recipe

PICTURE = 384
"""Side of a generated picture that is shown to a person, in pixels; the models see it at 96."""


def run_explain(kind: TaskKind, wanted: ExplainOptions, checked: CheckedExplain) -> int:
    """Explain each image and return the exit code: 1 if some could not be explained; the others are finished.

    If no image can be opened at all, no model is.
    """
    out, as_json = wanted.out, wanted.as_json
    done = 0
    failed: list[tuple[str, str]] = []
    unforeseen: Exception | None = None
    names = None if wanted.names is None else read_names(find_names_file(wanted.names))
    recipe = _complete_recipe(kind, checked.recipe, names)
    method = get_method(recipe.method or "auto")
    task = open_task(recipe)
    with name_options():
        _check(task, wanted, checked.pairs, recipe.layer)
    slow = wanted.verify or _takes_long(method)
    report = None if out is None or wanted.names is None else find_report(wanted.names, out)
    with ResultsFolder(out, neurons=report) as results, TemporaryFile("w+", encoding="utf-8") as store:
        document = GrowingDocument(store)
        with console.show_bar("explaining") if as_json and not slow else nullcontext() as advance:
            for number, source in enumerate(wanted.images):
                try:
                    if number in checked.failed:
                        raise InputError(checked.failed[number])
                    explanation = _explain_one(task, source, wanted, checked.pairs, names)
                except Exception as error:
                    if not done and isinstance(error, LayerError):  # it would fail for every image
                        raise
                    if not isinstance(error, VlcamError):
                        unforeseen = error
                        break
                    failed.append((source, str(error)))
                else:
                    results.add(explanation)
                    done += 1
                    if as_json:
                        document.add(source, explanation)
                    else:
                        printing.show(explanation, form=read_form(wanted.text))
                if advance is not None:
                    advance(number + 1, len(wanted.images))
        files = results.finish()
        if as_json and not (unforeseen and not done):
            document.write(sys.stdout, failed, files)
    code = report_failures(failed)
    if results.fault is not None:
        console.complain(f"{results.fault}; nothing was written")
        code = 1
    if unforeseen is not None:  # after what came before it has been reported
        raise unforeseen
    return code


def _takes_long(method: Method | PerturbationMethod) -> bool:
    """Whether somebody would like to see how far it has come."""
    return isinstance(method, PerturbationMethod) and not method.quick


def _complete_recipe(kind: TaskKind, recipe: Recipe, names: NeuronNames | None) -> Recipe:
    """The recipe with the bundled model where it names none, and the layer of the names."""
    if names is not None and recipe.layer is None:
        recipe = replace(recipe, layer=names.layer)
    return recipe if recipe.model is not None else replace(recipe, model=BUNDLED[kind])


def open_image(source: str) -> tuple[str | Image.Image, str]:
    """A path, or the picture of ``scene:SEED`` or ``scene:SPLIT:SEED``; and what to call it."""
    scene = read_scene(source)
    if scene is None:
        return source, replace_surrogates(Path(source).name)
    return Image.fromarray(make(*scene).image(PICTURE)), source


def find_report(names: Path, out: Path) -> str | None:
    """The relative link from a page in ``out`` to the neuron report beside the names, if there is one."""
    report = find_names_file(names).with_name("report.html")
    if not report.is_file() or report.resolve() == (out / "report.html").resolve():
        return None
    try:
        return quote(Path(os.path.relpath(report.resolve(), out.resolve())).as_posix())
    except ValueError:  # on another drive
        return None


def open_task(recipe: Recipe) -> Task:
    """The task of a recipe, without what transformers says while it opens one. Raises InputError."""
    if not str(recipe.model).startswith(("torchvision/", "scenes/")):
        console.hush_transformers()
    with name_options():
        return open_recipe(recipe)


def _check(task: Task, wanted: ExplainOptions, pairs: tuple[tuple[str, str], ...], layer: str | None) -> None:
    """Refuse a request that would fail for every image, before any image is opened."""
    blank = Image.new("RGB", (64, 64))
    request = Request(
        wanted.targets,
        wanted.caption,
        wanted.question,
        wanted.top,
        pairs,
        prompt=wanted.prompt,
        measure=_read_measure(wanted.measure),
    )
    prepared = task.prepare(blank, request)
    if layer is not None:
        check_layer(task, layer, prepared, request)
    if task.kind == "captioning":  # the words of a contrast have to be words that the model knows
        for word in (one for pair in pairs for one in pair):
            task.prepare(blank, Request(caption=word))


def _read_measure(name: str) -> Literal["log-probability", "logit"]:
    """What the scores of words are."""
    return "logit" if name == "logit" else "log-probability"


def read_form(name: str) -> TextForm:
    """Which text about neurons is printed."""
    return "full" if name == "full" else "paper" if name == "paper" else "short"


def _read_gain(name: str | None) -> Gain | None:
    """What replaces the image, if the visual gain was asked for."""
    return None if name is None else "blur" if name == "blur" else "blank"


def _explain_one(
    task: Task, source: str, wanted: ExplainOptions, pairs: tuple[tuple[str, str], ...], names: NeuronNames | None
) -> Explanation:
    image, name = open_image(source)
    if not isinstance(image, str):
        task = drop_remark(task)
    elif wanted.white is not None:
        image, _ = open_photo(image, name=name, white=wanted.white)
    slow = _takes_long(get_method(get_defaults(task)["method"]))
    with console.show_bar("explaining") if slow else nullcontext() as progress:
        explanation = explain(
            task,
            image,
            targets=wanted.targets,
            caption=wanted.caption,
            question=wanted.question,
            contrast=pairs,
            top_k=wanted.top,
            ranking="paper" if wanted.ranking == "paper" else "contribution",
            names=names,
            prompt=wanted.prompt,
            measure=_read_measure(wanted.measure),
            gain=_read_gain(wanted.gain),
            progress=progress,
            name=name,
        )
    if wanted.verify:
        with console.show_bar("verifying") as progress:
            explanation = explanation.verify(task, image, prompt=wanted.prompt, progress=progress)
    if names is not None and explanation.neurons is None:
        raise LayerError(
            f"the names are of layer {names.layer!r}, but layer {explanation.layer!r} is explained; give --layer {names.layer}"
        )
    return explanation
