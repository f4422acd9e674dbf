"""Image classifiers of transformers: saved to a folder, opened again by its name, and explained whatever their tower."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

import vlcam
from vlcam.engine.layers import Grid
from vlcam.tasks.classification import Classification
from vlcam.tasks.hub_photos import HubPreprocess, compute_geometry

VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 8,
}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}
SWIN: dict[str, Any] = {
    "embed_dim": 16,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 4,
    "image_size": 64,
    "patch_size": 4,
}
FAMILIES = [
    ("ResNet", {"embedding_size": 8, **STAGES}, "resnet.encoder", Grid("BCHW"), (2, 2)),
    ("RegNet", {"embedding_size": 8, "groups_width": 8, **STAGES}, "regnet.encoder", Grid("BCHW"), (2, 2)),
    ("ConvNextV2", STAGES, "convnextv2.encoder", Grid("BCHW"), (2, 2)),
    ("PvtV2", {**STAGES, "hidden_sizes": [16, 32, 40, 64]}, "pvt_v2", Grid("BCHW"), (2, 2)),
    ("Swin", SWIN, "swin.layernorm", Grid("BNC", 8, 8), (8, 8)),
    ("Swinv2", SWIN, "swinv2.layernorm", Grid("BNC", 8, 8), (8, 8)),
    ("ViT", VIT, "vit.layers.2.layernorm_before", Grid("BNC", 8, 8, 1), (8, 8)),
    ("DeiT", VIT, "deit.layers.2.layernorm_before", Grid("BNC", 8, 8, 2), (8, 8)),
    ("Beit", VIT, "beit.layers.2", Grid("BNC", 8, 8, 1), (8, 8)),
    ("Dinov2", VIT, "dinov2.layernorm", Grid("BNC", 8, 8, 1), (8, 8)),
    ("Dinov2WithRegisters", VIT, "dinov2_with_registers.layernorm", Grid("BNC", 8, 8, 5), (8, 8)),
]


def photo(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def alive(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.eval()


def saved(folder: Path, family: str, options: dict[str, Any]) -> nn.Module:
    config = getattr(transformers, f"{family}Config")(**options, id2label={0: "cat", 1: "dog", 2: "red fox"})
    model: nn.Module = alive(getattr(transformers, f"{family}ForImageClassification")(config))
    model.save_pretrained(folder)  # type: ignore[operator]
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return model


def opened(folder: Path) -> Classification:
    task = vlcam.load(folder)
    assert isinstance(task, Classification)
    return task


@pytest.mark.parametrize(("family", "options", "layer", "layout", "grid"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_families(
    tmp_path: Path, family: str, options: dict[str, Any], layer: str, layout: Grid, grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    model: Any = saved(tmp_path, family, options)
    task = opened(tmp_path)
    assert (task.layer, task.layout, tuple(task.labels)) == (layer, layout, ("cat", "dog", "red fox"))
    runs = []
    task.model.register_forward_hook(lambda *_: runs.append(1))
    explanation = vlcam.explain(task, photo(), targets=["dog", "cat"], contrast=[("dog", "cat")])
    assert len(runs) == 1
    assert tuple(explanation.maps.shape) == (3, *grid) and all(bool(one.any()) for one in explanation.maps)
    torch.testing.assert_close(explanation.maps[0] - explanation.maps[1], explanation.maps[2], rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        logits = model(task.preprocess(photo())[0]).logits[0]
    assert explanation["dog"].target.score == pytest.approx(float(logits[1]), 1e-4)


@pytest.mark.parametrize("row", [row for row in FAMILIES if row[3].layout == "BNC"], ids=lambda row: row[0])
def test_a_token_is_most_sensitive_to_the_pixels_of_its_cell(tmp_path: Path, row: Any) -> None:
    family, options, layer, layout, (rows, columns) = row
    torch.manual_seed(0)
    model = saved(tmp_path, family, options)
    pixels = torch.randn(1, 3, 64, 64, requires_grad=True)
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: kept.append(output if isinstance(output, Tensor) else output[0])
    )
    model(pixels)
    handle.remove()
    maps = layout.to_maps(kept[0])
    hits = 0
    cells = [(0, 0), (1, 5), (3, 2), (4, 7), (6, 1), (7, 7)]
    for down, across in cells:
        (slope,) = torch.autograd.grad(maps[0, :, down, across].square().sum(), pixels, retain_graph=True)
        size = slope[0].abs().sum(0).unflatten(1, (columns, -1)).unflatten(0, (rows, -1)).sum((1, 3))
        hits += int(size.argmax()) == down * columns + across
    assert hits >= 4  # by chance 1 in 64 each; random attention may win here and there


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("ViT", {}),
        ("CLIP", {}),
        ("ConvNext", {}),
        ("ConvNext", {"size": {"shortest_edge": 224}}),
        ("MobileNetV2", {}),
        ("Levit", {}),
        ("PoolFormer", {}),
        ("Bit", {}),
    ],
)
@pytest.mark.parametrize("size", [(300, 200), (201, 333)])
def test_where_processors_put_the_photo(family: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    """A photo of two ramps says for every pixel of the input where it was; the predicted place is within half a pixel."""
    processor = getattr(transformers, f"{family}ImageProcessor")(**options)
    width, height = size
    ramps = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = np.stack([*ramps, np.full((height, width), 255.0)], -1).round().astype(np.uint8)
    pixels, black, white = (
        processor(images=Image.fromarray(one), return_tensors="pt")["pixel_values"][0].double()
        for one in (image, np.zeros_like(image), np.full_like(image, 255))
    )
    rows, columns = pixels.shape[1:]
    found = compute_geometry(processor, size, (columns, rows))
    light = (pixels - black) / (white - black)
    for axis, (line, side) in enumerate([(light[0, rows // 2], width), (light[1, :, columns // 2], height)]):
        inner = slice(len(line) // 8, -(len(line) // 8))
        at = (line * (side - 1) + 0.5)[inner]
        expected = (torch.arange(len(line)) + 0.5)[inner]
        off = at * found.scale[axis] + found.offset[axis] - expected
        assert float(off.mean().abs()) < 0.5, axis


def test_settings_that_do_not_tell() -> None:
    processor = transformers.DonutImageProcessor()
    with pytest.raises(vlcam.InputError, match="rotates or pads photos in a way that its settings don't describe"):
        compute_geometry(processor, (300, 200), (64, 64))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(vlcam.InputError, match=r"nobody/nothing \(in .*then on the hub.*HF_HUB_OFFLINE=1"):
        vlcam.load("nobody/nothing")
    with pytest.raises(vlcam.InputError, match=r"found nothing it can open in the folder"):
        vlcam.load(tmp_path)
    transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(
        vlcam.InputError,
        match=r"is a bert model .*opens image classifiers, captioners, question answerers, CLIP-like models and image-text "
        r"matchers by name",
    ):
        vlcam.load(tmp_path)
    saved(tmp_path, "ResNet", {"embedding_size": 8, **STAGES})
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(
        vlcam.InputError,
        match=r"ResNetForImageClassification found nothing it can open .*; expected the files that save_pretrained",
    ):
        vlcam.load(tmp_path)


def test_a_classifier_that_is_not_known_says_that_its_layer_was_guessed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved(tmp_path, "ConvNext", STAGES)
    notes = vlcam.explain(opened(tmp_path), photo()).notes
    assert len(notes) == 1 and re.match(
        r"The layer convnext\S* was guessed by tracing, .* convnext models; 100% of", notes[0]
    )
    saved(tmp_path, "ResNet", {"embedding_size": 8, **STAGES})
    assert vlcam.explain(opened(tmp_path), photo()).notes == ()


def test_where_the_settings_do_not_tell_it_is_measured(tmp_path: Path) -> None:
    """timm's models within transformers resize and crop by a configuration of their own."""
    torch.manual_seed(0)
    pretrained = {
        "input_size": [3, 96, 96],
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    config = transformers.TimmWrapperConfig.from_dict(
        {
            "architecture": "resnet18",
            "num_classes": 3,
            "label_names": ["cat", "dog", "red fox"],
            "pretrained_cfg": pretrained,
        }
    )
    transformers.TimmWrapperForImageClassification(config).save_pretrained(tmp_path)
    explanation = vlcam.explain(opened(tmp_path), photo(300, 200), targets=["dog"])
    geometry = explanation.geometry  # the shorter side becomes 109, of which the middle 96 are cut out
    assert geometry.input_size == (96, 96)
    assert geometry.scale == pytest.approx((109 / 200, 109 / 200), rel=0.01)
    assert geometry.offset == pytest.approx(((96 - 109 * 1.5) / 2, (96 - 109) / 2), abs=1)
    assert explanation.layer == "timm_model.layer4" and explanation.maps.any() and explanation.notes == ()


def test_a_photo_that_is_padded_is_measured() -> None:
    processor = transformers.DonutImageProcessor(size={"height": 64, "width": 64})
    _, geometry = HubPreprocess(processor)(photo(90, 60))
    assert geometry.scale == pytest.approx((64 / 90, 64 / 90), rel=0.02) and geometry.offset == pytest.approx(
        (0, 32 - 30 * 64 / 90), abs=1
    )


def test_a_processor_that_keeps_proportions_gets_a_grid_for_every_photo() -> None:
    """The grid of the square trial picture was kept, so that only square photos could be explained."""
    torch.manual_seed(0)
    config = transformers.Dinov2Config(**{**VIT, "patch_size": 8, "num_labels": 3})
    net = alive(transformers.Dinov2ForImageClassification(config))
    task = vlcam.load(net, processor=transformers.BitImageProcessor(size={"shortest_edge": 64}, do_center_crop=False))
    photos = [photo(90, 60), photo(60, 90), photo(64, 64), photo(240, 60)]
    for picture, grid in zip(photos, ((8, 12), (12, 8), (8, 8), (8, 32)), strict=True):
        found = vlcam.explain(task, picture)
        assert found.maps.shape[1:] == grid and found.geometry.input_size == (grid[1] * 8, grid[0] * 8)
        settings = found.preprocessing
        assert settings is not None and (settings.size, settings.mode) == (found.geometry.input_size, "resize")
        assert settings.mean == pytest.approx(task.preprocess.processor.image_mean)  # type: ignore[attr-defined]
        assert (settings.resize_shorter, settings.interpolation) == (64, "bicubic")
    together = vlcam.explain(task, photos[:1] * 2)
    torch.testing.assert_close(together[1].maps, vlcam.explain(task, photos[0]).maps)


def test_a_layout_of_a_fixed_input_stays_as_it_is(tmp_path: Path) -> None:
    saved(tmp_path, "ViT", VIT)
    assert opened(tmp_path).layout == Grid("BNC", 8, 8, 1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_classifier_of_grey_pictures(mode: str) -> None:
    import transformers as hf

    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    model = hf.ViTForImageClassification(hf.ViTConfig(num_channels=1, image_size=28, patch_size=7, **sizes))
    grey = hf.ViTImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5], image_std=[0.5])
    found = vlcam.explain(vlcam.load(model, processor=grey), photo(40, 30).convert(mode))
    assert found.maps.shape[1:] == (4, 4)
    colours = hf.ViTImageProcessor(size={"height": 28, "width": 28})  # with a mean for each of three channels
    with pytest.raises(vlcam.InputError, match=r"channel.*vlcam\.Preprocess"):
        vlcam.load(model, processor=colours)
    four = hf.ViTForImageClassification(hf.ViTConfig(num_channels=4, image_size=28, patch_size=7, **sizes))
    with pytest.raises(vlcam.InputError, match="takes photos of 4 channels"):
        vlcam.load(four, processor=grey)


_TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def _labels(count: int) -> dict[str, Any]:
    return {"num_labels": count}


def test_a_distilled_classifier_with_its_teachers_head() -> None:
    import transformers as hf

    model = hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(image_size=32, patch_size=8, **_TINY, **_labels(3)))
    task = vlcam.load(model, processor=hf.ViTImageProcessor(size={"height": 32, "width": 32}))
    found = vlcam.explain(task, photo(40, 30))
    assert (found.layer, tuple(found.maps.shape)) == ("deit.layers.1.layernorm_before", (3, 4, 4))


def test_a_distilled_classifier_from_a_folder(tmp_path: Path) -> None:
    import transformers as hf

    model = hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(image_size=32, patch_size=8, **_TINY, **_labels(3)))
    model.save_pretrained(tmp_path)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    task = vlcam.load(tmp_path)
    assert type(task.model).__name__ == "DeiTForImageClassificationWithTeacher"
    assert vlcam.explain(task, photo(40, 30)).maps.shape[1:] == (4, 4)


def test_siglip2_classifies_photos_at_their_own_proportions() -> None:
    import transformers as hf

    config = hf.Siglip2Config(vision_config={**_TINY, "patch_size": 8, "num_patches": 16}, **_labels(3))
    processor = hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    task = vlcam.load(hf.Siglip2ForImageClassification(config), processor=processor)
    shapes = [tuple(vlcam.explain(task, photo(*size)).maps.shape[1:]) for size in ((80, 40), (40, 80))]
    assert shapes[0] == shapes[1][::-1] and shapes[0][1] > shapes[0][0]


def test_a_model_that_reads_colours_as_words_is_refused() -> None:
    import transformers as hf

    model = hf.ImageGPTForImageClassification(hf.ImageGPTConfig(n_embd=16, n_layer=2, n_head=2, **_labels(3)))
    processor = hf.ImageGPTImageProcessor(clusters=[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], size={"height": 32, "width": 32})
    with pytest.raises(vlcam.InputError, match=r"turns a photo into input_ids; expected pixel_values"):
        vlcam.load(model, processor=processor)


def test_classes_without_names_are_numbered() -> None:
    import transformers as hf

    model = hf.ViTForImageClassification(hf.ViTConfig(image_size=32, patch_size=8, **_TINY, **_labels(4)))
    model.config.id2label = None
    task: Any = vlcam.load(model, processor=hf.ViTImageProcessor(size={"height": 32, "width": 32}))
    assert list(task.labels) == ["class 0", "class 1", "class 2", "class 3"]
