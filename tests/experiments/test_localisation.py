"""Experiments 1, 2, 3, 7 and 15: their counts are those of the plain formulas, on generated scenes and on tiny data sets."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support import data_layouts
from vlcam.contracts import InputError, Request, Task
from vlcam.experiments import ablations, failures, localisation, pointing, seeds
from vlcam.experiments.data.samples import PhotoObject
from vlcam.experiments.data.scenes_world import open_scenes
from vlcam.experiments.results.gallery import draw_gallery, draw_panel, save_gallery
from vlcam.experiments.results.lines import make_percent_row, write_comparison
from vlcam.experiments.results.result import Result, ResultRow, from_json, to_json
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared import cam_model, classes
from vlcam.experiments.shared.cam_model import train_cam_head
from vlcam.experiments.shared.classes import (
    ClassifiedPhoto,
    find_region,
    match_classes,
    predict_classes,
    smooth,
    split_held_out,
    walk,
)
from vlcam.experiments.shared.controls import CONTROLS, Controls, make_untrained_task
from vlcam.image.preprocess import Preprocess
from vlcam.metrics import (
    Pointed,
    best_box_ious,
    class_accuracy,
    label_overlaps,
    max_box_acc,
    mean_iou,
    seed_labels,
    summarise,
    summarise_by,
)
from vlcam.scenes.record import UNSEEN_PAIRS
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

CLASSES = ("cat", "dog", "sheep")
MODULES: dict[str, Any] = {
    "localisation": localisation, "seeds": seeds, "pointing": pointing, "failures": failures, "ablations": ablations
}  # fmt: skip


class Colours(nn.Module):
    """Sees the colours of the tiny data sets' classes, and how much of each there is: the form that CAM needs."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(3, 3, bias=False)
        directions = torch.tensor([data_layouts.COLOURS[one] for one in CLASSES]) / 255 - 0.5
        with torch.no_grad():
            for parameter, values in (
                (self.features[0].weight, (directions / directions.square().sum(1, keepdim=True))[:, :, None, None]),
                (self.classifier.weight, torch.eye(3) - 0.3 * (1 - torch.eye(3))),
            ):
                assert isinstance(parameter, nn.Parameter)
                parameter.copy_(values)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return found


def tiny(labels: tuple[str, ...] = CLASSES, size: tuple[int, int] = (40, 30)) -> Classification:
    preprocess = Preprocess(size=size, mode="resize", mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    return Classification(Colours().eval(), labels, preprocess, layer="features", name="tiny")


class Plain:
    """A task that is not a dataclass."""

    kind, name, model, layer, names = "classification", "plain", nn.Identity(), None, None

    def prepare(self, photo: Any, request: Any) -> Any:
        raise AssertionError

    def run(self, prepared: Any, request: Any) -> Any:
        raise AssertionError


def on(data: Path, labels: tuple[str, ...] = CLASSES) -> Setting:
    opened: dict[str, Task] = {"classification tiny": tiny(labels)}
    return Setting(data=data, model="tiny", quick=True, opened=opened)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "count", lambda self, quick, full: 2)
    monkeypatch.setattr(classes, "FRAME", 32)
    for module in (localisation, pointing):
        monkeypatch.setattr(module, "_RESAMPLES", 20)
    monkeypatch.setattr(localisation, "OTHERS", ("layercam",))
    for module in (seeds, pointing):
        monkeypatch.setattr(module, "METHODS", ("gradcam", "c-mwp", "guided-backprop"))


@pytest.fixture(scope="module")
def kept() -> dict[str, Task]:
    """The bundled classifier, and CAM's head on it, once for all experiments."""
    task = bundled.classifier()
    head = train_cam_head(task, 60)
    return {"classification scenes/classifier": task, f"{cam_model._KEY} of 2 scenes": head}


def at(result: Result, name: str, column: str = "") -> ResultRow:
    return next(one for one in (*result.rows, *result.controls) if (one.name, one.column) == (name, column))


