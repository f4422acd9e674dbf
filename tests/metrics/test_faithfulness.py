"""Faithfulness: rank correlation, deletion, insertion, ROAD, average drop and IROF, against textbook twins and closed forms."""

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

import vlcam
from vlcam.contracts import InputError, PerturbationMethod, Subject
from vlcam.metrics import (
    average_ranks,
    blurred,
    confidence,
    deletion,
    impute,
    insertion,
    irof,
    occlusion_correlation,
    pixel_flipping,
    predicts,
    road,
    road_combined,
    segment_means,
    slic,
    spearman,
    to_grid,
)
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

Plane = list[list[float]]
NAN = math.nan


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """A model whose score is the weighted sum of the pixels: ``(batch,)``, or ``(batch, targets)`` for more weights."""
    return lambda images: torch.einsum("bchw,...chw->b...", images, weights)


# --- rank correlation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("holes", [0, 9])
def test_spearman_is_scipys_with_ties_and_holes(levels: int, holes: int) -> None:
    dice = random.Random(levels + holes)
    one, other = ([float(dice.randrange(levels)) for _ in range(48)] for _ in range(2))
    for values in (one, other):
        for place in dice.sample(range(48), holes):
            values[place] = NAN
    got = spearman(torch.tensor(one).view(6, 8), torch.tensor(other).view(6, 8))
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(spearmanr(one, other, nan_policy="omit").statistic, abs=1e-12)


def test_average_ranks_add_up_whatever_the_ties() -> None:
    ranks = average_ranks(torch.tensor([2.0, -math.inf, 2.0, math.inf, 2.0]))
    assert ranks.tolist() == [3, 1, 3, 5, 3]


def test_spearman_goes_target_by_target_and_has_no_answer_for_constant_maps() -> None:
    one = draw(4, 3, 3)
    other = torch.stack([one[0].exp(), -one[1], torch.zeros(3, 3, dtype=torch.float64), torch.full_like(one[3], NAN)])
    got = spearman(one, other)
    assert got[:2].tolist() == [1.0, -1.0]
    assert got[2:].isnan().all()
    lone = torch.full((2, 2), NAN)
    lone[0, 0] = 1.0
    assert spearman(lone, torch.rand(2, 2)).isnan()
    with pytest.raises(InputError, match=r"shapes \(3, 3\) and \(2, 2\) were given; expected equal shapes"):
        spearman(one[0], torch.zeros(2, 2, dtype=torch.float64))


def test_to_grid_means_what_a_cell_covers_without_nan() -> None:
    heat = torch.arange(24.0).view(4, 6)
    heat[0, 0] = NAN
    heat[2:, 4:] = NAN
    got = to_grid(heat, (2, 3))
    assert got[0].tolist() == pytest.approx([(1 + 6 + 7) / 3, (2 + 3 + 8 + 9) / 4, (4 + 5 + 10 + 11) / 4])
    assert got[1, :2].tolist() == [(12 + 13 + 18 + 19) / 4, (14 + 15 + 20 + 21) / 4] and got[1, 2].isnan()
    ramp = torch.arange(4.0).expand(2, 4)
    assert torch.allclose(to_grid(ramp, (2, 8))[0, 1:-1], torch.arange(0.25, 3.0, 0.5))  # half-pixel centres
    assert to_grid(ramp, (2, 4)).equal(ramp)
    with pytest.raises(InputError, match="a grid of 0 x 3 cells was given"):
        to_grid(heat, (0, 3))


def test_the_correlation_with_occlusion_is_taken_on_the_coarser_grid_unless_told() -> None:
    occlusion = draw(2, 4, 5)
    heat = occlusion.exp().repeat_interleave(8, 1).repeat_interleave(6, 2)
    assert occlusion_correlation(heat, occlusion).tolist() == [1.0, 1.0]
    assert occlusion_correlation(-heat, occlusion).tolist() == [-1.0, -1.0]
    coarse = occlusion_correlation(heat, occlusion, grid=(2, 2))
    assert coarse.tolist() == spearman(to_grid(heat, (2, 2)), to_grid(occlusion, (2, 2))).tolist()
    assert occlusion_correlation(torch.zeros(2, 32, 30), occlusion.float()).isnan().all()
    assert occlusion_correlation(torch.full((2, 31, 29), 0.1), occlusion.float()).isnan().all()
    with pytest.raises(InputError, match="expected one occlusion map for each map"):
        occlusion_correlation(heat[0], occlusion)


