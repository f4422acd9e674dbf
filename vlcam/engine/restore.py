"""A model made ready to be explained, and given back bit for bit as it was."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn

_ONE_AT_A_TIME = RLock()
"""The switches are the process's and the hooks the model's, so threads take turns."""


@contextmanager
def preserve_model(model: nn.Module) -> Iterator[ExitStack]:
    """Inside, ``model`` is in eval mode and frozen, and autograd is on; afterwards all is as before, also after an exception.

    Given back are the training flag of every module, ``requires_grad`` of every parameter, the buffers, the random number
    generators, the grad and inference modes and the switches of cuDNN, oneDNN, multi-head attention and ``torch.compile``. What
    the caller adds to the yielded stack (such as ``handle.remove``) is undone first.

    Nothing in a frozen model asks for gradients, so autograd keeps nothing until a leaf is made. Compiled modules run
    uncompiled, so that hooks fire; ``DataParallel`` runs on its first device, so that the batch stays in order; recurrent layers
    run step by step: cuDNN can't go backward through them in eval mode, and oneDNN not for many targets at once. Weights made
    under ``torch.inference_mode()``, which autograd refuses, are replaced by copies for the time being.
    """
    with _ONE_AT_A_TIME, ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        _keep_random_state(model, stack)
        attention = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, attention)
        torch.backends.mha.set_fastpath_enabled(False)  # it skips the modules inside, so their hooks wouldn't fire
        if "torch._dynamo" in sys.modules:  # no compiled code without it, and importing it is slow
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        modules = list(model.modules())
        for module in modules:
            if module.training:
                stack.callback(setattr, module, "training", True)
                module.training = False
            if isinstance(module, nn.DataParallel):
                stack.callback(setattr, module, "device_ids", module.device_ids)
                module.device_ids = module.device_ids[:1]
            if isinstance(module, nn.RNNBase):
                _run_step_by_step(module, stack)
        _replace_inference_tensors(modules, stack)
        _keep_buffers(modules, stack)
        for parameter in model.parameters():
            if parameter.requires_grad:
                stack.callback(parameter.requires_grad_, True)
                parameter.requires_grad_(False)
        with ExitStack() as inner:
            yield inner


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


def _keep_random_state(model: nn.Module, stack: ExitStack) -> None:
    stack.callback(torch.set_rng_state, torch.get_rng_state())
    for device in {parameter.device for parameter in model.parameters() if parameter.is_cuda}:
        stack.callback(torch.cuda.set_rng_state, torch.cuda.get_rng_state(device), device)


def _run_step_by_step(module: nn.RNNBase, stack: ExitStack) -> None:
    """Let ``module`` run as plain operations, without cuDNN's or oneDNN's recurrent kernels; everything around it keeps them."""
    switch: Any = torch.backends.cudnn if any(one.is_cuda for one in module.parameters()) else torch.backends.mkldnn
    before: list[bool] = []
    stack.callback(setattr, switch, "enabled", switch.enabled)
    stack.callback(module.register_forward_pre_hook(lambda *_: _switch_off(switch, before)).remove)
    stack.callback(module.register_forward_hook(lambda *_: _switch_back(switch, before), always_call=True).remove)


def _switch_off(switch: Any, before: list[bool]) -> None:
    before.append(switch.enabled)
    switch.enabled = False


def _switch_back(switch: Any, before: list[bool]) -> None:
    if before:
        switch.enabled = before.pop()


def _keep_buffers(modules: list[nn.Module], stack: ExitStack) -> None:
    """Give back buffers that the forward writes to even in eval mode (a counter, say), or replaces."""
    kept = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    stack.callback(_give_buffers_back, kept)


def _give_buffers_back(kept: list[tuple[nn.Module, str, Tensor, int, Tensor]]) -> None:
    with torch.no_grad():
        for module, name, buffer, version, copy in kept:
            if buffer._version != version:
                buffer.copy_(copy)
            if module._buffers.get(name) is not buffer:
                module._buffers[name] = buffer


def _replace_inference_tensors(modules: list[nn.Module], stack: ExitStack) -> None:
    copies: dict[int, Tensor] = {}
    for module in modules:
        for name, weight in list(module._parameters.items()):
            if weight is not None and weight.is_inference():
                stack.callback(setattr, module, name, weight)
                setattr(module, name, _copy_once(weight, copies, partial(nn.Parameter, requires_grad=False)))
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and buffer.is_inference():
                stack.callback(setattr, module, name, buffer)
                setattr(module, name, _copy_once(buffer, copies))


def _copy_once(tensor: Tensor, copies: dict[int, Tensor], make: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The copy that stands for a tensor wherever it is, so that tied weights stay tied."""
    if id(tensor) not in copies:
        copy = tensor.detach().clone()
        copies[id(tensor)] = copy if make is None else make(copy)
    return copies[id(tensor)]
