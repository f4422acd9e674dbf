"""The counts and p-values of significance tests: sequential draws, both comparisons, Holm's correction."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vlcam.contracts import Target
from vlcam.explanation.record import FillTest, SignificanceTest
from vlcam.explanation.region_test import ENOUGH, DrawCount, RegionComparison, correct_for_number
from vlcam.explanation.verdict import disagree, write_verdict

REGION = torch.ones(2, 2, dtype=torch.bool)
ROSE, FELL = FillTest("mean", -1.0, 9, 9), FillTest("blur", 2.0, 9, 0)


def compare(places: DrawCount, models: DrawCount, *, learnt: bool = True) -> RegionComparison:
    return RegionComparison(REGION, 1.0, (FELL,), 1.0, 1.0, places, models, DrawCount(99, 0 if learnt else 5))


def test_drawing_stops_when_enough_did_as_much() -> None:
    tally = DrawCount()
    for number in range(100):
        tally = tally.add(number % 2 == 1)
    assert tally == DrawCount(2 * ENOUGH, ENOUGH) and tally.stopped and tally.p == 0.5
    assert DrawCount(99, 0).p == 0.01 and DrawCount(99, 4).p == 0.05 and DrawCount().p == 1.0


def test_sequential_p_values_of_exchangeable_draws_are_uniform() -> None:
    """The share of p-values up to a level is the level, where it can be reached: ENOUGH / drawn, or (1 + as much) / 100."""
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        own, others = rng.random(), rng.random(99)
        tally = DrawCount()
        for one in others.tolist():
            tally = tally.add(one >= own)
        found.append(tally.p)
    for level in (0.01, 0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=2.6 * (level * (1 - level) / 400) ** 0.5)


def test_both_comparisons_have_to_be_passed() -> None:
    few, many = DrawCount(99, 0), DrawCount(99, 9)
    assert compare(few, many).p == compare(many, few).p == 0.1 and compare(few, few).p == 0.01
    assert compare(few, many, learnt=False).p == compare(many, many, learnt=False).p == 0.1  # no matter where
    assert compare(many, few, learnt=False).p == 0.01


def test_a_map_that_fails_among_regions_asks_fewer_untrained_models() -> None:
    assert compare(DrawCount(99, 0), DrawCount(50, 0)).is_waiting(99) and not compare(
        DrawCount(99, 0), DrawCount(99, 0)
    ).is_waiting(99)
    assert not compare(DrawCount(30, 10), DrawCount(39, 0)).is_waiting(99)


def test_holm() -> None:
    assert correct_for_number([0.01, 0.02, 0.03]) == pytest.approx((0.03, 0.04, 0.04))
    assert correct_for_number([0.5, 0.9, None]) == (1.0, 1.0, None)
    assert correct_for_number([]) == () and correct_for_number([0.2]) == (0.2,)


def test_fills_disagree_where_the_score_falls_with_one_and_rises_with_another() -> None:
    assert disagree((ROSE, FELL)) and not disagree((FELL, FELL)) and not disagree(())
    assert not disagree((FillTest("mean", -0.1, 9, 9), FELL))  # hardly


def say(
    p: float, corrected: float, *, removed: float = 8.7, as_much: int = 0, untrained: int = 0, number: int = 1, models: int = 220,
    fills: tuple[FillTest, ...] = (FELL,), reach: float = 9.0, learnt: bool = True,
) -> str:  # fmt: skip
    target = Target("star", "word", measure="log-probability")
    test = SignificanceTest(0.1, 220, removed, as_much, models, untrained, fills, p, corrected, None, None, "")
    return write_verdict(target, test, reach, number, learnt=learnt)


def test_verdict_counts_and_p_speak_of_the_same() -> None:
    assert say(0.0045, 0.0045) == (
        "Removing this region lowers 'star' by 8.7 nats; none of 220 random regions and none of 220 untrained models did as much. "
        "Better than chance (p = 0.0045)."
    )
    assert say(0.0045, 0.05, number=11).endswith("Better than chance (p = 0.0045; 0.05 corrected for 11 tests).")
    assert "taken alone, but not as one of 11 (p = 0.03; 0.33 corrected for 11 tests)" in say(0.03, 0.33, number=11)
    assert (
        "; 50 of 220 random regions and none of 220 untrained models did as much. A random map may do as well (p = 0.23)."
        in say(0.23, 0.23, as_much=50)
    )
    assert say(0.2, 0.2, untrained=7, models=39, learnt=False) == (
        "Removing this region lowers 'star' by 8.7 nats; 7 of 39 untrained models did as much. An untrained model may do as well "
        "(p = 0.2), and the picture as a whole moves 'star' no more than in models without training."
    )
    assert (
        "none of 220 random regions, but 100 of 220 untrained models did as much. An untrained model may do as well"
        in say(0.45, 0.45, untrained=100)
    )
    assert "The fills disagree, so be careful; the score falls by \u22121 (mean), +2 (blur)." in say(
        0.01, 0.01, fills=(ROSE, FELL)
    )
    assert say(0.4, 0.4, reach=0.02).startswith("'star' hardly depends on the picture: ")


def test_regions_stand_for_their_area() -> None:
    half: Tensor = torch.tensor([[True, False]])
    assert RegionComparison(half, 1.0, (FELL,), 1.0, 1.0, DrawCount()).area == 0.5
