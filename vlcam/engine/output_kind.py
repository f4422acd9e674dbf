"""What a classifier's outputs are: logits, or probabilities that its own softmax or sigmoid has made of them already.

A softmax of probabilities is nearly flat, and a sigmoid of a probability is never below one half, so outputs that are taken for logits
without looking can turn an answer round. Three things tell what they are: the function that made them (watched while the model
runs, so ``F.softmax`` counts as well as ``nn.Softmax``), the operations between that function and the output, and the values.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import show_record
from vlcam.engine.modes import AbstractSwitchedMode
from vlcam.engine.precision import widen
from vlcam.engine.restore import note_in_context

OutputKind: TypeAlias = Literal["logits", "exclusive", "independent", "scores"]
"""``exclusive`` probabilities sum to one over the classes, ``independent`` ones don't; ``scores`` are neither logits nor probabilities."""

_KEPT = 8
_OFF = 1e-5
"""How far from one the sum of numbers of unknown origin may be; of a known softmax's, which are rounded more in half precision, more."""
_OFF_KNOWN = 2e-2
_DEPTH = 12

_EXCLUSIVE = "softmax", "log_softmax", "gumbel_softmax"
_INDEPENDENT = "sigmoid", "logsigmoid", "hardsigmoid"
_SCORES = "tanh", "relu", "softplus", "exp", "hardtanh"
_WATCHED: dict[Any, str] = {
    function: name
    for name in (*_EXCLUSIVE, *_INDEPENDENT, *_SCORES)
    for home in (F, torch, Tensor, torch.special)
    for function in (getattr(home, name, None), getattr(home, f"{name}_", None))
    if function is not None
}
_WATCHED |= {torch.special.expit: "sigmoid"}
# What autograd calls the operations that make probabilities, and those that only pick or mix what is there already.
_MAKERS = ("SoftmaxBackward", "SigmoidBackward", "HardsigmoidBackward", "TanhBackward")
_NEVER_NEGATIVE = ("ReluBackward", "SoftplusBackward", "ExpBackward", "AbsBackward", "SquareBackward", "PowBackward")
_SHAPERS = ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Alias", "Clone", "ToCopy")
_MIXERS = (
    "Log", "Log1P", "Exp", "Clamp", "Pow", "Sqrt", "Maximum", "Minimum",
    "Select", "Slice", "Index", "Gather", "Rsub", "Sub", "Add", "Mul", "Div", "Mean", "Sum", "Stack", "Cat", "View", "UnsafeView",
    "ReshapeAlias", "Squeeze", "Unsqueeze", "Clone", "Alias", "ToCopy", "Permute", "Transpose", "T", "Expand", "Neg", "Unbind", "Split",
)  # fmt: skip

_mixed: WeakSet[nn.Module] = WeakSet()
"""Models whose outputs were seen to be mixed from probabilities, for runs without autograd."""


@final
@dataclass(frozen=True, eq=False)
class ClassOutput:
    """The outputs of a classifier for B photos, ``(B, outputs)``.

    ``scores`` are what is differentiated: logits, the model's own where its softmax or sigmoid could be looked behind, else made of its
    probabilities. ``probabilities`` are the model's own, if its outputs are any; ``made_by`` says what made the outputs, in words.
    """

    scores: Float[Tensor, "batch outputs"]
    kind: OutputKind
    probabilities: Float[Tensor, "batch outputs"] | None = None
    made_by: str = ""

    __repr__ = show_record


class _Watch(AbstractSwitchedMode):
    """Keep what the last few softmaxes, sigmoids and the like were given, and what they made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.made: deque[tuple[str, Tensor, Tensor]] = deque(maxlen=_KEPT)

    def handle(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run the function, and keep what it was given if it is one of those."""
        name = _WATCHED.get(func)
        if name is None:
            return func(*args, **kwargs)
        given = args[0] if args else kwargs.get("input")
        if isinstance(given, Tensor) and func.__name__.endswith("_"):
            given = given.clone()  # it is about to be overwritten
        result = func(*args, **kwargs)
        if isinstance(given, Tensor) and isinstance(result, Tensor):
            self.made.append((name, given, result))
        return result


def run_classifier(model: nn.Module, run: Callable[[], Tensor], rows: int | None) -> ClassOutput:
    """Run a classifier and say what its outputs are.

    Args:
        model: the classifier that ``run`` runs.
        run: returns the outputs for ``rows`` photos; differentiably, if gradients are wanted.
        rows: the number of photos; None if the outputs have a row for each.

    Returns:
        The outputs, read as what they were found to be.
    """
    watch = _Watch()
    note_in_context(watch.switch_off)
    with watch:
        output = run()
    rows = len(output) if rows is None else rows
    output = output.reshape(rows, -1)
    for name, given, made in reversed(watch.made):
        if given.numel() == made.numel() == output.numel() and _is_same(made, output):
            found = _look_behind(name, given.reshape(rows, -1), output)
            if found is not None:
                return found
            break
    return _read_values(model, output)


