"""Which classes, words or answers a unit helps and hurts, on average over a few pictures.

Every target of every picture has ``alpha_k`` (Grad-CAM, arXiv 1610.02391, eq. 1) and the contribution ``c_k = alpha_k * sum_ij A^k_ij``.
Means over the pictures in which a label was a target say what the unit does for that label: contributions to it where the model said
it, in units of its score. They are not causal effects: an ablation may show others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int64
from PIL.Image import Image

from vlcam.contracts import InputError, Request, Spoken, Task, show_record
from vlcam.engine.restore import allow_autograd, detach_tensors
from vlcam.explanation.evidence import LayerMaps
from vlcam.explanation.run import run_and_record
from vlcam.image.photo import open_photo
from vlcam.methods import get_one_run_method
from vlcam.neurons.asking import make_request
from vlcam.neurons.probes.probe import Probe, WordProbe

PHOTOS: Final = 24
_SKIPPED: Final = frozenset({"caption", "contrast"})


@final
@dataclass(frozen=True)
class Effect:
    """Mean alpha and contribution of a unit for one label, over ``count`` targets."""

    label: str
    alpha: float
    contribution: float
    count: int

    __repr__ = show_record


@final
@dataclass(frozen=True, eq=False)
class Effects:
    """Means over pictures of L labels' alphas and contributions, of all K units of a layer.

    ``counts`` say of how many targets each label's means are, ``photos`` on how many pictures the task ran. ``measure`` is what the
    scores are.
    """

    layer: str
    labels: tuple[str, ...]
    counts: Int64[np.ndarray, " labels"]
    alpha: Float[np.ndarray, "labels units"]
    contribution: Float[np.ndarray, "labels units"]
    photos: int
    measure: str = "score"

    __repr__ = show_record

    def list_helped(self, unit: int, most: int = 5) -> tuple[Effect, ...]:
        """The labels to which the unit contributes most, strongest first."""
        return self._rank(unit, 1, most)

    def list_hurt(self, unit: int, most: int = 5) -> tuple[Effect, ...]:
        """The labels against which the unit contributes most, strongest first."""
        return self._rank(unit, -1, most)

    def _rank(self, unit: int, sign: int, most: int) -> tuple[Effect, ...]:
        values = self.contribution[:, unit] * sign
        order = [row for row in np.argsort(-values, kind="stable").tolist() if values[row] > 0][:most]
        return tuple(
            Effect(
                self.labels[row],
                float(self.alpha[row, unit]),
                float(self.contribution[row, unit]),
                int(self.counts[row]),
            )
            for row in order
        )


def effects(
    task: Task,
    probe: Probe | WordProbe | Sequence[str | Path | Image],
    *,
    photos: int = PHOTOS,
    top_k: int = 5,
    request: Request | None = None,
    question: str | None = None,
    prompt: str | None = None,
    layer: str | None = None,
) -> Effects:
    """Run a task on some pictures and average what each unit contributes to its targets.

    Args:
        task: the model as something that speaks about photos.
        probe: pictures; evenly spread ones are taken.
        photos: how many.
        top_k: how many classes or answers of each picture are targets.
        request: what is asked of the task, if that is more than a question and a prompt; ``top_k`` replaces its own.
        question: what a question answerer is asked; it must be asked something.
        prompt: what a model that writes is told; by default what suits the model.
        layer: the layer to look at; by default the task's.

    Raises:
        InputError: there are no pictures, or the task can't take the request.
        LayerError: the layer doesn't exist, or doesn't lead to the targets.
    """
    if photos < 1 or len(probe) < 1:
        raise InputError(f"{min(photos, len(probe))} photos were given; expected at least 1, such as {PHOTOS}")
    asked = replace(make_request(task, request, question=question, prompt=prompt), top_k=top_k)
    sums: dict[str, list[Any]] = {}
    found_layer, measure = "", "score"
    layer = getattr(task, "defaults", {}).get("layer") if layer is None else layer
    places = np.unique(np.linspace(0, len(probe) - 1, min(photos, len(probe))).round().astype(int)).tolist()
    for place in places:
        spoken, found = _run(task, _get_photo(probe, place), asked, task.layer if layer is None else layer)
        found_layer = found.layer
        alphas = found.alpha.detach().double().cpu().numpy()
        parts = found.contributions.detach().double().cpu().numpy()
        for target, alpha, part in zip(spoken.targets, alphas, parts, strict=True):
            if target.kind in _SKIPPED or not (np.isfinite(alpha).all() and np.isfinite(part).all()):
                continue
            measure = target.measure
            row = sums.setdefault(target.label, [0, np.zeros_like(alpha), np.zeros_like(part)])
            row[0], row[1], row[2] = row[0] + 1, row[1] + alpha, row[2] + part
    if not sums:
        raise InputError(f"{task.name} had no target with finite gradients on {len(places)} photos; give other photos")
    labels = tuple(sorted(sums))
    counts = np.array([sums[label][0] for label in labels], np.int64)
    return Effects(
        layer=found_layer,
        labels=labels,
        counts=counts,
        alpha=np.stack([sums[label][1] for label in labels]) / counts[:, None],
        contribution=np.stack([sums[label][2] for label in labels]) / counts[:, None],
        photos=len(places),
        measure=measure,
    )


def _get_photo(probe: Probe | WordProbe | Sequence[str | Path | Image], place: int) -> str | Path | Image:
    if isinstance(probe, WordProbe):
        return probe.photo(place)
    return probe[place].photo if isinstance(probe, Probe) else probe[place]


def _run(task: Task, photo: str | Path | Image, request: Request, layer: Any) -> tuple[Spoken, LayerMaps]:
    """One run of the task, and its Grad-CAM numbers at a layer."""
    picture, _ = open_photo(photo)
    with allow_autograd():  # autograd can't use what is made in it
        prepared = task.prepare(picture, request)
    prepared = replace(prepared, inputs=detach_tensors(prepared.inputs))
    spoken, evidence = run_and_record(task, prepared, request, layer)
    return spoken, evidence.make_maps(get_one_run_method("gradcam"))
