"""Experiments 4, 5, 6, 10 and 14: what they count is what their formulas say, on generated scenes and on a tiny Pascal VOC."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from tests.support import data_layouts
from vlcam.contracts import InputError, LayerError, Request, Task
from vlcam.engine.layers import Layer
from vlcam.experiments import counterfactuals, depth, discrimination, faithfulness, trust
from vlcam.experiments.data.scenes_world import open_scenes
from vlcam.experiments.discrimination import JUDGE, MASS, compare_mass, judge_maps
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.maps import make_every_map
from vlcam.experiments.shared.tally import Tally
from vlcam.experiments.shared.two_classes import find_pictures, open_marked_world
from vlcam.image.preprocess import Preprocess
from vlcam.image.regions import AREA, draw_random_regions
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

CLASSES = ("cat", "dog", "sheep")


class Colours(nn.Module):
    """Sees the colours of the tiny data sets' classes, and where they are."""

    def __init__(self, blur: float = 0.0) -> None:
        super().__init__()
        directions = torch.tensor([data_layouts.COLOURS[one] for one in CLASSES]) / 255 - 0.5
        first, second = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        with torch.no_grad():
            first.weight.copy_((directions / directions.square().sum(1, keepdim=True))[:, :, None, None])
            second.weight.copy_(
                torch.eye(3)[:, :, None, None]
                * (torch.full((3, 3), blur) + (1 - blur) * torch.eye(3)[1].outer(torch.eye(3)[1]))
            )
        self.features = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3, bias=False))
        with torch.no_grad():
            linear = self.head[2]
            assert isinstance(linear, nn.Linear)
            linear.weight.copy_((torch.eye(3) - 0.3 * (1 - torch.eye(3))).repeat_interleave(4, 1))

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(images))
        return found


def tiny(name: str = "tiny", blur: float = 0.0) -> Classification:
    preprocess = Preprocess(size=(40, 30), mode="resize", mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    return Classification(Colours(blur).eval(), CLASSES, preprocess, layer="features", name=name)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "count", lambda self, quick, full: 2)


@pytest.fixture
def voc(tmp_path: Path) -> Setting:
    tasks: dict[str, Task] = {"classification tiny": tiny(), "classification rival": tiny("rival", 0.4)}
    return Setting(data=data_layouts.voc(tmp_path), model="tiny", rival="rival", quick=True, opened=tasks)


def at(result: Result, name: str, column: str) -> ResultRow:
    return next(one for one in (*result.rows, *result.controls) if (one.name, one.column) == (name, column))


# --- 4 ---


def test_more_mass_is_the_comparison_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    heat = rng.random((2, 5, 7))
    masks = rng.random((2, 5, 7)) < 0.3
    found, empty = compare_mass(torch.from_numpy(heat), [torch.from_numpy(one) for one in masks])
    for own in range(2):
        shares = []
        for one in (own, 1 - own):
            inside = sum(heat[one, y, x] for y in range(5) for x in range(7) if masks[own, y, x])
            shares.append(inside / sum(heat[one, y, x] for y in range(5) for x in range(7)))
        assert found[own] == float(shares[0] > shares[1])
    assert empty == [False, False]


def test_blind_and_empty_maps_are_right_half_of_the_time() -> None:
    masks = [torch.zeros(4, 4, dtype=torch.bool) for _ in range(2)]
    masks[0][:2], masks[1][3:] = True, True
    same = torch.rand(1, 4, 4).expand(2, -1, -1)
    assert compare_mass(same, masks) == ([0.5, 0.5], [False, False])
    assert compare_mass(torch.zeros(2, 4, 4), masks) == ([0.5, 0.5], [True, True])

    def scores(images: Tensor) -> Tensor:
        return torch.stack([images[:, 0, :2].sum((1, 2)), images[:, 0, 2:].sum((1, 2))], 1)

    image = torch.rand(1, 1, 4, 4)
    outcomes, blank = judge_maps(scores, image, [same, torch.zeros(2, 4, 4)])
    assert sum(outcomes[0]) == 1.0 and outcomes[1] == [0.5, 0.5]
    assert blank == [[False, False], [True, True]]


