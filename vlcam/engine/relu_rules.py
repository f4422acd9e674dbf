"""Other gradients for the ReLU: guided backpropagation and the deconvnet, for any forward pass.

For ``f = relu(x)`` and the gradient ``R = dy/df`` that arrives from above, what is passed on to ``x`` is

- ``plain``, the chain rule: ``(x > 0) R``;
- ``deconv``, Zeiler & Fergus 2014 (arXiv 1311.2901, section 2.1, on rectification): ``(R > 0) R``;
- ``guided``, Springenberg et al. 2015 (arXiv 1412.6806, figure 1): ``(x > 0) (R > 0) R``.

A clipped ReLU (ReLU6, hardtanh or clamp from 0 to h) is active where ``0 < x < h``. The rule is put in place of the *function*
while the model runs, whoever calls it: ``nn.ReLU``, ``F.relu``, ``torch.relu``, ``Tensor.relu``, their in-place forms, one module
used many times. No module is touched, so hooks fire as ever and there is nothing to give back.
"""

import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn import functional

from vlcam.contracts import InputError, LayerError
from vlcam.engine.modes import AbstractSwitchedMode
from vlcam.engine.restore import Undo, note_in_context, run_uncompiled

Rule = Literal["guided", "deconv", "plain"]

_TITLES = {"guided": "guided backpropagation", "deconv": "the deconvnet"}
_RELUS = {functional.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_}
_RELU6 = {functional.relu6}
_HARDTANHS = {functional.hardtanh, functional.hardtanh_}
_CLAMPS = {torch.clamp, torch.clamp_, torch.clip, torch.clip_, Tensor.clamp, Tensor.clamp_, Tensor.clip, Tensor.clip_}
_CLAMP_MINS = {torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_}
_OTHERS = {
    "gelu": "GELU", "silu": "SiLU", "hardswish": "Hardswish", "mish": "Mish", "leaky_relu": "LeakyReLU", "elu": "ELU", "selu": "SELU",
    "celu": "CELU", "rrelu": "RReLU", "prelu": "PReLU", "softsign": "Softsign",
    "tanhshrink": "Tanhshrink", "hardshrink": "Hardshrink", "softshrink": "Softshrink", "threshold": "Threshold", "hardtanh": "Hardtanh",
    "glu": "GLU", "rnn_relu": "the ReLU inside nn.RNN",
}  # fmt: skip
_GATES = {
    "sigmoid": "sigmoid",
    "hardsigmoid": "Hardsigmoid",
    "tanh": "tanh",
    "softplus": "Softplus",
    "logsigmoid": "LogSigmoid",
}
"""They are also gates of recurrent and squeeze-and-excitation layers, and parts of scores: named only if there is nothing else."""


