"""Weakly supervised localisation, scored in three ways.

- :func:`ranked_error`: ILSVRC's top-1 and top-5 localisation error, as in table 1 of Selvaraju et al. 2017 (arXiv 1610.02391): every one
  of the model's first k classes gets a map and a box; a photo is right if one of these classes is in it and its box has an IoU of at
  least 0.5 with an object of that class.
- :func:`max_box_acc`: MaxBoxAccV2 of Choe et al. 2020 (arXiv 2001.07437, and its journal version 2007.04178): the class is given, a
  map's boxes at a threshold are those of all its parts, and the best threshold for the data set counts, since a fixed one compares
  scales more than maps. Mean over the IoUs 0.3, 0.5 and 0.7.
- :func:`pxap`: their pixel average precision, for masks: the area under the precision-recall curve of all pixels of all photos.

Choe et al. bring each map to 0..1 first: give ``unit_range(heat)`` to do the same. They also round it to 256 levels, and name a box's
last pixel; here nothing is rounded, and boxes end after their last pixel.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vlcam.contracts import InputError, show_record
from vlcam.image.geometry import Box
from vlcam.metrics.box_sweep import sweep_thresholds
from vlcam.metrics.localisation import iou
from vlcam.metrics.statistics import average_precision_by_level

DELTAS = (0.3, 0.5, 0.7)
"""The IoUs of MaxBoxAccV2."""
LEVELS = 1000
"""Thresholds from 0 up, in steps of 1 / LEVELS: the interval 0.001 of Choe et al."""


@final
@dataclass(frozen=True)
class RankedHit:
    """Whether one of a photo's first k classes is in it (``classified``), and whether one also has a good box (``localised``)."""

    classified: bool
    localised: bool


@final
@dataclass(frozen=True)
class RankedError:
    """The shares of photos, 0 to 1, without a right class, and without a right class that has a good box."""

    classification: float
    localisation: float


@final
@dataclass(frozen=True)
class MaxBoxAcc:
    """MaxBoxAccV2, 0 to 1: ``value`` is the mean of ``accuracy`` over the deltas.

    ``accuracy`` and ``threshold`` have one entry for each of ``deltas``: the share of photos found at the threshold that is best for
    the data set, and that threshold as a fraction of each map's maximum; the lowest of equally good ones.
    """

    value: float
    deltas: tuple[float, ...]
    accuracy: tuple[float, ...]
    threshold: tuple[float, ...]

    __repr__ = show_record


def ranked_hit(
    predicted: Sequence[tuple[Hashable, Box | None]],
    truths: Mapping[Any, Sequence[Box]],
    *,
    top: int = 1,
    at_least: float = 0.5,
) -> RankedHit:
    """One photo's part in :func:`ranked_error`.

    ``predicted`` has the model's classes, best first, each with the box of its own map (None where the map points nowhere: that box is
    no hit). ``truths`` has the boxes of every class that is in the photo. Fewer than ``top`` classes may be given; more are passed over.

    Raises InputError for ``top`` below 1, for no true class, or for a true class without a box.

    >>> ranked_hit([("cat", None), ("dog", (0.0, 0.0, 4.0, 4.0))], {"dog": [(0.0, 0.0, 4.0, 5.0)]}, top=5)
    RankedHit(classified=True, localised=True)
    """
    if top < 1:
        raise InputError(f"top={top} was given; expected how many of the first classes count, at least 1")
    if not truths or not all(len(boxes) for boxes in truths.values()):
        raise InputError("a photo without a true class, or a class without a box, was given; leave such out")
    right = [(name, box) for name, box in list(predicted)[:top] if name in truths]
    localised = any(
        box is not None and max(iou(box, truth) for truth in truths[name]) >= at_least for name, box in right
    )
    return RankedHit(bool(right), localised)


def ranked_error(hits: Sequence[RankedHit]) -> RankedError:
    """The top-k classification and localisation error of the photos.

    Raises InputError for no photos.

    >>> ranked_error([RankedHit(True, True), RankedHit(True, False), RankedHit(False, False), RankedHit(True, True)])
    RankedError(classification=0.25, localisation=0.5)
    """
    if not hits:
        raise InputError("no photos were given, so there is no error; expected at least one")
    return RankedError(
        sum(not hit.classified for hit in hits) / len(hits), sum(not hit.localised for hit in hits) / len(hits)
    )