def test_the_judge_sees_the_top_area_alone() -> None:
    """Twin: the top pixels by sorting, everything else the mean colour, one picture after the other."""
    torch.manual_seed(0)
    image, weight = torch.rand(1, 2, 6, 5), torch.randn(2, 2, 6, 5)
    maps = torch.rand(2, 6, 5)

    def scores(images: Tensor) -> Tensor:
        return torch.einsum("bchw,tchw->bt", images, weight)

    found, _ = judge_maps(scores, image, [maps], 0.2)
    for own in range(2):
        top = sorted(range(30), key=lambda at: -float(maps[own].flatten()[at]))[:6]
        shown = image.mean((2, 3), keepdim=True).expand_as(image).clone()
        for place in top:
            shown[0, :, place // 5, place % 5] = image[0, :, place // 5, place % 5]
        given = [float((shown[0] * weight[one]).sum()) for one in range(2)]
        assert found[0][own] == float(given[own] > given[1 - own])


@pytest.mark.extended
@pytest.mark.usefixtures("few")
def test_discrimination_on_scenes() -> None:
    told: list[tuple[int, int]] = []
    result = discrimination.run(Setting(quick=True, progress=lambda done, total: told.append((done, total))))
    assert told == [(1, 2), (2, 2)]
    assert {one.name for one in result.rows} == set(discrimination.METHODS)
    assert at(result, "guided-gradcam", JUDGE).paper == 61.23 and at(result, "guided-gradcam", MASS).paper is None
    assert "human study" in at(result, "guided-backprop", JUDGE).source
    for name in ("centre", "Sobel edges"):
        assert at(result, name, MASS).value == at(result, name, JUDGE).value == 50.0
    assert at(result, "true masks at the map's resolution", MASS).value == 100.0
    assert at(result, "gradcam", MASS).n == 4
    assert any("in the paper by 16.8 points" in note for note in result.notes)


def test_pictures_have_exactly_the_classes_asked_for() -> None:
    task = bundled.classifier()
    for case in find_pictures(open_scenes(), task, 4, classes=2):
        assert len(case.labels) == len(case.masks) == 2
        for label, mask in zip(case.labels, case.masks, strict=True):
            drawn = case.sample.scene.masks()
            own = [
                place for place, one in enumerate(case.sample.scene.objects) if " ".join(one.pair) == task.labels[label]
            ]
            assert np.array_equal(mask.numpy(), drawn[own].any(0))


@pytest.mark.usefixtures("few")
def test_discrimination_on_voc_and_without_two_classes(voc: Setting, tmp_path: Path) -> None:
    result = discrimination.run(voc)
    assert at(result, "gradcam", MASS).n == 2 and at(result, "gradcam", MASS).value == 100.0
    alone = Setting(
        data=data_layouts.ilsvrc(tmp_path / "ilsvrc"), model="tiny", opened={"classification tiny": _named()}
    )
    with pytest.raises(InputError, match="exactly 2 annotated classes"):
        discrimination.run(alone)


def _named() -> Classification:
    labels = [data_layouts.SYNSET_NAMES[data_layouts.SYNSETS[one]] for one in CLASSES]
    return Classification(Colours().eval(), labels, tiny().preprocess, layer="features", name="tiny")


def test_pictures_of_a_data_set_are_each_taken_once(voc: Setting) -> None:
    task = tiny()
    boxes = voc.open_world(["boxes"], task)
    every = list(find_pictures(boxes, task, 50))
    assert sorted(case.sample.name for case in every) == sorted(sample.name for sample in boxes.iterate_samples())
    assert [case.number for case in every] == [0, 1, 2] and len(list(find_pictures(boxes, task, 2))) == 2
    fewer = Classification(task.model, ("cat", "bird"), task.preprocess, layer="features")
    assert [case.labels for case in find_pictures(boxes, fewer, 50)] == [(0,), (0,)], "other classes don't matter"
    with pytest.raises(InputError, match="exactly 2"):
        list(find_pictures(boxes, fewer, 50, classes=2))


# --- 5 ---


@pytest.mark.extended
def test_trust_on_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "count", lambda self, quick, full: 24 if quick > 100 else 2)
    result = trust.run(Setting(quick=True))
    for name in trust.METHODS:
        pair = [at(result, f"{name}, {which}", trust.BETTER) for which in ("stronger", "weaker")]
        assert pair[0].value + pair[1].value == pytest.approx(100) and pair[0].n == 2
    assert all(one.paper is None for one in result.rows), "people's answers are another measure"
    assert any("-2 to +2" in note for note in result.notes)
    assert "mAP" in result.model and "noise" in result.model


