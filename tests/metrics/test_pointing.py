"""The pointing games against slow twins written from the papers, and every case in which a map says nothing."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

import vlcam
from vlcam.metrics import (
    TOLERANCE,
    Pointed,
    choose_threshold,
    class_accuracy,
    is_hit,
    oracle_map,
    pointed,
    pointing_game,
    pointing_hit,
    recall_score,
)

NAN, INF = math.nan, math.inf


def slow_game(heat: Tensor, mask: Tensor, tolerance: float, pixel: tuple[float, float], ties: str) -> float:
    """Zhang et al. 2016: is a pixel of the object closer than the tolerance to the highest point?"""
    rows, columns = range(heat.shape[0]), range(heat.shape[1])
    seen = {(i, j): float(heat[i, j]) for i in rows for j in columns if not math.isnan(float(heat[i, j]))}
    most = max(seen.values(), default=0.0)
    if not 0 < most < INF:
        return 0.0
    hits = []
    for (i, j), value in seen.items():
        if value == most:
            away = [
                ((a - i) * pixel[1]) ** 2 + ((b - j) * pixel[0]) ** 2 for a in rows for b in columns if bool(mask[a, b])
            ]
            hits.append(min(away) < tolerance**2 or bool(mask[i, j]))
    if ties == "first":
        return float(hits[0])
    if ties == "uncertain" and any(hits) and not all(hits):
        return NAN
    return float(any(hits))


@pytest.mark.parametrize("ties", ["first", "any", "uncertain"])
def test_the_game_is_that_of_its_definition(ties: str) -> None:
    outcomes = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        heat = torch.randint(-2, 4, (6, 9), generator=generator).double()
        heat[torch.rand(6, 9, generator=generator) < 0.1] = NAN
        mask = torch.rand(6, 9, generator=generator) < 0.08
        mask[seed % 6, seed % 9] = True
        for tolerance, pixel in product((0.0, 1.0, 1.5, 3.0), ((1.0, 1.0), (2.0, 0.5))):
            got = pointing_game(heat, mask, tolerance=tolerance, pixel=pixel, ties=ties)  # type: ignore[arg-type]
            assert got == pytest.approx(slow_game(heat, mask, tolerance, pixel, ties), nan_ok=True)
            outcomes.add(str(got))
    assert outcomes == ({"0.0", "1.0", "nan"} if ties == "uncertain" else {"0.0", "1.0"})


def test_the_tolerance_ends_before_fifteen_pixels() -> None:
    heat, mask = torch.zeros(60, 60), torch.zeros(60, 60, dtype=torch.bool)
    heat[30, 30] = 1.0
    mask[30 + 9, 30 + 12] = True  # 9² + 12² = 15²: on the border, and out
    assert pointing_game(heat, mask, tolerance=TOLERANCE) == 0
    assert pointing_game(heat, mask, tolerance=TOLERANCE + 1e-6) == 1
    mask[30 + 10, 30 + 11] = True  # 221 < 225
    assert pointing_game(heat, mask, tolerance=TOLERANCE) == 1
    assert pointing_game(heat, mask) == 0 and not pointing_hit(heat, mask)
    small, obj = torch.zeros(3, 3), torch.zeros(3, 3, dtype=torch.bool)
    small[0, 0], obj[0, 1] = 1.0, True
    assert pointing_game(small, obj, tolerance=TOLERANCE, pixel=(14.9, 99.0)) == 1
    assert pointing_game(small, obj, tolerance=TOLERANCE, pixel=(15.0, 1.0)) == 0


@pytest.mark.parametrize("ties", ["first", "any", "uncertain"])
@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF])
def test_a_map_that_says_nothing_misses(value: float, ties: str) -> None:
    heat, mask = torch.full((4, 4), value), torch.ones(4, 4, dtype=torch.bool)
    assert pointing_game(heat, mask, tolerance=TOLERANCE, ties=ties) == 0  # type: ignore[arg-type]
    assert not pointing_hit(heat, mask)
    assert pointed(heat, mask) == Pointed(0.0, True, False)
    assert pointed(heat, None) == Pointed(0.0, False, False)


def test_ties() -> None:
    flat, mask = torch.ones(2, 2), torch.tensor([[False, True], [False, False]])
    assert pointing_game(flat, mask) == 0  # the first in reading order is outside
    assert pointing_game(flat, mask, ties="any") == 1  # as Quantus counts it
    assert math.isnan(pointing_game(flat, mask, ties="uncertain"))
    assert not pointed(flat, mask, ties="uncertain").hit
    assert pointing_game(flat, ~torch.zeros_like(mask), ties="uncertain") == 1


def test_questions_without_an_answer() -> None:
    heat = torch.rand(3, 4)
    for game in (pointing_game, pointing_hit, pointed):
        with pytest.raises(vlcam.InputError, match="the mask is empty"):
            game(heat, torch.zeros(3, 4, dtype=torch.bool))
        with pytest.raises(vlcam.InputError, match=r"a map of \(3, 4\) and a mask of \(6, 8\) pixels"):
            game(heat, torch.ones(6, 8, dtype=torch.bool))
    for tolerance in (-1.0, NAN):
        with pytest.raises(vlcam.InputError, match="tolerance="):
            pointing_game(heat, torch.ones(3, 4, dtype=torch.bool), tolerance=tolerance)


def test_every_class_weighs_the_same() -> None:
    hits, classes = [1, 1, 1, 0, 0], ["dog", "dog", "dog", "cat", "emu"]
    assert class_accuracy(hits, classes) == pytest.approx(1 / 3)  # over photos it is 3/5
    assert class_accuracy([1.0, NAN, NAN], ["dog", "dog", "cat"]) == 1  # nothing certain about cats
    assert math.isnan(class_accuracy([NAN], ["dog"]))
    for wrong in (0, 1):
        with pytest.raises(vlcam.InputError, match="expected the class of every hit"):
            class_accuracy([1.0] * wrong, [])


def test_the_ceiling_of_a_grid() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4, :6] = True
    assert oracle_map(mask, (2, 2)).tolist() == [[1.0, 0.5], [0.0, 0.0]]


def test_declining_by_hand() -> None:
    points = [
        Pointed(5.0, True, True),  # pointed at
        Pointed(1.0, True, True),  # declined though it is there
        Pointed(6.0, True, False),  # points elsewhere
        Pointed(0.5, False, False),  # rightly declined
        Pointed(3.0, False, False),  # not declined
        Pointed(2.0, False, False),  # at the threshold: not below it
    ]
    assert [is_hit(one, 2.0) for one in points] == [True, False, False, True, False, False]
    score = recall_score(points, 2.0)
    assert score.n == 6 and score.accuracy == pytest.approx(2 / 6)
    assert score.pointing == pytest.approx(1 / 3) and score.declining == pytest.approx(1 / 3)
    assert score.always_decline == recall_score(points, INF).accuracy == 0.5
    assert recall_score(points, 0.0).accuracy == pytest.approx(2 / 6)
    assert choose_threshold(points) == 4.0  # 1 hit and 3 declined; the middle of 3 and 5
    assert math.isnan(recall_score(points[:3], 1.0).declining)
    assert math.isnan(recall_score(points[3:], 1.0).pointing)


def test_a_zero_map_is_no_hit_unless_it_declines() -> None:
    zero = torch.zeros(3, 3)
    absent, present = pointed(zero, None), pointed(zero, torch.ones(3, 3, dtype=torch.bool))
    assert not is_hit(absent, 0.0) and is_hit(absent, 1e-9)
    assert not is_hit(present, 0.0) and not is_hit(present, 1e-9)


def test_scaled_maps_cannot_decline() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 0] = True
    strong, weak = torch.zeros(4, 4), torch.zeros(4, 4)
    strong[0, 0], weak[2, 2] = 8.0, 0.25
    raw = [pointed(strong, mask), pointed(weak, None)]
    scaled = [pointed(strong / strong.max(), mask), pointed(weak / weak.max(), None)]
    assert recall_score(raw, choose_threshold(raw)).accuracy == 1
    assert recall_score(scaled, choose_threshold(scaled)).accuracy == 0.5


def test_the_chosen_threshold_is_the_best() -> None:
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        points = []
        for maximum in torch.randint(0, 6, (1 + seed % 9,), generator=generator).tolist():
            present = bool(torch.rand((), generator=generator) < 0.5)
            hit = present and maximum > 0 and bool(torch.rand((), generator=generator) < 0.6)
            points.append(Pointed(float(maximum), present, hit))
        chosen = recall_score(points, choose_threshold(points)).accuracy
        tried = [recall_score(points, threshold).accuracy for threshold in [n / 4 for n in range(26)] + [INF]]
        assert chosen == max(tried)
        lower = [one.maximum for one in points if one.maximum < choose_threshold(points)]  # each declines fewer maps
        assert all(recall_score(points, threshold).accuracy < chosen for threshold in lower)


def test_thresholds_that_are_none() -> None:
    with pytest.raises(vlcam.InputError, match="held-out"):
        choose_threshold([])
    for points, threshold in (([], 1.0), ([Pointed(1.0, True, True)], -1.0), ([Pointed(1.0, True, True)], NAN)):
        with pytest.raises(vlcam.InputError, match="expected at least one, and a threshold from 0 on"):
            recall_score(points, threshold)