def looks(n: int = 2, methods: tuple[Any, ...] = ("gradcam",)) -> list[ClassifiedPhoto]:
    task, world = bundled.classifier(), open_scenes("test")
    return list(walk(task, world.iterate_samples(n), match_classes(task, world), methods))


# --- walking ----------------------------------------------------------------------------------------------------------


def test_a_walk_sees_what_the_model_says_and_what_is_there() -> None:
    task, world = bundled.classifier(), open_scenes("test")
    for look, sample in zip(looks(3), world.iterate_samples(3), strict=True):
        explained = vlcam.explain(task, sample.image, top_k=5, method="gradcam")
        assert [target.label for target in explained.targets] == [look.get_label(one) for one in look.predicted]
        assert {world.labels[one] for one in sample.present} == {look.get_label(one) for one in look.present}
        for index in (*look.predicted, *look.present):
            own = vlcam.explain(task, sample.image, targets=[look.get_label(index)], method="gradcam")[0]
            torch.testing.assert_close(look.get_heat("gradcam")[look.find_place(index)], own.heatmap())
        for index in look.present:
            region = look.get_region(index)
            mask = sample.get_mask(index)
            assert region is not None and mask is not None and np.array_equal(region.numpy(), mask)
            assert look.get_boxes(index) == [obj.box for obj in sample.find_objects(index)]
        absent = next(one for one in look.predicted if one not in look.present)
        assert look.get_region(absent) is None and not look.get_objects(absent)
        with pytest.raises(InputError, match="neither predicted nor"):
            look.find_place(next(one for one in range(36) if one not in (*look.predicted, *look.present)))


def test_photos_without_a_class_that_the_model_knows_are_passed_over() -> None:
    task, world = bundled.classifier(), open_scenes("test")
    wanted = next(iter(world.iterate_samples(1))).present[0]
    found = list(walk(task, world.iterate_samples(6), {wanted: wanted}, ["gradcam"]))
    assert [one.number for one in found] == [
        n for n, one in enumerate(world.iterate_samples(6)) if wanted in one.present
    ]
    assert all(one.present == (wanted,) for one in found)


def test_boxes_are_scaled_with_large_photos(tmp_path: Path) -> None:
    setting = on(data_layouts.voc(tmp_path))
    task = setting.load_task("classification")
    world = setting.open_world(["boxes"], task)
    look = next(iter(walk(task, world.iterate_samples(3), match_classes(task, world), ["gradcam"])))
    assert look.frame == look.sample.size == data_layouts.SIZE
    big = type(look.sample)("big", np.zeros((600, 1120, 3), np.uint8), (1120, 600), look.sample.objects)
    scaled = next(iter(walk(task, [big], match_classes(task, world), ["gradcam"])))
    assert scaled.frame == (224, 120)
    assert scaled.get_boxes(0)[0] == pytest.approx(tuple(side / 5 for side in look.get_boxes(0)[0]))
    assert scaled.get_heat("gradcam", scaled.frame).shape[1:] == (120, 224)


def test_difficult_objects_are_present_but_not_counted(tmp_path: Path) -> None:
    setting = on(data_layouts.voc(tmp_path))
    task = setting.load_task("classification")
    world = setting.open_world(["boxes"], task)
    last = list(walk(task, world.iterate_samples(3), match_classes(task, world), ["gradcam"]))[-1]
    assert last.present == (2,) and last.counted == ()


def test_thresholds_are_chosen_on_other_photos_than_are_scored(tmp_path: Path) -> None:
    held, scored = split_held_out(Setting(), open_scenes("test"), 2)
    assert [one.name for one in held] == ["val 0", "val 1"] and [one.name for one in scored] == ["test 0", "test 1"]
    setting = on(data_layouts.voc(tmp_path))
    held, scored = split_held_out(setting, setting.open_world(["boxes"]), 5)
    names = [one.name for one in held], [one.name for one in scored]
    assert [len(one) for one in names] == [1, 2] and not set(names[0]) & set(names[1])


