"""Visual information gain: how much more probable a word is with the image than without it, after the same words.

``log p(word | image, words before) - log p(word | no image, words before)`` in nats: high for a word that was seen, about 0 for one
that the language would have said anyway, negative where the image speaks against it. For a word by itself this is the pointwise
mutual information of word and image, given the words before.

``without`` says what stands for no image. ``blank``: the whole photo in mid grey, so that nothing of it is left, not even its
light or colour. ``blur``: a Gaussian blur with a deviation of a tenth of the photo's shorter side; light and large patches of colour
remain, so what is measured is what the details say.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from PIL import Image as Pictures
from PIL import ImageFilter
from PIL.Image import Image

from vlcam.contracts import Gain, InputError, Prepared, Request, Target, Task
from vlcam.engine.recording import pause_recording
from vlcam.engine.restore import allow_autograd, detach_tensors, preserve_model
from vlcam.explanation.record import AbstractExplanation
from vlcam.explanation.rerun import match_targets
from vlcam.image.photo import get_bands

_GREY = (128, 128, 128)
_BLUR = 0.1
"""Standard deviation of the blur as a fraction of the photo's shorter side."""

_NOTE = {
    "blank": "given a grey picture instead",
    "blur": "given a heavily blurred copy",
}


Explained = TypeVar("Explained", bound=AbstractExplanation)


def add_gain(explanation: Explained, task: Task, photo: Image, request: Request, without: Gain) -> Explained:
    """The explanation with the visual information gain of every target whose score is a log-probability, and a note on what it means.

    The words are those of the explanation: the same token ids are scored without the image, whatever the model would say then. Of
    a contrast this is how far the image moves the odds. It takes one more forward pass (two if logits were explained), without
    autograd; the model is left as it was.

    Raises:
        InputError: the model chooses from a list instead of speaking, so there are no words whose probability could be compared.
    """
    request = replace(request, measure="log-probability", ids=find_token_ids(explanation, request))
    blind = score_targets(task, hide_content(photo, without), request)
    if not any(target.measure == "log-probability" for target in blind):
        raise InputError(
            f"gain={without!r} was given, but {explanation.model} chooses from a list instead of writing words; leave gain out"
        )
    seen = explanation.targets
    if any(target.measure != "log-probability" for target in seen):
        seen = score_targets(task, photo, request)
    orders = (match_targets(explanation.targets, found, explanation.model) for found in (seen, blind))
    pairs = [(seen[one], blind[other]) for one, other in zip(*orders, strict=True)]
    gains = [one.score - other.score if other.measure == "log-probability" else None for one, other in pairs]
    targets = tuple(replace(target, gain=gain) for target, gain in zip(explanation.targets, gains, strict=True))
    note = (
        f"Visual information gain: how many nats the image adds to the log-probability of a word, compared with the same model "
        f"{_NOTE[without]}. High: the word was seen. About 0: the language model would have said it anyway. Negative: the image "
        "speaks against it."
    )
    return replace(explanation, targets=targets, notes=(*explanation.notes, note))


def find_token_ids(explanation: AbstractExplanation, request: Request) -> tuple[int, ...] | None:
    """The token ids of what was said, if the model said it by itself or they are those of a caption; else the request has them."""
    if request.labels:
        return request.ids
    whole = next((one for one in explanation.targets if one.kind in ("caption", "answer")), None)
    return request.ids if whole is None else whole.token_ids


def score_targets(task: Task, photo: Image, request: Request) -> tuple[Target, ...]:
    """What the task says about a photo, with scores but without autograd and unseen by recordings; the model is left as it was."""
    with allow_autograd(), preserve_model(task.model), pause_recording():
        prepared = task.prepare(photo, request)
        spoken = task.run(Prepared(detach_tensors(prepared.inputs), prepared.geometry), request)
    return tuple(spoken.targets)


def hide_content(photo: Image, without: Gain) -> Image:
    """The photo without what it shows, at the same size. Raises InputError for bands that are not colours."""
    bands = get_bands(photo)
    if bands is not None and bands.dtype != np.uint8:
        raise InputError(
            f"gain={without!r} was given for a photo of {bands.shape[2]} bands, which has no {without} form; leave gain out"
        )
    if without == "blank":
        return Pictures.new("RGB", photo.size, _GREY)
    return photo.filter(ImageFilter.GaussianBlur(_BLUR * min(photo.size)))
