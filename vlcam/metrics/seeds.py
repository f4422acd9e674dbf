"""Maps as segmentation seeds: the pixels that a thresholded map claims, against the object's true pixels.

Selvaraju et al. 2017 (arXiv 1610.02391) give thresholded maps as seeds to a weakly supervised segmenter (SEC: Kolesnikov and Lampert
2016, arXiv 1603.06098) and score what comes out. Here the seeds themselves are scored, so that no segmenter need be trained:

    IoU = both / (seed + mask - both),    precision = both / seed,    recall = both / mask

per photo, or over a data set with the pixels of each class summed first, as PASCAL VOC does (Everingham et al. 2010).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.metrics.localisation import THRESHOLD
from vlcam.metrics.pointing import peak


@final
@dataclass(frozen=True)
class Overlap:
    """Numbers of pixels: in both, claimed by the seed, and true. Overlaps of one class add up (``+``)."""

    both: int
    claimed: int
    true: int

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(self.both + other.both, self.claimed + other.claimed, self.true + other.true)

    @property
    def iou(self) -> float:
        """The pixels in both by the pixels in either, 0 to 1; NaN if there are none in either."""
        return _compute_share(self.both, self.claimed + self.true - self.both)

    @property
    def precision(self) -> float:
        """The share of claimed pixels that are true; NaN if nothing is claimed."""
        return _compute_share(self.both, self.claimed)

    @property
    def recall(self) -> float:
        """The share of true pixels that are claimed; NaN if none is true."""
        return _compute_share(self.both, self.true)


def seed_mask(heat: Float[Tensor, "height width"], *, threshold: float = THRESHOLD) -> Bool[Tensor, "height width"]:
    """The pixels with at least ``threshold`` of the map's maximum.

    A map that points nowhere (see :func:`vlcam.metrics.pointing.peak`) claims nothing; NaN pixels are never claimed.

    Raises InputError for a threshold that isn't above 0 and at most 1.

    >>> seed_mask(torch.tensor([[8.0, 1.0, 2.0]]))
    tensor([[ True, False,  True]])
    """
    if not 0 < threshold <= 1:
        raise InputError(
            f"threshold={threshold} was given; expected a fraction of the map's maximum, above 0 and at most 1"
        )
    point = peak(heat)
    return torch.zeros_like(heat, dtype=torch.bool) if point is None else heat >= threshold * heat[point]


def overlap(claimed: Bool[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"]) -> Overlap:
    """The pixels that a seed (of :func:`seed_mask`, :func:`vlcam.metrics.otsu.otsu_mask`, or any) and a mask share.

    A seed that claims nothing of an object has an IoU and a recall of 0. The mask may be empty, for a class that isn't in the photo: what
    the seed claims then counts against the class once overlaps are summed.

    Raises InputError for a mask of another shape.

    >>> overlap(torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]])).iou
    0.3333333333333333
    """
    if claimed.shape != mask.shape:
        raise InputError(
            f"a seed of {tuple(claimed.shape)} and a mask of {tuple(mask.shape)} pixels were given; expected the same frame"
        )
    mask = mask.to(claimed.device)
    return Overlap(int((claimed & mask).sum()), int(claimed.sum()), int(mask.sum()))


def seed_labels(
    maps: Float[Tensor, "classes height width"],
    labels: Sequence[int],
    *,
    background: int = 0,
    threshold: float = THRESHOLD,
) -> Int[Tensor, "height width"]:
    """One label for every pixel, from the maps of a photo's classes: that of the highest claim, or the background's.

    Each map is divided by its own maximum, as maps of different classes have no common scale. A pixel that no map claims
    (:func:`seed_mask`) is background; of equal claims the first map's counts.

    Raises InputError for labels of another number than maps, or a threshold that isn't above 0 and at most 1.

    >>> seed_labels(torch.tensor([[[4.0, 1.0, 0.0]], [[0.0, 9.0, 0.0]]]), [5, 7])
    tensor([[5, 7, 0]])
    """
    if len(maps) != len(labels):
        raise InputError(f"{len(labels)} labels for {len(maps)} maps were given; expected the label of every map")
    found = torch.full(maps.shape[1:], background, dtype=torch.long, device="cpu")
    best = torch.zeros(maps.shape[1:], dtype=torch.float64, device="cpu")
    for heat, label in zip(maps.detach().double().cpu(), labels, strict=True):
        claimed = seed_mask(heat, threshold=threshold)
        claim = torch.where(claimed, heat / heat[claimed].max(), 0.0) if bool(claimed.any()) else best
        found[claim > best] = label
        best = torch.maximum(best, claim)
    return found


def label_overlaps(
    found: Int[Tensor, "height width"],
    true: Int[Tensor, "mask_height mask_width"],
    labels: Iterable[int],
    *,
    ignore: int = 255,
) -> dict[int, Overlap]:
    """Each label's overlap in a photo whose pixels all have one label. Pixels whose true label is ``ignore`` count nowhere.

    Raises InputError for labels of another shape.

    >>> label_overlaps(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 255]]), [0, 1])
    {0: Overlap(both=1, claimed=1, true=2), 1: Overlap(both=0, claimed=1, true=0)}
    """
    if found.shape != true.shape:
        raise InputError(
            f"labels of {tuple(found.shape)} and of {tuple(true.shape)} pixels were given; expected the same frame"
        )
    true, kept = true.to(found.device), true.to(found.device) != ignore
    return {label: overlap((found == label) & kept, (true == label) & kept) for label in labels}


def class_overlaps(overlaps: Iterable[Mapping[Any, Overlap]]) -> dict[Any, Overlap]:
    """The photos' overlaps, summed class by class."""
    total: dict[Any, Overlap] = {}
    for photo in overlaps:
        for name, one in photo.items():
            total[name] = total.get(name, Overlap(0, 0, 0)) + one
    return total


def mean_iou(overlaps: Iterable[Mapping[Any, Overlap]]) -> float:
    """The mean over classes of the IoU of each class's summed pixels, 0 to 1: PASCAL VOC's segmentation score.

    ``overlaps`` has one mapping from class to overlap for every photo. A class without a pixel in seed or mask is left out; NaN if that
    leaves none.

    >>> mean_iou([{"dog": Overlap(1, 1, 3)}, {"dog": Overlap(2, 3, 2), "cat": Overlap(1, 2, 1)}])
    0.5
    """
    found = [one.iou for one in class_overlaps(overlaps).values() if not math.isnan(one.iou)]
    return sum(found) / len(found) if found else math.nan


def _compute_share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
