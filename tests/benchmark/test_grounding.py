"""The table of hits: means over targets, and intervals over scenes."""

import math

import numpy as np
import pytest

from vlcam.benchmark.grounding import HitTable


def make_table(hits: list[list[float]]) -> HitTable:
    """One list of hits for each scene."""
    table = HitTable()
    for scene, row in enumerate(hits):
        for hit in row:
            table.add(scene, {"map": hit, "area": 0.1})
    return table


def test_an_interval_draws_scenes_with_all_their_targets() -> None:
    rng = np.random.default_rng(0)
    hits = [[float(rng.random() < share) for _ in range(rng.integers(1, 6))] for share in rng.random(30)]
    draws = []
    for row in np.random.default_rng(7).integers(0, 30, (2000, 30)):
        taken = [hit for scene in row for hit in hits[scene]]
        draws.append(sum(taken) / len(taken))
    found = make_table(hits).compute_interval(seed=7)
    low, high = sorted(draws)[math.floor(0.025 * 1999)], sorted(draws)[math.ceil(0.975 * 1999)]
    assert found == pytest.approx((low, high), abs=1e-12)


def test_targets_that_agree_within_a_scene_don_t_narrow_the_interval() -> None:
    hits = [float(n % 2) for n in range(40)]
    once, often = make_table([[hit] for hit in hits]), make_table([[hit] * 6 for hit in hits])
    assert often.compute_interval() == once.compute_interval()
    assert often.compute_means()["map"] == once.compute_means()["map"] == 0.5
    assert len(often.rows) == 6 * len(once.rows)


def test_a_column_that_few_targets_have() -> None:
    table = make_table([[1.0], [0.0]])
    table.rows[0]["contrast"] = 1.0
    assert table.compute_means() == {"map": 0.5, "contrast": 1.0, "area": 0.1}
    assert table.compute_interval("contrast") == (1.0, 1.0)
    assert all(math.isnan(end) for end in table.compute_interval("ceiling"))
