"""Boxes from maps, and how well they find objects, against slow twins written from the definitions."""

import math
from fractions import Fraction

import pytest
import torch

import vlcam
from vlcam.metrics import box_from_map, box_hit, iou, localisation_error, pointing_hit

Plane = list[list[float]]


def slow_box(plane: Plane, threshold: float) -> tuple[float, float, float, float] | None:
    """Selvaraju et al. 2017: binarise at a part of the maximum, flood-fill, and box the largest segment."""
    most = max(value for row in plane for value in row if not math.isnan(value))
    if most <= 0:
        return None
    left = {
        (i, j)
        for i, row in enumerate(plane)
        for j, value in enumerate(row)
        if not math.isnan(value) and value >= threshold * most
    }
    best: list[tuple[int, int]] = []
    for start in sorted(left):
        if start not in left:
            continue
        part, edge = [], [start]
        left.discard(start)
        while edge:
            i, j = edge.pop()
            part.append((i, j))
            for a in (i - 1, i, i + 1):
                for b in (j - 1, j, j + 1):
                    if (a, b) in left:
                        left.discard((a, b))
                        edge.append((a, b))
        if len(part) > len(best):
            best = part
    rows, columns = [i for i, _ in best], [j for _, j in best]
    return (min(columns), min(rows), max(columns) + 1, max(rows) + 1)


def slow_iou(one: tuple[int, ...], other: tuple[int, ...]) -> Fraction:
    """Everingham et al. 2010: the pixels in both by the pixels in either, counted one by one."""

    def pixels(box: tuple[int, ...]) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    either = pixels(one) | pixels(other)
    return Fraction(len(pixels(one) & pixels(other)), len(either)) if either else Fraction(0)


def _box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    return float(left), float(top), float(right), float(bottom)


@pytest.mark.parametrize("density", [0.1, 0.35, 0.5, 0.65, 0.9])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (13, 13), (40, 31)])
def test_the_box_is_that_of_a_flood_fill(density: float, shape: tuple[int, int]) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        heat = (torch.rand(shape, generator=generator, dtype=torch.float64) < density).double()
        heat *= torch.randint(1, 9, shape, generator=generator)
        for threshold in (0.15, 0.5, 1.0):
            assert box_from_map(heat, threshold=threshold) == slow_box(heat.tolist(), threshold)


def test_the_box_of_smooth_maps() -> None:
    for seed in range(20):
        grid = torch.randn(1, 1, 7, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).relu()
        heat = torch.nn.functional.interpolate(grid, (50, 60), mode="bilinear")[0, 0]
        heat[:, 57:] = math.nan  # not seen by the model
        assert box_from_map(heat) == slow_box(heat.tolist(), 0.15)
        assert box_from_map(heat * 1e-6) == box_from_map(heat)


def test_winding_parts_are_one() -> None:
    spiral = torch.tensor(
        [
            [1, 1, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 0, 1],
            [1, 0, 0, 0, 1, 0, 1],
            [1, 0, 1, 1, 1, 0, 1],
            [1, 0, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 1, 1],
        ]
    ).float()
    assert box_from_map(spiral) == (0, 0, 7, 7)
    spiral[3, 6] = 0  # cut in two: the inner arm is longer
    assert box_from_map(spiral) == (0, 2, 7, 7)
    assert box_from_map(torch.eye(5)) == (0, 0, 5, 5)  # pixels touch at their corners
    tie = torch.zeros(3, 5)
    tie[0, 3] = tie[2, 0] = 1
    assert box_from_map(tie) == (3, 0, 4, 1)  # the first in reading order


def test_maps_without_a_box() -> None:
    for heat in (torch.zeros(3, 3), -torch.ones(3, 3), torch.full((3, 3), math.nan), torch.full((3, 3), math.inf)):
        assert box_from_map(heat) is None and not box_hit(heat, [(0.0, 0.0, 3.0, 3.0)])
    assert box_from_map(torch.ones(3, 4)) == (0, 0, 4, 3)
    for threshold in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(vlcam.InputError, match=r"threshold=.* was given; expected a fraction of the map's maximum"):
            box_from_map(torch.ones(2, 2), threshold=threshold)


def test_iou_counts_pixels() -> None:
    corners = [
        (left, top, right, bottom)
        for left in range(3)
        for top in range(3)
        for right in range(left, 4)
        for bottom in range(top, 4)
    ]
    for one in corners:
        for other in corners:
            assert iou(_box(*one), _box(*other)) == pytest.approx(float(slow_iou(one, other)), abs=1e-15)
    assert iou((0.5, 0.0, 1.5, 1.0), (1.0, 0.0, 2.0, 1.0)) == pytest.approx(1 / 3)


def test_the_localisation_error_counts_photos() -> None:
    obj, half, less, far = _box(0, 0, 10, 10), _box(0, 0, 10, 5), _box(0, 0, 10, 4.9), _box(20, 20, 30, 30)
    assert localisation_error([obj, half, less, None], [[obj]] * 4) == 0.5
    assert localisation_error([obj], [[far, half, obj]]) == 0  # any of the boxes will do
    assert localisation_error([less, half], [[obj]] * 2, at_least=0.3) == 0
    assert localisation_error([less, half], [[obj]] * 2, at_least=0.7) == 1
    for found, truths in [([], []), ([obj], []), ([obj], [[obj], [far]])]:
        with pytest.raises(vlcam.InputError, match="expected one box"):
            localisation_error(found, truths)
    with pytest.raises(vlcam.InputError, match="without a true box"):
        localisation_error([obj], [[]])


def test_a_hit_is_in_a_box_or_near_it() -> None:
    """Against the definition of the pointing game: some pixel of the mask is less than the tolerance away (TorchRay's code)."""
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        heat = torch.rand(20, 30, generator=generator)
        left, top = (int(torch.randint(0, most, (), generator=generator)) for most in (25, 15))
        box = _box(left, top, left + 4, top + 3)
        mask = torch.zeros(20, 30, dtype=torch.bool)
        mask[top : top + 3, left : left + 4] = True
        assert box_hit(heat, [box]) == pointing_hit(heat, mask)
        row, column = divmod(int(heat.argmax()), 30)
        near = math.inf
        for i in range(20):
            for j in range(30):
                if mask[i, j]:
                    # from the pixel's middle to the nearest point of a pixel of the mask, pixels being 2 by 3 of the photo's
                    x = max(j - (column + 0.5), 0, (column + 0.5) - (j + 1)) * 2
                    y = max(i - (row + 0.5), 0, (row + 0.5) - (i + 1)) * 3
                    near = min(near, math.hypot(x, y))
        for tolerance in (1.0, 5.0, 15.0, 40.0):
            hit = near == 0 or near < tolerance
            assert box_hit(heat, [box], tolerance=tolerance, pixel=(2.0, 3.0)) == hit
        assert box_hit(heat, [_box(0, 0, 0, 0), _box(0, 0, 30, 20)])
    one = torch.zeros(1, 9)
    one[0, 0] = 1
    boxes = [(2.0, 0.0, 9.0, 1.0)]  # 1.5 from the middle of the first pixel
    assert [box_hit(one, boxes, tolerance=far) for far in (0.0, 1.5, 1.6)] == [False, False, True]
    with pytest.raises(vlcam.InputError, match="no boxes were given"):
        box_hit(one, [])
