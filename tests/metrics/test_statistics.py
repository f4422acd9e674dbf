"""Numbers with their intervals: what counts, what is drawn, and that intervals cover. Scores against the truth, as in scikit-learn."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score, roc_auc_score

import vlcam
from tests import reference
from vlcam.metrics import Summary, auroc, average_precision, mean_average_precision, summarise, summarise_by
from vlcam.metrics.statistics import (
    average_precision_by_level,
    bootstrap,
    bootstrap_crossed,
    compute_interval,
    draw_times,
    summarise_crossed,
    summarise_effect,
    summarise_share,
)

NAN, INF = math.nan, math.inf


def test_what_counts() -> None:
    one = summarise([1.0, NAN, 0.0, 1.0, NAN], seed=3)
    assert (one.n, one.undefined) == (3, 2) and one.mean == pytest.approx(2 / 3)
    assert 0 <= one.low < one.mean < one.high <= 1
    assert summarise([0.25], seed=0) == Summary(1, 0, 0.25, 0.25, 0.25)
    for nothing in ([], [NAN, NAN]):
        empty = summarise(nothing, seed=0)
        assert (empty.n, empty.undefined) == (0, len(nothing))
        assert all(math.isnan(value) for value in (empty.mean, empty.low, empty.high))


def test_the_seed_decides_and_nothing_else() -> None:
    values = np.random.default_rng(0).random(50)
    one = summarise(values, seed=1)
    assert one == summarise(values.tolist(), seed=1) == summarise(torch.from_numpy(values), seed=1)
    assert one != summarise(values, seed=2)
    assert summarise([True, False, True, True], seed=0) == summarise([1.0, 0.0, 1.0, 1.0], seed=0)


def test_the_interval_is_that_of_a_plain_loop() -> None:
    values = np.random.default_rng(5).normal(size=40)
    rng = np.random.default_rng(9)
    draws = sorted(float(np.mean(values[row])) for row in rng.integers(0, 40, (400, 40)))
    found = summarise(values, seed=9, resamples=400)
    assert found.low == pytest.approx(draws[math.floor(0.025 * 399)], abs=1e-12)
    assert found.high == pytest.approx(draws[math.ceil(0.975 * 399)], abs=1e-12)
    by = summarise_by(lambda drawn: float(values[drawn].mean()), 40, seed=9, resamples=400)
    assert (by.mean, by.low, by.high) == pytest.approx((found.mean, found.low, found.high), abs=1e-12)


def test_it_covers_the_truth_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        found = summarise(rng.random(60) < 0.3, seed=trial, resamples=300)
        covered += found.low <= 0.3 <= found.high
    assert 0.90 < covered / 300 < 0.985


def test_photos_are_drawn_whole() -> None:
    rng = np.random.default_rng(1)
    photos = np.repeat(np.arange(30), 10)
    values = np.repeat(rng.random(30), 10)  # ten words of a photo that say the same
    whole = summarise(values, seed=0, clusters=photos.tolist())
    each = summarise(values, seed=0)
    assert whole.mean == each.mean and whole.n == each.n == 300
    assert (whole.high - whole.low) > 2.5 * (each.high - each.low)
    single = summarise(values[::10], seed=0)
    assert (whole.low, whole.high) == pytest.approx((single.low, single.high), abs=1e-12)
    named = summarise(values, seed=0, clusters=[f"photo {n}" for n in photos])
    assert named == whole
    uneven = summarise([1.0, 1.0, 1.0, 0.0, NAN], seed=0, clusters=["a", "a", "a", "b", "c"])
    assert uneven.mean == 0.75 and (uneven.low, uneven.high) == (0.0, 1.0)  # over values; photo c has none
    by = summarise_by(lambda drawn: float(values[drawn].mean()), 300, seed=0, clusters=photos.tolist())
    assert (by.low, by.high) == pytest.approx((whole.low, whole.high), abs=1e-12)


def test_infinite_values() -> None:
    one = summarise([1.0, 2.0, INF], seed=0)
    assert one.mean == INF == one.high and one.low < INF and not math.isnan(one.low)
    both = summarise([INF, -INF, 1.0], seed=0)
    assert math.isnan(both.mean) and math.isnan(both.low) and both.n == 3


def test_a_statistic_without_an_answer_in_some_draws() -> None:
    values = np.array([1.0, NAN, 3.0])
    found = summarise_by(lambda drawn: float(values[drawn].min()), 3, seed=0)
    assert math.isnan(found.mean) and (found.low, found.high) == (1.0, 3.0)  # draws with the NaN are left out


def test_many_values() -> None:
    found = summarise(np.random.default_rng(0).random(20000), seed=0, clusters=(np.arange(20000) // 4).tolist())
    assert found.high - found.low < 0.02


def test_wrong_inputs() -> None:
    with pytest.raises(vlcam.InputError, match="1 clusters for 2 values"):
        summarise([1.0, 2.0], seed=0, clusters=["a"])
    with pytest.raises(vlcam.InputError, match="resamples=0"):
        summarise([1.0], seed=0, resamples=0)
    for n, clusters in ((0, None), (2, ["a"])):
        with pytest.raises(vlcam.InputError, match="expected at least one record"):
            summarise_by(len, n, seed=0, clusters=clusters)


def test_values_and_photos_in_any_order_are_a_naive_loop_over_photos() -> None:
    """A draw of photos takes along all values of each, however many there are."""
    rng = np.random.default_rng(4)
    photos = rng.integers(0, 12, 70)
    values = rng.normal(photos, 1.0)
    numbers = list(dict.fromkeys(photos.tolist()))  # in order of appearance, as they are drawn
    draws = []
    for row in np.random.default_rng(8).integers(0, len(numbers), (200, len(numbers))):
        taken: list[float] = []
        for number in row:
            taken += [value for value, photo in zip(values, photos, strict=True) if photo == numbers[number]]
        draws.append(sum(taken) / len(taken))
    found = summarise(values, seed=8, clusters=photos.tolist(), resamples=200)
    low, high = sorted(draws)[math.floor(0.025 * 199)], sorted(draws)[math.ceil(0.975 * 199)]
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=1e-12)


def cover_with_photos(
    interval: Callable[[Float[np.ndarray, " values"], list[int], int], Summary],
) -> float:
    """How often an interval has the truth, of 300 samples of 40 photos whose 1 to 8 values share most of their luck."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        photos = np.repeat(np.arange(40), rng.integers(1, 9, 40))
        values = rng.normal(size=40)[photos] + 0.3 * rng.normal(size=len(photos))
        found = interval(values, photos.tolist(), trial)
        covered += found.low <= 0 <= found.high
    return covered / 300


