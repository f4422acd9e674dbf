"""Image-text matching heads of transformers: any text can be explained, by the model's own logit of a match."""

import json
import shutil
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
from tests.support.hub_matching import BUILDERS
from tests.support.hub_models import alive
from tests.support.stored import made_once
from tests.support.tiny import snapshot
from vlcam.cli import main
from vlcam.engine.modules import find_module
from vlcam.tasks.matching import TextMatching, wrap_matching

TEXTS = ["a dog on the grass", "the old café", "a red sofa"]
ROWS, COLUMNS = 8, 8

FAMILIES = {
    "blip": ("vision_model.encoder", "vision_model.embeddings.patch_embedding"),
    "blip-2": ("vision_model.encoder", "vision_model.embeddings.patch_embedding"),
    "vilt": ("vilt.encoder.layer.2.layernorm_before", "vilt.embeddings.patch_embeddings.projection"),
    "bridgetower": (
        "bridgetower.vision_model.visual.transformer.resblocks.2",
        "bridgetower.vision_model.visual.embeddings.patch_embedding",
    ),
}
"""Of each the layer that is explained, and the layer that looks at the photo first."""


def photo(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def built(family: str) -> tuple[Any, Any]:
    if family not in BUILDERS:
        pytest.skip(f"this version of transformers has no matching head of {family}")
    torch.manual_seed(0)
    model, processor = BUILDERS[family]()
    alive(model)
    with torch.no_grad():  # what reads the text is so strong that texts differ
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "vision_model" not in name:
                parameter.mul_(4)
    return model, processor


def saved(family: str, folder: Path) -> None:
    """The family's model and processor in a folder of the test's own."""
    if family not in BUILDERS:
        pytest.skip(f"this version of transformers has no matching head of {family}")
    shutil.copytree(made_once(f"matching {family}", partial(save, family)), folder, dirs_exist_ok=True)


def save(family: str, folder: Path) -> None:
    for part in built(family):
        part.save_pretrained(folder)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def task(family: str, tmp_path: Path) -> TextMatching:
    saved(family, tmp_path)
    found = vlcam.load(tmp_path)
    assert isinstance(found, TextMatching)
    return found


def ask(family: str, text: str, picture: Image.Image, model: Any, processor: Any) -> Tensor:
    """The model's own outputs for a photo and a text, of inputs made by its processor."""
    inputs = dict(processor(images=picture, text=text, return_tensors="pt"))
    if family != "vilt":
        inputs.pop("token_type_ids", None)
    output = model(**inputs, **({"use_image_text_matching_head": True} if family == "blip-2" else {}))
    name = {"blip": "itm_score", "blip-2": "logits_per_image"}.get(family, "logits")
    found: Tensor = getattr(output, name)[0]
    return found


def explain_each(task: TextMatching, picture: Any, texts: list[str]) -> list[Any]:
    """What is explained of every text: together, or for a single stream one by one."""
    if task.once:
        return list(vlcam.explain(task, picture, targets=texts, method="gradcam"))
    return [vlcam.explain(task, picture, targets=[text], method="gradcam")[0] for text in texts]


def test_scores_are_the_models_own(task: TextMatching, family: str) -> None:
    model, processor = built(family)
    with torch.no_grad():
        outputs = torch.stack([ask(family, text, photo(), model.eval(), processor) for text in TEXTS])
    logits = outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs[:, 0]
    assert float(logits.max() - logits.min()) > 1e-3
    views = explain_each(task, photo(), TEXTS)
    assert [view.target.score for view in views] == pytest.approx(logits.tolist(), rel=1e-3, abs=1e-4)
    assert {(view.target.kind, view.target.measure) for view in views} == {("class", "logit")}
    if family == "vilt":
        assert [view.target.probability for view in views] == [None] * 3
        best = vlcam.explain(vlcam.load(model, processor=processor, labels=TEXTS), photo(), method="gradcam")[0].target
        assert best.label == TEXTS[int(logits.argmax())]
        assert best.probability == pytest.approx(float(logits.softmax(0).max()), rel=1e-3)
    else:
        expected = outputs.softmax(1)[:, 1]
        assert [view.target.probability for view in views] == pytest.approx(expected.tolist(), rel=1e-3)
        found = vlcam.explain(task, photo(), targets=TEXTS[2], contrast=(TEXTS[0], TEXTS[2]), method="gradcam")
        assert found.text == TEXTS[2 if logits[2] > logits[0] else 0]
        assert found[1].target.score == pytest.approx(float(logits[0] - logits[2]), rel=1e-3, abs=1e-4)
        torch.testing.assert_close(
            found[1].signed_map, views[0].signed_map - views[2].signed_map, rtol=1e-3,
            atol=1e-4 * float(views[0].signed_map.abs().max()),
        )  # fmt: skip


def test_one_look_and_maps_that_are_textbook_grad_cam(task: TextMatching, family: str) -> None:
    layer, first = FAMILIES[family]
    assert task.layer == layer
    runs: list[int] = []
    find_module(task.model, first)[1].register_forward_hook(lambda *_: runs.append(1))
    before = snapshot(task.model)
    asked = TEXTS if task.once else TEXTS[:1]
    explanation = vlcam.explain(task, photo(), targets=asked, method="gradcam")
    assert len(runs) == (1 if task.once else 2) and snapshot(task.model) == before  # ViLT once more, for its order
    columns = 12 if family == "vilt" else COLUMNS
    assert explanation.maps.shape == (len(asked), ROWS, columns) and explanation.maps.isfinite().all()
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
        whole = output if isinstance(output, Tensor) else output[0]
        kept.append(whole.detach().requires_grad_())
        return kept[0] if isinstance(output, Tensor) else type(output)(last_hidden_state=kept[0])

    model, processor = built(family)
    model.get_submodule(layer).register_forward_hook(keep)
    for number, text in enumerate(asked):
        kept.clear()
        torch.manual_seed(0)  # the patches' order, for ViLT
        rows = ask(family, text, photo(), model, processor)
        (slope,) = torch.autograd.grad(rows[1] - rows[0] if len(rows) == 2 else rows[0], kept[0])
        tokens, slopes = (one.detach().flatten(0, 1) for one in (kept[0], slope))
        if family == "vilt":
            inputs = task.preprocess(photo())[0], task.read(text)
            layout: Any = task.layout
            cells = layout(*inputs).cells[0]
        else:
            cells = 1 + torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS)
        expected = (tokens[cells] * slopes[cells.flatten()].mean(0)).sum(-1)
        torch.testing.assert_close(
            explanation[number].signed_map, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )


def test_a_cell_is_most_sensitive_to_its_own_pixels(task: TextMatching, family: str) -> None:
    """A patch of the photo changed at a cell changes the layer's output there most: token order and geometry in one."""
    layer = FAMILIES[family][0].replace("layer.2", "layer.0")  # ViLT's first: all others of its stream see the text
    text = task.read("a dog")
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        kept.append((output if isinstance(output, Tensor) else output[0]).detach())

    find_module(task.model, layer)[1].register_forward_hook(keep)

    def cells(picture: Image.Image) -> Tensor:
        inputs, geometry = task.preprocess(picture)
        assert geometry.photo_size == (120, 120) and geometry.scale == pytest.approx((64 / 120, 64 / 120), rel=0.02)
        with torch.no_grad():
            task.match(task.model, inputs, text)
        layout: Any = task.layout(inputs, text) if callable(task.layout) else task.layout
        maps = layout.to_maps(kept[-1])
        return torch.stack([layout.place(channel)[0] for channel in maps.transpose(0, 1)])

    plain = photo(120, 120)
    base, hits = cells(plain), 0
    places = [(0, 0), (1, 5), (3, 2), (4, 7), (5, 1), (7, 6)]
    for row, column in places:
        picture = plain.copy()
        picture.paste(photo(15, 15, seed=1), (15 * column, 15 * row))
        change = (cells(picture) - base).square().sum(0)
        assert change.shape == (ROWS, COLUMNS)
        hits += int(change.argmax()) == row * COLUMNS + column
    assert hits >= 5


def test_labels_are_ranked(task: TextMatching, family: str) -> None:
    many = vlcam.load(task.model, processor=built(family)[1], labels=[*TEXTS, "a train"])
    assert isinstance(many, TextMatching) and many.layer == task.layer
    ranked = sorted([*TEXTS, "a train"], key=lambda text: -vlcam.explain(task, photo(), targets=[text])[0].target.score)
    found = vlcam.explain(many, photo(), top_k=3)
    if family == "vilt":
        assert [view.label for view in found] == ranked[:1] and found.notes[-1].startswith("Only the best text")
        with pytest.raises(vlcam.InputError, match=r"in one stream, .* explain one text at a time, without a contrast"):
            vlcam.explain(many, photo(), targets=TEXTS[:2])
        with pytest.raises(vlcam.InputError, match="one text at a time"):
            vlcam.explain(many, photo(), contrast=(TEXTS[0], TEXTS[1]))
        assert vlcam.explain(many, photo(), top_k=1).notes == ()
    else:
        assert [view.label for view in found] == ranked[:3] and found.notes == ()
        runs: list[int] = []
        find_module(task.model, FAMILIES[family][1])[1].register_forward_hook(lambda *_: runs.append(1))
        vlcam.explain(many, photo(), top_k=2)
        assert len(runs) == 1
    assert found.text == ranked[0] and vlcam.explain(many, photo(), targets=3)[0].label == "a train"


