"""The scores behind names against slow textbook twins: partial labels, average precision, correlation, soft-WPMI, WWW, formulas."""

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from vlcam.contracts import InputError
from vlcam.neurons.probes.marks import Marks, from_dense
from vlcam.neurons.probes.probe import GridLabels
from vlcam.neurons.scoring.choose import is_related_by_words, name_by_masks, name_by_words
from vlcam.neurons.scoring.claims import find_claim_level, find_claims, find_group_claims, wilson_lower_bound
from vlcam.neurons.scoring.cover import LEVELS, Cover, average_precisions, bin_levels, compute_precisions, correlations
from vlcam.neurons.scoring.fired import find_firings, find_thresholds
from vlcam.neurons.scoring.formulas import find_best_formulas, search
from vlcam.neurons.scoring.null import draw_orders
from vlcam.neurons.scoring.scorers import CoverScorer, OverlapScorer, WordScorer, draw_bootstraps
from vlcam.neurons.scoring.settings import Settings
from vlcam.neurons.scoring.together import (
    OPERATORS,
    choose_candidates,
    compute_iou_outside,
    count_pairs,
    evaluate_formula,
    find_best_pairs,
)
from vlcam.neurons.scoring.wpmi import adaptive_similarity, soft_wpmi

CONCEPTS = (("red", "colour"), ("blue", "colour"), ("star", "shape"), ("linen", "background"), ("circle", "shape"))
CATEGORIES = ("colour", "shape", "background")


def partly(images: int = 12, size: int = 8, seed: int = 0) -> tuple[Marks, NDArray[np.bool_], NDArray[np.bool_]]:
    """Marks with labels missing; the masks ``(images, concepts, size, size)`` and where each category is labelled."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, 5, size, size), bool)
    valid = np.ones((images, 3, size, size), bool)
    marks = Marks(CONCEPTS, (size, size))
    for i in range(images):
        for c in (0, 1, 2, 4):
            if rng.random() < 0.7:
                y, x = rng.integers(0, size - 3, 2)
                masks[i, c, y : y + 4, x : x + 3] = True
        masks[i, 3] = rng.random() < 0.4
        valid[i, 0] = rng.random() < 0.7
        valid[i, 1, :, : rng.integers(0, 4)] = False
        masks[i] &= valid[i][[0, 0, 1, 2, 1]]
        there = np.flatnonzero(masks[i].any((1, 2)))
        labelled = np.flatnonzero(valid[i].any((1, 2)))
        marks.add(GridLabels(there, masks[i][there], labelled, valid[i][labelled]))
    return marks, masks, valid


def seen(masks: NDArray[np.bool_], cells: int = 4, units: int = 6, seed: int = 1) -> NDArray[np.float32]:
    """Maps of units that see red, star and linen through noise, and of noise."""
    noise = torch.rand(len(masks), units, cells, cells, generator=torch.Generator().manual_seed(seed))
    small = adaptive_avg_pool2d(torch.from_numpy(masks).float(), cells)
    noise[:, :3] += 2 * small[:, [0, 2, 3]]
    noise[:, 3] = (noise[:, 3] - 0.8).relu()  # mostly ties at 0
    return noise.numpy()


COLOUR_OF = [0, 0, 1, 2, 1]


def test_iou_counts_labelled_cells_only() -> None:
    """Cell by cell: a picture that has no labels for a category counts neither for nor against its concepts."""
    marks, masks, valid = partly()
    maps = seen(masks)
    overlap = OverlapScorer(maps, marks, 0.1)
    up = torch.nn.functional.interpolate(torch.from_numpy(maps), size=(8, 8), mode="bilinear", align_corners=False)
    fires = (up > overlap.thresholds[:, None, None]).numpy()
    expected = np.zeros((6, 5))
    for k, c in product(range(6), range(5)):
        both = either = 0
        for i, y, x in product(range(len(masks)), range(8), range(8)):
            if valid[i, COLOUR_OF[c], y, x]:
                both += int(fires[i, k, y, x] and masks[i, c, y, x])
                either += int(fires[i, k, y, x] or masks[i, c, y, x])
        expected[k, c] = both / either if either else 0.0
    assert overlap.score_concepts() == pytest.approx(expected, abs=1e-12)


def test_thresholds_of_streams_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = np.random.default_rng(0).random((40, 3, 5, 5), np.float32)
    whole = find_thresholds(maps, 0.03)
    monkeypatch.setattr("vlcam.neurons.scoring.fired._CHUNK", 200)
    assert find_thresholds(maps, 0.03).tolist() == whole.tolist()
    one, other = find_firings(maps, whole, (10, 10)), find_firings(maps[:7], whole, (10, 10))
    assert one.place[: one.first[7]].tolist() == other.place.tolist()
    values = np.sort(maps.transpose(1, 0, 2, 3).reshape(3, -1))
    assert whole.tolist() == values[:, -31].tolist()


def test_permuted_counts_are_those_of_permuted_pictures() -> None:
    marks, masks, _ = partly()
    maps = seen(masks)
    overlap = OverlapScorer(maps, marks, 0.1)
    order = np.random.default_rng(0).permutation(len(maps))
    moved = np.empty_like(maps)
    moved[order] = maps  # picture i's maps with picture order[i]'s labels
    again = find_firings(moved, overlap.thresholds, marks.grid)
    assert marks.count(overlap.fired, order.tolist()).tolist() == marks.count(again).tolist()
    every = draw_orders(len(maps), 5, 0)
    assert marks.count_orders(overlap.fired, every).tolist() == [
        marks.count(overlap.fired, one.tolist()).tolist() for one in every
    ]


def weighted(
    masks: NDArray[np.bool_], valid: NDArray[np.bool_], c: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each cell of 4 x 4 the covered share, and the labelled one."""
    own = masks[:, c].reshape(-1, 4, 2, 4, 2).mean((2, 4))
    room = valid[:, COLOUR_OF[c]].reshape(-1, 4, 2, 4, 2).mean((2, 4))
    return own.ravel(), room.ravel()