# --- deletion and insertion -----------------------------------------------------------------------------------------------------


def slow_curve(
    score: Callable[[Plane], float], start: Plane, end: Plane, heat: Plane, steps: int
) -> tuple[list[float], float]:
    """Petsiuk et al. 2018, algorithm 1: change the pixels one after the other, and take trapezoids."""
    places = [(i, j) for i in range(len(heat)) for j in range(len(heat[0]))]
    places.sort(key=lambda place: -heat[place[0]][place[1]])
    now = [list(row) for row in start]
    at, scores, done = [0.0], [score(now)], 0
    for step in range(1, steps + 1):
        while done < round(step * len(places) / steps):
            i, j = places[done]
            now[i][j] = end[i][j]
            done += 1
        at.append(done / len(places))
        scores.append(score(now))
    area = sum((scores[k] + scores[k + 1]) / 2 * (at[k + 1] - at[k]) for k in range(steps))
    return scores, area


@pytest.mark.parametrize("steps", [1, 7, 12, 30])
@pytest.mark.parametrize("batch", [1, 5, 100])
def test_both_curves_are_the_textbook_s(steps: int, batch: int) -> None:
    image, heat, start = draw(1, 1, 5, 6), draw(5, 6, seed=1), draw(1, 1, 5, 6, seed=2)

    def slow(plane: Plane) -> float:
        return math.tanh(sum((i + 1) * value * value for i, row in enumerate(plane) for value in row) / 50)

    def score(images: Tensor) -> Tensor:
        assert len(images) <= batch and not torch.is_grad_enabled()
        return (images[:, 0].square() * torch.arange(1, 6)[:, None]).sum((1, 2)) / 50

    options: dict[str, Any] = {"link": torch.tanh, "baseline": start, "steps": steps, "batch": batch}
    pictures = image[0, 0].tolist(), start[0, 0].tolist()
    for curve, (one, other) in (
        (deletion(score, image, heat, **options), pictures),
        (insertion(score, image, heat, **options), pictures[::-1]),
    ):
        values, area = slow_curve(slow, one, other, heat.tolist(), steps)
        assert curve.values.tolist() == pytest.approx(values, abs=1e-12)
        assert curve.auc.item() == pytest.approx(area, abs=1e-12)


def test_the_curve_of_a_linear_model_is_known() -> None:
    weights, image = draw(3, 6, 6), draw(1, 3, 6, 6, seed=1)
    parts = (weights * image[0]).sum(0)  # what each pixel adds to the score
    falling = parts.flatten().sort(descending=True).values.cumsum(0)
    total = parts.sum()
    curve = deletion(linear(weights), image, parts, steps=36)
    assert torch.allclose(curve.values, torch.cat([total[None], total - falling]))
    rising = insertion(linear(weights), image, parts, baseline=0.0, steps=36)
    assert torch.allclose(rising.values, torch.cat([torch.zeros(1, dtype=torch.float64), falling]))
    assert (curve.auc + rising.auc).item() == pytest.approx(total.item())  # of a linear model
    worst = deletion(linear(weights), image, -parts, steps=36)
    assert curve.auc < deletion(linear(weights), image, draw(6, 6, seed=5), steps=36).auc < worst.auc


def test_each_map_is_judged_by_its_own_target() -> None:
    weights, image, heat = draw(3, 2, 4, 4), draw(1, 2, 4, 4, seed=1), draw(3, 4, 4, seed=2)
    both = deletion(linear(weights), image, heat, steps=5, batch=4)
    assert both.values.shape == (3, 6) and both.auc.shape == (3,)
    for target in range(3):
        alone = deletion(linear(weights[target]), image, heat[target], steps=5)
        assert torch.allclose(both.values[target], alone.values)
    all_scores = deletion(linear(weights), image, heat[1], steps=5)  # one map, every score
    assert torch.allclose(all_scores.values[1], both.values[1]) and all_scores.values.shape == (3, 6)
    softmax = deletion(linear(weights), image, heat[0], steps=5, link=lambda scores: scores.softmax(-1)[:, 0])
    assert softmax.values[0].item() == pytest.approx(linear(weights)(image)[0].softmax(-1)[0].item())


