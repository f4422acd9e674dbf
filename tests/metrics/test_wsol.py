"""Weakly supervised localisation: the sweep over thresholds against a flood fill at each, table 1's error, and PxAP."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import vlcam
from vlcam.image.geometry import Box
from vlcam.metrics import (
    RankedError,
    RankedHit,
    best_box_ious,
    box_from_map,
    iou,
    localisation_error,
    max_box_acc,
    pixel_counts,
    pxap,
    ranked_error,
    ranked_hit,
    unit_range,
)

NAN, INF = math.nan, math.inf


def slow_parts(inside: set[tuple[int, int]]) -> list[tuple[int, Box]]:
    """Every 8-connected part by flood fill, in reading order: its size and box."""
    left, parts = set(inside), []
    for start in sorted(inside):
        if start not in left:
            continue
        part, edge = [], [start]
        left.discard(start)
        while edge:
            i, j = edge.pop()
            part.append((i, j))
            near = {(a, b) for a in (i - 1, i, i + 1) for b in (j - 1, j, j + 1)} & left
            left -= near
            edge.extend(near)
        rows, columns = [i for i, _ in part], [j for _, j in part]
        box = (float(min(columns)), float(min(rows)), float(max(columns) + 1), float(max(rows) + 1))
        parts.append((len(part), box))
    return parts


def slow_best(heat: Tensor, truths: list[Box], levels: int, largest: bool) -> list[float]:
    """Choe et al. 2020: at every threshold the boxes of all parts, each against every true box."""
    values = {
        (i, j): value for i, row in enumerate(heat.tolist()) for j, value in enumerate(row) if not math.isnan(value)
    }
    most = max(values.values())
    best = []
    for level in range(levels):
        parts = slow_parts({place for place, value in values.items() if value > level / levels * most and most > 0})
        if largest:
            parts = sorted(parts, key=lambda part: -part[0])[:1]
        best.append(max((iou(box, truth) for _, box in parts for truth in truths), default=0.0))
    return best


@pytest.mark.parametrize("largest", [False, True])
def test_the_sweep_is_a_flood_fill_at_every_threshold(largest: bool) -> None:
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        shape = [(9, 12), (1, 7), (8, 1), (13, 13)][seed % 4]
        heat = torch.randint(-2, 7, shape, generator=generator).double()
        if seed % 3 == 0:
            heat = torch.rand(shape, generator=generator, dtype=torch.float64)
        heat[torch.rand(shape, generator=generator) < 0.1] = NAN
        truths: list[Box] = [(0.0, 0.0, 3.0, 1.0), (2.0, 1.0, 7.0, 6.0)]
        got = best_box_ious(heat, truths, levels=20, largest=largest)
        assert got.tolist() == slow_best(heat, truths, 20, largest)


def test_smooth_maps_of_a_network() -> None:
    for seed in range(4):
        grid = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(seed)).relu()
        heat = torch.nn.functional.interpolate(grid, (30, 30), mode="bilinear")[0, 0].double()
        truths: list[Box] = [(5.0, 5.0, 20.0, 18.0)]
        assert best_box_ious(heat, truths, levels=50).tolist() == slow_best(heat, truths, 50, False)
        box = box_from_map(heat, threshold=0.3)
        assert box is not None  # one threshold of the sweep is the box of Grad-CAM's protocol
        at = best_box_ious(heat, truths, levels=10, largest=True)[3]
        assert float(at) == iou(box, truths[0])


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF])
def test_a_map_that_says_nothing_finds_nothing(value: float) -> None:
    heat = torch.full((4, 4), value)
    assert best_box_ious(heat, [(0.0, 0.0, 4.0, 4.0)], levels=5).tolist() == [0.0] * 5
    assert not best_box_ious(unit_range(torch.ones(4, 4)), [(0.0, 0.0, 4.0, 4.0)]).any()  # flat, in Choe's range
    assert ranked_hit([("dog", box_from_map(heat))], {"dog": [(0.0, 0.0, 4.0, 4.0)]}) == RankedHit(True, False)


def test_the_best_threshold_is_the_data_sets() -> None:
    ious = torch.tensor([[0.35, 0.9, 0.1], [0.35, 0.1, 0.9], [0.8, 0.2, 0.6]])
    found = max_box_acc(ious)
    assert found.deltas == (0.3, 0.5, 0.7)
    # at 0.3 the first threshold finds all three; at 0.5 the third finds two; at 0.7 every one finds a single photo
    assert found.accuracy == pytest.approx((1.0, 2 / 3, 1 / 3)) and found.value == pytest.approx(2 / 3)
    assert found.threshold == pytest.approx((0.0, 2 / 3, 0.0))
    assert max_box_acc(ious, deltas=[0.9]).accuracy == pytest.approx((1 / 3,))  # at least delta
    for wrong in (torch.zeros(0, 3), torch.zeros(2, 3)):
        with pytest.raises(vlcam.InputError, match="expected at least one of each"):
            max_box_acc(wrong, deltas=[] if len(wrong) else [0.5])
    for boxes, levels in (([], 5), ([(0.0, 0.0, 1.0, 1.0)], 0)):
        with pytest.raises(vlcam.InputError, match="expected at least one of each"):
            best_box_ious(torch.rand(3, 3), boxes, levels=levels)


def test_table_one_by_hand() -> None:
    obj, far = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    half = (0.0, 0.0, 10.0, 5.0)  # an IoU of exactly one half
    truths = {"dog": [far, obj]}
    photos: list[list[tuple[str, Box | None]]] = [
        [("dog", obj), ("cat", far)],  # right at once
        [("cat", obj), ("dog", half)],  # the class comes second, its box is just good enough
        [("dog", (0.0, 0.0, 10.0, 4.9)), ("cat", obj)],  # the good box is the wrong class's
        [("cat", obj), ("emu", obj)],  # the class isn't there
        [("dog", None), ("dog", obj)],  # a map that points nowhere
    ]
    one = [ranked_hit(photo, truths, top=1) for photo in photos]
    assert ranked_error(one) == RankedError(classification=2 / 5, localisation=4 / 5)
    five = [ranked_hit(photo, truths, top=5) for photo in photos]
    assert ranked_error(five) == RankedError(classification=1 / 5, localisation=2 / 5)
    given = [dict(photo).get("dog") for photo in photos]
    assert localisation_error(given[:4], [truths["dog"]] * 4) == 1 / 2  # the class given: the older helper
    assert ranked_hit([], truths) == RankedHit(False, False)
    assert ranked_hit([("cat", far)], {"dog": [obj], "cat": [far]}) == RankedHit(True, True)  # two classes in a photo


def test_errors_without_an_answer() -> None:
    with pytest.raises(vlcam.InputError, match="no photos"):
        ranked_error([])
    with pytest.raises(vlcam.InputError, match="top=0"):
        ranked_hit([("dog", None)], {"dog": [(0.0, 0.0, 1.0, 1.0)]}, top=0)
    nothing: tuple[dict[str, list[Box]], ...] = ({}, {"dog": []})
    for truths in nothing:
        with pytest.raises(vlcam.InputError, match="leave such out"):
            ranked_hit([("dog", None)], truths)


def slow_pxap(photos: list[tuple[Tensor, Tensor, Tensor]], levels: int) -> Fraction:
    """Choe et al. 2020: precision and recall of all pixels at every level, and the area under them."""
    pixels = []
    for heat, mask, ignore in photos:
        values = [0.0 if math.isnan(v) else max(v, 0.0) for v in heat.flatten().tolist()]
        for value, true, left_out in zip(values, mask.flatten().tolist(), ignore.flatten().tolist(), strict=True):
            if true or not left_out:
                pixels.append((Fraction(value) / Fraction(max(values) or 1.0), true))
    trues = sum(true for _, true in pixels)
    area, before = Fraction(0), Fraction(0)
    for level in range(levels, -1, -1):
        claimed = [true for value, true in pixels if value >= Fraction(level, levels)]
        if claimed:
            recall = Fraction(sum(claimed), trues)
            area += Fraction(sum(claimed), len(claimed)) * (recall - before)
            before = recall
    return area


def test_pxap_is_that_of_its_formula() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        photos = []
        for n in range(3):
            heat = torch.randint(-1, 5, (4, 4), generator=generator).double()
            heat[0, 0] = NAN if n == 0 else 4.0
            heat[3, 3] = 4.0
            mask, ignore = (torch.rand(4, 4, generator=generator) < 0.4 for _ in range(2))
            mask[1, 1] = True
            photos.append((heat * 10.0 ** (n - 1), mask, ignore))  # each map has a scale of its own
        counts = torch.stack([pixel_counts(h, m, ignore=i, levels=4) for h, m, i in photos]).sum(0)
        assert pxap(counts) == pytest.approx(float(slow_pxap(photos, 4)), abs=1e-12)


def test_pxap_of_maps_that_say_nothing() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0] = True
    perfect = pxap(pixel_counts(mask.float(), mask))
    assert perfect == 1.0
    for value in (0.0, -1.0, NAN, INF):  # all pixels claimed at once: the object's area
        assert pxap(pixel_counts(torch.full((4, 4), value), mask)) == 0.25
    absent = pixel_counts(torch.rand(4, 4), torch.zeros(4, 4, dtype=torch.bool), levels=8)
    assert absent.sum(1).tolist() == [0, 16]
    with pytest.raises(vlcam.InputError, match="nothing to recall"):
        pxap(absent)
    with pytest.raises(vlcam.InputError, match="expected the same frame"):
        pixel_counts(torch.rand(4, 4), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(vlcam.InputError, match="at least one level"):
        pixel_counts(torch.rand(4, 4), mask, levels=0)
