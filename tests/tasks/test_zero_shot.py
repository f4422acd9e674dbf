"""Zero-shot classifiers of transformers: any text can be explained, by the model's own logit of photo and text."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support.hub_models import alive
from tests.support.hub_zero_shot import BUILDERS
from tests.support.stored import made_once
from tests.support.tiny import snapshot
from vlcam.cli import main
from vlcam.engine.modules import find_module
from vlcam.tasks.zero_shot import ZeroShotClassification, wrap_zero_shot

TEXTS = ["a dog on the grass", "the old café", "a red sofa"]


FAMILIES = {
    "clip": ("vision_model.encoder.layers.2.layer_norm1", (8, 8)),
    "siglip": ("vision_model.post_layernorm", (8, 8)),
    "siglip2": ("vision_model.post_layernorm", (6, 9)),
    "chinese_clip": ("vision_model.encoder.layers.2.layer_norm1", (8, 8)),
    "align": ("vision_model.encoder", (2, 2)),
}


def photo(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def saved(family: str, folder: Path) -> None:
    """The family's model and processor in a folder of the test's own."""
    shutil.copytree(made_once(f"zero-shot {family}", partial(save, family)), folder, dirs_exist_ok=True)


def save(family: str, folder: Path) -> None:
    torch.manual_seed(0)
    model, processor = BUILDERS[family]()
    alive(model)
    with torch.no_grad():
        for name, value in model.named_parameters(recurse=False):
            value.fill_({"logit_scale": 2.0, "logit_bias": -1.5, "temperature": 0.2}[name])
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # else a deep network of random weights dies out
                module.running_var.fill_(1e-2)  # type: ignore[union-attr]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def opened(family: str, tmp_path: Path) -> tuple[ZeroShotClassification, Any, Any]:
    saved(family, tmp_path)
    task = vlcam.load(tmp_path)
    assert isinstance(task, ZeroShotClassification)
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    return task, model, transformers.AutoProcessor.from_pretrained(tmp_path)


def own(model: Any, processor: Any, texts: list[str], picture: Image.Image) -> Tensor:
    """The model's own ``logits_per_image`` ``(texts,)`` of inputs made by its processor's parts."""
    sigmoid = type(model).__name__.startswith("Siglip")
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 32} if sigmoid else {"padding": True}
    read = processor.tokenizer(texts, return_tensors="pt", **padding)
    with torch.no_grad():
        found: Tensor = model(
            **read, **processor.image_processor(images=picture, return_tensors="pt")
        ).logits_per_image[0]
    return found


def test_scores_are_the_models_own(opened: Any, family: str) -> None:
    task, model, processor = opened
    explanation = vlcam.explain(task, photo(), targets=TEXTS, contrast=[(TEXTS[0], TEXTS[2])])
    logits = own(model, processor, TEXTS, photo())
    assert float(logits.max() - logits.min()) > 1e-3
    torch.testing.assert_close(
        torch.tensor([one.target.score for one in explanation][:3]), logits, rtol=1e-4, atol=1e-4
    )
    assert explanation[3].target.score == pytest.approx(float(logits[0] - logits[2]), abs=1e-4)
    assert {one.target.measure for one in explanation} == {"similarity"}
    expected = logits.sigmoid() if family.startswith("siglip") else logits.softmax(0)
    assert [one.target.probability for one in explanation] == [*map(pytest.approx, expected.tolist()), None]
    assert explanation.text == TEXTS[int(logits.argmax())] and explanation.task == "classification"


def test_one_look_and_maps_that_are_textbook_grad_cam(opened: Any, family: str) -> None:
    task, model, processor = opened
    runs: list[int] = []
    find_module(task.model, "vision_model")[1].register_forward_hook(lambda *_: runs.append(1))
    before = snapshot(task.model)
    explanation = vlcam.explain(task, photo(), targets=TEXTS, method="gradcam")
    assert len(runs) == 1 and snapshot(task.model) == before
    layer, (rows, columns) = FAMILIES[family]
    assert task.layer == layer and explanation.maps.shape == (3, rows, columns)
    assert all(bool(one.any()) for one in explanation.maps) and explanation.maps.isfinite().all()
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
        whole = output if isinstance(output, Tensor) else output[0]
        kept.append(whole.detach().requires_grad_())
        return kept[0] if isinstance(output, Tensor) else type(output)(last_hidden_state=kept[0])

    model.get_submodule(layer).register_forward_hook(keep)
    read = processor.tokenizer(
        TEXTS[:1], return_tensors="pt", **({"padding": "max_length", "max_length": 32} if "siglip" in family else {})
    )
    score = model(**read, **processor.image_processor(images=photo(), return_tensors="pt")).logits_per_image[0, 0]
    (slope,) = torch.autograd.grad(score, kept[0])
    if slope.ndim == 4:
        expected = (slope.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0]
    else:
        prefix = 0 if "siglip" in family else 1
        patches = slice(prefix, prefix + rows * columns)  # after the class token, and before SigLIP 2's padding
        expected = (slope[0, patches].mean(0) * kept[0][0, patches]).sum(1).view(rows, columns)
    torch.testing.assert_close(
        explanation.maps[0], expected.detach(), rtol=1e-3, atol=1e-3 * float(expected.detach().abs().max())
    )


def test_a_cell_is_most_sensitive_to_its_own_pixels(opened: Any, family: str) -> None:
    """A patch of the photo changed at a cell changes the layer's output there most: token order and geometry in one."""
    task, _, _ = opened
    if family == "align":
        pytest.skip("the maps of a CNN lie row by row")
    rows, columns = FAMILIES[family][1]
    width, height = 15 * columns, 15 * rows  # so that a cell is 15 pixels of the photo, whatever is cut off
    kept: list[Tensor] = []
    find_module(task.model, task.layer)[1].register_forward_hook(
        lambda module, inputs, output: kept.append(output.detach())
    )

    def cells(picture: Image.Image) -> Tensor:
        inputs, _ = task.preprocess(picture)
        with torch.no_grad():
            task.see(task.model, inputs)
        layout = task.layout(inputs) if callable(task.layout) else task.layout
        maps = layout.to_maps(kept[-1])
        return torch.stack([layout.place(channel)[0] for channel in maps.transpose(0, 1)])

    plain = Image.new("RGB", (width, height), (128, 128, 128))
    base, hits = cells(plain), 0
    places = [(0, 0), (1, 5), (3, 2), (4, 7), (5, 1), (5, 5)]
    for row, column in places:
        picture = plain.copy()
        picture.paste(photo(15, 15), (15 * column, 15 * row))
        change = (cells(picture) - base).square().sum(0)
        assert change.shape == (rows, columns)
        hits += int(change.argmax()) == row * columns + column
    assert hits >= 5