def test_intervals_cover_only_if_photos_are_drawn_whole() -> None:
    assert 0.90 < cover_with_photos(lambda v, p, s: summarise(v, seed=s, clusters=p, resamples=300)) < 0.985
    assert cover_with_photos(lambda v, p, s: summarise(v, seed=s, resamples=300)) < 0.75
    by = cover_with_photos(
        lambda v, p, s: summarise_by(lambda drawn: float(v[drawn].mean()), len(v), seed=s, clusters=p, resamples=300)
    )
    assert 0.90 < by < 0.985


def test_the_bootstrap_gives_rows_of_values_a_resample_each() -> None:
    heights = np.random.default_rng(0).normal(size=9)

    def low_and_high(drawn: np.ndarray) -> np.ndarray:
        return np.stack([heights[drawn].min(1), heights[drawn].max(1)], axis=1)

    found = bootstrap(low_and_high, 9, seed=(3, 4), resamples=50)
    wanted = np.random.default_rng([3, 4]).integers(0, 9, (50, 9))
    assert found.tolist() == [[min(heights[row]), max(heights[row])] for row in wanted]


def test_many_resamples_are_drawn_in_parts_that_are_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap(lambda drawn: drawn.sum(1).astype(float), 7, seed=1, resamples=20)
    sizes: list[int] = []

    def add(drawn: np.ndarray) -> np.ndarray:
        sizes.append(len(drawn))
        return np.asarray(drawn.sum(1), np.float64)

    monkeypatch.setattr("vlcam.metrics.statistics._AT_ONCE", 7 * 6)
    assert bootstrap(add, 7, seed=1, resamples=20).tolist() == whole.tolist()
    assert sizes == [6, 6, 6, 2]


def test_times_are_counts_of_draws() -> None:
    times = draw_times(5, 4000, np.random.default_rng(0))
    assert times.shape == (4000, 5) and (times.sum(1) == 5).all() and (times == times.round()).all()
    assert times.mean(0) == pytest.approx(np.ones(5), abs=0.06)
    assert times.var(0) == pytest.approx(np.full(5, 0.8), abs=0.06)  # n p (1 - p)


def test_intervals_end_at_draws_or_between_two() -> None:
    draws = np.random.default_rng(0).normal(size=200)
    low, high = compute_interval(draws)
    assert low in draws and high in draws
    between = compute_interval(draws, interpolate=True)
    assert low < between[0] < between[1] < high
    assert between == (np.quantile(draws, 0.025), np.quantile(draws, 0.975))
    assert compute_interval(np.append(draws, [NAN, NAN])) == (low, high)
    assert all(math.isnan(end) for end in compute_interval(np.full(3, NAN)))