def test_a_region_without_masks_is_the_boxes() -> None:
    objects = [PhotoObject("cat", (1.0, 0.0, 3.0, 2.0), 0), PhotoObject("cat", (4.0, 2.0, 4.2, 2.3), 0)]
    found = find_region(objects, (5, 4))
    assert found is not None
    assert {tuple(one) for one in found.nonzero().tolist()} == {(0, 1), (0, 2), (1, 1), (1, 2), (2, 4)}
    assert find_region([], (5, 4)) is None


def test_smoothing_is_a_gaussian_sum_over_pixels() -> None:
    maps = torch.rand(1, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = smooth(maps, 0.15)
    sigma, reach = 0.15 * 9, round(3 * 0.15 * 9)
    for row, column in ((0, 0), (3, 4), (5, 8)):
        total = weight = 0.0
        for down in range(-reach, reach + 1):
            for along in range(-reach, reach + 1):
                part = math.exp(-(down**2 + along**2) / (2 * sigma**2))
                y, x = min(max(row + down, 0), 5), min(max(column + along, 0), 8)
                total, weight = total + part * float(maps[0, y, x]), weight + part
        assert found[0, row, column] == pytest.approx(total / weight)
    torch.testing.assert_close(smooth(torch.ones(1, 50, 50)), torch.ones(1, 50, 50))
    assert smooth(maps, 0.01) is maps


# --- controls ---------------------------------------------------------------------------------------------------------


def test_controls_know_nothing_of_the_model_but_the_ceiling_all() -> None:
    task = bundled.classifier()
    weights = {name: values.clone() for name, values in task.model.state_dict().items()}
    controls = Controls(task, 0)
    for name, values in task.model.state_dict().items():
        torch.testing.assert_close(values, weights[name])
    assert not torch.equal(controls.blind.model.get_parameter("classifier.weight"), weights["classifier.weight"])
    again = make_untrained_task(task, 0).model.get_parameter("classifier.weight")
    torch.testing.assert_close(controls.blind.model.get_parameter("classifier.weight"), again)
    (look,) = looks(1)
    heats = controls.make_heats(look)
    assert tuple(heats) == CONTROLS and all(one.shape == look.get_heat("gradcam").shape for one in heats.values())
    for index in look.predicted:
        region, ceiling = look.get_region(index), heats["ceiling"][look.find_place(index)]
        if region is None:
            assert not bool(ceiling.any())
        else:
            assert bool(region.flatten()[int(ceiling.argmax())])
    assert torch.equal(heats["centre"][0], heats["centre"][1]) and not torch.equal(*heats["random"][:2])
    with pytest.raises(InputError, match="expected a dataclass"):
        make_untrained_task(Plain(), 0)


def test_cams_head_says_what_is_there_and_cam_is_its_gradcam(kept: dict[str, Task], few: None) -> None:
    task, world = bundled.classifier(), open_scenes("val")
    other = cam_model.make_cam_task(Setting(opened=kept))
    assert other is not None and cam_model.make_cam_task(Setting(opened=kept, model="scenes/classifier")) is None
    assert other.model is not task.model and type(task.model).__name__ == "SceneClassifier"
    right = [predict_classes(other, one, 1)[0] in one.present for one in world.iterate_samples(20)]
    assert sum(right) >= 18
    (look,) = walk(other, world.iterate_samples(1), match_classes(other, world), ["gradcam", "cam"])
    torch.testing.assert_close(look.mapped.signed["cam"] / 144, look.mapped.signed["gradcam"], rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="at least one"):
        train_cam_head(task, 0)


# --- what is counted --------------------------------------------------------------------------------------------------


def test_seed_counts_are_those_of_labels_at_every_threshold() -> None:
    rng = torch.Generator().manual_seed(0)
    heats = torch.rand(3, 7, 8, generator=rng) * torch.tensor([1.0, 20.0, 0.3])[:, None, None]
    heats[0, :, :2] = 0
    heats[:, 6] = torch.nan
    truth = torch.randint(-1, 3, (7, 8), generator=rng)
    truth[:, 5] = seeds.IGNORED
    for given in (heats, torch.cat([heats[:2], torch.zeros(1, 7, 8)])):
        found = seeds.count_seeds(given, [0, 1, 2], truth)
        for level in range(seeds.LEVELS):
            plain = seed_labels(given, [0, 1, 2], background=-1, threshold=(level + 1) / seeds.LEVELS)
            for label, one in label_overlaps(plain, truth, [-1, 0, 1, 2], ignore=seeds.IGNORED).items():
                assert found[label][:, level].tolist() == [one.both, one.claimed, one.true]


def test_seed_scores_are_vocs_mean_iou() -> None:
    rng = torch.Generator().manual_seed(3)
    truths = [torch.randint(-1, 2, (6, 6), generator=rng) for _ in range(3)]
    maps = [torch.rand(2, 6, 6, generator=rng) for _ in range(3)]
    tally = seeds.SeedCounts([seeds.count_seeds(heat, [0, 1], truth) for heat, truth in zip(maps, truths, strict=True)])
    found = seeds.score_counts(tally.stack().sum(0))
    plain = [
        label_overlaps(seed_labels(heat, [0, 1], background=-1, threshold=0.5), truth, [-1, 0, 1])
        for heat, truth in zip(maps, truths, strict=True)
    ]
    assert found[0, seeds.LEVELS // 2 - 1] == pytest.approx(mean_iou(plain))
    summaries = seeds.summarise_counts(tally.stack()[..., 24], 7, 100)
    own = tally.stack()[..., 24]
    first = summarise_by(lambda drawn: float(seeds.score_counts(own[drawn].sum(0))[0]), 3, seed=7, resamples=100)
    assert summaries[0] == first and len(summaries) == 3
    nothing = np.array([[[0.0], [0.0], [4.0]], [[0.0], [0.0], [0.0]], [[9.0], [13.0], [9.0]]])
    assert seeds.score_counts(nothing)[:, 0].tolist() == pytest.approx([(9 / 13) / 2, 0.0, 0.0])


def test_the_bootstraps_max_box_accuracy_is_the_metrics() -> None:
    rng = torch.Generator().manual_seed(5)
    ious = torch.stack(
        [best_box_ious(torch.rand(12, 12, generator=rng) ** 3, [(2.0, 3.0, 9.0, 8.0)], levels=20) for _ in range(8)]
    )
    accuracy = localisation.make_accuracy(ious)
    for drawn in (np.arange(8), np.array([0, 0, 3, 5, 5, 5, 7, 1])):
        assert accuracy(drawn) == pytest.approx(max_box_acc(ious[drawn]).value)


def test_localisation_is_right_where_the_box_is(monkeypatch: pytest.MonkeyPatch) -> None:
    look = looks(4)[3]
    index = look.predicted[0]
    assert look.present[look.number % len(look.present)] == index  # so it is also the given class of MaxBoxAccV2
    left, top, right, bottom = (round(one) for one in look.get_boxes(index)[0])
    good, bad = torch.zeros(len(look.mapped.targets), 96, 96), torch.zeros(len(look.mapped.targets), 96, 96)
    good[look.find_place(index), top:bottom, left:right] = 1
    bad[look.find_place(index)] = 1
    found = localisation.LocalisationScores()
    found.add(look, good)
    found.add(look, bad)
    assert found.errors == [(False, False, False, False), (True, True, False, False)]
    assert found.empty == [len(look.predicted) - 1] * 2
    assert found.ious[0].tolist() == [1.0] * localisation.LEVELS
    assert found.ious[1][0] == pytest.approx((right - left) * (bottom - top) / 96**2)
    monkeypatch.setattr(localisation, "SWEEP_SIDE", 48)
    found.add(look, good)
    assert 0.85 < float(found.ious[2][100]) <= 1
    assert localisation.find_key("torchvision/alexnet") == "localisation alexnet"
    assert localisation.find_key("resnet50") == "localisation"


def test_pointing_counts_pairs_and_declines() -> None:
    (look,) = looks(1)
    truth = Controls(bundled.classifier(), 0).make_heats(look)["ceiling"]
    played = pointing.PointingScores()
    played.add(look, truth, 0.0)
    assert played.hits == [1.0] * len(look.counted) and tuple(played.classes) == look.counted
    assert [one.present for one in played.points] == [one in look.present for one in look.predicted]
    assert all(one.hit == one.present for one in played.points)
    assert sum(played.empty) == sum(not one.present for one in played.points)
    many = pointing.PointingScores([1.0, 0.0, 1.0, 1.0], [7, 7, 9, 4], [0, 0, 1, 2])
    for drawn in (np.arange(4), np.array([0, 0, 1, 2])):
        plain = class_accuracy([many.hits[one] for one in drawn], [many.classes[one] for one in drawn])
        assert pointing._make_class_mean(many)(drawn) == pytest.approx(plain)


def test_a_score_may_decline_in_the_place_of_a_map() -> None:
    points = [Pointed(2.0, True, True), Pointed(5.0, False, False), Pointed(0.0, False, False)]
    found = pointing.decline_by_score(pointing.PointingScores(points=points), [3.0, -2.0, 99.0]).points
    assert [one.maximum for one in found] == [pytest.approx(math.exp(3)), pytest.approx(math.exp(-2)), 0.0]
    assert [(one.present, one.hit) for one in found] == [(one.present, one.hit) for one in points]


def test_what_is_said_is_judged() -> None:
    task, world = bundled.classifier(), open_scenes("unseen")
    never = {" ".join(pair) for pair in UNSEEN_PAIRS}
    for look in walk(task, world.iterate_samples(6), match_classes(task, world), ["gradcam"]):
        verdict = failures.judge_predictions(look, several=True)
        p = {one.token_ids[0]: one.probability for one in look.mapped.targets}
        said = {index for index, value in p.items() if value is not None and value > 0.5}
        assert set(verdict.right) | set(verdict.wrong) == said and not set(verdict.right) & set(verdict.wrong)
        assert set(verdict.missed) == set(look.present) - said
        assert {look.get_label(one) for one in verdict.missed} >= never & {look.get_label(one) for one in look.present}
        single = failures.judge_predictions(look, several=False)
        first = look.predicted[0]
        assert single.right + single.wrong == (first,)
        assert single.missed == (() if first in look.present else look.present)
        for wrong in verdict.wrong:
            colour, shape = look.get_label(wrong).split()
            own = failures.find_regions(look, verdict, wrong)
            for name, place, word in (("colour", 0, colour), ("shape", 1, shape)):
                objects = [obj for obj in look.sample.objects if obj.label.split()[place] == word]
                mask, region = find_region(objects, (96, 96)), own[f"wrong class: an object of its {name}"]
                assert (mask is None and region is None) or (
                    mask is not None and region is not None and torch.equal(mask, region)
                )


def test_shares_of_what_is_not_there_are_zero() -> None:
    found = failures.MapShares()
    heat, region = torch.zeros(4, 4), torch.zeros(4, 4, dtype=torch.bool)
    heat[0, 0], heat[3, 3], region[0] = 3, 1, True
    found.add(0, heat, region)
    found.add(1, heat, None)
    found.add(2, torch.zeros(4, 4), region)
    assert (found.points, found.area) == ([1.0, 0.0, 0.0], [0.25, 0.0, 0.25])
    assert found.mass[:2] == [0.75, 0.0] and math.isnan(found.mass[2])


def test_ablations_are_their_formulas() -> None:
    """Plain loops in float64, by hand through the classifier's head: the ReLUs' rules from their definitions."""
    (look,) = looks(1, tuple(ablations.VARIANTS))
    model: Any = bundled.classifier().model
    activations = look.mapped.subject.activations[0].double()
    pooled = activations.view(192, 4, 3, 4, 3).mean((2, 4)).flatten()
    hidden, out = model.head[2], model.classifier
    inside = hidden.weight.detach().double() @ pooled + hidden.bias.detach().double()
    for index in look.present:
        place = look.find_place(index)
        weights = out.weight[index].detach().double()
        down = {
            "gradcam": weights * (inside > 0),
            "guided ReLU": weights.clamp_min(0) * (inside > 0),
            "deconvnet ReLU": weights.clamp_min(0),
        }
        slopes = {name: (one @ hidden.weight.detach().double()).view(192, 4, 4) / 9 for name, one in down.items()}
        wide = slopes["gradcam"].repeat_interleave(3, 1).repeat_interleave(3, 2)
        alphas = {name: one.mean((1, 2)) for name, one in slopes.items()}
        alphas |= {
            "without ReLU": alphas["gradcam"],
            "max pooling of gradients": wide.amax((1, 2)),
            "absolute gradients": wide.abs().mean((1, 2)),
        }
        for name, alpha in alphas.items():
            plain = sum(float(one) * cells for one, cells in zip(alpha, activations, strict=True))
            torch.testing.assert_close(look.mapped.signed[name][place].double(), plain, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            look.mapped.signed["no pooling (HiResCAM)"][place].double(),
            (wide * activations).sum(0),
            rtol=1e-3,
            atol=1e-4,
        )


def test_comparisons_are_paired() -> None:
    values = {"a": [1.0, 0.0, 1.0, 1.0], "b": [0.0, 0.0, 1.0, 0.0], "c": [1.0, 1.0, 1.0, 1.0]}
    said = write_comparison(values, "a", ["a", "b", "c", "d"], "hits", seed=0)
    assert "50.0 points" in said and "above b" in said and "25.0 points" in said and "below c" in said
    assert write_comparison(values, "a", ["d"], "hits", seed=0) == ""
    found = summarise([1.0, 0.0], seed=0)
    assert make_percent_row("localisation", "gradcam", found, column="loc top-1").paper == 56.51
    assert make_percent_row("localisation", "gradcam++", found, column="loc top-1").paper is None


def test_a_gallery_shows_maps_and_boxes(tmp_path: Path) -> None:
    photo = np.full((40, 60, 3), 90, np.uint8)
    heat = torch.zeros(40, 60)
    heat[10:20, 30:50] = 1
    one = draw_panel(photo, "a map", heat, true=[(5.0, 5.0, 25.0, 30.0)])
    plain = draw_panel(photo, "the photo")
    assert one.picture.shape == plain.picture.shape == (192, 288, 3)
    assert (one.picture[70, 190] != 90).any() and (one.picture[24 : 24 + 3, 60] == 255).any()
    assert (plain.picture == 90).all()
    assert np.array_equal(draw_panel(photo, "", torch.zeros(40, 60)).picture, plain.picture)
    assert save_gallery([[one, plain], [plain]], "A title", tmp_path / "sheet.png") == ("sheet.png",)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 2 * 288
    assert save_gallery([], "nothing", tmp_path / "none.png") == () and not (tmp_path / "none.png").exists()
    with pytest.raises(InputError, match="nothing to draw"):
        draw_gallery([], "nothing")
    with pytest.raises(InputError, match="can't be written"):
        save_gallery([[plain]], "A title", tmp_path / "no" / "sheet.png")


# --- whole experiments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", list(MODULES))
def test_on_generated_scenes(key: str, kept: dict[str, Task], few: None, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    setting = Setting(quick=True, out=tmp_path, opened=kept, progress=lambda done, total: told.append((done, total)))
    result = MODULES[key].run(setting)
    assert result.key == key and result.world.startswith("generated") and result.seconds > 0
    assert from_json(to_json(result)) == result or any(
        math.isnan(one.value) for one in (*result.rows, *result.controls)
    )
    assert told and all(done <= total for done, total in told) and told[-1][0] == told[-1][1]
    assert all((tmp_path / name).is_file() for name in result.figures)
    assert bool(result.figures) == (key in ("localisation", "seeds", "failures"))
    assert result.headline in {one.name for one in result.rows} and all(result.notes)
    for one in (*result.rows, *result.controls):
        assert math.isnan(one.value) or 0 <= one.low <= one.value + 1e-9 <= one.high + 2e-9 <= 100 + 3e-9
    if key == "localisation":
        assert at(result, "gradcam", "cls top-1").value == 0 and at(result, "cam", "cls top-1").n == 2
        assert at(result, "ceiling", "loc top-1").value <= at(result, "random", "loc top-1").value
        assert at(result, "gradcam", "loc top-1").paper == 56.51
    if key == "seeds":
        assert (
            at(result, "ceiling", "mIoU").value
            > at(result, "gradcam", "mIoU").value
            > at(result, "random", "mIoU").value
        )
        assert any("49.6" in one for one in result.notes) and all(one.paper is None for one in result.rows)
    if key == "pointing":
        assert at(result, "ceiling", "recall").value == 100 and at(result, "c-mwp", "recall").paper == 60.30
        assert at(result, "gradcam", "pointing").value > 2 * at(result, "area", "pointing").value
    if key == "failures":
        assert (
            at(result, failures.OBJECT, "its area").value
            >= at(result, "wrong class: a missed object", "its area").value
        )
        right = [at(result, "right class: its object", column).value for column in ("mass on it", "its area")]
        assert right[0] > 2 * right[1]
    if key == "ablations":
        assert {one.name for one in result.rows} == {one.name for one in ablations.VARIANTS}
        same = [at(result, name, "loc top-1").value for name in ("gradcam", "without ReLU, not shifted")]
        assert same[0] == same[1] <= at(result, "without ReLU", "loc top-1").value


@pytest.mark.parametrize(
    ("key", "data"), [("localisation", "voc"), ("localisation", "boxes_json"), ("seeds", "coco"),
                      ("pointing", "voc"), ("pointing", "coco"), ("failures", "ilsvrc"), ("ablations", "ilsvrc")]
)  # fmt: skip
def test_on_tiny_data_sets(key: str, data: str, few: None, tmp_path: Path) -> None:
    labels = (
        CLASSES
        if data in ("voc", "coco")
        else tuple(data_layouts.SYNSET_NAMES[data_layouts.SYNSETS[one]] for one in CLASSES)
    )
    root = tmp_path / "data"
    root.mkdir()
    getattr(data_layouts, data)(root)
    result = MODULES[key].run(on(root, labels))
    names = {one.name for one in result.rows}
    assert result.model == "tiny" and not result.figures
    if key in ("localisation", "seeds", "pointing"):  # its net is one that CAM is defined for
        assert "cam" in names and not any(one.startswith("cam ") for one in result.notes)
    if key == "localisation":
        assert at(result, "gradcam", "cls top-1").value == 0 and at(result, "gradcam", "loc top-1").value == 0
        assert at(result, "gradcam", "MaxBoxAccV2").value > 90
    if key == "seeds":
        assert at(result, "gradcam", "mIoU").value > 80
    if key == "pointing":
        assert at(result, "gradcam", "pointing").value == 100 and "15 pixels" in result.protocol
        assert at(result, "gradcam", "pointing").n == (1 if data == "voc" else 2)  # a sheep is difficult in the one
    if key == "failures":
        assert any("Of 2 pictures, 0 have a mistake" in one for one in result.notes)
        assert at(result, "right class: its object", "points at it").value == 100
    if key == "ablations":  # no ReLU above the layer: two variants are not defined
        assert "guided ReLU" not in names and any(one.startswith("guided ReLU is left out") for one in result.notes)
        assert at(result, "gradcam", "loc top-1").value == 0


def test_what_cannot_be_run_is_refused(few: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few to choose a threshold"):
        seeds.run(on(data_layouts.voc(tmp_path)))  # one photo is segmented
    task = Classification(Colours().eval(), (), tiny().preprocess, layer="features", name="nameless")
    with pytest.raises(InputError, match="no classes with names"):
        match_classes(task, open_scenes("test"))
    with pytest.raises(InputError, match="without a model"):
        localisation.run(Setting(data=Path("somewhere")))


def test_smoothed_maps_are_those_of_pixels() -> None:
    task, world = bundled.classifier(), open_scenes("test")
    (look,) = walk(task, world.iterate_samples(1), match_classes(task, world), ["gradcam", "gradient"], top=1)
    plain = look.mapped.get_heat("gradient")
    torch.testing.assert_close(look.get_heat("gradient"), smooth(plain))
    torch.testing.assert_close(look.get_heat("gradcam"), look.mapped.get_heat("gradcam"))
    assert look.mapped.subject.request == Request(labels=look.mapped.subject.request.labels)
