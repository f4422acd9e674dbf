"""Activation checkpointing, passed over while a model is recorded.

A checkpointed part runs again during the backward pass, when the hooks that made the layer's output a leaf are gone, so what is
computed again isn't what was computed before. It only saves memory, so such parts run plainly as long as
:func:`checkpoint_plainly` says so.
"""

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch.utils.checkpoint as checkpointing

_plain: ContextVar[bool] = ContextVar("vlcam_without_checkpoints", default=False)
# The pieces that torch.utils.checkpoint.checkpoint is made of, by their names in the versions of torch that have them.
_GENERATORS = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")
_installed: list[bool] = []


def checkpoint_plainly(plainly: bool) -> None:
    """Whether checkpointed functions run as they are and keep their activations, from now on and in this thread only."""
    if plainly and not _installed:
        _install()
    _plain.set(plainly)


def is_checkpointing_plainly() -> bool:
    """What :func:`checkpoint_plainly` was told last in this thread."""
    return _plain.get()


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