class _RuledRelu(torch.autograd.Function):
    """``clamp(x, 0, high)``, whose gradient keeps its positive part only, and for ``guided`` only where it was active."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, high: float | None, guided: bool) -> Tensor:
        return values.clamp(0, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float | None, bool], output: Tensor) -> None:
        values, high, guided = inputs
        if guided:
            silent = values <= 0
            ctx.save_for_backward(silent if high is None else silent | (values >= high))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        positive = slope.clamp_min(0)
        for silent in ctx.saved_tensors:
            positive = positive.masked_fill(silent, 0)
        return positive, None, None


@final
class ReluRule(AbstractSwitchedMode):
    """What :func:`apply_relu_rule` returns. What it counts is of the last ``with`` block, and of tensors that carry a gradient.

    ``relus``: how many times a ReLU ran; ``others``: how many times each other activation did, by name; ``widest``: the bytes of
    the largest tensor that was made, which bounds what one row of a batched backward pass takes.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self.relus, self.widest = 0, 0
        self.others: dict[str, int] = {}
        self.gates: dict[str, int] = {}
        self._undo = Undo()

    def __enter__(self) -> "ReluRule":
        self.relus, self.widest = 0, 0
        self.others, self.gates = {}, {}
        run_uncompiled(self._undo)  # compiled code would hide its ReLUs
        note_in_context(self.switch_off)
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._undo.run()
        if error is None and self.rule != "plain":
            self._check()

    def handle(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Give a ReLU its other gradient, and count what else there is."""
        values = args[0] if args else kwargs.get("input")
        if not isinstance(values, Tensor) or not values.requires_grad or not torch.is_grad_enabled():
            return self._note_size(func(*args, **kwargs))
        clipped = _parse_relu(func, args, kwargs)
        if clipped is not None:
            self.relus += 1
            if self.rule != "plain":
                return self._note_size(self._apply_rule(values, *clipped))
        else:
            self._note(func)
        return self._note_size(func(*args, **kwargs))

    def _apply_rule(self, values: Tensor, high: float | None, in_place: bool) -> Tensor:
        ruled: Tensor = _RuledRelu.apply(values, high, self.rule == "guided")
        return values.copy_(ruled) if in_place else ruled

    def _note_size(self, result: Any) -> Any:
        if isinstance(result, Tensor) and result.requires_grad:
            self.widest = max(self.widest, result.numel() * result.element_size())
        return result

    def _note(self, func: Any) -> None:
        name = getattr(func, "__name__", "").strip("_")
        for known, counts in ((_OTHERS, self.others), (_GATES, self.gates)):
            if name in known:
                counts[known[name]] = counts.get(known[name], 0) + 1

    def _check(self) -> None:
        if not self.relus:
            found = " and ".join(self.others or self.gates)
            raise LayerError(
                f"{_TITLES[self.rule]} is defined by the ReLU's gradient, but no ReLU was met in this network "
                + (
                    f"(its activation is {found})"
                    if found
                    else "(and no other activation; a scripted model hides its own)"
                )
                + "; use the method 'gradcam' or 'gradient' instead"
            )
        if self.others:
            other = ", ".join(f"{name} ({times} times)" for name, times in self.others.items())
            warnings.warn(
                f"{_TITLES[self.rule]} changes the gradient of the ReLU ({self.relus} times in this network) but not of {other}: "
                "what passes through those is the plain gradient",
                stacklevel=3,
            )


def apply_relu_rule(rule: Rule) -> ReluRule:
    """A context manager: in it, every ReLU that runs gets another gradient. The backward pass may come after it.

    It may be entered many times, works for batches and with ``torch.autograd.grad(..., is_grads_batched=True)``, and doesn't change
    what the model computes. Compiled models run uncompiled in it; scripted ones keep their own gradients.

    Args:
        rule: ``guided``, ``deconv``, or ``plain``, which changes nothing and only counts.

    Raises:
        InputError: there is no such rule.
        LayerError: on leaving, if no ReLU with a gradient ran in a block with ``guided`` or ``deconv``: these methods are not defined for
            networks of other activations. Where there are both, a warning names the others, whose gradient stays as it is.

    >>> x = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    >>> with apply_relu_rule("deconv"):
    ...     y = functional.relu(x)
    >>> torch.autograd.grad(y, x, torch.tensor([5.0, -6.0, 7.0]))
    (tensor([5., 0., 7.]),)
    """
    if rule not in ("guided", "deconv", "plain"):
        raise InputError(f"the ReLU rule {rule!r} was given; expected 'guided', 'deconv' or 'plain'")
    return ReluRule(rule)


def _parse_relu(func: Callable[..., Any], args: Any, kwargs: Any) -> tuple[float | None, bool] | None:
    """If ``func(*args, **kwargs)`` is a ReLU: where it is clipped (None: nowhere), and whether it overwrites its input."""
    given = partial(_look_up_argument, args, kwargs)
    in_place = func.__name__.endswith("_") if hasattr(func, "__name__") else False
    if func in _RELUS:
        return None, in_place or bool(given(1, "inplace", False))
    if func in _RELU6:
        return 6.0, bool(given(1, "inplace", False))
    if func in _HARDTANHS:
        low, high = given(1, "min_val", -1.0), given(2, "max_val", 1.0)
        in_place = in_place or bool(given(3, "inplace", False))
    elif func in _CLAMPS:
        low, high = given(1, "min"), given(2, "max")
    elif func in _CLAMP_MINS:
        low, high = given(1, "min"), None
    else:
        return None
    if "out" in kwargs or not isinstance(low, int | float) or low != 0:
        return None
    if high is None:
        return None, in_place
    return (float(high), in_place) if isinstance(high, int | float) and high > 0 else None


def _look_up_argument(args: Any, kwargs: Any, place: int, name: str, default: Any = None) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)
