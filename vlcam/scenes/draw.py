"""Drawing a scene with NumPy alone: shaded, softly lit objects with drop shadows on a quiet background.

The outline of every object is a signed distance function, so that picture and masks agree and look the same at any size.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vlcam.scenes.backdrop import compute_wave, draw_backdrop
from vlcam.scenes.record import PIXELS, AbstractScene, SceneObject
from vlcam.scenes.shapes import Floats, compute_distance, find_window, get_pixel_centres, make_full_mask

STRIPE_PERIOD: Final = 0.080
"""Width of one dark and one pale stripe together, as a fraction of the picture's side."""

_PALE_SHARE: Final = 0.40
_CREAM: Final = (1.0, 0.97, 0.90)
_LIGHT_HEIGHT: Final = 0.74  # z of the unit vector to the light
_SHADOW_SHIFT: Final = 0.34  # of the radius
_SHADOW_BLUR: Final = 0.30  # of the radius
_SHADOW_DEPTH: Final = 0.48
_ON_OBJECTS: Final = 0.5  # how strongly shadows fall on objects, compared with the background: colours must stay clear


def draw_image(scene: AbstractScene, size: int = PIXELS) -> NDArray[np.uint8]:
    """The picture of a scene, ``(size, size, 3)``, RGB."""
    _check_size(size)
    picture = draw_backdrop(scene.background, scene.background_seed, scene.light, size)
    ground = np.ones((size, size), dtype=np.float32)
    for obj in scene.objects:
        _draw_object(picture, ground, obj, scene.light, size)
    np.clip(picture, 0.0, 1.0, out=picture)
    picture *= 255.0
    picture += 0.5
    return picture.astype(np.uint8)


def draw_masks(scene: AbstractScene, size: int = PIXELS) -> NDArray[np.bool_]:
    """The visible part of each object, ``(objects, size, size)``: the front-most object that covers the pixel's centre."""
    _check_size(size)
    visible = np.zeros((len(scene.objects), size, size), dtype=np.bool_)
    taken = np.zeros((size, size), dtype=np.bool_)
    for i in range(len(scene.objects) - 1, -1, -1):
        mask = make_full_mask(scene.objects[i], size)
        visible[i] = mask & ~taken
        taken |= mask
    return visible


def find_boxes(scene: AbstractScene, size: int = PIXELS) -> NDArray[np.int64]:
    """The tight box around each visible mask, ``(objects, 4)``: x0, y0, x1, y1 (exclusive); all 0: no pixel."""
    _check_size(size)
    found = np.zeros((len(scene.objects), 4), dtype=np.int64)
    for i, mask in enumerate(draw_masks(scene, size)):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(columns):
            found[i] = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return found


def _check_size(size: object) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(
            f"size is {size!r}: expected a whole number of pixels, 1 or more; pass for example size={PIXELS}"
        )


def _smooth(t: Floats) -> Floats:
    """Smoothstep of values that are clipped to 0..1."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _draw_object(picture: Floats, ground: Floats, obj: SceneObject, light: float, size: int) -> None:
    """Lay an object's shadow and then the object itself over the picture; ``ground`` says how strongly shadows show."""
    radius = obj.radius
    towards = (math.cos(light), -math.sin(light))  # in the picture's plane, y down
    rows, columns = find_window(obj, size, radius * (_SHADOW_SHIFT + _SHADOW_BLUR))
    line = get_pixel_centres(size)
    ys, xs = line[rows], line[columns]
    away = radius * _SHADOW_SHIFT
    cast = compute_distance(obj, ys + away * towards[1], xs + away * towards[0])
    blur = radius * _SHADOW_BLUR
    shadow = _SHADOW_DEPTH * _smooth((blur - cast) / (2.0 * blur))
    depth = compute_distance(obj, ys, xs)
    contact = 0.28 * _smooth(1.0 - depth / (0.22 * radius))
    patch = picture[rows, columns]
    patch *= (1.0 - ground[rows, columns] * (shadow + contact - shadow * contact))[:, :, None]

    rows, columns = find_window(obj, size, 1.0 / size)
    ys, xs = line[rows], line[columns]
    depth = compute_distance(obj, ys, xs)
    cover = np.clip(0.5 - depth * size, 0.0, 1.0)
    shade, gloss = _compute_light(depth, obj, towards, size)
    stripes = _compute_stripes(obj, ys, xs, size) if obj.texture == "striped" else None
    patch = picture[rows, columns]
    keep = 1.0 - cover
    np.minimum(ground[rows, columns], _ON_OBJECTS + (1.0 - _ON_OBJECTS) * keep, out=ground[rows, columns])
    for i in range(3):
        colour: Floats | float = obj.tint[i]
        if stripes is not None:
            colour = obj.tint[i] + (_CREAM[i] - obj.tint[i]) * stripes
        body = colour * shade
        body += (1.0 - body) * gloss
        patch[:, :, i] = patch[:, :, i] * keep + np.minimum(body, 1.0) * cover


def _compute_light(depth: Floats, obj: SceneObject, towards: tuple[float, float], size: int) -> tuple[Floats, Floats]:
    """Brightness (about 1) and highlight (0..1) of a pillow: flat on top, rounded towards the outline."""
    bevel = 0.55 * obj.radius
    inside = np.clip(1.0 + depth / bevel, 0.0, 1.0)  # 1 at the outline, 0 on the flat top
    down, across = np.gradient(depth, 1.0 / size) if size > 1 else (np.zeros_like(depth), np.zeros_like(depth))
    tilt = 0.86 * inside
    up = np.sqrt(1.0 - tilt * tilt)
    flat = math.sqrt(1.0 - _LIGHT_HEIGHT**2)
    facing = tilt * (across * towards[0] + down * towards[1])
    lambert = flat * facing + _LIGHT_HEIGHT * up
    half = math.sqrt(2.0 + 2.0 * _LIGHT_HEIGHT)
    mirror = np.maximum((flat * facing + (_LIGHT_HEIGHT + 1.0) * up) / half, 0.0)
    for _ in range(5):  # to the power of 32
        mirror = mirror * mirror
    rim = _smooth(1.0 + depth / (0.13 * obj.radius))
    shade = (0.63 + 0.50 * lambert) * (1.0 - 0.16 * rim)
    return shade, 0.42 * mirror


def _compute_stripes(obj: SceneObject, ys: Floats, xs: Floats, size: int) -> Floats:
    """How pale the object is at each pixel, 0..1: soft-edged bars through its centre."""
    turn = 2.0 * math.pi / STRIPE_PERIOD
    across = (xs - obj.x) * (turn * math.cos(obj.stripe_angle))
    down = (ys - obj.y) * (turn * math.sin(obj.stripe_angle))
    bars = -compute_wave(np.cos, across[None, :] + down[:, None])  # the object's own colour runs through its centre
    steep = STRIPE_PERIOD * size / (2.0 * math.pi)
    pale: Floats = np.clip(0.5 + (bars - math.cos(math.pi * _PALE_SHARE)) * steep, 0.0, 1.0)
    return pale
