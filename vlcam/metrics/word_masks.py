"""The maps of a caption's words against masks: words for objects should light up on them, function words should light up nowhere.

Li et al. 2025 (TAM, arXiv 2506.23270): Obj-IoU is the IoU of each object's word, its map split by Otsu's threshold, with the object's
mask; Func-IoU is the share of pixels of the function words' maps that stay below the mean threshold of the objects' words; F1-IoU is the
harmonic mean of the two. It is the one published score that also charges for evidence where there should be none.

The maps must share one scale (as they come, in log-probabilities or logits): were each divided by its own maximum, every function
word's map would reach the top.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.metrics.otsu import otsu_threshold
from vlcam.metrics.pixels import check_mask
from vlcam.metrics.seeds import overlap


@final
@dataclass(frozen=True)
class WordMaskScores:
    """The three scores of one caption, 0 to 1, and each word's own.

    ``objects`` has the IoU of every object, in the order given, ``functions`` the share of dark pixels of every function word (NaN
    where it has none). ``obj``, ``func`` and ``f1`` are NaN where nothing was there to score.
    """

    obj: float
    func: float
    f1: float
    objects: tuple[float, ...]
    functions: tuple[float, ...]


def word_mask_scores(
    maps: Float[Tensor, "words height width"],
    objects: Sequence[tuple[Sequence[int], Bool[Tensor, "mask_height mask_width"]]],
    functions: Sequence[int],
) -> WordMaskScores:
    """Obj-IoU, Func-IoU and F1-IoU of one caption.

    ``objects`` has for every object that the caption names the positions of its maps (one, or those of a word's pieces, of which the best
    counts) and its mask; ``functions`` has the positions of the function words.

    An object's map that is zero or flat has no part that stands out: its IoU is 0, and it sets no threshold. Without any threshold Func-IoU
    is NaN, so that maps that are all zero get no credit for dark function words. NaN pixels (not seen) are in no split and aren't counted
    for function words, but those of a mask count as missed. A map with an infinite value counts as nothing seen.

    Raises InputError for an empty mask or one of another shape, a position outside ``maps``, or an object without a position.

    >>> import torch
    >>> maps = torch.tensor([[[0.0, 0.0, 4.0, 4.0]], [[0.0, 0.0, 0.0, 2.0]]])
    >>> word_mask_scores(maps, [([0], torch.tensor([[False, True, True, True]]))], [1])
    WordMaskScores(obj=0.6666666666666666, func=0.75, f1=0.7058823529411765, objects=(0.6666666666666666,), functions=(0.75,))
    """
    places = [place for pieces, _ in objects for place in pieces] + list(functions)
    if not all(0 <= place < len(maps) for place in places) or not all(len(pieces) for pieces, _ in objects):
        raise InputError(
            f"positions {places} of words were given for {len(maps)} maps; expected at least one for every object, each from 0 to "
            f"{len(maps) - 1}"
        )
    scored = [_score_object(maps, pieces, mask) for pieces, mask in objects]
    thresholds = [threshold for _, threshold in scored if threshold is not None]
    limit = sum(thresholds) / len(thresholds) if thresholds else math.nan
    dark = tuple(_compute_dark_share(maps[place], limit) for place in functions)
    ious = tuple(iou for iou, _ in scored)
    obj, func = _mean(ious), _mean(dark)
    return WordMaskScores(obj, func, f1_iou(obj, func), ious, dark)


def f1_iou(obj: float, func: float) -> float:
    """The harmonic mean of Obj-IoU and Func-IoU, of one caption or of the means over many; 0 if both are 0, NaN if one is.

    >>> f1_iou(0.5, 1.0)
    0.6666666666666666
    """
    return 0.0 if obj == func == 0 else 2 * obj * func / (obj + func)


def _score_object(
    maps: Float[Tensor, "words height width"], pieces: Sequence[int], mask: Bool[Tensor, "mask_height mask_width"]
) -> tuple[float, float | None]:
    """The best piece's IoU and its threshold; the first of equally good ones that has a threshold."""
    check_mask(maps[0], mask)
    best: tuple[float, float | None] = (0.0, None)
    for place in pieces:
        threshold = otsu_threshold(maps[place])
        if threshold is None:
            continue
        iou = overlap(maps[place].double() > threshold, mask).iou
        if best[1] is None or iou > best[0]:
            best = (iou, threshold)
    return best


def _compute_dark_share(heat: Float[Tensor, "height width"], limit: float) -> float:
    """The share of seen pixels up to the limit: what lies above it stands out, as in Otsu's split."""
    seen = heat[~heat.isnan()].double()
    if math.isnan(limit) or not len(seen) or bool(seen.isinf().any()):
        return math.nan
    return float((seen <= limit).double().mean())


def _mean(values: Sequence[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan
