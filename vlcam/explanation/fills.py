"""Ways to take a region out of a picture: what its pixels become.

No fill is neutral. The mean colour leaves a flat patch with a sharp edge, a blur keeps large shapes, filling in from around
draws nothing that wasn't there before (and leaves a flat ground as it is), noise has a texture of its own. What holds with all of them is
less likely to be about the fill.
"""

from typing import Final, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.metrics.removal import blurred

FillName = Literal["mean", "blur", "neighbours", "noise"]

FILLS: Final[tuple[FillName, ...]] = get_args(FillName)
"""The fills, in the order in which random regions take turns with them."""

_WIDTH: Final = 12
"""The blur's standard deviation is the shorter side divided by this: half of the patch of an occlusion map."""


def remove_regions(
    image: Float[Tensor, "1 channels height width"],
    masks: Bool[Tensor, "regions height width"],
    fill: FillName,
    *,
    seed: int = 0,
) -> Float[Tensor, "regions channels height width"]:
    """The image without each of the regions.

    ``mean``: each channel's mean over the image. ``blur``: the image under a Gaussian a twelfth of its shorter side wide. ``neighbours``:
    filled in from around, smoothly (:func:`fill_from_neighbours`). ``noise``: normal noise of each channel's
    mean and standard deviation, the same field for all regions, drawn from ``seed``.

    >>> image = torch.tensor([[[[0.0, 0.0, 3.0]]]])
    >>> remove_regions(image, torch.tensor([[[False, False, True]]]), "mean").tolist()
    [[[[0.0, 0.0, 1.0]]]]
    """
    if fill == "neighbours":
        return fill_from_neighbours(image, masks)
    return torch.where(masks[:, None], fill_image(image, fill, seed=seed), image)


def fill_image(
    image: Float[Tensor, "1 channels height width"], fill: FillName, *, seed: int = 0
) -> Float[Tensor, "1 channels height width"]:
    """What a fill puts in the place of the whole image; with ``neighbours``, which needs some left, the mean colour."""
    mean = image.mean((2, 3), keepdim=True)
    if fill in ("mean", "neighbours"):
        return mean.expand_as(image)
    if fill == "blur":
        sigma = max(1.0, min(image.shape[-2:]) / _WIDTH)
        return mean + blurred(image - mean, window=2 * round(2 * sigma) + 1, sigma=sigma)
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(image.shape, generator=generator, dtype=torch.float64, device="cpu").to(image)
    return mean + image.std((2, 3), keepdim=True) * field


def fill_from_neighbours(
    image: Float[Tensor, "1 channels height width"], masks: Bool[Tensor, "regions height width"]
) -> Float[Tensor, "regions channels height width"]:
    """The image with each region filled in smoothly from around it; a region without any neighbours becomes the mean colour.

    Push-pull (Gortler et al. 1996, The Lumigraph, SIGGRAPH, section 3.4): the image is halved again and again, each time to the mean of
    those pixels that are there, until none is missing; on the way back a missing pixel takes the value of the coarser level, drawn
    bilinearly. A few passes over the picture for all regions, where solving for every pixel exactly
    (:func:`vlcam.metrics.imputation.impute`) takes more time than small models take to run.

    >>> image = torch.tensor([[[[1.0, 1.0, 1.0, 9.0]]]])
    >>> fill_from_neighbours(image, torch.tensor([[[False, False, False, True]]])).tolist()
    [[[[1.0, 1.0, 1.0, 1.0]]]]
    """
    mean = image.mean((2, 3), keepdim=True)
    there = (~masks)[:, None].to(image.dtype)
    return torch.where(masks[:, None], mean + _pull((image - mean) * there, there), image)


def _pull(
    known: Float[Tensor, "regions channels height width"], there: Float[Tensor, "regions 1 height width"]
) -> Float[Tensor, "regions channels height width"]:
    """``known`` (0 where nothing is ``there``) with the rest filled in; 0 if nothing is there at all."""
    if bool((there > 0).all()) or max(known.shape[-2:]) == 1:
        return known
    share = F.avg_pool2d(there, 2, ceil_mode=True)
    halved = F.avg_pool2d(known, 2, ceil_mode=True) / share.clamp_min(torch.finfo(known.dtype).tiny)
    coarse = _pull(halved, (share > 0).to(known.dtype))
    drawn = F.interpolate(coarse, size=known.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(there > 0, known, drawn)
