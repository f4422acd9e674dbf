"""From scores to names: which concept each unit of a layer stands for, how sure that is, and when there is no name.

1. every concept gets a score for every unit (:mod:`vlcam.neurons.scoring.scorers`); the best one is the candidate;
2. it must reach ``min_score`` (or half the IoU that areas of these sizes allow, if that is less) and beat the null, the best score
   over all concepts when pictures and labels don't belong together (:mod:`vlcam.neurons.scoring.null`), with Benjamini-Hochberg over the
   layer's units. Else the unit has no name;
3. what can be doubted is said: on how many bootstrap samples of the pictures the same concept wins, how close the next one is, whether
   the unit fires for something unrelated as well, whether the concept is rare in the probe.

On many tests at once: the best of C concepts is compared with the best of C concepts by chance, which pays for the choice; over
the K units the false discovery rate is held at 5 % of the names, so among 100 names about 5 may be wrong by this test alone. The
further measures (IoU, average precision, correlation, stability) are descriptions, not further tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray

from vlcam.contracts import InputError
from vlcam.neurons.names.record import Alternative, NameGroup, NeuronName
from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.probes.probe import Concept
from vlcam.neurons.scoring.claims import find_claims, find_group_claims
from vlcam.neurons.scoring.cover import Cover, compute_precisions, correlations
from vlcam.neurons.scoring.fired import Stored, split_chunks
from vlcam.neurons.scoring.formulas import find_best_formulas
from vlcam.neurons.scoring.null import check_significance
from vlcam.neurons.scoring.scorers import CoverScorer, OverlapScorer, Scorer
from vlcam.neurons.scoring.settings import LEVEL, Progress, Settings
from vlcam.neurons.scoring.together import choose_candidates, compute_iou_outside, count_pairs
from vlcam.neurons.scoring.wpmi import ADAPTIVE

Related = Callable[[str, str], bool]
"""Whether two names mean the same or one is a kind or a part of the other."""


UNSTABLE, AMBIGUOUS, FEW = 0.5, 0.1, 10
REACHED: Final = 0.5
"""Large concepts (a background) can't reach an IoU of 0.04; for them this part of what they can reach is enough."""

SECOND: Final = 0.5
"""A further, unrelated name counts from this part of the name's own score on."""

_ALTERNATIVES: Final = 4
_RIVALS: Final = 10


@final
@dataclass(frozen=True, eq=False)
class NamedUnits:
    """The named units, what several of one name may claim together, and the best scores observed and by chance, for the null curve."""

    units: tuple[NeuronName, ...]
    observed: Float[np.ndarray, " units"]
    null: Float[np.ndarray, "draws units"]
    together: tuple[NameGroup, ...] = ()

    def make_null_curve(self) -> dict[str, Any]:
        """The null curve for reports: the units' best scores, quantiles of those by chance, and their 95 % line."""
        spread = np.quantile(self.null, np.linspace(0, 1, 101)) if self.null.size else np.zeros(0)
        return {
            "observed": [round(float(one), 6) for one in self.observed],
            "null": [round(float(one), 6) for one in spread],
            "limit95": round(float(np.quantile(self.null, 0.95)), 6) if self.null.size else 0.0,
        }


def is_related_by_words(one: str, other: str) -> bool:
    """Names are related only if the words of one are among the other's: "red" and "red star"."""
    first, second = set(one.split()), set(other.split())
    return first <= second or second <= first