def test_a_share_is_a_naive_loop_over_photos() -> None:
    rng = np.random.default_rng(3)
    total = rng.integers(0, 4, 25) * (rng.random(25) < 0.3).astype(float)  # most photos count nothing
    right = np.floor(total * rng.random(25))
    found = summarise_share(right, total, seed=(0, 25), resamples=300)
    shares = []
    for row in np.random.default_rng([0, 25]).integers(0, 25, (300, 25)):
        if sum(total[row]):
            shares.append(sum(right[row]) / sum(total[row]))
    assert (found.n, found.mean) == (total.sum(), right.sum() / total.sum())
    assert (found.low, found.high) == pytest.approx(np.quantile(shares, (0.025, 0.975)), abs=1e-12)
    nothing = summarise_share(0 * right, 0 * total, seed=0)
    assert nothing.n == 0 and all(math.isnan(one) for one in (nothing.mean, nothing.low, nothing.high))
    rare = summarise_share(np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]), seed=0)
    assert rare == Summary(1, 0, 1.0, 1.0, 1.0)  # draws without the only photo that counts have no share


def test_shares_and_effects_with_their_intervals() -> None:
    rng = np.random.default_rng(0)
    right, total = (rng.random(50) < 0.8).astype(float), np.ones(50)
    found = summarise_share(right, total, seed=(0, 50), resamples=1000)
    assert found.mean == right.mean() and found.n == 50
    assert found.low < found.mean < found.high
    assert 0.05 < found.high - found.low < 0.35
    values = 2 + rng.standard_normal(50)
    mean, size = summarise_effect(values, np.arange(50), 50, seed=(0, 50), resamples=1000)
    assert mean.mean == pytest.approx(values.mean()) and size.mean == pytest.approx(values.mean() / values.std())
    assert mean.low < 2 < mean.high and size.low > 1
    one, other = summarise_effect(values[:1], np.arange(1), 50, seed=0)
    assert one.n == other.n == 1 and math.isnan(one.mean) and math.isnan(other.mean)


def test_an_effect_is_a_naive_loop_over_photos() -> None:
    rng = np.random.default_rng(6)
    photos = rng.integers(0, 10, 30)
    values = rng.normal(1, 2, 30)
    found = summarise_effect(values, photos, 12, seed=5, resamples=100)  # the last two photos have no value
    draws = []
    for row in np.random.default_rng(5).integers(0, 12, (100, 12)):
        taken = np.concatenate([values[photos == photo] for photo in row])
        draws.append((taken.mean(), taken.mean() / taken.std()))
    for one, column in zip(found, np.transpose(draws), strict=True):
        assert (one.low, one.high) == pytest.approx(np.quantile(column, (0.025, 0.975)), abs=1e-9)


def test_crossed_means_are_their_textbook_twin() -> None:
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 2, (2, 6, 3)).astype(float)
    values = counts * rng.normal(size=counts.shape)
    found = bootstrap_crossed(values, counts, resamples=150, seed=9)
    again = np.random.default_rng(9)
    rows, columns = again.multinomial(6, [1 / 6] * 6, 150), again.multinomial(3, [1 / 3] * 3, 150)
    for method in range(2):
        for draw in range(150):
            above = below = 0.0
            for picture in range(6):
                for rater in range(3):
                    weight = rows[draw, picture] * columns[draw, rater]
                    above += weight * values[method, picture, rater]
                    below += weight * counts[method, picture, rater]
            assert found[method, draw] == pytest.approx(above / below if below else math.nan, nan_ok=True)


def test_crossed_intervals_match_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random((4, 30)) < rng.random((4, 1))).astype(np.float64)
    values[1, 3] = math.nan
    found = summarise_crossed(values, seed=1)
    assert (found.n, found.undefined) == (119, 1)
    assert found.mean == pytest.approx(np.nanmean(values))
    means = []
    for _ in range(3000):
        runs, people = rng.integers(0, 4, 4), rng.integers(0, 30, 30)
        means.append(np.nanmean([values[run, one] for run in runs for one in people]))
    assert found.low == pytest.approx(np.quantile(means, 0.025), abs=0.04)
    assert found.high == pytest.approx(np.quantile(means, 0.975), abs=0.04)
    nothing = summarise_crossed(np.full((2, 3), math.nan), seed=0)
    assert nothing.n == 0 and math.isnan(nothing.mean)


def test_crossed_intervals_cover_the_truth() -> None:
    """Of 200 studies by one rater, with 60 pictures and a true share of 0.7, about 95 % have it in their interval."""
    rng = np.random.default_rng(2)
    covered = 0
    for number in range(200):
        values = (rng.random((1, 60, 1)) < 0.7).astype(float)
        means = bootstrap_crossed(values, np.ones_like(values), resamples=400, seed=number)
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199


def test_the_width_is_the_normal_one_where_that_holds() -> None:
    values = np.random.default_rng(1).normal(size=4000)
    found = summarise(values, seed=0)
    wanted = 2 * NormalDist().inv_cdf(0.975) * values.std() / math.sqrt(len(values))
    assert found.high - found.low == pytest.approx(wanted, rel=0.05)