@pytest.mark.usefixtures("few")
def test_trust_on_voc_takes_the_rival(voc: Setting) -> None:
    result = trust.run(voc)
    assert result.model == "tiny against rival" and "1 of 1 pictures" in result.protocol
    alone = Setting(data=voc.data, model="tiny", opened=voc.opened)
    with pytest.raises(InputError, match="--rival"):
        trust.run(alone)


# --- 6 ---


def ranks(values: list[float]) -> list[float]:
    return [sum(one < value for one in values) + (sum(one == value for one in values) + 1) / 2 for value in values]


@pytest.mark.usefixtures("few")
def test_faithfulness_is_the_rank_correlation_with_occlusion(voc: Setting) -> None:
    """Twin: squares covered one by one in float64, cells averaged, ranks and Pearson in plain Python."""
    result = faithfulness.run(voc)
    assert any("cam is left out" in note for note in result.notes)
    task = tiny()
    case = next(iter(find_pictures(open_marked_world(voc, task), task, 1)))
    image: Tensor = task.prepare(
        Image.open(case.sample.image) if isinstance(case.sample.image, Path) else case.sample.image, Request()
    ).inputs
    model: Any = task.model.double()
    image = image.double()
    with torch.no_grad():
        logits = model(image)[0]
        top = int(logits.argmax())
        height, width = image.shape[2:]
        patch = round(min(height, width) / 6)
        stride = patch // 2
        colour = image.mean((2, 3), keepdim=True)
        drops, count = torch.zeros(height, width, dtype=torch.float64), torch.zeros(height, width)
        for y in sorted({*range(0, height - patch + 1, stride), height - patch}):
            for x in sorted({*range(0, width - patch + 1, stride), width - patch}):
                covered = image.clone()
                covered[:, :, y : y + patch, x : x + patch] = colour
                drops[y : y + patch, x : x + patch] += logits[top] - model(covered)[0, top]
                count[y : y + patch, x : x + patch] += 1
    drops /= count
    layer: Tensor = model.features(image).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.head(layer)[0, top], layer)
    heat = (slope.mean((2, 3), keepdim=True) * layer.detach()).sum(1)[0].relu()
    cells = (math.ceil(height / stride), math.ceil(width / stride))
    grid = (min(cells[0], heat.shape[0]), min(cells[1], heat.shape[1]))
    assert grid == tuple(heat.shape), "so that only the occlusion map has to be averaged"
    fine = nn.functional.adaptive_avg_pool2d(_by_cell(drops, cells)[None, None], grid)[0, 0]
    a, b = (ranks([round(one, 9) for one in values.flatten().tolist()]) for values in (heat, fine))
    found = at(result, "gradcam", faithfulness.TOP).value
    assert found == pytest.approx(float(np.corrcoef(a, b)[0, 1]), abs=0.02)
    assert found > 0.3


def _by_cell(values: Tensor, cells: tuple[int, int]) -> Tensor:
    """The mean of what each cell covers, pixels cut where they must be."""
    out = torch.zeros(cells, dtype=torch.float64)
    tall, wide = values.shape[0] / cells[0], values.shape[1] / cells[1]
    for row in range(cells[0]):
        for column in range(cells[1]):
            total = weight = 0.0
            for y in range(int(row * tall), min(math.ceil((row + 1) * tall), values.shape[0])):
                for x in range(int(column * wide), min(math.ceil((column + 1) * wide), values.shape[1])):
                    part = max(0.0, min(y + 1, (row + 1) * tall) - max(y, row * tall)) * max(
                        0.0, min(x + 1, (column + 1) * wide) - max(x, column * wide)
                    )
                    total, weight = total + part * float(values[y, x]), weight + part
            out[row, column] = total / weight
    return out


@pytest.mark.extended
@pytest.mark.usefixtures("few")
def test_faithfulness_on_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "STEPS", 4)
    monkeypatch.setattr(faithfulness, "METHODS", ("gradcam", "gradcam++", "guided-backprop"))
    result = faithfulness.run(Setting(quick=True, methods=("hirescam", "gradcam", "occlusion")))
    assert {one.name for one in result.rows} == {"gradcam", "gradcam++", "guided-backprop", "hirescam"}
    assert at(result, "gradcam", faithfulness.TOP).paper == 0.254
    assert at(result, "gradcam++", faithfulness.TOP).paper is None, "its name differs by its punctuation only"
    assert all(one.paper is None for one in result.rows if one.column != faithfulness.TOP)
    assert at(result, "gradcam", faithfulness.TOP).value > at(result, "random", faithfulness.TOP).value + 0.2
    assert at(result, "gradcam", faithfulness.DELETION).value < at(result, "random", faithfulness.DELETION).value
    assert any("in the paper" in note or "the paper's order" in note for note in result.notes)


