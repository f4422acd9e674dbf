"""Maps against exact masks: slow twins from the papers' formulas, values by hand, and maps, masks and pixels that aren't there."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import vlcam
from vlcam.metrics import (
    Overlap,
    auc,
    class_overlaps,
    f1_iou,
    inside_outside_ratio,
    label_overlaps,
    lift,
    mean_iou,
    oracle_map,
    otsu_mask,
    otsu_threshold,
    overlap,
    rank_accuracy,
    relevance_mass,
    seed_labels,
    seed_mask,
    unit_range,
    word_mask_scores,
)

NAN, INF = math.nan, math.inf
Metric = Callable[[Tensor, Tensor], float]
METRICS: tuple[Metric, ...] = (relevance_mass, lift, inside_outside_ratio, rank_accuracy, auc)


def _case(seed: int, shape: tuple[int, int] = (4, 5), *, unseen: bool = True) -> tuple[Tensor, Tensor]:
    """Whole numbers with many ties, some negative and some NaN, and a mask with a seen pixel inside and out."""
    generator = torch.Generator().manual_seed(seed)
    heat = torch.randint(-2, 5, shape, generator=generator).double()
    mask = torch.rand(shape, generator=generator) < 0.3
    mask[0, 0], mask[0, 1] = True, False
    heat[1][torch.rand(shape[1], generator=generator) < 0.5 * unseen] = NAN
    heat[0, 0] = 3.0
    return heat, mask


def _pixels(heat: Tensor, mask: Tensor) -> list[tuple[Fraction, bool]]:
    pairs = zip(heat.flatten().tolist(), mask.flatten().tolist(), strict=True)
    return [(Fraction(value), inside) for value, inside in pairs if not math.isnan(value)]


def slow_mass(heat: Tensor, mask: Tensor) -> Fraction:
    """Arras et al. 2022, of the positive part."""
    pixels = [(max(value, Fraction(0)), inside) for value, inside in _pixels(heat, mask)]
    return sum((v for v, inside in pixels if inside), Fraction(0)) / sum((v for v, _ in pixels), Fraction(0))


def slow_rank(heat: Tensor, mask: Tensor) -> Fraction:
    """Arras et al. 2022: the highest K pixels, by going through every order of the tied ones."""
    pixels = _pixels(heat, mask)
    k = sum(inside for _, inside in pixels)
    last = sorted((value for value, _ in pixels), reverse=True)[k - 1]
    above = [inside for value, inside in pixels if value > last]
    tied = [inside for value, inside in pixels if value == last]
    ways = [sum(above) + sum(chosen) for chosen in itertools.combinations(tied, k - len(above))]
    return Fraction(sum(ways), len(ways) * k)


def slow_auc(heat: Tensor, mask: Tensor) -> Fraction:
    """Mann and Whitney 1947: every pixel inside against every one outside."""
    pixels = _pixels(heat, mask)
    pairs = [(a, b) for a, inside in pixels if inside for b, other in pixels if not other]
    return sum((Fraction(1) if a > b else Fraction(a == b, 2) for a, b in pairs), Fraction(0)) / len(pairs)


def slow_otsu(heat: Tensor) -> float | None:
    """Otsu 1979: the between-class variance at every value."""
    values = [max(Fraction(v), Fraction(0)) for v in heat.flatten().tolist() if not math.isnan(v)]
    best: tuple[Fraction, Fraction] | None = None
    for level in sorted(set(values))[:-1]:
        low, high = [v for v in values if v <= level], [v for v in values if v > level]
        apart = sum(high, Fraction(0)) / len(high) - sum(low, Fraction(0)) / len(low)
        between = Fraction(len(low) * len(high), len(values) ** 2) * apart**2
        if best is None or between > best[0]:
            best = (between, level)
    return None if best is None else float(best[1])


@pytest.mark.parametrize("unseen", [False, True])
def test_the_metrics_are_those_of_their_formulas(unseen: bool) -> None:
    for seed in range(120):
        heat, mask = _case(seed, unseen=unseen)
        area = Fraction(sum(inside for _, inside in _pixels(heat, mask)), len(_pixels(heat, mask)))
        mass = slow_mass(heat, mask)
        assert relevance_mass(heat, mask) == pytest.approx(float(mass), abs=1e-12)
        assert lift(heat, mask) == pytest.approx(float(mass / area), abs=1e-12)
        assert rank_accuracy(heat, mask) == pytest.approx(float(slow_rank(heat, mask)), abs=1e-12)
        assert auc(heat, mask) == pytest.approx(float(slow_auc(heat, mask)), abs=1e-12)
        # protocols: with mass m and area a the ratio is m / (1 - m) * (1 - a) / a
        ratio = float(mass / (1 - mass) * (1 - area) / area) if mass < 1 else INF
        assert inside_outside_ratio(heat, mask) == pytest.approx(ratio, abs=1e-12)
        assert otsu_threshold(heat) == slow_otsu(heat)


def test_by_hand() -> None:
    heat = torch.tensor([[8.0, 0.0, 0.0], [2.0, -4.0, 0.0]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert relevance_mass(heat, mask) == 0.8
    assert relevance_mass(heat, mask, sign="absolute") == 8 / 14
    assert relevance_mass(heat, mask, sign="signed") == 8 / 6  # above 1: what comes of unclipped maps
    assert lift(heat, mask) == pytest.approx(2.4)
    assert inside_outside_ratio(heat, mask) == 8.0  # 4 inside, 0.5 outside
    assert rank_accuracy(heat, mask) == 0.5
    assert (
        auc(heat, mask) == (4 + 1 + 2 * 0.5) / 8
    )  # the 8 beats all 4; the 0 beats -4, ties with two and loses to the 2


def test_flat_and_perfect_maps() -> None:
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[:2] = True
    flat, perfect = torch.ones(10, 10), mask.float()
    assert relevance_mass(flat, mask) == rank_accuracy(flat, mask) == pytest.approx(0.2)
    assert lift(flat, mask) == pytest.approx(1.0)
    assert inside_outside_ratio(flat, mask) == 1.0 and auc(flat, mask) == 0.5
    assert relevance_mass(perfect, mask) == rank_accuracy(perfect, mask) == auc(perfect, mask) == 1.0
    assert lift(perfect, mask) == pytest.approx(5.0) and inside_outside_ratio(perfect, mask) == INF
    assert relevance_mass(perfect, ~mask) == 0.0 and rank_accuracy(perfect, ~mask) == 0.75  # 60 of 80 are zeros outside
    assert auc(perfect, ~mask) == 0.0 and inside_outside_ratio(perfect, ~mask) == 0.0
    for metric in (relevance_mass, lift, rank_accuracy):
        assert metric(perfect, torch.ones(10, 10, dtype=torch.bool)) == 1.0
    for metric in (inside_outside_ratio, auc):
        assert math.isnan(metric(perfect, torch.ones(10, 10, dtype=torch.bool)))  # there is no outside


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [0.0, NAN, INF])
def test_a_map_that_says_nothing_has_no_score(metric: Metric, value: float) -> None:
    heat, mask = torch.full((4, 4), value), torch.eye(4, dtype=torch.bool)
    assert math.isnan(metric(heat, mask))
    heat[0, 3] = INF  # also one infinite value among others
    assert math.isnan(metric(heat, mask))


@pytest.mark.parametrize("metric", METRICS)
def test_masks_without_an_answer(metric: Metric) -> None:
    heat = torch.rand(4, 4)
    with pytest.raises(vlcam.InputError, match="the mask is empty"):
        metric(heat, torch.zeros(4, 4, dtype=torch.bool))
    with pytest.raises(vlcam.InputError, match="expected both in the same frame"):
        metric(heat, torch.ones(8, 8, dtype=torch.bool))
    heat[:2] = NAN
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0] = True
    assert math.isnan(metric(heat, mask))  # the model never saw the object


def test_negative_maps() -> None:
    heat, mask = -torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[True, False], [False, False]])
    assert math.isnan(relevance_mass(heat, mask)) and math.isnan(inside_outside_ratio(heat, mask))
    assert relevance_mass(heat, mask, sign="absolute") == 0.1
    assert rank_accuracy(heat, mask) == auc(heat, mask) == 1.0  # ranks need no sign


def test_unseen_pixels_are_in_no_sum() -> None:
    heat = torch.tensor([[4.0, 2.0, 2.0, NAN], [0.0, 0.0, 0.0, NAN]])
    mask = torch.tensor([[True, False, False, True], [False, False, False, True]])
    cut = (heat[:, :3], mask[:, :3])
    for metric in METRICS:
        assert metric(heat, mask) == metric(*cut)


def test_the_oracle_of_a_coarse_grid_is_below_one() -> None:
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[20:37, 41:60] = True
    grown = torch.nn.functional.interpolate(oracle_map(mask, (6, 6))[None, None], (96, 96), mode="bilinear")[0, 0]
    assert 0.3 < relevance_mass(grown, mask) < 0.8 < auc(grown, mask)


def test_unit_range() -> None:
    assert unit_range(torch.tensor([[-2.0, 0.0], [NAN, 2.0]])).nan_to_num(-1.0).tolist() == [[0.0, 0.5], [-1.0, 1.0]]
    assert unit_range(torch.full((2, 2), 7.0)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert unit_range(torch.tensor([[1.0, INF]])).tolist() == [[0.0, 0.0]]
    assert bool(unit_range(torch.full((2, 2), NAN)).isnan().all())


def test_seeds_by_hand() -> None:
    heat = torch.tensor([[10.0, 1.6, 1.4], [-3.0, NAN, 1.5]])
    claimed = seed_mask(heat)
    assert claimed.tolist() == [[True, True, False], [False, False, True]]
    mask = torch.tensor([[True, False, True], [False, True, True]])
    one = overlap(claimed, mask)
    assert one == Overlap(both=2, claimed=3, true=4)
    assert one.iou == 0.4 and one.precision == pytest.approx(2 / 3) and one.recall == 0.5
    assert seed_mask(heat, threshold=1.0).sum() == 1
    for value in (0.0, -1.0, NAN, INF):
        nothing = overlap(seed_mask(torch.full((2, 3), value)), mask)
        assert nothing == Overlap(0, 0, 4) and nothing.iou == nothing.recall == 0 and math.isnan(nothing.precision)
    empty = overlap(claimed, torch.zeros(2, 3, dtype=torch.bool))
    assert empty.iou == empty.precision == 0 and math.isnan(empty.recall)
    assert math.isnan(Overlap(0, 0, 0).iou)
    for threshold in (0.0, 1.5, NAN):
        with pytest.raises(vlcam.InputError, match="threshold="):
            seed_mask(heat, threshold=threshold)
    with pytest.raises(vlcam.InputError, match="expected the same frame"):
        overlap(claimed, torch.ones(3, 2, dtype=torch.bool))


def test_overlaps_count_pixels() -> None:
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        one, other = (torch.rand(5, 6, generator=generator) < 0.5 for _ in range(2))
        first = {tuple(place) for place in one.nonzero().tolist()}
        second = {tuple(place) for place in other.nonzero().tolist()}
        both = overlap(one, other)
        assert both.iou == len(first & second) / len(first | second)
        assert both.precision == len(first & second) / len(first) and both.recall == len(first & second) / len(second)


def test_a_data_set_sums_pixels_before_it_divides() -> None:
    photos = [
        {1: Overlap(1, 1, 1), 2: Overlap(0, 2, 0)},
        {1: Overlap(0, 0, 9)},
        {2: Overlap(2, 2, 4), 3: Overlap(0, 0, 0)},
    ]
    assert class_overlaps(photos) == {1: Overlap(1, 1, 10), 2: Overlap(2, 4, 4), 3: Overlap(0, 0, 0)}
    assert mean_iou(photos) == pytest.approx((1 / 10 + 2 / 6) / 2)  # no pixel of class 3 anywhere
    assert math.isnan(mean_iou([])) and math.isnan(mean_iou([{3: Overlap(0, 0, 0)}]))


def test_label_maps() -> None:
    maps = torch.tensor([[[4.0, 3.0, 0.1, 0.0]], [[0.0, 90.0, 100.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]])
    found = seed_labels(maps, [5, 7, 9], background=1)
    assert found.tolist() == [[5, 7, 7, 1]]  # the zero map of 9 claims nothing
    true = torch.tensor([[5, 5, 7, 255]])
    overlaps = label_overlaps(found, true, [1, 5, 7])
    assert overlaps == {1: Overlap(0, 0, 0), 5: Overlap(1, 1, 2), 7: Overlap(1, 2, 1)}
    assert mean_iou([overlaps]) == 0.5
    tie = torch.tensor([[[2.0, NAN]], [[8.0, 8.0]]])
    assert seed_labels(tie, [3, 4]).tolist() == [[3, 4]]
    with pytest.raises(vlcam.InputError, match="2 labels for 3 maps"):
        seed_labels(maps, [5, 7])
    with pytest.raises(vlcam.InputError, match="expected the same frame"):
        label_overlaps(found, true[:, :2], [1])


def test_otsu_on_tiny_and_odd_maps() -> None:
    for seed in range(40):
        heat, _ = _case(seed)
        for scale in (1e-30, 1.0, 1e30):
            assert torch.equal(otsu_mask(heat * scale), otsu_mask(heat))
    for nothing in (torch.zeros(3, 3), torch.full((3, 3), 2.0), -torch.rand(3, 3), torch.full((3, 3), NAN)):
        assert otsu_threshold(nothing) is None and not otsu_mask(nothing).any()
    assert otsu_threshold(torch.tensor([[1.0, INF]])) is None
    assert otsu_mask(torch.tensor([[NAN, 1.0, 3.0]])).tolist() == [[False, False, True]]


def test_words_by_hand() -> None:
    maps = torch.tensor(
        [
            [[0.0, 0.0, 0.0, 4.0]],  # "dog", first piece
            [[0.0, 0.0, 3.0, 4.0]],  # second piece
            [[6.0, 0.0, 0.0, 0.0]],  # "ball"
            [[0.0, 1.0, 0.0, 0.0]],  # "the": one pixel of four stands out
            [[0.0, 0.0, 0.0, 0.0]],  # "a"
        ]
    )
    dog = torch.tensor([[False, False, True, True]])
    ball = torch.tensor([[True, True, True, False]])
    scores = word_mask_scores(maps, [([0, 1], dog), ([2], ball)], [3, 4])
    assert scores.objects == pytest.approx((1.0, 1 / 3)) and scores.obj == pytest.approx(2 / 3)
    assert scores.functions == (0.75, 1.0) and scores.func == 0.875  # both thresholds are 0
    assert scores.f1 == pytest.approx(2 * (2 / 3) * 0.875 / (2 / 3 + 0.875))
    bright = word_mask_scores(torch.cat([maps[1:2], maps[1:2] * 0 + 9]), [([0], dog)], [1])
    assert bright.obj == 1 and bright.func == 0 == bright.f1


def test_the_limit_is_the_mean_threshold() -> None:
    maps = torch.tensor(
        [[[1.0, 1.0, 9.0]], [[5.0, 5.0, 9.0]], [[2.0, 3.0, 4.0]]]
    )  # thresholds 1 and 5: their mean is 3
    mask = torch.tensor([[False, False, True]])
    assert word_mask_scores(maps, [([0], mask), ([1], mask)], [2]).func == pytest.approx(2 / 3)


def test_dark_maps_alone_win_nothing() -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    zeros = word_mask_scores(torch.zeros(2, 1, 4), [([0], mask)], [1])
    assert zeros.obj == 0 and math.isnan(zeros.func) and math.isnan(zeros.f1)
    only = word_mask_scores(torch.rand(2, 1, 4), [], [0, 1])
    assert math.isnan(only.obj) and math.isnan(only.func)
    obj = torch.tensor([[[0.0, 1.0, 1.0, 1.0]]])
    assert word_mask_scores(obj, [([0], mask)], []).obj == 0.75
    assert math.isnan(word_mask_scores(obj, [([0], mask)], []).func)
    half = torch.tensor([[[0.0, 0.0, 4.0, 4.0]], [[0.0, 9.0, NAN, NAN]], [[NAN, NAN, NAN, NAN]]])
    assert word_mask_scores(half, [([0], mask)], [1, 2]).func == 0.5  # of the seen pixels; nothing of the third
    assert f1_iou(0.0, 0.0) == 0 and math.isnan(f1_iou(NAN, 1.0)) and f1_iou(1.0, 1.0) == 1


def test_words_that_are_not_there() -> None:
    maps, mask = torch.rand(2, 3, 3), torch.ones(3, 3, dtype=torch.bool)
    for objects, functions in (([([2], mask)], []), ([([], mask)], []), ([], [-1])):
        with pytest.raises(vlcam.InputError, match="expected at least one for every object"):
            word_mask_scores(maps, objects, functions)
    with pytest.raises(vlcam.InputError, match="the mask is empty"):
        word_mask_scores(maps, [([0], ~mask)], [])
