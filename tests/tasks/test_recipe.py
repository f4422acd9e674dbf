"""Recipes: one file that says which model and how, in Python and on the command line."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import vlcam
from vlcam.cli import main
from vlcam.image.preprocess import Mode, PreprocessSettings, Resample
from vlcam.tasks import recipe as module
from vlcam.tasks.classification import Classification
from vlcam.tasks.recipe import Recipe, read_labels, read_recipe
from vlcam.tasks.states import SUFFIXES

NAMES = ("cat", "dog", "red fox")
TEXT = """
model = "weights.safetensors"
arch = "torchvision/squeezenet1_1"
labels = "labels.txt"
layer = "features.9"
method = "hirescam"

[preprocess]
size = 96
resize_shorter = 110
mean = 0.5
std = [0.5, 0.25, 0.125]
interpolation = "bicubic"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small model of three classes, its recipe and a photo."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    place = tmp_path / "model"
    place.mkdir()
    save_file(get_model("squeezenet1_1", num_classes=3).state_dict(), place / "weights.safetensors")
    (place / "labels.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    (place / "model.toml").write_text(TEXT, encoding="utf-8")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)).save(tmp_path / "photo.png")
    return tmp_path


def test_a_recipe_is_a_task_as_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # paths are relative to the recipe's folder, not to this one
    task = vlcam.load("model/model.toml")
    assert isinstance(task, Classification) and task.labels == NAMES
    known = PreprocessSettings((96, 96), "crop", 110, (0.5,) * 3, (0.5, 0.25, 0.125), "bicubic")
    found = vlcam.explain(task, "photo.png")
    assert (found.method, found.layer, found.preprocessing) == ("hirescam", "features.9", known)
    other = vlcam.explain(task, "photo.png", method="layercam", layer="features.12")
    assert (other.method, other.layer) == ("layercam", "features.12")
    (outcome,) = vlcam.explain_batches(task, ["photo.png"], progress=False)
    assert outcome.explanation is not None and outcome.explanation.method == "hirescam"
    plain = vlcam.load("model/weights.safetensors", arch="torchvision/squeezenet1_1", labels=NAMES)
    assert vlcam.explain(plain, "photo.png").method == "gradcam"


def test_what_is_given_goes_before_what_a_recipe_says(folder: Path) -> None:
    path = folder / "model" / "model.toml"
    task = vlcam.load(path, labels=["a", "b", "c"], preprocess=vlcam.Preprocess(64), dtype=torch.float64)
    assert isinstance(task, Classification) and task.labels == ("a", "b", "c")
    found = vlcam.explain(task, folder / "photo.png")
    assert (
        found.preprocessing is not None and found.preprocessing.size == (64, 64) and found.maps.dtype == torch.float64
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "size = 112",
            {"size": (112, 112), "mode": "crop", "resize_shorter": 128},
        ),  # as much of the photo as 256 to 224
        ("size = [80, 60]\nmode = 'letterbox'", {"size": (80, 60), "mode": "letterbox", "resize_shorter": None}),
        ("mode = 'resize'", {"size": (224, 224), "mode": "resize", "resize_shorter": None}),
        ("interpolation = 'nearest'", {"interpolation": "nearest", "mean": (0.485, 0.456, 0.406)}),
        ("std = 2", {"std": (2.0, 2.0, 2.0), "resize_shorter": 256}),
    ],
)
def test_a_change_leaves_the_rest_of_the_preprocessing(folder: Path, change: str, expected: dict[str, Any]) -> None:
    path = folder / "model" / "other.toml"
    path.write_text(TEXT.partition("[preprocess]")[0] + f"[preprocess]\n{change}\n", encoding="utf-8")
    found = vlcam.explain(vlcam.load(path), folder / "photo.png").preprocessing
    assert found is not None and {name: getattr(found, name) for name in expected} == expected


