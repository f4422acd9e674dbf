"""The rule of excitation backprop beside a model's own run: where a unit's activation came from, by its positive weights alone.

Zhang et al. 2016 (arXiv 1608.00507): a winner walks down the network. From unit j it goes to one of the units i that feed it with

    P(i | j) = Z_j a_i w+_ij,   w+ = max(w, 0),   Z_j = 1 / sum_i a_i w+_ij (0 if that sum is 0),

so the probabilities ("marginal winning probabilities", MWP) obey ``R_i = sum_j P(i | j) R_j``. With ``G = R / a`` this is a gradient:

    G_i = sum_j w+_ij (G_j a_j / e_j),   e_j = sum_i w+_ij a_i,

the plain one of ``a'_j = e_j * constant(a_j / e_j)``, which has the value a_j. So while the model runs, every non-negative tensor that
descends from the explained layer gets a *twin*: the same numbers, with the gradient of that rule. What comes of it:

- A convolution or linear layer leaves e beside its output; the ReLU after it makes the twin. Biases take no part, as in the paper.
- Batch norm in between is one with the convolution: ``s (W a) + t`` has the weights ``s W``, so for ``s < 0`` the negative weights excite.
- A residual sum ``W a + b`` before a ReLU has the inputs a and b, the latter with weight 1.
- Pooling, sums, means, reshaping, concatenating and dropout in eval mode have non-negative weights and no ReLU: their plain gradient
  is the rule. (Max pooling: the winner takes all.)

The chain ends where an operation gives values that aren't known to be non-negative and no ReLU follows: the final linear layer, an LSTM, a
product with a question. The model's own run isn't touched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from vlcam.engine.precision import widen
from vlcam.engine.restore import allow_autograd

_LINEAR = {f"conv{transposed}{n}d" for transposed in ("", "_transpose") for n in (1, 2, 3)} | {"linear"}

_RELU = {"relu", "relu_", "relu6", "relu6_"}
_CLAMP = {"hardtanh", "hardtanh_", "clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_"}

# Linear, element by element or by moving elements: they do the same to both signs.
_MOVES = {
    "clone", "contiguous", "flatten", "unflatten", "reshape", "reshape_as", "view", "view_as", "permute", "transpose", "swapaxes",
    "movedim", "moveaxis", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "repeat_interleave", "__getitem__", "select",
    "narrow", "chunk", "split", "unbind", "index_select", "gather", "take_along_dim", "roll", "flip", "tile", "pixel_shuffle",
    "channel_shuffle", "native_channel_shuffle",
}  # fmt: skip
_CASTS = {"to", "type", "float", "double", "half", "bfloat16", "cuda", "cpu", "requires_grad_"}
_DROPS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}

# Non-negative for non-negative inputs, and what they give is a sum of inputs with fixed non-negative weights (or one of the inputs).
_POOLS = {
    "mean", "sum", "amax", "pad", "interpolate", "upsample", "max_pool2d_with_indices",
    *(f"{kind}_pool{n}d" for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)),
}  # fmt: skip

_JOINS = {"cat", "concat", "concatenate", "stack", "hstack", "vstack"}
_ADDS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_TAKES = {"sub", "sub_", "subtract", "__sub__", "__isub__"}
_SCALES = {
    "mul",
    "mul_",
    "multiply",
    "__mul__",
    "__rmul__",
    "__imul__",
    "div",
    "div_",
    "divide",
    "true_divide",
    "__truediv__",
}
_DIVIDES = {"div", "div_", "divide", "true_divide", "__truediv__"}

# What makes probabilities and losses of scores: nothing that weighs the model's evidence.
_READS = {
    "softmax",
    "log_softmax",
    "logsumexp",
    "sigmoid",
    "logsigmoid",
    "log",
    "exp",
    "softplus",
    "cross_entropy",
    "nll_loss",
}


@final
@dataclass(frozen=True, eq=False)
class FollowedTensor:
    """A tensor of the model that descends from the layer, at one moment (``version`` of its memory).

    ``positive`` has the rule's gradient. If ``negative`` is None, the tensor is non-negative and ``positive`` is its twin; otherwise the
    tensor is, but for biases, ``positive - negative()``: what excites and what inhibits it.
    """

    tensor: Tensor
    version: int
    positive: Tensor
    negative: Callable[[], Tensor] | None = None

    @property
    def current(self) -> bool:
        """Whether the tensor hasn't been overwritten since."""
        return self.tensor._version == self.version


