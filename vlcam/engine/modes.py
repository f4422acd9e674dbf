"""Modes of PyTorch's functions that can be switched off, wherever an interrupt has left them.

PyTorch takes a mode off its thread's stack while the mode handles a call, and puts it back when a generator ends; after an interrupt that
may be long after everything was given back. A mode that is switched off does nothing, and is taken off the stack at the next occasion.
"""

from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class AbstractSwitchedMode(TorchFunctionMode):
    """A mode that handles calls while it is on: from entering to leaving it, or until :meth:`switch_off`."""

    on = False

    def __enter__(self) -> Any:
        self.on = True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on = False
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def switch_off(self) -> None:
        """From now on the mode does nothing."""
        self.on = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.handle(func, args, kwargs or {}) if self.on else func(*args, **(kwargs or {}))

    def handle(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What the mode does instead of ``func(*args, **kwargs)``."""
        raise NotImplementedError


def drop_stale_modes() -> None:
    """Take modes that are switched off off this thread's stack; the others stay in their order."""
    kept = []
    while torch._C._len_torch_function_stack():
        kept.append(torch._C._pop_torch_function_stack())
    for mode in reversed(kept):
        if not (isinstance(mode, AbstractSwitchedMode) and not mode.on):
            torch._C._push_on_torch_function_stack(mode)
