"""Neuron names: dissection against a textbook twin, the null test, and what the sentences may say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlcam.contracts import InputError, Target
from vlcam.neurons import NeuronName, NeuronNames, evidence, phrase
from vlcam.neurons.probes.marks import from_dense
from vlcam.neurons.scoring.dissect import MIN_IOU, dissect, to_batches
from vlcam.neurons.scoring.fired import Firings, find_thresholds
from vlcam.neurons.scoring.null import check_significance
from vlcam.neurons.text.describe import describe
from vlcam.neurons.text.wording import format_percent

CONCEPTS = (("red", "colour"), ("star", "shape"), ("linen", "background"), ("left", "region"))


# --- dissection ---------------------------------------------------------------------------------------------------------


def textbook(maps: Tensor, masks: NDArray[np.bool_], quantile: float) -> NDArray[np.float64]:
    """IoU of every unit and concept, position by position, in plain Python (NetDissect section 2.2)."""
    images, units = maps.shape[:2]
    height, width = masks.shape[2:]
    out = np.zeros((units, masks.shape[1]))
    for k in range(units):
        values = sorted((float(v) for v in maps[:, k].flatten()), reverse=True)
        threshold = values[int(len(values) * quantile)]
        for c in range(masks.shape[1]):
            both = either = 0
            for i in range(images):
                for y in range(height):
                    for x in range(width):
                        fires = bilinear(maps[i, k], y, x, height, width) > threshold
                        both += int(fires and masks[i, c, y, x])
                        either += int(fires or masks[i, c, y, x])
            out[k, c] = both / either if either else 0.0
    return out


def bilinear(grid: Tensor, y: int, x: int, height: int, width: int) -> float:
    """One cell of the upsampled map: half-pixel centres, edges repeated."""

    def taps(place: int, size: int, cells: int) -> tuple[int, int, float]:
        at = max((place + 0.5) * cells / size - 0.5, 0.0)
        low = min(int(at), cells - 1)
        return low, min(low + 1, cells - 1), at - low

    y0, y1, v = taps(y, height, grid.shape[0])
    x0, x1, u = taps(x, width, grid.shape[1])
    top = (1 - u) * float(grid[y0, x0]) + u * float(grid[y0, x1])
    bottom = (1 - u) * float(grid[y1, x0]) + u * float(grid[y1, x1])
    return (1 - v) * top + v * bottom


def world(images: int = 200, seed: int = 0, size: int = 8) -> NDArray[np.bool_]:
    """Masks ``(images, 4, size, size)`` of CONCEPTS: a red and a star blob, whole linen pictures, the left half."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, 4, size, size), bool)
    for i in range(images):
        for c in range(2):
            if rng.random() < 0.6:
                y, x = rng.integers(0, size - 2, 2)
                masks[i, c, y : y + 3, x : x + 3] = True
        masks[i, 2] = rng.random() < 0.25
        masks[i, 3, :, : size // 2] = True
    return masks


def planted(masks: NDArray[np.bool_], seed: int = 0) -> Tensor:
    """Units: red detector, star detector, red-or-star, linen, left, dead, noise, inverted red; with noise."""
    rng = np.random.default_rng(seed)
    noise = rng.random((masks.shape[0], 8, *masks.shape[2:])).astype(np.float32)
    lit = masks.astype(np.float32)
    either = np.maximum(lit[:, 0], lit[:, 1])
    stack = np.stack(
        [lit[:, 0], lit[:, 1], either, lit[:, 2], lit[:, 3], 0 * either, 0 * either, 2 - 2 * lit[:, 0]], axis=1
    )
    stack = 2 * stack + noise
    stack[:, 5] = 0
    return torch.from_numpy(stack)


def named(units: Sequence[NeuronName]) -> list[str | None]:
    return [unit.name for unit in units]


def test_iou_by_hand() -> None:
    """2 pictures of 2 x 2: the unit fires on cells 0 and 1 of the first; red is cell 0 of the first and cell 3 of the second.

    |M & L| = 1, |M or L| = 3: IoU 1/3. |M| = 2, |L| = 2: ceiling 1. Star is never there.
    """
    maps = torch.tensor([[[[5.0, 4.0], [1.0, 0.0]]], [[[2.0, 3.0], [0.5, 0.1]]]])
    masks = np.zeros((2, 2, 2, 2), bool)
    masks[0, 0, 0, 0] = masks[1, 0, 1, 1] = True
    (unit,) = dissect([(maps, masks)], CONCEPTS[:2], quantile=0.25, permutations=19)
    assert unit.score == pytest.approx(1 / 3, abs=1e-15)
    assert (unit.ceiling, unit.threshold, unit.state) == (1.0, 3.0, "unnamed")
    assert [one[:2] for one in unit.alternatives] == [("red", "colour")]


@pytest.mark.parametrize("quantile", [0.02, 0.1])
def test_iou_as_in_the_textbook(quantile: float) -> None:
    rng = np.random.default_rng(3)
    maps = torch.from_numpy(rng.random((6, 3, 4, 5))).float()
    masks = rng.random((6, 4, 8, 13)) < 0.2
    expected = textbook(maps, masks, quantile)
    for unit, row in zip(
        dissect(to_batches(maps, masks, 4), CONCEPTS, quantile=quantile, permutations=19), expected, strict=True
    ):
        order = np.argsort(-row)
        assert unit.score == pytest.approx(row[order[0]], rel=1e-12)
        got = (
            unit.alternatives
            if unit.state == "unnamed"
            else ((unit.name, unit.category, unit.score), *unit.alternatives)
        )
        assert [one[:2] for one in got] == [CONCEPTS[c] for c in order if row[c] > 0][: len(got)]
        assert [one[2] for one in got] == pytest.approx([row[c] for c in order[: len(got)]], rel=1e-12)
        assert unit.score <= unit.ceiling + 1e-12


def test_planted_detectors_are_found() -> None:
    masks = world()
    units = dissect(to_batches(planted(masks), masks), CONCEPTS, quantile=0.05)
    assert named(units)[:2] + named(units)[3:5] == ["red", "star", "linen", "left"]
    assert {units[2].name, units[2].alternatives[0][0]} == {"red", "star"}
    assert (units[5].state, units[5].name, units[5].score) == ("dead", None, 0.0)
    assert units[6].state == "unnamed"
    assert units[7].name != "red" and all(iou < 0.01 for name, _, iou in units[7].alternatives if name == "red")
    assert [unit.unit for unit in units] == list(range(8))
    assert all(0 < unit.p <= 1 for unit in units if unit.p is not None)


def test_a_place_bias_is_no_content() -> None:
    """A unit that always fires where red tends to lie matches red more than nothing does, but knows no red."""
    rng = np.random.default_rng(0)
    masks = np.zeros((300, 2, 8, 8), bool)
    masks[:, 0, 2:6, 2:6] = rng.random((300, 4, 4)) < 0.7
    masks[:, 1] = rng.random((300, 1, 1)) < 0.5
    maps = torch.from_numpy(rng.random((300, 2, 8, 8))).float()
    maps[:, :, 2:6, 2:6] += 1
    maps[:, 1, 2:6, 2:6] += torch.from_numpy(masks[:, 0, 2:6, 2:6])
    biased, seeing = dissect([(maps, masks)], CONCEPTS[:2], quantile=0.1)
    assert biased.score > MIN_IOU and biased.state == "unnamed"
    assert seeing.name == "red"


def test_regions_in_either_direction() -> None:
    """Units that fire at the top and on the left are named so; one that fires anywhere is not."""
    masks = np.zeros((60, 2, 8, 8), bool)
    masks[:, 0, :2] = True
    masks[:, 1, :, :2] = True
    maps = torch.from_numpy(np.random.default_rng(0).random((60, 3, 8, 8))).float()
    maps[:, :2] += torch.from_numpy(masks)
    units = dissect([(maps, masks)], (("top", "region"), ("left", "region")), quantile=0.1, permutations=50)
    assert named(units) == ["top", "left", None]
    assert units[2].score > MIN_IOU


@pytest.mark.parametrize("images", [60, 150])
def test_random_units_get_no_names(images: int) -> None:
    """Smooth random maps, 8 random concepts and a region: far fewer than one unit in ten is named, at any sample size.

    The IoU threshold alone would name most of them.
    """
    rng = np.random.default_rng(1)
    coarse = rng.standard_normal((images, 80, 3, 3))
    maps = torch.nn.functional.interpolate(torch.from_numpy(coarse).float(), size=(8, 8), mode="bilinear").relu()
    masks = np.repeat(np.repeat(rng.random((images, 9, 4, 4)) < 0.1, 2, axis=2), 2, axis=3)
    masks[:, 8] = False
    masks[:, 8, :3, :3] = True
    concepts = [(f"concept {n}", "made up") for n in range(9)]
    units = dissect([(maps, masks)], concepts, quantile=0.05, min_iou=0.0, permutations=100)
    assert sum(unit.score > MIN_IOU for unit in units) > 40
    assert sum(unit.state == "named" for unit in units) <= 4


def test_few_detectors_among_many_random_units() -> None:
    """One real detector in 120 is found: the pooled null has finer steps than 1 / (permutations + 1)."""
    masks = world(150)
    rng = np.random.default_rng(2)
    maps = torch.from_numpy(rng.random((150, 120, 8, 8))).float()
    maps[:, 70] += torch.from_numpy(masks[:, 1])
    units = dissect([(maps, masks)], CONCEPTS, quantile=0.05, permutations=50)
    assert units[70].name == "star"
    assert sum(unit.state == "named" for unit in units) <= 4


def test_same_seed_same_names_and_batches_do_not_matter() -> None:
    masks = world(80)
    maps = planted(masks)
    first = dissect([(maps, masks)], CONCEPTS, quantile=0.05, permutations=40, seed=5)
    assert dissect(to_batches(maps, masks, 7), CONCEPTS, quantile=0.05, permutations=40, seed=5) == first
    other = dissect([(maps, masks)], CONCEPTS, quantile=0.05, permutations=40, seed=6)
    assert [unit.score for unit in other] == [unit.score for unit in first]


def test_names_follow_the_units() -> None:
    masks = world(80)
    maps = planted(masks)
    order = [3, 0, 7, 5, 1, 2, 6, 4]
    first = dissect([(maps, masks)], CONCEPTS, quantile=0.05)
    moved = dissect([(maps[:, order], masks)], CONCEPTS, quantile=0.05)
    assert named(moved) == [first[k].name for k in order]


def test_thresholds_are_exceeded_by_the_quantile_strictly() -> None:
    maps = torch.arange(1000.0).reshape(10, 1, 10, 10)
    assert find_thresholds(maps.numpy(), 0.01).tolist() == [989.0]
    sparse = torch.zeros(10, 1, 10, 10)
    sparse[0, 0, 0, :5] = 1.0
    assert find_thresholds(sparse.numpy(), 0.01).tolist() == [0.0]  # strictly above 0: five positions, not all of them


def test_pictures_without_firings() -> None:
    marks = from_dense(CONCEPTS[:2], np.array([[[[1, 0]], [[0, 0]]], [[[1, 1]], [[0, 1]]]], bool))
    one = Firings(3, np.array([1, 1], np.int32), np.array([0, 1], np.int32), np.array([0, 0, 2]))
    counts = marks.count(one)  # columns: red, star, and the cells labelled for colours and shapes
    assert counts.tolist() == [[0, 0, 0, 0], [2, 1, 2, 2], [0, 0, 0, 0]]
    assert marks.count(one, [1, 0]).tolist() == [[0, 0, 0, 0], [1, 0, 2, 2], [0, 0, 0, 0]]
    assert one.sizes.tolist() == [0, 2, 0]
    none = Firings(2, np.zeros(0, np.int32), np.zeros(0, np.int32), np.array([0, 0, 0]))
    assert marks.count(none).tolist() == [[0] * 4] * 2


def test_all_units_dead() -> None:
    units = dissect([(torch.zeros(20, 2, 4, 4), world(20))], CONCEPTS, quantile=0.05, permutations=19)
    assert [unit.state for unit in units] == ["dead", "dead"]
    assert [unit.p for unit in units] == [1.0, 1.0]


def test_benjamini_hochberg() -> None:
    null = np.tile(np.linspace(0, 1, 100)[:, None], (1, 4))
    p, passed = check_significance(np.array([9.0, 0.5, 0.99, 9.0]), null, np.array([True, True, True, False]), 0.05)
    assert p[0] == pytest.approx(1 / 301) and p[3] == 1.0
    assert p[2] == pytest.approx(4 / 301)  # one draw of each of the three living units is higher
    assert passed.tolist() == [True, False, True, False]


def test_a_unit_must_beat_its_own_draws() -> None:
    """The first unit has a heavy tail, a tenth of its draws reach what was observed: the pool alone would let it pass."""
    null = np.tile(np.linspace(0, 1, 100)[:, None], (1, 10))
    null[:, 0] = np.arange(100) >= 90
    p, passed = check_significance(np.array([1.0] + [9.0] * 9), null, np.ones(10, bool), 0.05)
    assert p[0] == pytest.approx(11 / 1001)
    assert passed.tolist() == [False] + [True] * 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantile": 0.0}, r"quantile 0.0 was given; expected a share between 0 and 1"),
        ({"quantile": 1e-6}, r"of which a quantile of 1e-06 is less than one; give more images"),
        ({"permutations": 10}, r"10 permutations were given; expected 19 or more"),
        ({"min_iou": 2.0}, r"a least IoU of 2.0 was given; expected 0 to 1"),
        ({"concepts": ()}, r"no concepts were given"),
        ({"concepts": (*CONCEPTS[:3], CONCEPTS[0])}, r"concept \('red', 'colour'\) was given twice"),
        ({"concepts": CONCEPTS[:3]}, r"masks \(30, 4, 8, 8\); expected as many images in both, 3 concepts"),
        ({"maps": torch.ones(30, 2, 9, 9)}, r"masks of \(8, 8\) cells are coarser than the maps of \(9, 9\)"),
        ({"maps": torch.full((30, 2, 4, 4), float("nan"))}, r"not finite"),
        ({"maps": torch.ones(29, 2, 4, 4)}, r"expected as many images in both"),
        ({"batches": []}, r"0 image\(s\) were given; expected at least 2"),
    ],
)
def test_bad_probes(change: dict[str, Any], message: str) -> None:
    options = {"quantile": 0.05, "permutations": 19} | change
    maps = options.pop("maps", torch.rand(30, 2, 4, 4))
    batches = options.pop("batches", [(maps, world(30))])
    with pytest.raises(InputError, match=message):
        dissect(batches, options.pop("concepts", CONCEPTS), **options)


