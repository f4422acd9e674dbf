"""What follows the explained layer, run by itself: scores and gradients for many outputs of the layer, without the layers before it.

:class:`PhotoHead` puts activations ``(B, C, h, w)`` in the place of the layer's own. It prefers one pass for all B rows, if the task can
score a batch; then one pass for each row; both without running anything before the layer (:mod:`vlcam.engine.tower`). Which of them is
right for this model is tested, not believed: the layer's own activations go along in the first pass, and must get the scores that were
explained. Only if that fails are the layers before run again as well, and if that fails too, the method is refused.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, LayerError, ScoringTask, Spoken, Task
from vlcam.engine.chunks import CHUNK_BYTES, count_chunk, count_rows
from vlcam.engine.layers import Grid
from vlcam.engine.modules import has_independent_rows
from vlcam.engine.precision import widen
from vlcam.engine.recording import gradients, record
from vlcam.engine.restore import preserve_model
from vlcam.engine.tower import Tower, replay
from vlcam.explanation.evidence import LayerEvidence
from vlcam.files import describe_error

_log = logging.getLogger(__name__)

Way: TypeAlias = Literal["batch", "rows", "whole"]

_WAYS: tuple[Way, ...] = ("batch", "rows", "whole")
"""All rows in one pass; one pass for each; the same with the layers before: the later the slower."""


_CLASSES = ("class", "answer")


@final
class PhotoHead:
    """What follows one layer for one photo; see :func:`open_head`."""

    def __init__(
        self,
        evidence: LayerEvidence,
        task: Task,
        run: Callable[[], Tensor],
        run_batch: Callable[[], Tensor],
        run_classes: Callable[[], Spoken],
        progress: Callable[[int, int], Any],
    ) -> None:
        assert evidence.leaf is not None and evidence.scores is not None
        self.activations = evidence.activations
        self.report = progress
        self._evidence, self._task, self._said = evidence, task, widen(evidence.scores).cpu()
        self._run, self._run_batch, self._run_classes = run, run_batch, run_classes
        self._leaf = evidence.leaf
        ways = [one for one in _WAYS if one == "whole" or evidence.tower is not None]
        if len(self._leaf) != 1 or not isinstance(task, ScoringTask) or not has_independent_rows(task.model):
            ways = [one for one in ways if one != "batch"]
        self._ways = ways
        self._checked = False
        self._places = None if _is_plain(evidence.grid) else _find_places(evidence)

    @property
    def way(self) -> Way:
        """How the head runs: ``batch``, ``rows`` (one pass for each) or ``whole`` (with the layers before)."""
        return self._ways[0]

    def score(self, points: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch targets"]:
        """The scores of all targets with each of B activations in the layer's place, without autograd."""
        found = []
        with torch.no_grad():
            for part in points.split(self._count(1)):
                found.append(widen(self._compute(part)))
                self.report(sum(map(len, found)), len(points))
        return torch.cat(found)

    def average_gradients(
        self, points: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "targets channels rows columns"]:
        """The gradients of the T scores at each of B activations, averaged over these."""
        total = widen(points.new_zeros(len(self._said), *points.shape[1:]))
        for part in points.split(self._count(len(self._said))):
            leaf = part.detach().clone().requires_grad_()
            scores = self._compute(leaf)
            total += widen(gradients(scores, leaf)).sum(1)
        return total / len(points)

    def differentiate(
        self, points: Float[Tensor, "batch channels rows columns"]
    ) -> tuple[Float[Tensor, "batch targets"], Float[Tensor, "batch channels rows columns"]]:
        """The differentiable scores with each of B activations, few enough for one pass, and the leaf that they depend on."""
        leaf = points.detach().clone().requires_grad_()
        return self._compute(leaf), leaf

    def differentiate_classes(
        self,
    ) -> tuple[Float[Tensor, " classes"], tuple[int, ...], Float[Tensor, "1 channels rows columns"]]:
        """The differentiable scores of all classes (or answers) at the own activations, their numbers, and the leaf they depend on.

        Raises InputError for a model that has no classes.
        """
        leaf = self.activations.detach().clone().requires_grad_()
        with replay(
            self._task.model,
            self._evidence.tower,
            self._evidence.layer,
            self._to_output(leaf),
            call=self._evidence.call,
        ):
            spoken = self._run_classes()
        numbers = [one.token_ids for one in spoken.targets]
        if not all(len(one) == 1 for one in numbers) or any(one.kind not in _CLASSES for one in spoken.targets):
            raise InputError(
                f"{self._task.name} has no classes or answers to choose from; explain a classifier, or a model with a list of answers"
            )
        return spoken.scores, tuple(one[0] for one in numbers), leaf

    def _count(self, targets: int) -> int:
        size = self._leaf.numel()
        return min(count_rows(size), count_chunk(CHUNK_BYTES, targets * size * self._leaf.element_size()))

    def _compute(self, points: Tensor) -> Tensor:
        """The scores ``(B, T)``, in the first way that gives the explained scores for the layer's own activations."""
        while not self._checked:
            try:
                scores = self._run_way(torch.cat([points, self.activations.to(points)]))
                if self._agrees(scores[-1]):
                    self._checked = True
                    return scores[:-1]
                reason = "the scores were others than those explained"
            except Exception as error:  # whatever it is, it shows again in the last way
                if len(self._ways) == 1:
                    raise
                reason = describe_error(error)
            _log.debug(
                "%s: what follows %r can't run as %r: %s", self._task.name, self._evidence.layer, self.way, reason
            )
            self._ways = self._ways[1:]
            if not self._ways:
                raise LayerError(
                    f"{self._task.name} gives other scores when what follows layer {self._evidence.layer!r} is run again with the same "
                    "activations, so methods that change them can't be trusted here; explain with a method of one run, such as gradcam, "
                    "or name another layer"
                )
        return self._run_way(points)

    def _agrees(self, scores: Tensor) -> bool:
        known = self._said.isfinite()
        size = max(torch.finfo(scores.dtype).eps, torch.finfo(self._leaf.dtype).eps)
        off = (widen(scores.detach()).cpu() - self._said)[known].abs()
        return bool((off <= max(1e-3, 4 * size) * (1 + self._said[known].abs())).all())

    def _run_way(self, points: Tensor) -> Tensor:
        tower = None if self.way == "whole" else self._evidence.tower
        rows = [points] if self.way == "batch" else list(points.split(1))
        found = []
        for part in rows:
            with replay(self._task.model, tower, self._evidence.layer, self._to_output(part), call=self._evidence.call):
                scores = self._run_batch() if self.way == "batch" else self._run()[None]
            if scores.shape != (len(part), len(self._said)):
                raise LayerError(f"scores of shape {tuple(scores.shape)} came back for {len(part)} rows")
            found.append(scores)
        return torch.cat(found)

    def _to_output(self, points: Tensor) -> Tensor:
        """Activations, laid out as the layer returns them; tokens that lie nowhere on the photo stay as they were."""
        if self._places is None:
            return points.to(self._leaf.dtype)
        values = points.flatten(2).to(self._leaf.dtype)
        flat = self._leaf.reshape(1, -1, self._leaf.shape[-1]).expand(len(points), -1, -1)
        changed: Tensor = flat.index_copy(1, self._places, values.mT)
        return changed.reshape(-1, *self._leaf.shape[1:])


