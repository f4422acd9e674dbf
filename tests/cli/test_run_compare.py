"""``vlcam compare``: the table, the document, the page, and a recipe that the other commands take."""

import json
from pathlib import Path

import pytest

from vlcam.cli import main
from vlcam.tasks.recipe import read_recipe

SCENES = [f"scene:{seed}" for seed in range(6)]
OPTIONS = ["--model", "scenes/classifier", "--layers", "features", "--each", "1"]


def test_the_choice_of_a_comparison_is_what_the_recipe_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, recipe = tmp_path / "page.html", tmp_path / "mine.toml"
    command = [
        "compare",
        *SCENES,
        *OPTIONS,
        "--methods",
        "gradcam, layercam",
        "--html",
        str(page),
        "--save",
        str(recipe),
    ]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["photos"] == SCENES and document["targets"] == 6
    assert {row["name"] for row in document["candidates"]} == {"gradcam at features", "layercam at features"}
    assert document["verdict"] in page.read_text("utf-8").replace("&#x27;", "'")
    found = read_recipe(recipe)
    assert found.model == "scenes/classifier"
    assert {"method": found.method, "layer": found.layer} == document["choice"]
    assert main(["classify", "scene:7", "--recipe", str(recipe), "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)["results"][0]
    assert explained["method"] == found.method and explained["layer"] == found.layer


def test_the_table_has_a_row_for_each_candidate_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *SCENES[:2], *OPTIONS, "--methods", "gradcam,layercam"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "gradcam features" in out and "layercam features" in out and "random map" in out
    assert "These 2 candidates can't be told apart on 2 photos; it takes 6 or more." in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--methods", "gradcan"], "gradcan"),
        (["--save", "mine.json"], "--save mine.json was given; expected the name of a recipe, which ends in .toml"),
        (["--layers", "nowhere"], "nowhere"),
    ],
)
def test_what_can_not_be_compared_is_said_in_a_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "scene:0", "--model", "scenes/classifier", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_a_model_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "scene:0"]) == 2
    assert "no model was named" in capsys.readouterr().err
    assert main(["compare", "nowhere.png", "--model", "scenes/classifier"]) == 2
    assert "nowhere.png" in capsys.readouterr().err