# --- words --------------------------------------------------------------------------------------------------------------

KEYS = (*CONCEPTS[:3], ("upper left", "region"), ("blue circle", "pair"), ("sky", None))


def layer(*keys: tuple[str, str | None] | None, threshold: float = 1.0) -> NeuronNames:
    """A layer whose units have these names (None: unnamed)."""
    units = tuple(
        NeuronName(n, "unnamed", threshold=threshold)
        if key is None
        else NeuronName(n, "named", *key, score=0.3, threshold=threshold)
        for n, key in enumerate(keys)
    )
    return NeuronNames("m", "l", None, {}, units)


def say(
    names: NeuronNames, alpha: Sequence[float], activity: Sequence[float], target: Target | None = None, **options: Any
) -> Any:
    """The text where the sum of each channel is its peak."""
    a, peaks = torch.tensor(alpha), torch.tensor(activity)
    return describe(names, target or Target("red star", "class", probability=0.91), a, a * peaks, peaks, **options)


def test_four_cases() -> None:
    names = layer(
        ("red", "colour"), ("star", "shape"), ("linen", "background"), ("blue", "colour"), ("large", "size"), None
    )
    text = say(names, [3.0, 2.0, -0.5, -2.0, 1.0, 0.5], [2.0, 2.0, 2.0, 0.0, 0.0, 2.0])
    assert text.sentence == (
        "Predicted red star (0.91). Mainly because the network sees signs of red things (unit 0; 55 %) and stars (unit 1; 36 %): "
        "together 91 % of the evidence for it. In spite of a linen background (unit 2; −100 %). "
        "No sign of blue things, which would have lowered the score. Nor of large things, which would have raised the score. "
        "Named units cover 92 % of the evidence; 8 % is unnamed. How often these names hold was not measured."
    )
    assert [one.unit for one in text.top] == [0, 1, 5]
    assert [one.unit for one in text.bottom] == [2]
    assert text.coverage == pytest.approx(11 / 12)
    assert text.ranking == "contribution"
    assert [one.active for one in evidence(names, *(torch.ones(6),) * 2, torch.tensor([2.0, 2, 2, 0, 0, 2]))] == [
        1,
        1,
        1,
        0,
        0,
        1,
    ]


