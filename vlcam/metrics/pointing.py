"""The pointing game: does the map's highest point lie on the object?

Zhang et al. 2016 (Top-down neural attention by excitation backprop, arXiv 1608.00507). A hit is a highest point on the object, with a
tolerance of 15 pixels of the original photo or, here by default, none; the score is the mean over classes of hits / (hits + misses).
A map that is zero, negative or not finite points nowhere: that is a miss, never a hit on the first pixel.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError
from vlcam.metrics.pixels import check_mask

TOLERANCE = 15.0
"""The tolerance of Zhang et al. 2016, in pixels of the original photo."""

Ties = Literal["first", "any", "uncertain"]


def peak(heat: Float[Tensor, "height width"]) -> tuple[int, int] | None:
    """Row and column of the highest value; the first one of a tie. None if nothing is positive, or a value is infinite.

    NaN marks pixels that the model didn't see; they are passed over.

    >>> peak(torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    (1, 0)
    >>> peak(torch.zeros(2, 2)) is None
    True
    """
    seen = heat.nan_to_num(nan=-torch.inf, posinf=torch.inf)
    best = int(seen.argmax())
    top = float(seen.flatten()[best])
    if not 0 < top < float("inf"):
        return None
    return best // heat.shape[1], best % heat.shape[1]


def pointing_hit(heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"]) -> bool:
    """Whether the map's highest point lies in the mask: the exact game, without tolerance; of a tie the first point counts.

    Raises InputError for an empty mask, where the question has no answer, or one of another shape.
    """
    return pointing_game(heat, mask) == 1.0


def pointing_game(
    heat: Float[Tensor, "height width"],
    mask: Bool[Tensor, "mask_height mask_width"],
    *,
    tolerance: float = 0.0,
    pixel: tuple[float, float] = (1.0, 1.0),
    ties: Ties = "first",
) -> float:
    """1 if the map's highest point lies in the mask or closer than ``tolerance`` to one of its pixels, else 0.

    The rule of TorchRay's benchmark (Fong et al. 2019, arXiv 1910.08485) is ``tolerance=TOLERANCE`` on a map and a mask in the
    original photo's size: the distance between the middles of two pixels, in pixels of the photo, strictly below 15. ``pixel`` is the
    width and height of one pixel of the map in such pixels, for a map of another size. NaN pixels are never pointed at.

    Of several highest points ``ties="first"`` takes the first in reading order (TorchRay), ``"any"`` the best (Quantus: a flat map
    always hits), and ``"uncertain"`` gives NaN where some of them hit and some don't, so that such maps can be counted, as Rajabi and
    Kosecka 2024 (Q-GroundCAM, arXiv 2404.19128) ask for. A map that points nowhere (see :func:`peak`) misses under each.

    Raises InputError for an empty mask or one of another shape, or a tolerance that is negative or not a number.

    >>> heat, mask = torch.zeros(1, 40), torch.zeros(1, 40, dtype=torch.bool)
    >>> heat[0, 10], mask[0, 24] = 1, True
    >>> pointing_game(heat, mask), pointing_game(heat, mask, tolerance=14.0), pointing_game(heat, mask, tolerance=TOLERANCE)
    (0.0, 0.0, 1.0)
    """
    check_mask(heat, mask)
    if not tolerance >= 0:
        raise InputError(f"tolerance={tolerance} was given; expected a distance in pixels, 0 for the exact game")
    point = peak(heat)
    if point is None:
        return 0.0
    points = [point] if ties == "first" else [(r, c) for r, c in (heat == heat[point]).nonzero().tolist()]
    hits = [_is_near(row, column, mask, tolerance, pixel) for row, column in points]
    if ties == "uncertain":
        return float(hits[0]) if all(hits) or not any(hits) else math.nan
    return float(any(hits))


def class_accuracy(hits: Sequence[float | int], classes: Sequence[Hashable]) -> float:
    """The mean over classes of each class's mean hit, 0 to 1: the score of Zhang et al. 2016 and of TorchRay's tables.

    A rare class weighs as much as a common one. NaN (an uncertain point) is left out, and so is a class that has nothing else; NaN if
    nothing is left.

    Raises InputError for no hits, or classes of another number than hits.

    >>> class_accuracy([1, 1, 0, 0], ["dog", "dog", "dog", "cat"])
    0.3333333333333333
    """
    if not len(hits) or len(hits) != len(classes):
        raise InputError(
            f"{len(hits)} hits and {len(classes)} classes were given; expected the class of every hit, and at least one hit"
        )
    of: dict[Hashable, list[float]] = {}
    for hit, name in zip(hits, classes, strict=True):
        if not math.isnan(hit):
            of.setdefault(name, []).append(float(hit))
    means = [sum(each) / len(each) for each in of.values()]
    return sum(means) / len(means) if means else math.nan


def oracle_map(mask: Bool[Tensor, "height width"], grid: tuple[int, int]) -> Float[Tensor, "rows columns"]:
    """The best map a grid can hold: the share of each cell that the mask covers. Its score is the ceiling at that resolution."""
    pooled: Tensor = F.adaptive_avg_pool2d(mask.float()[None, None], grid)
    return pooled[0, 0]


def _is_near(
    row: int, column: int, mask: Bool[Tensor, "height width"], tolerance: float, pixel: tuple[float, float]
) -> bool:
    if bool(mask[row, column]) or tolerance == 0:
        return bool(mask[row, column])
    down, along = (int(min(tolerance / side, size)) + 1 for side, size in zip(pixel[::-1], mask.shape, strict=True))
    top, left = max(0, row - down), max(0, column - along)
    near = mask[top : row + down + 1, left : column + along + 1].nonzero().double().cpu()
    if not len(near):
        return False
    away = ((near[:, 0] + top - row) * pixel[1]) ** 2 + ((near[:, 1] + left - column) * pixel[0]) ** 2
    return bool(away.min() < tolerance**2)
