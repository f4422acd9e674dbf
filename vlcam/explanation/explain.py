"""The one path from an image to an Explanation."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack, final, overload

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
    BatchTask,
    Gain,
    InputError,
    LayerError,
    Method,
    Names,
    PerturbationMethod,
    Prepared,
    Request,
    Spoken,
    Task,
    VlcamError,
    show_record,
)
from vlcam.engine.layers import Grid, find, trace_layers
from vlcam.engine.modules import has_independent_rows, name_cause
from vlcam.engine.recording import record
from vlcam.engine.restore import allow_autograd, detach_tensors, undo_after_errors
from vlcam.engine.settle_layer import settle_layer
from vlcam.engine.tower import Tower
from vlcam.explanation.evidence import LayerEvidence, LayerMaps, collect_batch_evidence
from vlcam.explanation.explanation import Explanation, Explanations
from vlcam.explanation.options import CheckedOptions, Options, Ranking, check_options
from vlcam.explanation.question_words import WeighedWords, weigh_words, weigh_words_together
from vlcam.explanation.record import NeuronText
from vlcam.explanation.rerun import PhotoSubject, fix_targets
from vlcam.explanation.run import find_maps, make_trial, run_and_record
from vlcam.explanation.visual_gain import add_gain
from vlcam.files import describe_error
from vlcam.image.decode import get_opened
from vlcam.image.photo import Bands, Photo, open_photo
from vlcam.image.preprocess import PreprocessSettings, describe_preprocessing, make_remarks
from vlcam.methods.auto import TRUSTED, describe_loss

_log = logging.getLogger(__name__)


BATCH = 8
"""How many images of a list go through the model together."""


@final
@dataclass(frozen=True)
class PreparedPhoto:
    """One photo, opened and prepared for the model; ``picture`` is its full size, if that is needed again.

    ``notes`` are remarks on how it was read, and on whether the model was made for such photos.
    """

    picture: Image | None
    photo: Photo
    prepared: Prepared
    settings: PreprocessSettings
    notes: tuple[str, ...] = ()

    __repr__ = show_record


@overload
def explain(
    task: Task,
    image: list[Any] | tuple[Any, ...],
    *,
    name: None = None,
    progress: Callable[[int, int], Any] | None = None,
    **options: Unpack[Options],
) -> list[Explanation]: ...
@overload
def explain(
    task: Task,
    image: str | Path | Image | np.ndarray | Tensor | Bands,
    *,
    name: str | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **options: Unpack[Options],
) -> Explanation: ...
@undo_after_errors
def explain(
    task: Task,
    image: Any,
    *,
    targets: Any = (),
    caption: str | None = None,
    question: str | None = None,
    contrast: Any = (),
    top_k: int = 3,
    method: str | Method | PerturbationMethod | None = None,
    layer: str | nn.Module | None = None,
    names: Names | None = None,
    ranking: Ranking = "contribution",
    prompt: str | None = None,
    measure: Literal["log-probability", "logit"] = "log-probability",
    gain: Gain | None = None,
    progress: Callable[[int, int], Any] | None = None,
    name: str | None = None,
) -> Explanation | list[Explanation]:
    """Explain what a model says about an image: all targets from one forward pass.

    Args:
        task: the model and how to talk to it, such as :class:`vlcam.tasks.captioning.Captioning`.
        image: a path, a PIL image, an array ``(height, width, 3)`` or a tensor ``(3, height, width)``; or a list of them, in
            batches of 8 where the task can. For more than fit the memory there is :func:`vlcam.explanation.batches.explain_batches`.
        targets: classes or answers to explain, by label or number; by default the ``top_k`` that the model says itself. Of one photo a
            list of them. Of several photos a single target, or a tuple of targets, is meant for every photo, and a list or an array
            has one entry for every photo, as in :func:`vlcam.attribute`: ``targets=[["cat", "dog"], ["cow"]]``.
        caption: the caption to explain; by default the model's own.
        question: the question, for VQA.
        contrast: pairs "this rather than that" of classes (by label or number), answers, or a word of the caption and another word.
        top_k: how many classes or answers the model names by itself.
        method: a name from :func:`vlcam.list_methods`, or a method: maps from one run, or a perturbation method,
            which runs the model again (``occlusion`` hundreds of times). By default that of the task's recipe, or ``auto``: Grad-CAM
            where its average over the picture loses nothing, else masked gradients (:mod:`vlcam.methods.auto`).
        layer: the layer to explain; by default the task's, or else the last spatial layer that leads to the targets.
        names: names of the layer's channels; by default the task's.
        ranking: how channels are ranked for the text: ``contribution`` (in this image) or ``paper`` (by alpha).
        prompt: what a generative model is told before it speaks, such as "a photo of"; by default what suits the model.
        measure: what the scores of words are: ``log-probability``, or the raw ``logit``, for words so certain that the gradient
            of the log-probability is nearly zero.
        gain: also measure each word's visual information gain: its log-probability with the image less that with a ``blank`` or a
            ``blur``red one; this costs a second forward pass.
        progress: called with (done, all) by methods that run the model many times; by default no progress is shown.
        name: what to call the photo; by default its file name.

    Returns:
        The explanation; for a list of images a list of them (:class:`vlcam.explanation.Explanations`).

    Raises:
        InputError: the image, the text or an option can't be used.
        TargetError: the model doesn't know a class, word or answer.
        LayerError: the layer doesn't exist, or doesn't lead to the targets.
            Of a list, the first error is raised; it begins with the image's place, such as ``image[3]``.
    """
    several = isinstance(image, (list, tuple))
    usual = get_defaults(task)
    order = check_options(
        targets=targets,
        caption=caption,
        question=question,
        contrast=contrast,
        top_k=top_k,
        method=usual["method"] if method is None else method,
        layer=usual["layer"] if layer is None else layer,
        names=names,
        ranking=ranking,
        prompt=prompt,
        measure=measure,
        gain=gain,
        progress=progress,
        several=several,
        photos=len(image) if several else None,
    )
    if not several:
        return explain_one(task, prepare_photo(task, image, order, name), order)
    if name is not None:
        raise InputError(
            f"name={name!r} was given for {len(image)} images; leave it out: each image is named after its file"
        )
    return Explanations(
        one
        for start in range(0, len(image), BATCH)
        for one in _explain_list(task, image[start : start + BATCH], start, order)
    )


def get_defaults(task: Task) -> dict[str, Any]:
    """The method and the layer that a task is explained by where none is asked for; the layer may be None."""
    return {"method": "auto", "layer": None, **getattr(task, "defaults", {})}


def prepare_photo(task: Task, image: Any, order: CheckedOptions, name: str | None = None) -> PreparedPhoto:
    """Open an image and prepare it. Raises InputError or TargetError."""
    picture, photo = open_photo(image, name=name)
    with allow_autograd():  # autograd can't use what is made in it
        prepared = task.prepare(picture, order.request)
    preprocess = getattr(task, "preprocess", None) or getattr(task, "ask", None)
    return PreparedPhoto(
        picture if order.gain else None,
        photo,
        replace(prepared, inputs=detach_tensors(prepared.inputs)),
        describe_preprocessing(preprocess, prepared.geometry),
        (*make_remarks(preprocess, picture), *get_opened(picture).notes),
    )


def explain_one(task: Task, ready: PreparedPhoto, order: CheckedOptions) -> Explanation:
    """Explain one photo. Raises LayerError or TargetError."""
    with name_cause(task.model):
        spoken, found = _run_at_layer(task, ready, order)
    return _make_explanation(task, ready, order, spoken, found, weigh_words(spoken))


def _run_at_layer(task: Task, ready: PreparedPhoto, order: CheckedOptions) -> tuple[Spoken, LayerMaps]:
    """Run the task at the layer that was asked for, or at its own."""
    wanted = task.layer if order.layer is None else order.layer
    if isinstance(wanted, str):
        check_layer(task, wanted, ready.prepared, order.request)
    try:
        return _run(task, ready.prepared, order, wanted)
    except LayerError as error:
        if order.layer is not None and isinstance(task.layer, str) and order.layer != task.layer:
            raise LayerError(f"{error}; {task.layer!r}, which is explained by default, works") from error
        if wanted is not None:
            raise
        # The layer chosen by itself in an earlier run didn't lead to these targets and is forgotten: choose anew.
        return _run(task, ready.prepared, order, wanted)


def explain_together(
    task: Task, ready: Sequence[PreparedPhoto], orders: Sequence[CheckedOptions]
) -> list[Explanation] | None:
    """Explain several photos from one forward pass; None if that can't be done for them, or not for all of them.

    The results are those of :func:`explain_one`, which is left to say what is wrong with which photo, and to explain photos whose
    targets differ.
    """
    if len(ready) < 2 or any(one.request != orders[0].request for one in orders):
        return None
    order = orders[0]
    if not isinstance(task, BatchTask) or not has_independent_rows(task.model):
        return None
    if not isinstance(order.method, Method) and not order.method.quick:  # it runs the model again, photo by photo
        return None
    wanted = task.layer if order.layer is None else order.layer
    tower = None if wanted is None or isinstance(order.method, Method) else Tower()
    try:
        with record(task.model, wanted, tower=tower) as recording:
            spoken = task.run_batch([one.prepared for one in ready], order.request)
        counts = [len(one.scores) for one in spoken]
        # Where a photo has fewer targets than another, zeros stand in, which no gradient comes from.
        scores = torch.nn.utils.rnn.pad_sequence([one.scores for one in spoken], batch_first=True)
        layout: Any = spoken[0].layout
        leaf: Tensor | None = None
        if wanted == task.layer and any(one.layout != layout for one in spoken):
            return None
        if layout is None or wanted != task.layer:
            trial = make_trial(task, ready[0].prepared, order.request)
            leaf, layout = settle_layer(recording, scores.sum(0), trial, batch=len(ready), rows=1)
        if not isinstance(layout, Grid):
            return None
        found = collect_batch_evidence(scores, recording, layout, leaf, tower, counts=counts)
        words = weigh_words_together(spoken)
        return [
            _make_explanation(task, one, order, said, _find_maps(task, one.prepared, order, said, evidence), weighed)
            for one, said, evidence, weighed in zip(ready, spoken, found, words, strict=True)
        ]
    except Exception as error:  # whatever it is, it shows again, beside the photo that it belongs to
        _log.debug("%d photos go through %s one by one: %s", len(ready), task.name, describe_error(error))
        return None


def _explain_list(task: Task, images: Sequence[Any], first: int, order: CheckedOptions) -> list[Explanation]:
    """One batch of a list of images, the first of which is ``image[first]``."""
    ready, orders = [], []
    for number, image in enumerate(images, first):
        with _prefix_errors(number):
            orders.append(order.get_for(number))
            ready.append(prepare_photo(task, image, orders[-1]))
    found = explain_together(task, ready, orders)
    if found is not None:
        return found
    found = []
    for number, (one, own) in enumerate(zip(ready, orders, strict=True), first):
        with _prefix_errors(number):
            found.append(explain_one(task, one, own))
    return found


@contextmanager
def _prefix_errors(number: int) -> Iterator[None]:
    """Errors begin with the image's place in the list."""
    try:
        yield
    except VlcamError as error:
        error.args = (f"image[{number}]: {error}",)
        raise
    except Exception as error:
        error.add_note(f"in vlcam.explain, at image[{number}]")
        raise