def test_nothing_to_draw_from() -> None:
    with pytest.raises(vlcam.InputError, match=r"0 clusters were given; expected at least one to draw from"):
        bootstrap(lambda drawn: drawn[:, 0].astype(float), 0, seed=0)
    with pytest.raises(vlcam.InputError, match="resamples=0"):
        draw_times(3, 0, np.random.default_rng(0))


# --- scores against the truth ---------------------------------------------------------------------------------------------


def make_scores(seed: int) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Forty scores, of which many are equal for two seeds of three."""
    rng = np.random.default_rng(seed)
    truth = rng.random(40) < 0.4
    return np.round(rng.normal(size=40) + truth, (seed % 3) or 12), truth


@pytest.mark.parametrize("seed", range(9))
def test_auroc_and_average_precision_are_scikit_learns(seed: int) -> None:
    scores, truth = make_scores(seed)
    for one, chosen in ((scores, truth), (-scores, truth), (scores, ~truth), (np.round(scores), truth)):
        assert auroc(one, chosen) == pytest.approx(roc_auc_score(chosen, one), abs=1e-12)
        assert average_precision(one, chosen) == pytest.approx(average_precision_score(chosen, one), abs=1e-12)
        tensors = torch.from_numpy(one), torch.from_numpy(chosen)
        assert auroc(*tensors) == auroc(one, chosen)
        assert average_precision(*tensors) == average_precision(one, chosen)


@pytest.mark.parametrize("seed", range(6))
def test_auroc_counts_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(40) < 0.4
    scores = np.round(rng.normal(size=40) + truth, seed % 3)  # rounded to whole numbers: many ties
    expected = reference.auroc(scores[truth].tolist(), scores[~truth].tolist())
    assert auroc(scores, truth) == pytest.approx(expected, abs=1e-12)
    assert auroc(-scores, truth) == pytest.approx(1 - expected, abs=1e-12)


def test_auroc_without_one_of_both() -> None:
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([True, True])))
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([False, False])))
    assert np.isnan(auroc(np.zeros(0), np.zeros(0, bool)))
    assert auroc(np.ones(4), np.array([True, False, True, False])) == 0.5
    assert auroc(np.array([-INF, 0.0, INF]), np.array([False, False, True])) == 1.0


def test_average_precision_by_hand() -> None:
    scores, truth = np.array([4.0, 3.0, 2.0, 1.0]), np.array([False, True, False, True])
    assert average_precision(scores, truth) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(scores, ~truth) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert np.isnan(average_precision(scores, np.zeros(4, bool)))
    assert np.isnan(average_precision(np.zeros(0), np.zeros(0, bool)))
    assert average_precision(scores, np.ones(4, bool)) == 1


def test_equal_scores_are_one_level_of_average_precision() -> None:
    """No order among equals counts for or against the model: a threshold takes all of them or none."""
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        truth = np.array([True, True, False])[list(order)]
        assert average_precision(np.full(3, 0.5), truth) == pytest.approx(2 / 3, abs=1e-15)
    assert average_precision(np.zeros(4), np.array([False, True, False, True])) == 0.5
    assert average_precision(np.array([2.0, 1.0, 1.0]), np.array([True, True, False])) == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_matches_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores, positive = rng.permutation(12) / 12, rng.random(12) < 0.4
        ranked = sorted(range(12), key=lambda one: -scores[one])
        hits, total = 0, 0.0
        for place, one in enumerate(ranked, 1):
            if positive[one]:
                hits += 1
                total += hits / place
        wanted = total / hits if hits else math.nan
        found = average_precision(torch.from_numpy(scores), torch.from_numpy(positive))
        assert found == pytest.approx(wanted, nan_ok=True)
    two, there = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[True, False], [False, False]])
    assert mean_average_precision(two, there) == mean_average_precision(two.numpy(), there.numpy()) == 1.0
    assert math.isnan(mean_average_precision(two, torch.zeros(2, 2, dtype=torch.bool)))


def test_average_precision_of_weights_is_scikit_learns() -> None:
    """Cells that a concept covers in part count as positive to their share, and as negative to the rest."""
    rng = np.random.default_rng(2)
    level, share = rng.integers(0, 5, (3, 60)), rng.random((3, 60))
    share[2] = 0.0
    own = np.stack([np.bincount(one, weight, 5) for one, weight in zip(level, share, strict=True)])
    every = np.stack([np.bincount(one, minlength=5) for one in level]).astype(float)
    found = average_precision_by_level(own, every)
    for row in range(2):
        truth = np.repeat([True, False], 60)
        weight = np.concatenate([share[row], 1 - share[row]])
        wanted = average_precision_score(truth, np.tile(level[row], 2), sample_weight=weight)
        assert found[row] == pytest.approx(wanted, abs=1e-12)
    assert found[2] == 0
