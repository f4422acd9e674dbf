"""From a model's run to maps: one photo with many targets (:func:`make_layer_maps`), any module and batch (:func:`attribute`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import FoundMaps, InputError, LayerError, Layout, Method, TargetError, show_record
from vlcam.engine.layers import Grid, VolumeGrid, find, list_layers
from vlcam.engine.modules import name_cause
from vlcam.engine.outputs import find_logits
from vlcam.engine.places import Trial
from vlcam.engine.precision import widen
from vlcam.engine.recording import Call, Recording, gradients, record
from vlcam.engine.restore import allow_autograd, undo_after_errors
from vlcam.engine.settle_layer import settle_layer
from vlcam.engine.tower import Tower
from vlcam.explanation.diagnostic import Diagnostic
from vlcam.explanation.pytorch_grad_cam import ReshapedLayout, read_maps, translate_arguments
from vlcam.explanation.targets import read_plain
from vlcam.methods import alpha, contributions
from vlcam.methods import get_one_run_method as find_method
from vlcam.methods.diagnose import measure_kept

Score: TypeAlias = Callable[[Any], Tensor]


@final
@dataclass(frozen=True)
class LayerMaps:
    """What one photo's T targets rest on, at a layer of C channels and an h x w grid; float32 (float64 for a float64 model).

    ``maps`` ``(T, h, w)`` are signed; ``alpha`` ``(T, C)`` mean gradients; ``contributions`` ``(T, C)`` are ``alpha * sum(A)``, or those of
    a method that has its own; ``activity`` ``(C,)`` is each channel's maximum over the grid. ``steps``, ``method``, ``relu`` and ``choice``
    are what :class:`vlcam.contracts.FoundMaps` says.
    """

    layer: str
    maps: Float[Tensor, "targets rows columns"]
    alpha: Float[Tensor, "targets channels"]
    contributions: Float[Tensor, "targets channels"]
    activity: Float[Tensor, " channels"]
    diagnostic: Diagnostic | None = None
    steps: tuple[str, ...] = ()
    method: str | None = None
    relu: bool | None = None
    choice: str | None = None

    __repr__ = show_record


@final
@dataclass(frozen=True, eq=False)
class LayerEvidence:
    """What one run left at a layer of C channels and an h x w grid, detached: all that a method needs.

    ``activations`` ``(1, C, h, w)``; ``slopes`` ``(T, C, h, w)``, the gradients of the T scores; ``grid`` says how the layer's output
    lies on the model's input. ``leaf`` is that output as the layer gave it, ``tower`` what ran before it and ``scores``
    ``(T,)`` what came of it, for methods that run again what follows; ``outside`` is the share of the gradient's energy that lies nowhere
    on the photo.
    """

    layer: str
    activations: Float[Tensor, "1 channels rows columns"]
    slopes: Float[Tensor, "targets channels rows columns"]
    grid: Layout
    leaf: Float[Tensor, "..."] | None = None
    tower: Tower | None = None
    outside: float = 0.0
    scores: Float[Tensor, " targets"] | None = None

    __repr__ = show_record

    def make_maps(self, method: Method) -> LayerMaps:
        """The maps of a method, and what the channels have to do with them."""
        return LayerMaps(
            layer=self.layer,
            maps=self.grid.place(method.function(self.activations, self.slopes)),
            alpha=alpha(self.slopes),
            contributions=contributions(self.activations, self.slopes),
            activity=widen(self.activations).amax((2, 3))[0],
            diagnostic=self.diagnose(),
        )

    def diagnose(self) -> Diagnostic:
        """Whether Grad-CAM's average over the cells keeps what the gradients say."""
        return Diagnostic(float(measure_kept(self.slopes).nanmedian()), outside=self.outside)

    def combine(self, found: FoundMaps) -> LayerMaps:
        """The maps of a perturbation method, with what it found of the channels, or else what Grad-CAM says of them."""
        return LayerMaps(
            layer=self.layer,
            maps=found.maps,
            alpha=alpha(self.slopes) if found.alpha is None else found.alpha,
            contributions=contributions(self.activations, self.slopes)
            if found.contributions is None
            else found.contributions,
            activity=widen(self.activations).amax((2, 3))[0],
            diagnostic=replace(self.diagnose(), saturation=found.saturation),
            steps=found.steps,
            method=found.method,
            relu=found.relu,
            choice=found.choice,
        )