def best_box_ious(
    heat: Float[Tensor, "height width"], boxes: Sequence[Box], *, levels: int = LEVELS, largest: bool = False
) -> Float[Tensor, " levels"]:
    """One photo's part in :func:`max_box_acc`: at each threshold, the best IoU of any part's box with any true box.

    Thresholds are ``0, 1 / levels, ...`` of the map's maximum, and a pixel must exceed them. ``largest`` takes the largest part only, as
    the older MaxBoxAcc does (its delta is 0.5). All zeros if the map points nowhere; NaN pixels belong to no part.

    Raises InputError for no boxes, or ``levels`` below 1.

    >>> best_box_ious(torch.tensor([[4.0, 1.0, 0.0, 3.0]]), [(0.0, 0.0, 1.0, 1.0)], levels=4).tolist()
    [0.5, 1.0, 1.0, 1.0]
    """
    if not len(boxes) or levels < 1:
        raise InputError(f"{len(boxes)} boxes and levels={levels} were given; expected at least one of each")
    thresholds = np.arange(levels) / levels
    return torch.from_numpy(sweep_thresholds(heat.detach().double().cpu().numpy(), boxes, thresholds, largest=largest))


def max_box_acc(ious: Float[Tensor, "photos levels"], *, deltas: Sequence[float] = DELTAS) -> MaxBoxAcc:
    """MaxBoxAccV2 of photos, from the rows that :func:`best_box_ious` gives.

    For each delta the share of photos with an IoU of at least delta is taken at every threshold, and the best threshold counts for all.
    The threshold is chosen on the scored photos: that is the metric.

    Raises InputError for no photos, or no deltas.

    >>> max_box_acc(torch.tensor([[0.4, 0.8], [0.6, 0.2]])).accuracy
    (1.0, 0.5, 0.5)
    """
    if not len(ious) or not len(deltas):
        raise InputError(f"{len(ious)} photos and {len(deltas)} deltas were given; expected at least one of each")
    shares = torch.stack([(ious >= delta).double().mean(0) for delta in deltas])
    best = shares.argmax(1)
    accuracy = tuple(float(row[at]) for row, at in zip(shares, best, strict=True))
    return MaxBoxAcc(
        sum(accuracy) / len(accuracy),
        tuple(float(delta) for delta in deltas),
        accuracy,
        tuple(int(at) / ious.shape[1] for at in best),
    )


def pixel_counts(
    heat: Float[Tensor, "height width"],
    mask: Bool[Tensor, "mask_height mask_width"],
    *,
    ignore: Bool[Tensor, "mask_height mask_width"] | None = None,
    levels: int = LEVELS,
) -> Int[Tensor, "2 levels_and_one"]:
    """One photo's part in :func:`pxap`: how many pixels of the mask (row 0) and outside (row 1) are at each level of the map.

    Level i holds the values from ``i / levels`` of the map's maximum up to the next; the last one the maximum itself. Pixels to
    ``ignore`` count nowhere, unless they are in the mask. Negative values, NaN pixels (not seen) and all of a map that points nowhere are
    at level 0, the last to be claimed. The mask may be empty here.

    Raises InputError for a mask of another shape, or ``levels`` below 1.

    >>> pixel_counts(torch.tensor([[4.0, 1.0, 0.0, 4.0]]), torch.tensor([[True, True, False, False]]), levels=2)
    tensor([[1, 0, 1],
            [1, 0, 1]])
    """
    if heat.shape != mask.shape or levels < 1:
        raise InputError(
            f"a map of {tuple(heat.shape)} and a mask of {tuple(mask.shape)} pixels with levels={levels} were given; expected the same "
            "frame, and at least one level"
        )
    values = heat.detach().double().cpu().nan_to_num(nan=0.0, posinf=torch.inf).relu()
    top = values.max()
    places = (values / top * levels).floor().long() if 0 < float(top) < torch.inf else torch.zeros_like(values).long()
    mask = mask.cpu()
    outside = ~mask if ignore is None else ~mask & ~ignore.cpu()
    return torch.stack([torch.bincount(places[pixels], minlength=levels + 1) for pixels in (mask, outside)])


def pxap(counts: Int[Tensor, "2 levels_and_one"]) -> float:
    """PxAP, 0 to 1, of the photos whose :func:`pixel_counts` were added up: the sum of precision times the gain in recall.

    Raises InputError where no pixel is in a mask.

    >>> pxap(torch.tensor([[1, 0, 1], [1, 0, 1]]))
    0.5
    """
    own, every = (part.double().cpu().numpy() for part in (counts[:1], counts.sum(0, keepdim=True)))
    if not own.sum() > 0:
        raise InputError(
            "counts without a pixel in a mask were given, so there is nothing to recall; expected at least one"
        )
    return float(average_precision_by_level(own, every)[0])
