"""The packaged weights are the ones that the card describes, and give the card's numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from vlcam.card import card
from vlcam.measure import measure_grounding, measure_quality
from vlcam.scenes.zoo import WHICH, load, weights_folder

BARS = {"map": 0.98, "words_true": 0.97, "captions_true": 0.88, "vqa": 0.97}
GROUNDING_BARS = {"colour words": 0.50, "shape words": 0.50, "answers": 0.60}
MISSED = pytest.mark.xfail(strict=True, reason="these weights reach 0.35; the card and the README say so")


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((weights_folder() / "card.json").read_text())
    return found


def test_the_package_is_small_enough() -> None:
    assert sum(path.stat().st_size for path in weights_folder().iterdir()) < 30e6


@pytest.mark.parametrize("which", WHICH)
def test_weights_load_and_are_whole(which: Any) -> None:
    assert sum(parameter.numel() for parameter in load(which).parameters()) > 1e6


def test_the_card_says_what_was_measured(measured: dict[str, Any]) -> None:
    plan = json.loads((weights_folder() / "plan.json").read_text())
    assert (weights_folder() / "MODEL_CARD.md").read_text() == card(measured, plan)


def test_the_weights_give_the_cards_quality(measured: dict[str, Any], tmp_path: Path) -> None:
    wanted = measured["splits"]["test"]
    found = measure_quality("test", wanted["scenes"])
    for name, number in wanted["quality"].items():
        assert found[name] == pytest.approx(number, abs=0.004), name
    for name, bar in BARS.items():
        assert found[name] >= bar, name
    assert min(number for name, number in found.items() if name.startswith("vqa_")) >= 0.93


def test_the_weights_give_the_cards_grounding(measured: dict[str, Any]) -> None:
    wanted = measured["grounding_check"]
    found = measure_grounding("test", wanted["scenes"])
    for kind, row in wanted["rows"].items():
        assert found[kind]["n"] == pytest.approx(row["n"], abs=3), kind
        for column in ("map", "area", "centre", "random", "untrained", "ceiling"):
            assert found[kind][column] == pytest.approx(row[column], abs=0.05), (kind, column)


@pytest.mark.parametrize(
    ("kind", "bar"),
    [pytest.param(kind, bar, marks=[MISSED] if kind == "shape words" else []) for kind, bar in GROUNDING_BARS.items()],
)
def test_heatmaps_point_at_what_words_are_about(measured: dict[str, Any], kind: str, bar: float) -> None:
    assert measured["splits"]["test"]["grounding"][kind]["map"] >= bar


@pytest.mark.parametrize("kind", GROUNDING_BARS)
def test_heatmaps_point_far_better_than_no_explanation_would(measured: dict[str, Any], kind: str) -> None:
    row = measured["splits"]["test"]["grounding"][kind]
    for baseline in ("area", "centre", "random", "untrained"):
        assert row[baseline] < 0.5 * row["map"], baseline
    assert row["map"] <= row["ceiling"] <= 1
