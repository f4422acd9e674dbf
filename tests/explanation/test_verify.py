"""The significance test of one heatmap: planted evidence is found, worthless maps are called worthless, and the model is left as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.cli.printing import show
from vlcam.contracts import InputError, PerturbationMethod, Subject
from vlcam.engine.weights import randomise_weights, redraw_weights
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.fills import FILLS, remove_regions
from vlcam.explanation.page import make_page
from vlcam.explanation.rebuild import rebuild_subject
from vlcam.explanation.record import SignificanceTest
from vlcam.explanation.region_test import correct_for_number
from vlcam.explanation.run import run_and_record as really_ran
from vlcam.explanation.verify import _remake_maps as really_remade
from vlcam.explanation.verify import compare_regions, verify
from vlcam.methods import registry
from vlcam.scenes.models.zoo import create_model
from vlcam.scenes.sample import make
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

SCENE = make(3, "test")
SIDE = 24


class Spot(nn.Module):
    """Scores the brightness of a 6 x 6 spot at the upper left, by way of a layer with one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.look.weight, 1 / 3)
        self.spot = nn.Parameter(torch.zeros(SIDE, SIDE), requires_grad=False)
        self.spot.data[2:8, 2:8] = 1.0

    def forward(self, images: Tensor) -> Tensor:
        found = (self.look(images) * self.spot).sum((2, 3))
        return torch.cat([found, -found], 1)


def spot_task() -> Classification:
    return Classification(Spot(), ("bright", "dark"), vlcam.Preprocess(size=(SIDE, SIDE), mode="resize"), layer="look")


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def pointing_at(rows: slice, columns: slice) -> PerturbationMethod:
    """A map that marks one place, whatever the model."""

    def function(subject: Subject) -> Tensor:
        maps = torch.zeros(len(subject.targets), SIDE, SIDE)
        maps[:, rows, columns] = 1.0
        return maps

    return PerturbationMethod("fixed", function, "Fixed", "-", "-")


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fixed maps by name, as a registered procedure would be."""

    def explained(rows: slice, columns: slice, seed: int = 0) -> tuple[vlcam.Explanation, Classification]:
        procedure = pointing_at(rows, columns)
        monkeypatch.setitem(registry.REGISTRY, "fixed", procedure)
        task = spot_task()
        return vlcam.explain(task, noise(seed), targets="bright", method="fixed"), task

    return explained


def white(where: tuple[slice, slice]) -> np.ndarray:
    """A dark picture with a white patch."""
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    picture[where] = 255
    return picture


def test_the_deciding_region_is_better_than_chance(fixed: Any) -> None:
    explanation, task = fixed(slice(2, 8), slice(2, 8))
    picture = white((slice(2, 8), slice(2, 8)))
    explanation = vlcam.explain(task, picture, targets="bright", method="fixed")
    found = explanation.verify(task, regions=99, area=36 / SIDE**2)[0].significance
    assert found is not None and found.p == 0.02 and found.corrected == 0.02
    assert (
        found.removed > 0 and found.removed_as_much == 1 and found.untrained_as_much == 0
    )  # one random region is the same
    assert found.regions == found.models == 99
    assert found.verdict.startswith("Removing this region lowers 'bright' by")
    assert "1 of 99 random regions and none of 99 untrained models did as much. Better" in found.verdict
    assert found.verdict.endswith("Better than chance (p = 0.02).")
    assert found.area == pytest.approx(36 / SIDE**2)
    assert [one.fill for one in found.fills] == ["mean", "blur", "neighbours", "noise"]
    assert all(one.removed > 0 and one.as_much == 0 and one.regions == 9 for one in found.fills)


def test_the_effect_is_the_fall_of_the_score(fixed: Any) -> None:
    explanation, task = fixed(slice(2, 5), slice(2, 8))
    subject = rebuild_subject(explanation, task)
    image, mask = subject.image, torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[2:5, 2:8] = True
    spot = task.model.spot.bool()
    expected = []
    for fill in FILLS:
        changed = remove_regions(image, mask[None], fill)
        expected.append(float(((image - changed).mean(1)[0] * spot).sum()))
    found = compare_regions(explanation, subject, 19, area=18 / SIDE**2)[0]
    assert found is not None and torch.equal(found.region, mask)
    assert [one.removed for one in found.fills] == pytest.approx(expected, abs=1e-3)
    assert found.removed == pytest.approx((expected[0] + expected[2]) / 2, abs=1e-3)


def test_a_map_that_marks_another_place_is_no_better_than_chance(fixed: Any) -> None:
    passed = 0
    for seed in range(10):
        explanation, task = fixed(slice(14, 20), slice(12, 18), seed)
        proof = explanation.verify(task, regions=39, area=36 / SIDE**2, seed=seed)[0].significance
        assert proof is not None and proof.p is not None
        passed += proof.p <= 0.05
        if proof.p > 0.05:
            assert " may do as well (p = " in proof.verdict
    assert passed <= 2


@pytest.mark.extended
def test_p_values_of_untrained_models_are_uniform() -> None:
    """Grad-CAM, a map that lies on objects and a random one, of classifiers that learnt nothing: within Kolmogorov's 1 % bound."""
    own, lying, anywhere = list[float](), list[float](), list[float]()
    for seed in range(60):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            task = bundled.classifier(create_model("classifier"))
        found = vlcam.explain(task, make(seed, "val").image(), targets=[seed % 36], method="gradcam")
        subject = rebuild_subject(found, task)
        heat = subject.activations.abs().mean(1)
        drawn = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(seed))
        for explanation, values in (
            (found, own),
            (replace(found, maps=heat), lying),
            (replace(found, maps=drawn), anywhere),
        ):
            test = compare_regions(explanation, subject, 19, seed=seed)[0]
            if test is not None:
                values.append(test.p)
    for values in (own, lying, anywhere):
        p, n = np.sort(values), len(values)
        assert n >= 45
        distance = np.max(np.abs(np.arange(1, n + 1) / n - p)) - 1 / 20  # p is mostly a multiple of 1 / 20
        assert distance < 1.63 / np.sqrt(n)
        assert np.mean(p <= 0.05) < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / n)