def test_naflex_keeps_the_photos_proportions(tmp_path: Path) -> None:
    saved("siglip2", tmp_path)
    for size, grid in (((90, 60), (6, 9)), ((60, 90), (9, 6)), ((300, 40), (3, 21))):
        explanation = vlcam.explain(vlcam.load(tmp_path), photo(*size), targets="a dog")
        assert explanation.maps.shape[1:] == grid
        assert explanation.geometry.input_size == (grid[1] * 8, grid[0] * 8)


def test_probabilities_compare_all_the_texts(tmp_path: Path) -> None:
    saved("clip", tmp_path)
    task = vlcam.load(tmp_path)
    assert vlcam.explain(task, photo(), targets="a dog")[0].target.probability is None
    chance = vlcam.explain(task, photo(), targets="a dog", contrast=("a dog", "a cat"))["a dog"].target.probability
    pair = vlcam.explain(task, photo(), targets=["a dog", "a cat"])
    assert chance == pytest.approx(pair["a dog"].target.probability) and sum(
        one.target.probability or 0 for one in pair
    ) == pytest.approx(1)
    named = vlcam.load(tmp_path, labels=["a dog", "a cat", "a sofa"])
    every = vlcam.explain(named, photo())
    assert sorted(one.label for one in every) == ["a cat", "a dog", "a sofa"]
    assert [one.target.score for one in every] == sorted((one.target.score for one in every), reverse=True)
    assert len(vlcam.explain(named, photo(), top_k=2)) == 2
    assert vlcam.explain(named, photo(), targets=1)[0].label == "a cat"
    third = vlcam.explain(named, photo(), targets=["a cat", "red"])
    four = vlcam.explain(task, photo(), targets=["a dog", "a cat", "a sofa", "red"])
    assert third["red"].target.probability == pytest.approx(four["red"].target.probability)
    contrast = vlcam.explain(named, photo(), contrast=("red", "blue"))
    assert {one.label for one in contrast} == {"a dog", "a cat", "a sofa", "red rather than blue"}


