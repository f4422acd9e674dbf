"""Are the texts of the bundled models true? Ground truth, counts and baselines by hand, and the benchmark's bars on a few scenes."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import vlcam
from vlcam.benchmark import texts as naming_bench
from vlcam.benchmark.ablation import DRAWS, draw_controls, mask_channels, score_cases, summarise_ablations
from vlcam.benchmark.claims import (
    Claim,
    Prior,
    claim_at_random,
    count,
    export_summary,
    find_sign,
    find_visible_names,
    get_vocabulary,
    list_claims,
    mark_visible_concepts,
    permute_names,
    remove_calibration,
    summarise_counts,
)
from vlcam.benchmark.texts import remove_object
from vlcam.cli import printing
from vlcam.contracts import InputError, Target
from vlcam.explanation.record import NamedEvidence
from vlcam.neurons import NeuronName, NeuronNames
from vlcam.neurons.probes.scenes import CONCEPTS, make_concept_masks
from vlcam.scenes.models.zoo import MODEL_NAMES, load, to_input
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

N = 20


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return naming_bench.evaluate(n=N)


def some_names() -> NeuronNames:
    units = (
        NeuronName(0, "named", "red", "colour", 0.3, threshold=1.0, claims=(("red", "colour", 3.0),)),
        NeuronName(1, "named", "red star", "pair", 0.3, threshold=2.0, claims=(("star", "shape", 4.0),)),
        NeuronName(2, "unnamed", threshold=1.0),
        NeuronName(3, "dead"),
        NeuronName(4, "named", "linen", "background", 0.3, threshold=1.0, claims=()),
    )
    return NeuronNames("m", "features", None, {}, units)


# --- ground truth -------------------------------------------------------------------------------------------------------


def test_what_is_visible_is_what_the_masks_show() -> None:
    """Every concept with a mask is visible (a mask leaves out what covers no half cell, so the reverse need not hold)."""
    for number in range(20):
        scene = make(number, "test")
        shown, masks = find_visible_names(scene), make_concept_masks(scene)
        for concept, mask in zip(CONCEPTS, masks, strict=True):
            if concept[1] != "region":
                assert concept in shown or not mask.any()
        assert sum(category == "background" for _, category in shown) == 1
        assert {name for name, category in shown if category == "pair"} == {" ".join(one.pair) for one in scene.objects}


def test_regions_are_those_with_an_object() -> None:
    scene = make(0, "test")
    obj = scene.objects[0]
    alone = replace(scene, objects=(replace(obj, x=1 / 6, y=1 / 6, radius=0.08),))
    assert {name for name, category in find_visible_names(alone) if category == "region"} == {"upper left"}
    assert {
        name for name, category in find_visible_names(replace(scene, objects=())) if category != "background"
    } == set()


def test_presence_is_visibility_of_every_concept() -> None:
    scenes = [make(number, "test") for number in range(5)]
    table = mark_visible_concepts(scenes)
    assert table.shape == (5, len(CONCEPTS))
    for row, scene in zip(table, scenes, strict=True):
        assert {concept for concept, there in zip(CONCEPTS, row, strict=True) if there} == find_visible_names(scene)


@pytest.mark.parametrize(
    ("name", "label", "kind", "expected"),
    [
        ("red", "red", "word", 1),
        ("red star", "red", "word", 1),
        ("blue star", "red", "answer", -1),
        ("star", "red", "word", 0),
        ("linen", "red", "word", 0),
        ("red star", "of", "word", 0),
        ("star", "stars", "word", 1),
        ("red star", "red star", "class", 1),
        ("star", "red star", "class", 1),
        ("blue heart", "red star", "class", 0),
        ("blue star", "red star", "class", 0),
    ],
)
def test_signs_by_the_meaning_of_words(name: str, label: str, kind: Any, expected: int) -> None:
    assert find_sign(name, Target(label, kind)) == expected


def test_counts_by_hand() -> None:
    """Scene: one red star, on linen. Said: red and blue are seen, and linen; no hearts, no stars."""
    shown = frozenset({("red", "colour"), ("star", "shape"), ("red star", "pair"), ("linen", "background")})
    vocabulary = frozenset(shown | {("blue", "colour"), ("heart", "shape")})
    said: list[Claim] = [
        ("supports", "red", "colour"),
        ("supports", "blue", "colour"),
        ("supports", "linen", "background"),
        ("absent", "heart", "shape"),
        ("missing", "star", "shape"),
    ]
    shares = count(said, Target("red", "word"), None, shown, vocabulary).shares
    assert shares["precision"] == (2, 3)
    assert shares["precision, objects"] == (1, 2)
    assert shares["recall"] == (2, 4)
    assert shares["recall, own words"] == (1, 2)
    assert shares["hallucination"] == (1, 3)
    assert shares["distractors"] == (1, 2)
    assert shares["absence precision"] == (1, 2)
    assert shares["sign accuracy"] == (1, 2)  # red supports; blue must not; the others have no sign
    asked = count(said, Target("red", "answer"), "what colour is the blue star", shown, vocabulary).shares
    assert asked["hallucination"] == (0, 3)  # what was asked for is relevant


def test_what_is_counted_are_the_records_of_the_text() -> None:
    named = (NamedEvidence("supports", "red", "colour", (0,), 0.5), NamedEvidence("absent", "star", "shape", (1,), 0.0))
    assert list_claims(named) == [("supports", "red", "colour"), ("absent", "star", "shape")]


# --- baselines and intervals --------------------------------------------------------------------------------------------


def test_permuted_names_stay_names_and_units_stay_units() -> None:
    names = some_names()
    mixed = [permute_names(names, np.random.default_rng(seed)) for seed in range(20)]
    for one in mixed:
        assert sorted(u.name for u in one.units if u.name) == sorted(u.name for u in names.units if u.name)
        assert [u.threshold for u in one.units] == [u.threshold for u in names.units]
        assert [u.state for u in one.units] == [u.state for u in names.units]
        for unit in one.units:
            for _, _, level in unit.claims or ():
                assert level > unit.threshold
    assert len({tuple(u.name for u in one.units) for one in mixed}) > 2
    swapped = next(one for one in mixed if one.units[0].name == "red star")
    assert swapped.units[0].claims == (("star", "shape", 2.0),)  # 4 of T 2 is as 2 of T 1


def test_vocabulary_and_uncalibrated_names() -> None:
    names = some_names()
    assert get_vocabulary(names) == {
        ("red", "colour"),
        ("red star", "pair"),
        ("star", "shape"),
        ("linen", "background"),
    }
    assert all(unit.claims is None for unit in remove_calibration(names).units)


def test_random_names_are_as_many_and_different() -> None:
    own: list[Claim] = [("supports", "a", None), ("supports", "b", None), ("absent", "c", None)]
    vocabulary = [(str(n), None) for n in range(9)]
    drawn = [tuple(claim_at_random(own, vocabulary, np.random.default_rng(seed))) for seed in range(5)]
    for one in drawn:
        assert [case for case, _, _ in one] == ["supports", "supports", "absent"]
        assert one[0] != one[1] and {(name, what) for _, name, what in one} <= set(vocabulary)
    assert len(set(drawn)) > 1


def test_prior_names_are_those_of_other_scenes() -> None:
    red, blue, star = ("supports", "red", None), ("supports", "blue", None), ("supports", "star", None)
    prior = Prior([("x", 0, [star]), ("x", 1, [red, blue]), ("x", 2, [red]), ("y", 3, [blue])])
    assert prior.claim("x", 0, [star]) == [red]
    assert prior.claim("x", 0, [star, star]) == [red, blue]
    assert prior.claim("x", 1, [red, blue, star]) == [red, star]
    assert prior.claim("y", 3, [blue]) == []


def test_shares_and_effects_as_json() -> None:
    found = summarise_counts([(1.0, 2.0), (0.0, 0.0), (3.0, 4.0)], (0, 3))
    assert (found.mean, found.n) == (4 / 6, 6)
    assert export_summary(found, "value", "interval") == {"value": 4 / 6, "interval": [found.low, found.high]}
    nothing = summarise_counts([(0.0, 0.0)] * 2, (0, 2))
    assert nothing.n == 0
    assert export_summary(nothing, "mean", "interval") == {"mean": None, "interval": None}
    rows = [{"scene": 0, "related": True, "drop": 2.0, "number": 1.0, "activity": 0.5}]
    one = summarise_ablations(rows, 3, 0)
    empty = {"mean": None, "interval": None, "size": None, "size_interval": None}
    assert one["drop"] == {**empty, "n": 1} and one["drop of other targets"] == {**empty, "n": 0}
    several = summarise_ablations([{**rows[0], "scene": scene, "drop": 2.0 + scene} for scene in range(3)], 3, 0)
    assert several["beyond as many channels"]["mean"] == 2 and several["drop"]["interval"] == [2, 4]
    assert several["drop"]["n"] == 3 and several["drop"]["size"] == pytest.approx(3 / np.std([2, 3, 4]))


# --- through the models -------------------------------------------------------------------------------------------------


def test_texts_rest_on_the_method_that_is_asked_for() -> None:
    tasks: Any = {"classifier": bundled.classifier(), "captioner": bundled.captioner(), "vqa": bundled.vqa()}
    known: Any = {which: bundled.read_packaged_names(which) for which in tasks}
    scene = make(3, "test")
    usual = list(naming_bench._make_cases(scene, 3, tasks, known))
    other = list(naming_bench._make_cases(scene, 3, tasks, known, "layercam"))
    assert {case.view.explanation.choice is None for case in usual} == {False}  # what explains by itself
    assert {case.view.explanation.method for case in other} == {"layercam"}
    less = remove_object(scene, 0)
    again = list(naming_bench._explain_again(less, other, tasks, "layercam"))
    assert {view.explanation.method for view in again} == {"layercam"} and len(again) == len(other)


def test_shuffled_names_keep_what_they_claim_together() -> None:
    names = bundled.read_packaged_names("captioner")
    assert names is not None and names.together
    mixed = permute_names(names, np.random.default_rng(0))
    for before, after in zip(names.together, mixed.together, strict=True):
        assert (before.name, before.claims) == (after.name, after.claims) and before.units != after.units
        assert {mixed.units[unit].name for unit in after.units} == {before.name}
        # As far above T_k as before, the score is as before.
        scores = [
            sum(weight * 2 * one.units[unit].threshold for unit, weight in zip(group.units, group.weights, strict=True))
            for one, group in ((names, before), (mixed, after))
        ]
        assert scores[0] == pytest.approx(scores[1])
    assert remove_calibration(names).together == ()


def test_masks_zero_channels_for_everything_that_follows() -> None:
    model = load("classifier")
    image = to_input(torch.from_numpy(make(0, "test").image()[None]))
    with torch.no_grad():
        plain = model(image)
        masks = torch.stack([torch.ones(192), torch.zeros(192)])
        with mask_channels(model, masks):
            both = model(image.expand(2, -1, -1, -1))
        nothing = model.get_submodule("classifier")(model.get_submodule("head")(torch.zeros(1, 192, 12, 12)))
        assert torch.equal(model(image), plain)
    assert torch.allclose(both[0], plain[0], atol=1e-4) and torch.allclose(both[1], nothing[0], atol=1e-4)


def test_scores_without_a_mask_are_those_that_were_explained() -> None:
    """The ablation measures the same targets as the texts are about: logits, and of words log-probabilities."""
    tasks: Any = {
        "classifier": bundled.classifier(),
        "captioner": bundled.captioner(),
        "vqa": bundled.vqa(),
    }
    known: Any = {which: bundled.read_packaged_names(which) for which in tasks}
    scene = make(3, "test")
    found = list(naming_bench._make_cases(scene, 3, tasks, known))
    assert {case.kind for case in found} == {"class", "word", "answer"}
    for kind, which in (("class", "classifier"), ("word", "captioner"), ("answer", "vqa")):
        those = [case for case in found if case.kind == kind]
        got = score_cases(tasks[which].model, scene, those, torch.ones(2, 192))
        expected = [case.view.target.score for case in those]
        assert got[:, 0] == pytest.approx(expected, abs=2e-3) and got[:, 1] == pytest.approx(expected, abs=2e-3)


def test_controls_are_other_channels_of_equal_number_and_activity() -> None:
    rng = np.random.default_rng(0)
    units = tuple(NeuronName(n, "dead" if n in (7, 8) else "unnamed") for n in range(40))
    activity = rng.random(40) * 10
    chosen = [1, 2, 3]
    sets = draw_controls(chosen, NeuronNames("m", "l", None, {}, units), activity, rng)
    assert len(sets) == 2 * DRAWS
    for one in sets:
        assert len(set(one)) == 3 and not set(one) & {*chosen, 7, 8}
    loose, near = (
        np.mean([abs(activity[one].sum() - activity[chosen].sum()) for one in part])
        for part in (sets[:DRAWS], sets[DRAWS:])
    )
    assert near < loose


def test_a_scene_without_an_object() -> None:
    scene = make(0, "test")
    less = remove_object(scene, 0)
    assert less.objects == scene.objects[1:] and less.background == scene.background
    assert not np.array_equal(less.image(), scene.image())


@pytest.mark.extended
def test_the_bars(measured: dict[str, Any]) -> None:
    """Presence precision of at least 0.90, hallucination of at most 0.05; contribution beats alpha, random and permuted names."""
    every = measured["texts"]["all"]
    own = {measure: found["value"] for measure, found in every["contribution"].items()}
    assert own["precision"] >= 0.90 and own["precision, objects"] >= 0.90
    assert own["hallucination"] <= 0.05
    assert own["absence precision"] >= 0.90
    for other in ("alpha", "random names", "permuted names"):
        for measure in ("precision", "precision, objects", "recall", "recall, own words", "sign accuracy"):
            assert own[measure] > every[other][measure]["value"], (other, measure)
        assert own["hallucination"] < every[other]["hallucination"]["value"]
    # What calibrated claims are for: without them hardly a name carries enough of the evidence to be told.
    assert own["recall, own words"] > every["above T_k"]["recall, own words"]["value"] + 0.2
    for kind in ("class", "word", "answer"):
        assert measured["texts"][kind]["contribution"]["precision"]["value"] >= 0.90


@pytest.mark.extended
def test_named_channels_matter_for_what_they_are_named_after(measured: dict[str, Any]) -> None:
    for kind in ("class", "word", "answer"):
        for against in ("beyond as many channels", "beyond as active channels"):
            found = measured["ablation"][kind][against]
            assert found["interval"][0] > 0 and found["size"] > 0.5, (kind, against)
        assert measured["ablation"][kind]["drop"]["mean"] > measured["ablation"][kind]["drop of other targets"]["mean"]


@pytest.mark.extended
def test_texts_follow_the_picture(measured: dict[str, Any]) -> None:
    """Names of an object that is erased leave the text more often than those that stay true."""
    erased = measured["erased"]["all"]
    assert erased["lost names leave"]["value"] > 0.85 > 1 - erased["true names stay"]["value"]
    assert erased["lost names leave"]["interval"][0] > 1 - erased["true names stay"]["interval"][0]
    assert erased["their evidence falls"]["value"] > 0.85
    assert erased["its targets fall"]["value"] > erased["other targets fall"]["value"] + 0.2


@pytest.mark.extended
def test_the_same_seed_gives_the_same_numbers_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    first = naming_bench.evaluate(n=3, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert first == naming_bench.evaluate(n=3, seed=1)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    printing.show_texts(first)
    out = capsys.readouterr().out
    assert "texts, all (3 test scenes)" in out and "beyond as active channels" in out and "lost names leave" in out
    table = naming_bench.make_rows(first, "word")
    assert table[0][0] == "precision" and all(len(row) == 1 + len(naming_bench.RANKINGS) for row in table)


@pytest.mark.extended
def test_names_worth_nothing_are_found_out() -> None:
    """The benchmark is not a formality: the same models with names shuffled for good fail both bars."""
    names: Any = {
        which: permute_names(bundled.read_packaged_names(which) or some_names(), np.random.default_rng(0))
        for which in ("classifier", "captioner", "vqa")
    }
    found = naming_bench.evaluate(n=4, names=names)
    own = found["texts"]["all"]["contribution"]
    assert own["precision"]["value"] < 0.7 and own["hallucination"]["value"] > 0.2
    drop = found["ablation"]["word"]["beyond as active channels"]
    assert drop["mean"] < 0.3


def test_bad_input() -> None:
    with pytest.raises(InputError, match="n=1 was given; expected 2 scenes or more"):
        naming_bench.evaluate(n=1)
    with pytest.raises(InputError, match="names of vqa were given; expected those of classifier, captioner, vqa"):
        naming_bench.evaluate(n=2, names={"vqa": some_names()})


def test_the_package_names_are_calibrated() -> None:
    """Without claims every text would say more than is known."""
    for which in MODEL_NAMES:
        names = bundled.read_packaged_names(which)
        assert names is not None and any(unit.claims for unit in names.units)
    text = vlcam.explain(bundled.classifier(), make(1, "test").image())[0].neurons
    assert text is not None and "was not measured" not in text.sentence
