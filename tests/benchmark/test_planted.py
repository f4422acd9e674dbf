"""Planted units: what they fire for by construction, and that naming is right about them and silent about the rest."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch

from vlcam.benchmark import planted
from vlcam.benchmark.planted import NAMELESS, PlantedLayer, PlantedUnit, judge, make_rows, plant_units
from vlcam.contracts import InputError
from vlcam.neurons.names.record import NeuronName
from vlcam.neurons.probes.probe import Concept
from vlcam.neurons.probes.scenes import CONCEPTS
from vlcam.neurons.scoring.dissect import Batch, dissect


@pytest.fixture(scope="module")
def bed() -> PlantedLayer:
    return plant_units(500, each=20)


def of(bed: PlantedLayer, kind: str) -> list[int]:
    return [k for k, one in enumerate(bed.plants) if one.kind == kind]


@pytest.mark.extended
def test_planted_units_are_named_right_and_others_not_at_all(bed: PlantedLayer) -> None:
    """The bars: 0.95 of the detectors named right, 0.95 of noise, dead, inverted and place-biased units without a name."""
    judged = judge(bed, dissect([(bed.maps, bed.masks)], CONCEPTS))
    assert judged["detector"]["n"] > 50 and judged["detector"]["right"] >= 0.95
    assert judged["nameless"]["n"] == 80 and judged["nameless"]["right"] >= 0.95
    assert judged["either"]["right"] >= 0.95 and judged["either"]["both"] >= 0.9


@pytest.mark.extended
def test_detectors_fire_where_their_concept_is(bed: PlantedLayer) -> None:
    coarse = torch.from_numpy(bed.masks.astype(np.float32))
    cells = torch.nn.functional.avg_pool2d(coarse, 2)
    for k in of(bed, "detector"):
        where = cells[:, CONCEPTS.index(bed.plants[k].concepts[0])]
        assert bed.maps[:, k][where > 0.99].mean() > 4 * bed.maps[:, k][where == 0].mean()
    for k in of(bed, "either"):
        for concept in bed.plants[k].concepts:
            where = cells[:, CONCEPTS.index(concept)]
            assert bed.maps[:, k][where > 0.99].mean() > 0.7
        assert not set(bed.plants[k].concepts[0][0].split()) & set(bed.plants[k].concepts[1][0].split())


@pytest.mark.extended
def test_the_other_kinds_are_what_they_say(bed: PlantedLayer) -> None:
    cells = torch.nn.functional.avg_pool2d(torch.from_numpy(bed.masks.astype(np.float32)), 2)
    assert (bed.maps >= 0).all() and torch.isfinite(bed.maps).all()
    assert all(float(bed.maps[:, k].std()) == 0 for k in of(bed, "dead"))
    for k in of(bed, "inverted"):
        where = cells[:, CONCEPTS.index(bed.plants[k].concepts[0])]
        assert bed.maps[:, k][where == 0].mean() > 2 * bed.maps[:, k][where > 0.99].mean()
    for k in of(bed, "placed"):
        mean = bed.maps[:, k].mean(0)
        assert ((mean > 0.5).sum() == 24) and mean.max() > 10 * mean.min()
    for k in of(bed, "noise"):
        mean = bed.maps[:, k].mean(0)
        assert mean.max() < 2 * mean.min()


@pytest.mark.extended
def test_every_common_concept_has_a_detector(bed: PlantedLayer) -> None:
    often = bed.masks.any(axis=(2, 3)).sum(axis=0)
    wanted = {concept for concept, many in zip(CONCEPTS, often.tolist(), strict=True) if many >= planted.MIN_SCENES}
    assert [bed.plants[k].concepts[0] for k in of(bed, "detector")] == [c for c in CONCEPTS if c in wanted]
    assert {("thing", "object"), ("linen", "background"), ("centre", "region")} <= wanted


@pytest.mark.extended
def test_the_same_seed_plants_the_same() -> None:
    first, again, other = plant_units(100, each=2), plant_units(100, each=2), plant_units(100, each=2, seed=1)
    assert first.plants == again.plants and torch.equal(first.maps, again.maps)
    assert not torch.equal(first.maps, other.maps)


@pytest.mark.extended
def test_any_naming_can_be_judged() -> None:
    """A namer that calls everything red is right about red alone; one that never dares is right about what has no name."""

    def red(batches: Iterable[Batch], concepts: Sequence[Concept]) -> list[NeuronName]:
        units = next(iter(batches))[0].shape[1]
        return [NeuronName(k, "named", "red", "colour", 1.0) for k in range(units)]

    def shy(batches: Iterable[Batch], concepts: Sequence[Concept]) -> list[NeuronName]:
        return [NeuronName(k, "unnamed") for k in range(next(iter(batches))[0].shape[1])]

    bold, silent = planted.evaluate(red, n=100, each=3), planted.evaluate(shy, n=100, each=3)
    assert bold["detector"]["right"] == pytest.approx(1 / bold["detector"]["n"])
    assert bold["nameless"]["right"] == 0.0 and silent["nameless"]["right"] == 1.0
    assert silent["detector"]["right"] == 0.0 == silent["either"]["both"]
    assert "noise: red" in bold["noise"]["wrong"]
    assert [row[0] for row in make_rows(bold)] == ["detector", "either", *NAMELESS, "nameless"]
    assert make_rows(bold)[2][1:3] == ["3", "0.000"] and make_rows(silent)[2][3] == "-"


def test_either_of_two_names_is_right_and_both_can_be_said() -> None:
    one, two = ("red star", "pair"), ("blue heart", "pair")
    bed = PlantedLayer((PlantedUnit("either", (one, two)),), torch.zeros(1, 1, 12, 12), np.zeros((1, 67, 24, 24), bool))

    def said(**options: object) -> tuple[float, float]:
        row = judge(bed, [NeuronName(0, "named", *two, 0.3, **options)])["either"]  # type: ignore[arg-type]
        return row["right"], row["both"]

    assert said() == (1.0, 0.0)
    assert said(also=("red star",)) == said(flags=("polysemantic",)) == (1.0, 1.0)
    assert said(formula=("(red star OR blue heart)", 0.4)) == (1.0, 1.0)
    assert judge(bed, [NeuronName(0, "named", "red", "colour", 0.3)])["either"]["right"] == 0.0


def test_bad_input(bed: PlantedLayer) -> None:
    with pytest.raises(InputError, match="n=5 and each=20 were given; expected at least 20 scenes"):
        plant_units(5)
    with pytest.raises(InputError, match="no two unrelated pairs in 10 scenes each; take more scenes"):
        plant_units(30)
    with pytest.raises(InputError, match=r"1 names of \d+ planted units were given"):
        judge(bed, [NeuronName(0, "unnamed")])