def test_the_command_line_takes_the_same_recipe_and_options_over_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    mine = vlcam.explain(vlcam.load("model/model.toml"), "photo.png").to_dict()
    for given in (["--recipe", "model/model.toml"], ["--model", "model/model.toml"]):
        assert main(["classify", "photo.png", "--json", *given]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        same = ("model", "layer", "method", "preprocessing", "text")
        assert {name: result[name] for name in same} == json.loads(json.dumps({name: mine[name] for name in same}))
    options = ["--size", "64x48", "--mode", "resize", "--mean", "0,0,0", "--std", "1", "--interpolation", "nearest"]
    (folder / "more.json").write_text('{"2": "z", "0": "x", "1": "y"}')
    options += ["--labels", "more.json", "--layer", "features.12", "--method", "layercam", "--out", "out"]
    assert main(["classify", "photo.png", "--json", "--recipe", "model/model.toml", *options]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["preprocessing"] == {
        "size": [64, 48], "mode": "resize", "resize_shorter": None, "mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "nearest",
    }  # fmt: skip
    assert (result["layer"], result["method"]) == ("features.12", "layercam")
    assert {one["label"] for one in result["targets"]} == {"x", "y", "z"}
    page = (folder / "out" / "report.html").read_text("utf-8")
    assert "64 \\u00d7 48, all of the photo" in page or "64 × 48, all of the photo" in page
    assert main(["models", "model/model.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["default"] == "features.9"
    assert (
        main(["models", "model/weights.safetensors", "--arch", "torchvision/squeezenet1_1", "--labels", "more.json"])
        == 0
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("modle = 'x'", r"r.toml': no key 'modle'; did you mean model"),
        ("colour = 'x'", r"no key 'colour'; .*the keys are model, arch, weights, .*, method, preprocess"),
        (
            "[preprocess]\nresample = 'box'",
            r"\[preprocess\]: no key 'resample'; .*size, mode, resize_shorter, mean, std, interpolation",
        ),
        ("preprocess = 3", r"preprocess\] is 3; expected a table of size"),
        ("model = 3", r"model is 3; expected a text"),
        ("labels = []", r"labels is \[\]; expected a list of class names, or the path"),
        ("labels = 'gone.txt'", r"there is no file .*gone.txt"),
        ("task = 'segmentation'", r"task is 'segmentation'; expected one of classification, captioning, vqa"),
        ("beams = 0", r"beams is 0; expected a whole number from 1 to 64"),
        ("dtype = 'int8'", r"dtype is 'int8'; expected one of float32"),
        ("[preprocess]\nsize = 0", r"size is 0; expected a side or .width, height. in pixels"),
        ("[preprocess]\nsize = [1, 2, 3]", r"size is \[1, 2, 3\]"),
        ("[preprocess]\nstd = [0.5, 0, 0.5]", r"std is .*; expected a number above 0"),
        ("[preprocess]\nmean = 'grey'", r"mean is 'grey'; expected a number for values of 0 to 1"),
        ("[preprocess]\nmean = nan", r"mean is nan"),
        ("[preprocess]\ninterpolation = 'cubic'", r"interpolation is 'cubic'; expected one of nearest, box"),
        ("[preprocess]\nmode = 'squash'", r"mode is 'squash'; expected one of resize, crop, letterbox"),
        ("[preprocess]\nmode = 'resize'\nresize_shorter = 9", r"resize_shorter goes with mode crop, not with resize"),
        ("model = ", r"is not TOML"),
        ("a = " + "[" * 5000, r"is not TOML"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(text: str, error: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(vlcam.InputError, match=error) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_recipes_that_name_no_model_or_one_that_takes_no_change_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("method = 'gradcam'")
    with pytest.raises(vlcam.InputError, match="the recipe names no model; give it the key model: torchvision/NAME"):
        vlcam.load(path)
    path.write_text("model = 'scenes/captioner'\n[preprocess]\nsize = 50")
    with pytest.raises(vlcam.InputError, match=r"scenes-captioner brings its own preprocessing, .*leave out size"):
        vlcam.load(path)
    path.write_text("model = 'scenes/captioner'\nmethod = 'gradkam'")
    with pytest.raises(vlcam.InputError, match="no method 'gradkam'"):
        vlcam.load(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "cat\n dog \nred fox\n\n"),
        ("a.txt", "\ufeffcat\r\ndog\r\nred fox"),
        ("a.json", '["cat", "dog", "red fox"]'),
        ("a.txt", '["cat", "dog", "red fox"]'),
        ("a.json", '{"1": "dog", "0": "cat", "2": "red fox"}'),
        ("a.json", '{"dog": 1, "cat": 0, "red fox": 2}'),
        ("a.json", '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"], "2": ["n02119022", "red fox"]}'),
    ],
)
def test_labels_are_read_from_every_usual_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name) == NAMES


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.txt", "cat\n\ndog", "has no name for class 1"),
        ("a.txt", "", "has no name for class 0"),
        ("a.json", "cat\ndog", "is not JSON"),
        ("a.json", "[]", "holds no JSON list or object of class names"),
        ("a.json", '["cat", 3]', "the name of class 1 is 3; expected a text"),
        (
            "a.json",
            '{"1": "cat", "2": "dog"}',
            "numbers its 2 classes by 1, 2...; expected every number from 0 to 1 once",
        ),
        ("a.json", '{"cat": 0, "dog": 0}', "numbers its 2 classes by 0, 0"),
        ("a.json", '{"a": "cat"}', "numbers its 1 classes by a"),
    ],
)
def test_a_file_that_holds_no_labels_is_refused(name: str, text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(vlcam.InputError, match=error):
        read_labels(tmp_path / name)


def test_the_values_are_those_of_the_rest() -> None:
    assert module.STATE_ENDINGS == SUFFIXES
    assert (get_args(Mode), get_args(Resample)) == (module.MODES, module.INTERPOLATIONS)
    assert set(module._KEYS) == set(Recipe.__dataclass_fields__) == set(module.KEY_MEANINGS)
    assert set(module.CHANGES) == set(module.CHANGE_MEANINGS)


def test_a_processor_is_replaced_as_a_whole(tmp_path: Path) -> None:
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    path = tmp_path / "r.toml"
    path.write_text("model = 'vit'\nmethod = 'gradcam'\n[preprocess]\nsize = 32\nmean = 0.2")
    with pytest.raises(vlcam.InputError, match=r"that of its processor; .* give size, mean and std \(std is missing\)"):
        vlcam.load(path)
    path.write_text("model = 'vit'\n[preprocess]\nsize = 32\nmean = 0.2\nstd = 0.3\nmode = 'letterbox'")
    found = vlcam.explain(vlcam.load(path), Image.new("RGB", (60, 40)))
    assert found.preprocessing == PreprocessSettings((32, 32), "letterbox", None, (0.2,) * 3, (0.3,) * 3, "bilinear")
