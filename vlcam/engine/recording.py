"""Run a model once, keep one layer's activations as the only leaf, and get the gradients of many scalars at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final
from weakref import WeakKeyDictionary, ref

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import LayerError, VlcamError, shorten
from vlcam.engine.backward import check_differentiable, trace_dependence
from vlcam.engine.backward import gradients as gradients
from vlcam.engine.modules import (
    find_first_tensor,
    find_module,
    find_tensors,
    has_positions,
    is_map,
    named_modules,
    replace_tensor,
    unwrap_model,
)
from vlcam.engine.restore import Undo, allow_autograd, detach_tensors, preserve_model
from vlcam.engine.run_once import pause_recording as pause_recording
from vlcam.engine.run_once import paused
from vlcam.engine.run_once import run_once as run_once

Call: TypeAlias = int | Literal["first", "last"] | None

# What these return is not new evidence (or, for the last two, not a map with channels first), so they are never chosen automatically.
_NOT_CHOSEN = (
    nn.Identity, nn.Flatten, nn.Unflatten, nn.Softmax, nn.Softmax2d, nn.LogSoftmax,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.dropout._DropoutNd,
    nn.Linear,
)  # fmt: skip
# Where tracing may start: (shape at the first spatial layer) -> (layer, call) chosen earlier for this model.
_chosen: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], tuple[str, int]]] = WeakKeyDictionary()


@dataclass(eq=False)
class _RecordedTap:
    """One output of a module: ``kept`` is what gradients are taken for, ``returned`` what the model goes on with."""

    names: list[str]
    call: int
    kept: Tensor
    version: int
    returned: ref[Tensor]


@final
class Recording:
    """What :func:`record` kept of one run: the activations of a layer, as the leaf that gradients are taken for.

    A layer that ran several times has several leaves, and with ``layer=None`` there is a candidate for every spatial layer:
    :meth:`resolve` picks the one that the scores depend on, and ``leaf``, ``activations`` and ``layer_name`` then mean that one.
    """

    def __init__(self, layer_name: str | None, call: Call) -> None:
        self._name, self._call = layer_name, call
        self._taps: list[_RecordedTap] = []
        self._resolved: _RecordedTap | None = None
        self._remember: tuple[ref[nn.Module], tuple[Any, ...]] | None = None
        self._ran = 0
        self._outputs: list[Tensor] = []

    def __repr__(self) -> str:
        name = self._name if self._resolved is None else self._resolved.names[-1]
        shape = "" if self._resolved is None else f" {'x'.join(map(str, self._resolved.kept.shape))},"
        kept = f"{len(self._taps)} output{'s' * (len(self._taps) != 1)} kept"
        return f"Recording({'any layer' if name is None else shorten(name, 80)}:{shape} {kept})"

    @property
    def leaf(self) -> Tensor:
        """The layer's output, differentiable; any shape. Raises LayerError if it isn't known which one is meant."""
        return (self._resolved or self._pick(None)).kept

    @property
    def activations(self) -> Tensor:
        """The layer's output without autograd; the shape of ``leaf``."""
        return self.leaf.detach()

    @property
    def layer_name(self) -> str:
        """The layer's dotted name in the model, without the prefixes of compiled and parallel models."""
        return self._name if self._name is not None else (self._resolved or self._pick(None)).names[-1]

    @property
    def calls(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """What can be chosen from, in the order of running: names and output shapes."""
        return tuple((tap.names[-1], tuple(tap.kept.shape)) for tap in self._taps)

    def resolve(self, scores: Float[Tensor, "*batch"]) -> Tensor:
        """The leaf that ``scores`` depend on; from now on it is ``leaf``.

        Raises:
            LayerError: the layer never ran, or several of its calls lead to the scores and ``call`` wasn't given.
            TargetError: the scores have no autograd history at all.
        """
        if not self._taps:
            self._forget()
            raise LayerError(self._describe_failure())
        check_differentiable(scores)
        self._resolved = self._pick(scores)
        return self._resolved.kept

    def _pick(self, scores: Tensor | None) -> _RecordedTap:
        if not self._taps:
            raise LayerError(self._describe_failure())
        if self._name is None:
            if scores is None:
                raise LayerError(
                    "which layer leads to the scores isn't known yet: call resolve(scores) first, or name a layer"
                )
            tap = self._find_last_spatial(scores)
        else:
            tap = self._choose_call(scores)
        if tap.kept._version != tap.version:
            raise LayerError(
                f"the output of layer {tap.names[-1]!r} was overwritten by an in-place operation later in the model; "
                "explain the layer that overwrites it instead"
            )
        return tap

    def _forget(self) -> None:
        """The layer chosen in an earlier run is not the one now."""
        if self._remember is not None and (model := self._remember[0]()) is not None:
            _chosen.pop(model, None)

    def _describe_failure(self) -> str:
        if self._name is None:
            return (
                "no layer of the model returned a feature map (batch, channels, rows, columns) with more than one row and column; "
                "name a layer, and its grid if it returns tokens"
            )
        if self._ran:
            return f"layer {self._name!r} ran {self._ran} times, so there is no call {self._call!r}; calls count from 0"
        return f"layer {self._name!r} did not run: call the model inside `with record(...)`, and name a layer that this input uses"

    def _choose_call(self, scores: Tensor | None) -> _RecordedTap:
        if isinstance(self._call, int):
            index = self._call if self._call < 0 else 0  # of a call counted from 0, only that one was kept
            if -index > len(self._taps):
                raise LayerError(self._describe_failure())
            return self._taps[index]
        if self._call is not None:
            return self._taps[0 if self._call == "first" else -1]
        left = [tap for tap in self._taps if has_positions(tap.kept)] or self._taps
        if scores is not None:
            left = _select_leading(scores, left) or left
        if len(left) > 1:
            calls = ", ".join(f"call {tap.call}: {tuple(tap.kept.shape)}" for tap in self._taps)
            raise LayerError(
                f"layer {self._name!r} ran {len(self._taps)} times ({calls}); say which one to explain: call=0, call='last', ..."
            )
        return left[0]

    def _find_last_spatial(self, scores: Tensor) -> _RecordedTap:
        """The last candidate that leads to the scores and isn't itself a map of the classes."""
        leading = _select_leading(scores, self._taps)
        if not leading:
            self._forget()
            tried = ", ".join(f"{name} {shape}" for name, shape in self.calls[-8:])
            raise LayerError(
                f"none of the spatial layers that were found leads to the scores ({tried}); name the layer to explain"
            )
        tap = _skip_class_maps(scores, _find_cuts(scores, leading))
        earlier = [other for other in leading[: leading.index(tap)] if other.names[-1] == tap.names[-1]]
        if any(
            trace_dependence(scores, [other.kept for other in earlier], without=tap.kept)
        ):  # side by side, not one after the other
            twins = [*earlier, tap]
            calls = ", ".join(f"call {other.call}: {tuple(other.kept.shape)}" for other in twins)
            raise LayerError(
                f"the last spatial layer {tap.names[-1]!r} ran {len(twins)} times ({calls}); "
                f"give layer={tap.names[-1]!r} and call=0, call='last', ..."
            )
        if self._remember is not None and (model := self._remember[0]()) is not None and self._is_the_only_way(tap):
            _chosen.setdefault(model, {})[self._remember[1]] = (tap.names[-1], tap.call)
        return tap

    def _is_the_only_way(self, tap: _RecordedTap) -> bool:
        """Whether all that the model returned comes by way of ``tap``, so that the choice also holds for any other scores."""
        earlier = [other.kept for other in self._taps[: self._taps.index(tap)]]
        return bool(self._outputs) and not any(
            any(trace_dependence(one, earlier, without=tap.kept)) for one in self._outputs
        )


@contextmanager
def record(model: nn.Module, layer: str | nn.Module | None = None, *, call: Call = None) -> Iterator[Recording]:
    """Record one layer while the model runs, as the one leaf of the autograd graph.

    Call the model yourself inside the ``with``, however it wants to be called. It runs in eval mode, without autograd up to the
    layer and with autograd from there on, also under ``torch.no_grad()`` and ``torch.inference_mode()``. On leaving, the model
    and torch's global switches are as before (see :func:`vlcam.engine.restore.preserve_model`).

    Args:
        model: any module; compiled and DataParallel models too.
        layer: a module of the model or its dotted name. None finds the last spatial layer by itself, in the same run: the last
            module that returned ``(batch, channels, rows > 1, columns > 1)``, leads to the scores, and is not pooling, dropout or
            the like; a layer whose channels are already the classes (squeezenet's conv classifier) gives way to the one
            before it. It is named by the outermost module that returns it. The choice is remembered for the next call.
        call: which run of the layer is meant, if it runs more than once: an index from 0 (or from the end, negative),
            ``"first"`` or ``"last"``. By default the one that leads to the scores.

    Raises:
        LayerError: there is no such layer.
    """
    if isinstance(call, str) and call not in ("first", "last"):
        raise LayerError(f"call={call!r} was given; expected 'first', 'last', an index, or None")
    name, target = find_module(model, layer) if layer is not None else (None, None)
    recording = Recording(name, call)
    with preserve_model(model) as stack:
        stack.add_hook(
            unwrap_model(model).register_forward_pre_hook,
            lambda module, args, kwargs: (
                # Once the layer ran, an input may come from it: a model whose parts are called one by one.
                detach_tensors(args, history=bool(recording._taps)),
                detach_tensors(kwargs, history=bool(recording._taps)),
            ),
            with_kwargs=True,
            prepend=True,
        )
        if target is not None:
            # First of all hooks: others (transformers' own) may keep the output for the model to go on with.
            stack.add_hook(target.register_forward_hook, _make_layer_hook(recording), prepend=True)
        else:
            _watch_all(recording, model, stack)
        stack.add_hook(unwrap_model(model).register_forward_hook, _make_return_hook(recording))
        try:
            yield recording
        except RuntimeError as error:
            if "Inference tensors cannot be saved for backward" not in str(error):
                raise
            raise VlcamError(
                "a tensor made under torch.inference_mode() was used after the layer, and autograd can't use such tensors; "
                "make it outside, or pass tensor.clone()"
            ) from error


def _make_layer_hook(recording: Recording) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        if paused.get():
            return None
        number, call = recording._ran, recording._call
        recording._ran += 1
        wanted = 0 if call == "first" else call
        if isinstance(wanted, int) and 0 <= wanted != number:
            return None
        return _keep(recording, [recording._name or ""], number, output)

    return hook


def _watch_all(recording: Recording, model: nn.Module, stack: Undo) -> None:
    """Hook every module: from the first spatial output on (or from the layer chosen last time) keep all spatial outputs."""
    skipped: list[tuple[ref[Tensor], int]] = []
    runs: dict[str, int] = {}
    start: list[tuple[str, int] | None] = []

    def hook_for(name: str, module: nn.Module) -> Callable[[nn.Module, Any, Any], Any]:
        passes = isinstance(module, _NOT_CHOSEN) or type(module) is nn.LayerNorm

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if paused.get():
                return None
            runs[name] = runs.get(name, -1) + 1
            found = find_first_tensor(output)
            if found is None or not is_map(found):
                return None
            last = recording._taps[-1] if recording._taps else None
            if last is not None and found is last.returned() and found._version == 0:  # not relu_(x) of that x
                # Not a container in which something else was made from it: the scores may come from that.
                if name and not passes and len(list(find_tensors(output))) == 1:
                    last.names.append(name)
                    last.call = runs[name]
                return None
            if passes or (skipped and (found is skipped[0][0]() and found._version == skipped[0][1])):
                skipped[:] = [(ref(found), found._version)]
                return None
            if not start:
                key = (name, *found.shape[1:])
                recording._remember = (ref(model), key)
                start.append(_chosen.get(model, {}).get(key))
            if not recording._taps and start[0] is not None and start[0] != (name or type(module).__name__, runs[name]):
                return None
            return _keep(recording, [name or type(module).__name__], runs[name], output)

        return hook

    for name, module in named_modules(model).items():
        stack.add_hook(module.register_forward_hook, hook_for(name, module))


def _keep(recording: Recording, names: list[str], call: int, output: Any) -> Any:
    found = find_first_tensor(output)
    if found is None:
        raise LayerError(f"layer {names[0]!r} returned {type(output).__name__} with no floating-point tensor in it")
    first = not recording._taps
    # Later calls may depend on earlier ones, so only the first output is cut off from what was before it.
    with allow_autograd():
        kept = found.detach().clone().requires_grad_() if first or not found.requires_grad else found
        returned = kept.clone()  # the model may overwrite this one
    torch.set_grad_enabled(True)  # for a layer inside the model's own `with torch.no_grad():`
    recording._taps.append(_RecordedTap(names, call, kept, kept._version, ref(returned)))
    return replace_tensor(output, found, returned)


class _Witness(torch.autograd.Function):
    """The identity, with an autograd history that leads nowhere."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, witness: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, None]:
        return None, None


def _make_return_hook(recording: Recording) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        if paused.get():
            return None
        recording._outputs += [tensor for tensor in find_tensors(output) if tensor.requires_grad]
        return _add_witness(output)

    return hook


def _add_witness(output: Any) -> Any:
    """Outputs that don't depend on the layer get a history, to be told from scores that lost theirs."""
    with allow_autograd():
        for tensor in list(find_tensors(output)):
            if tensor.is_floating_point() and not tensor.requires_grad and not tensor.is_inference():
                output = replace_tensor(output, tensor, _Witness.apply(tensor, torch.zeros((), requires_grad=True)))
    return output


def _select_leading(scores: Tensor, taps: list[_RecordedTap]) -> list[_RecordedTap]:
    return [tap for tap, leads in zip(taps, trace_dependence(scores, [tap.kept for tap in taps]), strict=True) if leads]


def _find_cuts(scores: Tensor, taps: list[_RecordedTap]) -> list[_RecordedTap]:
    """The taps that everything the scores take from earlier taps flows through: whole blocks, not one of their branches.

    A model that takes features from several depths has such taps only near its input, if any; then all taps are returned.
    """
    finest = 2 * taps[-1].kept.shape[2], 2 * taps[-1].kept.shape[3]
    for last in range(len(taps) - 1, -1, -1):
        around = trace_dependence(scores, [tap.kept for tap in taps[:last]], without=taps[last].kept)
        if not any(around) and not any(tap.kept.is_leaf for tap in taps[last + 1 :]):  # a later leaf: a second photo
            rows, columns = taps[last].kept.shape[2:]
            return taps[: last + 1] if rows <= finest[0] and columns <= finest[1] else taps
    return taps


def _skip_class_maps(scores: Tensor, taps: list[_RecordedTap]) -> _RecordedTap:
    """The last tap, unless its channels are the classes: a class then depends on one of them (a contrast: two)."""
    if len(taps) == 1:
        return taps[0]
    classes: int | None = None
    for tap in reversed(taps):
        channels = tap.kept.shape[1]
        if channels == classes:
            continue
        gradient = gradients(scores[..., :1] if scores.ndim else scores, tap.kept)[0]
        active = int((gradient != 0).any(3).any(2).sum(1).max()) if len(gradient) else 0
        if not ((active == 1 < channels) or (active == 2 <= channels / 4)):
            return tap
        classes = channels
    return taps[-1]
