"""The five backgrounds: quiet materials of low contrast, the same look at any size."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from vlcam.scenes.shapes import Floats, get_pixel_centres

TAU: Final = 2.0 * math.pi


@lru_cache(maxsize=128)
def _compute_taps(size: int, cells: int) -> tuple[NDArray[np.int64], Floats]:
    """For each of ``size`` pixel centres: the first of the four lattice values around it, and their cubic B-spline weights."""
    place = (np.arange(size) + 0.5) / size * cells
    first = np.minimum(place.astype(np.int64), cells - 1)
    offset = np.abs(place[None] + 1.0 - first[None] - np.arange(4)[:, None])
    inner = 2.0 / 3.0 - offset**2 + offset**3 / 2.0
    outer = np.maximum(2.0 - offset, 0.0) ** 3 / 6.0
    return first, np.where(offset < 1.0, inner, outer).astype(np.float32)


def make_noise(rng: Generator, size: int, rows: int, columns: int) -> Floats:
    """Smooth noise about 0 (mostly within +-0.3) with this many cells down and across.

    Sums in a fixed order, not a matrix product, whose rounding depends on the processor: a picture is the same everywhere.
    """
    lattice = rng.random((rows + 3, columns + 3), dtype=np.float32) - np.float32(0.5)
    for cells in (rows, columns):  # down, then (turned) across
        first, weights = _compute_taps(size, cells)
        parts = [lattice[first + tap] * weights[tap][:, None] for tap in range(4)]
        lattice = ((parts[0] + parts[1]) + (parts[2] + parts[3])).T
    return lattice


def compute_wave(of: Callable[[NDArray[np.float64]], NDArray[np.float64]], angle: Floats) -> Floats:
    """``sin`` or ``cos`` of a float32 field, computed in float64: numpy's own for float32 differ between processors."""
    return of(angle.astype(np.float64)).astype(np.float32)


def _make_linen(rng: Generator, size: int) -> Floats:
    line = get_pixel_centres(size)
    threads = float(rng.uniform(19.0, 24.0))
    bars = compute_wave(np.cos, TAU * threads * line)
    weave = 0.045 * bars[:, None] * bars[None, :]
    slubs = 0.16 * make_noise(rng, size, 44, 5) + 0.16 * make_noise(rng, size, 5, 44)
    field: Floats = weave + slubs + 0.12 * make_noise(rng, size, 3, 3)
    return field


def _make_wood(rng: Generator, size: int) -> Floats:
    line = get_pixel_centres(size)
    planks = int(rng.integers(2, 4))
    at = line * planks + float(rng.random())
    index = at.astype(np.int64)
    tone = rng.uniform(-0.06, 0.06, planks + 2).astype(np.float32)[index]
    shift = rng.uniform(0.0, 5.0, planks + 2).astype(np.float32)[index]
    seam = np.abs(at - np.round(at)) * (1.0 / planks)
    tone = tone - 0.20 * np.clip(1.0 - seam / 0.009, 0.0, 1.0)
    warp = (line * float(rng.uniform(5.0, 8.0)) + shift)[:, None] + 2.4 * make_noise(rng, size, 7, 2)
    grain = 0.045 * compute_wave(np.sin, TAU * warp) + 0.26 * make_noise(rng, size, 64, 4)
    field: Floats = grain + tone[:, None]
    return field.T if rng.random() < 0.5 else field


def _make_stone(rng: Generator, size: int) -> Floats:
    rough = make_noise(rng, size, 3, 3) + 0.5 * make_noise(rng, size, 8, 8) + 0.3 * make_noise(rng, size, 20, 20)
    vein = rough + 0.5 * make_noise(rng, size, 5, 5)
    lines = 0.11 * np.clip(1.0 - np.abs(vein) / 0.035, 0.0, 1.0)
    sign = -1.0 if rng.random() < 0.6 else 0.8
    field: Floats = 0.30 * rough + sign * lines
    return field


def _make_sand(rng: Generator, size: int) -> Floats:
    line = get_pixel_centres(size)
    turn = float(rng.uniform(0.0, math.pi))
    across = (line * math.cos(turn))[None, :] + (line * math.sin(turn))[:, None]
    ripple = compute_wave(np.sin, TAU * (6.0 * across + 1.8 * make_noise(rng, size, 4, 4)))
    grains = make_noise(rng, size, 72, 72)
    field: Floats = (
        0.022 * ripple + 0.26 * grains + 0.5 * np.minimum(grains + 0.16, 0.0) + 0.12 * make_noise(rng, size, 3, 3)
    )
    return field


def _make_tiles(rng: Generator, size: int) -> Floats:
    line = get_pixel_centres(size)
    count = float(rng.uniform(2.6, 4.4))
    tones = rng.uniform(-0.055, 0.055, (7, 7)).astype(np.float32)
    index, edge = [], []
    for _ in range(2):
        at = line * count + float(rng.random())
        index.append(at.astype(np.int64))
        edge.append((np.abs(at - np.round(at)) / count).astype(np.float32))
    near = np.minimum(edge[0][:, None], edge[1][None, :])
    joint = np.clip((0.014 - near) / 0.009, 0.0, 1.0)
    bevel = np.clip((0.040 - near) / 0.026, 0.0, 1.0)
    depth = float(rng.choice((-0.22, -0.16, 0.13)))
    body = tones[index[0][:, None], index[1][None, :]] + 0.10 * make_noise(rng, size, 14, 14)
    field: Floats = body * (1.0 - joint) - 0.03 * bevel + depth * joint
    return field


_KINDS: Final[Mapping[str, Callable[[Generator, int], Floats]]] = {
    "linen": _make_linen,
    "wood": _make_wood,
    "stone": _make_stone,
    "sand": _make_sand,
    "tiles": _make_tiles,
}

# Hue range in degrees, saturation range, value range.
_TINTS: Final[Mapping[str, tuple[float, float, float, float, float, float]]] = {
    "linen": (20.0, 230.0, 0.03, 0.16, 0.66, 0.90),
    "wood": (22.0, 36.0, 0.20, 0.38, 0.46, 0.74),
    "stone": (0.0, 360.0, 0.02, 0.10, 0.52, 0.88),
    "sand": (30.0, 46.0, 0.12, 0.27, 0.70, 0.88),
    "tiles": (150.0, 260.0, 0.05, 0.18, 0.55, 0.84),
}


def draw_backdrop(kind: str, seed: int, light: float, size: int) -> Floats:
    """The background, ``(size, size, 3)``, sRGB in about 0..1: a tinted material, brighter towards the light."""
    rng = Generator(PCG64(seed))
    low_hue, high_hue, low_grey, high_grey, low_value, high_value = _TINTS[kind]
    hue = float(rng.uniform(low_hue, high_hue))
    grey = float(rng.uniform(low_grey, high_grey))
    value = float(rng.uniform(low_value, high_value))
    tone = 1.0 + _KINDS[kind](rng, size)
    middle = get_pixel_centres(size) - 0.5
    across = 0.20 * math.cos(light) * middle - 0.34 * middle * middle
    down = -0.20 * math.sin(light) * middle - 0.34 * middle * middle + 1.04
    tone = tone * (down[:, None] + across[None, :])
    picture = np.empty((size, size, 3), dtype=np.float32)
    for i, offset in enumerate((5.0, 3.0, 1.0)):
        k = (offset + hue / 60.0) % 6.0
        picture[:, :, i] = tone * (value * (1.0 - grey * max(0.0, min(k, 4.0 - k, 1.0))))
    return picture