def test_units_of_one_name_are_merged() -> None:
    names = layer(("red", "colour"), ("red", "colour"), ("star", "shape"), ("red", "colour"))
    text = say(names, [1.0, 3.0, 2.5, -1.0], [2.0, 2.0, 2.0, 2.0]).sentence
    assert "red things (units 1, 0, 3; 46 %) and stars (unit 2; 38 %): together 85 % of the evidence for it" in text
    assert text.count("red things") == 1


def test_merged_shares() -> None:
    text = say(layer(("red", "colour"), ("red", "colour"), ("star", "shape")), [1.0, 2.0, 2.0], [2.0] * 3).sentence
    assert "red things (units 1, 0; 60 %) and stars (unit 2; 40 %): together 100 % of the evidence for it" in text


def test_weak_channels_are_evidence_but_not_seen() -> None:
    text = say(layer(("red", "colour"), ("star", "shape")), [1.0, 1.0], [2.0, 1.0])  # stars fire just at the threshold
    assert text.coverage == 1.0
    assert "sees signs of red things (unit 0; 67 %" in text.sentence
    assert "(33 % in channels that don't fire here and only add their background)" in text.sentence


@pytest.mark.parametrize("keys", [(None, None), (("red", "colour"), None)])
def test_no_reliable_names(keys: tuple[tuple[str, str] | None, ...]) -> None:
    text = say(layer(*keys), [1.0, 9.0], [2.0, 2.0])
    share = "10 %" if keys[0] else "0 %"
    assert (
        text.sentence
        == f"Predicted red star (0.91). No reliable names: named units cover only {share} of the evidence."
    )
    assert [one.unit for one in text.top] == ([1, 0])


