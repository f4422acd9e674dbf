"""Maps of any module and any batch, as tensors: :func:`attribute`. What one run leaves at a layer is in ``evidence``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, Layout, Method, TargetError, show_record
from vlcam.engine.layers import Grid, VolumeGrid, find, list_layers
from vlcam.engine.modules import name_cause
from vlcam.engine.outputs import find_logits
from vlcam.engine.places import Trial
from vlcam.engine.precision import widen
from vlcam.engine.recording import Call, record
from vlcam.engine.restore import allow_autograd, undo_after_errors
from vlcam.engine.settle_layer import settle_layer
from vlcam.explanation.pytorch_grad_cam import ReshapedLayout, read_maps, translate_arguments
from vlcam.explanation.targets import read_plain
from vlcam.methods import alpha, contributions
from vlcam.methods import get_one_run_method as find_method

Score: TypeAlias = Callable[[Any], Tensor]


@final
@dataclass(frozen=True)
class Attribution:
    """What a batch of B inputs' T targets rest on, at a layer of C channels and an h x w grid; on the model's device.

    ``maps`` ``(B, T, h, w)`` are raw, in units of the score: after the method's ReLU unless signed ones were asked for (of volumes
    ``(B, T, d, h, w)``, see :func:`vlcam.render.draw_slices`);
    ``alpha`` ``(B, T, C)``; ``contributions`` ``(B, T, C)``; ``scores`` ``(B, T)``; ``targets`` are what was explained: for every
    input its T class indices, tuples of indices, or names of functions.
    """

    layer: str
    method: str
    maps: Float[Tensor, "batch targets *grid"]
    alpha: Float[Tensor, "batch targets channels"]
    contributions: Float[Tensor, "batch targets channels"]
    scores: Float[Tensor, "batch targets"]
    targets: tuple[tuple[int | tuple[int, ...] | str, ...], ...]

    __repr__ = show_record


@undo_after_errors
def attribute(
    model: nn.Module,
    *inputs: Any,
    targets: Any = None,
    layer: str | nn.Module | None = None,
    method: str | Method = "gradcam",
    grid: Grid | VolumeGrid | None = None,
    signed: bool = False,
    call: Call = None,
    target_layers: Any = None,
    reshape_transform: Callable[[Tensor], Tensor] | None = None,
    **options: Any,
) -> Attribution:
    """Explain a batch with any ``torch.nn.Module``, from one forward pass.

    Args:
        model: called as ``model(*inputs, **options)``; it is left as it was.
        *inputs: the model's inputs, on its device, batched along their first axis.
        targets: what to explain. None: the top class of every input. A class index, or a tuple of indices into one input's
            output such as ``(step, word)``: the same for every input. A list: one for every input, or for every input a list of
            equally many. A tensor of class indices ``(B,)`` or ``(B, T)``. A function of the model's output (or a list of them)
            that returns ``(B,)`` scores, or one scalar; for several targets ``(B, T)``, or ``(T,)`` with a batch of one.
        layer: see :func:`vlcam.engine.recording.record`; by default the last spatial layer.
        method: a name from ``vlcam.list_methods("one-run")``, or a method.
        grid: how the layer's output is laid out; by default that is found out: a convolution's output is believed, anything else is
            proven by changing one quarter of the image after the other (:mod:`vlcam.engine.places`), once for a model.
        signed: leave out the method's final ReLU.
        call: which run of the layer, if it runs more than once.
        target_layers: pytorch-grad-cam's keyword, a list with one layer. With it, or with ``reshape_transform``, or if all functions
            are that package's, a list of functions means what it does there: one for every input, called with that input's
            output (see :mod:`vlcam.explanation.pytorch_grad_cam`).
        reshape_transform: that package's, in place of ``grid``: the layer's output to ``(batch, channels, rows, columns)``.
        **options: the model's keyword inputs.

    Raises:
        TargetError: targets that don't fit the batch or the model's output.
        LayerError: a layer that doesn't exist, has no grid, or doesn't lead to the targets.
        InputError: no such method, an output in which no logits are found, or several ``target_layers``.
    """
    chosen = find_method(method) if isinstance(method, str) else method
    layer, targets, layout = translate_arguments(layer, targets, grid, target_layers, reshape_transform)
    if isinstance(layer, str):
        try:
            find(model, layer)
        except LayerError:
            find(model, layer, shapes={row.name: row.shape for row in list_layers(model, *inputs, **options)})
    with name_cause(model):
        try:
            return _attribute(model, inputs, options, targets, layer, chosen, layout, signed, call)
        except LayerError:
            if layer is not None:
                raise
        # A layer remembered from an earlier run doesn't lead to these targets; it is forgotten now.
        return _attribute(model, inputs, options, targets, layer, chosen, layout, signed, call)


def _attribute(
    model: nn.Module,
    inputs: tuple[Any, ...],
    options: dict[str, Any],
    targets: Any,
    layer: str | nn.Module | None,
    method: Method,
    grid: Layout | None,
    signed: bool,
    call: Call,
) -> Attribution:
    with record(model, layer, call=call, whole=isinstance(grid, ReshapedLayout)) as recording:
        output = model(*inputs, **options)
        scores, totals, explained = _score_targets(output, targets)
    if grid is None:
        trial = Trial(model, (inputs, options), lambda given: model(*given[0], **given[1]))
        _, grid = settle_layer(recording, totals, trial, batch=len(scores))
    else:
        recording.resolve(totals)
    with allow_autograd(False):
        activations, slopes = read_maps(totals, recording, grid)
        if len(activations) != len(scores):
            raise LayerError(
                f"layer {recording.layer_name!r} ran on a batch of {len(activations)}, but there are scores for {len(scores)} inputs; "
                "name a layer that sees every input once, or give reshape_transform=, a function that brings its output to "
                "(inputs, channels, rows, columns)"
            )
        maps = torch.stack([method.function(activations, slope) for slope in slopes], 1)
        if isinstance(grid, VolumeGrid):
            maps = maps.unflatten(2, (grid.depth, -1))
        return Attribution(
            layer=recording.layer_name,
            method=method.name,
            maps=maps.relu() if method.relu and not signed else maps,
            alpha=torch.stack([alpha(slope) for slope in slopes], 1),
            contributions=torch.stack([contributions(activations, slope) for slope in slopes], 1),
            scores=widen(scores.detach()),
            targets=explained,
        )


def _score_targets(
    output: Any, targets: Any
) -> tuple[Tensor, Tensor, tuple[tuple[int | tuple[int, ...] | str, ...], ...]]:
    """Scores ``(B, T)``; their sums over the batch ``(T,)``, to be differentiated; and what they are."""
    functions = targets if isinstance(targets, list) and targets and all(map(callable, targets)) else [targets]
    if all(map(callable, functions)):
        return _call_functions(output, functions)
    logits = find_logits(output)
    rows = _list_targets(logits, targets)
    if len({len(row) for row in rows}) > 1:
        raise TargetError(f"every input needs equally many targets; got {', '.join(str(len(row)) for row in rows)}")
    indices = [[_check_index(index, logits.shape[1:]) for index in row] for row in rows]
    if not indices[0]:
        raise TargetError("no targets were given (an empty list); leave targets out for the top class")
    scores = torch.stack(
        [torch.stack([row[index] for index in wanted]) for row, wanted in zip(logits, indices, strict=True)]
    )
    return (
        scores,
        scores.sum(0),
        tuple(tuple(index[0] if len(index) == 1 else index for index in row) for row in indices),
    )


def _list_targets(logits: Tensor, targets: Any) -> Sequence[Sequence[Any]]:
    """For every input of the batch, its targets."""
    batch = len(logits)
    if targets is None:
        if logits.ndim != 2:
            raise TargetError(f"the model's output is {tuple(logits.shape)}, not (batch, classes): give targets=")
        return [[int(index)] for index in logits.argmax(1)]
    plain = read_plain(targets)
    if not isinstance(plain, list):
        return [[plain]] * batch
    if len(plain) != batch:
        raise TargetError(f"{len(plain)} targets were given for a batch of {batch}; expected one for every input")
    return [row if isinstance(row, list) else [row] for row in plain]


def _check_index(index: Any, shape: Sequence[int]) -> tuple[int, ...]:
    parts = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, int) for part in parts):
        raise TargetError(
            f"target {index!r} was given; expected a class index, a tuple of indices, or a function of the output"
        )
    given = f"target {index!r} was given, but the output for one input is {tuple(shape)}"
    if len(parts) != len(shape):
        raise TargetError(f"{given}: expected {len(shape)} indices")
    for part, size in zip(parts, shape, strict=True):
        if not 0 <= part < size:
            raise TargetError(f"{given}: expected 0 to {size - 1}")
    return parts


def _call_functions(output: Any, functions: Sequence[Score]) -> tuple[Tensor, Tensor, tuple[tuple[str, ...], ...]]:
    try:
        batch: int | None = len(find_logits(output))
    except InputError:  # an output that only the functions understand
        batch = None
    columns, totals = [], []
    names: list[str] = []
    for number, function in enumerate(functions):
        values = function(output)
        if not isinstance(values, Tensor) or values.ndim > 2:
            given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise TargetError(
                f"target function {number} returned {given}; expected a tensor (batch,), (batch, T) or a scalar"
            )
        several = values.ndim == 1 and batch == 1
        table = values[None] if several else values[:, None] if values.ndim == 1 else values
        if table.ndim == 2 and batch is not None and len(table) != batch:
            raise TargetError(
                f"target function {number} returned {tuple(values.shape)} for a batch of {batch}; expected (batch,)"
            )
        totals.append(table.sum(0) if table.ndim == 2 else table[None])
        columns.append(table)
        name = getattr(function, "__name__", type(function).__name__)
        count = len(totals[-1])
        names += [name] if count == 1 else [f"{name}[{part}]" for part in range(count)]
    size = batch or max((len(column) for column in columns if column.ndim), default=1)
    scores = torch.cat([column if column.ndim else column.expand(size, 1) for column in columns], 1)
    return scores, torch.cat(totals), (tuple(names),) * size