def test_the_object_on_a_flat_ground_is_found_and_other_places_are_not() -> None:
    scene = make(2, "val")
    picture, mask = scene.image().copy(), scene.masks()[0]
    picture[~mask] = 160
    task, elsewhere = bundled.classifier(), np.zeros(mask.shape, np.float32)
    elsewhere[np.roll(mask, (30, 40), (0, 1)) & ~mask] = 1.0
    explanation = vlcam.explain(task, picture, targets=[" ".join(scene.objects[0].pair)])
    subject = rebuild_subject(explanation, task)
    heats = [torch.tensor(one, dtype=torch.float32)[None] for one in (mask, elsewhere)]
    right, wrong = (compare_regions(replace(explanation, maps=heat), subject, 39)[0] for heat in heats)
    assert right is not None and right.p == 1 / 40 and right.learnt and right.models.drawn == 39
    assert wrong is not None and wrong.p > 0.2


@pytest.mark.extended
def test_a_caption_is_proved_word_by_word(tmp_path: Path) -> None:
    task = bundled.captioner()
    explanation = vlcam.explain(task, SCENE.image())
    told: list[tuple[int, int]] = []
    found = explanation.verify(task, regions=39, progress=lambda done, total: told.append((done, total)))
    assert found.significance is not None and len(found.significance) == len(found)
    assert told[-1] == (39 * (2 * len(found) + 1), 39 * (2 * len(found) + 1))
    assert [one for one, _ in told] == sorted(one for one, _ in told)
    p = [test.p for test in found.significance]
    assert [test.corrected for test in found.significance] == list(correct_for_number(p))
    assert f"The {sum(one is not None for one in p)} p-values were corrected for their number (Holm)" in found.notes[-1]
    colour = next(view for view in found if view.label == "green")
    assert (
        colour.significance is not None and colour.significance.removed > 0.2 and "nats" in colour.significance.verdict
    )
    assert colour.significance.occlusion is not None and -1 <= colour.significance.occlusion <= 1
    assert colour.significance.untrained is not None and abs(colour.significance.untrained) < 0.9
    assert explanation.verify(task, regions=39).significance == found.significance  # the same seed, the same proofs
    assert found.verify(task, regions=19).notes == (*explanation.notes, found.verify(task, regions=19).notes[-1])
    saved = Explanation.load(found.save(tmp_path / "proved.safetensors"))
    assert saved.significance == found.significance
    shown = make_page([found])
    assert colour.significance.verdict in shown
    assert f"Rank correlation: {colour.significance.occlusion:.2f} with an occlusion map, " in shown
    targets = found.to_dict()["targets"]
    assert targets[0]["significance"]["p"] == found.significance[0].p
    assert targets[0]["significance"]["corrected"] == found.significance[0].corrected


