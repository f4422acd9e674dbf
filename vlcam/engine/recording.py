"""Run a model once, keep one layer's activations as the only leaf, and get the gradients of many scalars at once."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, final
from weakref import WeakKeyDictionary, ref

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import LayerError, VlcamError, shorten
from vlcam.engine.backward import check_differentiable, trace_dependence
from vlcam.engine.backward import gradients as gradients
from vlcam.engine.modules import (
    check_hookable,
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
from vlcam.engine.taps import RecordedTap, find_cuts, select_leading, skip_class_maps
from vlcam.engine.tower import Tower

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


@final
class Recording:
    """What :func:`record` kept of one run: the activations of a layer, as the leaf that gradients are taken for.

    A layer that ran several times has several leaves, and with ``layer=None`` there is a candidate for every spatial layer:
    :meth:`resolve` picks the one that the scores depend on, and ``leaf``, ``activations`` and ``layer_name`` then mean that one.
    """

    def __init__(self, model: nn.Module, layer_name: str | None, call: Call, *, whole: bool = False) -> None:
        self._model, self._name, self._call, self._whole = ref(model), layer_name, call, whole
        self._taps: list[RecordedTap] = []
        self._resolved: RecordedTap | None = None
        self._remember: tuple[Any, ...] | None = None
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
    def output(self) -> Any:
        """The layer's whole output, of any nesting, in which every floating-point tensor is a leaf; ``leaf`` without ``whole``."""
        tap = self._resolved or self._pick(None)
        return tap.kept if tap.whole is None else tap.whole

    @property
    def layer_name(self) -> str:
        """The layer's dotted name in the model, without the prefixes of compiled and parallel models."""
        return self._name if self._name is not None else (self._resolved or self._pick(None)).names[-1]

    @property
    def calls(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """What can be chosen from, in the order of running: names and output shapes."""
        return tuple((tap.names[-1], tuple(tap.kept.shape)) for tap in self._taps)

    @property
    def is_named(self) -> bool:
        """Whether a layer was named, rather than to be found."""
        return self._name is not None

    @property
    def key(self) -> tuple[str, int]:
        """The name of the layer, and which of its runs ``leaf`` is from."""
        tap = self._resolved or self._pick(None)
        return tap.names[-1], tap.call

    def resolve(
        self,
        scores: Float[Tensor, "*batch"],
        *,
        batch: int | None = None,
        skip: Collection[tuple[str, int]] = (),
    ) -> Tensor:
        """The leaf that ``scores`` depend on; from now on it is ``leaf``.

        Args:
            scores: what is to be explained.
            batch: how many inputs the layer must have seen, if it is to be found.
            skip: keys of layers that are not to be found.

        Raises:
            LayerError: the layer never ran, or several of its calls lead to the scores and ``call`` wasn't given.
            TargetError: the scores have no autograd history at all.
        """
        if not self._taps:
            self.forget()
            raise LayerError(self._describe_failure())
        check_differentiable(scores)
        self._resolved = self._pick(scores, batch, skip)
        return self._resolved.kept

    def _pick(
        self, scores: Tensor | None, batch: int | None = None, skip: Collection[tuple[str, int]] = ()
    ) -> RecordedTap:
        if not self._taps:
            raise LayerError(self._describe_failure())
        if self._name is None:
            if scores is None:
                raise LayerError(
                    "which layer leads to the scores isn't known yet: call resolve(scores) first, or name a layer"
                )
            tap = self._find_last_spatial(scores, batch, skip)
        else:
            tap = self._choose_call(scores)
        if tap.kept._version != tap.version:
            raise LayerError(
                f"the output of layer {tap.names[-1]!r} was overwritten by an in-place operation later in the model; "
                "explain the layer that overwrites it instead"
            )
        return tap

    def forget(self) -> None:
        """The layer chosen in an earlier run is not the one now."""
        if (model := self._model()) is not None:
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

    def _choose_call(self, scores: Tensor | None) -> RecordedTap:
        if isinstance(self._call, int):
            index = self._call if self._call < 0 else 0  # of a call counted from 0, only that one was kept
            if -index > len(self._taps):
                raise LayerError(self._describe_failure())
            return self._taps[index]
        if self._call is not None:
            return self._taps[0 if self._call == "first" else -1]
        left = [tap for tap in self._taps if has_positions(tap.kept)] or self._taps
        if scores is not None:
            left = select_leading(scores, left) or left
        if len(left) > 1:
            calls = ", ".join(f"call {tap.call}: {tuple(tap.kept.shape)}" for tap in self._taps)
            raise LayerError(
                f"layer {self._name!r} ran {len(self._taps)} times ({calls}); say which one to explain: call=0, call='last', ..."
            )
        return left[0]

    def _find_last_spatial(self, scores: Tensor, batch: int | None, skip: Collection[tuple[str, int]]) -> RecordedTap:
        """The last candidate that leads to the scores and isn't itself a map of the classes."""
        leading = select_leading(scores, [tap for tap in self._taps if (tap.names[-1], tap.call) not in skip])
        leading = [tap for tap in leading if batch is None or len(tap.kept) == batch] or leading
        if not leading:
            self.forget()
            tried = ", ".join(f"{name} {shape}" for name, shape in self.calls[-8:])
            raise LayerError(
                f"none of the spatial layers that were found leads to the scores ({tried}); name the layer to explain"
            )
        tap = skip_class_maps(scores, find_cuts(scores, leading))
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
        if self._remember is not None and (model := self._model()) is not None and self._is_the_only_way(tap):
            _chosen.setdefault(model, {})[self._remember] = (tap.names[-1], tap.call)
        return tap

    def _is_the_only_way(self, tap: RecordedTap) -> bool:
        """Whether all that the model returned comes by way of ``tap``, so that the choice also holds for any other scores."""
        earlier = [other.kept for other in self._taps[: self._taps.index(tap)]]
        return bool(self._outputs) and not any(
            any(trace_dependence(one, earlier, without=tap.kept)) for one in self._outputs
        )


@contextmanager
def record(
    model: nn.Module, layer: str | nn.Module | None = None, *, call: Call = None, whole: bool = False, tower: Tower | None = None
) -> Iterator[Recording]:  # fmt: skip
    """Record one layer while the model runs, as the one leaf of the autograd graph.

    Call the model yourself inside the ``with``, however it wants to be called. It runs in eval mode, without autograd up to the
    layer and with autograd from there on, also under ``torch.no_grad()`` and ``torch.inference_mode()``. Afterwards model and switches are
    as before (:func:`vlcam.engine.restore.preserve_model`).

    Args:
        model: any module; compiled and DataParallel models too.
        layer: a module of the model or its dotted name. None finds the last spatial layer by itself, in the same run: the last
            module that returned ``(batch, channels, rows > 1, columns > 1)``, leads to the scores, and is not pooling, dropout or
            the like; a layer whose channels are already the classes (squeezenet's conv classifier) gives way to the one before
            it. It is named by the outermost module that returns it. The choice is remembered.
        call: which run of the layer, if there are several: an index from 0 (or from the end, negative), ``"first"`` or ``"last"``. By
            default the one that leads to the scores.
        whole: of a named layer that returns several tensors keep all (``Recording.output``), not only the first with positions.
        tower: is given what runs before a named layer, so that only what follows needs to run again.

    Raises:
        LayerError: there is no such layer.
    """
    if isinstance(call, str) and call not in ("first", "last"):
        raise LayerError(f"call={call!r} was given; expected 'first', 'last', an index, or None")
    check_hookable(model)
    name, target = find_module(model, layer) if layer is not None else (None, None)
    recording = Recording(model, name, call, whole=whole)
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
            stack.add_hook(target.register_forward_hook, lambda *run: _record_layer(recording, run[-1]), prepend=True)
            if tower is not None:
                tower.watch(model, recording.layer_name, stack)
        else:
            _watch_all(recording, model, stack)
        stack.add_hook(unwrap_model(model).register_forward_hook, lambda *run: _record_outputs(recording, run[-1]))
        try:
            yield recording
        except RuntimeError as error:
            if "Inference tensors cannot be saved for backward" not in str(error):
                raise
            raise VlcamError(
                "a tensor made under torch.inference_mode() was used after the layer, and autograd can't use such tensors; "
                "make it outside, or pass tensor.clone()"
            ) from error


def _record_layer(recording: Recording, output: Any) -> Any:
    if paused.get():
        return None
    number, call = recording._ran, recording._call
    recording._ran += 1
    wanted = 0 if call == "first" else call
    if isinstance(wanted, int) and 0 <= wanted != number:
        return None
    return _keep(recording, [recording._name or ""], number, output)


def _watch_all(recording: Recording, model: nn.Module, stack: Undo) -> None:
    """Hook every module: from the first spatial output on (or from the layer chosen last time) keep all spatial outputs."""
    watch = _CandidateWatch(recording, model)
    for name, module in named_modules(model).items():
        stack.add_hook(module.register_forward_hook, watch.make_hook(name, module))


@final
class _CandidateWatch:
    """What the hooks of all modules know of one run of the model."""

    def __init__(self, recording: Recording, model: nn.Module) -> None:
        self.recording = recording
        self.model = model
        self.skipped: tuple[ref[Tensor], int] | None = None
        self.runs: dict[str, int] = {}
        self.start: list[tuple[str, int] | None] = []

    def make_hook(self, name: str, module: nn.Module) -> Callable[[nn.Module, Any, Any], Any]:
        """What looks at the outputs of one module."""
        title = name or type(module).__name__
        passes = isinstance(module, _NOT_CHOSEN) or type(module) is nn.LayerNorm
        return lambda module, inputs, output: self.look_at(name, title, passes, output)

    def look_at(self, name: str, title: str, passes: bool, output: Any) -> Any:
        """Keep an output if it is a candidate; ``passes``: what the module returns is never one."""
        if paused.get():
            return None
        recording, runs = self.recording, self.runs
        runs[name] = runs.get(name, -1) + 1
        if self.start and not recording._taps and self.start[0] not in (None, (title, runs[name])):
            return None  # not yet at the layer chosen earlier: small models would feel a look at every output
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
        if passes or (self.skipped and (found is self.skipped[0]() and found._version == self.skipped[1])):
            self.skipped = ref(found), found._version
            return None
        if not self.start:
            key = (name, *found.shape[1:])
            recording._remember = key
            self.start.append(_chosen.get(self.model, {}).get(key))
        if not recording._taps and self.start[0] not in (None, (title, runs[name])):
            return None
        return _keep(recording, [title], runs[name], output)


def _keep(recording: Recording, names: list[str], call: int, output: Any) -> Any:
    found = find_first_tensor(output)
    if found is None:
        raise LayerError(f"layer {names[0]!r} returned {type(output).__name__} with no floating-point tensor in it")
    first = not recording._taps
    if recording._whole and not isinstance(output, Tensor):
        return _keep_whole(recording, names, call, output, found)
    # Later calls may depend on earlier ones, so only the first output is cut off from what was before it.
    with allow_autograd():
        kept = found.detach().clone().requires_grad_() if first or not found.requires_grad else found
        returned = kept.clone()  # the model may overwrite this one
    torch.set_grad_enabled(True)  # for a layer inside the model's own `with torch.no_grad():`
    recording._taps.append(RecordedTap(names, call, kept, kept._version, ref(returned)))
    return replace_tensor(output, found, returned)


def _keep_whole(recording: Recording, names: list[str], call: int, output: Any, main: Tensor) -> Any:
    """Keep every floating-point tensor of an output as a leaf; the model goes on with copies of them."""
    whole = output
    with allow_autograd():
        for tensor in list({id(one): one for one in find_tensors(output) if one.is_floating_point()}.values()):
            leaf = tensor.detach().clone().requires_grad_()
            copy = leaf.clone()
            whole, output = replace_tensor(whole, tensor, leaf), replace_tensor(output, tensor, copy)
            if tensor is main:
                recording._taps.append(RecordedTap(names, call, leaf, leaf._version, ref(copy)))
    recording._taps[-1].whole = whole
    torch.set_grad_enabled(True)
    return output


class _Witness(torch.autograd.Function):
    """The identity, with an autograd history that leads nowhere."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, witness: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, None]:
        return None, None


def _record_outputs(recording: Recording, output: Any) -> Any:
    if paused.get():
        return None
    recording._outputs += [tensor for tensor in find_tensors(output) if tensor.requires_grad]
    return _add_witness(output)


def _add_witness(output: Any) -> Any:
    """Outputs that don't depend on the layer get a history, to be told from scores that lost theirs."""
    with allow_autograd():
        for tensor in list(find_tensors(output)):
            if tensor.is_floating_point() and not tensor.requires_grad and not tensor.is_inference():
                output = replace_tensor(
                    output, tensor, _Witness.apply(tensor, torch.zeros((), requires_grad=True, device="cpu"))
                )
    return output
