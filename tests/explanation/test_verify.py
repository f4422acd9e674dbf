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
from vlcam.engine.weights import randomise_weights
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.page import make_page
from vlcam.explanation.record import SignificanceTest
from vlcam.explanation.run import run_and_record as really_ran
from vlcam.explanation.verify import compare_regions, measure_changes, measure_effects, rebuild_subject, verify
from vlcam.image.regions import draw_on_picture, draw_random_regions, find_top_region
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


def test_the_deciding_region_is_proved(fixed: Any) -> None:
    explanation, task = fixed(slice(2, 8), slice(2, 8))
    picture = white((slice(2, 8), slice(2, 8)))
    explanation = vlcam.explain(task, picture, targets="bright", method="fixed")
    found = explanation.verify(task, regions=99, area=36 / SIDE**2)[0].significance
    assert (
        found is not None
        and found.p is not None
        and found.p <= 0.02
        and found.removed_as_much <= 1
        and found.removed > 0
        and found.kept > 0
    )
    assert found.verdict.startswith("Removing this region lowers 'bright' by")
    assert "of 99 random regions did as much. Better than chance (p = 0.0" in found.verdict
    assert found.area == pytest.approx(36 / SIDE**2)


def test_the_effects_are_those_of_the_score(fixed: Any) -> None:
    explanation, task = fixed(slice(2, 8), slice(2, 8))
    subject = rebuild_subject(explanation, task)
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[0, 2:5, 2:8] = True
    image = subject.image
    grey = image.mean((2, 3), keepdim=True)
    spot = task.model.spot.bool()
    expected = ((image - grey).mean(1)[0] * (mask[0] & spot)).sum()
    removed, kept = measure_effects(subject, 0, mask)
    assert float(removed[0]) == pytest.approx(float(expected), abs=1e-3)
    assert float(kept[0]) == pytest.approx(float(expected), abs=1e-3)  # a linear model: both ways of asking agree
    assert float(measure_changes(image, mask)[0]) == pytest.approx(
        float(((image - grey)[0, :, 2:5, 2:8] ** 2).sum().sqrt()), rel=1e-5
    )


def test_a_map_that_marks_another_place_is_no_better_than_chance(fixed: Any) -> None:
    passed = 0
    for seed in range(10):
        explanation, task = fixed(slice(14, 20), slice(12, 18), seed)
        proof = explanation.verify(task, regions=39, area=36 / SIDE**2, seed=seed)[0].significance
        assert proof is not None and proof.p is not None
        passed += proof.p <= 0.05
        if proof.p > 0.05:
            assert "A random map may do as well" in proof.verdict
    assert passed <= 2


@pytest.mark.extended
def test_p_values_of_an_untrained_model_are_uniform() -> None:
    """Grad-CAM of classifiers that learnt nothing: the empirical distribution of p stays within Kolmogorov's 1 % bound of a uniform one."""
    found = []
    for seed in range(60):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            task = bundled.classifier(create_model("classifier"))
        explanation = vlcam.explain(task, make(seed, "val").image(), targets=[seed % 36, (seed + 18) % 36])
        subject, rng = rebuild_subject(explanation, task), np.random.default_rng(seed)
        tests = [compare_regions(subject, view, 19, 0.1, rng) for view in explanation]
        found += [test.p for test in tests if test is not None]
    p = np.sort(found)
    assert len(p) >= 90
    n = len(p)
    distance = np.max(np.abs(np.arange(1, n + 1) / n - p)) - 1 / 40  # p can only be a multiple of 1 / 20
    assert distance < 1.63 / np.sqrt(n)
    assert np.mean(p <= 0.05) < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / n)


@pytest.mark.extended
def test_a_caption_is_proved_word_by_word(tmp_path: Path) -> None:
    task = bundled.captioner()
    explanation = vlcam.explain(task, SCENE.image())
    told: list[tuple[int, int]] = []
    found = explanation.verify(task, regions=39, progress=lambda done, total: told.append((done, total)))
    assert found.significance is not None and len(found.significance) == len(found)
    assert told[-1] == (2 * len(found) * 40, 2 * len(found) * 40)
    colour = next(view for view in found if view.label == "green")
    assert (
        colour.significance is not None
        and colour.significance.removed > 0.2
        and " nats; " in colour.significance.verdict
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
    task = bundled.captioner()
    task.model.train()
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    state = torch.get_rng_state()
    vlcam.explain(task, SCENE.image()).verify(task, regions=19)
    with randomise_weights(task.model, 0):
        assert not torch.equal(task.model.state_dict()["features.0.weight"], before["features.0.weight"])
    with pytest.raises(ZeroDivisionError), randomise_weights(task.model, 0):
        raise ZeroDivisionError
    assert task.model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in task.model.state_dict().items())


