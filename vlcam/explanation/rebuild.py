"""The photo and the targets of an explanation, ready to be run again by the task that it was made with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from PIL import Image as Pictures
from PIL.Image import Image
from torch import nn

from vlcam.contracts import InputError, LayerError, Prepared, Request, Spoken, Target, TargetError, Task
from vlcam.engine.layers import find
from vlcam.engine.restore import allow_autograd, detach_tensors
from vlcam.explanation.evidence import LayerEvidence
from vlcam.explanation.record import AbstractExplanation
from vlcam.explanation.rerun import PhotoSubject, fix_targets, match_targets
from vlcam.explanation.run import run_and_record
from vlcam.image.photo import Photo, open_photo

_RATHER: Final = " rather than "


def rebuild_subject(
    explanation: AbstractExplanation, task: Task, image: Any = None, prompt: str | None = None
) -> PhotoSubject:
    """The photo and the targets of an explanation, ready to be run again.

    Raises InputError if it is another photo, or if the task scores the targets otherwise than the explanation says.
    """
    picture = _open_picture(explanation.photo, image)
    request = fix_targets(_rebuild_request(explanation, prompt), explanation.targets)
    with allow_autograd():
        prepared = task.prepare(picture, request)
    prepared = Prepared(detach_tensors(prepared.inputs), prepared.geometry)
    try:
        spoken, evidence = run_for_targets(
            task, prepared, request, get_explained_layer(task, explanation), explanation.targets
        )
    except (LayerError, TargetError) as error:
        raise InputError(
            f"{task.name} can't be run as {explanation.model} was when it was explained: {error}"
        ) from error
    subject = PhotoSubject(task, prepared, request, explanation.targets, evidence)
    scores = subject.order_scores(spoken).detach()
    said = torch.tensor([target.score for target in explanation.targets], dtype=scores.dtype, device="cpu")
    if not torch.allclose(scores.cpu(), said, rtol=1e-2, atol=1e-2):
        worst = int((scores.cpu() - said).abs().argmax())
        raise InputError(
            f"{task.name} scores {explanation.targets[worst].label!r} with {float(scores[worst]):.3f}, the explanation with "
            f"{float(said[worst]):.3f}; give the model, the photo and the prompt that it was made with"
        )
    return subject


def run_for_targets(
    task: Task, prepared: Prepared, request: Request, layer: str | nn.Module, targets: Sequence[Target]
) -> tuple[Spoken, LayerEvidence]:
    """Run the task once: what it said, and what that left at the layer, with the gradients of these targets in their order.

    Raises LayerError, or TargetError if the task doesn't score one of them again.
    """
    spoken, evidence = run_and_record(task, prepared, request, layer)
    order = match_targets(targets, spoken.targets, task.name)
    if order != list(range(len(spoken.targets))):
        evidence = replace(evidence, slopes=evidence.slopes[order])
    return spoken, evidence


def get_explained_layer(task: Task, explanation: AbstractExplanation) -> str | nn.Module:
    """The explained layer: as the task calls it if it is its own, whose layout the task knows; else by name."""
    own = task.layer
    return own if own is not None and find(task.model, own)[0] == explanation.layer else explanation.layer


def _open_picture(photo: Photo, image: Any) -> Image:
    if image is None:
        if photo.pixels.shape[:2] != (photo.height, photo.width):
            raise InputError(
                f"{photo.name} is {photo.width} x {photo.height} and the explanation keeps a smaller copy; give the photo itself"
            )
        return Pictures.fromarray(photo.pixels)
    picture, opened = open_photo(image)
    if opened.sha256 != photo.sha256:
        raise InputError(f"the photo given is not the one explained ({photo.name}); give that one")
    return picture


def _rebuild_request(explanation: AbstractExplanation, prompt: str | None) -> Request:
    """The request that the explanation answers."""
    pairs = tuple(
        (this, that)
        for target in explanation.targets
        if target.kind == "contrast"
        for this, _, that in (target.label.partition(_RATHER),)
    )
    words = explanation.task == "captioning" or any(target.kind == "word" for target in explanation.targets)
    logits = words and any(target.measure == "logit" for target in explanation.targets if target.kind != "contrast")
    return Request(
        question=explanation.question,
        contrasts=pairs,
        prompt=prompt,
        measure="logit" if logits else "log-probability",
    )
