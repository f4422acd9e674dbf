"""How much of a map, and which part of its ranking, falls on the object, where the object's exact pixels are known.

One formula has four names. With the map R, its negative values at 0, and the mask M,

    mass = sum of R in M / sum of R

is the relevance mass accuracy of Arras et al. 2022 (CLEVR-XAI, arXiv 2003.07258), the energy-based pointing game of Wang et al. 2020
(Score-CAM, arXiv 1910.01279, with a box for a mask), the IO ratio of Rajabi and Kosecka 2024 (Q-GroundCAM, arXiv 2404.19128) and
the attribution localisation of Kohlbrenner et al. 2020 (arXiv 1910.09840). A large object gets a large mass from any map, so
:func:`lift` divides by its area. With the mass m and the area a, the inside/outside ratio is ``m / (1 - m) * (1 - a) / a``.

For every function: a map that is zero everywhere seen, has an infinite value, or saw no pixel of the mask gives NaN, for there is
nothing to divide; NaN pixels (not seen) are left out of all sums, areas and ranks.
"""

import math
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.metrics.pixels import select_seen_pixels
from vlcam.metrics.statistics import auroc

Sign = Literal["positive", "absolute", "signed"]


def relevance_mass(
    heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"], *, sign: Sign = "positive"
) -> float:
    """The share of the map that lies in the mask, 0 to 1: relevance mass, energy pointing, IO ratio (see the module).

    ``sign`` says what becomes of negative values: ``"positive"`` puts them at 0, ``"absolute"`` takes their size, and ``"signed"``
    leaves them, as Quantus does, so that the result may lie anywhere. NaN if the sum is 0.

    Raises InputError for an empty mask, or one of another shape.

    >>> import torch
    >>> heat = torch.tensor([[3.0, 1.0], [-2.0, 0.0]])
    >>> mask = torch.tensor([[True, False], [True, False]])
    >>> relevance_mass(heat, mask), relevance_mass(heat, mask, sign="absolute"), relevance_mass(heat, mask, sign="signed")
    (0.75, 0.8333333333333334, 0.5)
    """
    seen = select_seen_pixels(heat, mask)
    if seen is None:
        return math.nan
    values, inside = _apply_sign(seen[0], sign), seen[1]
    total = float(values.sum())
    return float(values[inside].sum()) / total if total else math.nan


def lift(
    heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"], *, sign: Sign = "positive"
) -> float:
    """How many times more of the map lies in the mask than of the picture: mass / area. 1 is a flat map's.

    Raises InputError for an empty mask, or one of another shape.

    >>> import torch
    >>> lift(torch.tensor([[3.0, 1.0, 0.0, 0.0]]), torch.tensor([[True, False, False, False]]))
    3.0
    """
    seen = select_seen_pixels(heat, mask)
    return math.nan if seen is None else relevance_mass(heat, mask, sign=sign) / float(seen[1].double().mean())


def inside_outside_ratio(
    heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"], *, sign: Sign = "positive"
) -> float:
    """The map's mean inside by its mean outside: the DenseCap experiment of Selvaraju et al. 2017 (arXiv 1610.02391). 1 for a flat map.

    Infinite where something positive lies inside and nothing outside. NaN also where the mask covers all that was seen: there is no
    outside.

    Raises InputError for an empty mask, or one of another shape.

    >>> import torch
    >>> inside_outside_ratio(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[True, False, False]]))
    6.0
    """
    seen = select_seen_pixels(heat, mask)
    if seen is None or bool(seen[1].all()):
        return math.nan
    values, inside = _apply_sign(seen[0], sign), seen[1]
    within, without = float(values[inside].mean()), float(values[~inside].mean())
    if without == 0:
        return math.inf if within > 0 else math.nan
    return within / without


def rank_accuracy(heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"]) -> float:
    """The share of the K highest pixels that lie in the mask of K pixels, 0 to 1: Arras et al. 2022 (CLEVR-XAI, arXiv 2003.07258).

    Of pixels tied at the K-th place any may be among the K, and the result is the mean over all ways to choose: a map of Grad-CAM has
    many zeros, and an order of theirs that an algorithm happens to give would be luck. A flat positive map scores the object's area.
    Values are ranked as given, negative ones too.

    Raises InputError for an empty mask, or one of another shape.

    >>> import torch
    >>> mask = torch.tensor([[True, True, False, False]])
    >>> rank_accuracy(torch.tensor([[4.0, 1.0, 3.0, 0.0]]), mask), rank_accuracy(torch.tensor([[4.0, 0.0, 0.0, 0.0]]), mask)
    (0.5, 0.6666666666666666)
    """
    seen = select_seen_pixels(heat, mask)
    if seen is None or not bool(seen[0].any()):
        return math.nan
    values, inside = seen
    k = int(inside.sum())
    last = values.topk(k).values[-1]
    above, tied = values > last, values == last
    lucky = (k - int(above.sum())) * int((tied & inside).sum()) / int(tied.sum())
    return (int((above & inside).sum()) + lucky) / k


def auc(heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"]) -> float:
    """The chance that a pixel of the mask is higher than one outside, ties half: the area under the ROC curve, 0.5 for a flat map.

    It is :func:`vlcam.metrics.statistics.auroc` of the pixels. Values are compared as given, negative ones too. NaN also where the mask
    covers all that was seen.

    Raises InputError for an empty mask, or one of another shape.

    >>> import torch
    >>> auc(torch.tensor([[2.0, 1.0, 1.0, 0.0]]), torch.tensor([[True, True, False, False]]))
    0.875
    """
    seen = select_seen_pixels(heat, mask)
    if seen is None or not bool(seen[0].any()):
        return math.nan
    return auroc(*seen)


def _apply_sign(values: Float[Tensor, " pixels"], sign: Sign) -> Float[Tensor, " pixels"]:
    if sign not in ("positive", "absolute", "signed"):
        raise InputError(f'sign="{sign}" was given; expected "positive", "absolute" or "signed"')
    return values.relu() if sign == "positive" else values.abs() if sign == "absolute" else values
