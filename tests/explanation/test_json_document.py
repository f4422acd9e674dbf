"""One JSON document for an explanation: from Python, from the commands, and as its schema says."""

import json
import logging
import math
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

import vlcam
from tests.support.examples_of_explanations import captioning, classification, vqa
from vlcam.cli import main
from vlcam.explanation.json_document import SCHEMA
from vlcam.scenes.sample import make
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

PHOTO = make(3).image()


def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("vlcam.explanation").joinpath("schema.json").read_text("utf-8"))
    return found


def check(document: Any) -> None:
    jsonschema.Draft202012Validator(schema()).validate(document)


def test_the_schema_is_a_schema_of_this_version() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["schema"]["const"] == SCHEMA


@pytest.mark.parametrize("example", [captioning, vqa, classification])
def test_explanations_are_as_the_schema_says(example: Any) -> None:
    explanation = example()
    document = explanation.to_dict()
    check(document)
    assert json.loads(explanation.to_json()) == document
    assert [one["label"] for one in document["targets"]] == [view.label for view in explanation]
    first = explanation.targets[0]
    broken = replace(explanation, targets=(replace(first, score=math.nan), *explanation.targets[1:]))
    check(broken.to_dict())
    assert broken.to_dict()["targets"][0]["score"] is None


def test_a_tested_explanation_with_neurons_is_as_the_schema_says() -> None:
    task = bundled.classifier()
    document = vlcam.explain(task, PHOTO, top_k=1).verify(task, regions=19).to_dict()
    check(document)
    assert document["targets"][0]["significance"]["regions"] == 19 and document["targets"][0]["neurons"]["top"]


@pytest.mark.parametrize("change", [{"schema": 1}, {"extra": 1}, {"targets": [{"label": "x"}]}])
def test_the_schema_refuses_what_is_not_such_a_document(change: dict[str, Any]) -> None:
    document = {**classification().to_dict(), **change}
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_the_command_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "scene:3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (result,) = printed["results"]
    assert result.pop("source") == "scene:3"
    document = {"schema": printed["schema"], "vlcam": printed["vlcam"], **result}
    check(document)
    mine = vlcam.explain(bundled.classifier(), make(3).image(384)).to_dict()
    assert document.keys() == mine.keys()
    assert [one["label"] for one in document["targets"]] == [one["label"] for one in mine["targets"]]


def test_what_makes_photos_go_one_by_one_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A slow path that nobody asked for says why, at debug level, and the results are the same."""
    quick = bundled.classifier()
    model = quick.model

    def logits(model: Any, inputs: Any) -> Any:
        if len(inputs) > 1:
            raise RuntimeError("one at a time, please")
        return model(inputs)

    slow = Classification(
        model, quick.labels, preprocess=quick.preprocess, layer=quick.layer, activation="sigmoid", logits=logits
    )
    with caplog.at_level(logging.DEBUG, logger="vlcam"):
        together = vlcam.explain(slow, [PHOTO, make(4).image()], top_k=1)
    assert [one.message for one in caplog.records if "one by one" in one.message] == [
        "2 photos go through classifier one by one: one at a time, please"
    ]
    assert [one.text for one in together] == [vlcam.explain(quick, one).text for one in (PHOTO, make(4).image())]
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="vlcam"):
        vlcam.explain(slow, PHOTO, top_k=1, method="occlusion")
    said = [one.message for one in caplog.records if "changed photos one by one" in one.message]
    assert len(said) == 1 and said[0].endswith("one at a time, please")