def make_layer_maps(
    scores: Float[Tensor, " targets"],
    recording: Recording,
    method: Method,
    grid: Layout | Callable[[Tensor], Layout] | None = None,
) -> LayerMaps:
    """The maps of one photo's targets, from the recording of one run with a batch of one.

    Raises:
        LayerError: as :func:`collect_evidence`.
        TargetError: the scores have no autograd history.
    """
    return collect_evidence(scores, recording, grid).make_maps(method)


def collect_evidence(
    scores: Float[Tensor, " targets"],
    recording: Recording,
    grid: Layout | Callable[[Tensor], Layout] | None = None,
    leaf: Tensor | None = None,
    tower: Tower | None = None,
) -> LayerEvidence:
    """Activations and gradients of one photo's targets, from the recording of one run with a batch of one.

    ``leaf`` is the recording's, if it is settled already (:func:`vlcam.engine.settle_layer.settle_layer`); ``tower`` is what the recording
    kept of the run before the layer.

    Raises:
        LayerError: the scores don't depend on the layer, or its output isn't laid out as ``grid`` (by default a CNN's maps).
        TargetError: the scores have no autograd history.
    """
    leaf = recording.resolve(scores) if leaf is None else leaf
    if grid is None:
        grid = Grid()
    elif not isinstance(grid, Layout):
        grid = grid(leaf)
    with allow_autograd(False):
        activations = grid.to_maps(leaf.detach())
        if len(activations) != 1:
            raise LayerError(
                f"layer {recording.layer_name!r} ran on a batch of {len(activations)}, but one photo is explained at a time"
            )
        found = gradients(scores, leaf)
        slopes = (
            grid.to_maps(found[:, 0])
            if isinstance(grid, Grid) and len(leaf) == 1
            else torch.cat([grid.to_maps(one) for one in found])
        )
        evidence = _make_evidence(recording.layer_name, activations, slopes, found, grid)
        # A later run of a layer follows from its first one, so what ran before the first isn't enough.
        usable = tower is not None and recording.key[1] == 0 and tower.is_complete
        return replace(
            evidence, leaf=leaf.detach(), tower=tower if usable else None, scores=scores.detach().reshape(-1)
        )


def make_batch_maps(
    scores: Float[Tensor, "batch targets"],
    recording: Recording,
    method: Method,
    grid: Grid,
    leaf: Tensor | None = None,
) -> list[LayerMaps]:
    """The maps of B photos with T targets each, from the recording of one run with a batch of B. Raises as the evidence does."""
    return [one.make_maps(method) for one in collect_batch_evidence(scores, recording, grid, leaf)]


def collect_batch_evidence(
    scores: Float[Tensor, "batch targets"],
    recording: Recording,
    grid: Grid,
    leaf: Tensor | None = None,
    tower: Tower | None = None,
) -> list[LayerEvidence]:
    """Activations and gradients of B photos with T targets each, from the recording of one run with a batch of B.

    The photos are independent of each other, so the k-th scores of all photos are summed: T gradients serve B * T maps.

    Raises:
        LayerError: as :func:`collect_evidence`; also if the layer didn't see every photo once.
        TargetError: the scores have no autograd history.
    """
    totals = scores.sum(0)
    leaf = recording.resolve(totals) if leaf is None else leaf
    if len(leaf) != len(scores):
        raise LayerError(f"layer {recording.layer_name!r} ran on a batch of {len(leaf)}, not of {len(scores)}")
    usable = tower is not None and recording.key[1] == 0 and tower.is_complete
    with allow_autograd(False):
        activations = grid.to_maps(leaf.detach())
        found = gradients(totals, leaf)
        return [
            replace(
                _make_evidence(
                    recording.layer_name,
                    activations[row : row + 1],
                    grid.to_maps(found[:, row]),
                    found[:, row],
                    grid,
                ),
                leaf=leaf.detach()[row : row + 1],
                tower=tower.select(row, len(leaf)) if tower is not None and usable else None,
                scores=scores[row].detach(),
            )
            for row in range(len(leaf))
        ]


def _make_evidence(layer: str, activations: Tensor, slopes: Tensor, found: Tensor, grid: Layout) -> LayerEvidence:
    """What one photo's targets rest on; ``found`` is the whole gradient, of which ``slopes`` lie on the photo."""
    if not slopes.any() and found.any():
        raise LayerError(
            f"at layer {layer!r} the whole gradient lies on tokens that aren't part of the photo, such as a class "
            "token, so its map would be empty; explain an earlier layer"
        )
    whole = float(found.double().square().sum())
    outside = 1 - float(slopes.double().square().sum()) / whole if whole > 0 and slopes.numel() < found.numel() else 0.0
    return LayerEvidence(layer, activations, slopes, grid, outside=max(0.0, outside))


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