def test_vilt_says_the_same_whatever_order_its_patches_come_in(tmp_path: Path) -> None:
    saved("vilt", tmp_path)
    task = vlcam.load(tmp_path)
    maps = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        maps.append(vlcam.explain(task, photo(), targets=TEXTS[:1]).maps)
    torch.testing.assert_close(maps[1], maps[0])
    assert maps[0].any()


def test_half_precision_is_close(tmp_path: Path) -> None:
    saved("blip", tmp_path)
    full = vlcam.explain(vlcam.load(tmp_path), photo(), targets=TEXTS)
    half = vlcam.explain(vlcam.load(tmp_path, dtype=torch.bfloat16), photo(), targets=TEXTS)
    assert half.maps.isfinite().all()
    assert torch.cosine_similarity(full.maps.flatten(), half.maps.flatten(), 0) > 0.95


def test_other_layers_and_methods(tmp_path: Path) -> None:
    saved("blip", tmp_path)
    task = vlcam.load(tmp_path)
    earlier = vlcam.explain(task, photo(), targets=TEXTS, layer="vision_model.encoder.layers.1", method="hirescam")
    assert earlier.maps.shape == (3, ROWS, COLUMNS) and earlier.maps.any()
    covered = vlcam.explain(task, photo(), targets=TEXTS[:2], method="occlusion")
    assert covered.maps.shape[0] == 2 and bool(covered.maps.any())
    with pytest.raises(vlcam.LayerError, match=r"'vision_model.encoder', which is explained by default, works"):
        vlcam.explain(task, photo(), targets=TEXTS, layer="text_encoder.encoder.layer.0")


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    saved("blip", tmp_path)
    task = vlcam.load(tmp_path)
    assert isinstance(task, TextMatching)
    with pytest.raises(vlcam.InputError, match=r"has no classes of its own; give the texts .* targets="):
        vlcam.explain(task, photo())
    with pytest.raises(vlcam.TargetError, match="text 3 was asked for; 0 labels were given"):
        vlcam.explain(task, photo(), targets=3)
    with pytest.raises(vlcam.TargetError, match="top_k must be at least 1, got 0"):
        vlcam.explain(vlcam.load(task.model, processor=built("blip")[1], labels=TEXTS), photo(), top_k=0)
    with pytest.raises(vlcam.InputError, match=r"the text 'dog dog .* tokens, but the model reads at most 512"):
        vlcam.explain(task, photo(), targets="dog " * 600)
    with pytest.raises(vlcam.InputError, match="takes neither a caption nor a question"):
        vlcam.explain(task, photo(), targets="dog", question="what is it?")
    with pytest.raises(vlcam.InputError, match=r"takes no prompt; give it as template="):
        vlcam.explain(task, photo(), targets="dog", prompt="a photo of")
    with pytest.raises(vlcam.InputError, match="is a model for classification, not for vqa"):
        vlcam.load(tmp_path, task="vqa")
    with pytest.raises(vlcam.InputError, match="prepares photos with its own processor, so it takes no preprocess"):
        vlcam.load(tmp_path, preprocess=vlcam.Preprocess(64))
    with pytest.raises(vlcam.InputError, match="without an image processor or a tokenizer"):
        wrap_matching(task.model, transformers.BlipImageProcessor(), "mine")
    wide = TextMatching(task.model, task.preprocess, task.read, lambda model, photo, text: torch.zeros(2))
    with pytest.raises(vlcam.InputError, match=r"match\(...\) returned \(2,\); expected one number"):
        vlcam.explain(wide, photo(), targets="dog")


def test_a_template_surrounds_every_text(tmp_path: Path) -> None:
    saved("blip", tmp_path)
    model, processor = built("blip")
    framed = wrap_matching(model, processor, "mine", labels=["dog", "cat"], template="a photo of a {}")
    whole = vlcam.explain(vlcam.load(tmp_path), photo(), targets="a photo of a dog")[0].target.score
    assert vlcam.explain(framed, photo(), targets="dog")[0].target.score == pytest.approx(whole, abs=1e-5)


def test_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    saved("blip", tmp_path / "blip")
    monkeypatch.chdir(tmp_path)
    photo().save("photo.png")
    assert main(["classify", "photo.png", "--model", "blip", "--class", TEXTS[0], "--class", TEXTS[2], "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    expected = vlcam.explain(vlcam.load(tmp_path / "blip"), "photo.png", targets=[TEXTS[0], TEXTS[2]])
    assert [one["score"] for one in found["targets"]] == pytest.approx([one.target.score for one in expected], rel=1e-4)
    assert main(["models", "blip"]) == 0
    out = capsys.readouterr().out
    assert "vision_model.encoder.layers.0" in out and "text_encoder" not in out
