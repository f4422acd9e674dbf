"""Classification as a task: each class logit is a target.

Targets are logits before softmax or sigmoid (Grad-CAM, arXiv 1610.02391, section 3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import Geometry, InputError, Layout, Names, Prepared, Request, Spoken, TargetError
from vlcam.labels import choose, contrast, position
from vlcam.plumbing import logits_of, to_model

Preprocessing = Callable[[Image], tuple[Any, Geometry]]


@final
@dataclass(frozen=True)
class Classification:
    """A classifier and how to talk to it.

    ``preprocess`` turns a photo into the model's input and the geometry (:class:`vlcam.Preprocess` does). ``activation`` says what
    turns logits into probabilities: ``softmax`` (one class), ``sigmoid`` (multi-label, or a single logit) or ``none``. A model
    with a single logit takes one label (that class, then "not" it), or two: the negative class, then the positive one.
    ``logits(model, inputs)`` may be given where ``model(inputs)`` does not simply return ``(1, classes)`` logits. ``layout`` says
    how the layer's output lies on the input, for layers whose output isn't that of a CNN.
    """

    kind: ClassVar[str] = "classification"

    model: nn.Module
    labels: Sequence[str]
    preprocess: Preprocessing
    layer: str | nn.Module | None = None
    name: str = "classifier"
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    logits: Callable[[Any, Any], Tensor] | None = None
    names: Names | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if self.activation not in ("softmax", "sigmoid", "none"):
            raise InputError(f"activation={self.activation!r} was given; expected softmax, sigmoid or none")

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the classes asked for, and make the input."""
        if request.caption is not None or request.question is not None:
            raise InputError("a classifier takes neither a caption nor a question; ask for classes instead")
        for label in (*request.labels, *(one for pair in request.contrasts for one in pair)):
            position(label, self._sides(), "class")
        inputs, geometry = self.preprocess(photo)
        return Prepared(to_model(inputs, self.model), geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward; the logits of the classes asked for, or of the ``top_k`` most probable."""
        output = (
            logits_of(self.model(prepared.inputs)) if self.logits is None else self.logits(self.model, prepared.inputs)
        )
        logits = output.reshape(-1)
        labels: Sequence[str] = self.labels
        if len(logits) == 1 and len(self._sides()) == 2:
            labels = self._sides()
            logits = torch.cat([logits, -logits] if len(self.labels) == 1 else [-logits, logits])
            probabilities = logits.detach().float().sigmoid()
        elif self.activation == "none":
            probabilities = None
        else:
            plain = logits.detach().float()
            probabilities = plain.softmax(-1) if self.activation == "softmax" else plain.sigmoid()
        chosen = choose(logits, probabilities, labels, request.labels, request.top_k, "class")
        contrasts = contrast(logits, labels, request.contrasts, "class")
        scores = [logits[index] for index, _ in chosen] + [score for score, _ in contrasts]
        best = labels[int(logits.detach().argmax())]
        return Spoken(
            torch.stack(scores),
            (*(target for _, target in chosen), *(target for _, target in contrasts)),
            best,
            self.layout,
        )

    def _sides(self) -> Sequence[str]:
        if not self.labels:
            raise TargetError("this classifier was given no labels; give one for each of its logits, in order")
        return (self.labels[0], f"not {self.labels[0]}") if len(self.labels) == 1 else self.labels
