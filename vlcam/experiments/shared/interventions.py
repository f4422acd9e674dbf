"""What a word really rests on: the scene drawn again without each object in turn, and whether a map's mass ranks the objects likewise.

A mask says where the generator put an object, not that the model used it (see FunnyBirds, Hesse et al. 2023, arXiv 2308.06248, and BAM,
Yang and Kim 2019, arXiv 1907.09701). So the scene is drawn again without object j: the background, the light and all other objects stay as
they were. The change of a word's score is the effect of the object,

    effect_j = y(scene) - y(scene without j),

in the score's units (nats, for a log-probability), with the words before it held fixed. A map also claims effects: the mass of its
positive part on the visible pixels of object j. Two numbers test the claim: whether the object with the most mass is the one whose removal
lowers the word most (*top-1*; by chance, one divided by the number of objects), and Spearman's rank correlation over the objects. What an
object hid comes to light when it is removed, and its shadow disappears with it; both are part of the effect.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.metrics.correlation import spearman
from vlcam.scenes.scene import Scene

LEAST: Final = 0.1
"""Nats that the removal of some object has to take from a word for its objects to be ranked: below, their order is noise."""


def remove_object(scene: Scene, number: int) -> Scene:
    """The scene without one of its objects. Raises InputError for an object that it doesn't have."""
    if not 0 <= number < len(scene.objects):
        raise InputError(f"object {number} was given; expected 0 to {len(scene.objects) - 1}")
    return replace(scene, objects=tuple(obj for place, obj in enumerate(scene.objects) if place != number))


def draw_without_each(scene: Scene, size: int) -> list[np.ndarray]:
    """The scene's picture, and then those without each object in turn, ``(size, size, 3)``, RGB."""
    return [scene.image(size)] + [remove_object(scene, number).image(size) for number in range(len(scene.objects))]


def measure_effects(scores: Float[Tensor, "pictures targets"]) -> Float[Tensor, "objects targets"]:
    """How far each target falls without each object: the first row is that of the whole scene.

    >>> measure_effects(torch.tensor([[-1.0], [-4.0], [-0.5]])).tolist()
    [[3.0], [-0.5]]
    """
    return scores[:1] - scores[1:]


def measure_masses(
    heat: Float[Tensor, "targets height width"], masks: Bool[np.ndarray, "objects height width"]
) -> Float[Tensor, "targets objects"]:
    """The positive mass of every map on every object; unseen pixels (NaN) have none."""
    shown = torch.from_numpy(masks).to(heat.device, torch.float64)
    return torch.einsum("thw,khw->tk", heat.double().nan_to_num(nan=0).clamp_min(0), shown)


def measure_top_agreement(mass: Float[Tensor, " objects"], effect: Float[Tensor, " objects"]) -> float:
    """1 if the object with the most mass is the one with the greatest effect, else 0; NaN if there is only one object.

    Objects tied for the most mass share the hit; a map without mass on any object names none and misses.

    >>> measure_top_agreement(torch.tensor([3.0, 3.0, 0.0]), torch.tensor([0.1, 2.0, 0.0]))
    0.5
    """
    if len(mass) < 2:
        return math.nan
    if not bool(mass.max() > 0):
        return 0.0
    best = (mass == mass.max()).double()
    return float(best[int(effect.argmax())] / best.sum())


def measure_rank_agreement(mass: Float[Tensor, " objects"], effect: Float[Tensor, " objects"]) -> float:
    """Spearman's correlation of masses and effects over the objects; NaN for one object, or if the map has the same mass on all."""
    return float(spearman(mass[None], effect.to(mass)[None]))


def has_order(effect: Float[Tensor, " objects"], least: float = LEAST) -> bool:
    """Whether the removal of some object lowers the word enough for the objects to have an order."""
    return len(effect) > 1 and bool(effect.max() >= least)


def compute_chance(counts: Sequence[int]) -> float:
    """Top-1 agreement by chance: the mean of one divided by the number of objects.

    >>> compute_chance([2, 4])
    0.375
    """
    return sum(1 / count for count in counts) / len(counts) if counts else math.nan