def test_maps_that_rank_nothing_have_no_curve() -> None:
    image, heat = draw(1, 1, 4, 4), draw(5, 4, 4).abs()
    heat[1], heat[2], heat[3, 0, 0], heat[4, :2] = 0, NAN, math.inf, NAN
    score = linear(torch.ones(5, 1, 4, 4, dtype=torch.float64))
    for curve in (deletion(score, image, heat), insertion(score, image, heat), road(score, image, heat)):
        assert curve.auc.isnan().tolist() == [False, True, True, True, False]
    assert confidence(score, image.abs(), heat).drop.isnan().tolist() == [False, True, True, True, False]
    assert confidence(score, image.abs(), heat).increase.isnan().tolist() == [False, True, True, True, False]
    assert deletion(score, image, heat[1]).auc.isnan().all()
    assert irof(score, image.abs(), heat, torch.arange(4).repeat(4, 1)).aoc.isnan().tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_nan_goes_last_and_equal_values_in_a_drawn_order() -> None:
    image = torch.ones(1, 1, 1, 6)
    heat = torch.tensor([[NAN, 2.0, NAN, 1.0, 1.0, 1.0]])
    weights = torch.tensor([[[100.0, 1.0, 1000.0, 10.0, 20.0, 40.0]]])
    curves = [deletion(linear(weights), image, heat, steps=6, seed=seed).values for seed in range(12)]
    gone = [[1171 - value for value in curve.tolist()] for curve in curves]
    assert all(steps[1] == 1 and steps[4] == 71 for steps in gone)  # the highest first, all ones before NaN
    assert {steps[2] - 1 for steps in gone} == {10, 20, 40}
    reading = deletion(linear(weights), image, heat, steps=6, ties="reading").values
    assert [1171 - value for value in reading.tolist()] == [0, 1, 11, 31, 71, 171, 1171]


def test_the_steps_are_those_of_rise() -> None:
    seen: list[int] = []

    def score(images: Tensor) -> Tensor:
        seen.extend((images == 0).sum((1, 2, 3)).tolist())
        return images.sum((1, 2, 3))

    curve = deletion(score, torch.ones(1, 1, 224, 224), torch.rand(224, 224), batch=64)
    assert seen == [224 * step for step in range(225)]
    assert curve.fractions.tolist() == [step / 224 for step in range(225)]
    seen.clear()
    deletion(score, torch.ones(1, 1, 96, 96), torch.rand(96, 96))
    assert seen == [round(step * 96 * 96 / 224) for step in range(225)]


def test_flipping_takes_as_many_pixels_at_a_time_as_told() -> None:
    image = draw(1, 3, 4, 4)
    black = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)[:, None, None]
    weights = draw(3, 4, 4, seed=1)
    curve = pixel_flipping(linear(weights), image, draw(4, 4, seed=2), baseline=black, step=5)
    assert curve.fractions.tolist() == [0, 5 / 16, 10 / 16, 15 / 16, 1]
    assert curve.values[-1].item() == pytest.approx((weights * black).sum().item())
    fine = pixel_flipping(linear(weights), image, draw(4, 4, seed=2), baseline=black)
    assert torch.allclose(fine.values[::5], curve.values[:-1])


def slow_blur(plane: Plane, window: int, sigma: float) -> Plane:
    """RISE's code in words: a lit pixel amid the window, spread by a Gaussian that mirrors hold back, is the kernel; zeros outside."""
    reach = int(4 * sigma + 0.5)
    bell = {d: math.exp(-d * d / (2 * sigma * sigma)) for d in range(-reach, reach + 1)}
    line = [0.0] * window
    for d, weight in bell.items():
        place = window // 2 + d
        while not 0 <= place < window:
            place = -1 - place if place < 0 else 2 * window - 1 - place
        line[place] += weight / sum(bell.values())
    height, width, half = len(plane), len(plane[0]), window // 2
    return [
        [
            sum(
                line[a] * line[b] * plane[i + a - half][j + b - half]
                for a, b in itertools.product(range(window), range(window))
                if 0 <= i + a - half < height and 0 <= j + b - half < width
            )
            for j in range(width)
        ]
        for i in range(height)
    ]