def test_zero_and_negative_and_nonfinite_targets() -> None:
    names = layer(("red", "colour"), ("star", "shape"))
    zero = say(names, [0.0, 0.0], [2.0, 2.0])
    assert zero.sentence == "Predicted red star (0.91). No channel contributed to it."
    assert (zero.top, zero.bottom, zero.coverage) == ((), (), 0.0)
    against = say(names, [-2.0, -3.0], [2.0, 2.0])
    assert (
        "No named channel that supports it fires strongly here. In spite of stars (unit 1; −60 %) and red things"
        in against.sentence
    )
    assert against.top == () and [one.share for one in against.bottom] == pytest.approx([-0.6, -0.4])
    for bad in (float("nan"), float("inf")):
        text = say(names, [bad, 1.0], [1.0, 1.0])
        assert "not finite" in text.sentence and (text.top, text.bottom, text.coverage) == ((), (), 0.0)


def test_absence_is_not_claimed_of_what_is_implied() -> None:
    names = layer(
        ("red star", "pair"), ("red", "colour"), ("thing", "object"), ("blue", "colour"), ("red star", "pair")
    )
    text = say(names, [3.0, -1.0, -1.0, -1.0, -1.0], [2.0, 0.0, 0.0, 0.0, 0.0]).sentence
    assert "No sign of blue things, which" in text
    seen = say(names, [3.0, -1.0, -1.0, -1.0, -1.0], [0.5, 0.0, 0.0, 0.0, 0.0]).sentence
    assert "red things" in seen and "things, " in seen


