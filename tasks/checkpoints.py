"""Checkpoints of ``torch.save`` that hold more than tensors, such as Lightning's hyperparameters: only the tensors are read.

A pickle names classes and functions and has them called. Here only the names that tensors are made of are known; every other name stands
for :class:`Ignored`, which accepts anything and does nothing, so that no code from the file runs and nothing is imported for it.
"""

import collections
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What tensors are made of, as pickles name it.
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): torch.nn.Parameter,
}
_KNOWN |= {
    ("torch", str(one).removeprefix("torch.")): one for one in vars(torch).values() if isinstance(one, torch.dtype)
}


class Ignored:
    """Stands for an object of an unknown class; accepts whatever a pickle does to it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Ignored":
        """An object, whatever is given."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forget the item."""

    def append(self, item: Any) -> None:
        """Forget the item."""

    def extend(self, items: Any) -> None:
        """Forget the items."""

    def add(self, item: Any) -> None:
        """Forget the item."""

    def __call__(self, *args: Any, **kwargs: Any) -> "Ignored":
        """Another such object."""
        return Ignored()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The object of that name, if tensors are made of it; else :class:`Ignored`."""
        return _KNOWN.get((module, name), Ignored)


class _InertPickle:
    """In place of the module ``pickle``, for ``torch.load``."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """As ``pickle.load``, but inert."""
        return _Unpickler(file, **options).load()


def read_tensors(path: Path) -> Any:
    """What a checkpoint holds, with :class:`Ignored` in place of everything but plain data and tensors; on the CPU."""
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_InertPickle)


def drop_prefix(state: Mapping[str, Tensor], build: Callable[[], torch.nn.Module]) -> dict[str, Tensor]:
    """The part of a state dict that is the model's own, under whatever name it was held (``model.``, ``net.backbone.``).

    Args:
        state: the state dict as it was saved, of a module that may hold more than the model.
        build: makes the model; called so that it takes no memory.

    Returns:
        The entries under the prefix that all of the model's names have in ``state``, with the prefix removed; all entries if there is none.
    """
    with torch.device("meta"):
        names = [name for name in build().state_dict() if not name.endswith("num_batches_tracked")]
    if not names or any(name in state for name in names):
        return dict(state)
    first = min(names, key=len)
    prefixes = [key.removesuffix(first) for key in state if key.endswith("." + first)]
    for prefix in sorted(prefixes, key=len):
        if sum(prefix + name in state for name in names) >= 0.9 * len(names):
            return {key.removeprefix(prefix): one for key, one in state.items() if key.startswith(prefix)}
    return dict(state)