def _make_explanation(
    task: Task, ready: PreparedPhoto, order: CheckedOptions, spoken: Spoken, found: LayerMaps, words: WeighedWords
) -> Explanation:
    explanation = Explanation(
        task=task.kind,
        model=task.name,
        layer=found.layer,
        method=found.method or order.method.name,
        relu=order.method.relu if found.relu is None else found.relu,
        text=spoken.text,
        question=order.request.question,
        photo=ready.photo,
        geometry=ready.prepared.geometry,
        targets=words.targets,
        maps=found.maps,
        alpha=found.alpha,
        contributions=found.contributions,
        activity=found.activity,
        question_words=words.spans,
        notes=(*ready.notes, *spoken.notes, *_list_doubts(found, order.method.name), *words.notes),
        preprocessing=ready.settings,
        steps=found.steps,
        diagnostic=found.diagnostic,
        choice=found.choice,
    )
    if order.gain is not None and ready.picture is not None:
        explanation = add_gain(explanation, task, ready.picture, order.request, order.gain)
    known = task.names if order.names is None else order.names
    return (
        explanation
        if known is None
        else replace(explanation, neurons=describe(explanation, known, ranking=order.ranking))
    )


_AVERAGED = ("gradcam", "counterfactual")
"""Methods that average the gradient over the picture."""


