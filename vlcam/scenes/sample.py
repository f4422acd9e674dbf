"""Drawing scenes at random: what is in them and where it lies, the same for the same split and seed."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from vlcam.scenes.record import BACKGROUNDS, COLOURS, PIXELS, SHAPES, SPLITS, TEXTURES, UNSEEN_PAIRS, SceneObject, Split
from vlcam.scenes.scene import Scene
from vlcam.scenes.shapes import EXTENTS, make_full_mask

HUES: Final[Mapping[str, tuple[float, float, float]]] = {
    "red": (0.0, 0.86, 0.84),
    "orange": (27.0, 0.93, 0.97),
    "yellow": (53.0, 0.88, 0.97),
    "green": (132.0, 0.72, 0.62),
    "blue": (215.0, 0.80, 0.84),
    "purple": (284.0, 0.66, 0.70),
}
"""Hue in degrees, saturation and value of each named colour."""

_RADII: Final[Mapping[str, tuple[float, float]]] = {"small": (0.098, 0.113), "large": (0.167, 0.190)}
_MARGIN: Final = 0.02
_GRID: Final = 48
_OVERLAP: Final = 0.19  # stricter than the promised 0.25: the grid is coarse
_VISIBLE: Final = 0.81
_PROMISED: Final = 0.25  # checked at the models' size where the grid finds an overlap at all
_LAYOUTS: Final = 3
_TRIES: Final = 40


def hsv_to_rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """The sRGB values in 0..1 of a colour given by hue (degrees), saturation and value."""
    places = [(offset + hue / 60.0) % 6.0 for offset in (5.0, 3.0, 1.0)]
    red, green, blue = (value * (1.0 - saturation * max(0.0, min(k, 4.0 - k, 1.0))) for k in places)
    return red, green, blue


PALETTE: Final[Mapping[str, tuple[float, float, float]]] = {name: hsv_to_rgb(*hue) for name, hue in HUES.items()}
"""The named colours without jitter, sRGB in 0..1."""


def make(seed: int, split: Split = "test") -> Scene:
    """The scene of this split with this seed (0 or more); always the same one.

    Raises:
        ValueError: the seed is not a whole number of 0 or more, or there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}; pass one of these names")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed is {seed!r}: expected a whole number of 0 or more; pass for example seed=0")
    number = int(seed)
    rng = Generator(PCG64([SPLITS.index(split), number]))
    objects = _lay_out(rng, _make_objects(rng, unseen=split == "unseen"))
    return Scene(
        split=split,
        seed=number,
        objects=objects,
        background=_pick(rng, BACKGROUNDS),
        background_seed=int(rng.integers(2**31)),
        light=math.radians(float(rng.uniform(35.0, 145.0))),
    )


def _pick(rng: Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]


def _pick_pair(rng: Generator, earlier: list[tuple[str, str]]) -> tuple[str, str]:
    """A colour and a shape; each is sometimes that of an earlier object."""
    colour, shape = _pick(rng, COLOURS), _pick(rng, SHAPES)
    copy_colour, copy_shape = rng.random() < 0.32, rng.random() < 0.16
    if earlier and copy_colour:
        colour = earlier[int(rng.integers(len(earlier)))][0]
    if earlier and copy_shape:
        shape = earlier[int(rng.integers(len(earlier)))][1]
    return colour, shape


def _make_objects(rng: Generator, *, unseen: bool) -> list[SceneObject]:
    """Two to four objects, all still at the centre."""
    n = int(rng.choice((2, 3, 4), p=(0.25, 0.40, 0.35)))
    special = int(rng.integers(2)) if unseen else -1  # the first two objects are never left out
    pairs: list[tuple[str, str]] = []
    for i in range(n):
        pair = _pick_pair(rng, pairs)
        if i == special:
            pair = UNSEEN_PAIRS[int(rng.integers(len(UNSEEN_PAIRS)))]
        while not unseen and pair in UNSEEN_PAIRS:
            pair = _pick_pair(rng, pairs)
        pairs.append(pair)
    return [_make_object(rng, colour, shape) for colour, shape in pairs]


def _make_object(rng: Generator, colour: str, shape: str) -> SceneObject:
    hue, saturation, value = HUES[colour]
    size = "large" if rng.random() < 0.52 else "small"
    jitter = rng.uniform(-1.0, 1.0, 3)
    tint = hsv_to_rgb(
        hue + 4.0 * float(jitter[0]), saturation + 0.05 * float(jitter[1]), value + 0.03 * float(jitter[2])
    )
    return SceneObject(
        shape=shape,
        colour=colour,
        size=size,
        texture=_pick(rng, TEXTURES),
        x=0.5,
        y=0.5,
        radius=float(rng.uniform(*_RADII[size])),
        angle=float(rng.uniform(-0.35, 0.35)),
        stripe_angle=float(rng.uniform(0.0, math.pi)),
        tint=tint,
    )


