"""Signed distance functions of the six shapes, scaled so that all shapes of one radius cover about the same area.

Every function takes coordinates in the shape's own frame (x to the right, y **up**, radius one) and returns the
distance to the outline, negative inside. Corners are slightly rounded.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vlcam.scenes.record import SceneObject

Floats = NDArray[np.floating[Any]]
Distance = Callable[[Floats, Floats], Floats]


def circle(x: Floats, y: Floats) -> Floats:
    """A disc."""
    return np.sqrt(x * x + y * y) - 0.87


def square(x: Floats, y: Floats) -> Floats:
    """A square that stands on a side."""
    inset, round_ = 0.70, 0.08
    qx, qy = np.abs(x) - inset, np.abs(y) - inset
    ox, oy = np.maximum(qx, 0), np.maximum(qy, 0)
    found: Floats = np.sqrt(ox * ox + oy * oy) + np.minimum(np.maximum(qx, qy), 0) - round_
    return found


def triangle(x: Floats, y: Floats) -> Floats:
    """An equilateral triangle, one corner up."""
    half, round_, k = 1.04, 0.07, math.sqrt(3.0)
    px, py = np.abs(x) - half, y + (half / k - 0.06)
    fold = px + k * py > 0
    fx = np.where(fold, (px - k * py) * 0.5, px)
    fy = np.where(fold, (-k * px - py) * 0.5, py)
    fx = fx - np.clip(fx, -2.0 * half, 0.0)
    found: Floats = -np.sqrt(fx * fx + fy * fy) * np.sign(fy) - round_
    return found


def star(x: Floats, y: Floats) -> Floats:
    """A star of five points, one up."""
    outer, ratio, round_ = 1.18, 0.47, 0.05
    ax, ay = math.cos(math.pi / 5), math.sin(math.pi / 5)
    px, py = np.abs(x), y
    d = 2.0 * np.maximum(px * ax - py * ay, 0)
    px, py = px - d * ax, py + d * ay
    d = 2.0 * np.maximum(-px * ax - py * ay, 0)
    px, py = px + d * ax, py + d * ay
    px, py = np.abs(px), py - outer
    bx, by = ratio * ay, ratio * ax - 1.0
    h = np.clip((px * bx + py * by) / (bx * bx + by * by), 0.0, outer)
    ox, oy = px - bx * h, py - by * h
    return np.sqrt(ox * ox + oy * oy) * np.sign(py * bx - px * by) - round_


def cross(x: Floats, y: Floats) -> Floats:
    """A plus sign."""
    arm, half, round_ = 0.96, 0.31, 0.05
    a, b = np.abs(x), np.abs(y)
    px, py = np.maximum(a, b), np.minimum(a, b)
    qx, qy = px - arm, py - half
    k = np.maximum(qx, qy)
    outside = k > 0
    wx = np.maximum(np.where(outside, qx, half - px), 0)
    wy = np.maximum(np.where(outside, qy, -k), 0)
    found: Floats = np.sign(k) * np.sqrt(wx * wx + wy * wy) - round_
    return found


def heart(x: Floats, y: Floats) -> Floats:
    """A heart, its tip down."""
    scale, round_ = 1.58, 0.04
    px, py = np.abs(x) / scale, y / scale + 0.60
    lx, ly = px - 0.25, py - 0.75
    lobe = np.sqrt(lx * lx + ly * ly) - math.sqrt(2.0) / 4.0
    half = 0.5 * np.maximum(px + py, 0)
    upper = px * px + (py - 1.0) ** 2
    lower = (px - half) ** 2 + (py - half) ** 2
    flank = np.sqrt(np.minimum(upper, lower)) * np.sign(px - py)
    return np.where(px + py > 1.0, lobe, flank) * scale - round_


DISTANCES: Final[Mapping[str, Distance]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "cross": cross,
    "heart": heart,
}

EXTENTS: Final[Mapping[str, float]] = {
    "circle": 0.88,
    "square": 1.08,
    "triangle": 1.34,
    "star": 1.24,
    "cross": 1.08,
    "heart": 1.08,
}
"""Radius of a circle around the shape's centre that holds all of it, in units of the object's radius."""


@lru_cache(maxsize=16)
def get_pixel_centres(size: int) -> Floats:
    """The coordinates of the pixel centres along one side, as fractions of it (shared: do not write to it)."""
    line = ((np.arange(size) + 0.5) / size).astype(np.float32)
    line.flags.writeable = False
    return line


def find_window(obj: SceneObject, size: int, pad: float) -> tuple[slice, slice]:
    """Rows and columns of the pixels that can be within ``pad`` (a fraction of the side) of the object."""
    reach = obj.radius * EXTENTS[obj.shape] + pad
    spans = []
    for centre in (obj.y, obj.x):
        low = min(max(math.floor((centre - reach) * size) - 1, 0), size)
        high = max(min(math.ceil((centre + reach) * size) + 1, size), 0)
        spans.append(slice(low, max(low, high)))
    return spans[0], spans[1]


def compute_distance(obj: SceneObject, rows: Floats, columns: Floats) -> Floats:
    """Signed distance to the object's outline, as a fraction of the side, on the grid of these coordinates."""
    c, s = math.cos(obj.angle) / obj.radius, math.sin(obj.angle) / obj.radius
    dx, dy = (columns - obj.x)[None, :], (rows - obj.y)[:, None]
    return DISTANCES[obj.shape](dx * c + dy * s, dx * s - dy * c) * obj.radius


def make_full_mask(obj: SceneObject, size: int) -> NDArray[np.bool_]:
    """The pixels whose centre the object covers, whatever lies in front of it, ``(size, size)``."""
    rows, columns = find_window(obj, size, 0.0)
    line = get_pixel_centres(size)
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[rows, columns] = compute_distance(obj, line[rows], line[columns]) <= 0
    return mask
