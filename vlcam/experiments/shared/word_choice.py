"""Which method and target ground a word best, without picking winners by luck.

Dozens of pairs of a method and a target are compared, so the best number among them is partly luck. Therefore half of the scenes (the even
ones) choose, and only the other half says how much better the chosen pair is than the default; every difference is paired, within the same
words of the same scenes, and its interval is bootstrapped over scenes. What decides is the mean of four measures, all from 0 to 1:
pointing, mass, F1-IoU and the top-1 agreement with the removal of objects. Pairs that were measured on fewer scenes are compared on those.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, final

from vlcam.experiments.shared.word_grounding import F1, MASS, POINTING, TOP, GroundingScores
from vlcam.metrics.statistics import Summary, summarise

DECIDING: Final = (POINTING, MASS, F1, TOP)
"""The measures whose mean decides."""

ENOUGH: Final = 10
"""Scenes in each half that a pair has to be measured on to take part: with fewer, bootstrap intervals are too narrow to be trusted."""


@final
@dataclass(frozen=True)
class PairComparison:
    """The chosen pair, and its differences to the default on the scenes that had no part in the choice: by measure, and of all four."""

    name: str
    overall: Summary
    by_measure: tuple[tuple[str, Summary], ...]

    @property
    def better(self) -> bool:
        """Whether the interval of the mean of all four measures lies above zero."""
        return self.overall.low > 0


def compute_differences(
    scores: GroundingScores,
    name: str,
    default: str,
    column: str,
    kinds: Sequence[str],
    scenes: Sequence[int] | None = None,
) -> tuple[list[float], list[int]]:
    """``name`` less ``default`` for every word (or caption) that both have an answer for, and the scene of each."""
    one, other = (scores.get_values(which, column, kinds, scenes) for which in (name, default))
    both = [where for where in one if where in other and not math.isnan(one[where] - other[where])]
    return [one[where] - other[where] for where in both], [where[0] for where in both]


def average_differences(
    scores: GroundingScores, name: str, default: str, kinds: Sequence[str], scenes: Sequence[int] | None = None
) -> list[float]:
    """For every scene in which all four have an answer: the mean over the measures of the scene's mean difference."""
    found: dict[int, dict[str, list[float]]] = {}
    for column in DECIDING:
        for value, scene in zip(*compute_differences(scores, name, default, column, kinds, scenes), strict=True):
            found.setdefault(scene, {}).setdefault(column, []).append(value)
    return [
        fmean(fmean(values) for values in columns.values())
        for columns in found.values()
        if len(columns) == len(DECIDING)
    ]


def compare(
    scores: GroundingScores,
    name: str,
    default: str,
    kinds: Sequence[str],
    scenes: Sequence[int] | None = None,
    *,
    seed: int = 0,
) -> PairComparison:
    """A pair against the default, paired, on some scenes or all."""
    parts = []
    for column in DECIDING:
        values, where = compute_differences(scores, name, default, column, kinds, scenes)
        parts.append((column, summarise(values, seed=seed, clusters=where)))
    return PairComparison(
        name, summarise(average_differences(scores, name, default, kinds, scenes), seed=seed), tuple(parts)
    )


def choose(
    scores: GroundingScores, names: Sequence[str], default: str, kinds: Sequence[str], *, seed: int = 0
) -> PairComparison | None:
    """The pair that is best on the even scenes, measured on the odd ones; None if no pair was measured on :data:`ENOUGH` of each.

    The default itself is among the candidates; of equals the first wins.
    """
    even = [scene for scene in scores.objects if scene % 2 == 0]
    odd = [scene for scene in scores.objects if scene % 2 == 1]
    found = []
    for name in dict.fromkeys((default, *names)):
        first = average_differences(scores, name, default, kinds, even)
        if min(len(first), len(average_differences(scores, name, default, kinds, odd))) >= ENOUGH:
            found.append((fmean(first), name))
    if not found:
        return None
    best = max(found, key=lambda one: one[0])[1]
    return compare(scores, best, default, kinds, odd, seed=seed)
