"""Pixels filled in from around them, so that it can't be seen that they were removed: noisy linear imputation.

Rong et al. 2022 (ROAD, arXiv 2202.00449, section 4): each removed pixel is to be the weighted mean of its eight neighbours, 1/6 for those
at its sides and 1/12 for those at its corners; at the image's edge, of those that there are, with the weights made to sum to 1. All these
equations hold at once, so values go smoothly from one side of a hole to the other, and a little noise keeps the hole from being flat.

The equations of a hole are sparse, symmetric and positive definite, and are solved by conjugate gradients on the image itself, for many
holes at once. No matrix is made.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError
from vlcam.engine.precision import widen

NOISE = 0.01
"""The standard deviation of the noise, in units of the (normalised) image."""
LOOK_EVERY = 10
"""After how many steps it is looked whether all holes are filled: looking waits for the device."""


def impute(
    image: Float[Tensor, "1 channels height width"],
    removed: Bool[Tensor, "holes height width"],
    *,
    noise: float = NOISE,
    seed: int = 0,
) -> Float[Tensor, "holes channels height width"]:
    """The image with each of the masks' pixels removed and filled in; the others are kept bit for bit.

    One field of normal noise of standard deviation ``noise`` is drawn with ``seed`` and used in all holes, so a result doesn't depend
    on what else is in the batch. Equations are solved to 1e-6 of the image's range (1e-10 in float64), in float32 at least.

    Raises InputError for a mask that leaves no pixel, from which nothing can be filled in.

    >>> ramp = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]]]])
    >>> impute(ramp, torch.tensor([[[False, True, True, False]]]), noise=0.0)[0, 0].round(decimals=3).tolist()
    [[0.0, 1.0, 2.0, 3.0]]
    """
    if bool(removed.flatten(1).all(1).any()):
        raise InputError(
            "a mask that removes every pixel was given; expected at least one pixel to fill in the others from"
        )
    wide = widen(image)
    hole = removed[:, None].to(wide.device)
    filled = _solve(wide, hole)
    if noise:
        field = torch.randn(
            image.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64, device="cpu"
        )
        filled = filled + noise * field.to(filled)
    return torch.where(hole, filled.to(image.dtype), image)


def _sum_neighbours(
    values: Float[Tensor, "holes channels height width"],
) -> Float[Tensor, "holes channels height width"]:
    """The weighted sum of each pixel's neighbours, zeros beyond the edge."""
    wide = F.pad(values, (1, 1, 1, 1))
    beside = wide[..., :-2] + wide[..., 2:]
    rows = beside + 2 * wide[..., 1:-1]
    return (rows[:, :, :-2] + rows[:, :, 2:]) / 12 + beside[:, :, 1:-1] / 6


def _solve(
    image: Float[Tensor, "1 channels height width"], hole: Bool[Tensor, "holes 1 height width"]
) -> Float[Tensor, "holes channels height width"]:
    """Values in the holes that solve the equations, and 0 elsewhere: conjugate gradients (Hestenes & Stiefel 1952).

    A hole that is filled leaves the computation, since small ones take a fraction of the steps of large ones.
    """
    middle = image.mean((2, 3), keepdim=True)
    inside = hole.to(image.dtype)
    known = (image - middle) * (1 - inside)
    total = _sum_neighbours(torch.ones_like(image[:, :1]))
    enough = (1e-10 if image.dtype == torch.float64 else 1e-6) * float(known.abs().max())
    tiny = torch.finfo(image.dtype).tiny
    result = values = torch.zeros_like(known)
    way = residual = inside * _sum_neighbours(known)
    left = residual.square().sum((2, 3), keepdim=True)
    open_ = torch.arange(len(hole), device=hole.device)
    for step in range(image.shape[-2] * image.shape[-1]):
        if step % LOOK_EVERY == 0:
            result = result.index_copy(0, open_, values)
            rest = (residual.abs().amax((1, 2, 3)) > enough).nonzero()[:, 0]
            if not len(rest):
                break
            if len(rest) < len(open_):
                open_, inside, values, residual, way, left = (
                    each[rest] for each in (open_, inside, values, residual, way, left)
                )
        ahead = inside * (total * way - _sum_neighbours(way))
        size = left / (way * ahead).sum((2, 3), keepdim=True).clamp_min(tiny)
        values = values + size * way
        residual = residual - size * ahead
        now = residual.square().sum((2, 3), keepdim=True)
        way = residual + now / left.clamp_min(tiny) * way
        left = now
    return (result.index_copy(0, open_, values) + middle) * hole
