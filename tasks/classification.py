"""Classification as a task: each class logit is a target.

Targets are logits before softmax or sigmoid (Grad-CAM, arXiv 1610.02391, section 3).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import Geometry, InputError, Layout, Names, Prepared, Request, Spoken, TargetError, show_record
from vlcam.engine.outputs import find_logits, to_model
from vlcam.tasks.labels import choose, contrast, find_position

Preprocessing = Callable[[Image], tuple[Any, Geometry]]


@final
@dataclass(frozen=True)
class Classification:
    """A classifier and how to talk to it.

    ``preprocess`` turns a photo into the model's input and the geometry (:class:`vlcam.Preprocess` does). ``activation`` says what
    turns logits into probabilities: ``softmax`` (one class), ``sigmoid`` (multi-label, or a single logit) or ``none``. A model
    with a single logit takes one label (that class, then "not" it), or two: the negative class, then the positive one.
    ``logits(model, inputs)`` may be given where ``model(inputs)`` does not simply return ``(1, classes)`` logits. ``layout`` says
    how the layer's output lies on the input, for layers whose output isn't that of a CNN, or is a function of the input that does;
    ``notes`` go with every result.
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
    layout: Layout | Callable[[Any], Any] | None = None
    notes: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    __repr__ = show_record

    def __post_init__(self) -> None:
        if self.activation not in ("softmax", "sigmoid", "none"):
            raise InputError(f"activation={self.activation!r} was given; expected softmax, sigmoid or none")

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the classes asked for, and make the input."""
        if request.caption is not None or request.question is not None:
            raise InputError("a classifier takes neither a caption nor a question; ask for classes instead")
        if request.prompt is not None:
            raise InputError(f"prompt={request.prompt!r} was given, but {self.name} takes no prompt; leave it out")
        for label in (*request.labels, *(one for pair in request.contrasts for one in pair)):
            find_position(label, self._list_labels(), "class")
        inputs, geometry = self.preprocess(photo)
        return Prepared(to_model(inputs, self.model), geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward; the logits of the classes asked for, or of the ``top_k`` most probable."""
        return self._make_spoken(self._compute_logits(prepared.inputs).reshape(-1), request, prepared.inputs)

    def run_batch(self, prepared: Sequence[Prepared], request: Request) -> list[Spoken]:
        """One forward for B photos whose inputs are equally large; each its own ``top_k``, or the classes asked for.

        Raises:
            InputError: the inputs differ in size, or the model doesn't return ``(B, classes)`` logits for them.
        """
        output = self._compute_logits(_join_inputs([one.inputs for one in prepared]))
        squeezed = self.logits is None and len(self.labels) < 3  # a single logit may come without its axis
        if output.ndim < (1 if squeezed else 2) or len(output) != len(prepared):
            raise InputError(
                f"logits {tuple(output.shape)} were returned for {len(prepared)} photos at once; expected one row for each"
            )
        pairs = zip(output, prepared, strict=True)
        return [self._make_spoken(logits.reshape(-1), request, one.inputs) for logits, one in pairs]

    def score_batch(self, prepared: Prepared, request: Request) -> Float[Tensor, "batch targets"]:
        """The logits of the classes asked for, and of contrasts, of every row of the input (see ``ScoringTask``)."""
        logits = self._compute_logits(prepared.inputs)
        logits = logits.reshape(len(logits), -1)
        sides = self._list_labels()
        if logits.shape[1] == 1 and len(sides) == 2:
            logits = torch.cat([logits, -logits] if len(self.labels) == 1 else [-logits, logits], 1)
        wanted = [logits[:, find_position(one, sides, "class")] for one in request.labels]
        for this, that in request.contrasts:
            wanted.append(
                logits[:, find_position(this, sides, "class")] - logits[:, find_position(that, sides, "class")]
            )
        return torch.stack(wanted, 1)

    def _compute_logits(self, inputs: Any) -> Tensor:
        return find_logits(self.model(inputs)) if self.logits is None else self.logits(self.model, inputs)

    def _make_spoken(self, logits: Float[Tensor, " outputs"], request: Request, inputs: Any) -> Spoken:
        """What one photo's logits say."""
        layout = self.layout
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(inputs)
        labels: Sequence[str] = self.labels
        if len(logits) == 1 and len(self._list_labels()) == 2:
            labels = self._list_labels()
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
            layout,
            notes=self.notes,
        )

    def _list_labels(self) -> Sequence[str]:
        if not self.labels:
            raise TargetError("this classifier was given no labels; give one for each of its logits, in order")
        return (self.labels[0], f"not {self.labels[0]}") if len(self.labels) == 1 else self.labels


def _join_inputs(inputs: Sequence[Any]) -> Any:
    """The inputs of B photos as one: their tensors ``(1, ...)`` as ``(B, ...)``, also inside tuples, lists and dicts."""
    first = inputs[0]
    if any(type(one) is not type(first) for one in inputs):
        raise InputError(f"inputs of {len({type(one) for one in inputs})} types don't fit together")
    if isinstance(first, Tensor):
        shapes = {tuple(one.shape) for one in inputs}
        if len(shapes) > 1 or first.shape[:1] != (1,):
            raise InputError(f"inputs of {shapes} don't fit together; expected one shape (1, ...)")
        return torch.cat(list(inputs))
    if type(first) is dict and all(one.keys() == first.keys() for one in inputs):
        return {key: _join_inputs([one[key] for one in inputs]) for key in first}
    if type(first) in (tuple, list) and len({len(one) for one in inputs}) == 1:
        return type(first)(_join_inputs(parts) for parts in zip(*inputs, strict=True))
    raise InputError(f"inputs of type {type(first).__name__} don't fit together; expected tensors (1, ...)")