@pytest.mark.parametrize("seed", range(60))
def test_silent_channels_are_never_claimed(seed: int) -> None:
    """Whatever alpha, contributions and activities are: what is said to be there has an active channel, what is said to be
    missing has none, and every share is finite."""
    rng = torch.Generator().manual_seed(seed)
    keys = [KEYS[int(k)] if k < len(KEYS) else None for k in torch.randint(len(KEYS) + 1, (12,), generator=rng)]
    names = layer(*keys)
    alpha, parts = torch.randn(2, 12, generator=rng)
    peaks = 2 * torch.rand(12, generator=rng)
    text = describe(names, Target("a", "word", probability=0.5), alpha, parts, peaks)
    active = {phrase(*key) for key, peak in zip(keys, peaks.tolist(), strict=True) if key and peak > 1.0}
    present = [part for part in text.sentence.split(". ") if part.startswith(("Mainly", "In part", "In spite"))]
    missing = [part for part in text.sentence.split(". ") if part.startswith(("No sign", "Nor of"))]
    for key in KEYS:
        words = phrase(*key)
        assert words in active or not any(words in part for part in present)
        assert words not in active or not any(words.replace("something", "anything") in part for part in missing)
    for one in (*text.top, *text.bottom):
        assert one.active == (peaks[one.unit] > 1.0)
    every = evidence(names, alpha, parts, peaks)
    assert sum(one.share for one in every if one.share > 0) == pytest.approx(1)
    assert sum(one.share for one in every if one.share < 0) == pytest.approx(-1)
    assert text.coverage == pytest.approx(
        sum(abs(float(parts[k])) for k in range(12) if keys[k]) / float(parts.abs().sum())
    )


