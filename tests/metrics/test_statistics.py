"""The mean of many values with its interval: what counts, what is drawn, and that the interval covers."""

import math

import numpy as np
import pytest
import torch

import vlcam
from vlcam.metrics import Summary, summarise, summarise_by

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