@final
class Excitation(TorchFunctionMode):
    """Inside, every tensor that descends from a leaf asking for gradients is followed; see the module. Twins are in float32 or float64.

    ``used`` are the non-negative tensors that were weighed: inputs of an operation with weights of its own, or of one that ended their
    chain, in the order of running.
    """

    def __init__(self) -> None:
        super().__init__()
        self._followed: dict[int, FollowedTensor] = {}
        self.used: list[FollowedTensor] = []

    def look_up(self, tensor: Any) -> FollowedTensor | None:
        """What is known of a tensor as it is now; None if it doesn't descend from a leaf, or its chain has ended."""
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.is_inference():
            return None
        found = self._followed.get(id(tensor))
        if found is not None and found.tensor is tensor:
            return found if found.current else None
        if tensor.requires_grad and tensor.is_leaf and not isinstance(tensor, nn.Parameter):
            twin = widen(tensor.detach()).clone().requires_grad_()
            return self._follow(tensor, twin)
        return None

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run ``func`` as it is, and follow what it gives."""
        kwargs = kwargs or {}
        given = list(_iterate_tensors((args, kwargs)))
        inputs = [found for found in map(self.look_up, given) if found is not None]
        result = func(*args, **kwargs)
        if not inputs or not any(one.is_floating_point() and one.requires_grad for one in _iterate_tensors(result)):
            return result
        name = getattr(func, "__name__", "")
        before = {id(found.tensor): found for found in inputs}
        device = inputs[0].tensor.device.type
        with allow_autograd(), torch.autocast(device, enabled=False):
            followed = self._apply(name, func, args, kwargs, result, before)
        weighed = name in _LINEAR or name == "batch_norm" or any(isinstance(one, nn.Parameter) for one in given)
        if weighed or (not followed and name not in _READS):
            self.used += [found for found in inputs if found.negative is None]
        return result

    def _apply(
        self,
        name: str,
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        result: Any,
        before: dict[int, FollowedTensor],
    ) -> bool:
        """Follow the result of one operation; False where its chain ends."""
        first = before.get(id(args[0] if args else kwargs.get("input")))
        if name in _JOINS:
            return self._join(func, args, kwargs, result, before)
        if name in _ADDS | _TAKES:
            return self._add(args, kwargs, result, before, minus=name in _TAKES)
        if name in _SCALES:
            return self._scale(args, kwargs, result, before, divide=name in _DIVIDES)
        if first is None or len(before) > 1:
            return False
        if name in _LINEAR:
            return self._weigh(func, args, kwargs, result, first)
        if name == "batch_norm":
            return self._normalise(args, kwargs, result, first)
        if name in _RELU or (name in _CLAMP and _clamps_at_zero(name, args, kwargs)):
            return self._rectify(result, first)
        if name in _CASTS or (name in _DROPS and not _is_dropping(args, kwargs)):
            self._follow(
                result, _cast(first.positive, result), _chain(first.negative, lambda sign: _cast(sign, result))
            )
            return True
        if name in _MOVES:
            move = partial(_repeat_on_twin, func, args, kwargs)
            return self._follow_all(result, move(first.positive), _chain(first.negative, move))
        if name in _POOLS and first.negative is None and _is_averaging(name, args, kwargs):
            return self._follow_all(result, _repeat_on_twin(func, args, kwargs, first.positive), None)
        if name == "max_pool2d" and isinstance(result, Tensor):
            return self._take_largest(args, kwargs, result, first)
        return False

    def _follow(self, tensor: Tensor, positive: Tensor, negative: Callable[[], Tensor] | None = None) -> FollowedTensor:
        found = FollowedTensor(tensor, tensor._version, positive, negative)
        self._followed[id(tensor)] = found
        return found

    def _follow_all(self, result: Any, positive: Any, negative: Callable[[], Any] | None) -> bool:
        """Follow a result of one or several tensors."""
        if isinstance(result, Tensor):
            self._follow(result, positive, negative)
            return True
        for index, (one, twin) in enumerate(zip(result, positive, strict=True)):
            if one.is_floating_point():
                self._follow(one, twin, None if negative is None else _pick_item(negative, index))
        return True

    def _weigh(self, func: Callable[..., Any], args: Any, kwargs: Any, result: Tensor, first: FollowedTensor) -> bool:
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        if first.negative is not None or not isinstance(weight, Tensor) or weight.requires_grad:
            return False
        twin = first.positive
        positional = list(args)
        named = {name: value for name, value in kwargs.items() if name not in ("input", "weight", "bias")}

        def by(weights: Tensor) -> Tensor:
            rest = [None, *positional[3:]] if len(positional) > 3 else []
            out: Tensor = func(twin, weights.to(twin.dtype), *rest, **named)
            return out

        fixed = weight.detach()
        self._follow(result, by(fixed.clamp_min(0)), lambda: by((-fixed).clamp_min(0)))
        return True

    def _normalise(self, args: Any, kwargs: Any, result: Tensor, first: FollowedTensor) -> bool:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if given.get("training") or given.get("running_var") is None:
            return False  # the batch's own statistics are not fixed weights
        scale = (widen(given["running_var"].detach()) + given.get("eps", 1e-5)).rsqrt()
        if given.get("weight") is not None:
            scale = scale * given["weight"].detach()
        self._follow_scaled(result, first, scale.reshape(1, -1, *(1,) * (result.ndim - 2)))
        return True

    def _follow_scaled(self, result: Tensor, first: FollowedTensor, scale: Tensor) -> None:
        """Follow ``scale * first + bias``."""
        up, down = scale.clamp_min(0), (-scale).clamp_min(0)
        positive, negative = first.positive, first.negative
        if negative is None:
            self._follow(result, up * positive, lambda: down * positive)
        elif bool((down == 0).all()):
            self._follow(result, up * positive, lambda: up * negative())
        else:
            against = negative()
            self._follow(result, up * positive + down * against, lambda: down * positive + up * against)

    def _scale(self, args: Any, kwargs: Any, result: Any, before: dict[int, FollowedTensor], *, divide: bool) -> bool:
        if len(args) != 2 or kwargs or len(before) != 1 or not isinstance(result, Tensor):
            return False
        place = 0 if id(args[0]) in before else 1
        first, factor = before[id(args[place])], args[1 - place]
        if isinstance(factor, Tensor):
            if factor.requires_grad:
                return False
            factor = widen(factor.detach())
        elif not isinstance(factor, (int, float)):
            return False
        scale = torch.as_tensor(factor, dtype=first.positive.dtype, device=first.positive.device)
        if divide and place == 1:
            return False
        scale = 1 / scale if divide else scale
        if first.negative is None and bool((scale >= 0).all()):
            self._follow(result, first.positive * scale)
        else:
            self._follow_scaled(result, first, scale)
        return True

    def _add(self, args: Any, kwargs: Any, result: Any, before: dict[int, FollowedTensor], *, minus: bool) -> bool:
        if len(args) != 2 or kwargs.get("alpha", 1) != 1 or not isinstance(result, Tensor):
            return False
        one, other = (before.get(id(arg)) for arg in args)
        if one is None or other is None:  # a bias, unless it descends from the layer in another way
            found, bias = (one, args[1]) if one is not None else (other, args[0])
            if found is None or (isinstance(bias, Tensor) and bias.requires_grad) or (minus and one is None):
                return False
            self._follow(result, found.positive.expand_as(result), _pad_negative(found.negative, result))
            return True
        if one.negative is None and other.negative is None and not minus:
            self._follow(result, one.positive + other.positive)
            return True
        of_one, of_other = _pad_negative(one.negative, result), _pad_negative(other.negative, result)
        there = other.positive
        if minus:
            self._follow(result, one.positive + of_other(), lambda: of_one() + there)
        else:
            self._follow(result, one.positive + there, lambda: of_one() + of_other())
        return True

    def _join(
        self, func: Callable[..., Any], args: Any, kwargs: Any, result: Any, before: dict[int, FollowedTensor]
    ) -> bool:
        parts = args[0] if args else kwargs.get("tensors")
        if not isinstance(parts, (tuple, list)) or any(
            id(part) not in before and (part.requires_grad or bool((part < 0).any())) for part in parts
        ):
            return False
        rest = {name: value for name, value in kwargs.items() if name != "tensors"}
        found = [before.get(id(part)) for part in parts]
        twins = [widen(part) if one is None else one.positive for part, one in zip(parts, found, strict=True)]
        if all(one is None or one.negative is None for one in found):
            self._follow(result, func(twins, *args[1:], **rest))
            return True

        def negative() -> Tensor:
            signs = [
                torch.zeros_like(twin) if one is None or one.negative is None else one.negative()
                for one, twin in zip(found, twins, strict=True)
            ]
            out: Tensor = func(signs, *args[1:], **rest)
            return out

        self._follow(result, func(twins, *args[1:], **rest), negative)
        return True

    def _rectify(self, result: Tensor, first: FollowedTensor) -> bool:
        """The ReLU's value, with the gradient of ``e * constant(value / e)``."""
        value, excited = widen(result.detach()), first.positive
        share = torch.where(excited > 0, value / torch.where(excited > 0, excited, 1), 0).detach()
        self._follow(result, value + share * (excited - excited.detach()))
        return True

    def _take_largest(self, args: Any, kwargs: Any, result: Tensor, first: FollowedTensor) -> bool:
        """Max pooling before the ReLU, which is the same as after it."""
        options = {name: value for name, value in kwargs.items() if name not in ("input", "return_indices")}
        _, chosen = F.max_pool2d_with_indices(first.tensor.detach(), *args[1:], **options)

        def take(values: Tensor) -> Tensor:
            return values.flatten(-2).gather(-1, chosen.flatten(-2)).view_as(chosen)

        self._follow(result, take(first.positive), _chain(first.negative, take))
        return True


