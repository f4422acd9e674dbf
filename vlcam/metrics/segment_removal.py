"""IROF, the iterative removal of features: deletion by pieces of the image instead of pixels.

Rieger & Hansen 2020 (arXiv 2003.08747): the image is cut into superpixels, these are replaced by the mean colour in the order of their mean
relevance, and what counts is the area *over* the curve of the score by the full image's score. Neighbouring pixels say the same to a
model, and a whole piece takes that away at once.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlcam.contracts import InputError, show_record
from vlcam.metrics.scoring import (
    BATCH,
    Curve,
    Link,
    Score,
    Ties,
    as_rows,
    expand_baseline,
    order,
    score_each,
    set_unranked_to_nan,
)
from vlcam.metrics.segments import segment_means


@final
@dataclass(frozen=True, eq=False)
class Irof:
    """``curve``: the score by the full image's, over the fraction of pieces replaced (from 0 to 1)."""

    curve: Curve

    __repr__ = show_record

    @property
    def aoc(self) -> Float[Tensor, "*targets"]:
        """The area over the curve, ``1 - auc``: at most 1 for positive scores, greater is better; Quantus doesn't divide by the pieces."""
        return 1 - self.curve.auc


def irof(
    score: Score,
    image: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    segments: Int[Tensor, "segment_rows segment_columns"],
    *,
    link: Link | None = None,
    baseline: float | Tensor = 0.0,
    ties: Ties = "random",
    seed: int = 0,
    batch: int = BATCH,
) -> Irof:
    """Replace the pieces by ``baseline``, the highest mean of the map first, and follow the score by the full image's.

    ``segments`` are piece numbers from 0 up without gaps, such as :func:`vlcam.metrics.segments.slic` gives. ``baseline`` as in
    :func:`vlcam.metrics.removal.deletion`; for the image's own mean colour ``image.mean((2, 3), keepdim=True)[0]``. Pieces of equal
    mean, and maps whose pieces all have one mean or which rank nothing (NaN): :mod:`vlcam.metrics.scoring`.

    Raises InputError for segments that don't fit the image or leave out a number, a map that isn't on the image's pixels, scores that
    don't fit it, or a full image whose score isn't above 0 (by which nothing can be divided).
    """
    rows = as_rows(heat, image)
    where = segments.to(image.device)
    if where.shape != image.shape[-2:] or int(where.min()) or len(where.unique()) != int(where.max()) + 1:
        raise InputError(
            f"segments of shape {tuple(segments.shape)} with numbers from {int(where.min())} to {int(where.max())} were given; "
            f"expected one number for each of the {image.shape[-2]} x {image.shape[-1]} pixels, from 0 up, all used"
        )
    means = segment_means(rows.view(-1, *image.shape[-2:]), where)
    fill, pieces = expand_baseline(baseline, image), means.shape[1]
    when = order(means, ties=ties, seed=seed).argsort(1)[:, where]

    def images(
        maps: Int[Tensor, " batch"], points: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels height width"]:
        gone = when[maps.to(image.device)] < points.to(image.device)[:, None, None]
        return torch.where(gone[:, None], fill, image)

    values = score_each(score, images, heat, pieces + 1, link=link, batch=batch)
    full = values[..., :1]
    if not bool((full > 0).all()):
        raise InputError(
            f"a score of {float(full.min()):.4g} of the whole image was given; expected probabilities above 0, so give a link that "
            "makes them, such as torch.exp for log-probabilities"
        )
    ranked = set_unranked_to_nan(set_unranked_to_nan(values / full, heat), means[:, None] if heat.ndim == 3 else means)
    return Irof(Curve(torch.arange(pieces + 1, device=values.device).double() / pieces, ranked))