def test_a_template_surrounds_every_text(tmp_path: Path) -> None:
    saved("clip", tmp_path)
    bare = vlcam.load(tmp_path)
    assert isinstance(bare, ZeroShotClassification)
    task = replace(bare, labels=("dog", "cat"), template="a photo of a {}")
    assert vlcam.explain(bare, photo(), targets="dog")  # the bare text is not part of what follows
    for options in ({}, {"targets": ["dog", "cat"]}, {"targets": ["dog"], "contrast": ("dog", "cat")}):
        found = vlcam.explain(task, photo(), **options)["dog"].target
        asked = vlcam.explain(bare, photo(), targets=["a photo of a dog", "a photo of a cat"])[0].target
        assert (found.score, found.probability) == pytest.approx((asked.score, asked.probability))
    model, processor = (auto.from_pretrained(tmp_path) for auto in (transformers.AutoModel, transformers.AutoProcessor))
    wrapped = wrap_zero_shot(model, processor, "mine", labels=["dog"], template="a photo of a {}")
    assert (wrapped.template, wrapped.labels, wrapped.name, wrapped.layer) == (
        task.template,
        ("dog",),
        "mine",
        task.layer,
    )


def test_texts_are_read_once_until_the_weights_change(tmp_path: Path) -> None:
    saved("siglip", tmp_path)
    task: Any = vlcam.load(tmp_path)
    runs: list[int] = []
    task.model.text_model.register_forward_hook(lambda *_: runs.append(1))
    first = vlcam.explain(task, photo(), targets=TEXTS)
    vlcam.explain(task, photo(70, 70), targets=TEXTS[:2])
    assert len(runs) == 1
    with torch.no_grad():
        for weight in task.model.text_model.parameters():
            weight.mul_(1.5)
    changed = vlcam.explain(task, photo(), targets=TEXTS)
    assert len(runs) == 2 and changed[0].target.score != pytest.approx(first[0].target.score, rel=1e-4)
    task.model.train()
    assert (
        vlcam.explain(task, photo(), targets="new")[0].target.score
        == vlcam.explain(task, photo(), targets="new")[0].target.score
    )
    many = [f"text {number}" for number in range(130)]
    alone = vlcam.explain(task, photo(), targets=many[129])[0].target.score
    runs.clear()
    task = replace(task, labels=many)
    assert (
        vlcam.explain(task, photo(), targets=129)[0].target.score == pytest.approx(alone, abs=1e-5) and len(runs) == 3
    )


def test_half_precision_is_close(tmp_path: Path) -> None:
    saved("clip", tmp_path)
    full = vlcam.explain(vlcam.load(tmp_path), photo(), targets=TEXTS)
    half = vlcam.explain(vlcam.load(tmp_path, dtype=torch.bfloat16), photo(), targets=TEXTS)
    assert half.maps.isfinite().all()
    assert torch.cosine_similarity(full.maps.flatten(), half.maps.flatten(), 0) > 0.97


