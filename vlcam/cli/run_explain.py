"""What classify, caption and vqa of :mod:`vlcam.cli` do. Imported when a command runs, never before."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import torch
from PIL import Image

from vlcam.cli import console, printing
from vlcam.cli.document import to_json
from vlcam.cli.explain_options import ExplainOptions
from vlcam.cli.results_folder import ResultsFolder
from vlcam.contracts import Gain, InputError, LayerError, PerturbationMethod, Request, Task, VlcamError
from vlcam.explanation.explain import check_layer, explain
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.json_document import describe_explanation
from vlcam.explanation.options import RANKINGS, Ranking
from vlcam.files import check_folder, dump_json, replace_surrogates
from vlcam.methods import get_method
from vlcam.neurons import NeuronNames, read_names
from vlcam.neurons.names.json_files import find_names_file
from vlcam.scenes.record import SPLITS, Split
from vlcam.scenes.sample import make
from vlcam.tasks.load import load

PICTURE = 384
"""Side of a generated picture that is shown to a person, in pixels; the models see it at 96."""

TaskKind = Literal["classification", "captioning", "vqa"]
_BUNDLED = {"classification": "scenes/classifier", "captioning": "scenes/captioner", "vqa": "scenes/vqa"}
_LONGEST_SEED = 18  # digits


def choose_word_method(model: str | None, layer: str | None) -> str:
    """The method for words if none was asked for: what grounds the words of the bundled captioner best (``vlcam reproduce words``).

    That was measured on that captioner alone, and is not about a layer; so for other models, or if a layer is named, it is Grad-CAM.
    """
    return "occlusion" if model in (None, _BUNDLED["captioning"]) and layer is None else "gradcam"


def run_classify(wanted: ExplainOptions) -> int:
    """Explain classes; returns the exit code."""
    return _run_task("classification", wanted)


def run_caption(wanted: ExplainOptions) -> int:
    """Explain the words of captions; returns the exit code."""
    method = wanted.method or choose_word_method(wanted.model, wanted.layer)
    return _run_task("captioning", replace(wanted, method=method))


def run_vqa(wanted: ExplainOptions) -> int:
    """Explain answers; returns the exit code."""
    return _run_task("vqa", wanted)


def _run_task(kind: TaskKind, wanted: ExplainOptions) -> int:
    """Explain each image and return the exit code: 1 if some could not be explained; the others are finished."""
    out, as_json = wanted.out, wanted.as_json
    if out is not None:
        check_folder(out)
    names = None if wanted.names is None else read_names(find_names_file(wanted.names))
    if names is not None and wanted.layer is None:
        wanted = replace(wanted, layer=names.layer)
    task = _open_task(kind, wanted)
    _check(task, wanted)
    done: list[tuple[str, dict[str, Any]]] = []
    failed: list[tuple[str, str]] = []
    unforeseen: Exception | None = None
    slow = wanted.verify or isinstance(get_method(wanted.method), PerturbationMethod)
    report = None if out is None or wanted.names is None else find_report(wanted.names, out)
    with ResultsFolder(out, neurons=report) as results:
        with console.show_bar("explaining") if as_json and not slow else nullcontext() as advance:
            for number, source in enumerate(wanted.images, 1):
                try:
                    explanation = _explain_one(task, source, wanted, names)
                except Exception as error:
                    if not done and isinstance(error, LayerError):  # no image could mend that
                        raise
                    if not isinstance(error, VlcamError):
                        unforeseen = error
                        break
                    failed.append((source, str(error)))
                else:
                    results.add(explanation)
                    done.append((source, describe_explanation(explanation)))
                    if not as_json:
                        printing.show(explanation)
                if advance is not None:
                    advance(number, len(wanted.images))
        files = results.finish()
    if as_json and not (unforeseen and not done):
        console.print_data(dump_json(to_json(done, failed, files)))
    for source, why in failed:
        console.complain(why if repr(source)[1:-1] in why else f"{source}: {why}")
    if results.fault is not None:
        console.complain(f"{results.fault}; nothing was written")
    if unforeseen is not None:  # what came before it is told
        raise unforeseen
    return 1 if failed or results.fault is not None else 0


def open_image(source: str) -> tuple[str | Image.Image, str]:
    """A path, or the picture of ``scene:SEED`` or ``scene:SPLIT:SEED``; and what to call it."""
    if not source.startswith("scene:"):
        return source, replace_surrogates(Path(source).name)
    *before, seed = source.removeprefix("scene:").split(":")
    split = before[0] if before else "test"
    if len(before) > 1 or not (seed.isascii() and seed.isdecimal() and len(seed) <= _LONGEST_SEED):
        raise InputError(
            f"{source!r} was given; expected scene:SEED with a whole number, such as scene:7, or scene:unseen:7"
        )
    return Image.fromarray(make(int(seed), _find_split(split)).image(PICTURE)), source


def _find_split(name: str) -> Split:
    """The split with this name, or InputError."""
    found = next((split for split in SPLITS if split == name), None)
    if found is None:
        raise InputError(f"split {name!r} was given; expected one of {', '.join(SPLITS)}")
    return found


def find_report(names: Path, out: Path) -> str | None:
    """The way from a page in ``out`` to the neuron report beside the names, if there is one."""
    report = find_names_file(names).with_name("report.html")
    if not report.is_file() or report.resolve() == (out / "report.html").resolve():
        return None
    try:
        return quote(Path(os.path.relpath(report.resolve(), out.resolve())).as_posix())
    except ValueError:  # on another drive
        return None


def _open_task(kind: TaskKind, wanted: ExplainOptions) -> Task:
    if wanted.model is not None:
        if not wanted.model.startswith(("torchvision/", "scenes/")):
            console.hush_transformers()
        return load(
            wanted.model,
            arch=wanted.arch,
            revision=wanted.revision,
            task=kind,
            beams=wanted.beams,
            length=wanted.length,
            device=wanted.device,
            dtype=_read_precision(wanted.dtype),
        )
    if wanted.arch is not None:
        raise InputError(f"--arch {wanted.arch} goes with --model and the path of a state dict")
    if wanted.revision is not None:
        raise InputError(f"--revision {wanted.revision} goes with --model and a hub id")
    return load(_BUNDLED[kind], beams=wanted.beams, device=wanted.device, dtype=_read_precision(wanted.dtype))


def _read_ranking(name: str) -> Ranking:
    """``--ranking``, one of the two; InputError for anything else."""
    found = next((one for one in RANKINGS if one == name), None)
    if found is None:
        raise InputError(f"ranking {name!r} was given; expected one of {', '.join(RANKINGS)}")
    return found


def _check(task: Task, wanted: ExplainOptions) -> None:
    """Refuse what no image could mend, before any image is opened."""
    get_method(wanted.method)
    _read_ranking(wanted.ranking)
    blank = Image.new("RGB", (64, 64))
    _read_gain(wanted.gain)
    request = Request(
        wanted.targets,
        wanted.caption,
        wanted.question,
        wanted.top,
        _read_pairs(wanted.contrast or ()),
        prompt=wanted.prompt,
        measure=_read_measure(wanted.measure),
    )
    prepared = task.prepare(blank, request)
    if wanted.layer is not None:
        check_layer(task, wanted.layer, prepared, request)
    if task.kind == "captioning":  # the words of a contrast have to be words that the model knows
        for word in (one for pair in _read_pairs(wanted.contrast or ()) for one in pair):
            task.prepare(blank, Request(caption=word))


def _read_precision(name: str | None) -> torch.dtype | None:
    """The model's precision, if another than its weights' was asked for."""
    if name is None:
        return None
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise InputError(f"--dtype {name!r} was given; expected {', '.join(known)}")
    return known[name]


def _read_measure(name: str) -> Literal["log-probability", "logit"]:
    """What the scores of words are."""
    if name not in ("log-probability", "logit"):
        raise InputError(f"--measure {name!r} was given; expected log-probability or logit")
    return "logit" if name == "logit" else "log-probability"


def _read_gain(name: str | None) -> Gain | None:
    """What stands for no image, if the visual gain was asked for."""
    if name not in (None, "blank", "blur"):
        raise InputError(f"--gain {name!r} was given; expected blank or blur")
    return None if name is None else "blur" if name == "blur" else "blank"


def _read_pairs(contrasts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Contrasts THIS:THAT as pairs."""
    out = []
    for one in contrasts:
        this, _, that = (part.strip() for part in one.partition(":"))
        if not (this and that):
            raise InputError(f"--contrast {one!r} was given; expected THIS:THAT, such as red:blue")
        if this == that:
            raise InputError(f"--contrast {one!r} was given; a contrast needs two different things, such as red:blue")
        out.append((this, that))
    return tuple(out)


def _explain_one(task: Task, source: str, wanted: ExplainOptions, names: NeuronNames | None) -> Explanation:
    image, name = open_image(source)
    again = isinstance(get_method(wanted.method), PerturbationMethod)
    with console.show_bar("explaining") if again else nullcontext() as progress:
        explanation = explain(
            task,
            image,
            targets=wanted.targets,
            caption=wanted.caption,
            question=wanted.question,
            contrast=_read_pairs(wanted.contrast or ()),
            top_k=wanted.top,
            method=wanted.method,
            layer=wanted.layer,
            ranking=_read_ranking(wanted.ranking),
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
            f"the names are of layer {names.layer!r}, and layer {explanation.layer!r} is explained; give --layer {names.layer}"
        )
    return explanation
