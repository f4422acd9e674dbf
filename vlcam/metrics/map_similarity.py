"""How alike two maps are, by the four measures of Adebayo et al. 2018 (Sanity checks for saliency maps, arXiv 1810.03292).

Spearman's rank correlation of the maps as they are and of their absolute values; the structural similarity (SSIM: Wang et al. 2004,
doi 10.1109/TIP.2003.819861); and Pearson's correlation of histograms of oriented gradients (HOG: Dalal & Triggs 2005,
doi 10.1109/CVPR.2005.177). They see different things: a map
with its sign flipped is the opposite for the first and the same for the second.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError, show_record
from vlcam.metrics.correlation import pearson, spearman

WINDOW, SIGMA = 11, 1.5
"""The Gaussian window of SSIM (Wang et al. 2004)."""
BINS = 9
"""Orientations of a HOG, over half a turn."""
CELLS = 14
"""How many cells of a HOG lie along the shorter side: 16 of 224 pixels each, as in the paper's code."""


@final
@dataclass(frozen=True, eq=False)
class MapSimilarity:
    """The four similarities of two maps, ``(*targets)`` each, at most 1 (the same); NaN where a map says nothing."""

    spearman: Float[Tensor, "*targets"]
    spearman_abs: Float[Tensor, "*targets"]
    ssim: Float[Tensor, "*targets"]
    hog: Float[Tensor, "*targets"]

    __repr__ = show_record


def similarity(
    one: Float[Tensor, "*targets height width"], other: Float[Tensor, "*others other_height other_width"]
) -> MapSimilarity:
    """All four similarities of two maps on the same pixels, target by target; constant maps (all zero, say) give NaN.

    Raises InputError for maps of different shapes, or of fewer than 3 pixels a side.
    """
    return MapSimilarity(
        spearman(one, other), spearman(one.abs(), other.abs()), ssim(one, other), hog_similarity(one, other)
    )