def test_answers_and_contrasts_are_proved_from_a_saved_file(tmp_path: Path) -> None:
    task = bundled.vqa()
    explanation = vlcam.explain(
        task, SCENE.image(), question="how many things are there", contrast=("2", "3"), targets="2"
    )
    saved = Explanation.load(explanation.save(tmp_path / "answer.safetensors"))
    found = saved.verify(bundled.vqa(), regions=19)
    assert [view.label for view in found] == ["2", "2 rather than 3"]
    assert all(isinstance(view.significance, SignificanceTest) for view in found)


def test_logits_of_words_are_scored_as_logits() -> None:
    task = bundled.captioner()
    explanation = vlcam.explain(task, SCENE.image(), measure="logit", contrast=("green", "red"))
    assert rebuild_subject(explanation, task).request.measure == "logit"


def test_a_counterfactual_map_is_tested_the_other_way_round() -> None:
    task = spot_task()
    picture = white((slice(2, 8), slice(2, 8)))
    found = vlcam.explain(task, picture, targets="dark", method="counterfactual").verify(
        task, regions=39, area=36 / SIDE**2
    )
    proof = found[0].significance
    assert proof is not None and proof.removed > 0 and "raises 'dark'" in proof.verdict


def test_an_empty_map_has_nothing_to_test(fixed: Any) -> None:
    explanation, task = fixed(slice(0, 0), slice(0, 0))
    proof = explanation.verify(task, regions=19)[0].significance
    assert proof is not None and proof.p is None and proof.verdict == "Nothing to test: the map of 'bright' is empty."


def test_another_photo_or_model_is_refused() -> None:
    task = bundled.classifier()
    explanation = vlcam.explain(task, SCENE.image(), targets="red star")
    with pytest.raises(InputError, match="the photo given is not the one explained"):
        explanation.verify(task, make(4, "test").image())
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        other = bundled.classifier(create_model("classifier"))
    with pytest.raises(InputError, match=r"scores 'red star' with .* the explanation with"):
        explanation.verify(other)
    reduced = replace(explanation, photo=replace(explanation.photo, width=960, height=960))
    with pytest.raises(InputError, match="keeps a smaller copy; give the photo itself"):
        verify(reduced, task)
    with pytest.raises(InputError, match="regions=5 was given; expected 19 or more"):
        explanation.verify(task, regions=5)


