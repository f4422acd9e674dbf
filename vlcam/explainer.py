"""The one path from an image to an Explanation."""

from collections.abc import Sequence
from dataclasses import replace
from operator import index
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vlcam.attribution import LayerMaps, maps_from
from vlcam.contracts import (
    Gain,
    InputError,
    LayerError,
    Method,
    Names,
    Prepared,
    Request,
    Spoken,
    Target,
    TargetError,
    Task,
)
from vlcam.engine import gradients, record
from vlcam.explanation import Explanation, NeuronText
from vlcam.gain import with_gain
from vlcam.layers import find, traced
from vlcam.methods import method as find_method
from vlcam.photo import open_photo
from vlcam.restore import plain
from vlcam.towers import layout_of

RANKINGS = ("contribution", "paper")


def explain(
    task: Task,
    image: Any,
    *,
    targets: Any = (),
    caption: str | None = None,
    question: str | None = None,
    contrast: Sequence[tuple[str, str]] | tuple[str, str] = (),
    top_k: int = 3,
    method: str | Method = "gradcam",
    layer: str | nn.Module | None = None,
    names: Names | None = None,
    ranking: str = "contribution",
    prompt: str | None = None,
    measure: Literal["log-probability", "logit"] = "log-probability",
    gain: Gain | None = None,
    name: str | None = None,
) -> Explanation:
    """Explain what a model says about an image: all targets from one forward pass.

    Args:
        task: the model and how to talk to it, such as :class:`vlcam.tasks.captioning.Captioning`.
        image: a path, a PIL image, an array ``(height, width, 3)`` or a tensor ``(3, height, width)``.
        targets: classes or answers to explain, by label or number; by default the ``top_k`` that the model says itself.
        caption: the caption to explain; by default the model's own.
        question: the question, for VQA.
        contrast: pairs "this rather than that" of classes, answers, or a word of the caption and another word.
        top_k: how many classes or answers the model names by itself.
        method: a name from ``vlcam.METHODS``, or a method.
        layer: the layer to explain; by default the task's, or else the last spatial layer that leads to the targets.
        names: names of the layer's channels; by default the task's.
        ranking: how channels are ranked for the text: ``contribution`` (in this image) or ``paper`` (by alpha).
        prompt: what a generative model is told before it speaks, such as "a photo of"; by default what suits the model.
        measure: what the scores of words are: ``log-probability``, or the raw ``logit``, for words so certain that the gradient
            of the log-probability is nearly zero.
        gain: also measure each word's visual gain, its log-probability with the image less that with a ``blank`` or a
            ``blur``red one; this costs a second forward pass.
        name: what to call the photo; by default its file name.

    Raises:
        InputError: the image, the text or an option can't be used.
        TargetError: the model doesn't know a class, word or answer.
        LayerError: the layer doesn't exist, or doesn't lead to the targets.
    """
    if question is not None and not isinstance(question, str):
        raise InputError(f"question={question!r} was given; expected a text")
    if ranking not in RANKINGS:
        raise InputError(f"ranking {ranking!r} was given; expected one of {', '.join(RANKINGS)}")
    if measure not in ("log-probability", "logit"):
        raise InputError(f"measure={measure!r} was given; expected log-probability or logit")
    if gain not in (None, "blank", "blur"):
        raise InputError(f"gain={gain!r} was given; expected blank, blur or None")
    chosen = method if isinstance(method, Method) else find_method(method)
    request = Request(
        labels=_labels(targets),
        caption=caption,
        question=question,
        top_k=top_k,
        contrasts=_pairs(contrast),
        prompt=prompt,
        measure=measure,
    )
    picture, photo = open_photo(image, name=name)
    with torch.inference_mode(False):  # autograd can't use what is made in it
        prepared = task.prepare(picture, request)
    prepared = replace(prepared, inputs=plain(prepared.inputs))
    wanted = task.layer if layer is None else layer
    if isinstance(wanted, str):
        check_layer(task, wanted, prepared, request)
    try:
        spoken, found = _run(task, prepared, request, wanted, chosen)
    except LayerError as error:
        if layer is not None and isinstance(task.layer, str) and layer != task.layer:
            raise LayerError(f"{error}; {task.layer!r}, which is explained by default, works") from error
        if wanted is not None:
            raise
        # The layer chosen by itself in an earlier run didn't lead to these targets and is forgotten: choose anew.
        spoken, found = _run(task, prepared, request, wanted, chosen)
    explanation = Explanation(
        task=task.kind,
        model=task.name,
        layer=found.layer,
        method=chosen.name,
        relu=chosen.relu,
        text=spoken.text,
        question=question,
        photo=photo,
        geometry=prepared.geometry,
        targets=weighed(spoken),
        maps=found.maps,
        alpha=found.alpha,
        contributions=found.contributions,
        activity=found.activity,
        question_words=tuple(span for span, _ in spoken.asked.words) if spoken.asked is not None else (),
        notes=spoken.notes,
    )
    if gain is not None:
        explanation = with_gain(explanation, task, picture, request, gain)
    known = task.names if names is None else names
    return explanation if known is None else replace(explanation, neurons=describe(explanation, known, ranking=ranking))


