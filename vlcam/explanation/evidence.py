"""What one run left at the explained layer, and the maps and channels' parts that come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import LayerError, Layout, Method, show_record
from vlcam.engine.layers import Grid
from vlcam.engine.precision import widen
from vlcam.engine.recording import Recording, gradients
from vlcam.engine.restore import allow_autograd
from vlcam.engine.tower import Tower
from vlcam.explanation.diagnostic import Diagnostic
from vlcam.methods import alpha, contributions
from vlcam.methods.diagnose import measure_kept
from vlcam.methods.head import FoundMaps


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
    call: int = 0

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
            evidence,
            leaf=leaf.detach(),
            tower=tower if usable else None,
            scores=scores.detach().reshape(-1),
            call=recording.key[1],
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
    *,
    counts: Sequence[int] | None = None,
) -> list[LayerEvidence]:
    """Activations and gradients of B photos with T targets each, from the recording of one run with a batch of B.

    The photos are independent of each other, so the k-th scores of all photos are summed: T gradients serve B * T maps. ``counts`` says how
    many of its T targets each photo really has.

    Raises:
        LayerError: as :func:`collect_evidence`; also if the layer didn't see every photo once.
        TargetError: the scores have no autograd history.
    """
    totals = scores.sum(0)
    leaf = recording.resolve(totals) if leaf is None else leaf
    if len(leaf) != len(scores):
        raise LayerError(f"layer {recording.layer_name!r} ran on a batch of {len(leaf)}, not of {len(scores)}")
    usable = tower is not None and recording.key[1] == 0 and tower.is_complete
    have = [scores.shape[1]] * len(scores) if counts is None else counts
    with allow_autograd(False):
        activations = grid.to_maps(leaf.detach())
        found = gradients(totals, leaf)
        return [
            replace(
                _make_evidence(
                    recording.layer_name,
                    activations[row : row + 1],
                    grid.to_maps(found[: have[row], row]),
                    found[: have[row], row],
                    grid,
                ),
                leaf=leaf.detach()[row : row + 1],
                tower=tower.select(row, len(leaf)) if tower is not None and usable else None,
                scores=scores[row, : have[row]].detach(),
                call=recording.key[1],
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
