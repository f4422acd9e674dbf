"""Experiment 8: the attack is that of its formula and keeps within its bounds, for any task; the rows count what they say."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vlcam
from tests.experiments.test_localisation import tiny
from tests.support import data_layouts
from vlcam.contracts import InputError, Request, Task
from vlcam.experiments import adversarial
from vlcam.experiments.adversarial import (
    AttackCase,
    PresentClass,
    attack,
    has_arrived,
    iterate_sign,
    make_attack_gradient,
)
from vlcam.experiments.data.matching import match
from vlcam.experiments.data.scenes_world import convert_scene, open_scenes
from vlcam.experiments.setting import Setting
from vlcam.explanation.explain import explain_one, prepare_photo
from vlcam.explanation.options import check_options
from vlcam.metrics import box_hit, pointing_hit
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

ONE = torch.ones(1, 1, 1)


@pytest.fixture(scope="module")
def cases() -> list[AttackCase]:
    return attack(bundled.classifier(), open_scenes(), 4, seed=1, never=adversarial.NEVER)


def test_the_attack_matches_a_plain_loop() -> None:
    """Twin of x <- clip(x + s sign(gradient)), one number after the other."""
    torch.manual_seed(0)
    weight = torch.randn(1, 2, 3, 3)
    image = torch.rand(1, 2, 3, 3)

    def gradient_of(now: Tensor) -> tuple[Tensor, Tensor]:
        return (weight * now.sin()).sum()[None], weight * now.cos()

    step, reach = torch.tensor([0.1, 0.05])[:, None, None], torch.tensor([0.25, 0.3])[:, None, None]
    found = iterate_sign(image, gradient_of, lambda _: False, step=step, reach=reach, low=0 * ONE, high=ONE, steps=7)
    for place in np.ndindex(1, 2, 3, 3):
        channel, start, w = place[1], float(image[place]), float(weight[place])
        value = start
        for _ in range(7):
            value += (0.1, 0.05)[channel] * math.copysign(1, w * math.cos(value))
            value = min(max(value, start - (0.25, 0.3)[channel], 0), start + (0.25, 0.3)[channel], 1)
        assert float(found.image[place]) == pytest.approx(value, abs=1e-6)
    assert found.steps == 7 and not found.done
    assert float(found.scores) == pytest.approx(float((weight * found.image.sin()).sum()))


def test_the_attack_stops_as_soon_as_it_is_done() -> None:
    def gradient_of(now: Tensor) -> tuple[Tensor, Tensor]:
        return now.sum()[None], torch.ones_like(now)

    image = torch.zeros(1, 1, 1, 1)
    found = iterate_sign(
        image, gradient_of, lambda s: bool(s[0] > 2.5), step=ONE, reach=9 * ONE, low=-9 * ONE, high=9 * ONE
    )
    assert (found.steps, found.done, float(found.image)) == (3, True, 3.0)
    none = iterate_sign(image, gradient_of, lambda s: True, step=ONE, reach=ONE, low=-ONE, high=ONE, steps=0)
    assert (none.steps, none.done) == (0, True) and torch.equal(none.image, image)
    with pytest.raises(InputError, match="steps=-1"):
        iterate_sign(image, gradient_of, lambda s: True, step=ONE, reach=ONE, low=-ONE, high=ONE, steps=-1)


def test_the_pull_is_the_numerical_gradient_of_what_has_not_arrived() -> None:
    task = bundled.classifier()
    scene = make(0)
    present = " ".join(scene.objects[0].pair)
    request = Request(labels=("blue star", present))
    prepared = task.prepare(Image.fromarray(scene.image()), request)
    image: Tensor = prepared.inputs
    found, slope = make_attack_gradient(task, prepared, request)(image)
    index = [task.labels.index(label) for label in request.labels]
    with torch.no_grad():
        logits = task.model(image)[0, index].double()
        torch.testing.assert_close(found, logits.sigmoid(), rtol=1e-4, atol=1e-6)
        towards = slope.sign() * 1e-3
        change = task.model(image + towards)[0, index].double() - task.model(image - towards)[0, index].double()
    assert float(change[0] - change[1]) == pytest.approx(2e-3 * float(slope.abs().sum()), rel=0.05)
    assert all(parameter.grad is None for parameter in task.model.parameters())


def test_arrived_means_certain_of_the_first_and_of_no_other() -> None:
    assert has_arrived(torch.tensor([0.99995, 0.001]))
    assert not has_arrived(torch.tensor([0.9998, 0.001]))
    assert not has_arrived(torch.tensor([0.99995, 0.001, 0.02]))


def test_attacks_arrive_within_their_bounds(cases: list[AttackCase]) -> None:
    assert len(cases) == 4
    assert sum(case.reached for case in cases) >= 2
    for case in cases:
        assert 0 < case.sizes[1] <= case.sizes[0] <= adversarial.REACH + 0.01
        assert case.p[0] < 0.5 and case.label not in adversarial.NEVER
        assert case.reached == (case.p[2] > adversarial.SURE)
        assert all(one.p[0] > adversarial.SEEN for one in case.present)
        if case.done:
            assert case.reached and all(one.p[2] < adversarial.GONE for one in case.present)


def test_what_is_said_of_the_clean_picture_is_what_explain_says(cases: list[AttackCase]) -> None:
    task, case = bundled.classifier(), cases[0]
    scene = make(0)
    assert case.name == "test 0"
    labels = [case.label, *(one.label for one in case.present)]
    assert case.label not in {" ".join(obj.pair) for obj in scene.objects}
    explanation = vlcam.explain(task, scene.image(), targets=labels)
    masks = torch.from_numpy(scene.masks())
    ground = ~masks.any(0)
    assert case.area == pytest.approx(float(ground.float().mean()))
    for one in case.present:
        own = torch.stack(
            [mask for mask, obj in zip(masks, scene.objects, strict=True) if " ".join(obj.pair) == one.label]
        )
        view = explanation[one.label]
        assert one.p[0] == pytest.approx(view.target.probability)
        assert one.hit[0] == pointing_hit(view.heatmap(), own.any(0))
        assert one.alike[0] == pytest.approx(1)
        assert one.area == pytest.approx(float(own.any(0).float().mean()))
        assert one.alike[1] > one.alike[2]  # random noise of the same size does less


def test_a_picture_of_bytes_stays_one() -> None:
    sample = convert_scene(make(2))
    task = bundled.classifier()
    seen: list[Tensor] = []

    def watched(model: torch.nn.Module, inputs: Tensor) -> Tensor:
        seen.append(inputs.detach())
        out: Tensor = model(inputs)
        return out

    of = match(open_scenes(), task.labels).of
    adversarial.attack_sample(replace(task, logits=watched), sample, of, np.random.default_rng(0), steps=3)
    levels = (seen[-1] * 0.25 + 0.5) * 255  # the attacked picture comes last
    assert float((levels - levels.round()).abs().max()) < 1e-3
    change = levels - torch.from_numpy(sample.image).permute(2, 0, 1)
    assert 0.5 < float(change.abs().max()) < 3.001


def test_an_untrained_model_sees_nothing_to_attack() -> None:
    torch.manual_seed(0)
    model = bundled.classifier().model
    blind = bundled.classifier(type(model)(36).eval())
    with torch.no_grad():
        blind.model.classifier.bias.fill_(-9.0)  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match="nothing to attack"):
        attack(blind, open_scenes(), 2)


def test_a_task_whose_pixels_are_unknown_is_refused() -> None:
    task = bundled.classifier()
    plain = task.preprocess
    other = replace(task, preprocess=lambda image: plain(image))
    with pytest.raises(InputError, match=r"vlcam\.Preprocess"):
        attack(other, open_scenes(), 1)
    prepared = replace(task.prepare(Image.fromarray(make(0).image()), Request()), inputs=[1])
    with pytest.raises(InputError, match="one image"):
        make_attack_gradient(task, prepared, Request())
    quiet = replace(task, activation="none")
    prepared = quiet.prepare(Image.fromarray(make(0).image()), Request())
    with pytest.raises(InputError, match="no probabilities"):
        make_attack_gradient(quiet, prepared, Request(labels=(0, 1)))(prepared.inputs)


def _case(name: str, *, reached: bool, hit: float) -> AttackCase:
    present = PresentClass(
        "red star", (1.0, 0.9, 0.0), (1.0, 1.0, hit), (0.5, 0.5, math.nan), (1.0, 0.9, math.nan), 0.1, 0.2, 0.0
    )
    return AttackCase(
        name,
        "blue heart",
        reached,
        False,
        7,
        (9.0, 3.0),
        (0.0, 0.0, 1.0),
        (1.0, 1.0, hit),
        (0.8, 0.8, 0.3),
        0.9,
        (present,),
    )


def test_rows_count_what_they_say() -> None:
    found, controls = adversarial.make_rows(
        [_case("a", reached=True, hit=1.0), _case("b", reached=True, hit=0.0), _case("c", reached=False, hit=1.0)]
    )
    cells = {(row.name, row.column): row for row in (*found, *controls)}
    assert cells["absent class above 0.9999", "attacked"].value == pytest.approx(2 / 3)
    assert cells["absent class above 0.9999", "attacked"].n == 3
    hits = cells["present: map points at it", "attacked"]
    assert (hits.value, hits.n) == (0.5, 2)
    empty = cells["present: share of the map on it", "attacked"]
    assert (empty.n, empty.undefined) == (0, 2) and math.isnan(empty.value)
    assert cells["present: map points at it, area", "control"].value == pytest.approx(0.2)
    nothing, _ = adversarial.make_rows([_case("c", reached=False, hit=1.0)])
    assert {row.n for row in nothing} == {0, 1}


def test_the_experiment_gives_a_result() -> None:
    told: list[tuple[int, int]] = []
    found = adversarial.run(Setting(seed=1, quick=True, progress=lambda done, total: told.append((done, total))), n=2)
    assert told == [(1, 2), (2, 2)]
    assert found.number == 8 and found.headline in {f"{row.name} / {row.column}" for row in found.rows}
    assert all(row.paper is None for row in (*found.rows, *found.controls))


BENCH = runpy.run_path(str(Path(__file__).resolve().parents[1] / "benchmarks" / "real_photos.py"))
REAL = BENCH["folder"]()


@pytest.mark.skipif(REAL is None, reason="no real weights and photos here")
def test_the_papers_own_picture_is_an_airliner_and_the_maps_hold() -> None:
    """The cat and the dog of the paper, with SqueezeNet: the animals vanish from its answer, and their maps stay on them."""
    cat, dog = (126.0, 254.0, 572.0, 480.0), (222.0, 30.0, 472.0, 318.0)
    task = BENCH["load"](REAL, "squeezenet1_0")
    order = check_options(targets=["airliner", "tiger cat", "boxer"])
    ready = prepare_photo(task, REAL / "photos" / "cat_dog.jpg", order)
    image: Tensor = ready.prepared.inputs
    step = 1 / (255 * torch.tensor(task.preprocess.std))[:, None, None]
    gradient_of = make_attack_gradient(task, ready.prepared, order.request)
    found = iterate_sign(
        image, gradient_of, has_arrived, step=step, reach=8 * step, low=-9 * ONE, high=9 * ONE, steps=30
    )
    assert found.done and float(((found.image - image) / step).abs().max()) < 8.01
    attacked = explain_one(task, replace(ready, prepared=replace(ready.prepared, inputs=found.image)), order)
    assert attacked["airliner"].target.probability > adversarial.SURE  # type: ignore[operator]
    for label, box in (("tiger cat", cat), ("boxer", dog)):
        assert attacked[label].target.probability < 1e-3  # type: ignore[operator]
        assert box_hit(attacked[label].heatmap(), [box])


def test_a_data_set_of_photos_and_its_classifier(tmp_path: Path) -> None:
    """On a tiny folder in the layout of Pascal VOC, with a model that sees the colours of its objects."""
    data_layouts.voc(tmp_path)
    task = tiny()
    with torch.no_grad():
        task.model.get_parameter("classifier.weight").mul_(100)  # sure of what it sees
    opened: dict[str, Task] = {"classification tiny": task}
    setting = Setting(data=tmp_path, model="tiny", quick=True, opened=opened)
    found = adversarial.run(setting, n=2)
    assert found.model == "tiny" and "VOC" in found.world
    reached = found.rows[0]
    assert (
        reached.n == 1 and reached.value == 0
    )  # so coarse a model can't be fooled in so few levels, and the rest is empty:
    assert all(math.isnan(one.value) and one.n == 0 for one in found.rows[2:])
