"""What runs without being recorded, and what runs only once."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from vlcam.engine.modules import find_first_tensor
from vlcam.engine.restore import undo_afterwards

paused: ContextVar[bool] = ContextVar("vlcam_paused", default=False)
"""Whether recordings take no notice of what runs."""


@contextmanager
def pause_recording() -> Iterator[None]:
    """Inside, models run without autograd, and what they run is not recorded: searching for a caption, say."""
    with undo_afterwards() as undo:
        undo.note_thread(paused.set, paused.get())
        undo.note_thread(torch.set_grad_enabled, torch.is_grad_enabled())
        paused.set(True)
        torch.set_grad_enabled(False)
        yield


@contextmanager
def run_once(module: nn.Module, kept: list[tuple[Tensor, Any]]) -> Iterator[None]:
    """Inside, ``module`` runs once for an input and then gives what it gave before; ``kept`` holds that from one use to the next.

    Its one run is recorded, also inside :func:`pause_recording` or a ``torch.no_grad()`` of the model's own: a model that looks at the
    photo, speaks, and then scores what it said looks only once. Inputs are told apart by the first tensor among them.
    """
    before: list[tuple[bool, bool]] = []
    inner = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        found = _find_known(_find_photo(args, kwargs), kept)
        before.append((paused.get(), torch.is_grad_enabled()))
        paused.set(found is not None)
        if found is not None:
            return _copy_output(found)
        torch.set_grad_enabled(True)  # the layer's output is the first tensor that asks for gradients
        return inner(*args, **kwargs)

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        photo = _find_photo(args, kwargs)
        if photo is not None and output is not None and _find_known(photo, kept) is None:
            kept.append((photo, _copy_output(output)))
        stopped, autograd = before.pop()
        paused.set(stopped)
        torch.set_grad_enabled(autograd)

    with undo_afterwards() as undo:
        undo.note_thread(paused.set, paused.get())  # it may fail in the middle
        undo.callback(set_forward, module, module.__dict__.get("forward"))
        undo.add_hook(module.register_forward_hook, after, with_kwargs=True)
        module.forward = forward
        yield


def set_forward(module: nn.Module, own: Any) -> None:
    """Give a module a ``forward`` of its own, or with None that of its class."""
    if own is None:
        module.__dict__.pop("forward", None)
    else:
        module.forward = own


def _find_photo(args: Any, kwargs: Any) -> Tensor | None:
    return find_first_tensor((*args, *kwargs.values()))


def _find_known(photo: Tensor | None, kept: list[tuple[Tensor, Any]]) -> Any:
    """What the module gave for this input before; None if it hasn't seen it."""
    return next((out for one, out in kept if photo is not None and _is_same(one, photo)), None)


def _copy_output(output: Any) -> Any:
    """A record of its own, since the model may change its fields; a tensor as it is."""
    return output if isinstance(output, Tensor) else copy.copy(output)


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and one.dtype == other.dtype and bool(torch.equal(one, other)))