def test_rankings() -> None:
    names = layer(("red", "colour"), ("star", "shape"), ("linen", "background"))
    alpha, peaks = [1.0, 9.0, -3.0], [8.0, 0.0, 0.0]
    assert [one.unit for one in say(names, alpha, peaks).top] == [
        0
    ]  # the star's channel is silent: it contributes nothing
    paper = say(names, alpha, peaks, ranking="paper")
    assert [one.unit for one in paper.top] == [1, 0] and [one.unit for one in paper.bottom] == [2]
    assert paper.ranking == "paper"
    assert "class-level" in paper.sentence and "sees" not in paper.sentence
    assert paper.sentence.endswith(
        "presence raises the score: stars, red things; absence raises the score: a linen background."
    )
    assert paper.named == () and paper.reliable
    assert len(say(layer(*[("red", "colour")] * 9), [1.0] * 9, [2.0] * 9).top) == 5
    with pytest.raises(InputError, match="ranking 'best' was given; expected one of contribution, paper"):
        say(names, alpha, peaks, ranking="best")


def test_through_the_record() -> None:
    names = layer(("red", "colour"))
    one = torch.ones(1)
    target = Target("red", "word")
    assert names.text(target, one, one, 2 * one) == describe(names, target, one, one, 2 * one)
    half = one.half()
    assert names.text(target, half, half, half).top[0].share == 1.0


def test_wrong_number_of_channels() -> None:
    with pytest.raises(
        InputError, match=r"alpha has shape \(3,\) but there are names of 1 units .*use the names of the layer"
    ):
        say(layer(("red", "colour")), [1.0] * 3, [1.0] * 3)


@pytest.mark.parametrize(
    ("target", "start"),
    [
        (Target("red star", "class", probability=0.91), "Predicted red star (0.91). "),
        (Target("red star", "class"), "Predicted red star. "),
        (Target("zebra", "class", probability=0.02), 'The class "zebra" (p 0.02). '),
        (Target("red", "word", probability=0.98), 'The word "red" (p 0.98). '),
        (Target("a red star", "caption", probability=0.31), 'The caption "a red star" (p 0.31). '),
        (Target("blue", "answer", probability=0.97), 'Answered "blue" (0.97). '),
        (Target("green", "answer", probability=0.01), 'The answer "green" (p 0.01). '),
        (Target("red rather than blue", "contrast"), "Red rather than blue, mainly because "),
    ],
)
def test_what_was_said(target: Target, start: str) -> None:
    names = layer(("red", "colour"), ("blue", "colour"))
    text = say(names, [1.0, -1.0], [2.0, 0.0], target).sentence
    seen = "the network sees signs of red things"
    assert text.startswith(start + (seen if target.kind == "contrast" else f"Mainly because {seen}"))
    effect = "spoken for blue" if target.kind == "contrast" else "lowered the score"
    assert f"No sign of blue things, which would have {effect}." in text


def test_doubtful_names_are_marked() -> None:
    sure = NeuronName(0, "named", "red", "colour", 0.3, alternatives=(("star", "shape", 0.1),))
    unsure = NeuronName(1, "named", "heart", "shape", 0.3, alternatives=(("star", "shape", 0.29),))
    part = NeuronName(2, "named", "cross", "shape", 0.3, alternatives=(("red cross", "pair", 0.29),))
    for alpha in ([1.0, 1.0, 0.0], [0.0, 1.0, 1.0]):
        text = say(NeuronNames("m", "l", None, {}, (sure, unsure, part)), alpha, [2.0] * 3).sentence
        assert text.count("uncertain") == 1 and "hearts" in text and ("red things" in text or "crosses" in text)
        assert text.endswith('The name "heart" is uncertain (also: star).')


def test_dead_units_are_never_active() -> None:
    names = NeuronNames("m", "l", None, {}, (NeuronName(0, "dead"),))
    (one,) = evidence(names, torch.ones(1), torch.ones(1), torch.ones(1))
    assert not one.active and one.name is None


def test_phrases_and_shares() -> None:
    assert [phrase(*key) for key in KEYS] == [
        "red things",
        "stars",
        "a linen background",
        "something in the upper left",
        "blue circles",
        "sky",
    ]
    assert phrase("cross", "shape") == "crosses" and phrase("red cross", "pair") == "red crosses"
    assert phrase("thing", "object") == "things" and phrase("left", "region") == "something on the left"
    assert [format_percent(x) for x in (0.004, 0.996, 1.0, 0.0, -0.004, -0.25)] == [
        "<1 %",
        ">99 %",
        "100 %",
        "0 %",
        "−<1 %",
        "−25 %",
    ]
