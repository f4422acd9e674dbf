"""Any scalar of any model's output as a target: segmentation, detection, regression, depth.

A target is a named function of the model's output; :func:`region` makes one for dense outputs, as in Seg-Grad-CAM (Vinogradova et
al. 2020, arXiv 2002.11434, eq. 2): the sum of a class's logits over a set of pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
    InputError,
    Layout,
    Measure,
    Names,
    Prepared,
    Request,
    Spoken,
    Target,
    TargetError,
    VlcamError,
    show_record,
)
from vlcam.engine.outputs import find_logits, to_model
from vlcam.engine.precision import widen
from vlcam.tasks.classification import Preprocessing
from vlcam.tasks.labels import find_position, make_contrast_target

Score = Callable[[Any], Tensor]


@final
@dataclass(frozen=True)
class Custom:
    """A model and named functions of its output, each of which gives one differentiable number for one photo.

    ``preprocess`` turns a photo into the model's input and the geometry. ``call(model, inputs)`` gives what the functions get; by
    default it is ``model(inputs)``. ``measure`` says what the numbers are. ``targets=`` and ``contrast=`` pick names; without
    them all functions are explained.
    """

    kind: ClassVar[str] = "classification"

    model: nn.Module
    targets: Mapping[str, Score]
    preprocess: Preprocessing
    call: Callable[[Any, Any], Any] | None = None
    layer: str | nn.Module | None = None
    name: str = "model"
    measure: Measure = "score"
    names: Names | None = None
    layout: Layout | None = None

    __repr__ = show_record

    def __post_init__(self) -> None:
        if not self.targets:
            raise InputError(
                "no targets were given; give at least one function by name: targets={'area': lambda output: ...}"
            )

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the names asked for, and make the input."""
        if request.caption is not None or request.question is not None:
            raise InputError("this model takes neither a caption nor a question; ask for its targets by name instead")
        if request.prompt is not None:
            raise InputError(f"prompt={request.prompt!r} was given, but {self.name} takes no prompt; leave it out")
        for label in (*request.labels, *(one for pair in request.contrasts for one in pair)):
            find_position(label, list(self.targets), "target")
        inputs, geometry = self.preprocess(photo)
        return Prepared(to_model(inputs, self.model), geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward pass; the numbers asked for, or all."""
        known = list(self.targets)
        wanted = [known[find_position(one, known, "target")] for one in request.labels] or known
        pairs = [
            (known[find_position(this, known, "target")], known[find_position(that, known, "target")])
            for this, that in request.contrasts
        ]
        output = self.model(prepared.inputs) if self.call is None else self.call(self.model, prepared.inputs)
        used = dict.fromkeys([*wanted, *(one for pair in pairs for one in pair)])
        scores = {name: self._score(name, output) for name in used}
        cut = [name for name, score in scores.items() if not score.requires_grad]
        if 0 < len(cut) < len(scores):  # beside the others its map would just be empty
            raise TargetError(
                f"target {cut[0]!r} isn't a differentiable function of the photo; leave .detach(), argmax and the like out of its function"
            )
        values = [*(scores[one] for one in wanted), *(scores[this] - scores[that] for this, that in pairs)]
        targets = [Target(one, "class", float(scores[one].detach()), measure=self.measure) for one in wanted]
        targets += [
            make_contrast_target(this, that, float((scores[this] - scores[that]).detach()), measure=self.measure)
            for this, that in pairs
        ]
        return Spoken(
            torch.stack(values), targets, max(wanted, key=lambda one: float(scores[one].detach())), self.layout
        )

    def _score(self, name: str, output: Any) -> Float[Tensor, ""]:
        """What one function makes of the output; half precision is widened to float32."""
        try:
            value = self.targets[name](output)
        except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, VlcamError):
                raise
            parts = f" with {', '.join(map(repr, output))}" if isinstance(output, Mapping) else ""
            raise TargetError(
                f"the function of target {name!r} failed on the model's output (a {type(output).__name__}{parts}): "
                f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            whole = isinstance(value, Tensor) and not value.is_floating_point()
            given = value.dtype if whole else tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TargetError(
                f"target {name!r} returned {given}; expected a tensor with one number, a float: sum or index what it returns"
            )
        return widen(value).reshape(())


def region(index: int, mask: Any = None) -> Score:
    """A target for dense outputs: the sum of the logits of class ``index`` over a region.

    Args:
        index: which channel of the output ``(1, classes, rows, columns)``; of outputs with several parts, the one that
            :func:`vlcam.engine.outputs.find_logits` picks is taken (torchvision's ``out``, transformers' ``logits``).
        mask: an array or tensor ``(rows, columns)`` of the output's size, weights or booleans; by default the pixels that the model itself
            assigns to the class.

    Raises:
        TargetError: (by the function) the output has another size or no such class, or the region is empty.
    """

    def score(output: Any) -> Tensor:
        logits = find_logits(output)
        if logits.ndim != 4 or len(logits) != 1 or not 0 <= index < logits.shape[1]:
            raise TargetError(
                f"class {index} of a region was asked for, but the output is {tuple(logits.shape)}; expected (1, classes, rows, columns)"
            )
        weights = (
            logits.detach()[0].argmax(0) == index if mask is None else torch.as_tensor(np.asarray(mask), device="cpu")
        )
        if weights.shape != logits.shape[2:]:
            raise TargetError(
                f"a mask of {tuple(weights.shape)} was given, but the output is {tuple(logits.shape[2:])}; resize the mask"
            )
        if not weights.any():
            raise TargetError(
                f"the region of class {index} is empty: "
                + (
                    "the model assigns no pixel to it; give a mask"
                    if mask is None
                    else "the mask selects no pixel; give one that does"
                )
            )
        return (logits[0, index] * weights.to(logits)).sum()

    return score
