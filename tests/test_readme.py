"""What the README shows works as it stands there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vlcam
from tests.support.hub_models import alive, blip
from tests.support.hub_saved import saved
from vlcam.cli import main
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.running import Experiment
from vlcam.experiments.setting import Setting
from vlcam.methods import get_one_run_method, registry
from vlcam.scenes.sample import make
from vlcam.tasks import bundled


def blocks(root: Path, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (root / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for found, text in fenced if found == language]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "a.png", "b.png"):
        Image.fromarray(make(12).image(192)).save(name)
    Path("photos").mkdir()
    for seed in range(12):
        scene = make(seed, "val")
        Path("photos-by-class", scene.background).mkdir(parents=True, exist_ok=True)
        for folder in (Path("photos"), Path("photos-by-class", scene.background)):
            Image.fromarray(scene.image()).save(folder / f"{seed}.png")
    Path("words.txt").write_text("red\nblue\nstar\n", encoding="utf-8")


@pytest.mark.usefixtures("photos")
def test_the_first_python_block(root: Path, tmp_path: Path) -> None:
    first = blocks(root, "python")[0]
    space: dict[str, Any] = {}
    exec(compile(first, "README.md", "exec"), space)
    assert "<html" in (tmp_path / "report.html").read_text("utf-8")
    assert (tmp_path / "caption.safetensors").exists()
    assert space["answer"].targets and space["classes"].targets


@pytest.mark.usefixtures("photos")
def test_the_batch_block(root: Path) -> None:
    (block,) = [one for one in blocks(root, "python") if "vlcam.attribute(" in one]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)).eval()
    space: dict[str, Any] = {"vlcam": vlcam, "model": model, "images": torch.rand(2, 3, 12, 12)}
    exec(compile(block, "README.md", "exec"), space)
    assert space["result"].maps.shape[:2] == (2, 2)


STANDINS = {
    "Salesforce/blip-image-captioning-base": "blip",
    "Qwen/Qwen2.5-VL-3B-Instruct": "qwen2_5_vl",
    "openai/clip-vit-base-patch32": "clip",
}


def standin(text: str, folder: Path) -> str:
    """The text with small models of the same families, saved in a folder, in place of the hub's."""
    for name, family in STANDINS.items():
        if name in text:
            place = folder / family
            if not place.exists():
                saved(family, place)
            text = text.replace(name, str(place))
    assert not re.search(r"(openai|Qwen|Salesforce|google|microsoft)/", text)
    return text


@pytest.mark.usefixtures("photos")
def test_the_block_of_your_own_models(root: Path, tmp_path: Path) -> None:
    (block,) = [one for one in blocks(root, "python") if "AutoModel" in one or "processor=processor" in one]
    of_transformers = standin(block[block.index('task = vlcam.load("Salesforce') :], tmp_path)
    model = alive(blip()[0])
    space: dict[str, Any] = {"vlcam": vlcam, "torch": torch, "model": model, "processor": blip()[1]}
    exec(compile(of_transformers, "README.md", "exec"), space)
    assert space["task"].kind == "captioning"


@pytest.mark.usefixtures("photos")
def test_the_commands(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def instead(experiment: Experiment, setting: Setting) -> Result:  # the experiments have tests of their own
        ran.append(experiment.key)
        return Result(experiment.number, experiment.key, "T", "Q?", "P.", "W", "M", (ResultRow("gradcam", 0.5),))

    monkeypatch.setattr("vlcam.cli.run_reproduce.run_one", instead)
    (tmp_path / "ILSVRC").mkdir()
    lines = [line for block in blocks(root, "") for line in block.splitlines() if line.startswith("vlcam ")]
    assert len(lines) >= 4
    for line in lines:
        fewer = standin(line, tmp_path).replace("scenes:val:1000", "scenes:val:30")
        assert main(shlex.split(fewer)[1:]) == 0, (line, capsys.readouterr().err)
    assert len(ran) == 1 + 16 + 4


@pytest.mark.usefixtures("photos")
def test_the_block_of_proofs(root: Path) -> None:
    (block,) = [one for one in blocks(root, "python") if ".verify(" in one]
    space: dict[str, Any] = {"vlcam": vlcam, "bundled": bundled, "photo": make(12).image()}
    lines = block.replace(".verify(bundled.captioner())", ".verify(bundled.captioner(), regions=19)").splitlines()
    exec(compile(lines[0], "README.md", "exec"), space)
    assert "random regions did as much" in eval(lines[1].partition("#")[0], space)
    assert 0 < eval(lines[2].partition("#")[0], space) <= 1


def test_the_block_of_your_own_method(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [one for one in blocks(root, "python") if "register(" in one]
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    space: dict[str, Any] = {"vlcam": vlcam, "my_function": get_one_run_method("hirescam").function}
    exec(compile(block.replace("quick=True", "quick=True, most=2"), "README.md", "exec"), space)
    rows = {row.name: row.value for row in space["result"].rows if row.column == space["result"].columns[0]}
    assert rows["mine"] == rows["hirescam"]


@pytest.mark.usefixtures("photos")
def test_the_block_of_heatmaps_while_training(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' isn't installed")
    (block,) = [one for one in blocks(root, "python") if "Heatmaps(" in one]
    space: dict[str, Any] = {"task": bundled.classifier()}
    exec(compile(block, "README.md", "exec"), space)
    space["heatmaps"].close()
    assert list((tmp_path / "runs").rglob("events*"))


@pytest.mark.usefixtures("photos")
def test_the_block_of_neuron_names(root: Path, tmp_path: Path) -> None:
    (block,) = [one for one in blocks(root, "python") if "CocoInstances" in one]
    assert main(["scenes", "export", str(tmp_path / "coco"), "--split", "val", "--n", "20"]) == 0
    (instances,) = (tmp_path / "coco").rglob("instances*.json")
    names = "\n".join(f"{unit},{'star' if unit == 1 else ''},0.2" for unit in range(192))
    (tmp_path / "tally.csv").write_text(f"unit,name,score\n{names}\n", encoding="utf-8")
    space: dict[str, Any] = {"vlcam": vlcam, "task": bundled.classifier()}
    text = block.replace("instances_val2017.json", str(instances)).replace('"dog"', "0")
    exec(compile(text, "README.md", "exec"), space)
    assert space["names"].layer == "features" and len(space["names"]) == len(space["theirs"]) == 192
    assert space["theirs"].units[1].name == "star"