def _is_same(made: Tensor, output: Tensor) -> bool:
    return made.device == output.device and torch.equal(
        made.detach().flatten().to(output.dtype), output.detach().flatten()
    )


def _look_behind(name: str, given: Tensor, output: Tensor) -> ClassOutput | None:
    """The outputs of a known function, with what it was given as scores; None if the function says nothing about them."""
    plain = widen(output.detach())
    if name in _EXCLUSIVE and output.shape[1] > 1:
        likely = plain.exp() if name == "log_softmax" else plain
        if not _sums_to_one(likely, _OFF_KNOWN):  # over another axis than the classes
            return None
        return ClassOutput(given, "exclusive", likely, f"its own {name}")
    if name in _INDEPENDENT:
        likely = plain.exp() if name == "logsigmoid" else plain
        return ClassOutput(given, "independent", likely, f"its own {name}")
    if name == "exp" and output.shape[1] > 1 and _sums_to_one(plain, _OFF_KNOWN):
        return ClassOutput(given, "exclusive", plain, "its own exp of log-probabilities")
    if name in ("tanh", "hardtanh") or (name in _SCORES and output.shape[1] == 1):
        return ClassOutput(output, "scores", None, f"its own {name}")
    return None


def _read_values(model: nn.Module, output: Tensor) -> ClassOutput:
    """Outputs of unknown origin: several that sum to one are probabilities, and so is what is mixed from probabilities."""
    plain = widen(output.detach())
    inside = bool(((plain >= 0) & (plain <= 1)).all())
    exact = output.dtype.itemsize > 2  # in half precision a sum says little
    if exact and output.shape[1] > 1 and inside and _sums_to_one(plain):
        return ClassOutput(_to_log(output), "exclusive", plain, "numbers that sum to one")
    if exact and output.shape[1] > 1 and bool((plain <= 0).all()) and _sums_to_one(plain.exp()):
        return ClassOutput(output, "exclusive", plain.exp(), "logarithms of numbers that sum to one")
    if output.grad_fn is not None and _is_mixed(output.grad_fn, _DEPTH):
        _mixed.add(model)
    if model in _mixed:
        if inside:
            return ClassOutput(to_log_odds(output), "independent", plain, "probabilities of its own")
        return ClassOutput(output, "scores", None, "numbers made of probabilities")
    if (
        output.shape[1] == 1
        and _name_last_step(output.grad_fn).startswith(_NEVER_NEGATIVE)
        and bool((plain >= 0).all())
    ):
        return ClassOutput(output, "scores", None, "a function that is never negative")
    return ClassOutput(output, "logits")


def read_probabilities(output: ClassOutput) -> ClassOutput | None:
    """Outputs that are said to be probabilities; None if they can't be, as some are below 0 or above 1."""
    if output.probabilities is not None:
        return output
    plain = widen(output.scores.detach())
    if not bool(((plain >= 0) & (plain <= 1)).all()):
        return None
    return ClassOutput(to_log_odds(output.scores), "independent", plain, "probabilities, as activation= says")


def _sums_to_one(likely: Tensor, off: float = _OFF) -> bool:
    return bool(((likely.sum(1) - 1).abs() < off).all()) and bool((likely >= 0).all())


def _to_log(probabilities: Tensor) -> Tensor:
    wide = widen(probabilities)
    return wide.clamp_min(torch.finfo(wide.dtype).tiny).log()


def to_log_odds(probabilities: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """``log(p / (1 - p))``, finite also for 0 and 1, where no gradient is left."""
    wide = widen(probabilities)
    spare = torch.finfo(wide.dtype)
    return wide.clamp_min(spare.tiny).log() - (1 - wide).clamp_min(spare.eps / 2).log()


def _name_last_step(node: Any) -> str:
    """The last autograd node that isn't just another shape of the one before."""
    while node is not None and type(node).__name__.startswith(_SHAPERS) and len(node.next_functions) == 1:
        node = node.next_functions[0][0]
    return "" if node is None else type(node).__name__


def _is_mixed(node: Any, depth: int) -> bool:
    """Whether all that leads to an autograd node was made by a softmax, a sigmoid or a tanh, and only picked or mixed since."""
    name = type(node).__name__
    if name.startswith(_MAKERS):
        return True
    if depth == 0 or not any(name.startswith(f"{mixer}Backward") for mixer in _MIXERS):
        return False
    before = [one for one, _ in node.next_functions if one is not None]
    return bool(before) and all(_is_mixed(one, depth - 1) for one in before)


def to_word_logits(rows: Float[Tensor, "*places vocabulary"]) -> Float[Tensor, "*places vocabulary"]:
    """A writer's outputs as logits of its vocabulary: their logarithms, if they are probabilities (every row sums to one)."""
    plain = rows.detach()
    if plain.shape[-1] < 2 or plain.dtype.itemsize <= 2 or not bool((plain >= 0).all()):
        return rows
    return _to_log(rows) if bool(((plain.sum(-1) - 1).abs() < 1e-4).all()) else rows