def _compute_reach(obj: SceneObject) -> float:
    return obj.radius * EXTENTS[obj.shape]


def _lay_out(rng: Generator, wanted: list[SceneObject]) -> tuple[SceneObject, ...]:
    """Put the objects in their places; the last ones are left out where no layout has room for them."""
    touching = (
        int(rng.integers(1, len(wanted))) if rng.random() < 0.22 else 0
    )  # which object is to overlap an earlier one
    best: list[SceneObject] = []
    for _ in range(_LAYOUTS):
        placed = _try_layout(rng, wanted, touching)
        if len(placed) > len(best):
            best = placed
        if len(best) == len(wanted):
            break
    if len(best) < 2:  # two of any size have room in opposite corners
        best = [replace(wanted[0], x=0.28, y=0.28), replace(wanted[1], x=0.72, y=0.72)]
    return tuple(best)


def _try_layout(rng: Generator, wanted: list[SceneObject], touching: int) -> list[SceneObject]:
    """Place one object after the other, until one finds no room."""
    placed: list[SceneObject] = []
    masks: list[NDArray[np.bool_]] = []
    for i, obj in enumerate(wanted):
        found = None
        if touching and i == touching:
            found = _place(rng, obj, placed, masks, beside=placed[int(rng.integers(len(placed)))])
        if found is None:
            found = _place(rng, obj, placed, masks, beside=None)
        if found is None:
            return placed
        placed.append(found)
        masks.append(make_full_mask(found, _GRID))
    return placed


def _place(
    rng: Generator,
    obj: SceneObject,
    placed: list[SceneObject],
    masks: list[NDArray[np.bool_]],
    beside: SceneObject | None,
) -> SceneObject | None:
    """The object at a place clear of the others, or overlapping a little where it is to touch one of them."""
    low = _MARGIN + _compute_reach(obj)
    draws = rng.random((_TRIES, 2)).tolist()
    for u, v in draws:
        if beside is None:
            x, y = low + u * (1.0 - 2.0 * low), low + v * (1.0 - 2.0 * low)
        else:
            away, turn = (obj.radius + beside.radius) * (0.60 + 0.28 * u), 2.0 * math.pi * v
            x, y = beside.x + away * math.cos(turn), beside.y + away * math.sin(turn)
            if not (low <= x <= 1.0 - low and low <= y <= 1.0 - low):
                continue
        near = 0.50 if beside is not None else 0.85
        gaps = [math.hypot(x - other.x, y - other.y) for other in placed]
        if any(gap < near * (obj.radius + other.radius) for gap, other in zip(gaps, placed, strict=True)):
            continue
        candidate = replace(obj, x=x, y=y)
        if all(
            gap > 1.14 * _compute_reach(obj) + _compute_reach(other) for gap, other in zip(gaps, placed, strict=True)
        ):
            return candidate
        if _fits(candidate, masks, apart=beside is None):
            fine = [make_full_mask(other, PIXELS) for other in placed] if beside is not None else []
            if _overlaps_little(make_full_mask(candidate, PIXELS), fine, _PROMISED, 1 - _PROMISED):
                return candidate
    return None


def _fits(candidate: SceneObject, masks: list[NDArray[np.bool_]], *, apart: bool) -> bool:
    """Whether the candidate, in front of objects with these full masks, keeps to the overlap rule (or clear of them)."""
    if apart:
        grown = make_full_mask(replace(candidate, radius=1.14 * candidate.radius), _GRID)
        return not any(bool((grown & mask).any()) for mask in masks)
    return _overlaps_little(make_full_mask(candidate, _GRID), masks, _OVERLAP, _VISIBLE)


def _overlaps_little(front: NDArray[np.bool_], masks: list[NDArray[np.bool_]], most: float, least: float) -> bool:
    """Whether no two full masks share more than ``most`` of the smaller, and at least ``least`` of each stays visible."""
    area = int(front.sum())
    cover = front
    for mask in reversed(masks):
        full = int(mask.sum())
        if int((front & mask).sum()) > most * min(area, full):
            return False
        if int((mask & ~cover).sum()) < least * full:
            return False
        cover = cover | mask
    return True
