"""What every comparison of a map with a mask shares: the same frame, an answer to be had, and the pixels that the model saw.

A map is ``(height, width)`` with NaN where the model didn't see the photo (outside a centre crop, say); a mask is True on the object.
Three rules hold for all metrics of this package: an empty mask is an error, for the question has no answer; a map that says nothing
(zero everywhere) is a miss, or NaN where the formula divides by what it says; pixels that the model didn't see are left out of sums
and ranks, and no box, seed or point ever claims them.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError


def check_mask(heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"]) -> None:
    """Raises InputError unless the mask has the map's shape and covers a pixel."""
    if heat.shape != mask.shape:
        raise InputError(
            f"a map of {tuple(heat.shape)} and a mask of {tuple(mask.shape)} pixels were given; expected both in the same frame: "
            "resize one of them"
        )
    if not bool(mask.any()):
        raise InputError("the mask is empty, so nothing can be in it; leave such targets out")


def select_seen_pixels(
    heat: Float[Tensor, "height width"], mask: Bool[Tensor, "mask_height mask_width"]
) -> tuple[Float[Tensor, " pixels"], Bool[Tensor, " pixels"]] | None:
    """The map's values that aren't NaN, in float64, and whether each lies in the mask.

    None where no number can come of it: a value is infinite, or the model saw no pixel of the object.

    Raises InputError for an empty mask, or one of another shape.
    """
    check_mask(heat, mask)
    values, inside = heat.detach().double().cpu().flatten(), mask.cpu().flatten()
    seen = ~values.isnan()
    values, inside = values[seen], inside[seen]
    if not bool(inside.any()) or bool(values.isinf().any()):
        return None
    return values, inside


def unit_range(heat: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """The map with its lowest value at 0 and its highest at 1, as Choe et al. 2020 (arXiv 2001.07437) normalise before they threshold.

    A flat map becomes zero: it says nothing. NaN stays NaN; with an infinite value, everything seen becomes zero.

    >>> unit_range(torch.tensor([[1.0, 3.0, 5.0]]))
    tensor([[0.0000, 0.5000, 1.0000]])
    """
    seen = heat[~heat.isnan()]
    if not len(seen):
        return heat
    low, span = seen.min(), seen.max() - seen.min()
    if not bool(span > 0) or not bool(span.isfinite()):
        return torch.where(heat.isnan(), heat, torch.zeros_like(heat))
    return (heat - low) / span
