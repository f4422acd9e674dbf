"""The pointing game without tolerance: does the map's highest point lie on the thing?

Zhang et al. 2016 (Top-down neural attention by excitation backprop), here with exact masks instead of boxes and no 15-pixel
tolerance. A map that is zero, negative or not finite points nowhere: that is a miss, never a hit on the first pixel.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def peak(heat: Float[Tensor, "height width"]) -> tuple[int, int] | None:
    """Row and column of the highest value; the first one of a tie. None if nothing is positive, or a value is infinite.

    NaN marks pixels that the model didn't see; they are passed over.

    >>> peak(torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    (1, 0)
    >>> peak(torch.zeros(2, 2)) is None
    True
    """
    seen = heat.nan_to_num(nan=-torch.inf, posinf=torch.inf)
    best = int(seen.argmax())
    top = float(seen.flatten()[best])
    if not 0 < top < float("inf"):
        return None
    return best // heat.shape[1], best % heat.shape[1]


def pointing_hit(heat: Float[Tensor, "height width"], mask: Bool[Tensor, "height width"]) -> bool:
    """Whether the map's highest point lies in the mask. Raises ValueError for an empty mask, where the question has no answer."""
    if not bool(mask.any()):
        raise ValueError("the mask is empty, so no point can be in it; leave such targets out of the game")
    point = peak(heat)
    return point is not None and bool(mask[point])


def oracle_map(mask: Bool[Tensor, "height width"], grid: tuple[int, int]) -> Float[Tensor, "rows columns"]:
    """The best map a grid can hold: the share of each cell that the mask covers. Its score is the ceiling at that resolution."""
    pooled: Tensor = F.adaptive_avg_pool2d(mask.float()[None, None], grid)
    return pooled[0, 0]