class TestRegions:
    def test_the_top_of_a_map_has_the_area_asked_for(self) -> None:
        heat = torch.arange(16.0).reshape(4, 4)
        region = find_top_region(heat, (8, 8), 0.25)
        assert region is not None and int(region.sum()) == 16
        drawn = draw_on_picture(heat[None], (8, 8))[0]
        assert float(drawn[region].min()) >= float(drawn[~region].max())

    def test_only_what_is_positive_belongs_to_it(self) -> None:
        heat = torch.full((4, 4), -1.0)
        assert find_top_region(heat, (8, 8)) is None and find_top_region(torch.zeros(4, 4), (8, 8)) is None
        heat[0, 0] = 1.0
        region = find_top_region(heat, (4, 4), 0.5)
        assert region is not None and int(region.sum()) == 1
        assert find_top_region(torch.full((4, 4), torch.nan), (8, 8)) is None

    @pytest.mark.parametrize("area", [0.0, 1.0, -0.5])
    def test_areas_out_of_range_are_refused(self, area: float) -> None:
        with pytest.raises(InputError, match="expected a fraction of the picture"):
            find_top_region(torch.ones(2, 2), (4, 4), area)

    def test_shapes_are_kept_where_they_fit(self) -> None:
        region = torch.zeros(20, 20, dtype=torch.bool)
        region[3:6, 4] = True
        region[5, 4:7] = True  # an L
        found = draw_random_regions(region, 200, np.random.default_rng(0))
        assert (found.sum((1, 2)) == region.sum()).all()
        for one in found:
            rows, columns = torch.nonzero(one.any(1))[:, 0], torch.nonzero(one.any(0))[:, 0]
            assert (
                (len(rows), len(columns)) == (3, 3)
                and int(rows[-1] - rows[0]) == 2
                and int(columns[-1] - columns[0]) == 2
            )
        assert len({tuple(torch.nonzero(one)[0].tolist()) for one in found}) > 100
        shapes = {tuple(one[one.any(1)][:, one.any(0)].flatten().tolist()) for one in found}
        assert len(shapes) == 4  # as it is, and mirrored in each way

    def test_large_regions_are_shifted_around_the_edges(self) -> None:
        region = torch.zeros(10, 10, dtype=torch.bool)
        region[0] = region[9] = True
        found = draw_random_regions(region, 50, np.random.default_rng(0))
        assert (found.sum((1, 2)) == 20).all() and len({tuple(one.flatten().tolist()) for one in found}) > 5


def test_another_layer_than_the_tasks_is_tested_at_that_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    task = bundled.classifier()
    explanation = vlcam.explain(task, SCENE.image(), targets="red star", layer="features.2")
    seen: list[str] = []

    def watched(task: Any, prepared: Any, request: Any, layer: Any) -> Any:
        spoken, evidence = really_ran(task, prepared, request, layer)
        seen.append(evidence.layer)
        return spoken, evidence

    monkeypatch.setattr("vlcam.explanation.verify.run_and_record", watched)
    explanation.verify(task, regions=19)
    assert seen == ["features.2", "features.2"]  # the trained model and the untrained one, each once


def test_a_method_without_a_name_is_tested_too() -> None:
    mine = vlcam.Method("mine", vlcam.methods.get_one_run_method("hirescam").function, "Mine", "-", "-")
    task = spot_task()
    picture = white((slice(2, 8), slice(2, 8)))
    proof = vlcam.explain(task, picture, targets="bright", method=mine).verify(task, regions=19)[0].significance
    assert proof is not None and proof.p is not None and proof.untrained is None


def test_effects_are_compared_for_the_change_that_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions that change the picture more need larger effects: of 38 others, 19 do half as much for their change, 19 do twice as much."""
    explanation = vlcam.explain(bundled.classifier(), SCENE.image(), targets="green circle")
    subject = rebuild_subject(explanation, bundled.classifier())

    def effects(subject: Any, index: int, masks: Tensor) -> tuple[Tensor, Tensor]:
        worth = torch.tensor([1.0, *(0.5, 2.0) * 19], dtype=torch.float64)
        found = worth * measure_changes(subject.image, masks)
        return found / 4, 3 * found / 4

    monkeypatch.setattr("vlcam.explanation.verify.measure_effects", effects)
    found = compare_regions(subject, explanation[0], 38, 0.1, np.random.default_rng(0))
    assert found is not None and found.p == 20 / 39
    assert found.removed_as_much != 19  # the counts are of the effects as they are


def test_the_command_line_says_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    task = bundled.classifier()
    found = vlcam.explain(task, SCENE.image(), targets="green circle").verify(task, regions=19)
    show(found)
    proof = found[0].significance
    assert proof is not None and proof.verdict in capsys.readouterr().out