def _labels(targets: Any) -> tuple[str | int, ...]:
    """Classes or answers, one or several, as a tuple."""
    if targets is None:
        return ()
    given = targets.tolist() if isinstance(targets, (Tensor, np.ndarray)) else targets
    several = [given] if isinstance(given, str) or hasattr(given, "__index__") else given
    try:
        return tuple(one if isinstance(one, str) else index(one) for one in several)
    except TypeError as error:
        raise TargetError(f"targets={targets!r} was given; expected labels or whole numbers") from error


def _pairs(contrast: Any) -> tuple[tuple[str, str], ...]:
    """Contrasts as pairs; a single pair may stand on its own."""
    pairs = [contrast] if len(contrast) == 2 and all(isinstance(one, str) for one in contrast) else contrast
    if any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
        raise InputError(f"contrast={contrast!r} was given; expected pairs (this, rather than that)")
    return tuple((this, that) for this, that in pairs)


def _run(
    task: Task, prepared: Prepared, request: Request, layer: str | nn.Module | None, method: Method
) -> tuple[Spoken, LayerMaps]:
    with record(task.model, layer) as recording:
        spoken = task.run(prepared, request)
    layout = spoken.layout
    if layer != task.layer:  # the task's layout is that of its own layer
        layout = layout_of(recording.resolve(spoken.scores), prepared.geometry.input_size)
    return spoken, maps_from(spoken.scores, recording, method, layout)


def weighed(spoken: Spoken) -> tuple[Target, ...]:
    """The targets, with the importance of each word of the question: gradient times embedding, summed over its tokens."""
    if spoken.asked is None or not spoken.asked.words:
        return tuple(spoken.targets)
    leaf = spoken.asked.leaf
    slopes = gradients(spoken.scores, leaf)
    tokens = (slopes * leaf.detach()).float().sum(-1)[:, 0]
    words = torch.stack([tokens[:, list(places)].sum(1) for _, places in spoken.asked.words], 1)
    return tuple(replace(one, reading=tuple(row)) for one, row in zip(spoken.targets, words.tolist(), strict=True))


def check_layer(task: Task, layer: str, prepared: Prepared, request: Request) -> None:
    """Raise LayerError for a layer that the task's model doesn't have, with the closest names and their output shapes."""
    try:
        find(task.model, layer)
    except LayerError:
        rows = traced(task.model, lambda: task.run(prepared, request))
        find(task.model, layer, shapes={row.name: row.shape for row in rows})


def describe(explanation: Explanation, names: Names, *, ranking: str = "contribution") -> tuple[NeuronText, ...] | None:
    """The named-neuron text of every target; None if the names are those of another layer than the one explained."""
    if names.layer != explanation.layer:
        return None
    return tuple(
        names.describe(target, alpha, contributions, explanation.activity, ranking=ranking)
        for target, alpha, contributions in zip(
            explanation.targets, explanation.alpha, explanation.contributions, strict=True
        )
    )