def test_correlation_as_in_the_textbook() -> None:
    """Weighted Pearson: every cell counts to its labelled share v, and y is the covered share of that."""
    marks, masks, valid = partly()
    maps = seen(masks)
    found = correlations(maps, Cover.from_marks(marks, (4, 4)))
    for k, c in product(range(6), range(5)):
        own, v = weighted(masks, valid, c)
        a = maps[:, k].ravel().astype(float)
        y = np.divide(own, v, out=np.zeros_like(own), where=v > 0)
        mean_a, mean_y = (v * a).sum() / v.sum(), (v * y).sum() / v.sum()
        expected = (v * (a - mean_a) * (y - mean_y)).sum() / np.sqrt(
            (v * (a - mean_a) ** 2).sum() * (v * (y - mean_y) ** 2).sum()
        )
        assert found[k, c] == pytest.approx(expected, abs=1e-6)


def test_average_precision_as_in_the_textbook() -> None:
    """Levels by rank; at every level precision over the cells from there up, times what recall gains there."""
    marks, masks, valid = partly()
    maps = seen(masks)
    level = bin_levels(maps)
    found = average_precisions(level, Cover.from_marks(marks, (4, 4)))
    assert level.max() < LEVELS and len(np.unique(level[0])) > 30
    for k in range(6):
        order = np.argsort(maps[:, k].ravel())
        assert (np.diff(level[k][order].astype(int)) >= 0).all()
        for c in range(5):
            own, v = weighted(masks, valid, c)
            expected = 0.0
            for here in np.unique(level[k]):
                above = level[k] >= here
                expected += own[level[k] == here].sum() / own.sum() * own[above].sum() / max(v[above].sum(), 1e-12)
            assert found[k, c] == pytest.approx(expected, abs=1e-9)
    assert found[0].argmax() == 0 and found[0, 0] > 2 * found[0, 1]
    for c in range(5):
        assert compute_precisions(maps, Cover.from_marks(marks, (4, 4)), np.full(6, c)) == pytest.approx(
            found[:, c], abs=1e-12
        )


