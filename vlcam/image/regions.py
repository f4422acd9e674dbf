"""Regions of a picture: the top area of a map, and the same shape put down elsewhere at random.

A region is tested against others of its own size and shape, so that what is compared is the place alone: large regions change more than
small ones, and compact ones more than scattered ones. Shapes are turned over (mirrored) at random and put down where they fit
whole; where hardly any other place has room for them, they are shifted around the edges of the picture instead.
"""

from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError, Maps
from vlcam.image.geometry import make_resize_geometry, to_photo

AREA: Final = 0.1
"""The fraction of the picture that a map's top region covers, by default."""

_FEWEST: Final = 100
"""With fewer places to put a region down than this, it is shifted around the edges."""


def find_top_region(
    heat: Float[Tensor, "rows columns"], size: tuple[int, int], area: float = AREA
) -> Bool[Tensor, "height width"] | None:
    """The highest ``area`` of a map on a picture of ``(height, width)`` pixels; None if nothing in the map is positive and finite.

    The map is drawn bilinearly. Where less than ``area`` of it is positive, the region is what is positive. Pixels of equal heat at the
    edge of the region are taken in reading order.

    Raises InputError for an area that isn't above 0 and below 1.
    """
    if not 0 < area < 1:
        raise InputError(f"area={area} was given; expected a fraction of the picture, above 0 and below 1")
    drawn = draw_on_picture(heat[None], size)[0]
    drawn = torch.where(torch.isfinite(drawn), drawn, 0.0)
    wanted = min(max(1, round(area * drawn.numel())), int((drawn > 0).sum()))
    if wanted == 0:
        return None
    order = drawn.flatten().sort(descending=True, stable=True).indices
    region = torch.zeros(drawn.numel(), dtype=torch.bool, device=drawn.device)
    region[order[:wanted]] = True
    return region.reshape(drawn.shape)


def draw_on_picture(maps: Maps, size: tuple[int, int]) -> Float[Tensor, "targets height width"]:
    """Maps that cover a picture of ``(height, width)`` pixels evenly, drawn on it: bilinear, half-pixel centres."""
    height, width = size
    return to_photo(maps, make_resize_geometry((width, height), (width, height)))


def draw_random_regions(
    region: Bool[Tensor, "height width"], count: int, rng: np.random.Generator
) -> Bool[Tensor, "count height width"]:
    """``count`` regions of the same size and shape, each mirrored or not and put down at random."""
    height, width = region.shape
    rows, columns = torch.nonzero(region.any(1))[:, 0], torch.nonzero(region.any(0))[:, 0]
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    shape = region[top:bottom, left:right]
    down, across = height - shape.shape[0] + 1, width - shape.shape[1] + 1
    fits = down * across >= _FEWEST
    out = torch.zeros((count, height, width), dtype=torch.bool, device=region.device)
    for number in range(count):
        mirrored = [axis for axis in (0, 1) if rng.random() < 0.5]
        if fits:
            y, x = int(rng.integers(down)), int(rng.integers(across))
            out[number, y : y + shape.shape[0], x : x + shape.shape[1]] = shape.flip(mirrored)
        else:
            shifts = int(rng.integers(height)), int(rng.integers(width))
            out[number] = region.flip(mirrored).roll(shifts, (0, 1))
    return out
