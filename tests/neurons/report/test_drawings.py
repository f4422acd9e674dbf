"""The small pictures of reports: which part of a map is cut out."""

import numpy as np
import pytest

from vlcam.neurons.report.drawings import _find_peak_region
from vlcam.render.blending import grow_region


def grow_around_the_peak(heat: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Pixel by pixel, until nothing is added."""
    part = np.zeros_like(region)
    part.flat[int(heat.argmax())] = True
    while (wider := grow_region(part) & region).sum() > part.sum():
        part = wider
    return part


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("size", [(1, 9), (9, 1), (12, 17), (30, 30)])
def test_the_region_around_the_peak_is_what_grows_from_it(size: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        heat = rng.random(size)
        region = rng.random(size) < share
        region.flat[rng.integers(region.size)] = True
        inside = np.where(region, heat, -np.inf)
        found = _find_peak_region(inside, region)
        assert (found == grow_around_the_peak(inside, region)).all()
        assert found.flat[inside.argmax()] and not (found & ~region).any()


def test_the_region_around_the_peak_may_wind() -> None:
    region = np.zeros((9, 9), np.bool_)
    region[::2] = True
    region[[1, 5], -1] = region[[3, 7], 0] = True
    heat = region.astype(np.float64)
    heat[8, 8] = 2
    assert (_find_peak_region(heat, region) == region).all()
    region[3, 0] = False
    assert (_find_peak_region(heat, region)[:4] == 0).all() and (
        _find_peak_region(heat, region)[4:] == region[4:]
    ).all()
