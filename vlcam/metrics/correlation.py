"""Rank correlation of maps, and with occlusion: the measure of faithfulness of the Grad-CAM paper.

Selvaraju et al. 2017 (arXiv 1610.02391), on faithfulness: an occlusion map has, at each place, how much the score falls when a patch
there is hidden. A method is faithful where its map ranks the places as that does. The correlation is Spearman's, of ranks: it asks for
no common unit and no common zero. The patch, its stride and its fill are not in the paper's text, so a correlation says little without
the ones it was made with.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError
from vlcam.metrics.scoring import ranks_something
from vlcam.metrics.statistics import average_ranks


def spearman(
    one: Float[Tensor, "*targets rows columns"], other: Float[Tensor, "*others other_rows other_columns"]
) -> Float[Tensor, "*targets"]:
    """Spearman's rank correlation of two maps, -1 to 1, for each target: Pearson's correlation of their average ranks (float64).

    Pixels that are NaN in one of the two are left out of both. NaN where there is no answer: fewer than two pixels are left, or one
    map is constant on them (all zero, say). Ties are exact; infinite values rank as the greatest and smallest.

    Raises InputError for maps of different shapes.

    >>> one = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> spearman(one, one**3).item(), spearman(one, -one).item(), spearman(one, torch.zeros(2, 2)).item()
    (1.0, -1.0, nan)
    """
    if one.shape != other.shape:
        raise InputError(
            f"maps of shapes {tuple(one.shape)} and {tuple(other.shape)} were given; expected equal shapes (to_grid resizes a map)"
        )
    pairs = zip(*(maps.reshape(-1, *maps.shape[-2:]) for maps in (one, other)), strict=True)
    return torch.stack([_correlate_ranks(a.flatten(), b.flatten()) for a, b in pairs]).view(one.shape[:-2])


def to_grid(heat: Float[Tensor, "*targets rows columns"], grid: tuple[int, int]) -> Float[Tensor, "*targets _ _"]:
    """A map on another grid ``(rows, columns)``: a cell is the mean of what it covers, NaN left out; NaN if it covers nothing else.

    Along a side that grows, values are interpolated linearly between the middles of pixels (half-pixel centres) instead; there NaN
    spreads to the cells that it takes part in.

    Raises InputError for a grid without cells.

    >>> to_grid(torch.tensor([[1.0, 3.0, float("nan"), 5.0]]), (1, 2)).tolist()
    [[2.0, 5.0]]
    """
    if min(grid) < 1:
        raise InputError(f"a grid of {grid[0]} x {grid[1]} cells was given; expected at least one row and one column")
    flat = heat.reshape(-1, 1, *heat.shape[-2:])
    smaller = (min(grid[0], heat.shape[-2]), min(grid[1], heat.shape[-1]))
    if smaller != heat.shape[-2:]:
        seen = ~flat.isnan()
        share = F.adaptive_avg_pool2d(seen.to(flat.dtype), smaller)
        flat = F.adaptive_avg_pool2d(flat.masked_fill(~seen, 0), smaller) / share
    if smaller != grid:
        flat = F.interpolate(flat, size=grid, mode="bilinear", align_corners=False)
    return flat.view(*heat.shape[:-2], *grid)


def occlusion_correlation(
    heat: Float[Tensor, "*targets rows columns"],
    occlusion: Float[Tensor, "*others occluded_rows occluded_columns"],
    *,
    grid: tuple[int, int] | None = None,
) -> Float[Tensor, "*targets"]:
    """Rank correlation of each target's map with its occlusion map, on one grid; NaN if one is constant or infinite.

    ``occlusion`` has how much the score *falls* when a place is hidden: positive where it speaks for the target. Both maps go to
    ``grid`` ``(rows, columns)`` by :func:`to_grid`; by default to the coarser of the two, side by side. On a finer grid, interpolated
    neighbours would only repeat what the coarser map says.

    Raises InputError for different numbers of targets.
    """
    if heat.shape[:-2] != occlusion.shape[:-2]:
        raise InputError(
            f"maps of shape {tuple(heat.shape)} and occlusion maps of shape {tuple(occlusion.shape)} were given; "
            "expected one occlusion map for each map"
        )
    if grid is None:
        grid = (min(heat.shape[-2], occlusion.shape[-2]), min(heat.shape[-1], occlusion.shape[-1]))
    values = spearman(to_grid(heat, grid), to_grid(occlusion.to(heat), grid))
    for maps in (heat, occlusion):  # rounding makes a constant map's cells differ a little
        fine = ranks_something(maps.reshape(-1, maps.shape[-2] * maps.shape[-1])).view(values.shape)
        values = values.where(fine.to(values.device), torch.nan)
    return values


def pearson(one: Float[Tensor, " values"], other: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    """Pearson's correlation of two rows of numbers, float64; NaN if one is constant or there are fewer than two."""
    nan = torch.tensor(torch.nan, dtype=torch.float64, device=one.device)
    if len(one) < 2 or bool(one.min() == one.max()) or bool(other.min() == other.max()):
        return nan
    a, b = one.double() - one.double().mean(), other.double() - other.double().mean()
    return (a @ b / ((a @ a) * (b @ b)).sqrt()).clamp(-1, 1)


def _correlate_ranks(one: Float[Tensor, " values"], other: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    seen = ~(one.isnan() | other.isnan())
    return pearson(average_ranks(one[seen]), average_ranks(other[seen]))
