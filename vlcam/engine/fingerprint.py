"""Whether a model is still the one that made something kept: its weights, buffers, switches and adapters."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Fingerprint: TypeAlias = tuple[Any, ...]

_SAMPLES = 8
_DEPTH = 3
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
# What eval mode, hooks of a recording and torch's own bookkeeping change while nothing that matters does.
_PASSED_OVER = {
    "training",
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_is_full_backward_hook",
}


def fingerprint_model(model: nn.Module) -> Fingerprint:
    """What tells one state of a model from another, as far as that is cheap.

    Of every parameter and buffer its address, shape, type and version and a few of its numbers (so that changes through ``weight.data``,
    as moving averages make them, show as well); of every module its class and its plain attributes, such as the switch of an
    adapter, also those of its configuration; and the hooks and the own ``forward`` that it has. The mode (train or eval) is left
    out, as vlcam runs every model in eval mode.

    Returns:
        A tuple to compare with another one of the same model.
    """
    forwards = tuple(id(one.__dict__["forward"]) if "forward" in one.__dict__ else 0 for one in model.modules())
    weights = [*model.parameters(), *model.buffers()]
    known = tuple(
        (one.data_ptr(), tuple(one.shape), one.dtype, str(one.device), 0 if one.is_inference() else one._version)
        for one in weights
        if not one.is_meta
    )
    return describe_switches(model), forwards, known, _sample_numbers(weights)


def describe_switches(model: nn.Module) -> Fingerprint:
    """Of every module its class, its plain attributes and how many hooks it has: the part that is the same in every process."""
    return tuple(_describe_module(one) for one in model.modules())


def _sample_numbers(weights: list[Any]) -> tuple[Any, ...]:
    """A few numbers of every tensor, fetched in one go for each type and device."""
    groups: dict[tuple[Any, ...], list[Tensor]] = {}
    for one in weights:
        plain = one.detach()
        if plain.is_meta or plain.is_sparse or plain.is_quantized or type(plain) is not Tensor or not plain.numel():
            continue
        flat = plain.reshape(-1) if plain.is_contiguous() else plain.flatten()
        groups.setdefault((str(plain.device), plain.dtype), []).append(
            flat[:: max(len(flat) // _SAMPLES, 1)][:_SAMPLES]
        )
    return tuple((*key, tuple(map(repr, torch.cat(parts).tolist()))) for key, parts in groups.items())


def _describe_module(module: nn.Module) -> tuple[Any, ...]:
    hooks = tuple(len(getattr(module, name)) for name in ("_forward_hooks", "_forward_pre_hooks"))
    own = {name: one for name, one in module.__dict__.items() if name not in _PASSED_OVER and "hook" not in name}
    own.pop("forward", None)
    return f"{type(module).__module__}.{type(module).__qualname__}", hooks, tuple(_describe_items(own, _DEPTH))


def _describe_items(items: Mapping[Any, Any], depth: int) -> Iterator[tuple[Any, ...]]:
    for name, value in items.items():
        described = _describe_value(value, depth)
        if described is not None:
            yield (name if isinstance(name, _PLAIN) else repr(type(name)), described)


def _describe_value(value: Any, depth: int) -> Any:
    """A plain value, or what plain values a container or a record holds; None for anything else."""
    if isinstance(value, _PLAIN):
        return type(value).__name__, repr(value)
    if depth == 0 or isinstance(value, (nn.Module, Tensor, type)):
        return None
    if isinstance(value, (tuple, list, set, frozenset)):
        parts = tuple(_describe_value(one, depth - 1) for one in list(value)[:64])
        return (
            type(value).__name__,
            len(value),
            tuple(sorted(map(repr, parts))) if isinstance(value, (set, frozenset)) else parts,
        )
    if isinstance(value, Mapping):
        return type(value).__name__, tuple(_describe_items(dict(list(value.items())[:256]), depth - 1))
    if callable(value):
        return "function", getattr(value, "__qualname__", type(value).__name__)
    inside = getattr(value, "__dict__", None)
    return (type(value).__name__, tuple(_describe_items(inside, depth - 1))) if inside else None
