"""A volume and its map, slice by slice."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.render.blending import OPACITY, overlay
from vlcam.render.colour import find_peak, is_diverging

_GAP = 4


def draw_slices(
    volume: Any,
    heat: Any,
    *,
    columns: int | None = None,
    scale: float | None = None,
    colours: str = "inferno",
    opacity: float = OPACITY,
) -> UInt8[np.ndarray, "height width 3"]:
    """The slices of a volume in rows, each under its slice of a map, all with one scale.

    Args:
        volume: ``(depth, rows, columns)`` grey values of any range, an array or a tensor; its lowest value is drawn black, its highest
            white.
        heat: a raw map ``(d, h, w)`` of it, such as ``vlcam.attribute(...).maps[0, 0]``; every slice of the volume gets the slice of
            the map at its depth, resized to it.
        columns: how many slices stand in a row; by default about as many as rows.
        scale: the raw value of the strongest colour; by default the largest value of the map.
        colours: a colour table, as for :func:`vlcam.render.overlay`.
        opacity: as there.

    Raises:
        InputError: anything that isn't a volume with a map of three axes.
    """
    grey, raw = _read_volume(volume, "volume"), _read_volume(heat, "map")
    low, high = float(grey.min()), float(grey.max())
    shown = np.rint((grey - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    depth, height, width = grey.shape
    if columns is not None and columns < 1:
        raise InputError(f"columns={columns} was given; expected at least 1")
    across = min(columns or int(np.ceil(np.sqrt(depth))), depth)
    down = -(-depth // across)
    peak = find_peak(raw.reshape(-1, raw.shape[2]), signed=is_diverging(colours)) if scale is None else scale
    sheet = np.full((down * (height + _GAP) - _GAP, across * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number in range(depth):
        place = min(int((number + 0.5) * len(raw) / depth), len(raw) - 1)
        resized = np.asarray(Image.fromarray(raw[place]).resize((width, height), Image.Resampling.BILINEAR))
        drawn = overlay(shown[number], resized, scale=peak, colours=colours, opacity=opacity)
        top, left = number // across * (height + _GAP), number % across * (width + _GAP)
        sheet[top : top + height, left : left + width] = drawn
    return sheet


def _read_volume(values: Any, what: str) -> Float[np.ndarray, "depth rows columns"]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "fiub":
        raise InputError(
            f"a {what} of {array.dtype} {array.shape} was given; expected numbers (depth, rows, columns) of one volume, with one channel"
        )
    plain = array.astype(np.float32)
    if not np.isfinite(plain).all():
        raise InputError(f"the {what} has values that are not finite; expected numbers")
    return plain