@pytest.mark.parametrize("measure", ["auprc", "correlation"])
def test_scores_of_permuted_and_repeated_pictures(measure: str) -> None:
    marks, masks, _ = partly()
    maps = seen(masks)
    scorer = CoverScorer(maps, Cover.from_marks(marks, (4, 4)), measure)
    order = np.random.default_rng(0).permutation(len(maps))
    moved = np.empty_like(maps)
    moved[order] = maps
    expected = CoverScorer(moved, Cover.from_marks(marks, (4, 4)), measure).score_concepts()
    assert scorer._score(order=order) == pytest.approx(expected, abs=1e-9)
    (times,) = draw_bootstraps(len(maps), 1, 0)
    if measure == "correlation":  # levels are ranks among all positions, which repeating pictures changes a little
        again = np.repeat(np.arange(len(maps)), times.astype(int))
        repeated = Marks(marks.concepts, marks.grid, [marks.pictures[i] for i in again])
        expected = CoverScorer(maps[again], Cover.from_marks(repeated, (4, 4)), measure).score_concepts()
        assert scorer.score_resampled(times) == pytest.approx(expected, abs=1e-9)


def test_bootstrap_of_iou_repeats_pictures() -> None:
    marks, masks, _ = partly(30)
    maps = seen(masks)
    overlap = OverlapScorer(maps, marks, 0.1)
    (times,) = draw_bootstraps(30, 1, 0)
    again = np.repeat(np.arange(30), times.astype(int))
    fired = find_firings(maps[again], overlap.thresholds, marks.grid)
    repeated = Marks(marks.concepts, marks.grid, [marks.pictures[i] for i in again])
    assert overlap.score_resampled(times) == pytest.approx(
        repeated.iou(repeated.count(fired), repeated.measure_sizes()), abs=1e-12
    )
    stable = overlap.measure_stability(50, 0)
    slow = np.mean(
        [
            overlap.score_resampled(one).argmax(1) == overlap.score_concepts().argmax(1)
            for one in draw_bootstraps(30, 50, 0)
        ],
        axis=0,
    )
    assert (stable >= slow - 1e-12).all() and stable[0] == slow[0] == 1.0


def test_soft_wpmi_by_the_letter() -> None:
    """The constants of the authors' code, one unit, picture and word at a time."""
    rng = np.random.default_rng(0)
    activity, cosines = rng.random((130, 4)), rng.random((130, 7)) * 0.3
    found = soft_wpmi(torch.from_numpy(activity).float(), torch.from_numpy(cosines).float()).numpy()
    e = np.exp(10 * cosines)
    chosen = e / e.sum(1, keepdims=True)
    logs = np.zeros((4, 7))
    for k, t in product(range(4), range(7)):
        for r, i in enumerate(np.argsort(-activity[:, k])[:100]):
            p = 0.998 - (r / 100) * (0.998 - 0.97)
            logs[k, t] += np.log(1 + p * (chosen[i, t] - 1) + 1e-7)
    expected = logs - np.log(np.exp(logs).mean(0))
    assert found == pytest.approx(expected, abs=1e-4)


def test_www_sums_the_forty_strongest_pictures() -> None:
    rng = np.random.default_rng(0)
    activity, similarity = rng.random((60, 3)), rng.random((60, 5)) - 0.5
    found = adaptive_similarity(torch.from_numpy(activity).float(), torch.from_numpy(similarity).float()).numpy()
    for k in range(3):
        best = np.argsort(-activity[:, k])[:40]
        assert found[k] == pytest.approx(similarity[best].sum(0), abs=1e-5)


def worded(units: int = 5, images: int = 200, words: int = 12) -> tuple[NDArray[np.float32], torch.Tensor]:
    """Unit k below 3 is active in the pictures that look like word k; the last is dead, the one before noise."""
    made = torch.Generator().manual_seed(0)
    similarity = 0.2 + 0.15 * torch.randn(images, words, generator=made)
    maps = torch.rand(images, units, 2, 2, generator=made)
    for k in range(3):
        maps[:, k] += (20 * (similarity[:, k] - 0.2)).clamp_min(0)[:, None, None]
    maps[:, -1] = 0
    return maps.numpy(), similarity


