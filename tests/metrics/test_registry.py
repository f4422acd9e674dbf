"""Metrics by name: the built-in ones are the functions, and your own stand beside them."""

import math
from dataclasses import replace
from inspect import unwrap

import pytest
import torch
from torch import Tensor

from vlcam import metrics
from vlcam.contracts import InputError
from vlcam.metrics import FaithfulnessMetric, LocalisationMetric, get_metric, list_metrics, register, registry


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))


def score(images: Tensor) -> Tensor:
    """Two probabilities: how bright the left half is, and the right half."""
    half = images.shape[-1] // 2
    return torch.stack([images[..., :half].mean((1, 2, 3)), images[..., half:].mean((1, 2, 3))], 1)


IMAGE = torch.full((1, 3, 8, 8), 0.2).index_fill(3, torch.tensor([0, 1, 6, 7]), 1.0)
RISING = torch.arange(64.0).view(8, 8)
HEAT = torch.stack([RISING.T.flip(1), RISING.T])
MASK = torch.zeros(8, 8, dtype=torch.bool).index_fill(1, torch.arange(4, 8), True)
MINE = LocalisationMetric("mine", lambda heat, mask: float(heat[mask].mean()), "Mine", "nobody's")


def test_every_metric_has_its_facts() -> None:
    assert len(list_metrics()) == len(set(list_metrics())) == 11
    assert sorted(list_metrics()) == sorted([*list_metrics("localisation"), *list_metrics("faithfulness")])
    for name in list_metrics():
        one = get_metric(name)
        assert one.name == name and one.title and one.paper and one.better in ("higher", "lower")
    with pytest.raises(InputError, match="kind='other' was given; expected localisation, faithfulness or None"):
        unwrap(list_metrics)("other")
    with pytest.raises(InputError, match="no metric 'deletoin'; did you mean deletion"):
        get_metric("deletoin")


@pytest.mark.parametrize("name", list_metrics("localisation"))
def test_localisation_prefers_the_map_on_the_object(name: str) -> None:
    metric = get_metric(name)
    assert isinstance(metric, LocalisationMetric)
    good, bad = (metric.function(heat, MASK) for heat in (HEAT[1], HEAT[0]))
    assert isinstance(good, float) and (good > bad if metric.better == "higher" else good < bad)


@pytest.mark.parametrize("name", list_metrics("faithfulness"))
def test_faithfulness_prefers_the_map_of_what_the_score_reads(name: str) -> None:
    metric = get_metric(name)
    assert isinstance(metric, FaithfulnessMetric)
    good, bad = (metric.function(score, IMAGE, heat) for heat in (HEAT, HEAT.flip(0)))
    assert good.shape == (2,)
    assert bool((good > bad).all() if metric.better == "higher" else (good < bad).all()), (good, bad)
    flat = metric.function(score, IMAGE, torch.ones(2, 8, 8))
    assert bool(flat.isnan().all())  # such a map ranks nothing


def test_the_built_in_ones_are_the_functions() -> None:
    for name, function in (
        ("relevance-mass", metrics.relevance_mass),
        ("pointing-game", metrics.pointing_game),
        ("rank-accuracy", metrics.rank_accuracy),
        ("auc", metrics.auc),
        ("lift", metrics.lift),
        ("inside-outside", metrics.inside_outside_ratio),
        ("road", metrics.road_combined),
    ):
        assert get_metric(name).function is function
    seed = get_metric("seed-iou").function(HEAT[1], MASK)  # type: ignore[arg-type, call-arg]
    assert seed == metrics.overlap(metrics.seed_mask(HEAT[1]), MASK).iou
    for name, wanted in (
        ("deletion", metrics.deletion(score, IMAGE, HEAT).auc),
        ("insertion", metrics.insertion(score, IMAGE, HEAT).auc),
        ("average-drop", metrics.confidence(score, IMAGE, HEAT).drop),
    ):
        torch.testing.assert_close(get_metric(name).function(score, IMAGE, HEAT), wanted)  # type: ignore[arg-type, call-arg]


def test_your_own_stand_beside_them_and_replace_none() -> None:
    assert register(MINE) is MINE is get_metric("mine") is register(MINE)
    assert list_metrics("localisation")[-1] == "mine" and "mine" not in list_metrics("faithfulness")
    with pytest.raises(InputError, match="there is a metric 'auc' already"):
        register(replace(MINE, name="auc"))
    with pytest.raises(InputError, match="there is a metric 'mine' already"):
        register(FaithfulnessMetric("mine", lambda score, image, heat: heat.amax((1, 2)), "Mine", "nobody's"))
    assert math.isclose(get_metric("mine").function(HEAT[1], MASK), float(HEAT[1][MASK].mean()))  # type: ignore[arg-type, call-arg]
