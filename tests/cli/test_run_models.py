"""``vlcam models``: the families that vlcam knows, and the layers of one model."""

import json
import re
from pathlib import Path

import pytest
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.support import hub_matching, hub_zero_shot
from tests.support.hub_saved import BUILDERS, saved
from tests.tasks.test_hub_classifiers import FAMILIES as CLASSIFIER_ROWS
from vlcam.cli import main
from vlcam.cli.run_models import list_families
from vlcam.tasks.hub_families import CLASSIFIERS, FAMILIES, MATCHING_TOWERS, ZERO_SHOT_TOWERS


def test_every_family_of_the_table_is_tested() -> None:
    """The table says what the tests run, so every entry has a model in them."""
    made = set()
    for build in BUILDERS.values():
        made.add(build()[0].config.model_type)
    assert set(FAMILIES) == made
    assert set(ZERO_SHOT_TOWERS) == {build()[0].config.model_type for build in hub_zero_shot.BUILDERS.values()}
    assert set(MATCHING_TOWERS) == {build()[0].config.model_type for build in hub_matching.BUILDERS.values()}
    assert set(CLASSIFIERS) == {getattr(transformers, f"{row[0]}Config").model_type for row in CLASSIFIER_ROWS} | {
        "timm_wrapper"
    }


def test_the_table_names_families_that_transformers_has() -> None:
    assert set(FAMILIES) - {"vilt"} <= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert all(name == family.model_type for name, family in FAMILIES.items())
    names = [row.name for row in list_families()]
    assert len(names) == len(set(names)) and f"transformers: {next(iter(FAMILIES))}" in names


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"transformers: qwen2_vl +captions and answers +ViT, merged 2 x 2 +vision tower\.blocks\.-1", out)
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["families"]
    assert {row["name"] for row in rows} == {row.name for row in list_families()}


@pytest.mark.parametrize("name", ["scenes/captioner", "scenes/vqa", "scenes/classifier"])
def test_layers_of_a_bundled_model(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", name]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^→ +features +Sequential +1 x 192 x 12 x 12 +12 x 12$", out, re.MULTILINE)
    assert "lstm" not in out  # tokens of text are not a grid


@pytest.mark.parametrize(
    ("family", "row"), [("llava", "1 x 65 x 32 +8 x 8 after 1"), ("qwen2_vl", r"\d+ x 32 +as the tokens lie")]
)
def test_layers_of_a_model_of_transformers(
    family: str, row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(family, tmp_path)
    capsys.readouterr()
    assert main(["models", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert re.search(rf"^→ .* {row}$", out, re.MULTILINE) and "language_model" not in out and err == ""
    assert main(["models", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["default"] in {one["name"] for one in document["layers"]}


def test_layers_of_a_model_that_compares_with_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved("clip", tmp_path)
    capsys.readouterr()
    assert main(["models", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^→ +vision_model\.", out, re.MULTILINE) and "text_model" not in out


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "nobody"]) == 2
    assert "there is no model 'nobody'" in capsys.readouterr().err
