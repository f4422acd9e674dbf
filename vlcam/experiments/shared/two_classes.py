"""Photos of two classes: what experiments 4, 5, 6, 10 and 14 share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vlcam.contracts import InputError, Maps, Task
from vlcam.experiments.data.samples import Has, LabelledPhoto, World
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.classes import find_region, match_classes
from vlcam.experiments.shared.maps import MethodMaps, make_ceiling_map, make_centre_map, make_edge_map, make_random_map
from vlcam.explanation.run import run_and_record
from vlcam.methods import get_one_run_method

RANDOM, CENTRE, EDGES, UNTRAINED = "random", "centre", "Sobel edges", "untrained model"
_MASKS: Final[Has] = "masks"


_BOXES: Final[Has] = "boxes"


_LOOKED_AT: Final = 60
"""In a world without end, this many pictures are looked at for each one that is wanted."""


@final
@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """A picture with C classes that the model knows: ``labels`` are their numbers in the model, ``masks`` where they are."""

    number: int
    sample: LabelledPhoto
    labels: tuple[int, ...]
    masks: tuple[Bool[Tensor, "height width"], ...]

    @property
    def areas(self) -> tuple[float, ...]:
        """The share of the picture that each class covers."""
        return tuple(float(mask.double().mean()) for mask in self.masks)


def open_marked_world(setting: Setting, task: Task) -> World:
    """The data with masks or, where there are none, with boxes. Raises InputError if they have neither."""
    try:
        return setting.open_world([_MASKS], task)
    except InputError:
        return setting.open_world([_BOXES], task)


def find_pictures(world: World, task: Task, n: int, *, classes: int | None = None) -> Iterator[AnnotatedPicture]:
    """The first ``n`` pictures with an annotated class that the model knows; or with ``classes`` of them exactly, all known.

    A data set with an end is taken in its fixed random order. Raises InputError if there is no such picture.
    """
    of = match_classes(task, world)
    found = 0
    for sample in _iterate_samples(world, n):
        present = [one for one in sample.present if one in of]
        if not present or classes not in (None, len(present)) or (classes and len(sample.present) != classes):
            continue
        masks = [one for index in present if (one := find_region(sample.find_objects(index), sample.size)) is not None]
        if len(masks) == len(present):
            yield AnnotatedPicture(found, sample, tuple(of[one] for one in present), tuple(masks))
            found += 1
        if found == n:
            return
    if not found:
        what = "annotated classes" if classes is None else f"exactly {classes} annotated classes"
        raise InputError(
            f"no picture of {world.name} has {what} that {task.name} knows; give other data or another model"
        )


def _iterate_samples(world: World, n: int) -> Iterator[LabelledPhoto]:
    """Ever more samples, each once."""
    if world.size is None:
        yield from world.iterate_samples(_LOOKED_AT * n)
        return
    seen: set[str] = set()
    many = n
    while True:
        for sample in world.iterate_samples(many):
            if sample.name not in seen:
                seen.add(sample.name)
                yield sample
        if many >= world.size:
            return
        many *= 2


CEILING: Final = "true masks at the map's resolution"


def make_controls(mapped: MethodMaps, newborn: Task, rng: np.random.Generator) -> dict[str, Maps]:
    """Control maps of one picture: the centre and the edges are the same for all targets; ``newborn`` is the untrained model's task."""
    count = len(mapped.targets)
    subject = mapped.subject
    blank = (
        run_and_record(newborn, subject.prepared, subject.request, newborn.layer)[1]
        .make_maps(get_one_run_method("gradcam"))
        .maps
    )
    return {
        RANDOM: torch.cat([make_random_map(mapped.grid, rng) for _ in range(count)]),
        CENTRE: make_centre_map(mapped.grid).expand(count, -1, -1),
        EDGES: make_edge_map(subject.image.float().cpu()).expand(count, -1, -1),
        UNTRAINED: blank.clamp_min(0),
    }


def make_ceilings(mapped: MethodMaps, masks: Sequence[Bool[Tensor, "height width"]]) -> Maps:
    """The true masks at the resolution of the layer."""
    return torch.cat([make_ceiling_map(mask.numpy(), mapped.geometry, mapped.grid) for mask in masks])


def score_win(own: float, other: float) -> float:
    """1 if ``own`` is larger, 0 if it is smaller, one half for a tie or where one of them is not a number.

    >>> score_win(2.0, 1.0), score_win(1.0, 2.0), score_win(1.0, 1.0), score_win(float("nan"), 1.0)
    (1.0, 0.0, 0.5, 0.5)
    """
    return 0.5 if isnan(own) or isnan(other) or own == other else float(own > other)
