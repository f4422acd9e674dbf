"""What the documents show, run as it stands there: their code, their commands, and the files and models that both talk about."""

import csv
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pytest
import torch
from PIL import Image

from tests.support.hub_saved import saved
from tests.support.stored import made_once
from vlcam.cli import main
from vlcam.experiments.registry import Experiment
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.scenes.sample import make

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|  )# .*$", re.MULTILINE)
_STANDINS = {
    "Salesforce/blip-image-captioning-base": "blip",
    "Salesforce/blip-itm-base-coco": "blip that matches",
    "Qwen/Qwen2.5-VL-3B-Instruct": "qwen2_5_vl",
    "openai/clip-vit-base-patch32": "clip",
}
"""Models of the hub, and the small ones of the same families that take their places."""
_FEWER = {"scenes:val:1000": "scenes:val:30"}
"""What is said of many pictures is tried on few."""


@final
@dataclass(frozen=True)
class Block:
    """A fenced block of a document, and the line that it begins in."""

    language: str
    text: str
    line: int


def find_blocks(document: Path) -> list[Block]:
    """The fenced blocks of a Markdown document."""
    text = document.read_text("utf-8")
    return [
        Block(found["language"], found["text"], text.count("\n", 0, found.start()) + 2)
        for found in _FENCE.finditer(text)
    ]


def find_code(document: Path) -> list[Block]:
    """The Python of a document."""
    return [block for block in find_blocks(document) if block.language == "python"]


def find_commands(document: Path) -> list[str]:
    """The lines of a document that call vlcam from the shell."""
    lines = [line for block in find_blocks(document) if not block.language for line in block.text.splitlines()]
    return [line for line in lines if line.startswith("vlcam ")]


def run_code(document: Path, folder: Path) -> dict[str, Any]:
    """Run the Python of a document from top to bottom in one namespace, which is returned.

    The working folder must be ``folder``, and have what :func:`make_world` makes.
    """
    write_files(document, folder)
    space: dict[str, Any] = {"__name__": "document"}
    for block in find_code(document):
        text = "\n" * (block.line - 1) + prepare(block.text, folder)
        exec(compile(text, str(document), "exec"), space)
    return space


def run_commands(document: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Run the commands of a document in their order; each with its exit code."""
    write_files(document, folder)
    for line in find_commands(document):
        if "study score" in line:
            _answer(folder)
        yield line, main(shlex.split(prepare(line, folder))[1:])


def write_files(document: Path, folder: Path) -> None:
    """Write the TOML files that a document shows, each named in its first line, and the state dict that it talks about."""
    for block in find_blocks(document):
        if block.language == "toml":
            (folder / block.text.partition("\n")[0].removeprefix("# ")).write_text(block.text, encoding="utf-8")
    if "weights.safetensors" in document.read_text("utf-8"):
        save_weights(folder / "weights.safetensors")


def prepare(text: str, folder: Path) -> str:
    """The text without its comments, with small models in place of the hub's, and few pictures where it says many."""
    text = _COMMENT.sub("", text)
    for name, family in _STANDINS.items():
        if name in text:
            place = folder / "hub" / family
            if not place.exists():
                saved(family, place)
            text = text.replace(name, str(place))
    assert not re.search(r"(openai|Qwen|Salesforce|google|microsoft)/", text), "a model that nobody stands in for"
    for many, few in _FEWER.items():
        text = text.replace(many, few)
    if "instances_val2017.json" in text:
        assert main(["scenes", "export", str(folder / "coco"), "--split", "val", "--n", "20"]) == 0
        (instances,) = (folder / "coco").rglob("instances*.json")
        text = text.replace("instances_val2017.json", str(instances))
    return text


def make_world(folder: Path) -> None:
    """The files that the documents talk about."""
    shutil.copytree(made_once("world of the documents", _make_files), folder, dirs_exist_ok=True)


def _make_files(folder: Path) -> None:
    for name in ("photo.jpg", "a.png", "b.png"):
        Image.fromarray(make(12).image(192)).save(folder / name)
    for seed in range(12):
        scene = make(seed, "val")
        for place in (folder / "photos", folder / "photos-by-class" / scene.background):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene.image()).save(place / f"{seed}.png")
    (folder / "labels.txt").write_text("cat\ndog\nhorse\n", encoding="utf-8")
    (folder / "words.txt").write_text("red\nblue\nstar\n", encoding="utf-8")
    names = "\n".join(f"{unit},{'star' if unit == 1 else ''},0.2" for unit in range(192))
    (folder / "tally.csv").write_text(f"unit,name,score\n{names}\n", encoding="utf-8")
    (folder / "ILSVRC").mkdir()


def save_weights(path: Path) -> None:
    """The state dict of a classifier with three classes."""
    from safetensors.torch import save_file
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    save_file(mobilenet_v2(num_classes=3).state_dict(), path)


def stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights in place of those that torchvision downloads."""
    from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models

    def instead(self: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        name = next(one for one in list_models() if get_model_weights(one) is type(self))
        torch.manual_seed(0)
        state: dict[str, Any] = get_model(name, weights=None).state_dict()
        return state

    monkeypatch.setattr(WeightsEnum, "get_state_dict", instead)


def stub_experiments(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Experiments that run at once, as they have tests of their own; the list gets the keys of those that ran."""
    ran: list[str] = []

    def instead(experiment: Experiment, setting: Setting) -> Result:
        ran.append(experiment.key)
        return Result(experiment.number, experiment.key, "T", "Q?", "P.", "W", "M", (ResultRow("gradcam", 0.5),))

    monkeypatch.setattr("vlcam.cli.run_reproduce.run_one", instead)
    return ran


def _answer(folder: Path) -> None:
    """The answers of a rater who takes the first choice of everything, as the page would write them."""
    key = json.loads((folder / "study" / "key.json").read_text("utf-8"))
    with (folder / "answers.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["study", "rater", "item", "answer"])
        part = key["parts"]["discrimination"]
        for item in part["items"]:
            if item["booklet"] == 0:
                rows.writerow([part["study"], "rater 1", item["id"], item["choices"][0]])
