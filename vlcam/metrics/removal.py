"""Deletion and insertion: what happens to the score while pixels leave or enter the image in the order of a map.

Petsiuk, Das & Saenko 2018 (RISE, arXiv 1806.07421, section 4.3). Deletion takes the highest pixels first and leaves the mean colour;
insertion starts from a blurred image and brings the true pixels back. A good map has a small area under the first curve and a large one
under the second. Their code takes 224 of the 224 x 224 pixels at a step, zeros (the mean colour) in normalised images, and blurs with a
window of 11 pixels and sigma 5. Both are out of the model's distribution, so a curve is to be read beside that of a random map.

Pixel flipping (Bach et al. 2015, doi 10.1371/journal.pone.0130140) is the same with another colour and a step of one pixel.
"""

from math import ceil

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError
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

STEPS = 224
"""How many equal steps cover all pixels: RISE's 224 pixels of 224 x 224."""


def deletion(
    score: Score,
    image: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    *,
    link: Link | None = None,
    baseline: float | Tensor = 0.0,
    steps: int = STEPS,
    ties: Ties = "random",
    seed: int = 0,
    batch: int = BATCH,
) -> Curve:
    """The scores while pixels are replaced by ``baseline``, the map's highest first. Lower curves are better.

    ``baseline`` is a number, a colour ``(channels, 1, 1)`` or an image in the image's own units; 0 is the mean colour of a normalised
    image. After step i of ``steps``, ``round(i * pixels / steps)`` pixels are gone: none at first, all at last, and a step is never
    less than one pixel. ``score``, ``link``, maps that rank nothing, ``ties`` and ``seed``: :mod:`vlcam.metrics.scoring`.

    Raises InputError for a map that isn't on the image's pixels, scores that don't fit it, or no steps.

    >>> image = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
    >>> curve = deletion(lambda images: images.sum((1, 2, 3)), image, image[0, 0], steps=4)
    >>> curve.values.tolist(), curve.auc.item()
    ([6.0, 3.0, 1.0, 0.0, 0.0], 1.75)
    """
    return _trace_curve(
        score,
        image,
        expand_baseline(baseline, image),
        heat,
        _count_changed_pixels(image, steps),
        link,
        ties,
        seed,
        batch,
    )


def insertion(
    score: Score,
    image: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    *,
    link: Link | None = None,
    baseline: float | Tensor | None = None,
    steps: int = STEPS,
    ties: Ties = "random",
    seed: int = 0,
    batch: int = BATCH,
) -> Curve:
    """The scores while the image's pixels come into ``baseline``, the map's highest first. Higher curves are better.

    ``baseline`` is by default the image blurred as by RISE (:func:`blurred`). All else as in :func:`deletion`.
    """
    start = blurred(image) if baseline is None else expand_baseline(baseline, image)
    return _trace_curve(score, start, image, heat, _count_changed_pixels(image, steps), link, ties, seed, batch)


def pixel_flipping(
    score: Score,
    image: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    *,
    baseline: float | Tensor,
    link: Link | None = None,
    step: int = 1,
    ties: Ties = "random",
    seed: int = 0,
    batch: int = BATCH,
) -> Curve:
    """:func:`deletion` by ``step`` pixels at a time, all pixels at last (Bach et al. 2015): a run of the model for every step.

    ``baseline`` is often black: for a normalised image ``-mean / std``, a colour ``(channels, 1, 1)``.
    """
    if step < 1:
        raise InputError(f"step={step} was given; expected how many pixels are flipped at a time, 1 or more")
    pixels = image.shape[-2] * image.shape[-1]
    counts = (torch.arange(ceil(pixels / step) + 1, device="cpu") * step).clamp_max(pixels)
    return _trace_curve(score, image, expand_baseline(baseline, image), heat, counts, link, ties, seed, batch)


def blurred(
    image: Float[Tensor, "1 channels height width"], *, window: int = 11, sigma: float = 5.0
) -> Float[Tensor, "1 channels height width"]:
    """The image under RISE's blur: what their insertion starts from.

    Their kernel is one bright pixel amid ``window`` x ``window`` pixels after a Gaussian filter whose borders are mirrors: the
    parts of the Gaussian beyond the window are folded back into it, so that at sigma 5 it is nearly flat. Beyond the image there are
    zeros, the mean colour.

    Raises InputError for a window that isn't odd, or a sigma that isn't above 0.
    """
    if window < 1 or window % 2 == 0 or not sigma > 0:
        raise InputError(
            f"window={window} and sigma={sigma} were given; expected an odd number of pixels and a width above 0"
        )
    reach = int(4 * sigma + 0.5)
    far = torch.arange(-reach, reach + 1, dtype=torch.float64, device="cpu")
    weights = torch.exp(-0.5 * (far / sigma) ** 2)
    place = (far.long() + window // 2) % (
        2 * window
    )  # mirrors at the window's edges: the pattern repeats after two windows
    place = torch.where(place < window, place, 2 * window - 1 - place)
    line = torch.zeros(window, dtype=torch.float64, device="cpu").index_add_(0, place, weights / weights.sum())
    kernel = line.to(image).expand(image.shape[1], 1, 1, window)
    half = window // 2
    across = F.conv2d(image, kernel, padding=(0, half), groups=image.shape[1])
    return F.conv2d(across, kernel.mT, padding=(half, 0), groups=image.shape[1])


def _count_changed_pixels(image: Float[Tensor, "1 _ _ _"], steps: int) -> Int[Tensor, " points"]:
    """How many pixels are changed at each point of a curve."""
    if steps < 1:
        raise InputError(f"steps={steps} was given; expected 1 or more")
    pixels = image.shape[-2] * image.shape[-1]
    steps = min(steps, pixels)
    return (torch.arange(steps + 1, dtype=torch.float64, device="cpu") * pixels / steps).round().long()


def _trace_curve(
    score: Score,
    start: Float[Tensor, "1 channels height width"],
    end: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    counts: Int[Tensor, " points"],
    link: Link | None,
    ties: Ties,
    seed: int,
    batch: int,
) -> Curve:
    """The curve on the way from one image to the other, in the order of each map."""
    path = order(as_rows(heat, end), ties=ties, seed=seed)
    when = path.argsort(1).view(-1, 1, *end.shape[-2:])
    here = counts.to(end.device)

    def images(
        maps: Int[Tensor, " batch"], points: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels height width"]:
        changed = when[maps.to(end.device)] < here[points.to(end.device)][:, None, None, None]
        return torch.where(changed, end, start)

    values = score_each(score, images, heat, len(counts), link=link, batch=batch)
    pixels = end.shape[-2] * end.shape[-1]
    return Curve(counts.to(values.device).double() / pixels, set_unranked_to_nan(values, heat))
