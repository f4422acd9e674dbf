"""Modules by name, and the tensors inside what they return."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from vlcam.contracts import LayerError, TargetError

_PREFIXES = ("_orig_mod.", "module.")
_WRAPPERS = ("OptimizedModule", "DataParallel", "DistributedDataParallel")


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``; else the model itself."""
    while type(model).__name__ in _WRAPPERS:
        model = next(model.children())
    return model


def is_wrapper(module: nn.Module) -> bool:
    """Whether the module only passes its inputs on to the one model inside it."""
    return type(module).__name__ in _WRAPPERS


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Dotted name -> module, every module once, in the order of registration; wrappers are left out, also from the names.

    >>> list(named_modules(nn.DataParallel(nn.Sequential(nn.ReLU()))))
    ['', '0']
    """
    return dict(_walk(model, "", set()))


def _walk(module: nn.Module, name: str, seen: set[int] | None) -> Iterator[tuple[str, nn.Module]]:
    waiting = [(name, module)]
    while waiting:
        name, module = waiting.pop()
        module = unwrap_model(module)
        if seen is not None:
            if id(module) in seen:
                continue
            seen.add(id(module))
        yield name, module
        children = [(part, child) for part, child in module._modules.items() if child is not None]
        waiting += [(f"{name}.{part}" if name else part, child) for part, child in reversed(children)]


def find_module(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The layer's dotted name in the model, and the module; see :func:`vlcam.engine.layers.find`."""
    if isinstance(layer, nn.Module):
        for name, module in named_modules(model).items():
            if module is layer or module is unwrap_model(layer):
                return name or type(module).__name__, module
        raise LayerError(
            f"the {type(layer).__name__} that was given as layer is not part of the model ({type(unwrap_model(model)).__name__}); "
            "give one of the model's own modules, or a dotted name"
        )
    if not isinstance(layer, str):
        raise LayerError(describe_wrong_layer(layer))
    found = descend(model, layer)
    if found is not None:
        return layer, found
    every = dict(_walk(model, "", None))
    wanted = layer
    for prefix in _PREFIXES * 2:
        if wanted not in every:
            wanted = wanted.removeprefix(prefix)
    wanted = (
        wanted
        if wanted in every
        else ".".join(part for part in wanted.split(".") if part not in ("_orig_mod", "module"))
    )
    if wanted and wanted in every:
        return wanted, every[wanted]
    names = [name for name in every if name]
    close = get_close_matches(layer, names, n=5, cutoff=0.4)
    raise LayerError(
        f"the model ({type(unwrap_model(model)).__name__}) has no layer {layer!r}; "
        + (f"the closest names are {', '.join(close)}" if close else f"its layers are {', '.join(names[:8])}, ...")
    )


def descend(model: nn.Module, name: str) -> nn.Module | None:
    """The module of that dotted name, found without walking through all others; None if there is none, or for the model itself."""
    module = unwrap_model(model)
    for part in name.split("."):
        inner = next((one for own, one in module._modules.items() if own == part), None)  # TorchScript's has no get
        if inner is None:
            return None
        module = unwrap_model(inner)
    return module


def describe_wrong_layer(layer: Any) -> str:
    """The text of the error for a ``layer=`` that is neither a name nor a module."""
    several = isinstance(layer, (list, tuple, set, dict))
    given = f"{type(layer).__name__} of {len(layer)}" if several else repr(layer)
    return f"layer={given} was given; expected one dotted name, or one module of the model" + (
        "; explain them one after the other, or take the mean with vlcam.explanation.pytorch_grad_cam.GradCAM"
        if several
        else ""
    )


@contextmanager
def name_cause(model: nn.Module) -> Iterator[None]:
    """Inside, errors about a layer or a target begin with what the model itself may be the cause of: that it is quantised."""
    try:
        yield
    except (LayerError, TargetError) as error:
        cause = _describe_quantised(model)
        if cause is None:
            raise
        raise type(error)(f"{cause} ({error})") from error


def _describe_quantised(model: nn.Module) -> str | None:
    """What is quantised in a model, in words; None if nothing is."""
    for name, module in model.named_modules():
        path = f"{type(module).__module__}.{type(module).__qualname__}"
        weights = [one for one in vars(module).get("_parameters", {}).values() if one is not None]
        if "quantized" in path or any(one.is_quantized or one.dtype in (torch.int8, torch.uint8) for one in weights):
            return (
                f"the model is quantised ({path}{f' at {name!r}' if name else ''}), and quantised operations have no "
                "gradients: explain the float model that it was made from"
            )
    return None


def check_hookable(model: nn.Module) -> None:
    """Raise LayerError for a model that can't be looked into: TorchScript."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise LayerError(
                f"{f'the layer {name!r} of ' if name else ''}the model ({type(unwrap_model(model)).__name__}) is TorchScript, "
                "scripted or traced, which can't be looked into; give the model that it was made from"
            )


def find_first_tensor(output: Any) -> Tensor | None:
    """The floating-point tensor in a module's output that holds its features; None if there is none.

    The first that has positions (maps or tokens), or else the first at all, from any nesting of tuples, lists, dicts and
    dataclasses (such as the outputs of transformers).
    """
    found = [tensor for tensor in find_tensors(output) if tensor.is_floating_point()]
    return next((tensor for tensor in found if has_positions(tensor)), found[0] if found else None)


def find_tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in any nesting of tuples, lists, dicts and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from find_tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from find_tensors(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from find_tensors(getattr(value, field.name, None))


def has_positions(tensor: Tensor) -> bool:
    """Whether the tensor has several places: ``(batch, channels, rows, columns)`` or ``(batch, tokens, channels)``."""
    return (tensor.ndim == 3 and tensor.shape[1] > 1) or (tensor.ndim > 3 and tensor[0, 0].numel() > 1)


def is_map(tensor: Tensor) -> bool:
    """Whether the tensor looks like feature maps: ``(batch, channels, rows > 1, columns > 1)``, or with a depth before the rows."""
    return tensor.ndim in (4, 5) and tensor.shape[-2] > 1 and tensor.shape[-1] > 1


def replace_tensor(value: Any, old: Tensor, new: Tensor) -> Any:
    """A copy of a module's output, of the same type, with ``new`` in the places of ``old``."""
    if value is old:
        return new
    if not any(tensor is old for tensor in find_tensors(value)):
        return value
    if isinstance(value, tuple):
        items = [replace_tensor(item, old, new) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, list):
        return type(value)(replace_tensor(item, old, new) for item in value)
    twin = copy.copy(value)
    if isinstance(value, dict):
        for key, item in value.items():
            twin[key] = replace_tensor(item, old, new)
    else:
        for field in fields(value):
            object.__setattr__(twin, field.name, replace_tensor(getattr(value, field.name, None), old, new))
    return twin


def has_independent_rows(model: nn.Module) -> bool:
    """Whether the rows of a batch don't touch each other: not so in batch-norms that keep no statistics of their own."""
    norms = nn.modules.batchnorm._NormBase, nn.modules.instancenorm._InstanceNorm
    return not any(
        isinstance(one, norms[0]) and not isinstance(one, norms[1]) and one.running_mean is None
        for one in model.modules()
    )