@pytest.mark.parametrize(("window", "sigma"), [(11, 5.0), (5, 1.0), (1, 2.0)])
def test_the_blur_is_that_of_rise(window: int, sigma: float) -> None:
    image = draw(1, 2, 9, 13)
    got = blurred(image, window=window, sigma=sigma)
    for channel in range(2):
        want = torch.tensor(slow_blur(image[0, channel].tolist(), window, sigma), dtype=torch.float64)
        assert torch.allclose(got[0, channel], want)
    start = insertion(linear(torch.ones(2, 9, 13, dtype=torch.float64)), image, draw(9, 13), steps=2).values[0]
    assert start.item() == pytest.approx(blurred(image).sum().item())


# --- ROAD -----------------------------------------------------------------------------------------------------------------------


def slow_impute(plane: Plane, removed: set[tuple[int, int]]) -> Plane:
    """Rong et al. 2022: each removed pixel is the weighted mean of its neighbours, solved by Gauss and Jordan."""
    height, width = len(plane), len(plane[0])
    holes = sorted(removed)
    number = {hole: k for k, hole in enumerate(holes)}
    system = [[0.0] * (len(holes) + 1) for _ in holes]
    for (i, j), row in zip(holes, system, strict=True):
        for a, b in itertools.product((-1, 0, 1), (-1, 0, 1)):
            if (a, b) == (0, 0) or not (0 <= i + a < height and 0 <= j + b < width):
                continue
            weight = 1 / 12 if a and b else 1 / 6
            row[number[i, j]] += weight
            if (i + a, j + b) in number:
                row[number[i + a, j + b]] -= weight
            else:
                row[-1] += weight * plane[i + a][j + b]
    for k in range(len(holes)):
        best = max(range(k, len(holes)), key=lambda r: abs(system[r][k]))
        system[k], system[best] = system[best], system[k]
        system[k] = [value / system[k][k] for value in system[k]]
        for r in range(len(holes)):
            if r != k:
                system[r] = [value - system[r][k] * own for value, own in zip(system[r], system[k], strict=True)]
    filled = [list(row) for row in plane]
    for (i, j), row in zip(holes, system, strict=True):
        filled[i][j] = row[-1]
    return filled


@pytest.mark.parametrize("count", [1, 10, 30, 55])
def test_imputing_is_the_textbook_s(count: int) -> None:
    image = draw(1, 2, 7, 8)
    dice = random.Random(count)
    masks = [set(dice.sample(list(itertools.product(range(7), range(8))), count)) for _ in range(3)]
    removed = torch.zeros(3, 7, 8, dtype=torch.bool)
    for hole, mask in enumerate(masks):
        for i, j in mask:
            removed[hole, i, j] = True
    got = impute(image, removed, noise=0.0)
    for hole, channel in itertools.product(range(3), range(2)):
        want = torch.tensor(slow_impute(image[0, channel].tolist(), masks[hole]), dtype=torch.float64)
        assert torch.allclose(got[hole, channel], want, atol=1e-8)
    in_float32 = impute(image.float(), removed, noise=0.0)
    assert in_float32.dtype == torch.float32 and torch.allclose(in_float32.double(), got, atol=1e-3)


def test_a_ramp_is_filled_in_as_it_was() -> None:
    i, j = torch.meshgrid(torch.arange(40.0), torch.arange(30.0), indexing="ij")
    ramp = (0.1 * i - 0.2 * j + 1)[None, None]
    hole = torch.zeros(1, 40, 30, dtype=torch.bool)
    hole[0, 3:35, 5:28] = True  # a linear function has the mean of its neighbours everywhere but at the edge
    filled = impute(ramp, hole, noise=0.0)
    assert torch.allclose(filled, ramp, atol=0.01)
    assert filled[0, 0][~hole[0]].equal(ramp[0, 0][~hole[0]])
    precise = impute(ramp.double(), hole, noise=0.0)
    assert torch.allclose(precise, ramp.double(), atol=1e-6)


