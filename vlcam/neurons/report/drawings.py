"""Small pictures for reports: where a unit fires on a photo, and that part cut out.

As in Network Dissection (arXiv 1704.05796, figure 4), the region is the unit's map, enlarged bilinearly, above its threshold T_k; what
lies outside is dimmed. The enlargement is that of :func:`vlcam.image.geometry.to_photo`, so crops and margins of the model's input stay in
their places. Pictures are JPEG bytes.
"""

import io
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from vlcam.contracts import Geometry
from vlcam.image.geometry import to_photo
from vlcam.render.blending import draw_contour

QUALITY: Final = 72
_DIMMED: Final = 0.42
_MARGIN: Final = 0.1  # of the region's sides, around a crop
_SMALLEST: Final = 1 / 8  # of the photo's longer side: the side of a crop
_THINNEST: Final = 8


def make_thumbnail(photo: Image.Image, side: int) -> UInt8[np.ndarray, "height width 3"]:
    """The photo with its longer side made ``side`` pixels long."""
    ratio = side / max(photo.size)
    width, height = (max(min(_THINNEST, side), round(one * ratio)) for one in photo.size)
    small = photo.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.array(small)


def place_on_photo(
    maps: Float[np.ndarray, "units rows columns"], geometry: Geometry, small: UInt8[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "units height width"]:
    """Maps on the pixels of a thumbnail; NaN where the model did not see the photo."""
    height, width = small.shape[:2]
    drawn: Float[np.ndarray, "units height width"] = to_photo(
        torch.from_numpy(np.array(maps, np.float32)), geometry, size=(width, height)
    ).numpy()
    return drawn


def draw_outline(
    small: UInt8[np.ndarray, "height width 3"],
    heat: Float[np.ndarray, "height width"],
    level: float,
    *,
    dim: bool = True,
) -> bytes:
    """The thumbnail with a line around where ``heat`` is above ``level``, and the rest dimmed; unchanged where nothing is."""
    region = _find_region(heat, level)
    if not region.any():
        return as_jpeg(small)
    picture = small
    if dim:
        picture = small.copy()
        picture[~region] = (small[~region] * _DIMMED).astype(np.uint8)
    line = np.where(np.isnan(heat), np.nan, region.astype(np.float64))
    return as_jpeg(draw_contour(picture, line, 0.5))


def crop(photo: Image.Image, heat: Float[np.ndarray, "height width"], level: float, side: int) -> bytes | None:
    """The connected region around the map's maximum, cut out as a square where the photo allows it; None if there is no region."""
    region = _find_region(heat, level)
    if not region.any():
        return None
    rows, columns = np.nonzero(_find_peak_region(np.where(region, heat, -np.inf), region))
    tall, wide = heat.shape
    middle, longest = [], max(photo.size) * _SMALLEST
    for found, cells, length in ((columns, wide, photo.width), (rows, tall, photo.height)):
        low, high = found.min() * length / cells, (found.max() + 1) * length / cells
        middle.append((low + high) / 2)
        longest = max(longest, (high - low) * (1 + 2 * _MARGIN))
    box = [0, 0, 0, 0]
    for axis, length in enumerate(photo.size):
        want = min(max(1, round(longest)), length)
        start = min(max(0, round(middle[axis] - want / 2)), length - want)
        box[axis], box[axis + 2] = start, start + want
    cut = photo.crop((box[0], box[1], box[2], box[3])).convert("RGB")
    cut.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return as_jpeg(np.array(cut))


def as_jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A picture as the bytes of a JPEG file."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def _find_region(heat: Float[np.ndarray, "height width"], level: float) -> Bool[np.ndarray, "height width"]:
    found: Bool[np.ndarray, "height width"] = np.nan_to_num(heat, nan=-np.inf, neginf=-np.inf) > level
    return found


def _find_peak_region(
    heat: Float[np.ndarray, "height width"], region: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """The part of a region, connected by its sides, that holds the largest value."""
    part = np.zeros_like(region)
    part.flat[int(heat.argmax())] = True
    size = 0
    while (now := int(part.sum())) > size:
        size = now
        part = _fill_rows(part, region)
        part = _fill_rows(part.T, region.T).T
    return part


def _fill_rows(
    part: Bool[np.ndarray, "height width"], region: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """All of each horizontal run of a region that has a pixel of the part in it."""
    starts = region.copy()
    starts[:, 1:] &= ~region[:, :-1]
    runs = starts.cumsum().reshape(region.shape)  # the number of the last run that began, counted from 1
    touched = np.zeros(int(runs[-1, -1]) + 1, np.bool_)
    touched[runs[part]] = True
    found: Bool[np.ndarray, "height width"] = touched[runs] & region
    return found
