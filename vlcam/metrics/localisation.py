"""Where an object is known by boxes only: weakly supervised localisation, and the pointing game with a tolerance.

Boxes are ``(left, top, right, bottom)`` in pixels of the map's own frame, pixel ``i`` covers ``[i, i + 1)``: a box of one pixel has
area 1. The "+ 1" of boxes that name their last pixel doesn't occur here.
"""

from collections.abc import Sequence
from math import hypot

from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.image.geometry import Box
from vlcam.metrics.parts import find_connected_parts
from vlcam.metrics.pointing import peak

THRESHOLD = 0.15
"""The fraction of a map's maximum from which a pixel belongs to the object (Selvaraju et al. 2017, arXiv 1610.02391, on localisation)."""


def box_from_map(heat: Float[Tensor, "height width"], *, threshold: float = THRESHOLD) -> Box | None:
    """The tight box of the largest connected part of the map: Selvaraju et al. 2017 (arXiv 1610.02391), on localisation.

    A pixel belongs to a part if it has at least ``threshold`` of the map's maximum; pixels touch at sides and corners, and of parts
    equally large the first in reading order counts. None if nothing is positive, or a value is infinite. NaN belongs to no part.

    Raises InputError for a threshold that isn't above 0 and at most 1.

    >>> import torch
    >>> box_from_map(torch.tensor([[9.0, 0.0, 0.0, 2.0], [0.0, 0.0, 2.0, 1.0]]))
    (2.0, 0.0, 4.0, 2.0)
    >>> box_from_map(torch.zeros(2, 2)) is None
    True
    """
    if not 0 < threshold <= 1:
        raise InputError(
            f"threshold={threshold} was given; expected a fraction of the map's maximum, above 0 and at most 1"
        )
    point = peak(heat)
    if point is None:
        return None
    parts = find_connected_parts((heat >= threshold * heat[point]).cpu().numpy())
    return max(parts, key=lambda part: part.size).box


def iou(one: Box, other: Box) -> float:
    """The area that two boxes share by the area that they cover together, 0 to 1; 0 if both have no area.

    >>> iou((0.0, 0.0, 2.0, 1.0), (1.0, 0.0, 3.0, 1.0))
    0.3333333333333333
    """
    both = _compute_area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    covered = _compute_area(one) + _compute_area(other) - both
    return both / covered if covered > 0 else 0.0


def localisation_error(found: Sequence[Box | None], truths: Sequence[Sequence[Box]], *, at_least: float = 0.5) -> float:
    """The share of photos, 0 to 1, whose object was not found: ILSVRC's localisation error (Russakovsky et al. 2015, arXiv 1409.0575).

    ``found`` has one box for every photo, None where there is none; ``truths`` has the boxes of all objects of the photo's class, of
    which any will do. A box is right if its :func:`iou` with one of them is ``at_least`` that much. The top-1 or top-5 error of the
    paper also counts photos whose class isn't among the model's first 1 or 5: give None for those. With a box for every photo it
    is the error with the class given.

    Raises InputError for no photos, sequences of different lengths, or a photo without a true box.
    """
    if len(found) != len(truths) or not truths:
        raise InputError(
            f"{len(found)} boxes for {len(truths)} photos were given; expected one box (or None) for every photo, and at least one photo"
        )
    if not all(len(boxes) for boxes in truths):
        raise InputError("a photo without a true box was given, in which nothing can be found; leave such photos out")
    missed = [
        box is None or max(iou(box, truth) for truth in boxes) < at_least
        for box, boxes in zip(found, truths, strict=True)
    ]
    return sum(missed) / len(missed)


def box_hit(
    heat: Float[Tensor, "height width"],
    boxes: Sequence[Box],
    *,
    tolerance: float = 0.0,
    pixel: tuple[float, float] = (1.0, 1.0),
) -> bool:
    """Whether the map's highest point lies in one of the boxes, or less than ``tolerance`` away from one.

    The pointing game of Zhang et al. 2016 (arXiv 1608.00507), whose tolerance is 15 pixels of the photo in its
    original size. ``pixel`` is the width and height of one pixel of the map in such pixels, for a map of another size. The point is
    the middle of its pixel; a map that points nowhere (see :func:`vlcam.metrics.pointing.peak`) misses.

    Raises InputError for no boxes, where the question has no answer.
    """
    if not len(boxes):
        raise InputError("no boxes were given, so no point can be in one; leave such targets out of the game")
    point = peak(heat)
    if point is None:
        return False
    x, y = point[1] + 0.5, point[0] + 0.5
    away = min(
        hypot(max(left - x, 0, x - right) * pixel[0], max(top - y, 0, y - bottom) * pixel[1])
        for left, top, right, bottom in boxes
    )
    return away == 0 or away < tolerance


def _compute_area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