def test_the_noise_is_drawn_once_and_lies_in_the_holes_only() -> None:
    image = draw(1, 3, 20, 20)
    removed = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(1)) < 0.5
    plain, noisy = impute(image, removed, noise=0.0), impute(image, removed, noise=0.1, seed=3)
    field = noisy - plain
    hole = removed[:, None].expand_as(field)
    assert not field[~hole].any()
    assert field[hole].std().item() == pytest.approx(0.1, rel=0.1)
    assert torch.allclose(noisy[1:], impute(image, removed[1:], noise=0.1, seed=3), atol=1e-8)
    assert not torch.allclose(noisy, impute(image, removed, noise=0.1, seed=4), atol=1e-3)
    with pytest.raises(InputError, match="a mask that removes every pixel was given"):
        impute(image, torch.ones(1, 20, 20, dtype=torch.bool))


def test_road_removes_the_most_or_the_least_relevant_first() -> None:
    image, heat, weights = draw(1, 2, 8, 8), draw(2, 8, 8, seed=1), draw(2, 2, 8, 8, seed=2)
    fractions = (0.25, 0.5, 0.9)
    ranks = heat.flatten(1).argsort(1, descending=True).argsort(1).view(2, 8, 8)
    curves = []
    for first, rank in (("most", ranks), ("least", 63 - ranks)):
        curve = road(linear(weights), image, heat, first=first, fractions=fractions, batch=4, seed=7)  # type: ignore[arg-type]
        for target, (k, part) in itertools.product(range(2), enumerate(fractions)):
            filled = impute(image, rank[target : target + 1] < round(part * 64), seed=7)
            assert curve.values[target, k].item() == pytest.approx(linear(weights[target])(filled).item(), abs=1e-6)
        assert curve.fractions.tolist() == list(fractions)
        curves.append(curve.values)
    both = road_combined(linear(weights), image, heat, fractions=fractions, seed=7)
    assert torch.allclose(both, (curves[1] - curves[0]).mean(-1) / 2, atol=1e-6)


def test_road_on_a_model_of_one_spot() -> None:
    image = torch.zeros(1, 1, 12, 12)
    image[..., 4:8, 4:8] = 1

    def brightest(images: Tensor) -> Tensor:
        return images[:, 0, 4:8, 4:8].mean((1, 2))

    right, wrong = image[0, 0] + 0.001 * torch.rand(12, 12), torch.rand(12, 12) * (1 - image[0, 0])
    assert road(brightest, image, right, fractions=(0.2,), noise=0.0).values.item() == pytest.approx(0, abs=1e-3)
    assert road(brightest, image, right, first="least", fractions=(0.8,), noise=0.0).values.item() == 1
    assert road_combined(brightest, image, right) > 0.2 > 0 > road_combined(brightest, image, wrong)
    accuracy = road(
        lambda images: torch.stack([brightest(images), torch.full((len(images),), 0.5)], 1),
        image,
        right,
        fractions=(0.01, 0.2),
        link=predicts(0),
    )
    assert accuracy.values.tolist() == [1.0, 0.0]  # the paper's quantity