@pytest.mark.parametrize("how", ["soft-wpmi", "www"])
def test_names_from_words(how: str) -> None:
    maps, similarity = worded()
    words = [f"word{n}" for n in range(12)]
    if how == "www":
        similarity = similarity - 0.2
    scorer = WordScorer(torch.from_numpy(maps.mean((2, 3))), similarity, how)
    found = name_by_words(maps, np.zeros(5), scorer, words, Settings(how, permutations=50, bootstrap=20))
    assert [unit.name for unit in found.units] == ["word0", "word1", "word2", None, None]
    assert [unit.state for unit in found.units[3:]] == ["unnamed", "dead"]
    assert found.units[0].stability == 1.0 and found.units[0].p is not None and found.units[0].p < 0.05


def test_www_gives_all_words_near_the_highest() -> None:
    maps, similarity = worded()
    similarity = similarity - 0.2
    similarity[:, 5] = 0.98 * similarity[:, 0]
    scorer = WordScorer(torch.from_numpy(maps.mean((2, 3))), similarity, "www")
    words = [f"word{n}" for n in range(12)]
    found = name_by_words(maps, np.zeros(5), scorer, words, Settings("www", permutations=50, bootstrap=0))
    assert (found.units[0].name, found.units[0].also) == ("word0", ("word5",))
    negative = WordScorer(torch.from_numpy(maps.mean((2, 3))), similarity - 5, "www")
    silent = name_by_words(maps, np.zeros(5), negative, words, Settings("www", permutations=50, bootstrap=0))
    assert all(unit.name is None for unit in silent.units)  # the highest is below 0, so no word is a name


