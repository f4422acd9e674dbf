"""Classification as a task: each class logit is a target.

Targets are logits before softmax or sigmoid (Grad-CAM, arXiv 1610.02391, section 3).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
    Geometry,
    InputError,
    Layout,
    Measure,
    Names,
    Prepared,
    Request,
    Spoken,
    TargetError,
    show_record,
)
from vlcam.engine.output_kind import ClassOutput
from vlcam.engine.outputs import find_logits, to_model
from vlcam.tasks.class_outputs import (
    Activation,
    check_activation,
    compute_probabilities,
    describe_output,
    is_quantity,
    run_with_activation,
    split_in_two,
)
from vlcam.tasks.joining import join_inputs
from vlcam.tasks.labels import choose, contrast, find_position

Preprocessing = Callable[[Image], tuple[Any, Geometry]]


@final
@dataclass(frozen=True)
class Classification:
    """A classifier and how to use it.

    ``preprocess`` turns a photo into the model's input and the geometry (:class:`vlcam.Preprocess` does). ``activation`` says what the
    outputs are: logits, which a ``softmax`` (one class) or a ``sigmoid`` (multi-label, or a single logit) turns into probabilities, or
    ``logits`` for whichever of the two suits their number; ``probabilities`` already; ``none``, scores that only rank the classes; or
    ``quantities``, such as an age, which aren't compared at all. If the model has a softmax or sigmoid of its own, its outputs are
    recognised as probabilities whatever ``activation`` says, and a note says so; the scores that are explained are the logits before it. A
    model with a single logit takes one label (that class, then "not" it), or two: the negative class, then the positive one.
    ``logits(model, inputs)`` may be given where ``model(inputs)`` does not simply return ``(1, classes)`` logits. ``layout`` says how the
    layer's output lies on the input, if it isn't that of a CNN, or is a function of the input that says so; ``notes`` are added to every
    result.
    """

    kind: ClassVar[str] = "classification"

    model: nn.Module
    labels: Sequence[str]
    preprocess: Preprocessing
    layer: str | nn.Module | None = None
    name: str = "classifier"
    activation: Activation = "softmax"
    logits: Callable[[Any, Any], Tensor] | None = None
    names: Names | None = None
    layout: Layout | Callable[[Any], Any] | None = None
    notes: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    __repr__ = show_record

    def __post_init__(self) -> None:
        check_activation(self.activation)

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
        """One forward pass; the logits of the classes asked for, or of the ``top_k`` most probable."""
        return self._make_spoken(self._run_model(prepared.inputs, 1), request, prepared.inputs)

    def run_batch(self, prepared: Sequence[Prepared], request: Request) -> list[Spoken]:
        """One forward pass for B photos with inputs of the same size; for each its own ``top_k``, or the classes asked for.

        Raises:
            InputError: the inputs differ in size, or the model doesn't return ``(B, classes)`` logits for them.
        """
        output = self._run_model(join_inputs([one.inputs for one in prepared]), len(prepared))
        return [self._make_spoken(_get_row(output, row), request, one.inputs) for row, one in enumerate(prepared)]

    def score_batch(self, prepared: Prepared, request: Request) -> Float[Tensor, "batch targets"]:
        """The logits of the classes asked for, and of contrasts, of every row of the input (see ``ScoringTask``)."""
        output, sides = self._find_sides(self._run_model(prepared.inputs, None))
        logits = output.scores
        wanted = [logits[:, find_position(one, sides, "class")] for one in request.labels]
        for this, that in request.contrasts:
            wanted.append(
                logits[:, find_position(this, sides, "class")] - logits[:, find_position(that, sides, "class")]
            )
        return torch.stack(wanted, 1)

    def _run_model(self, inputs: Any, rows: int | None) -> ClassOutput:
        """Run once and interpret the outputs ``(rows, outputs)``. Raises InputError for a wrong number of rows."""

        def run() -> Tensor:
            output = find_logits(self.model(inputs)) if self.logits is None else self.logits(self.model, inputs)
            squeezed = self.logits is None and len(self.labels) < 3  # a single logit may come without its axis
            alone = rows == 1
            if rows is not None and not alone and (output.ndim < (1 if squeezed else 2) or len(output) != rows):
                raise InputError(
                    f"logits {tuple(output.shape)} were returned for {rows} photos at once; expected one row for each"
                )
            return output

        return run_with_activation(self.model, run, rows, self.activation, self.name)

    def _find_sides(self, output: ClassOutput) -> tuple[ClassOutput, Sequence[str]]:
        """The outputs with their labels: a single one for a class, and its opposite. Raises InputError for two labels of a quantity."""
        labels = self._list_labels()
        if output.scores.shape[1] != 1 or len(self.labels) > 2:
            return output, self.labels
        if not is_quantity(output, self.activation):
            return split_in_two(output, len(self.labels) - 1), labels
        if len(self.labels) == 2:
            raise InputError(
                f"{self.name} returns one number that isn't a logit, so it can't choose between {self.labels[0]!r} and "
                f"{self.labels[1]!r}; give one label for it, or say with activation= what it is"
            )
        return output, self.labels

    def _make_spoken(self, output: ClassOutput, request: Request, inputs: Any) -> Spoken:
        """What one photo's outputs say."""
        layout = self.layout
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(inputs)
        found, labels = self._find_sides(output)
        logits = found.scores[0]
        likely = compute_probabilities(found, self.activation)
        probabilities = None if likely is None else likely[0]
        measure: Measure = "score" if probabilities is None else "logit"
        quantities = self.activation == "quantities" and probabilities is None
        wanted = request.labels
        if quantities and not wanted and request.top_k > 0:  # they aren't compared with each other
            wanted = tuple(range(min(request.top_k, len(logits))))
        chosen = choose(logits, probabilities, labels, wanted, request.top_k, "class", measure)
        contrasts = contrast(logits, labels, request.contrasts, "class", measure)
        scores = [logits[index] for index, _ in chosen] + [score for score, _ in contrasts]
        text = labels[int(logits.detach().argmax())]
        if quantities:
            text = ", ".join(f"{target.label} {target.score:.4g}" for _, target in chosen)
        return Spoken(
            torch.stack(scores),
            (*(target for _, target in chosen), *(target for _, target in contrasts)),
            text,
            layout,
            notes=(*self.notes, *describe_output(output, self.activation)),
        )

    def _list_labels(self) -> Sequence[str]:
        if not self.labels:
            raise TargetError("this classifier was given no labels; give one for each of its logits, in order")
        return (self.labels[0], f"not {self.labels[0]}") if len(self.labels) == 1 else self.labels


def _get_row(output: ClassOutput, row: int) -> ClassOutput:
    """The outputs of one photo of several."""
    own = None if output.probabilities is None else output.probabilities[row : row + 1]
    return replace(output, scores=output.scores[row : row + 1], probabilities=own)