def test_another_layer_and_another_method(tmp_path: Path) -> None:
    saved("clip", tmp_path)
    task = vlcam.load(tmp_path)
    earlier = vlcam.explain(task, photo(), targets=TEXTS[0], layer="vision_model.encoder.layers.1", method="hirescam")
    assert earlier.maps.shape == (1, 8, 8) and earlier.maps.any()
    with pytest.raises(vlcam.LayerError, match=r"layer_norm1', which is explained by default, works"):
        vlcam.explain(task, photo(), targets=TEXTS[0], layer="vision_model.encoder.layers.2")


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    saved("clip", tmp_path)
    task = vlcam.load(tmp_path)
    assert isinstance(task, ZeroShotClassification)
    with pytest.raises(
        vlcam.InputError, match=r"has no classes of its own; give the texts to compare the photo with: targets="
    ):
        vlcam.explain(task, photo())
    with pytest.raises(vlcam.TargetError, match="text 3 was asked for; 0 labels were given"):
        vlcam.explain(task, photo(), targets=3)
    with pytest.raises(vlcam.TargetError, match="an empty text"):
        vlcam.explain(task, photo(), targets=" ")
    with pytest.raises(vlcam.TargetError, match="top_k must be at least 1, got 0"):
        vlcam.explain(replace(task, labels=TEXTS), photo(), top_k=0)
    with pytest.raises(
        vlcam.InputError, match=r"the text 'dog dog .* tokens, but the model reads at most 32: shorten it"
    ):
        vlcam.explain(task, photo(), targets="dog " * 50)
    with pytest.raises(vlcam.InputError, match="takes neither a caption nor a question"):
        vlcam.explain(task, photo(), question="what is it?")
    with pytest.raises(
        vlcam.InputError, match=r"prompt='a photo of' was given, but .* takes no prompt; give it as template="
    ):
        vlcam.explain(task, photo(), targets="dog", prompt="a photo of")
    with pytest.raises(vlcam.InputError, match="instead of writing words; leave gain out"):
        vlcam.explain(task, photo(), targets="dog", gain="blank")
    with pytest.raises(vlcam.InputError, match=r"expected a text with one \{\} in place of the label"):
        replace(task, template="a photo")
    with pytest.raises(vlcam.InputError, match="labels='dog' was given; expected a list of texts"):
        replace(task, labels="dog")
    with pytest.raises(vlcam.InputError, match="prepares photos with its own processor, so it takes no preprocess"):
        vlcam.load(tmp_path, preprocess=vlcam.Preprocess(64))
    with pytest.raises(vlcam.InputError, match="without an image processor or a tokenizer"):
        wrap_zero_shot(task.model, transformers.CLIPImageProcessor(), "mine")


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    """Anything that embeds photos and texts, written as open_clip is: no transformers, the score is the cosine."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.words = nn.Conv2d(3, 8, 4, 4), nn.EmbeddingBag(128, 8)

        def photo(self, pixels: Tensor) -> Tensor:
            found: Tensor = self.features(pixels).relu().mean((2, 3))
            return found

        def text(self, texts: list[str]) -> Tensor:
            return torch.cat([self.words(torch.tensor([[ord(letter) for letter in text]])) for text in texts])

    model = Own()
    task = ZeroShotClassification(model, vlcam.Preprocess(32), see=Own.photo, read=Own.text)
    found = vlcam.explain(task, photo(), targets=["dog", "cat"])
    pixels = task.preprocess(photo())[0]
    expected = torch.cosine_similarity(model.photo(pixels), model.text(["dog", "cat"]))
    assert [one.target.score for one in found] == pytest.approx(expected.tolist(), rel=1e-4)
    assert found.layer == "features" and found.maps.any()


def test_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    saved("clip", tmp_path / "clip")
    monkeypatch.chdir(tmp_path)
    photo().save("photo.png")
    texts = ["--class", TEXTS[0], "--class", TEXTS[2], "--contrast", f"{TEXTS[0]}:{TEXTS[2]}"]
    assert main(["classify", "photo.png", "--model", "clip", *texts, "--json", "--out", "out"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    expected = vlcam.explain(vlcam.load(tmp_path / "clip"), "photo.png", targets=[TEXTS[0], TEXTS[2]])
    assert [one["label"] for one in found["targets"]] == [TEXTS[0], TEXTS[2], f"{TEXTS[0]} rather than {TEXTS[2]}"]
    assert [one["score"] for one in found["targets"][:2]] == pytest.approx(
        [one.target.score for one in expected], rel=1e-4
    )
    assert {one["measure"] for one in found["targets"]} == {"similarity"} and (
        tmp_path / "out" / "report.html"
    ).exists()
    assert main(["classify", "photo.png", "--model", "clip", *texts]) == 0
    assert TEXTS[2] in capsys.readouterr().out
    assert main(["classify", "photo.png", "--model", "clip"]) == 2
    assert "clip has no classes of its own; give the texts" in capsys.readouterr().err
