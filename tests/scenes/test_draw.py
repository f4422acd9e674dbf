"""Sampled scenes and their drawing: rules of the layout, agreement of picture, masks and boxes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from inspect import unwrap
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vlcam.scenes.backdrop import draw_backdrop
from vlcam.scenes.draw import draw_image, draw_masks, find_boxes
from vlcam.scenes.record import (
    BACKGROUNDS,
    COLOURS,
    PIXELS,
    SHAPES,
    SIZES,
    SPLITS,
    TEXTURES,
    UNSEEN_PAIRS,
    SceneObject,
    Split,
)
from vlcam.scenes.sample import PALETTE, make
from vlcam.scenes.scene import Scene
from vlcam.scenes.shapes import DISTANCES, EXTENTS, make_full_mask


def _scenes(n: int, split: Split = "test") -> list[Scene]:
    return [make(seed, split) for seed in range(n)]


def _hue(colour: Iterable[float]) -> NDArray[np.float64]:
    """The colour without brightness and greyness."""
    values = np.array(tuple(colour), dtype=np.float64)
    pure: NDArray[np.float64] = (values - values.min()) / max(float(np.ptp(values)), 1e-6)
    return pure


def unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as users run it: without the type checks of the test run, which would catch a wrong type first."""
    plain: Callable[..., Any] = unwrap(function)
    return plain


@pytest.mark.parametrize("split", SPLITS)
def test_same_seed_same_bytes(split: Split) -> None:
    assert make(7, split) == make(7, split)
    assert draw_image(make(7, split), 64).tobytes() == draw_image(make(7, split), 64).tobytes()
    assert unchecked(make)(np.int64(7), split) == make(7, split)


DIGEST = """
from hashlib import sha256
from vlcam.scenes.record import SPLITS
from vlcam.scenes.sample import make
found = sha256()
for split in SPLITS:
    for seed in (*range(8), 42, 59, 106):
        scene = make(seed, split)
        found.update(scene.image().tobytes() + scene.masks().tobytes() + scene.image(128).tobytes())
print(found.hexdigest())
"""


