"""Experiment 9: the world is what it says, the shares and the intervals are those of their formulas, and the shortcut is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import vlcam
from vlcam.contracts import InputError
from vlcam.experiments import bias
from vlcam.experiments.data import biased_world
from vlcam.experiments.data.biased_world import (
    BADGES,
    BALANCED,
    CLASSES,
    FACES,
    USUAL,
    Person,
    make_people,
    make_person,
)
from vlcam.scenes.models.nets import SceneClassifier
from vlcam.scenes.models.zoo import load
from vlcam.tasks import bundled


@pytest.fixture(scope="module")
def study() -> bias.Study:
    return bias.run_study(n=32, runs=1, seed=3, each=(60, 15), epochs=8)


def _face_colour(one: Person) -> str:
    return one.scene.objects[0].colour


def test_a_collection_is_as_biased_as_asked() -> None:
    people = make_people((5,), 50, USUAL)
    assert [sum(one.label == k for one in people) for k in (0, 1)] == [50, 50]
    for label, share in enumerate(USUAL):
        own = [one for one in people if one.label == label]
        assert sum(_face_colour(one) == FACES[label] for one in own) == round(share * 50)
        assert all(one.usual == (_face_colour(one) == FACES[label]) for one in own)
        assert all(one.scene.objects[1].shape == BADGES[label] for one in own)


def test_only_the_face_is_red_or_blue_and_only_the_badge_a_star_or_heart() -> None:
    for one in make_people((6,), 40, BALANCED):
        face, badge, *others = one.scene.objects
        assert face.shape == "circle" and face.colour in FACES
        assert others and all(obj.colour not in FACES for obj in (badge, *others))
        assert all(obj.shape not in (*BADGES, "circle") for obj in others)


def test_objects_lie_apart_and_inside_so_every_mask_is_whole() -> None:
    for one in make_people((7,), 40, BALANCED):
        size = 192
        masks = one.scene.masks(size)
        edges = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]])
        assert not edges.any()
        for obj, mask in zip(one.scene.objects, masks, strict=True):
            alone = replace(one.scene, objects=(obj,)).masks(size)[0]
            assert np.array_equal(mask, alone)
        assert np.array_equal(one.draw_mask("face", size), masks[0])
        assert np.array_equal(one.draw_mask("badge", size), masks[1])


def test_rebalancing_recolours_faces_and_changes_nothing_else() -> None:
    before, after = (make_people((8,), 20, usual) for usual in (USUAL, BALANCED))
    changed = 0
    for one, other in zip(before, after, strict=True):
        assert one.label == other.label
        differs = (one.scene.image() != other.scene.image()).any(-1)
        assert differs.any() == (one.usual != other.usual)
        near = one.scene.masks()[1:].any(0)  # neither the badge nor a bystander
        assert not (differs & near).any()
        changed += bool(differs.any())
    assert changed == (round(0.78 * 20) - 10) + (round(0.93 * 20) - 10)


def test_a_changed_person_differs_where_it_was_changed() -> None:
    one = make_person((9, 0), 0, usual=True)
    for role, label in (("face", 0), ("badge", 1)):
        other = one.change(role)  # type: ignore[arg-type]
        assert other.label == label and not other.usual
        differs = (one.scene.image() != other.scene.image()).any(-1)
        rows, columns = np.nonzero(differs)
        obj = one.scene.objects[0 if role == "face" else 1]
        away = np.hypot((columns + 0.5) / 96 - obj.x, (rows + 0.5) / 96 - obj.y)
        assert differs.any() and away.max() < 2.0 * obj.radius  # the object and its shadow


def test_the_same_seed_gives_the_same_pictures() -> None:
    first, again, other = (make_people(seed, 4, USUAL) for seed in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(biased_world.draw_pictures(first), biased_world.draw_pictures(again))
    assert not torch.equal(biased_world.draw_pictures(first), biased_world.draw_pictures(other))


def test_the_balanced_set_has_as_many_of_each_class_with_each_face() -> None:
    base = load("classifier")
    assert isinstance(base, SceneClassifier)
    test = biased_world.make_balanced_set(base, 8, 0)
    cells = [(one.label, one.usual) for one in test.people]
    assert sorted(cells) == sorted([(label, usual) for label in (0, 1) for usual in (False, True)] * 2)
    assert torch.allclose(test.regions.sum(1), torch.ones(8, 96, 96))
    with pytest.raises(InputError, match="multiple of 4"):
        biased_world.make_balanced_set(base, 6, 0)


def test_fine_tuning_keeps_the_convolutions_and_torchs_random_state(study: bias.Study) -> None:
    base = load("classifier")
    assert isinstance(base, SceneClassifier)
    for model in study.models[0]:
        for name, value in model.features.state_dict().items():
            assert torch.equal(value, base.features.state_dict()[name])
        assert not torch.equal(model.head[2].weight, base.head[2].weight)  # type: ignore[arg-type]
    maps = torch.rand(8, 192, 12, 12)
    labels = torch.tensor([0, 1] * 4)
    state = torch.random.get_rng_state()
    models = [biased_world.fine_tune(base, (maps, labels), (maps, labels), seed=4, epochs=2) for _ in range(2)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(models[0].classifier.weight, models[1].classifier.weight)


def test_maps_and_texts_are_those_of_explain(study: bias.Study) -> None:
    model = study.models[0][0]
    found = bias.explain_decisions(model, study.test.maps[:3])
    task = bias.make_task(model)
    names = bundled.read_packaged_names("classifier")
    assert names is not None
    for i, one in enumerate(study.test.people[:3]):
        view = vlcam.explain(task, one.scene.image(), top_k=1, method="gradcam")[0]
        assert view.label == CLASSES[int(found.said[i])]
        torch.testing.assert_close(view.map, found.maps[i], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(view.contributions, found.contributions[i], rtol=1e-3, atol=1e-5)
        heat = view.heatmap()
        share = bias.measure_shares(found.maps[i : i + 1], study.test.regions[i : i + 1])[0]
        for k in (0, 1):
            plain = float(heat[study.test.regions[i, k] > 0].sum() / heat.sum())
            assert float(share[k]) == pytest.approx(plain, rel=1e-3)
        said = {word for part in view.neurons.named if part.case == "supports" for word in part.name.split()}  # type: ignore[union-attr]
        audit = study.biased[0]
        assert bool(audit.names_face[i]) == bool(said & {"red", "blue"})
        assert bool(audit.names_badge[i]) == bool(said & {"star", "heart"})


def test_a_map_without_positive_values_has_no_shares() -> None:
    masks = torch.zeros(2, 2, 4, 4)
    masks[:, 0, :2] = 1
    masks[:, 1, 2:] = 1
    found = bias.measure_shares(torch.stack([torch.zeros(2, 2), torch.tensor([[3.0, 3.0], [1.0, 1.0]])]), masks)
    assert found[0].isnan().all()
    assert float(found[1].sum()) == pytest.approx(1) and float(found[1, 0]) > float(found[1, 1])


def test_the_shortcut_is_found_and_mended(study: bias.Study) -> None:
    biased, balanced = study.biased[0], study.balanced[0]
    usual = study.test.usual
    assert biased.right[usual].mean() > biased.right[~usual].mean() + 0.2
    assert balanced.right[~usual].mean() > biased.right[~usual].mean()
    assert np.nanmean(biased.face) > np.nanmean(balanced.face)
    assert np.nanmean(biased.badge) < np.nanmean(balanced.badge)
    assert biased.follows_face.mean() > balanced.follows_face.mean() + 0.1
    for one in (biased, balanced):
        assert np.allclose(one.face + one.badge + one.elsewhere, 1, equal_nan=True)


def test_the_result_has_the_papers_numbers_beside_its_own_and_controls(study: bias.Study) -> None:
    found = bias.make_result(study)
    cells = {(row.name, row.column): row for row in (*found.rows, *found.controls)}
    assert cells["accuracy", "biased"].paper == 82 and cells["accuracy", "rebalanced"].paper == 90
    assert [row for row in found.rows if row.paper is not None] == [
        cells["accuracy", "biased"],
        cells["accuracy", "rebalanced"],
    ]
    right = 100 * study.biased[0].right.mean()
    assert cells["accuracy", "biased"].value == pytest.approx(right)
    halves = [cells[f"accuracy, {which} faces", "biased"] for which in ("usual", "unusual")]
    assert sum(row.value for row in halves) / 2 == pytest.approx(right) and [row.n for row in halves] == [16, 16]
    gained = cells["accuracy", "difference"]
    assert gained.value == pytest.approx(cells["accuracy", "rebalanced"].value - right)
    assert all(row.low <= row.value <= row.high for row in found.rows if row.n)
    area = sum(cells[f"map {where}, area", "control"].value for where in ("on the face", "on the badge", "elsewhere"))
    assert area == pytest.approx(100)
    assert cells["map on the badge, ceiling of the grid", "control"].value > 20


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="shares from 0 to 1"):
        make_people((0,), 4, (0.5, 1.2))
    with pytest.raises(InputError, match="pictures"):
        make_people((0,), 1, BALANCED)
    with pytest.raises(InputError, match="runs=0"):
        bias.run_study(runs=0)