@pytest.mark.usefixtures("few")
def test_further_metrics_are_further_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "STEPS", 4)
    monkeypatch.setattr(faithfulness, "METHODS", ("gradcam", "guided-backprop", "gradcam++"))
    plain = faithfulness.run(Setting(quick=True))
    wanted = ("relevance-mass", "deletion", "average-drop")
    result = faithfulness.run(Setting(quick=True, metrics=wanted))
    mass, drop = "relevance mass (higher is better)", "average drop (lower is better)"
    assert result.columns == (*plain.columns, mass, drop), "deletion is there anyway"
    assert [one for one in result.rows if one.column in plain.columns] == list(plain.rows)
    assert (
        0
        < at(result, "random", mass).value
        < at(result, "gradcam", mass).value
        < at(result, "true masks at the map's resolution", mass).value
        <= 1
    )
    assert at(result, "gradcam++", mass).n == at(result, "gradcam", mass).n
    assert {one.name for one in result.rows if one.column == drop} == {"gradcam", "guided-backprop"}
    assert "Average drop (lower is better): Chattopadhay et al. 2018" in result.protocol
    assert plain.protocol == result.protocol.partition(" Relevance mass")[0]
    with pytest.raises(InputError, match="no metric 'mass'"):
        faithfulness.run(Setting(quick=True, metrics=("mass",)))


def test_the_chance_of_a_class_is_its_softmax_over_all_classes() -> None:
    task = tiny()
    image = Image.new("RGB", (40, 30), data_layouts.COLOURS["dog"])
    subject = make_every_map(task, image, Request(labels=(1,)), ()).subject
    images = torch.rand(3, *subject.image.shape[1:])
    with torch.no_grad():
        wanted = task.model(images).softmax(1)[:, 1:2]
    torch.testing.assert_close(faithfulness.make_probability(task, subject)(images), wanted)
    scene = bundled.classifier()
    subject = make_every_map(scene, np.full((96, 96, 3), 90, np.uint8), Request(labels=(4,)), ()).subject
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        wanted = scene.model(images)[:, 4:5].sigmoid()
    torch.testing.assert_close(faithfulness.make_probability(scene, subject)(images), wanted)


# --- 10 ---


def test_the_map_of_the_difference_is_that_of_the_contrast() -> None:
    task = bundled.classifier()
    case = next(iter(find_pictures(open_scenes(), task, 1, classes=2)))
    one, two = (task.labels[label] for label in case.labels)
    both = make_every_map(task, case.sample.image, Request(labels=case.labels), ("gradcam",)).signed["gradcam"]
    pairs = Request(labels=case.labels, contrasts=((one, two), (two, one)))
    contrast = make_every_map(task, case.sample.image, pairs, ("counterfactual",)).signed["counterfactual"][2:]
    torch.testing.assert_close(both.flip(0) - both, contrast, atol=1e-4, rtol=1e-4)


def test_an_intervention_is_that_of_a_plain_loop() -> None:
    task = bundled.classifier()
    case = next(iter(find_pictures(open_scenes(), task, 1, classes=2)))
    mapped = make_every_map(task, case.sample.image, Request(labels=case.labels), ("gradcam",))
    heat = mapped.get_maps("gradcam")[1]
    found = counterfactuals.intervene(mapped.subject, 0, heat, 5, np.random.default_rng(7))
    image = mapped.subject.image
    drawn = nn.functional.interpolate(heat[None, None], (96, 96), mode="bilinear")[0, 0]
    wanted = min(round(AREA * 96 * 96), int((drawn > 0).sum()))
    edge = float(drawn.flatten().sort(descending=True).values[wanted - 1])
    region = drawn >= edge
    assert int(region.sum()) == wanted, "no tie at the edge, so that the region is plain"
    rises = []
    with torch.no_grad():
        for mask in (region, *draw_random_regions(region, 5, np.random.default_rng(7))):
            without = image.clone()
            without[:, :, mask] = image.mean((2, 3))[:, :, None]
            rises.append(float(task.model(without)[0, case.labels[0]] - task.model(image)[0, case.labels[0]]))
    assert found == (float(rises[0] > 0), sum(rises[0] > other for other in rises[1:]) / 5)
    assert all(map(math.isnan, counterfactuals.intervene(mapped.subject, 0, 0 * heat, 5, np.random.default_rng(7))))