def test_the_model_is_left_as_it_was_also_after_an_error() -> None:
    task = bundled.vqa()
    task.model.train()
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    state = torch.get_rng_state()
    vlcam.explain(task, SCENE.image(), question="how many things are there", targets="2").verify(task, regions=19)
    with randomise_weights(task.model, 0):
        assert not torch.equal(task.model.state_dict()["features.0.weight"], before["features.0.weight"])
    with pytest.raises(ZeroDivisionError), randomise_weights(task.model, 0):
        raise ZeroDivisionError
    with redraw_weights(task.model) as redraw:
        redraw(1)
        once = task.model.state_dict()["features.0.weight"].clone()
        redraw(2)
        again = task.model.state_dict()["features.0.weight"].clone()
        redraw(1)
        assert torch.equal(task.model.state_dict()["features.0.weight"], once) and not torch.equal(once, again)
        for drawn in (once, again):
            assert float(drawn.std()) == pytest.approx(float(before["features.0.weight"].std()), rel=0.1)

    def redraw_and_fail() -> None:
        with redraw_weights(task.model) as redraw:
            redraw(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        redraw_and_fail()
    assert task.model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in task.model.state_dict().items())


def test_another_layer_than_the_tasks_is_tested_at_that_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    task = bundled.classifier()
    explanation = vlcam.explain(task, SCENE.image(), targets="red star", layer="features.2")
    seen: list[str] = []

    def watched(task: Any, prepared: Any, request: Any, layer: Any) -> Any:
        spoken, evidence = really_ran(task, prepared, request, layer)
        seen.append(evidence.layer)
        return spoken, evidence

    monkeypatch.setattr("vlcam.explanation.rebuild.run_and_record", watched)
    explanation.verify(task, regions=19)
    assert set(seen) == {"features.2"} and len(seen) > 2  # the trained model, and untrained ones


def test_a_method_without_a_name_is_tested_too() -> None:
    mine = vlcam.Method("mine", vlcam.methods.get_one_run_method("hirescam").function, "Mine", "-", "-")
    task = spot_task()
    picture = white((slice(2, 8), slice(2, 8)))
    proof = vlcam.explain(task, picture, targets="bright", method=mine).verify(task, regions=19)[0].significance
    assert proof is not None and proof.p is not None and proof.untrained is None


def test_where_the_method_is_occlusion_there_is_no_correlation_with_it() -> None:
    task = bundled.classifier()
    found = vlcam.explain(task, SCENE.image(), targets="green circle", method="occlusion").verify(task, regions=19)
    test = found[0].significance
    assert test is not None and test.occlusion is None and test.untrained is not None
    assert "with an occlusion map" not in make_page([found])


def test_a_score_that_hardly_depends_on_the_picture_says_so(fixed: Any) -> None:
    explanation, task = fixed(slice(2, 8), slice(2, 8))
    with torch.no_grad():
        task.model.spot.mul_(1e-6)
    explanation = vlcam.explain(task, noise(), targets="bright", method="fixed")
    test = explanation.verify(task, regions=19, area=36 / SIDE**2)[0].significance
    assert test is not None and test.p is not None
    assert test.verdict.startswith("'bright' hardly depends on the picture: whatever was removed, even all of it, ")


def test_maps_are_made_again_only_where_the_method_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The explanation's own map is compared with the maps of untrained models; one put in its place, and an occlusion map, are held."""
    task, seen = bundled.classifier(), list[int]()
    explanation = vlcam.explain(task, SCENE.image(), targets="green circle", method="gradcam")
    subject = rebuild_subject(explanation, task)

    def watched(*given: Any) -> Any:
        seen.append(1)
        return really_remade(*given)

    monkeypatch.setattr("vlcam.explanation.verify._remake_maps", watched)
    own = compare_regions(explanation, subject, 19)[0]
    assert own is not None and len(seen) == own.models.drawn == 19
    seen.clear()
    held = compare_regions(replace(explanation, maps=explanation.maps.flip(1)), subject, 19)[0]
    assert held is not None and held.models.drawn and not seen


def test_the_command_line_says_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    task = bundled.classifier()
    found = vlcam.explain(task, SCENE.image(), targets="green circle").verify(task, regions=19)
    show(found)
    proof = found[0].significance
    assert proof is not None and proof.verdict in capsys.readouterr().out
