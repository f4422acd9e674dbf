"""What ran before a layer, kept so that only what follows the layer runs again.

A method that changes a layer's output many times needs the layers after it many times, and those before it never again. While a run is
recorded, :class:`Tower` keeps what the modules before the layer returned: the outermost ones that don't contain the layer, such as
the earlier blocks of a trunk. In :func:`replay` those modules give what they gave before, the layer gives the output that is put in its
place, and everything after it runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from vlcam.contracts import LayerError
from vlcam.engine.modules import find_first_tensor, find_module, find_tensors, replace_tensor, unwrap_model
from vlcam.engine.restore import Undo, undo_afterwards
from vlcam.engine.run_once import paused, set_forward

_rows: ContextVar[int] = ContextVar("vlcam_rows", default=1)


@final
class Tower:
    """What ran before one layer in one run of a model; filled by :func:`vlcam.engine.recording.record`.

    ``is_complete`` says whether the layer ran; ``output`` is what it returned, in which ``leaf`` is the tensor with its features.
    """

    def __init__(self) -> None:
        self.layer = ""
        self.is_complete = False
        self.output: Any = None
        self.leaf: Tensor | None = None
        self._kept: dict[str, list[tuple[Any, list[int]]]] = {}

    def watch(self, model: nn.Module, layer: str, undo: Undo) -> None:
        """Hook the modules before the layer, until ``undo``; the run that comes next is kept."""
        self.layer = layer
        # First of all hooks: what others make of an output, they make of it again.
        for name, module in list_siblings(model, layer).items():
            self._kept[name] = []
            undo.add_hook(module.register_forward_hook, partial(self._keep, name), prepend=True)
        undo.add_hook(find_module(model, layer)[1].register_forward_hook, self._close, prepend=True)

    def _keep(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self.is_complete and not paused.get():
            self._kept[name].append((output, _read_versions(output)))

    def _close(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self.is_complete and not paused.get():
            self.leaf = find_first_tensor(output)
            self.output = output
            self.is_complete = self.leaf is not None

    def select(self, row: int, rows: int) -> "Tower":
        """What one photo of a batch left: tensors of so many rows are cut down to its own."""
        one = Tower()
        one.layer, one.is_complete = self.layer, self.is_complete
        one.output = _cut(self.output, row, rows)
        one.leaf = find_first_tensor(one.output)
        one._kept = {
            name: [(_cut(output, row, rows), versions) for output, versions in runs]
            for name, runs in self._kept.items()
        }
        return one

    def list_outputs(self) -> dict[str, list[Any]]:
        """What each module returned, run by run.

        What the model overwrote in place afterwards comes as a copy, so that doing so again doesn't change what is kept.
        """
        return {
            name: [output if _read_versions(output) == versions else _copy(output) for output, versions in runs]
            for name, runs in self._kept.items()
        }


def list_siblings(model: nn.Module, layer: str) -> dict[str, nn.Module]:
    """The outermost modules that neither are the layer nor contain it, by name.

    >>> list(list_siblings(nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Flatten()), "0.1"))
    ['1', '0.0']
    """
    found: dict[str, nn.Module] = {}
    module, name = unwrap_model(model), ""
    seen = {id(module)}
    for part in layer.split("."):
        for own, inner in module._modules.items():
            if own != part and inner is not None:
                found.update(_open_lists(f"{name}{own}", inner))
        inner = module._modules.get(part)
        if inner is None:  # the whole model
            break
        module, name = unwrap_model(inner), f"{name}{part}."
        seen.add(id(module))
    once: dict[str, nn.Module] = {}
    for own, inner in found.items():  # a module that is there twice has one list of runs
        if id(inner) not in seen:
            seen.add(id(inner))
            once[own] = inner
    return once


def _open_lists(name: str, module: nn.Module) -> dict[str, nn.Module]:
    """A module by its name, or those of a list that has no run of its own."""
    if not isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return {name: unwrap_model(module)}
    found: dict[str, nn.Module] = {}
    for part, inner in module._modules.items():
        if inner is not None:
            found.update(_open_lists(f"{name}.{part}", inner))
    return found


def _read_versions(output: Any) -> list[int]:
    """How often each tensor has been changed in place."""
    return [one._version for one in find_tensors(output) if not one.is_inference()]


def _copy(output: Any) -> Any:
    """An output with copies of its tensors."""
    for tensor in list({id(one): one for one in find_tensors(output)}.values()):
        output = replace_tensor(output, tensor, tensor.clone())
    return output


def _cut(output: Any, row: int, rows: int) -> Any:
    """An output with only one row of the tensors that have so many."""
    for tensor in list({id(one): one for one in find_tensors(output)}.values()):
        if tensor.ndim and len(tensor) == rows:
            output = replace_tensor(output, tensor, tensor[row : row + 1])
    return output


@contextmanager
def replay(model: nn.Module, tower: Tower | None, layer: str, leaf: Tensor, *, call: int = 0) -> Iterator[None]:
    """Inside, the layer returns ``leaf`` where it returned its features, and what ran before it isn't run again.

    Without a ``tower`` everything before the layer runs as well, and ``call`` says which of its runs is meant, from 0; a tower is that of
    its first run. ``leaf`` may have several rows where the layer had one.

    Raises:
        LayerError: the layer returns no tensor, when it runs.
    """
    with undo_afterwards() as undo:
        undo.note_thread(_rows.set, _rows.get())
        _rows.set(len(leaf))
        module = find_module(model, layer)[1]
        if tower is None:
            runs = [0]
            undo.add_hook(module.register_forward_hook, partial(_put_in_place, leaf, layer, call, runs), prepend=True)
        else:
            for name, outputs in tower.list_outputs().items():
                if outputs:
                    _replace_forward(find_module(model, name)[1], list(outputs), undo)
            assert tower.leaf is not None
            given = replace_tensor(tower.output, tower.leaf, leaf)
            _replace_forward(module, [given], undo, enable=leaf.requires_grad)
        yield


def get_rows() -> int:
    """How many rows the replayed layer gives: for tasks that have to repeat their texts as often; 1 outside :func:`replay`."""
    return _rows.get()


def _put_in_place(
    leaf: Tensor, layer: str, call: int, runs: list[int], module: nn.Module, inputs: Any, output: Any
) -> Any:
    if paused.get():
        return None
    runs[0] += 1
    if runs[0] - 1 != call:
        return None
    found = find_first_tensor(output)
    if found is None:
        raise LayerError(f"layer {layer!r} returned {type(output).__name__} with no floating-point tensor in it")
    if leaf.requires_grad:
        torch.set_grad_enabled(True)
    return replace_tensor(output, found, leaf)


def _replace_forward(module: nn.Module, outputs: list[Any], undo: Undo, *, enable: bool = False) -> None:
    """Let a module return the given outputs, one a run; after those it runs as before."""
    own = module.__dict__.get("forward")
    undo.callback(set_forward, module, own)
    module.forward = partial(_give, module.forward, outputs, enable)


def _give(forward: Any, outputs: list[Any], enable: bool, *args: Any, **kwargs: Any) -> Any:
    if paused.get() or not outputs:
        return forward(*args, **kwargs)
    if enable:
        torch.set_grad_enabled(True)  # also in a tower that the model itself runs without autograd
    return outputs.pop(0)