def _iterate_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _iterate_tensors(item)
    elif isinstance(value, dict):
        yield from _iterate_tensors(list(value.values()))


def _repeat_on_twin(func: Callable[..., Any], args: Any, kwargs: Any, twin: Tensor) -> Any:
    """The operation on the twin in the place of its first argument."""
    return func(twin, *args[1:], **kwargs) if args else func(**{**kwargs, "input": twin})


def _pick_item(values: Callable[[], Any], index: int) -> Callable[[], Tensor]:
    def item() -> Tensor:
        found: Tensor = values()[index]
        return found

    return item


def _cast(twin: Tensor, result: Tensor) -> Tensor:
    """The twin where the result is, and as exact, but never less exact than it was."""
    return twin.to(result.device, torch.promote_types(twin.dtype, result.dtype))


def _chain(values: Callable[[], Any] | None, step: Callable[[Any], Any]) -> Callable[[], Any] | None:
    return None if values is None else lambda: step(values())


def _pad_negative(negative: Callable[[], Tensor] | None, result: Tensor) -> Callable[[], Tensor]:
    zeros = result.detach()
    return lambda: widen(torch.zeros_like(zeros)) if negative is None else negative().expand_as(zeros)


def _clamps_at_zero(name: str, args: Any, kwargs: Any) -> bool:
    names = ("input", "min_val", "max_val") if name.startswith("hardtanh") else ("input", "min", "max")
    least: Any = {**dict(zip(names, args, strict=False)), **kwargs}.get(names[1])
    return isinstance(least, (int, float)) and float(least) == 0


def _is_averaging(name: str, args: Any, kwargs: Any) -> bool:
    """Whether the pooling has no negative weights and adds nothing of its own."""
    if name in ("interpolate", "upsample"):
        return str(args[3] if len(args) > 3 else kwargs.get("mode", "nearest")) != "bicubic"
    value = kwargs.get("value", args[3] if len(args) > 3 else None) if name == "pad" else None
    return value is None or bool(value == 0)


def _is_dropping(args: Any, kwargs: Any) -> bool:
    """Whether dropout is on, whatever mode the model is in."""
    return bool(kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True)))
