"""Whether a region of the picture matters more to a target than chance allows: the counts and the p-value.

One statistic: how far the target's score falls when the region is taken out of the picture,

    D(R) = s(x) - s(x without R)

averaged over two fills, the mean colour and what is around (:mod:`vlcam.explanation.fills`). It is compared with two kinds of others,
and has to stand out among both:

- *random regions* of the same size and shape, mirrored and put down anywhere: would another place have done as much?
- *untrained models*, of the same layers with weights drawn anew (:func:`vlcam.engine.weights.redraw_weights`): would a model that has
  learnt nothing have lost as much? Objects change whatever looks at them, so place alone can't tell a model that knows them from
  one that doesn't: in half of all untrained models the only object on a flat ground is the region that lowers a score most. Where the map
  can be made again at little cost, each untrained model is shown without the region of *its own* map (where that shows nothing, without
  the tested one); any other map is held.

Each gives a Monte Carlo p-value, ``(1 + as much) / (1 + drawn)``, or, where ``ENOUGH`` have done as much before all are drawn,
``ENOUGH / drawn`` (sequential Monte Carlo p-values: Besag and Clifford 1991, Biometrika 78, 301-304). Both have to be small (an
intersection-union test: Berger 1982, Technometrics 24, 295-300), so the p-value is the larger of the two. Random regions are only
asked about a score that has *learnt* something: one that the picture as a whole, set against its mean colour, moves more than in all
but 5 % of untrained models. Any other score is as good as untrained, the p-value is that of untrained models alone, and so it is
uniform there, whatever the map.

The effect under each of four fills, and how many of a few random regions did as much there, come with it: what was found should hold
with all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vlcam.explanation.fills import FILLS, FillName, fill_image, remove_regions
from vlcam.explanation.record import FillTest
from vlcam.explanation.rerun import PhotoSubject
from vlcam.image.regions import draw_random_regions

Region = Bool[Tensor, "height width"]

ENOUGH: Final = 10
"""When so many have done as much, no more are drawn: the p-value is large already."""

MAIN: Final[tuple[FillName, ...]] = ("mean", "neighbours")
"""The fills that the statistic is averaged over."""

CHECKED: Final = 9
"""Random regions that the effect under each single fill is compared with."""

FEWER: Final = 39
"""Untrained models for a map that random regions did as well as: its p-value is large already."""

LEARNT: Final = 0.05
"""Up to this share of untrained models that an empty picture moves as far, a score is said to have learnt something."""

_TOGETHER: Final = 20
"""Random regions whose pictures are made at the same time."""


@final
@dataclass(frozen=True)
class DrawCount:
    """How many of those ``drawn`` did ``as_much``, and whether drawing stopped there."""

    drawn: int = 0
    as_much: int = 0

    @property
    def stopped(self) -> bool:
        """Whether enough have done as much."""
        return self.as_much >= ENOUGH

    @property
    def p(self) -> float:
        """The Monte Carlo p-value; 1 where nothing was drawn."""
        if self.stopped:
            return self.as_much / self.drawn
        return (1 + self.as_much) / (1 + self.drawn)

    def add(self, as_much: bool) -> "DrawCount":
        """With one more; the same if it has stopped."""
        return self if self.stopped else DrawCount(self.drawn + 1, self.as_much + as_much)


@final
@dataclass(frozen=True)
class RegionComparison:
    """A map's region against random regions and untrained models.

    ``region`` is where the map is highest; ``removed`` how far the score falls without it; ``fills`` the effect under each fill; ``reach``
    the most that the score moved in any picture, those without anything included; ``whole`` how far an empty picture moves it,
    ``places`` and ``models`` the two comparisons, and ``wholes`` counts the untrained models that an empty picture moves as far.
    """

    region: Region
    removed: float
    fills: tuple[FillTest, ...]
    reach: float
    whole: float
    places: DrawCount
    models: DrawCount = DrawCount()
    wholes: DrawCount = DrawCount()

    def is_waiting(self, count: int) -> bool:
        """Whether another of up to ``count`` untrained models is to be counted in."""
        wanted = min(count, FEWER) if self.places.stopped else count
        return not self.models.stopped and self.models.drawn < wanted

    @property
    def area(self) -> float:
        """The region's fraction of the picture."""
        return float(self.region.float().mean())

    @property
    def p(self) -> float:
        """The p-value: the larger of the two, or that of untrained models where nothing was learnt."""
        return max(self.places.p, self.models.p) if self.learnt else self.models.p

    @property
    def learnt(self) -> bool:
        """Whether the picture moves the score more than in all but 5 % of untrained models."""
        return self.wholes.p <= LEARNT