@pytest.mark.parametrize("fractions", [(), (0.0, 0.5), (0.5, 0.4), (0.5, 1.0), (NAN,)])
def test_road_asks_for_fractions_between(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected rising fractions of the pixels, between 0 and 1"):
        road(lambda images: images.sum((1, 2, 3)), torch.rand(1, 1, 4, 4), torch.rand(4, 4), fractions=fractions)


# --- average drop and increase --------------------------------------------------------------------------------------------------


def test_the_drop_is_that_of_grad_cam_plus_plus() -> None:
    image, heat, weights = draw(1, 3, 5, 5), draw(4, 5, 5, seed=1), draw(4, 3, 5, 5, seed=2)
    got = confidence(linear(weights), image, heat, link=torch.sigmoid, batch=3)
    drops = rises = 0
    for target in range(4):
        values = heat[target].flatten().tolist()
        full = masked = 0.0
        for c, i, j in itertools.product(range(3), range(5), range(5)):
            seen = (heat[target, i, j].item() - min(values)) / (max(values) - min(values))
            full += weights[target, c, i, j].item() * image[0, c, i, j].item()
            masked += weights[target, c, i, j].item() * seen * image[0, c, i, j].item()
        y, o = 1 / (1 + math.exp(-full)), 1 / (1 + math.exp(-masked))
        assert got.drop[target].item() == pytest.approx(max(0, y - o) / y)
        assert got.increase[target].item() == (y < o)
        drops, rises = drops + (y > o), rises + (y < o)
    assert drops and rises


def test_nan_hides_and_the_score_must_be_above_zero() -> None:
    image = torch.ones(1, 1, 1, 3)
    score = linear(torch.tensor([[[1.0, 2.0, 4.0]]]))
    assert confidence(score, image, torch.tensor([[0.0, 1.0, NAN]])).masked.item() == 2
    unscaled = confidence(score, image, torch.tensor([[0.25, 0.5, NAN]]), scale=False)
    assert unscaled.masked.item() == 1.25
    with pytest.raises(InputError, match=r"a map from -1 to 2 was given with scale=False; expected a mask from 0 to 1"):
        confidence(score, image, torch.tensor([[-1.0, 1.0, 2.0]]), scale=False)
    with pytest.raises(InputError, match="a score of -7 of the whole image was given; expected probabilities above 0"):
        confidence(lambda images: -score(images), image, torch.tensor([[0.0, 1.0, 2.0]]))


# --- IROF and superpixels -------------------------------------------------------------------------------------------------------


def test_irof_is_the_textbook_s() -> None:
    image, heat, weights = draw(1, 2, 6, 6), draw(2, 6, 6, seed=1), draw(2, 2, 6, 6, seed=2)
    segments = (torch.arange(6)[:, None] // 2 * 3 + torch.arange(6) // 2).contiguous()
    mean = image.mean((2, 3), keepdim=True)[0]
    got = irof(linear(weights), image, heat, segments, link=torch.sigmoid, baseline=mean, batch=7)
    for target in range(2):
        means = [heat[target][segments == piece].mean().item() for piece in range(9)]
        now = image.clone()
        full = linear(weights[target])(now).sigmoid().item()
        values = [1.0]
        for piece in sorted(range(9), key=lambda piece: -means[piece]):
            now[0, :, segments == piece] = mean[:, 0]
            values.append(linear(weights[target])(now).sigmoid().item() / full)
        assert got.curve.values[target].tolist() == pytest.approx(values)
        area = sum((a + b) / 2 for a, b in itertools.pairwise(values)) / 9
        assert got.aoc[target].item() == pytest.approx(1 - area)


def test_irof_asks_for_whole_segments_and_a_positive_score() -> None:
    image, heat = torch.rand(1, 1, 4, 4), torch.rand(4, 4)
    score = linear(torch.ones(1, 4, 4))
    for segments in (torch.zeros(3, 4, dtype=torch.long), torch.full((4, 4), 2), torch.tensor([[0, 2, 2, 2]] * 4)):
        with pytest.raises(InputError, match="expected one number for each of the 4 x 4 pixels, from 0 up, all used"):
            irof(score, image, heat, segments)
    with pytest.raises(InputError, match="expected probabilities above 0"):
        irof(score, -image, heat, torch.arange(16).view(4, 4))


def test_irof_of_a_map_whose_pieces_are_all_alike_is_nan() -> None:
    heat = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    assert irof(linear(torch.ones(1, 1, 4)), torch.ones(1, 1, 1, 4), heat, torch.tensor([[0, 0, 1, 1]])).aoc.isnan()


def components(labels: Tensor) -> list[int]:
    """How many parts, connected by their sides, each label has."""
    counts = [0] * (int(labels.max()) + 1)
    left = {(i, j): int(labels[i, j]) for i in range(labels.shape[0]) for j in range(labels.shape[1])}
    while left:
        start, label = left.popitem()
        counts[label] += 1
        part = [start]
        for i, j in part:
            for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if left.get(near) == label:
                    part.append(near)
                    del left[near]
    return counts


@pytest.mark.parametrize("pieces", [1, 20, 60])
def test_superpixels_are_connected_and_about_as_many_as_asked(pieces: int) -> None:
    image = torch.nn.functional.interpolate(draw(1, 3, 6, 7), size=(48, 56), mode="bilinear") + 0.1 * draw(1, 3, 48, 56)
    labels = slic(image, pieces=pieces)
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert components(labels) == [1] * (int(labels.max()) + 1)
    assert 0.5 * pieces <= int(labels.max()) + 1 <= 1.5 * pieces
    assert labels.equal(slic(image, pieces=pieces))
    sizes = labels.flatten().bincount()
    assert int(sizes[1:].min() if pieces > 1 else sizes[0]) >= 48 * 56 / pieces / 4 - 1


def test_superpixels_keep_to_colours() -> None:
    image = torch.zeros(1, 3, 40, 40)
    image[..., 13:29, 9:31] = 1.0
    labels = slic(image, pieces=25, compactness=0.1)
    inside = image[0, 0] > 0
    assert not set(labels[inside].tolist()) & set(labels[~inside].tolist())
    flat = slic(torch.zeros(1, 3, 40, 40), pieces=25)
    assert flat.view(5, 8, 5, 8).movedim(1, 2).flatten(2).unique(dim=2).shape[2] == 1  # without colours: squares
    with pytest.raises(InputError, match="pieces=0"):
        slic(image, pieces=0)


def test_means_of_pieces_leave_nan_out() -> None:
    heat = torch.tensor([[1.0, NAN, 3.0, NAN]])
    got = segment_means(heat, torch.tensor([[0, 0, 1, 2]]))
    assert got[:2].tolist() == [1.0, 3.0] and got[2].isnan()


# --- what can't be measured -----------------------------------------------------------------------------------------------------


def test_errors_say_what_was_expected() -> None:
    image, heat = torch.rand(1, 1, 4, 4), torch.rand(2, 4, 4)
    score = linear(torch.rand(2, 1, 4, 4))
    with pytest.raises(InputError, match=r"a map of shape \(3, 4\) was given for an image of shape \(1, 1, 4, 4\)"):
        deletion(score, image, torch.rand(3, 4))
    with pytest.raises(InputError, match="3 maps were given, but the score of one image has the shape"):
        deletion(score, image, torch.rand(3, 4, 4))
    with pytest.raises(
        InputError, match=r"the score of 1 images has the shape \(7,\); expected one row for each image"
    ):
        deletion(lambda images: torch.zeros(7), image, heat, batch=1)
    with pytest.raises(InputError, match="batch=0 was given"):
        deletion(score, image, heat, batch=0)
    with pytest.raises(InputError, match="steps=0 was given"):
        insertion(score, image, heat, steps=0)
    with pytest.raises(InputError, match=r"a baseline of shape \(3,\) was given"):
        deletion(score, image, heat, baseline=torch.zeros(3))
    with pytest.raises(InputError, match="step=0 was given"):
        pixel_flipping(score, image, heat, baseline=0.0, step=0)
    with pytest.raises(InputError, match="window=4"):
        blurred(image, window=4)


# --- words, answers and classes of real models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classifier", "captioner", "vqa"])
def test_any_target_of_a_subject_can_be_measured(kind: str) -> None:
    scene = make(0, "test")
    asks: dict[str, dict[str, Any]] = {
        "classifier": {},
        "captioner": {"caption": scene.captions()[0].text},
        "vqa": {"question": scene.questions()[0].text},
    }
    seen: list[Subject] = []

    def measure(subject: Subject) -> Tensor:
        seen.append(subject)
        size = subject.image.shape[-2:]
        heat = torch.rand(len(subject.targets), *size, generator=torch.Generator().manual_seed(0))
        whole, blank = subject.scores(subject.image)[0], subject.scores(torch.zeros_like(subject.image))[0]
        for curve in (
            deletion(subject.scores, subject.image, heat, steps=2, batch=5),
            insertion(subject.scores, subject.image, -heat, baseline=0.0, steps=2),
        ):
            assert curve.values.shape == (len(subject.targets), 3)
            ends = curve.values[:, [0, -1]].sum(1)
            assert torch.allclose(ends, whole + blank, atol=1e-3)
        assert road(subject.scores, subject.image, heat, fractions=(0.5,)).values.isfinite().all()
        return heat

    method = PerturbationMethod("measure", measure, "Measure", "none", "none")
    vlcam.explain(getattr(bundled, kind)(), scene.image(), method=method, **asks[kind])
    assert len(seen) == 1 and len(seen[0].targets) >= 1