@pytest.mark.parametrize(
    "processor",
    [
        {},
        {"OPENBLAS_CORETYPE": "Nehalem"},
        {"NPY_DISABLE_CPU_FEATURES": "AVX512_SPR AVX512_ICL AVX512_SKX X86_V4 X86_V3"},
    ],
    ids=str,
)
def test_same_bytes_on_every_processor(processor: dict[str, str]) -> None:
    given = [sys.executable, "-W", "ignore", "-c", DIGEST]
    ran = subprocess.run(given, env={**os.environ, **processor}, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "d48563adea5d40a7cd49b4bd7b1e61ec5001bc22c6535f001f568f8f5c15cfec"


def test_splits_and_seeds_differ() -> None:
    scenes = [make(seed, split) for split in SPLITS for seed in range(50)]
    assert len({scene.objects for scene in scenes}) == len(scenes)
    assert len({scene.background_seed for scene in scenes}) == len(scenes)


def test_large_seed() -> None:
    assert make(2**70).seed == 2**70


@pytest.mark.parametrize("size", [1, 7, 48, PIXELS, 131])
def test_types_and_shapes(size: int) -> None:
    scene = make(3)
    n = len(scene.objects)
    picture, mask, box = scene.image(size), scene.masks(size), scene.boxes(size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert mask.shape == (n, size, size) and mask.dtype == np.bool_
    assert box.shape == (n, 4) and box.dtype == np.int64


def test_default_size() -> None:
    scene = make(5)
    assert draw_image(scene).shape == (PIXELS, PIXELS, 3)
    np.testing.assert_array_equal(draw_image(scene), scene.image(PIXELS))


def test_masks_are_disjoint_and_the_front_object_wins() -> None:
    for scene in _scenes(40):
        found = draw_masks(scene)
        assert found.sum(axis=0).max() == 1
        order = np.zeros((PIXELS, PIXELS), dtype=np.int64)
        for i, obj in enumerate(scene.objects):
            order[make_full_mask(obj, PIXELS)] = i + 1
        np.testing.assert_array_equal(order, (found * np.arange(1, len(found) + 1)[:, None, None]).sum(axis=0))


def test_boxes_are_tight() -> None:
    for scene in _scenes(40):
        for mask, (x0, y0, x1, y1) in zip(draw_masks(scene), find_boxes(scene), strict=True):
            inside = mask[y0:y1, x0:x1]
            assert inside.sum() == mask.sum() > 0
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_box_of_an_object_without_pixels_is_zero() -> None:
    scene = make(0)
    found = find_boxes(scene, 1)
    for mask, box in zip(draw_masks(scene, 1), found, strict=True):
        assert mask.any() or not box.any()


def test_layout_rules() -> None:
    overlapping = 0
    for scene in (*_scenes(200), make(20979)):  # the last one: the closest call of 24,000
        assert 2 <= len(scene.objects) <= 4
        full = [make_full_mask(obj, PIXELS) for obj in scene.objects]
        for a, b in combinations(full, 2):
            assert (a & b).sum() <= 0.25 * min(a.sum(), b.sum())
        overlapping += any((a & b).sum() > 0.04 * min(a.sum(), b.sum()) for a, b in combinations(full, 2))
        for whole, visible in zip(full, draw_masks(scene), strict=True):
            assert visible.sum() >= 0.75 * whole.sum()
            assert not (whole[0].any() or whole[-1].any() or whole[:, 0].any() or whole[:, -1].any())
    assert 20 <= overlapping <= 80


def test_attributes_are_the_contracts() -> None:
    scenes = _scenes(200)
    objects = [obj for scene in scenes for obj in scene.objects]
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    assert {obj.shape for obj in objects} == set(SHAPES)
    assert {obj.colour for obj in objects} == set(COLOURS)
    assert {obj.size for obj in objects} == set(SIZES)
    assert {obj.texture for obj in objects} == set(TEXTURES)
    assert min(t.radius for t in objects if t.size == "large") > 1.4 * max(
        t.radius for t in objects if t.size == "small"
    )
    assert any(len({obj.colour for obj in scene.objects}) < len(scene.objects) for scene in scenes)
    assert any(len({obj.pair for obj in scene.objects}) < len(scene.objects) for scene in scenes)


def test_large_covers_more_than_small_whatever_the_shape() -> None:
    objects = [obj for scene in _scenes(60) for obj in scene.objects]
    areas = {size: [int(make_full_mask(t, PIXELS).sum()) for t in objects if t.size == size] for size in SIZES}
    assert min(areas["large"]) > 1.7 * max(areas["small"])


@pytest.mark.parametrize("split", SPLITS)
def test_unseen_pairs_are_kept_apart(split: Split) -> None:
    for scene in _scenes(300, split):
        assert any(obj.pair in UNSEEN_PAIRS for obj in scene.objects) == (split == "unseen")


def test_colours_look_like_their_names() -> None:
    for scene in _scenes(120):
        picture = draw_image(scene)
        for obj, mask in zip(scene.objects, draw_masks(scene), strict=True):
            median = _hue(np.median(picture[mask] / 255.0, axis=0))
            gaps = {name: float(np.abs(median - _hue(colour)).sum()) for name, colour in PALETTE.items()}
            assert min(gaps, key=gaps.__getitem__) == obj.colour, (scene.seed, obj)


def test_stripes_show() -> None:
    """Saturation varies much more over striped things than over plain ones."""
    spread: dict[str, list[float]] = {"plain": [], "striped": []}
    for scene in _scenes(80):
        picture = draw_image(scene).astype(np.float64)
        for obj, mask in zip(scene.objects, draw_masks(scene), strict=True):
            pixels = picture[mask]
            grey = pixels.min(axis=1) / pixels.max(axis=1)
            spread[obj.texture].append(float(np.quantile(grey, 0.9) - np.quantile(grey, 0.2)))
    assert np.quantile(spread["striped"], 0.02) > np.quantile(spread["plain"], 0.98)


def test_mask_agrees_with_picture() -> None:
    """Away from outlines a picture with and without its last object differs inside the mask."""
    for scene in _scenes(20):
        last = scene.objects[-1]
        bare = replace(scene, objects=scene.objects[:-1])
        change = np.abs(draw_image(scene).astype(np.int64) - draw_image(bare)).max(axis=2)
        mask = draw_masks(scene)[-1]
        assert (change[mask] > 12).mean() > 0.9, (scene.seed, last)
        y, x = np.nonzero(change > 12)
        reach = last.radius * (EXTENTS[last.shape] + 0.7) * PIXELS + 1  # as far as the shadow goes
        assert np.hypot(x + 0.5 - last.x * PIXELS, y + 0.5 - last.y * PIXELS).max() < reach


def test_same_look_at_other_sizes() -> None:
    for scene in _scenes(12):
        small, large = draw_image(scene, 96).astype(np.float64), draw_image(scene, 192).astype(np.float64)
        halved = large.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
        assert np.abs(small - halved).mean() < 3.5
        pooled = draw_masks(scene, 192).reshape(-1, 96, 2, 96, 2).mean(axis=(2, 4))
        assert (np.abs(pooled - draw_masks(scene, 96)) > 0.75).mean() < 0.002


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_are_quiet_and_pale(kind: str) -> None:
    brightness = []
    for seed in range(8):
        ground = draw_backdrop(kind, seed, 1.5, 64)
        assert ground.shape == (64, 64, 3) and ground.dtype == np.float32
        assert np.quantile(ground.std(axis=(0, 1)), 0.5) < 0.12
        assert float(np.median(1.0 - ground.min(axis=2) / ground.max(axis=2))) < 0.45
        brightness.append(float(ground.mean()))
    assert max(brightness) - min(brightness) > 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_distances_are_distances(shape: str) -> None:
    line = np.linspace(-1.6, 1.6, 321, dtype=np.float32)
    x, y = np.meshgrid(line, -line)
    found = DISTANCES[shape](x, y)
    assert found.dtype == np.float32
    slope = np.hypot(*np.gradient(found.astype(np.float64), 0.01))
    assert np.quantile(slope, 0.999) < 1.01 and np.median(slope) > 0.98
    area = float((found <= 0).mean()) * 3.21**2
    assert 2.2 < area < 2.6
    assert np.hypot(x, y)[found <= 0].max() < EXTENTS[shape]


def test_shapes_stand_upright() -> None:
    def rows(shape: str) -> NDArray[np.int64]:
        obj = SceneObject(shape, "red", "large", "plain", 0.5, 0.5, 0.3, 0.0, 0.0, PALETTE["red"])
        counts: NDArray[np.int64] = make_full_mask(obj, 60).sum(axis=1)
        return counts

    triangle, heart = rows("triangle"), rows("heart")
    assert triangle[:30].sum() < triangle[30:].sum()
    assert heart[:30].sum() > heart[30:].sum()


@pytest.mark.parametrize("seed", [-1, 1.5, "3", None, True])
def test_bad_seed(seed: object) -> None:
    with pytest.raises(ValueError, match=r"seed is .*: expected a whole number of 0 or more; pass") as caught:
        unchecked(make)(seed)
    assert repr(seed) in str(caught.value)


def test_bad_split() -> None:
    with pytest.raises(ValueError, match=r"unknown split 'dev': expected one of train, val, test, unseen; pass"):
        unchecked(make)(0, "dev")


@pytest.mark.parametrize("size", [0, -4, 2.0, "96", True])
def test_bad_size(size: object) -> None:
    for draw in (draw_image, draw_masks, find_boxes):
        with pytest.raises(ValueError, match=r"size is .*: expected a whole number of pixels, 1 or more; pass"):
            unchecked(draw)(make(0), size)
