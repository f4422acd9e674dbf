"""The packaged weights are the ones that the card describes, and give the card's numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

import vlcam
from tests.support.examples_of_explanations import paint
from vlcam.benchmark.card import make_card, make_texts_table
from vlcam.benchmark.measure import MEASURED_SPLITS, measure_grounding, measure_quality
from vlcam.contracts import InputError
from vlcam.scenes.models.zoo import MODEL_NAMES, get_weights_folder, load
from vlcam.scenes.record import Split
from vlcam.tasks import bundled

BARS = {"map": 0.98, "words_true": 0.97, "captions_true": 0.88, "vqa": 0.97}
GROUNDING_BARS = {"colour words": 0.50, "shape words": 0.50, "answers": 0.60}


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((get_weights_folder() / "card.json").read_text())
    return found


def test_the_package_is_small_enough() -> None:
    assert sum(path.stat().st_size for path in get_weights_folder().iterdir()) < 30e6


@pytest.mark.parametrize("which", MODEL_NAMES)
def test_weights_load_and_are_whole(which: Any) -> None:
    assert sum(parameter.numel() for parameter in load(which).parameters()) > 1e6


def test_the_card_says_what_was_measured(measured: dict[str, Any]) -> None:
    plan = json.loads((get_weights_folder() / "plan.json").read_text())
    texts = json.loads((get_weights_folder() / "texts.json").read_text())
    assert (get_weights_folder() / "MODEL_CARD.md").read_text() == make_card(measured, plan, texts)


@pytest.mark.parametrize("which", MODEL_NAMES)
def test_names_and_card_are_those_of_the_weights(measured: dict[str, Any], which: Any) -> None:
    recorded = json.loads((get_weights_folder() / "sha256.json").read_text())[which]
    names = bundled.read_packaged_names(which)
    assert names is not None
    assert names.weights_sha256 == recorded == measured["weights_sha256"][which]


def test_names_of_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in get_weights_folder().glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(bundled, "get_weights_folder", lambda: tmp_path)
    assert bundled.read_packaged_names("vqa") is not None
    (tmp_path / "sha256.json").write_text(json.dumps({"vqa": "0" * 64}))
    with pytest.raises(InputError, match="names the channels of other weights"):
        bundled.read_packaged_names("vqa")


@pytest.mark.extended
@pytest.mark.parametrize("split", MEASURED_SPLITS)
def test_the_weights_give_the_cards_quality(measured: dict[str, Any], split: Split) -> None:
    wanted = measured["splits"][split]
    found = measure_quality(split, wanted["scenes"])
    for name, number in wanted["quality"].items():
        assert found[name] == pytest.approx(number, abs=0.004), name
    if split == "test":
        for name, bar in BARS.items():
            assert found[name] >= bar, name
        assert min(number for name, number in found.items() if name.startswith("vqa_")) >= 0.93


@pytest.fixture(scope="module")
def found(measured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pointing game as it is now, on a part of the card's scenes."""
    return measure_grounding("test", measured["grounding_check"]["scenes"])


@pytest.mark.extended
def test_the_weights_give_the_cards_grounding(measured: dict[str, Any], found: dict[str, Any]) -> None:
    """The same part gives the same; and the part fits the whole, within four standard errors."""
    for kind, row in measured["grounding_check"]["rows"].items():
        whole = measured["splits"]["test"]["grounding"][kind]
        assert found[kind]["n"] == pytest.approx(row["n"], abs=3), kind
        for column in ("map", "contrast", "area", "centre", "random", "untrained", "ceiling"):
            assert found[kind][column] == pytest.approx(row[column], abs=0.05), (kind, column)
            spread = 4 * (max(whole[column] * (1 - whole[column]), 0.01) / row["n"]) ** 0.5
            assert row[column] == pytest.approx(whole[column], abs=spread), (kind, column)


@pytest.mark.extended
@pytest.mark.parametrize(("kind", "bar"), GROUNDING_BARS.items())
def test_heatmaps_point_at_what_words_are_about(
    measured: dict[str, Any], found: dict[str, Any], kind: str, bar: float
) -> None:
    assert measured["splits"]["test"]["grounding"][kind]["map"] >= bar
    assert found[kind]["map"] >= bar


@pytest.mark.extended
@pytest.mark.parametrize("kind", GROUNDING_BARS)
def test_heatmaps_point_far_better_than_no_explanation_would(found: dict[str, Any], kind: str) -> None:
    row = found[kind]
    for baseline in ("area", "centre", "random", "untrained"):
        assert row[baseline] < 0.5 * row["map"], baseline
    assert row["map"] <= row["ceiling"] <= 1


def test_the_card_has_the_measured_texts() -> None:
    texts = json.loads((get_weights_folder() / "texts.json").read_text())
    assert make_texts_table(texts) in (get_weights_folder() / "MODEL_CARD.md").read_text("utf-8")
    all_targets = texts["texts"]["all"]
    ours = all_targets["contribution"]
    assert ours["precision"]["value"] >= 0.90 and ours["hallucination"]["value"] <= 0.05
    for other in ("alpha", "permuted names", "random names"):
        for measure in ("precision", "recall", "recall, own words", "absence precision", "sign accuracy"):
            assert ours[measure]["value"] > all_targets[other][measure]["value"]
        assert ours["hallucination"]["value"] < all_targets[other]["hallucination"]["value"]
    assert min(texts["planted"][kind]["right"] for kind in ("detector", "nameless")) >= 0.95


@pytest.mark.parametrize("make_task", [bundled.classifier, bundled.captioner, bundled.vqa])
def test_a_photograph_is_said_to_mean_nothing(make_task: Any) -> None:
    question = "what colour is the star" if make_task is bundled.vqa else None
    found = vlcam.explain(make_task(), paint(), question=question)
    assert found.notes[0] == bundled.UNLIKE and "knows only generated still lifes" in found.notes[0]
    assert "mean nothing" in found.to_dict()["notes"][0]
    assert bundled.UNLIKE not in vlcam.explain(make_task(), vlcam.scenes.make(12).image(384), question=question).notes