def ssim(
    one: Float[Tensor, "*targets height width"], other: Float[Tensor, "*others other_height other_width"]
) -> Float[Tensor, "*targets"]:
    """The mean structural similarity, -1 to 1, of two maps that were each scaled from 0 to 1 (least to greatest): Wang et al. 2004.

    ``(2 m n + c1) (2 s_xy + c2) / ((m^2 + n^2 + c1) (s_x^2 + s_y^2 + c2))`` with means, variances and covariance in a Gaussian window
    of 11 pixels and sigma 1.5, ``c1 = 0.01^2``, ``c2 = 0.03^2``, averaged over windows that lie in the map and have no NaN. A smaller
    map gets the largest odd window that fits. NaN if there is no such window, a map is constant or has an infinite value.
    """
    pair = torch.stack(_scale_pair(one, other))
    size = min(WINDOW, *(side - 1 + side % 2 for side in pair.shape[-2:]))
    line = torch.exp(-0.5 * ((torch.arange(size, dtype=torch.float64, device=pair.device) - size // 2) / SIGMA) ** 2)
    line = line / line.sum()
    kernel = (line[:, None] * line)[None, None]

    def local(values: Tensor) -> Tensor:
        return F.conv2d(values[:, None], kernel)[:, 0]

    x, y = pair
    m, n = local(x), local(y)
    variances = local(x * x) - m * m + local(y * y) - n * n
    together = local(x * y) - m * n
    c1, c2 = 0.01**2, 0.03**2
    each = (2 * m * n + c1) * (2 * together + c2) / ((m * m + n * n + c1) * (variances + c2))
    return each.flatten(1).nanmean(1).view(one.shape[:-2])


def hog_similarity(
    one: Float[Tensor, "*targets height width"], other: Float[Tensor, "*others other_height other_width"]
) -> Float[Tensor, "*targets"]:
    """Pearson's correlation of the two maps' histograms of oriented gradients, -1 to 1; NaN if a map is constant or not finite.

    Pixels that are NaN in one map, and those that touch them, are without gradient in both.
    """
    x, y = _scale_pair(one, other)
    down, right = zip(_compute_slopes(x), _compute_slopes(y), strict=True)
    blind = (down[0] + down[1] + right[0] + right[1]).isnan()
    histograms = [hog(a.masked_fill(blind, 0), b.masked_fill(blind, 0)) for a, b in zip(down, right, strict=True)]
    good = [bool((p.isfinite().any() & q.isfinite().any()).item()) for p, q in zip(x, y, strict=True)]
    nan = torch.tensor(torch.nan, dtype=torch.float64, device=x.device)
    values = [pearson(p, q) if fine else nan for p, q, fine in zip(*histograms, good, strict=True)]
    return torch.stack(values).view(one.shape[:-2])


def hog(
    down: Float[Tensor, "maps height width"], right: Float[Tensor, "maps height width"]
) -> Float[Tensor, "maps features"]:
    """Histograms of oriented gradients from the slopes of maps: Dalal & Triggs 2005.

    Nine bins over half a turn, in each the mean length of the slopes whose direction falls into it; square cells, 14 along the shorter
    side (pixels left over at the bottom and right are not used); blocks of 3 x 3 cells at every cell, by their length, cut at 0.2, by
    their length again (L2-Hys).
    """
    height, width = down.shape[-2:]
    cell = max(1, min(height, width) // CELLS)
    rows, columns = height // cell, width // cell
    length = torch.hypot(down, right)
    part = torch.remainder(torch.atan2(down, right), torch.pi) * (BINS / torch.pi)
    bins = F.one_hot(part.long().clamp_max(BINS - 1), BINS).movedim(-1, 1).to(length) * length[:, None]
    cells = F.avg_pool2d(bins, cell)[..., :rows, :columns]
    size = min(3, rows, columns)
    blocks = cells.unfold(2, size, 1).unfold(3, size, 1).movedim(1, 3).flatten(3)

    def by_length(values: Tensor) -> Tensor:
        return values / (values.square().sum(-1, keepdim=True) + 1e-10).sqrt()

    return by_length(by_length(blocks).clamp_max(0.2)).flatten(1)


def target_similarity(maps: Float[Tensor, "targets height width"]) -> Float[Tensor, " targets"]:
    """How alike each target's map is to those of the other targets of the same image: the mean of Spearman's correlations with them.

    1 says that the method doesn't react to what it is asked about (see Sixt, Granz & Landgraf 2020, arXiv 1912.09818); the random
    logit test is the same with one other target drawn at random. Pairs with a map that is constant are left out; NaN for a
    map with no pair.

    Raises InputError for fewer than two maps.

    >>> one = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> target_similarity(torch.stack([one, one, -one])).tolist()
    [0.0, 0.0, -1.0]
    """
    count = len(maps)
    if count < 2:
        raise InputError(f"{count} map was given; expected those of at least two targets of one image, to compare")
    rows, columns = torch.triu_indices(count, count, 1, device=maps.device)
    table = torch.full((count, count), torch.nan, dtype=torch.float64, device=maps.device)
    table[rows, columns] = table[columns, rows] = spearman(maps[rows], maps[columns])
    return table.nanmean(1)


def _scale_pair(
    one: Float[Tensor, "*targets height width"], other: Float[Tensor, "*others other_height other_width"]
) -> tuple[Float[Tensor, "maps height width"], Float[Tensor, "maps height width"]]:
    """Both maps from 0 to 1 (least to greatest), float64; all NaN where that can't be."""
    if one.shape != other.shape or min(one.shape[-2:]) < 3:
        raise InputError(
            f"maps of shapes {tuple(one.shape)} and {tuple(other.shape)} were given; expected equal shapes of at least 3 pixels a side"
        )

    def scale(heat: Tensor) -> Tensor:
        flat = heat.detach().double().reshape(-1, *heat.shape[-2:])
        low = flat.masked_fill(flat.isnan(), torch.inf).amin((1, 2), keepdim=True)
        high = flat.masked_fill(flat.isnan(), -torch.inf).amax((1, 2), keepdim=True)
        fine = (low < high) & low.isfinite() & high.isfinite()
        return ((flat - low) / (high - low)).where(fine, torch.nan)

    return scale(one), scale(other)


def _compute_slopes(
    heat: Float[Tensor, "maps height width"],
) -> tuple[Float[Tensor, "maps height width"], Float[Tensor, "maps height width"]]:
    """Differences of the pixels on both sides, downwards and rightwards; 0 at the edges."""
    down, right = torch.zeros_like(heat), torch.zeros_like(heat)
    down[:, 1:-1] = heat[:, 2:] - heat[:, :-2]
    right[:, :, 1:-1] = heat[:, :, 2:] - heat[:, :, :-2]
    return down, right
