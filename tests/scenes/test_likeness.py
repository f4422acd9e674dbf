"""Which pictures look like the bundled world."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.support.examples_of_explanations import paint
from vlcam.scenes.likeness import BOUNDS, looks_like_scene, measure_colours
from vlcam.scenes.sample import make


def as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(("size", "quality"), [(96, None), (384, None), (640, 75), (192, 95)])
def test_nearly_all_scenes_are_known(size: int, quality: int | None) -> None:
    pictures = [make(seed, split).image(size) for split in ("test", "unseen") for seed in range(30)]
    known = [looks_like_scene(one if quality is None else as_jpeg(one, quality)) for one in pictures]
    assert sum(known) >= 57


def noise(size: int, blur: float, grey: bool) -> np.ndarray:
    """Blotches of colour, as out of focus."""
    values = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    picture = Image.fromarray(values).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(picture.convert("L").convert("RGB") if grey else picture)


OTHERS: list[tuple[str, Any]] = [
    ("a landscape", paint()),
    ("a landscape in grey", np.repeat(paint().mean(2, keepdims=True).astype(np.uint8), 3, 2)),
    ("black", np.zeros((50, 60, 3), np.uint8)),
    ("white", np.full((50, 60, 3), 255, np.uint8)),
    ("one colour", np.full((50, 60, 3), (200, 30, 40), np.uint8)),
    ("one pixel", np.full((1, 1, 3), 90, np.uint8)),
    ("noise", noise(100, 0, grey=False)),
    ("blotches", noise(100, 4, grey=False)),
    ("grey blotches", noise(100, 4, grey=True)),
    ("a scene in grey", np.repeat(make(3).image(96).mean(2, keepdims=True).astype(np.uint8), 3, 2)),
    ("a negative of a scene", 255 - make(3).image(96)),
    ("a dark scene", make(3).image(96) // 3),
]


@pytest.mark.parametrize("picture", [one for _, one in OTHERS], ids=[name for name, _ in OTHERS])
def test_other_pictures_are_not(picture: np.ndarray) -> None:
    assert not looks_like_scene(picture)


def test_what_is_measured_has_bounds() -> None:
    found = measure_colours(make(3).image(200))
    assert found is not None and found.keys() == BOUNDS.keys()
    assert all(low < high for low, high in BOUNDS.values())
