"""Display steps: what may be done to a raw map before it is drawn, each by its name.

A raw map says what each cell of a layer adds to a score. An object's evidence often lies in a ring of cells around it, and a map drawn
from its least to its largest value shows much that hardly matters. The steps mend that for the eye, and for measures that look at all of a
map, but they assume objects of a few cells: they are never part of a method, they are named on the result, and the raw map stays.

- ``box3``: the mean over 3 x 3 cells, along the sides of the grid that have at least 7 cells (on fewer, three cells aren't near
  each other); beyond the border there is nothing, so that a cell there counts for less than one with neighbours;
- ``square``, ``cube``: the second or third power. The peak keeps its value, so that maps of one caption can still be compared.

A guided filter (:func:`follow_edges`, ``view.heatmap(guided=True)``) works on the photo's pixels instead, and is never taken by itself:
it moves a map to the edges of the photo, which the model need not have looked at.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError, Maps, find_name

FEWEST: Final = 7
"""How many cells a side of the grid must have to be averaged along it."""

_POWERS: Final = {"square": 2, "cube": 3}

STEPS: Final = ("box3", *_POWERS)
"""The names of the steps."""


def apply_steps(maps: Maps, steps: Sequence[str]) -> Maps:
    """Positive maps after the steps, in their order, each map with the peak that it had. Raises InputError for an unknown step.

    >>> apply_steps(torch.tensor([[[0.0, 1.0, 2.0]]]), ["square"]).tolist()
    [[[0.0, 0.5, 2.0]]]
    """
    if not steps:
        return maps
    drawn = maps
    for step in steps:
        known = find_name(step, STEPS, "display step")
        drawn = _average(drawn) if known == "box3" else drawn.clamp_min(0) ** _POWERS[known]
    before, after = (one.amax((1, 2), keepdim=True) for one in (maps, drawn))
    usable = after > 0
    return torch.where(usable, drawn * before / torch.where(usable, after, 1), 0)


def check_steps(steps: Sequence[str]) -> tuple[str, ...]:
    """The names of steps as a tuple. Raises InputError for an unknown one, or for a string in place of a list."""
    if isinstance(steps, str):
        raise InputError(f"display steps {steps!r} were given; expected a list of names, such as ['box3', 'cube']")
    return tuple(find_name(one, STEPS, "display step") for one in steps)


def filter_by_guide(
    heat: Float[Tensor, "height width"], guide: Float[Tensor, "3 height width"], radius: int, smoothness: float = 1e-3
) -> Float[Tensor, "height width"]:
    """The colour guided filter: a heatmap whose edges follow those of the photo (He et al. 2010, eq. 14 to 16).

    Args:
        heat: a finite heatmap on the photo's pixels.
        guide: the photo, from 0 to 1.
        radius: of the square window, in pixels.
        smoothness: epsilon, by how much colours must differ to make an edge (squared).
    """
    values = torch.cat([guide, heat[None]]).double()
    means = _blur(values, radius)
    colours, mean = means[:3], means[3]
    pairs = _blur((values[:3, None] * values[None]).flatten(0, 1), radius).unflatten(0, (3, 4))
    spread = pairs[:, :3] - colours[:, None] * colours[None]
    shared = pairs[:, 3] - colours * mean
    matrix = spread.permute(2, 3, 0, 1) + smoothness * torch.eye(3, dtype=torch.float64, device=heat.device)
    slope = torch.linalg.solve(matrix, shared.permute(1, 2, 0)[..., None])[..., 0].permute(2, 0, 1)
    offset = mean - (slope * colours).sum(0)
    smooth = _blur(torch.cat([slope, offset[None]]), radius)
    return ((smooth[:3] * values[:3]).sum(0) + smooth[3]).to(heat.dtype)


def follow_edges(
    heat: Float[Tensor, "height width"], pixels: UInt8[np.ndarray, "rows columns 3"], cell: tuple[float, float]
) -> Float[Tensor, "height width"]:
    """A heatmap on the photo's pixels, with the edges of the photo: :func:`filter_by_guide` with a window of one cell.

    Args:
        heat: the heatmap; NaN where the model did not see the photo, which stays NaN.
        pixels: the photo, perhaps at a smaller size, at which the filter then works.
        cell: width and height of the grid's cells, in pixels of the heatmap.
    """
    seen = heat.isfinite()
    if not bool(seen.any()):
        return heat
    height, width = heat.shape
    rows, columns = (_find_range(seen.any(axis)) for axis in (1, 0))
    ratio = min(1.0, pixels.shape[0] / height)
    size = max(1, round((rows[1] - rows[0]) * ratio)), max(1, round((columns[1] - columns[0]) * ratio))
    guide = torch.tensor(pixels, device=heat.device).permute(2, 0, 1).to(torch.float32) / 255
    guide = _resize(guide, (max(1, round(height * ratio)), max(1, round(width * ratio))))
    top, left = round(rows[0] * ratio), round(columns[0] * ratio)
    guide = _resize(guide[:, top : top + size[0], left : left + size[1]], size)
    own = heat[slice(*rows), slice(*columns)]
    radius = max(1, min(round(min(cell) * ratio / 2), (min(size) - 1) // 2))
    found = filter_by_guide(_resize(own.nan_to_num()[None], size)[0], guide, radius)
    whole = heat.clone()
    whole[slice(*rows), slice(*columns)] = _resize(found[None], (own.shape[0], own.shape[1]))[0]
    return torch.where(seen, whole, heat)


def _find_range(marked: Bool[Tensor, " pixels"]) -> tuple[int, int]:
    """From the first that is marked to the one after the last."""
    found = marked.nonzero()
    return int(found[0]), int(found[-1]) + 1


def _resize(
    planes: Float[Tensor, "planes height width"], size: tuple[int, int]
) -> Float[Tensor, "planes rows columns"]:
    if planes.shape[1:] == size:
        return planes
    found: Tensor = F.interpolate(planes[None], size, mode="bilinear", align_corners=False)[0]
    return found


def _average(maps: Maps) -> Maps:
    """The mean over three neighbouring cells, along every side that is long enough, with zeros outside."""
    rows, columns = (3 if side >= FEWEST else 1 for side in maps.shape[1:])
    padding = rows // 2, columns // 2
    found: Tensor = F.avg_pool2d(maps[None], (rows, columns), 1, padding)[0]
    return found


def _blur(values: Float[Tensor, "planes height width"], radius: int) -> Float[Tensor, "planes height width"]:
    size = 2 * radius + 1
    found: Tensor = F.avg_pool2d(values[None], size, 1, radius, count_include_pad=False)[0]
    return found
