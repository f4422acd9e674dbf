"""Activation checkpointing, passed over while a model is recorded.

A checkpointed part runs again during the backward pass, when the hooks that made the layer's output a leaf are gone, so what is
computed again isn't what was computed before. It only saves memory, so inside :func:`run_without_checkpoints` such parts run plainly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch.utils.checkpoint as checkpointing

_plain: ContextVar[bool] = ContextVar("vlcam_without_checkpoints", default=False)
# The pieces that torch.utils.checkpoint.checkpoint is made of, by their names in the versions of torch that have them.
_GENERATORS = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")
_installed: list[bool] = []


@contextmanager
def run_without_checkpoints() -> Iterator[None]:
    """Inside, and in this thread only, checkpointed functions run as they are and keep their activations."""
    if not _installed:
        _install()
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


def _install() -> None:
    """Let torch's checkpoints look at the switch; without it they are what they were."""
    _installed.append(True)
    for name in _GENERATORS:
        inner = getattr(checkpointing, name, None)
        if inner is not None:
            setattr(checkpointing, name, _make_generator(inner))
    whole: Any = checkpointing.CheckpointFunction

    def apply(cls: Any, function: Any, preserve: Any, *args: Any) -> Any:
        if _plain.get() and cls is whole:
            return function(*args)
        return super(whole, cls).apply(function, preserve, *args)

    whole.apply = classmethod(apply)


def _make_generator(inner: Any) -> Any:
    def generator(*args: Any, **kwargs: Any) -> Iterator[None]:
        if _plain.get():
            return iter([None])  # before the function, and nothing after it
        started: Iterator[None] = inner(*args, **kwargs)
        return started

    return generator
