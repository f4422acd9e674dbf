"""The inputs of several photos as one batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlcam.contracts import InputError


def join_inputs(inputs: Sequence[Any]) -> Any:
    """The inputs of B photos as one: their tensors ``(1, ...)`` as ``(B, ...)``, also inside tuples, lists and dicts. Raises InputError."""
    first = inputs[0]
    if any(type(one) is not type(first) for one in inputs):
        raise InputError(
            f"the photos' inputs have {len({type(one) for one in inputs})} types and can't be joined; expected one type"
        )
    if isinstance(first, Tensor):
        shapes = {tuple(one.shape) for one in inputs}
        if len(shapes) > 1 or first.shape[:1] != (1,):
            raise InputError(
                f"the photos' inputs have the shapes {shapes} and can't be joined; expected one shape (1, ...)"
            )
        return torch.cat(list(inputs))
    if type(first) is dict and all(one.keys() == first.keys() for one in inputs):
        return {key: join_inputs([one[key] for one in inputs]) for key in first}
    if type(first) in (tuple, list) and len({len(one) for one in inputs}) == 1:
        return type(first)(join_inputs(parts) for parts in zip(*inputs, strict=True))
    raise InputError(f"inputs of type {type(first).__name__} can't be joined; expected tensors (1, ...)")
