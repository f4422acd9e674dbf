"""What the examples about the paper and about training do; that each runs by itself as well, is tested in test_examples.py."""

import importlib
import json
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlcam

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
REAL = next((up / "shared" / "real" for up in ROOT.parents if (up / "shared" / "real").is_dir()), None)
SQUEEZENET = "weights/squeezenet1_0_imagenet.pth"
Main = Callable[[list[str]], None]

real = pytest.mark.skipif(REAL is None, reason="no real weights and photos here")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """The names of an example, which finds its neighbours as when it is run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return lambda name: runpy.run_path(str(EXAMPLES / f"{name}.py"))


def pictures(folder: Path) -> dict[str, tuple[int, int]]:
    """The sizes of all PNG files that there are, which are opened."""
    found = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as picture:
            picture.load()
            found[path.relative_to(folder).as_posix()] = picture.size
    return found


def share_of_the_heat(plain: np.ndarray, laid: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """How much of what an overlay changed lies in a box: left, top, right, bottom."""
    change = np.abs(laid.astype(float) - plain).sum(2)
    left, top, right, bottom = box
    return float(change[top:bottom, left:right].sum() / change.sum())


# --- the elephant ---------------------------------------------------------------------------------------------------------------


@real
def test_the_elephant(example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert REAL is not None
    photo = REAL / "photos" / "african_elephant.jpg"
    example("elephant")["main"](
        ["--photo", str(photo), "--weights", str(REAL / SQUEEZENET), "--size", "227", "--out", str(tmp_path)]
    )
    said = capsys.readouterr().out
    assert "explained: class 386, African elephant, layer features, grid (13, 13)" in said
    assert said.splitlines()[0].startswith("African elephant: 0.") and "bundled" not in said
    with Image.open(photo) as plain, Image.open(tmp_path / "overlay.png") as laid:
        assert laid.size == plain.size
        # The middle of the photo is what the model saw; the elephants stand on the far bank of a river: set by looking at it.
        seen, bank = (84, 22, 416, 353), (0, 133, 332, 213)
        before, after = (np.asarray(one.convert("RGB").crop(seen)) for one in (plain, laid))
    assert share_of_the_heat(before, after, bank) > 2 * (213 - 133) / (353 - 22)


def test_without_weights_the_elephant_is_a_generated_picture(
    example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    photo = tmp_path / "photo.png"
    Image.fromarray(vlcam.scenes.make(0).image()).save(photo)
    example("elephant")["main"](["--photo", str(photo), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "can't be downloaded" in said and "so this is the bundled classifier and a generated picture" in said
    objects = {" ".join(obj.pair) for obj in vlcam.scenes.make(12).objects}
    explained = said.split("explained: class ")[1].split(", ")[1]
    assert explained in objects
    sizes = pictures(tmp_path / "out")
    assert sizes["overlay.png"] == (384, 384) and set(sizes) == {"overlay.png", "figure.png"}


def _no_network(url: str, *args: Any, **kwargs: Any) -> None:
    raise OSError(f"no network for {url}")


# --- six steps and occlusion ----------------------------------------------------------------------------------------------------


def test_six_steps_are_ours_and_a_difference_would_be_noticed(
    example: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = example("six_steps")
    names["main"]()
    said = capsys.readouterr().out
    assert "resnet18: class" in said and "scenes-classifier: class" in said and said.count("largest difference") == 2
    honest = names["six_steps"]
    wrong = lambda *given: tuple(one * (1 + 1e-5) for one in honest(*given))  # noqa: E731
    monkeypatch.setitem(names["main"].__globals__, "six_steps", wrong)
    with pytest.raises(SystemExit, match="differ"):
        names["main"]()


def test_the_occlusion_map(example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("occlusion_map")["main"](["--out", str(tmp_path), "--top-k", "1"])
    said = capsys.readouterr().out
    label, _, rest = said.splitlines()[0].partition(": ")
    assert label in {" ".join(obj.pair) for obj in vlcam.scenes.make(12).objects}
    drop, alike = float(rest.split("up to ")[1].split(";")[0]), float(rest.rsplit(" ", 1)[1])
    assert drop > 1 and 0.1 < alike <= 1
    assert set(pictures(tmp_path)) == {"occlusion.png", "gradcam.png"}


def test_rank_correlation_of_the_occlusion_example(example: Any) -> None:
    correlation = example("occlusion_map")["rank_correlation"]
    one = torch.tensor([[1.0, 2.0], [3.0, 9.0]])
    assert correlation(one, one**3) == pytest.approx(1) and correlation(one, -one) == pytest.approx(-1)
    assert correlation(one, torch.tensor([[1.0, 3.0], [2.0, 4.0]])) == pytest.approx(0.8)
    # By hand: ranks 1.5 1.5 3 4 and 1 2 3 4 deviate from their means by -1 -1 .5 1.5 and -1.5 -.5 .5 1.5: 4.5 / sqrt(4.5 * 5).
    tied = torch.tensor([[0.0, 0.0], [3.0, 9.0]])
    assert correlation(tied, torch.tensor([[1.0, 2.0], [3.0, 4.0]])) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)


# --- cat and dog ----------------------------------------------------------------------------------------------------------------


def test_cat_and_dog_have_one_logit_and_a_frozen_backbone(example: Any, tmp_path: Path) -> None:
    names = example("cat_dog")
    data = names["prepare"](names["parsed"](["--out", str(tmp_path)], ""))
    model, (images, labels) = data.task.model.train(), data.train.tensors
    assert len(data.train) == 90 and len(data.test) == 30 and 0.2 < float(labels.mean()) < 0.8
    assert model(images[:4]).shape == (4,) and data.task.labels == ["heart", "star"]
    assert [name for name, one in model.named_parameters() if one.requires_grad] == ["head.2.weight", "head.2.bias"]
    assert not any(module.training for module in model.features.modules()) and model.head.training
    star, heart = (vlcam.explain(data.task, data.photos["star"], targets=label)[0] for label in ("star", "heart"))
    torch.testing.assert_close(star.signed_map, -heart.signed_map)


@pytest.fixture
def loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard alone, as if wandb (which takes seconds to start and to finish) were not installed."""
    _installed("tensorboard")
    monkeypatch.setitem(sys.modules, "wandb", None)