def test_pairs_and_triples_as_in_the_textbook() -> None:
    """All formulas of two concepts, and all that add a third to the five best, by brute force over cells."""
    marks, masks, valid = partly(20)
    maps = seen(masks)
    overlap = OverlapScorer(maps, marks, 0.1)
    chosen = choose_candidates(overlap.score_concepts(), 5)
    found = count_pairs(overlap.fired, marks, chosen)
    up = torch.nn.functional.interpolate(torch.from_numpy(maps), size=(8, 8), mode="bilinear", align_corners=False)
    fires = (up > overlap.thresholds[:, None, None]).numpy()
    rooms = valid[:, COLOUR_OF]

    def iou(unit: int, true: NDArray[np.bool_], used: tuple[int, ...]) -> float:
        room = np.logical_and.reduce([rooms[:, c] for c in used])
        m = fires[:, unit] & room
        union = (m | (true & room)).sum()
        return float((m & true).sum() / union) if union else 0.0

    def apply(first: NDArray[np.bool_], operator: int, second: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return first | second if operator == 0 else first & second if operator == 1 else first & ~second

    best = search(overlap, overlap.score_concepts(), 3)
    for unit in range(3):
        every = {}
        for a, b in permutations(range(5), 2):
            for operator in range(3):
                if operator == 2 or list(chosen[unit]).index(a) < list(chosen[unit]).index(b):
                    every[a, operator, b] = iou(unit, apply(masks[:, a], operator, masks[:, b]), (a, b))
        ranked = sorted(every.values(), reverse=True)
        beam = find_best_pairs(found, marks, unit)
        assert [one.iou for one in beam] == pytest.approx(ranked[: len(beam)], abs=1e-12)
        (pair, triple) = (row[unit] for row in best)
        assert pair is not None and triple is not None and pair.iou == pytest.approx(ranked[0], abs=1e-12)
        longer = [
            iou(unit, apply(apply(masks[:, a], one.operators[0], masks[:, b]), operator, masks[:, c]), (a, b, c))
            for one in beam
            for a, b in [one.concepts]
            for c in range(5)
            if c not in one.concepts
            for operator in range(3)
        ]
        assert triple.iou == pytest.approx(max(longer), abs=1e-12)
        tables = {c: masks[0, c].ravel() for c in range(5)}
        assert (
            evaluate_formula(pair, tables, 64).tolist()
            == apply(tables[pair.concepts[0]], pair.operators[0], tables[pair.concepts[1]]).tolist()
        )
        name, other = int(chosen[unit][0]), int(chosen[unit][1])
        outside = rooms[:, name] & rooms[:, other] & ~masks[:, name]
        m, there = fires[:, unit] & outside, masks[:, other] & outside
        assert compute_iou_outside(found, marks, unit, name, other) == pytest.approx(
            (m & there).sum() / max((m | there).sum(), 1)
        )


@pytest.mark.extended
def test_a_formula_must_beat_formulas_of_its_length() -> None:
    """A unit for red or star gets a formula, one for red alone and noise don't; three operators are known."""
    rng = np.random.default_rng(0)
    masks = np.zeros((150, 5, 8, 8), bool)
    for i, c in product(range(150), range(5)):
        if rng.random() < 0.5:
            y, x = rng.integers(0, 5, 2)
            masks[i, c, y : y + 3, x : x + 3] = True
    maps = rng.random((150, 3, 8, 8)).astype(np.float32)
    maps[:, 0] += 2 * (masks[:, 0] | masks[:, 2])
    maps[:, 1] += 2 * masks[:, 0]
    overlap = OverlapScorer(maps, from_dense(CONCEPTS, masks), 0.1)
    found = find_best_formulas(overlap, Settings(quantile=0.1, length=3))
    assert set(found) == {0}
    assert found[0].to_text([name for name, _ in CONCEPTS]) in ("red OR star", "star OR red")
    assert found[0].iou > 1.5 * overlap.score_concepts()[0].max()
    assert OPERATORS == ("OR", "AND", "AND NOT")
    named = name_by_masks(maps, from_dense(CONCEPTS, masks), Settings(quantile=0.1, length=2, bootstrap=20)).units
    assert named[0].formula is not None and named[0].formula[0] in ("red OR star", "star OR red")
    assert (
        named[0].also and set(named[0].also) | {named[0].name} == {"red", "star"} and "polysemantic" in named[0].flags
    )
    assert (named[1].name, named[1].also, named[1].formula) == ("red", (), None)
    assert named[1].stability == 1.0 and named[1].margin is not None and named[1].margin > 0.5
    assert named[2].state == "unnamed" and named[2].flags == ()


@pytest.mark.parametrize("scorer", ["iou", "auprc", "correlation"])
def test_detectors_are_named_by_every_scorer_and_noise_by_none(scorer: str) -> None:
    marks, masks, _ = partly(150)
    settings = Settings(scorer, quantile=0.2, permutations=40, bootstrap=10)
    units = name_by_masks(seen(masks), marks, settings).units
    assert [unit.name for unit in units[:3]] == ["red", "star", "linen"]
    assert [unit.state for unit in units[3:]] == ["unnamed"] * 3
    again = name_by_masks(seen(masks), marks, settings).units
    assert again == units


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer": "best"}, "scorer 'best' was given; expected one of iou, auprc"),
        ({"length": 4}, "length=4 were given; expected 0 or more, and 1 to 3"),
        ({"bootstrap": -1}, "bootstrap=-1"),
        ({"permutations": 3}, "3 permutations were given; expected 19 or more"),
    ],
)
def test_bad_settings(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**options)  # type: ignore[arg-type]


