"""Otsu's threshold: the split of a map's values into two groups that lie farthest apart (Otsu 1979).

For every threshold t it weighs the between-class variance

    w(t) * (1 - w(t)) * (mean above t - mean up to t) ** 2,    w(t) = share of pixels up to t

and takes the largest. Others first round the map to 256 levels; here every value of the map is a level, so that no scale is chosen and
the split is the same for a map and for any multiple of it. On maps with whole numbers both are the same.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_EQUAL = 1e-12
"""Variances closer than this fraction of the largest are equal: they differ by rounding."""


def otsu_threshold(heat: Float[Tensor, "height width"]) -> float | None:
    """The highest value of the lower group, in the map's units: what is above it stands out.

    Negative values count as 0, and NaN pixels not at all. Of equally good splits it is the lowest. None where nothing stands out: the
    map is zero, flat, or has an infinite value.

    >>> otsu_threshold(torch.tensor([[0.0, 1.0, 8.0, 9.0]]))
    1.0
    >>> otsu_threshold(torch.zeros(2, 2)) is None
    True
    """
    values = heat.detach().double().cpu()
    values = values[~values.isnan()].relu()
    levels, counts = values.unique(return_counts=True)
    if len(levels) < 2 or not bool(levels[-1].isfinite()):
        return None
    scaled = levels / levels[-1]  # keeps squares of tiny values from vanishing
    below = counts.cumsum(0).double()[:-1]
    above = len(values) - below
    sums = (counts * scaled).cumsum(0)
    apart = (sums[-1] - sums[:-1]) / above - sums[:-1] / below
    between = below * above * apart**2
    return float(levels[int((between >= between.max() * (1 - _EQUAL)).nonzero()[0])])


def otsu_mask(heat: Float[Tensor, "height width"]) -> Bool[Tensor, "height width"]:
    """The pixels above Otsu's threshold; none if nothing stands out, and never a NaN pixel.

    >>> otsu_mask(torch.tensor([[0.0, 1.0, 8.0, 9.0]]))
    tensor([[False, False,  True,  True]])
    """
    threshold = otsu_threshold(heat)
    return heat.double() > (torch.inf if threshold is None else threshold)