@pytest.mark.extended
@pytest.mark.usefixtures("few")
def test_counterfactuals_on_scenes(tmp_path: Path) -> None:
    result = counterfactuals.run(Setting(quick=True, out=tmp_path / "new"))
    for name in (counterfactuals.AGAINST, counterfactuals.RATHER, "Sobel edges"):
        where = [
            at(result, name, column)
            for column in (counterfactuals.ON_OWN, counterfactuals.ON_RIVAL, counterfactuals.ON_GROUND)
        ]
        assert sum(one.value for one in where) == pytest.approx(100) and where[0].n == 4
    assert at(result, counterfactuals.RATHER, counterfactuals.ON_RIVAL).value == 100
    assert at(result, counterfactuals.TRUE_RIVAL, counterfactuals.MASS).value > 60
    (name,) = result.figures
    with Image.open(tmp_path / "new" / name) as sheet:
        assert sheet.width == 2 * 720
    assert sum("rival" in note for note in result.notes) >= 2


@pytest.mark.usefixtures("few")
def test_counterfactuals_on_voc(voc: Setting) -> None:
    result = counterfactuals.run(voc)
    assert at(result, counterfactuals.AGAINST, counterfactuals.ON_RIVAL).value == 100
    assert at(result, counterfactuals.AGAINST, counterfactuals.RISES).value == 100


# --- 14 ---


def test_conv_blocks_end_where_they_should() -> None:
    picture = np.full((64, 64, 3), 100, np.uint8)
    found = depth.find_conv_blocks(bundled.classifier(), picture)
    assert [one.name for one in found] == [f"features.{number}" for number in (2, 6, 9, 13, 16)]
    preprocess = Preprocess(size=(64, 64), mode="resize", mean=(0.5,) * 3, std=(1.0,) * 3)

    def blocks(model: nn.Module, count: int = 10) -> list[Layer]:
        return depth.find_conv_blocks(
            Classification(model.eval(), [str(one) for one in range(count)], preprocess), picture
        )

    models: Any = torchvision.models
    names = [one.name for one in blocks(models.resnet18(weights=None, num_classes=10))]
    assert names == [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    fires = [one.name for one in blocks(models.squeezenet1_1(weights=None, num_classes=10))]
    assert fires == [f"features.{number}" for number in (3, 4, 6, 7, 9, 10, 11, 12)]
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    assert [one.name for one in blocks(plain, 2)] == ["0", "1"]
    with pytest.raises(LayerError, match="0 conv blocks"):
        blocks(nn.Sequential(nn.Flatten(), nn.Linear(64 * 64 * 3, 2)), 2)


@pytest.mark.extended
@pytest.mark.usefixtures("few")
def test_depth_on_scenes() -> None:
    result = depth.run(Setting(quick=True))
    layers = [one.name for one in result.rows if one.column == depth.POINTS]
    assert layers[0] == "features.16 (12 x 12)" and layers[-1] == "features.2 (48 x 48)" and len(layers) == 5
    assert [one.name for one in result.rows if one.column == depth.ALIKE] == layers[1:], (
        "the last layer has none deeper"
    )
    masses = [at(result, f"true masks at {side} x {side}", depth.MASS).value for side in (12, 24, 48)]
    assert masses == sorted(masses)
    assert any(note.startswith("Adjacent layers of one resolution") for note in result.notes)


@pytest.mark.usefixtures("few")
def test_depth_on_voc(voc: Setting) -> None:
    result = depth.run(voc)
    first = at(result, "features.1 (30 x 40)", depth.POINTS)
    assert first.value == 1.0 and first.n == 2


# --- the table of values ---


def test_a_tally_keeps_photos_together() -> None:
    tally = Tally()
    for photo, value in ((0, 1.0), (0, 3.0), (1, 5.0), (1, math.nan)):
        tally.add("gradcam", "", photo, value)
        tally.add("gradcam++", "", photo, value - 1)
    (row,) = tally.make_rows("faithfulness", ["gradcam"], paper="")
    assert (row.value, row.n, row.undefined, row.paper) == (3.0, 3, 1, 0.254)
    (plus,) = tally.make_rows("faithfulness", ["gradcam++"], paper="")
    assert plus.paper is None
    ahead = tally.compare("gradcam", "gradcam++", "")
    assert (ahead.mean, ahead.n, ahead.undefined) == (1.0, 3, 1)
