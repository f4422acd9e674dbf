"""What is told before torch is imported, and in the words of the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import vlcam
from vlcam.cli import main
from vlcam.cli.check_explain import make_recipe, name_options
from vlcam.cli.explain_options import ExplainOptions
from vlcam.cli.method_names import METHODS
from vlcam.errors import InputError

RUN = """
import sys
from vlcam.cli import main
code = main(sys.argv[1:])
print(code, "torch" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.new("RGB", (60, 40), "red").save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no picture\n" * 20)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "state.pth").write_bytes(b"x")
    (tmp_path / "bad.toml").write_text("modle = 'x'")
    monkeypatch.chdir(tmp_path)
    return tmp_path


EARLY = [
    (["classify", "gone.png"], 1, "there is no file 'gone.png'"),
    (["classify", "gone.png", "text.png"], 1, "'text.png' is not a photo that can be read"),
    (["caption", "https://example.org/a.jpg"], 1, "doesn't download"),
    (["vqa", "scene:x", "--question", "why"], 1, "expected scene:SEED"),
    (["classify", "photo.png", "--method", "gradkam"], 2, "no method 'gradkam'; did you mean gradcam"),
    (["classify", "photo.png", "--out", "file"], 2, "'file' is a file"),
    (["classify", "photo.png", "--recipe", "gone.toml"], 2, "there is no file 'gone.toml'"),
    (["caption", "photo.png", "--recipe", "bad.toml"], 2, "no key 'modle'; did you mean model"),
    (["classify", "photo.png", "--model", "bad.toml"], 2, "no key 'modle'"),
    (["classify", "photo.png", "--recipe", "bad.toml", "--model", "x"], 2, "can't be combined with --model x"),
    (["classify", "photo.png", "--labels", "gone.txt"], 2, "there is no file 'gone.txt'"),
    (["classify", "photo.png", "--labels", "file"], 2, "--labels requires --model"),
    (
        ["classify", "photo.png", "--size", "big", "--model", "torchvision/resnet18"],
        2,
        "size is 'big'; expected a side",
    ),
    (
        ["classify", "photo.png", "--mean", "a,b", "--model", "torchvision/resnet18"],
        2,
        "mean is 'a,b'; expected a number",
    ),
    (["classify", "photo.png", "--std", "0", "--model", "torchvision/resnet18"], 2, "a number above 0"),
    (["classify", "photo.png", "--interpolation", "cubic"], 2, "interpolation is 'cubic'; expected one of nearest"),
    (["classify", "photo.png", "--size", "64"], 2, "--size requires --model"),
    (["classify", "photo.png", "--white", "0"], 2, "--white 0.0 was given; expected the value that is white"),
    (
        ["classify", "photo.png", "--arch", "torchvision/resnet18"],
        2,
        "--arch torchvision/resnet18 requires --model and",
    ),
    (
        ["classify", "photo.png", "--model", "state.pth"],
        2,
        "give its architecture with --arch, such as --arch torchvision/resnet50",
    ),
    (
        ["classify", "photo.png", "--model", "gone.pth", "--arch", "torchvision/resnet18"],
        2,
        "there is no file 'gone.pth'",
    ),
    (
        ["classify", "photo.png", "--model", "state.pth", "--arch", "resnet18"],
        2,
        "--arch resnet18 is neither torchvision/",
    ),
    (
        ["classify", "photo.png", "--model", "timm/x", "--arch", "timm/x"],
        2,
        "--arch timm/x requires the path of a state",
    ),
    (["models", "state.pth"], 2, "give its architecture with --arch"),
    (["caption", "photo.png", "--gain", "black"], 2, "--gain 'black' was given; expected blank or blur"),
    (["classify", "photo.png", "--names", "gone"], 2, "there is no file 'gone'"),
    (["demo", "--out", "file"], 2, "'file' is a file"),
    (["reproduce", "words", "--out", "file"], 2, "'file' is a file"),
    (["reproduce", "words", "--method", "gradkam"], 2, "no method 'gradkam'"),
    (["reproduce", "words", "--data", "gone"], 2, "there is nothing at 'gone'"),
    (["neurons", "name", "--out", "file"], 2, "'file' is a file"),
    (["study", "make", "--out", "file"], 2, "'file' is a file"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), EARLY, ids=[" ".join(one[0]) for one in EARLY])
def test_what_needs_no_model_is_told_in_one_line(
    folder: Path, arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and text in err and err.startswith("vlcam: ")
    assert sorted(one.name for one in folder.iterdir()) == ["bad.toml", "file", "photo.png", "state.pth", "text.png"]


@pytest.mark.parametrize("first", range(0, len(EARLY), 8))
def test_it_is_told_before_torch_is_imported(folder: Path, first: int) -> None:
    for arguments, code, _ in EARLY[first : first + 8]:
        done = subprocess.run(
            [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == f"{code} False\n", (arguments, done.stderr)


def test_without_any_picture_the_document_has_the_errors(folder: Path) -> None:
    command = [sys.executable, "-c", RUN, "classify", "gone.png", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    printed, after = done.stdout.splitlines()
    assert after == "1 False"
    document = json.loads(printed)
    assert document["results"] == [] and document["errors"][0]["source"] == "gone.png"
    assert main(["classify", "gone.png", "photo.png", "--json"]) == 1


def test_the_names_of_methods_are_those_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(METHODS) == vlcam.list_methods()
    for command in ("classify", "caption", "vqa"):
        assert main([command, "--help"]) == 0
        said = " ".join(capsys.readouterr().out.replace("-\n", "-").split())
        assert [name for name in METHODS if name.replace("-", "") not in said.replace("-", "").replace(" ", "")] == []


@pytest.mark.parametrize(
    "command",
    [
        *([], ["classify"], ["caption"], ["vqa"], ["models"], ["demo"], ["reproduce"], ["scenes"], ["scenes", "train"]),
        *(["neurons"], ["neurons", "list"], ["neurons", "name"], ["study"], ["study", "make"], ["study", "score"]),
    ],
    ids=" ".join,
)
def test_help_has_a_short_form(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    long = capsys.readouterr().out
    assert main([*command, "-h"]) == 0
    assert capsys.readouterr().out == long and long.startswith(f"Usage: {' '.join(['vlcam', *command])}")


def test_a_model_of_open_clip_with_a_checkpoint_is_no_state_dict() -> None:
    name = "open_clip/ViT-B-32:weights.safetensors"
    assert make_recipe("classification", ExplainOptions(images=["photo.jpg"], model=name)).model == name


def test_errors_speak_of_options() -> None:
    with pytest.raises(InputError) as caught, name_options():
        raise InputError(
            "give its architecture with arch=, such as arch='torchvision/resnet50', or give labels= and targets="
        )
    assert (
        str(caught.value)
        == "give its architecture with --arch, such as --arch 'torchvision/resnet50', or give --labels and targets="
    )


def test_experiments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["no.", "key"] and len(lines) >= 17
    assert lines[1].split()[:2] == ["1", "localisation"]
    assert main(["reproduce", "--list", "--json"]) == 0
    assert {"number", "key", "title", "real"} == set(json.loads(capsys.readouterr().out)["experiments"][0])
    assert main(["reproduce"]) == 2
    assert "no experiment was named; give all, numbers" in capsys.readouterr().err


def test_names_in_any_script_are_names_of_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["猫と犬", "قطة", "🐈\u200d⬛", "café", "кот", "हाथी"]
    for name in (*names, "a b"):
        (folder / f"{name}.png").write_bytes((folder / "photo.png").read_bytes())
    assert main(["classify", *(f"{name}.png" for name in (*names, "a b")), "--out", "out", "--top", "1", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [Path(one["files"]["figure"]).name for one in results] == [
        f"{number:03d}-{name}.png" for number, name in enumerate((*names, "a-b"))
    ]
    assert all(Path(one["files"]["explanation"]).is_file() for one in results)
    long = "猫" * 80
    (folder / f"{long}.png").write_bytes((folder / "photo.png").read_bytes())
    assert main(["classify", f"{long}.png", f"{long}.png", "--out", "more", "--top", "1"]) == 0
    assert len(list((folder / "more").iterdir())) == 5


def test_a_scan_of_12_bits_with_its_white(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    Image.fromarray(np.linspace(0, 4095, 2400).reshape(40, 60).astype(np.uint16)).save(folder / "scan.png")
    assert main(["classify", "scan.png", "--json"]) == 0
    (dark,) = json.loads(capsys.readouterr().out)["results"]
    assert any("white=4095" in note and "nearly black" in note for note in dark["notes"])
    assert main(["classify", "scan.png", "--json", "--white", "4095"]) == 0
    (bright,) = json.loads(capsys.readouterr().out)["results"]
    assert not any("nearly black" in note for note in bright["notes"])
    assert bright["photo"]["sha256"] != dark["photo"]["sha256"]
