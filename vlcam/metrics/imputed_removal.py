"""ROAD: remove pixels in the order of a map so that the hole gives nothing away, and see what the model says.

Rong et al. 2022 (arXiv 2202.00449). With the most relevant pixels removed first (MoRF) a good map makes the score fall early; with the
least relevant first (LeRF) it keeps it up. What fills the holes is in :mod:`vlcam.metrics.imputation`.

Two numbers go by this name. The paper's (and Quantus') is a curve of accuracy: the share of images whose class is still the first choice
at each fraction; that is :func:`road` with ``link=predicts(label)``, averaged over images. pytorch-grad-cam's ROADCombined is of one image:
half the difference of the scores of LeRF and MoRF, averaged over fractions; that is :func:`road_combined`. They are not the same.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.metrics.imputation import NOISE, impute
from vlcam.metrics.scoring import BATCH, Curve, Link, Score, Ties, as_rows, order, score_each, set_unranked_to_nan

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def road(
    score: Score,
    image: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    *,
    first: Literal["most", "least"] = "most",
    fractions: Sequence[float] = FRACTIONS,
    link: Link | None = None,
    noise: float = NOISE,
    ties: Ties = "random",
    seed: int = 0,
    batch: int = BATCH,
) -> Curve:
    """The scores with each of ``fractions`` of the pixels imputed, the ``most`` or ``least`` relevant ``first`` (MoRF, LeRF).

    Of P pixels ``round(fraction * P)`` are removed, one at least and never the last one. ``noise`` and the order of equal values come
    from ``seed``. ``score``, ``link``, maps that rank nothing and ``ties``: :mod:`vlcam.metrics.scoring`.

    Raises InputError for fractions that don't rise between 0 and 1, a map that isn't on the image's pixels, or scores that don't fit it.
    """
    steps = torch.tensor(tuple(fractions), dtype=torch.float64, device="cpu")
    if not len(steps) or not bool((steps.diff() > 0).all()) or not 0 < steps[0] <= steps[-1] < 1:
        raise InputError(
            f"fractions={tuple(fractions)} was given; expected rising fractions of the pixels, between 0 and 1"
        )
    path = order(as_rows(heat, image), lowest_first=first == "least", ties=ties, seed=seed)
    when = path.argsort(1).view(-1, *image.shape[-2:])
    pixels = image.shape[-2] * image.shape[-1]
    counts = (steps * pixels).round().long().clamp(min(1, pixels - 1), pixels - 1).to(image.device)

    def images(
        maps: Int[Tensor, " batch"], points: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels height width"]:
        removed = when[maps.to(image.device)] < counts[points.to(image.device)][:, None, None]
        return impute(image, removed, noise=noise, seed=seed)

    values = score_each(score, images, heat, len(steps), link=link, batch=batch)
    return Curve(steps.to(values.device), set_unranked_to_nan(values, heat))


def road_combined(
    score: Score,
    image: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    *,
    fractions: Sequence[float] = FRACTIONS,
    link: Link | None = None,
    noise: float = NOISE,
    ties: Ties = "random",
    seed: int = 0,
    batch: int = BATCH,
) -> Float[Tensor, "*targets"]:
    """``(LeRF - MoRF) / 2`` averaged over ``fractions``, in units of the score: positive if the map's high places matter more.

    As pytorch-grad-cam defines it for one image. The arguments are those of :func:`road`.
    """
    least, most = (
        road(
            score,
            image,
            heat,
            first=first,
            fractions=fractions,
            link=link,
            noise=noise,
            ties=ties,
            seed=seed,
            batch=batch,
        ).values
        for first in ("least", "most")
    )
    return (least - most).mean(-1) / 2
