"""Formulas of two or three concepts that match a unit better than one concept does, and better than formulas do by chance.

A longer formula always fits at least as well, so its IoU is compared with the best formula of the *same length* when pictures and
labels don't belong together (:data:`DRAWS` permutations, standardised and pooled over the units as in
:mod:`vlcam.neurons.scoring.null`), and it must be better than anything shorter by :data:`GAIN`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float, Int64

from vlcam.neurons.scoring.null import check_significance, draw_orders
from vlcam.neurons.scoring.scorers import OverlapScorer
from vlcam.neurons.scoring.together import Formula, choose_candidates, count_pairs, find_best_pairs, find_best_triples

if TYPE_CHECKING:
    from vlcam.neurons.scoring.settings import Settings

DRAWS: Final = 20
GAIN: Final = 0.10
CANDIDATES: Final = 30
_LEVEL: Final = 0.05


def find_best_formulas(
    overlap: OverlapScorer, settings: "Settings", progress: Callable[[int, int], None] | None = None
) -> dict[int, Formula]:
    """The formula of each unit that has one, by unit."""
    single = overlap.score_concepts().max(axis=1)
    found = search(overlap, overlap.score_concepts(), settings.length)
    null = np.zeros((settings.length - 1, DRAWS, len(single)))
    for draw, order in enumerate(draw_orders(len(overlap.marks), DRAWS, settings.seed + 1)):
        scores = overlap.marks.iou(overlap.marks.count(overlap.fired, order.tolist()), overlap.sizes)
        for n, row in enumerate(search(overlap, scores, settings.length, order)):
            null[n, draw] = [0.0 if one is None else one.iou for one in row]
        if progress is not None:
            progress(draw + 1, DRAWS)
    out: dict[int, Formula] = {}
    best = single.copy()
    for n, row in enumerate(found):
        observed = np.array([0.0 if one is None else one.iou for one in row])
        _, passed = check_significance(observed, null[n], overlap.fired.sizes > 0, _LEVEL)
        for unit, one in enumerate(row):
            if one is not None and passed[unit] and one.iou >= settings.least and one.iou >= (1 + GAIN) * best[unit]:
                out[unit] = one
                best[unit] = one.iou
    return out


def search(
    overlap: OverlapScorer,
    scores: Float[np.ndarray, "units concepts"],
    length: int,
    order: Int64[np.ndarray, " images"] | None = None,
) -> list[list[Formula | None]]:
    """Each unit's best formula of two concepts, and of three if they are wanted."""
    marks, fired = overlap.marks, overlap.fired
    chosen = choose_candidates(scores, min(CANDIDATES, len(marks.concepts)))
    found = count_pairs(fired, marks, chosen, order)
    beams = [find_best_pairs(found, marks, unit) for unit in range(len(chosen))]
    out: list[list[Formula | None]] = [[beam[0] if beam else None for beam in beams]]
    if length > 2:
        out.append(find_best_triples(fired, marks, beams, chosen, order))
    return out
