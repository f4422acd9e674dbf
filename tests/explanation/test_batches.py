"""Many images: the same as one by one, from whatever has them, with their errors, in bounded memory."""

import gc
import inspect
import runpy
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import vlcam
from tests.support.tiny import Cnn, Lambda, lively, snapshot
from vlcam.contracts import BatchTask, Prepared, Request, Spoken
from vlcam.engine.layers import Grid, TokenLayout
from vlcam.engine.recording import record
from vlcam.explanation.evidence import make_batch_maps
from vlcam.explanation.explain import explain
from vlcam.explanation.options import Options, check_options
from vlcam.methods import get_one_run_method, list_methods
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

LABELS = ["tiger", "cat", "dog", "crane", "bus"]
PREPROCESS = vlcam.Preprocess((16, 12))


def pictures(count: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(3)
    return [Image.fromarray(rng.integers(0, 256, (30, 40 + n, 3), dtype=np.uint8)) for n in range(count)]


def cnn(outputs: int = 5, **options: Any) -> Classification:
    torch.manual_seed(1)
    options = {"labels": LABELS, "preprocess": PREPROCESS, **options}
    return Classification(lively(Cnn(outputs)), **options)


class Tower(nn.Module):
    """As a ViT: a class token, patches, attention among them, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)
        self.norm, self.mix = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.forwards = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.forwards += 1
        tokens = torch.cat([self.cls.expand(len(pixels), -1, -1), self.patch(pixels).flatten(2).transpose(1, 2)], 1)
        tokens = self.norm(tokens)
        out: Tensor = self.head((tokens + self.mix(tokens, tokens, tokens)[0]).mean(1).tanh())
        return out


def vit(layer: str | None = "norm") -> Classification:
    torch.manual_seed(1)
    grid = Grid("BNC", rows=3, columns=4, prefix=1)
    return Classification(Tower().eval(), LABELS, PREPROCESS, layer=layer, layout=grid if layer == "norm" else None)


def single(squeezed: bool) -> Classification:
    """A model with one logit, which may come without an axis of its own."""
    task = cnn(1, labels=["no", "yes"], activation="sigmoid")
    if not squeezed:
        return task
    return replace(task, model=Lambda(lambda self, x: self.inner(x)[:, 0], inner=task.model))


def two_inputs() -> Classification:
    def preprocess(image: Image.Image) -> tuple[Any, vlcam.Geometry]:
        pixels, geometry = PREPROCESS(image)
        return {"pixels": pixels, "more": [pixels * 2, (pixels + 1,)]}, geometry

    def logits(model: nn.Module, inputs: Any) -> Tensor:
        out: Tensor = model(inputs["pixels"] + inputs["more"][0] * inputs["more"][1][0])
        return out

    return cnn(preprocess=preprocess, logits=logits)


def forwards(task: Any) -> int:
    return int(getattr(task.model, "inner", task.model).forwards)


def agree(found: vlcam.Explanation, alone: vlcam.Explanation) -> None:
    assert [one.label for one in found.targets] == [one.label for one in alone.targets]
    assert (found.layer, found.text, found.notes, found.geometry) == (
        alone.layer,
        alone.text,
        alone.notes,
        alone.geometry,
    )
    assert (found.photo.sha256, found.method, found.relu) == (alone.photo.sha256, alone.method, alone.relu)
    for name in ("maps", "alpha", "contributions", "activity"):
        mine, theirs = getattr(found, name), getattr(alone, name)
        assert mine.shape == theirs.shape and theirs.abs().max() > 0
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
    for one, other in zip(found.targets, alone.targets, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-5, abs=1e-6)
        assert one.probability == (None if other.probability is None else pytest.approx(other.probability, rel=1e-5))
        assert replace(one, score=0.0, probability=None) == replace(other, score=0.0, probability=None)


CASES: dict[str, tuple[Callable[[], Classification], dict[str, Any]]] = {
    "cnn": (cnn, {}),
    "cnn, layer named": (lambda: cnn(layer="block"), {}),
    "cnn, another layer": (lambda: cnn(layer="block"), {"layer": "stem"}),
    "classes": (cnn, {"targets": ("dog", 0)}),
    "contrasts": (cnn, {"targets": "dog", "contrast": [("dog", "bus"), ("bus", "cat")]}),
    "multi-label": (lambda: cnn(activation="sigmoid", notes=("guessed",)), {"top_k": 4}),
    "no probabilities": (lambda: cnn(activation="none"), {}),
    "single logit": (lambda: single(False), {"top_k": 2}),
    "single logit, squeezed": (lambda: single(True), {"targets": ("yes", "no"), "contrast": ("yes", "no")}),
    "one name": (lambda: replace(single(False), labels=["yes"]), {"top_k": 1}),
    "tokens": (vit, {"top_k": 2}),
    "tokens of another layer": (lambda: vit("patch"), {"layer": "norm"}),
    "maps under tokens": (lambda: vit(None), {}),
    "inputs in parts": (two_inputs, {}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_batch_is_as_one_by_one(name: str) -> None:
    build, options = CASES[name]
    options = {"method": "gradcam", **options}
    task, images = build(), pictures(5)
    outcomes = list(vlcam.explain_batches(task, images, batch_size=3, **options))
    proof = 4 if options.get("layer") == "norm" else 0
    assert forwards(task) == proof + 2  # of three images and of two
    assert [(one.index, one.name, one.error) for one in outcomes] == [(n, f"image {n}", None) for n in range(5)]
    for outcome, image in zip(outcomes, images, strict=True):
        assert outcome.explanation is not None
        agree(outcome.explanation, vlcam.explain(build(), image, **options))
    assert len({str(one.explanation.maps.tolist()) for one in outcomes if one.explanation}) == 5


@pytest.mark.parametrize("method", list_methods("one-run"))
def test_every_method(method: str) -> None:
    task, images = cnn(), pictures(3)
    for found, image in zip(vlcam.explain(task, images, method=method), images, strict=True):
        agree(found, vlcam.explain(task, image, method=method))


def test_a_list_gives_a_list() -> None:
    task, images = cnn(), pictures(10)
    found = vlcam.explain(task, tuple(images))
    assert forwards(task) == 2  # eight and two
    for one, image in zip(found, images, strict=True):
        agree(one, vlcam.explain(task, image))
    assert vlcam.explain(task, []) == []
    assert isinstance(vlcam.explain(task, images[0]), vlcam.Explanation)
    with pytest.raises(vlcam.InputError, match="name='mine' was given for 2 images"):
        explain(task, images[:2], name="mine")  # type: ignore[call-overload]


def test_the_error_of_a_list_says_which_image() -> None:
    images: list[Any] = pictures(11)
    images[9] = "missing.jpg"
    with pytest.raises(vlcam.InputError, match=r"^image\[9\]: there is no file 'missing.jpg'"):
        vlcam.explain(cnn(), images)
    with pytest.raises(vlcam.LayerError, match=r"^image\[0\]: .*has no layer 'blok'"):
        vlcam.explain(cnn(), pictures(2), layer="blok")

    def broken(image: Image.Image) -> Any:
        raise KeyError(image.width)

    with pytest.raises(KeyError) as caught:
        vlcam.explain(cnn(preprocess=broken), pictures(2))
    assert "image[0]" in caught.value.__notes__[0]


def test_the_options_are_those_of_explain() -> None:
    whole = inspect.signature(explain).parameters
    mine = {name: one for name, one in whole.items() if name not in ("task", "image", "name", "progress")}
    beside = ("progress", "several", "photos")
    checked = {name: one for name, one in inspect.signature(check_options).parameters.items() if name not in beside}
    assert {name: one.default for name, one in mine.items()} == {name: one.default for name, one in checked.items()}
    assert list(mine) == list(get_type_hints(Options))


# --- what can't go together goes one by one ---------------------------------------------------------------------------


def together_or_not(task: Any, images: Any, expected: int, **options: Any) -> None:
    found = vlcam.explain(task, images, **options)
    assert forwards(task) == expected
    for one, image in zip(found, images, strict=True):
        agree(one, vlcam.explain(task, image, **options))


def test_inputs_of_different_sizes() -> None:
    def preprocess(image: Image.Image) -> tuple[Tensor, vlcam.Geometry]:
        return vlcam.Preprocess((image.width // 2, 12))(image)

    together_or_not(cnn(preprocess=preprocess), pictures(4), 4)


def test_tokens_that_lie_anyhow() -> None:
    cells = torch.arange(1, 13).reshape(1, 3, 4).flip(2)
    together_or_not(replace(vit(), layout=TokenLayout(cells)), pictures(3), 1 + 3)


def test_batch_norms_without_statistics() -> None:
    task = cnn()
    for module in task.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    together_or_not(task, pictures(3), 3)


def test_logits_of_one_photo_only() -> None:
    task = cnn(5, logits=lambda model, inputs: model(inputs)[0])
    together_or_not(task, pictures(5), 1 + 5)  # five logits of the first photo are not a row for each of five
    together_or_not(replace(cnn(2, logits=task.logits), labels=["no", "yes"]), pictures(2), 1 + 2)


class OneByOne:
    """A task without batches."""

    kind = "classification"
    names = None

    def __init__(self) -> None:
        self.inner = cnn(layer="block")
        self.name, self.model, self.layer = "mine", self.inner.model, self.inner.layer

    def prepare(self, photo: Image.Image, request: Request) -> Prepared:
        return self.inner.prepare(photo, request)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        return self.inner.run(prepared, request)


def test_a_task_without_batches() -> None:
    assert isinstance(cnn(), BatchTask) and not isinstance(OneByOne(), BatchTask)
    together_or_not(OneByOne(), pictures(3), 3)


def test_a_layer_that_does_not_see_every_photo_once() -> None:
    task = cnn()
    inner = task.model
    tiles = Lambda(lambda self, x: self.inner(torch.cat([x, x * 2]))[: len(x)], inner=inner)
    expected = "ran on a batch of 2, but one photo"
    outcomes = list(vlcam.explain_batches(replace(task, model=tiles), pictures(3), layer="inner.block"))
    assert [type(one.error) for one in outcomes] == [vlcam.LayerError] * 3
    assert all(expected in str(one.error) for one in outcomes)
    with record(tiles, "inner.block") as recording:
        scores = tiles(torch.rand(3, 3, 12, 16))
    with pytest.raises(vlcam.LayerError, match="ran on a batch of 6, not of 3"):
        make_batch_maps(scores, recording, get_one_run_method("gradcam"), Grid())


def test_a_layer_without_gradient_on_the_photo() -> None:
    tower = vit()
    parts = {"patch": nn.Conv2d(3, 8, 4, 4), "norm": nn.LayerNorm(8), "end": nn.Identity(), "head": nn.Linear(8, 5)}
    last = Lambda(lambda self, x: self.head(self.end(self.norm(self.patch(x).flatten(2).mT))[:, 0]), **parts)
    task = replace(tower, model=last, layer="end", layout=Grid("BNC", rows=1, columns=11, prefix=1))
    outcomes = list(vlcam.explain_batches(task, pictures(2)))
    assert all("lies on tokens that aren't part of the photo" in str(one.error) for one in outcomes)


# --- where images come from -------------------------------------------------------------------------------------------


def names(images: Any, **options: Any) -> list[str]:
    outcomes = list(vlcam.explain_batches(cnn(), images, batch_size=2, **options))
    assert [one.index for one in outcomes] == list(range(len(outcomes)))
    assert all((one.explanation is None) != (one.error is None) for one in outcomes)
    assert all(one.explanation.photo.name == one.name for one in outcomes if one.explanation)
    return [f"{one.name}{'' if one.error is None else ' ' + type(one.error).__name__}" for one in outcomes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    (place / "inside.jpg").mkdir(parents=True)
    for name, image in zip(("b.png", "a.JPG", ".hidden.png", "c.webp"), pictures(4), strict=True):
        image.save(place / name)
    (place / "notes.txt").write_text("no photo")
    (place / "bad.png").write_bytes(b"no photo either")
    return place


def test_a_folder(folder: Path, tmp_path: Path) -> None:
    assert names(folder) == names(str(folder)) == ["a.JPG", "b.png", "bad.png InputError", "c.webp"]
    assert names(folder / name for name in ("c.webp", "a.JPG")) == ["c.webp", "a.JPG"]
    (tmp_path / "empty").mkdir()
    for given, text in ((tmp_path / "empty", "has no photos in it"), (folder / "b.png", "is not a folder")):
        with pytest.raises(vlcam.InputError, match=text):
            vlcam.explain_batches(cnn(), given)


class Pairs(Dataset[Any]):
    """``(image, label)``; number 1 can't be read."""

    def __init__(self, count: int = 4) -> None:
        self.read: list[int] = []
        self.images = pictures(count)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        if index == 1:
            raise OSError("the disk is broken")
        return self.images[index], 7


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return ((image, 7) for image in pictures(3))


def test_datasets() -> None:
    data = Pairs()
    assert names(data) == ["image 0", "image 1 OSError", "image 2", "image 3"]
    assert data.read == [0, 1, 2, 3]
    assert names(Stream()) == ["image 0", "image 1", "image 2"]
    assert names(TensorDataset(torch.rand(3, 3, 20, 20), torch.arange(3))) == ["image 0", "image 1", "image 2"]
    assert names(torch.rand(2, 3, 20, 20)) == names(np.zeros((2, 9, 9, 3))) == ["image 0", "image 1"]


def test_an_image_folder_knows_its_files(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for name, image in zip(("cat/x.png", "dog/y.png"), pictures(2), strict=True):
        (tmp_path / name).parent.mkdir()
        image.save(tmp_path / name)
    assert names(ImageFolder(str(tmp_path))) == ["x.png", "y.png"]


@pytest.mark.parametrize("images", [3, pictures(1)[0], torch.rand(3, 9, 9), np.zeros((9, 9, 3))])
def test_what_is_no_source_of_images(images: Any) -> None:
    with pytest.raises(vlcam.InputError, match=r"was given as images; expected a folder, a dataset or an iterable"):
        vlcam.explain_batches(cnn(), images)


def test_what_makes_no_sense_is_refused_before_the_first_image() -> None:
    def never() -> Iterator[Any]:
        raise AssertionError
        yield

    cases: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": 0}, "batch_size=0 was given"),
        ({"batch_size": True}, "batch_size=True was given"),
        ({"method": "gradcan"}, "did you mean gradcam"),
        ({"ranking": "best"}, "ranking 'best' was given"),
    ]
    for options, text in cases:
        with pytest.raises(vlcam.InputError, match=text):
            vlcam.explain_batches(cnn(), never(), **options)
    with pytest.raises(
        vlcam.InputError, match="prompt='a photo' was given, but classifier takes no prompt; leave it out"
    ):
        vlcam.explain(cnn(), pictures(1)[0], prompt="a photo")


def test_a_question_answerer_is_asked_something_before_the_first_image() -> None:
    task = bundled.vqa()
    with pytest.raises(
        vlcam.InputError, match=r"^no question was given, and scenes-vqa answers questions; give question="
    ):
        vlcam.explain_batches(task, iter(()))
    (found,) = vlcam.explain_batches(
        task, [vlcam.scenes.make(3, "val").image()], question="is there a red star", top_k=1
    )
    assert found.explanation is not None and found.explanation.question == "is there a red star"


def test_an_iterable_is_read_batch_by_batch_and_its_own_error_comes_last() -> None:
    read: list[int] = []

    def images() -> Iterator[Any]:
        for number, image in enumerate(pictures(5)):
            read.append(number)
            yield image
        raise RuntimeError("the camera is gone")

    stream = vlcam.explain_batches(cnn(), images(), batch_size=2)
    assert read == []
    assert [next(stream).index, list(read)] == [0, [0, 1]]
    assert [next(stream).index, list(read)] == [1, [0, 1]]
    assert [next(stream).index, list(read)] == [2, [0, 1, 2, 3]]
    assert [next(stream).index, next(stream).index] == [3, 4]
    with pytest.raises(RuntimeError, match="the camera is gone"):
        next(stream)


# --- memory, errors, interruption -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_finished_batch_is_kept(fails: bool) -> None:
    alive: dict[int, list[weakref.ref[Any]]] = {}
    task = cnn()

    class Source:
        made = 0

        def __iter__(self) -> Iterator[Any]:
            return map(self.make, range(8))

        def make(self, number: int) -> Any:
            values = np.full((20, 30, 3), number * 9, np.uint8)
            alive.setdefault(number // 2, []).append(weakref.ref(values))
            return values

    def preprocess(image: Image.Image) -> Any:
        pixels, geometry = PREPROCESS(image)
        number = image.getpixel((0, 0))[0] // 9  # type: ignore[index]
        alive[number // 2].append(weakref.ref(pixels))
        if fails and number % 2:
            raise ValueError(number)
        return pixels, geometry

    def activations(module: nn.Module, inputs: Any, output: Tensor) -> None:
        alive[max(alive)] += [weakref.ref(output), weakref.ref(inputs[0])]

    handle = task.model.get_submodule("block").register_forward_hook(activations)
    gc.collect()
    gc.disable()
    kept = []
    try:
        for outcome in vlcam.explain_batches(replace(task, preprocess=preprocess), Source(), batch_size=2):
            kept.append(outcome)
            for batch, references in alive.items():
                if batch < outcome.index // 2:
                    assert not any(one() is not None for one in references), (batch, outcome.index)
    finally:
        gc.enable()
        handle.remove()
    assert [type(one.error) for one in kept] == [type(None), ValueError if fails else type(None)] * 4
    assert not any(one() is not None for references in alive.values() for one in references)


def test_an_error_keeps_its_text_but_no_frames() -> None:
    def preprocess(image: Image.Image) -> Any:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    (outcome,) = vlcam.explain_batches(cnn(preprocess=preprocess), pictures(1))
    error = outcome.error
    assert isinstance(error, ValueError) and isinstance(error.__cause__, KeyError)
    assert error.__traceback__ is None and error.__cause__.__traceback__ is None
    assert "raise KeyError(" in error.__notes__[0] and "test_batches.py" in error.__notes__[0]
    (outcome,) = vlcam.explain_batches(cnn(), ["missing.png"])
    assert isinstance(outcome.error, vlcam.InputError) and not hasattr(outcome.error, "__notes__")
    assert outcome.name == "missing.png"


def test_the_model_is_as_it_was_after_stopping() -> None:
    task = cnn()
    task.model.train()
    before = snapshot(task.model)
    stream = vlcam.explain_batches(task, pictures(5), batch_size=2)
    next(stream)
    assert snapshot(task.model) == before  # also between two outcomes
    stream.close()
    assert snapshot(task.model) == before
    assert list(stream) == []


def test_an_interruption_is_no_outcome() -> None:
    task = cnn()
    task.model.train()
    before = snapshot(task.model)

    def stop(module: nn.Module, inputs: Any) -> None:
        raise KeyboardInterrupt

    stream = vlcam.explain_batches(task, pictures(5), batch_size=2)
    next(stream), next(stream)
    handle = task.model.get_submodule("pool").register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    handle.remove()
    assert snapshot(task.model) == before


# --- the progress bar -------------------------------------------------------------------------------------------------


def test_the_bar_is_on_stderr_and_only_where_it_is_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list(vlcam.explain_batches(cnn(), pictures(2)))) == 2
    assert capsys.readouterr() == ("", "")
    stream = vlcam.explain_batches(cnn(), pictures(3), progress=True)
    next(stream)
    assert len(list(vlcam.explain_batches(cnn(), iter(pictures(2)), progress=True))) == 2  # one bar at a time
    assert len(list(stream)) == 2
    out, err = capsys.readouterr()
    assert out == "" and "explaining" in err and "3/3" in err
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert len(list(vlcam.explain_batches(cnn(), pictures(2)))) == 2
    assert "explaining" in capsys.readouterr().err
    assert len(list(vlcam.explain_batches(cnn(), pictures(2), progress=False))) == 2
    assert capsys.readouterr().err == ""


# --- README and benchmark ---------------------------------------------------------------------------------------------


def test_lists_and_folders_of_photos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    for name, image in zip(("a.png", "b.png"), pictures(2), strict=True):
        image.save(name)
    task = cnn()
    explanations = vlcam.explain(task, ["a.png", "b.png"], targets="dog")
    names = [outcome.name for outcome in vlcam.explain_batches(task, "photos/", batch_size=8)]
    assert names == ["a.JPG", "b.png", "bad.png", "c.webp"]
    assert [one.targets[0].label for one in explanations] == ["dog", "dog"]


def test_the_benchmark_of_throughput_runs(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = str(torch.get_num_threads())
    given = ["throughput.py", "--short", "--rounds", "1", "--images", "16", "--threads", threads]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tests" / "benchmarks" / "throughput.py"), run_name="__main__")
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all("throughput by that of the bare loop" in line for line in lines[3:])
