"""A model made ready to be explained, and given back bit for bit as it was, also after an interrupt (Ctrl-C) at any moment."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, final, no_type_check
from weakref import ref

import torch
from torch import Tensor, nn

from vlcam.engine.checkpointing import checkpoint_plainly, is_checkpointing_plainly
from vlcam.engine.draws import PrivateDraws
from vlcam.engine.modes import AbstractSwitchedMode, drop_stale_modes
from vlcam.engine.plain_kernels import PlainKernels, needs_plain_kernels

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")

_ONE_AT_A_TIME = threading.RLock()
"""The hooks are the model's, so threads take turns."""

_open: dict[int, list[ref["Undo"]]] = {}
"""What is still to be undone, by thread, the innermost last."""


@final
class Undo:
    """Steps that put back what was changed. Each may be taken twice, so that those that an interrupt cut short are taken again.

    A step is noted *before* the change that it undoes. Steps are taken from the last to the first.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[bool, Callable[..., Any], tuple[Any, ...]]] = []

    @no_type_check  # type checkers of run time are gone already as the interpreter ends
    def __del__(self) -> None:
        """Undo what a context that was cut off as it began had no occasion to."""
        try:
            if getattr(self, "_steps", None):
                self.run()
        except KeyboardInterrupt:
            self.run()  # from where it was cut short: Python passes over what is raised here
            raise

    @property
    def has_turn(self) -> bool:
        """Whether the turn is to be given back."""
        return any(step is _give_turn_back for _, step, _ in self._steps)

    def callback(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Note ``step(*arguments)``, which may be called more than once."""
        self._steps.append((False, step, arguments))

    def note_thread(self, step: Callable[..., Any], *arguments: Any) -> None:
        """As :meth:`callback`, of what belongs to this thread alone: another process's copy of the thread hasn't changed it."""
        self._steps.append((True, step, arguments))

    def add_hook(self, register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> None:
        """Hook a module until the end: ``add_hook(module.register_forward_hook, hook)``. ``hook`` is registered this once."""
        self.callback(_remove_hook, getattr(register, "__self__"), hook)  # noqa: B009
        register(hook, **options)

    def run(self, *, of_threads: bool = True) -> None:
        """Take the steps that weren't taken to their end yet. The first error, if any, is raised after the last step."""
        error: Exception | None = None
        while self._steps:
            of_thread, step, arguments = self._steps[-1]
            try:
                if of_threads or not of_thread:
                    step(*arguments)
            except Exception as found:  # the other steps are still to be taken
                error = error or found
            self._steps.pop()
        if error is not None:
            raise error


@contextmanager
def undo_afterwards() -> Iterator[Undo]:
    """Inside, changes are noted in the yielded :class:`Undo`; afterwards they are undone, also after an exception or an interrupt."""
    undo = Undo()
    try:
        try:
            _open.setdefault(threading.get_ident(), []).append(ref(undo))
            yield undo
        except BaseException:
            _close_inner(undo)
            raise
        finally:
            _close(undo)
    except BaseException:
        _close_inner(undo)  # an interrupt may have come while the steps were taken
        _close(undo)
        raise


@contextmanager
def allow_autograd(on: bool = True) -> Iterator[None]:
    """Inside, autograd is on, also within ``torch.no_grad()`` and ``torch.inference_mode()``; or off, but can use what is made."""
    with undo_afterwards() as undo:
        _leave_inference(undo)
        torch.set_grad_enabled(on)
        yield


def undo_after_errors(function: Callable[Arguments, Found]) -> Callable[Arguments, Found]:
    """A function after whose errors and interrupts nothing of :func:`undo_afterwards` inside is left to be undone.

    An interrupt may come before a ``with`` block begins to leave; its context would then end only when the exception is forgotten.
    """

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Found:
        before = len(_list_open())
        try:
            return function(*args, **kwargs)
        except BaseException:
            for undo in reversed(_list_open()[before:]):
                _close(undo)
            raise

    return run


@contextmanager
def preserve_model(model: nn.Module) -> Iterator[Undo]:
    """Inside, ``model`` is in eval mode and frozen, and autograd is on; afterwards all is as before, also after an exception.

    Given back are the training flag of every module, ``requires_grad`` of every parameter, the buffers, the grad and inference
    modes, and the switch of ``torch.compile``. What the caller notes in the yielded :class:`Undo` (such as hooks) is undone first.

    Nothing in a frozen model asks for gradients, so autograd keeps nothing until a leaf is made. Compiled modules run
    uncompiled, so that hooks fire (the switch for that is the process's; other threads' compiled code runs uncompiled meanwhile);
    ``DataParallel`` runs on its first device, so that the batch stays in order; recurrent layers run step by step and attention
    without its fast path (see :mod:`vlcam.engine.plain_kernels`). Weights made under ``torch.inference_mode()``, which autograd
    refuses, are replaced by copies for the time being.

    A model that draws random numbers gets the same ones every time: alone in its process, the generators are set back afterwards;
    beside other threads, which may draw as well, it draws from a copy (see :class:`vlcam.engine.draws.PrivateDraws`).
    """
    undo = Undo()
    try:
        try:
            _open.setdefault(threading.get_ident(), []).append(ref(undo))
            _take_turn(undo)
            _prepare(model, undo)
            yield undo
        except BaseException:
            _close_inner(undo)
            raise
        finally:
            _close(undo)
    except BaseException:
        _close_inner(undo)  # an interrupt may have come while the steps were taken
        _close(undo)
        raise


def detach_tensors(value: Any, *, history: bool = False) -> Any:
    """``value`` with no autograd history in its tensors (unless ``history`` is kept), also inside tuples, lists and dicts.

    Tensors made under ``torch.inference_mode()`` become copies, since autograd can't use them; all others keep their memory.
    """
    if isinstance(value, Tensor):
        if value.is_inference():
            return value.clone()
        return value.detach() if value.requires_grad and not history else value
    if type(value) in (tuple, list):
        return type(value)(detach_tensors(item, history=history) for item in value)
    if type(value) is dict:
        return {key: detach_tensors(item, history=history) for key, item in value.items()}
    return value


def _list_open() -> list[Undo]:
    """What this thread has still to undo."""
    return [undo for one in _open.get(threading.get_ident(), []) if (undo := one()) is not None]


def _close(undo: Undo) -> None:
    undo.run()
    left = [ref(one) for one in _list_open() if one is not undo]
    if left:
        _open[threading.get_ident()] = left
    else:
        _open.pop(threading.get_ident(), None)


def _close_inner(undo: Undo) -> None:
    """Close what was opened inside a context that an error ends: an interrupt may have kept it from closing by itself."""
    mine = _list_open()
    for one in reversed(mine[mine.index(undo) + 1 :] if undo in mine else []):
        _close(one)


def _take_turn(undo: Undo) -> None:
    """Wait until no other thread explains. The outermost context of a thread takes the turn, so that it is given back once."""
    if not any(one.has_turn for one in _list_open()):
        undo.note_thread(_give_turn_back)
        _ONE_AT_A_TIME.acquire()


def _give_turn_back() -> None:
    with suppress(RuntimeError):  # it was given back before an interrupt, or never taken
        _ONE_AT_A_TIME.release()


def _start_anew_after_fork() -> None:
    """In a forked child only the thread that forked is there: what others were about to undo is undone, and their turn is over."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.RLock()
    me = threading.get_ident()
    for thread in [one for one in _open if one != me]:
        for undo in [found for one in reversed(_open.pop(thread)) if (found := one()) is not None]:
            undo.run(of_threads=False)
    if any(undo.has_turn for undo in _list_open()):
        _ONE_AT_A_TIME.acquire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)


def _prepare(model: nn.Module, undo: Undo) -> None:
    """The changes that :func:`preserve_model` describes, each noted before it is made."""
    _leave_inference(undo)
    torch.set_grad_enabled(True)
    undo.note_thread(checkpoint_plainly, is_checkpointing_plainly())
    checkpoint_plainly(True)
    run_uncompiled(undo)
    modules = list(model.modules())
    _enter_modes(modules, undo)
    for module in modules:
        if module.training:
            undo.callback(setattr, module, "training", True)
            module.training = False
        if isinstance(module, nn.DataParallel):
            undo.callback(setattr, module, "device_ids", module.device_ids)
            module.device_ids = module.device_ids[:1]
    _replace_inference_tensors(modules, undo)
    _keep_buffers(modules, undo)
    for parameter in _list_parameters(modules):
        if parameter.requires_grad:
            undo.callback(parameter.requires_grad_, True)
            parameter.requires_grad_(False)


def _list_parameters(modules: list[nn.Module]) -> list[nn.Parameter]:
    """What ``Module.parameters()`` gives, without walking through the modules once more: small models would feel that."""
    return list({id(one): one for module in modules for one in module._parameters.values() if one is not None}.values())


def note_in_context(step: Callable[..., Any], *arguments: Any) -> None:
    """Note a step of this thread in the innermost context that is still to be undone, if there is one."""
    for undo in _list_open()[-1:]:
        undo.note_thread(step, *arguments)


def run_uncompiled(undo: Undo) -> None:
    """Let compiled code run uncompiled, in the whole process, until ``undo``."""
    if "torch._dynamo" not in sys.modules:  # there is no compiled code without it, and importing it is slow
        return
    from torch._dynamo import eval_frame

    undo.callback(setattr, eval_frame, "_stance", eval_frame._stance)
    torch.compiler.set_stance("force_eager")


def close_batches() -> None:
    """Leave batched backward passes that an interrupt has cut short: PyTorch would refuse random numbers from then on."""
    for _ in range(torch._C._vmapmode_increment_nesting()):
        torch._C._vmapmode_decrement_nesting()


def _leave_inference(undo: Undo) -> None:
    undo.note_thread(torch.set_grad_enabled, torch.is_grad_enabled())
    if torch.is_inference_mode_enabled():
        outside = torch.inference_mode(False)
        undo.note_thread(_leave, outside)
        outside.__enter__()


def _leave(outside: torch.inference_mode) -> None:
    if hasattr(outside, "_inference_mode_context"):  # it was entered
        outside.__exit__(None, None, None)


def _enter_modes(modules: list[nn.Module], undo: Undo) -> None:
    drop_stale_modes()
    undo.note_thread(_leave_modes, torch._C._len_torch_function_stack())
    devices = {parameter.device for parameter in _list_parameters(modules) if parameter.is_cuda}
    if _has_other_threads():
        _enter_mode(PrivateDraws(), undo)
    else:
        undo.note_thread(
            _set_random_state, torch.get_rng_state(), [(one, torch.cuda.get_rng_state(one)) for one in devices]
        )
    if any(map(needs_plain_kernels, modules)):
        _enter_mode(PlainKernels(), undo)


def _enter_mode(mode: AbstractSwitchedMode, undo: Undo) -> None:
    undo.note_thread(mode.switch_off)
    mode.__enter__()


def _has_other_threads() -> bool:
    """Whether this process has other threads; asked without a lock, which an interrupt could leave taken."""
    return len(sys._current_frames()) > 1


def _leave_modes(depth: int) -> None:
    """Those that were entered last are left, however far an interrupt let them get."""
    while torch._C._len_torch_function_stack() > depth:
        torch._C._pop_torch_function_stack()


def _set_random_state(state: Tensor, of_devices: list[tuple[torch.device, Tensor]]) -> None:
    """Put the generators back, unless a thread that was started meanwhile may have drawn from them."""
    if _has_other_threads():
        return
    torch.set_rng_state(state)
    for device, own in of_devices:
        torch.cuda.set_rng_state(own, device)


def _remove_hook(module: nn.Module, hook: Callable[..., Any]) -> None:
    """Take a hook off a module, also one whose handle an interrupt has lost."""
    for number in [key for key, found in list(module._forward_hooks.items()) if found is hook]:
        module._forward_hooks_with_kwargs.pop(number, None)
        module._forward_hooks_always_called.pop(number, None)
        module._forward_hooks.pop(number, None)
    for number in [key for key, found in list(module._forward_pre_hooks.items()) if found is hook]:
        module._forward_pre_hooks_with_kwargs.pop(number, None)
        module._forward_pre_hooks.pop(number, None)


def _keep_buffers(modules: list[nn.Module], undo: Undo) -> None:
    """Give back buffers that the forward writes to even in eval mode (a counter, say), or replaces."""
    kept = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    undo.note_thread(_give_buffers_back, kept)


def _give_buffers_back(kept: list[tuple[nn.Module, str, Tensor, int, Tensor]]) -> None:
    with torch.no_grad():
        for module, name, buffer, version, copy in kept:
            if buffer._version != version:
                buffer.copy_(copy)
            if module._buffers.get(name) is not buffer:
                module._buffers[name] = buffer


def _replace_inference_tensors(modules: list[nn.Module], undo: Undo) -> None:
    copies: dict[int, Tensor] = {}
    for module in modules:
        for name, weight in list(module._parameters.items()):
            if weight is not None and weight.is_inference():
                undo.callback(setattr, module, name, weight)
                setattr(module, name, _copy_once(weight, copies, partial(nn.Parameter, requires_grad=False)))
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and buffer.is_inference():
                undo.callback(setattr, module, name, buffer)
                setattr(module, name, _copy_once(buffer, copies))


def _copy_once(tensor: Tensor, copies: dict[int, Tensor], make: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The copy that stands for a tensor wherever it is, so that tied weights stay tied."""
    if id(tensor) not in copies:
        copy = tensor.detach().clone()
        copies[id(tensor)] = copy if make is None else make(copy)
    return copies[id(tensor)]