@contextmanager
def open_head(
    evidence: LayerEvidence,
    task: Task,
    run: Callable[[], Tensor],
    run_batch: Callable[[], Tensor],
    run_classes: Callable[[], Spoken],
    progress: Callable[[int, int], Any],
) -> Iterator[PhotoHead]:
    """What follows the explained layer, ready to be run; the model is as before afterwards.

    Args:
        evidence: what the run that is explained left at the layer.
        task: whose model it is.
        run: runs the task and gives the scores ``(T,)`` in the order of the evidence.
        run_batch: the same for several rows, ``(B, T)``.
        run_classes: runs the task and gives all that it may choose from.
        progress: called with (done, all) of a pass.

    Raises:
        LayerError: the layer's places can't be told from its output.
    """
    evidence = _remember_tower(evidence, task, run)
    with preserve_model(task.model):
        yield PhotoHead(evidence, task, run, run_batch, run_classes, progress)


def _remember_tower(evidence: LayerEvidence, task: Task, run: Callable[[], Tensor]) -> LayerEvidence:
    """With what runs before the layer: one more run, where the layer was found in the run that is explained."""
    if evidence.tower is not None or evidence.call:
        return evidence
    tower = Tower()
    with record(task.model, evidence.layer, tower=tower):
        run()
    return replace(evidence, tower=tower) if tower.is_complete else evidence


def _is_plain(grid: Any) -> bool:
    return isinstance(grid, Grid) and grid.layout == "BCHW"


def _find_places(evidence: LayerEvidence) -> Tensor:
    """For every cell of the maps the number of its token in the layer's output. Raises LayerError if cells aren't tokens."""
    leaf = evidence.leaf
    assert leaf is not None
    count = leaf[..., 0].numel()
    numbers = torch.arange(count, dtype=torch.float64, device=leaf.device).reshape(leaf.shape[:-1])
    places = evidence.grid.to_maps(numbers[..., None].expand(leaf.shape))[0, 0].flatten()
    found = places.round().long()
    if len(evidence.activations) != 1 or len(found.unique()) != len(found) or not bool((found == places).all()):
        raise LayerError(
            f"the maps of layer {evidence.layer!r} aren't tokens of its output {tuple(leaf.shape)} in another order, so they can't be "
            "changed and put back; explain with a method of one run, such as gradcam"
        )
    return found
