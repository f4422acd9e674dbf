"""A heatmap on a photo: arrays in, array out.

Opacity follows the value, so the photo stays itself where the map is low, and a strong colour means a strong value and nothing
else. The blend is never rescaled by its own maximum: on a black photo a low map stays black.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.image.photo import read_pixels
from vlcam.render.colour import find_peak, get_colour_table, index_colours, is_diverging, read_heat, scale_values

OPACITY = 0.9
FULL = 0.8
"""From this fraction of the scale on, the heat has its full opacity."""
RISE = 1.5
"""How opacity rises below that: a little late, so that the dark end of a colour table doesn't stain a bright photo."""


def compute_cover(parts: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """How much of the photo a value covers, before opacity: 0 at 0, more with its size, 1 from ``FULL`` on."""
    risen: Float[np.ndarray, "height width"] = np.minimum(np.abs(parts) / FULL, 1.0) ** RISE
    return risen


def overlay(
    photo: Any,
    heat: Shaped[np.ndarray, "heat_height heat_width"] | Shaped[Tensor, "heat_height heat_width"],
    *,
    scale: float | None = None,
    colours: str = "inferno",
    opacity: float = OPACITY,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay a raw heatmap over its photo.

    ``photo`` is an opaque array, tensor or PIL image, as :func:`vlcam.image.photo.open_photo` takes it (floats from 0 to 1, 16 bits and
    grey as well), ``heat`` an array or a tensor ``(height, width)`` of its size; what comes back is RGB of uint8.

    ``scale`` is the raw value of the strongest colour: give the same one to every map of a photo to make them comparable
    (default: the largest value of this map). Values at or below zero leave the photo as it is, unless ``colours`` is a diverging
    table. NaN marks pixels that the model didn't see; they are dimmed and hatched.
    """
    pixels, heat = read_pixels(photo), read_heat(heat)
    if pixels.shape[:2] != heat.shape:
        raise InputError(
            f"a heatmap of {heat.shape[1]} x {heat.shape[0]} on a photo of {pixels.shape[1]} x {pixels.shape[0]}; "
            "resize the map to the photo first (TargetView.heatmap() does that)"
        )
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity {opacity} was given; it must lie between 0 and 1")
    signed = is_diverging(colours)
    parts = scale_values(heat, find_peak(heat, signed=signed) if scale is None else scale, signed=signed).astype(
        np.float32
    )
    cover = (opacity * compute_cover(parts))[..., None]
    mixed = pixels * (1 - cover) + get_colour_table(colours)[index_colours(parts, signed=signed)] * cover
    unseen = np.isnan(heat)
    if unseen.any():
        mixed[unseen] = _hatch(pixels)[unseen]
    return _to_bytes(mixed)


def draw_contour(
    picture: Any,
    heat: Shaped[np.ndarray, "height width"] | Shaped[Tensor, "height width"],
    level: float,
    *,
    thickness: int = 1,
    strength: float = 1.0,
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture with a white line, dark on its outside, around the part of a map above ``level``: legible without colours.

    ``picture`` and ``heat`` are what :func:`overlay` takes; what comes back is RGB of uint8.

    ``strength`` (0 to 1) fades the line; no line is drawn where the map ends because the model saw no more of the photo.
    """
    pixels, heat = read_pixels(picture), read_heat(heat)
    if pixels.shape[:2] != heat.shape:
        raise InputError(
            f"a map of {heat.shape[1]} x {heat.shape[0]} on a picture of {pixels.shape[1]} x {pixels.shape[0]}; resize the map first"
        )
    above = np.nan_to_num(heat, nan=-np.inf) >= level
    below = ~above & ~np.isnan(heat)
    near_above, near_below = above, below
    for _ in range(thickness):
        near_above, near_below = grow_region(near_above), grow_region(near_below)
    drawn = pixels.astype(np.float32)
    drawn[below & near_above] *= 1 - 0.5 * strength
    line = above & near_below
    drawn[line] += (255 - drawn[line]) * strength
    return _to_bytes(drawn)


def _to_bytes(picture: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    rounded: UInt8[np.ndarray, "height width 3"] = np.rint(picture).astype(np.uint8)
    return rounded


def grow_region(region: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """A region and its neighbours above, below, left and right."""
    padded = np.pad(region, 1, mode="edge")
    grown: Bool[np.ndarray, "height width"] = (
        padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    )
    return grown


def _hatch(photo: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """The photo drained of colour and pulled to grey, under thin diagonal lines."""
    height, width = photo.shape[:2]
    grey = photo.mean(axis=2, keepdims=True, dtype=np.float32)
    dimmed = np.repeat(0.35 * grey + 0.65 * 128, 3, axis=2)
    step = max(6, round(max(height, width) / 48))
    diagonal = (np.arange(height)[:, None] + np.arange(width)[None, :]) % step
    dimmed[diagonal < max(1, step // 6)] = 200
    return dimmed