def test_claims_are_reliable_and_more_than_usual() -> None:
    """40 of 100 pictures have it; of the 60 in which the unit is highest, the first 40 do."""
    peaks = np.arange(100.0)[::-1].copy()
    present = np.arange(100) < 40
    level = find_claim_level(peaks, present, 0.0)
    assert level is not None
    hits, above = present[peaks > level].sum(), (peaks > level).sum()
    assert wilson_lower_bound(np.array([hits]), np.array([above]))[0] >= 0.9
    assert find_claim_level(peaks, present, level) == level  # T_k may be as high, but no higher
    assert find_claim_level(peaks, present, 85.0) is None  # too few pictures are left above it
    assert find_claim_level(peaks, np.ones(100, bool), 0.0) is None  # what is everywhere is not news
    assert find_claim_level(peaks, present[::-1].copy(), 0.0) is None
    assert find_claim_level(np.ones(100), np.arange(100) < 99, 0.0) is None  # equal maxima can't be parted
    (wilson,) = wilson_lower_bound(np.array([50.0]), np.array([100]))
    assert wilson == pytest.approx(0.4191, abs=1e-3)


def test_claims_go_from_the_name_to_what_it_implies() -> None:
    """The unit is sure of red stars where it is high, of red wherever it fires; never of the star of a rare blue one."""
    concepts = (("red star", "pair"), ("red", "colour"), ("left", "region"))
    masks = np.zeros((200, 3, 2, 2), bool)
    masks[:60, 0, 0, 0] = True
    masks[:120, 1, 0, 0] = True
    masks[:, 2, :, 0] = True
    marks = from_dense(concepts, masks)
    peaks = np.concatenate([np.full(60, 9.0), np.full(60, 5.0), np.zeros(80)])[:, None]
    (found,) = find_claims(marks, peaks, np.array([1.0]), [("red star", "pair")], is_related_by_words)
    assert [one[:2] for one in found] == [("red star", "pair"), ("red", "colour")]
    assert found[0][2] == 5.0 and found[1][2] == 1.0
    assert find_claims(marks, peaks, np.array([1.0]), [("left", "region")], is_related_by_words) == [()]
    assert find_claims(marks, peaks, np.array([1.0]), [None], is_related_by_words) == [()]


def test_units_together_are_surer_than_each_of_them() -> None:
    """Three noisy detectors of red stars: none may claim much alone, their weighted sum may; a unit that tells nothing has no weight."""
    rng = np.random.default_rng(0)
    masks = np.zeros((600, 2, 2, 2), bool)
    masks[:200, 0, 0, 0] = True
    masks[:300, 1, 0, 0] = True
    marks = from_dense((("red star", "pair"), ("red", "colour")), masks)
    there = np.arange(600) < 200
    peaks = np.stack([4.0 + there * 2.0 + rng.normal(size=600) for _ in range(3)] + [4.0 - there], 1)
    known: list[tuple[str, str] | None] = [("red star", "pair")] * 4
    alone = find_claims(marks, peaks, np.ones(4), known, is_related_by_words)
    (group,) = find_group_claims(marks, peaks, known, is_related_by_words)
    assert group.units == (0, 1, 2) and sum(group.weights) == pytest.approx(1.0) and min(group.weights) > 0
    twin = fisher_weights(peaks[:, :3], there)
    assert group.weights == pytest.approx(tuple(twin / twin.sum()))
    score = peaks[:, :3] @ np.array(group.weights)
    (name, _, level) = group.claims[0]
    told = np.asarray(score > level)
    assert name == "red star" and there[told].mean() >= 0.9
    for unit, claims in enumerate(alone[:3]):
        seen = peaks[:, unit] > min((one[2] for one in claims if one[0] == "red star"), default=99.0)
        assert (told & there).sum() > 1.2 * (seen & there).sum()
    assert find_group_claims(marks, peaks, [*known[:1], None, None, None], is_related_by_words) == ()
    assert find_group_claims(marks, rng.normal(size=(600, 4)), known, is_related_by_words) == ()


def fisher_weights(peaks: Any, there: Any) -> Any:
    """Fisher's discriminant with a diagonal covariance, unit by unit."""
    found = []
    for unit in range(peaks.shape[1]):
        one, zero = peaks[there, unit], peaks[~there, unit]
        within = (((one - one.mean()) ** 2).sum() + ((zero - zero.mean()) ** 2).sum()) / len(peaks)
        found.append((one.mean() - zero.mean()) / within)
    return np.array(found)