def _list_doubts(found: LayerMaps, method: str) -> list[str]:
    """That the average of Grad-CAM destroys the place here, if it is Grad-CAM's map and that is so."""
    kept = None if found.diagnostic is None else found.diagnostic.kept
    return [describe_loss(kept)] if method in _AVERAGED and kept is not None and kept < TRUSTED else []


def _run(
    task: Task, prepared: Prepared, order: CheckedOptions, layer: str | nn.Module | None
) -> tuple[Spoken, LayerMaps]:
    again = not isinstance(order.method, Method)
    spoken, evidence = run_and_record(task, prepared, order.request, layer, keep_tower=again)
    return spoken, _find_maps(task, prepared, order, spoken, evidence)


def _find_maps(
    task: Task, prepared: Prepared, order: CheckedOptions, spoken: Spoken, evidence: LayerEvidence
) -> LayerMaps:
    """The maps of the method that was asked for."""
    if isinstance(order.method, Method):
        return evidence.make_maps(order.method)
    targets = tuple(spoken.targets)
    subject = PhotoSubject(task, prepared, fix_targets(order.request, targets), targets, evidence, order.progress)
    return evidence.combine(find_maps(order.method, subject))


def check_layer(task: Task, layer: str, prepared: Prepared, request: Request) -> None:
    """Raise LayerError for a layer that the task's model doesn't have, with the closest names and their output shapes."""
    try:
        find(task.model, layer)
    except LayerError:
        rows = trace_layers(task.model, lambda: task.run(prepared, request))
        find(task.model, layer, shapes={row.name: row.shape for row in rows})


def describe(explanation: Explanation, names: Names, *, ranking: str = "contribution") -> tuple[NeuronText, ...] | None:
    """The named-neuron text of every target; None if the names are those of another layer than the one explained."""
    if names.layer != explanation.layer:
        return None
    return tuple(
        names.text(target, alpha, contributions, explanation.activity, ranking=ranking)
        for target, alpha, contributions in zip(
            explanation.targets, explanation.alpha, explanation.contributions, strict=True
        )
    )
