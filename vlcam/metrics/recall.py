"""The pointing game with recall: maps of all that a model predicts, each of which may decline to point.

Selvaraju et al. 2017 (arXiv 1610.02391, on the pointing game): the model's five best classes get one map each. A map whose maximum is
below a threshold declines, and declining a class that isn't in the photo is a hit; so is pointing at a class that is. All else misses.
It needs maps as they come: one that is scaled to a maximum of 1 can never decline. The paper gives no threshold, so it is chosen here
on photos that aren't scored (:func:`choose_threshold`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError, show_record
from vlcam.metrics.pointing import Ties, peak, pointing_game


@final
@dataclass(frozen=True)
class Pointed:
    """What one predicted class's map does: its raw maximum, whether the class is in the photo, and whether the map points at it.

    ``maximum`` is 0 for a map that points nowhere. ``hit`` is false where the class isn't in the photo.
    """

    maximum: float
    present: bool
    hit: bool

    __repr__ = show_record


@final
@dataclass(frozen=True)
class RecallScore:
    """The pointing game with recall at one threshold, over n predictions.

    ``accuracy`` is the share, 0 to 1, that points at a present class or declines an absent one. ``pointing`` is the share of present
    classes that are pointed at, ``declining`` the share of absent classes that are declined; NaN where there are none.
    ``always_decline`` is the accuracy of no map at all: the share of absent classes.
    """

    n: int
    accuracy: float
    pointing: float
    declining: float
    always_decline: float


def pointed(
    heat: Float[Tensor, "height width"],
    mask: Bool[Tensor, "mask_height mask_width"] | None,
    *,
    tolerance: float = 0.0,
    pixel: tuple[float, float] = (1.0, 1.0),
    ties: Ties = "first",
) -> Pointed:
    """One predicted class's record: ``mask`` covers all objects of the class, None if there is none in the photo.

    ``heat`` is the raw map, not scaled. The rest is as in :func:`vlcam.metrics.pointing.pointing_game`; an uncertain point is not a hit.
    A zero map's maximum is 0, so that it declines under every threshold above 0 and hits nothing.

    Raises InputError for an empty mask (give None) or one of another shape.
    """
    point = peak(heat)
    maximum = 0.0 if point is None else float(heat[point])
    if mask is None:
        return Pointed(maximum, False, False)
    return Pointed(maximum, True, pointing_game(heat, mask, tolerance=tolerance, pixel=pixel, ties=ties) == 1.0)


def is_hit(one: Pointed, threshold: float) -> bool:
    """Whether a prediction counts: a present class is pointed at by a maximum of at least the threshold, or an absent one is below it.

    >>> is_hit(Pointed(2.0, True, True), 1.0), is_hit(Pointed(2.0, True, True), 3.0), is_hit(Pointed(2.0, False, False), 3.0)
    (True, False, True)
    """
    return one.hit and one.maximum >= threshold if one.present else one.maximum < threshold


def recall_score(points: Sequence[Pointed], threshold: float) -> RecallScore:
    """The game over all predictions of all photos, at a threshold in the maps' own units: 0 never declines, infinity always.

    Raises InputError for no predictions, or a threshold that is negative or not a number.

    >>> recall_score([Pointed(2.0, True, True), Pointed(0.5, False, False), Pointed(1.5, False, False)], 1.0).accuracy
    0.6666666666666666
    """
    if not len(points) or not threshold >= 0:
        raise InputError(
            f"{len(points)} predictions and threshold={threshold} were given; expected at least one, and a threshold from 0 on"
        )
    present = [is_hit(one, threshold) for one in points if one.present]
    absent = [is_hit(one, threshold) for one in points if not one.present]
    return RecallScore(
        len(points),
        (sum(present) + sum(absent)) / len(points),
        sum(present) / len(present) if present else math.nan,
        sum(absent) / len(absent) if absent else math.nan,
        len(absent) / len(points),
    )


def choose_threshold(points: Sequence[Pointed]) -> float:
    """The threshold with the highest accuracy on these predictions, which must not be those that are scored.

    Between two neighbouring maxima all thresholds are equal, and their middle is taken; also 0 (never decline) and infinity (always)
    are tried. Of equally good ones it is the lowest.

    Raises InputError for no predictions.

    >>> choose_threshold([Pointed(2.0, True, True), Pointed(0.5, False, False), Pointed(1.0, False, False)])
    1.5
    """
    if not points:
        raise InputError("no predictions were given, so no threshold can be chosen; expected those of a held-out split")
    order = sorted(points, key=lambda one: one.maximum)
    start = sum(is_hit(one, 0.0) for one in order)
    # Raising the threshold past a map loses it if it hit, and gains it if its class is absent.
    correct = list(accumulate((-int(one.hit) if one.present else 1 for one in order), initial=start))
    best, found = start, 0.0
    for i in range(1, len(order) + 1):
        below, above = order[i - 1].maximum, order[i].maximum if i < len(order) else math.inf
        if below < above and correct[i] > best:
            best, found = correct[i], below + (above - below) / 2
    return found