def name_by_masks(
    maps: Stored,
    marks: Marks,
    settings: Settings,
    *,
    related: Related = is_related_by_words,
    targets: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> NamedUnits:
    """Name units from their maps ``(images, units, h, w)`` and the labels of the same pictures.

    ``targets`` are what the model itself predicts: a name that is one of them is flagged.
    """
    _check(maps, marks)
    overlap = OverlapScorer(maps, marks, settings.quantile)
    cover = Cover.from_marks(marks, (maps.shape[2], maps.shape[3]))
    scorer: Scorer = overlap if settings.scorer == "iou" else CoverScorer(maps, cover, settings.scorer)
    scores = scorer.score_concepts()
    null = scorer.score_by_chance(settings.permutations, settings.seed, _bind_progress(progress, "chance"))
    dead = find_silent(maps)
    observed = scores.max(axis=1)
    live = (overlap.fired.sizes > 0) & ~dead if settings.scorer == "iou" else ~dead
    p, significant = check_significance(observed, null, live, LEVEL)
    best = scores.argmax(axis=1)
    ceilings = compute_iou_ceilings(overlap, best) if settings.scorer == "iou" else np.ones(len(best))
    named = significant & (observed >= np.minimum(settings.least, REACHED * ceilings)) & (observed > 0)
    stable = scorer.measure_stability(settings.bootstrap, settings.seed) if settings.bootstrap else None
    rows = np.arange(len(best))
    iou = overlap.score_concepts()[rows, best]
    r = (scores if settings.scorer == "correlation" else correlations(maps, cover))[rows, best]
    precision = scores[rows, best] if settings.scorer == "auprc" else compute_precisions(maps, cover, best)
    also = _find_further_concepts(overlap, best, named, null, settings, marks.concepts, related)
    formulas = (
        find_best_formulas(overlap, settings, _bind_progress(progress, "formulas")) if settings.length > 1 else {}
    )
    known = [marks.concepts[c] if named[unit] else None for unit, c in enumerate(best.tolist())]
    peaks, thresholds = find_maxima(maps), overlap.thresholds.double().numpy()
    told = find_claims(marks, peaks, thresholds, known, related)
    often = marks.count_images()
    names = [name for name, _ in marks.concepts]
    units = []
    for unit in rows.tolist():
        top = int(best[unit])
        one = _name_unit(unit, scores[unit], marks.concepts, bool(named[unit]), bool(dead[unit]), related)
        stability = None if stable is None or dead[unit] else float(stable[unit])
        flags = _list_flags(one, stability, int(often[top]), also[unit], targets)
        formula = formulas.get(unit)
        units.append(
            replace(
                one,
                ceiling=float(ceilings[unit]),
                p=float(p[unit]),
                threshold=float(overlap.thresholds[unit]),
                iou=float(iou[unit]),
                auprc=float(precision[unit]),
                correlation=float(r[unit]),
                stability=stability,
                also=tuple(names[c] for c in also[unit]),
                formula=None if formula is None else (formula.to_text(names), formula.iou),
                flags=flags,
                claims=told[unit],
            )
        )
    together = find_group_claims(marks, peaks, known, related)
    return NamedUnits(tuple(units), observed, null, together)


def name_by_words(
    maps: Stored,
    thresholds: Float[np.ndarray, " units"],
    scorer: Scorer,
    words: Sequence[str],
    settings: Settings,
    *,
    related: Related = is_related_by_words,
    targets: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> NamedUnits:
    """Name units by words whose fit with whole pictures is known (:class:`vlcam.neurons.scoring.scorers.WordScorer`)."""
    scores = scorer.score_concepts()
    null = scorer.score_by_chance(settings.permutations, settings.seed, _bind_progress(progress, "chance"))
    dead = find_silent(maps)
    observed, best = scorer.compute_test_statistic(), scores.max(axis=1)
    p, significant = check_significance(observed, null, ~dead, LEVEL)
    named = significant & (best > settings.least)
    stable = scorer.measure_stability(settings.bootstrap, settings.seed) if settings.bootstrap else None
    concepts = tuple((word, "word") for word in words)
    units = []
    for unit in range(len(scores)):
        one = _name_unit(unit, scores[unit], concepts, bool(named[unit]), bool(dead[unit]), related)
        stability = None if stable is None or dead[unit] else float(stable[unit])
        further: list[int] = []
        if settings.scorer == "www" and named[unit]:
            high = np.flatnonzero(scores[unit] > ADAPTIVE * best[unit])
            further = [int(c) for c in high[np.argsort(-scores[unit][high], kind="stable")][1:]]
        units.append(
            replace(
                one,
                p=float(p[unit]),
                threshold=float(thresholds[unit]),
                stability=stability,
                also=tuple(words[c] for c in further),
                flags=_list_flags(one, stability, FEW, [], targets),
            )
        )
    return NamedUnits(tuple(units), observed, null)


def find_maxima(maps: Stored) -> Float[np.ndarray, "images units"]:
    """Each unit's maximum in each picture."""
    return np.concatenate([some.amax((2, 3)).numpy() for _, some in split_chunks(maps)])


def find_silent(maps: Stored) -> Bool[np.ndarray, " units"]:
    """Which units have the same value everywhere in all pictures."""
    low = np.full(maps.shape[1], np.inf)
    high = np.full(maps.shape[1], -np.inf)
    for _, some in split_chunks(maps):
        low = np.minimum(low, some.amin((0, 2, 3)).numpy())
        high = np.maximum(high, some.amax((0, 2, 3)).numpy())
    same: NDArray[np.bool_] = low == high
    return same


def _check(maps: Stored, marks: Marks) -> None:
    if not marks.concepts:
        raise InputError("no concepts were given; expected at least one (name, category)")
    if len(set(marks.concepts)) != len(marks.concepts):
        double = next(one for one in marks.concepts if marks.concepts.count(one) > 1)
        raise InputError(f"concept {double} was given twice; expected different ones: join their masks")
    if len(maps) != len(marks) or len(maps) < 2:
        raise InputError(
            f"{len(maps)} image(s) and labels of {len(marks)} were given; expected as many of both, at least 2, and better 500 or more"
        )
    if maps.shape[2] > marks.grid[0] or maps.shape[3] > marks.grid[1]:
        raise InputError(
            f"masks of {marks.grid} cells are coarser than the maps of {tuple(maps.shape[2:])}; give finer masks"
        )


def _name_unit(
    unit: int,
    scores: Float[np.ndarray, " concepts"],
    concepts: Sequence[Concept],
    named: bool,
    dead: bool,
    related: Related,
) -> NeuronName:
    """The record of a unit with its name, its alternatives and how far the next unrelated one is."""
    order = np.argsort(-scores, kind="stable")
    ranked: list[Alternative] = [
        (*concepts[c], float(scores[c])) for c in order[: _ALTERNATIVES + 1].tolist() if scores[c] > 0
    ]
    top = concepts[int(order[0])]
    rival = next((float(scores[c]) for c in order[1:].tolist() if not related(top[0], concepts[c][0])), 0.0)
    best = float(scores[order[0]])
    return NeuronName(
        unit=unit,
        state="named" if named else "dead" if dead else "unnamed",
        name=top[0] if named else None,
        category=top[1] if named else None,
        score=best,
        margin=float(np.clip((best - max(rival, 0.0)) / best, 0.0, 1.0)) if best > 0 else None,
        alternatives=tuple(ranked[1:] if named else ranked[:_ALTERNATIVES]),
    )


def _list_flags(
    one: NeuronName, stability: float | None, pictures: int, also: Sequence[int], targets: frozenset[str]
) -> tuple[str, ...]:
    """The warnings that a name deserves (see :data:`vlcam.neurons.names.record.FLAGS`)."""
    if one.name is None:
        return ()
    found = {
        "polysemantic": bool(also),
        "unstable": stability is not None and stability < UNSTABLE,
        "ambiguous": one.margin is not None and one.margin < AMBIGUOUS,
        "few": pictures < FEW,
        "target": one.name in targets,
    }
    return tuple(flag for flag, holds in found.items() if holds)


def _find_further_concepts(
    overlap: OverlapScorer,
    best: Int64[np.ndarray, " units"],
    named: Bool[np.ndarray, " units"],
    null: Float[np.ndarray, "draws units"],
    settings: Settings,
    concepts: Sequence[Concept],
    related: Related,
) -> list[list[int]]:
    """For every named unit the unrelated concepts that it fires for where its name is not, by the same tests."""
    out: list[list[int]] = [[] for _ in best]
    scores, marks = overlap.score_concepts(), overlap.marks
    if settings.scorer != "iou" or not named.any():
        return out
    chosen = choose_candidates(scores, min(_RIVALS, len(concepts)))
    limit = np.maximum(np.quantile(null, 0.95, axis=0), settings.least)
    found = count_pairs(overlap.fired, marks, chosen)
    for unit in np.flatnonzero(named).tolist():
        name = int(best[unit])
        for other in chosen[unit].tolist():
            apart = other != name and not any(
                _is_kin(concepts[other][0], concepts[c][0], related) for c in (name, *out[unit])
            )
            strong = scores[unit, other] >= max(SECOND * scores[unit, name], limit[unit])
            if apart and strong and compute_iou_outside(found, marks, unit, name, other) >= limit[unit]:
                out[unit].append(other)
    return out


def _is_kin(one: str, other: str, related: Related) -> bool:
    """Whether names have anything in common: "red star" and "red circle" are two kinds of red objects."""
    return related(one, other) or bool(set(one.split()) & set(other.split()))


def compute_iou_ceilings(overlap: OverlapScorer, best: Int64[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
    """The highest IoU that areas of these sizes allow: ``min(p, q) / max(p, q)`` of a concept's share p and a unit's share q."""
    marks, areas = overlap.marks, overlap.sizes
    rooms = np.maximum(areas[len(marks.concepts) + marks.category], 1)
    p = (areas[: len(marks.concepts)] / rooms)[best]
    q = overlap.fired.sizes / max(len(marks) * marks.cells, 1)
    found: NDArray[np.float64] = np.minimum(p, q) / np.maximum(np.maximum(p, q), 1e-12)
    return found


def _bind_progress(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)