def _installed(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports
        pytest.importorskip(name, reason=f"{name} is an extra and not installed")


def board(folder: Path) -> Any:
    (events,) = folder.rglob("events.out.*")
    module = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    return module.EventAccumulator(str(events)).Reload()


TAGS = [f"{photo}/{label}" for photo in ("heart", "star") for label in ("heart", "star")]


@pytest.mark.filterwarnings("ignore")  # the partners' own
def test_cat_and_dog_in_a_loop(example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _installed("tensorboard")
    _installed("wandb")
    example("cat_dog_loop")["main"](["--epochs", "1", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert float(said.split("accuracy ")[1].split("\n")[0]) > 0.75
    assert "left out" not in said and "  star/star: star, " in said
    sizes = pictures(tmp_path / "pictures")
    assert sizes == {f"{tag}/epoch-000{epoch}.png": (192, 96) for tag in TAGS for epoch in (0, 1)}
    events = board(tmp_path / "tensorboard")
    assert sorted(events.Tags()["images"]) == [f"heatmaps/{tag}" for tag in TAGS]
    assert [image.step for image in events.Images("heatmaps/star/star")] == [0, 1]
    before, after = events.Scalars("heatmaps/star/star/probability")
    assert after.value > max(before.value, 0.5)
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert set(pictures(run / "files" / "media" / "images" / "heatmaps").values()) == {(192, 96)}
    assert len(pictures(run)) == 8


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize(("name", "needs", "epoch"), [("lightning", "lightning", 0), ("trainer", "accelerate", 1)])
def test_cat_and_dog_with_a_trainer(
    example: Any, name: str, needs: str, epoch: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _installed(needs)
    example(f"cat_dog_{name}")["main"](["--epochs", "1", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "left out: wandb can't be imported" in said and "pip install 'vlcam[wandb]'" in said
    assert float(said.split("6 steps, accuracy ")[1].split(";")[0]) > 0.75
    assert pictures(tmp_path / "pictures") == {f"{tag}/epoch-000{epoch}-step-0000006.png": (192, 96) for tag in TAGS}
    events = board(tmp_path / "tensorboard")
    assert [image.step for image in events.Images("heatmaps/star/star")] == [6]


@pytest.mark.parametrize(("name", "needs"), [("lightning", "lightning"), ("trainer", "accelerate")])
def test_without_its_trainer_an_example_says_what_to_install(
    example: Any, name: str, needs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    names = example(f"cat_dog_{name}")
    monkeypatch.setitem(names["main"].__globals__, "find_spec", lambda one: None if one == needs else found(one))
    names["main"]([])
    assert f"pip install 'vlcam[{name}]'" in capsys.readouterr().out


@real
def test_cat_and_dog_from_a_folder_of_photos(example: Any, tmp_path: Path) -> None:
    assert REAL is not None
    entries = json.loads((REAL / "ilsvrc_val.json").read_text())
    for place, entry in enumerate(entries[:8]):
        folder = tmp_path / "data" / ("cat", "dog")[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / entry["file"]).symlink_to(REAL / "ilsvrc_val" / entry["file"])
    names = example("cat_dog")
    options = ["--data", str(tmp_path / "data"), "--weights", str(REAL / SQUEEZENET), "--out", str(tmp_path / "out")]
    data = names["prepare"](names["parsed"](options, ""))
    assert data.task.labels == ["cat", "dog"] and set(data.photos) == {"cat", "dog"}
    assert len(data.train) == 6 and len(data.test) == 2 and data.train.tensors[0].shape == (6, 3, 227, 227)
    explained = vlcam.explain(data.task, data.photos["dog"], targets="dog")[0]
    assert explained.explanation.layer == "features" and tuple(explained.map.shape) == (13, 13)
