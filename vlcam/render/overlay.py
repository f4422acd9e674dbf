"""A heatmap on a photo: arrays in, array out.

Opacity follows the value, so the photo stays itself where the map is low, and a strong colour means a strong value and nothing else. The
blend is never rescaled by its own maximum: on a black photo a low map stays black.
"""

from jaxtyping import Float, UInt8
import numpy as np

from vlcam.contracts import InputError
from vlcam.render.colour import index, is_diverging, peak, relative, table

OPACITY = 0.9
FULL = 0.7
"""From this part of the scale on, the heat has its full opacity; below, opacity is in proportion to the value."""


def alpha(parts: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """How much of the photo a value covers, before opacity: 0 at 0, in proportion to its size, 1 from ``FULL`` on."""
    return np.minimum(np.abs(parts) / FULL, 1.0)


def overlay(
    photo: UInt8[np.ndarray, "height width 3"],
    heat: Float[np.ndarray, "height width"],
    *,
    scale: float | None = None,
    colours: str = "inferno",
    opacity: float = OPACITY,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay a raw heatmap over its photo.

    ``scale`` is the raw value of the strongest colour: give the same one to every map of a photo to make them comparable (default: the
    largest value of this map). Values at or below zero leave the photo as it is, unless ``colours`` is a diverging table. NaN marks
    pixels that the model didn't see; they are dimmed and hatched.
    """
    if photo.shape[:2] != heat.shape:
        raise InputError(
            f"a heatmap of {heat.shape[1]} x {heat.shape[0]} on a photo of {photo.shape[1]} x {photo.shape[0]}; "
            "bring the map to the photo first (TargetView.heatmap() does)"
        )
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity {opacity} was given; it must lie between 0 and 1")
    signed = is_diverging(colours)
    parts = relative(heat, peak(heat, signed=signed) if scale is None else scale, signed=signed)
    cover = (opacity * alpha(parts))[..., None]
    mixed = photo * (1 - cover) + table(colours)[index(parts, signed=signed)] * cover
    unseen = np.isnan(heat)
    if unseen.any():
        mixed[unseen] = _hatched(photo)[unseen]
    return np.rint(mixed).astype(np.uint8)


def outline(heat: Float[np.ndarray, "height width"], level: float, *, thickness: int = 1) -> UInt8[np.ndarray, "height width"]:
    """Where a map crosses ``level``: 1 on the inner border of the region above it, for reading a figure without its colours."""
    above = np.nan_to_num(heat, nan=-np.inf) >= level
    inner = above
    for _ in range(thickness):
        padded = np.pad(inner, 1, mode="edge")
        inner = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return (above & ~inner).astype(np.uint8)


def _hatched(photo: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """The photo drained of colour and pulled to grey, under thin diagonal lines."""
    height, width = photo.shape[:2]
    grey = photo.mean(axis=2, keepdims=True)
    dimmed = np.repeat(0.35 * grey + 0.65 * 128, 3, axis=2)
    step = max(6, round(max(height, width) / 48))
    diagonal = (np.arange(height)[:, None] + np.arange(width)[None, :]) % step
    dimmed[diagonal < max(1, step // 6)] = 200
    return dimmed