def compare_places(
    subject: PhotoSubject,
    index: int,
    region: Region,
    count: int,
    rng: np.random.Generator,
    *,
    seed: int = 0,
    sign: int = 1,
) -> RegionComparison | None:
    """The region of target ``index`` against up to ``count`` random ones; None if its effect isn't finite.

    ``sign`` is -1 where the score should rise without the region. ``rng`` draws the same number of regions wherever
    the comparison stops.
    """
    masks = draw_random_regions(region, count, rng)
    measure = partial(_measure_drops, subject, index, seed=seed, sign=sign)
    few = torch.cat([region[None], masks[:CHECKED], torch.ones_like(region)[None]])
    checked = measure(few, FILLS)
    if not all(isfinite(found[0]) for found in checked.values()):
        return None
    tests = tuple(
        FillTest(fill, found[0], len(found) - 2, sum(not one < found[0] for one in found[1:-1]))
        for fill, found in checked.items()
    )
    reach = max(abs(one) for found in checked.values() for one in found if isfinite(one))
    own = _average([checked[fill][:1] for fill in MAIN])[0]
    places = DrawCount()
    for part in masks.split(_TOGETHER):
        if places.stopped:
            break
        found = list(measure(part, MAIN).values())
        reach = max([reach, *(abs(one) for row in found for one in row if isfinite(one))])
        for one in _average(found):
            places = places.add(not one < own)  # not a number counts as as much
    return RegionComparison(region, own, tests, reach, abs(checked["mean"][-1]), places)


def _average(found: Sequence[Sequence[float]]) -> list[float]:
    """The mean over the fills, for each region."""
    return [sum(each) / len(each) for each in zip(*found, strict=True)]


def _measure_drops(
    subject: PhotoSubject,
    index: int,
    masks: Bool[Tensor, "regions height width"],
    fills: Sequence[FillName],
    *,
    seed: int,
    sign: int,
) -> dict[FillName, list[float]]:
    """How far the score of one target falls without each region, for each fill."""
    image = subject.image
    removed = [remove_regions(image, masks, fill, seed=seed) for fill in fills]
    scores = subject.scores(torch.cat([image, *removed]))[:, index].double()
    drops = (sign * (scores[0] - scores[1:])).view(len(fills), len(masks))
    return dict(zip(fills, drops.tolist(), strict=True))


def compare_model(
    subject: PhotoSubject,
    comparisons: Sequence[RegionComparison | None],
    regions: Sequence[Region | None],
    *,
    seed: int = 0,
    sign: int = 1,
) -> list[RegionComparison | None]:
    """The comparisons with one untrained model counted in: that which ``subject`` runs now.

    ``regions`` are those that are taken away from this model's picture, one for each target; None where this model isn't counted.
    """
    image = subject.image
    tested = [
        (index, one, region)
        for index, (one, region) in enumerate(zip(comparisons, regions, strict=True))
        if one is not None and region is not None
    ]
    if not tested:
        return list(comparisons)
    masks = torch.stack([region for _, _, region in tested])
    removed = [remove_regions(image, masks, fill, seed=seed) for fill in MAIN]
    scores = subject.scores(torch.cat([image, fill_image(image, "mean"), *removed])).double()
    drops = scores[0] - scores[1:]
    found = list(comparisons)
    for row, (index, one, _) in enumerate(tested, 1):
        drop = sign * float(drops[row :: len(tested), index].mean())
        models = one.models.add(not drop < one.removed)
        wholes = one.wholes.add(not abs(float(drops[0, index])) < one.whole)
        found[index] = replace(one, models=models, wholes=wholes)
    return found


def correct_for_number(p: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's step-down correction of p-values made together (Holm 1979, Scand. J. Statist. 6, 65-70); None stays None.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than the one before, or larger than 1.

    >>> correct_for_number([0.01, None, 0.04, 0.03])
    (0.03, None, 0.06, 0.06)
    """
    order = sorted((one, index) for index, one in enumerate(p) if one is not None)
    found: list[float | None] = [None] * len(p)
    least = 0.0
    for rank, (one, index) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * one))
        found[index] = least
    return tuple(found)
