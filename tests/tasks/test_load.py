"""Models opened by name: torchvision, timm, state dicts and the bundled ones; and what is said when they can't be."""

import json
import pickle
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import vlcam
from vlcam.engine.find_layer import LEAST_SHARE, propose
from vlcam.engine.layers import Grid, TokenLayout
from vlcam.tasks.classification import Classification
from vlcam.tasks.from_timm import wrap_timm
from vlcam.tasks.from_torchvision import list_classifiers, make_preprocess, wrap_torchvision


def photo(width: int = 90, height: int = 60) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise)


def alive(model: nn.Module) -> nn.Module:
    """Some heads start at zero; then nothing has a gradient."""
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.eval()


def classification(task: Any) -> Classification:
    assert isinstance(task, Classification)
    return task


# torchvision


def test_every_torchvision_classifier_is_known() -> None:
    assert {"resnet50", "vit_b_16", "swin_t", "convnext_tiny", "squeezenet1_0"} <= set(list_classifiers())
    assert not [name for name in list_classifiers() if "rcnn" in name or "deeplab" in name or "r3d" in name]


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "swin_t"])
def test_torchvisions_own_transform_gives_the_same_numbers(name: str) -> None:
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).DEFAULT
    found, geometry = make_preprocess(weights)(photo())
    torch.testing.assert_close(found[0], weights.transforms()(photo()))
    assert geometry.input_size == tuple(weights.transforms().crop_size * 2)


@pytest.mark.parametrize(
    ("name", "layer", "grid"),
    [
        ("resnet18", "layer4", (7, 7)),
        ("squeezenet1_1", "features", (13, 13)),
        ("mobilenet_v3_small", "features", (7, 7)),
        ("swin_t", "permute", (7, 7)),
        ("vit_b_32", "encoder.layers.encoder_layer_11.ln_1", (7, 7)),
    ],
)
def test_torchvision_models_from_their_state(tmp_path: Path, name: str, layer: str, grid: tuple[int, int]) -> None:
    from torchvision.models import get_model

    model = alive(get_model(name, num_classes=4))
    save_file(model.state_dict(), tmp_path / "state.safetensors")
    task = classification(
        vlcam.load(tmp_path / "state.safetensors", arch=f"torchvision/{name}", labels=["a", "b", "c", "d"])
    )
    explanation = vlcam.explain(task, photo(), targets=["b", "d"])
    assert (explanation.layer, tuple(explanation.maps.shape[1:])) == (layer, grid)
    assert explanation.model == f"torchvision/{name}" and bool(explanation.maps.any())
    with torch.no_grad():
        wanted = model(task.preprocess(photo())[0])[0]
    assert [target.score for target in explanation.targets] == pytest.approx([float(wanted[1]), float(wanted[3])], 1e-4)


def test_a_state_dict_needs_the_right_architecture(tmp_path: Path) -> None:
    from torchvision.models import get_model

    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in get_model("resnet18").state_dict().items()}}, tmp_path / "r.pth"
    )
    task = classification(vlcam.load(str(tmp_path / "r.pth"), arch="torchvision/resnet18"))
    assert len(task.labels) == 1000 and task.labels[282] == "tiger cat"
    with pytest.raises(vlcam.InputError, match="give its architecture with arch="):
        vlcam.load(tmp_path / "r.pth")
    with pytest.raises(
        vlcam.InputError, match=r"not that of torchvision/resnet50: layer1.0.conv1.weight is \(64, 64, 3, 3\)"
    ):
        vlcam.load(tmp_path / "r.pth", arch="torchvision/resnet50")
    with pytest.raises(vlcam.InputError, match=r"not that of torchvision/squeezenet1_1: it lacks features.0.weight"):
        vlcam.load(tmp_path / "r.pth", arch="torchvision/squeezenet1_1")
    with pytest.raises(vlcam.InputError, match="requires the path of a state dict"):
        vlcam.load("torchvision/resnet18", arch="torchvision/resnet18")


def test_classes_without_names_are_asked_for(tmp_path: Path) -> None:
    from torchvision.models import get_model

    torch.save(get_model("resnet18", num_classes=3).state_dict(), tmp_path / "three.pt")
    with pytest.raises(vlcam.InputError, match=r"has 3 classes, .* give labels="):
        vlcam.load(tmp_path / "three.pt", arch="torchvision/resnet18")


class _Harmful:
    def __reduce__(self) -> Any:
        return print, ("code ran",)


def test_files_that_are_no_state_dicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "code.pth").write_bytes(pickle.dumps(_Harmful()))
    torch.save({"weights": _Harmful()}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name, text in [
        ("none.pth", "there is no file"),
        ("code.pth", "could run code|can't be read"),
        ("code.pt", "could run code"),
        ("list.pt", "holds no state dict"),
        ("cut.safetensors", "can't be read as a state dict"),
    ]:
        with pytest.raises(vlcam.InputError, match=text):
            vlcam.load(tmp_path / name, arch="torchvision/resnet18")
    assert "code ran" not in capsys.readouterr().out


def test_names_that_nobody_knows() -> None:
    with pytest.raises(vlcam.InputError, match="no classifier 'resnet51'; the nearest it has: 'resnet50'"):
        vlcam.load("torchvision/resnet51")
    with pytest.raises(vlcam.InputError, match="no weights 'IMAGENET22K'; it has IMAGENET1K_V1"):
        vlcam.load("torchvision/resnet50", weights="IMAGENET22K")
    with pytest.raises(vlcam.InputError, match="timm has no model 'resnet51'"):
        vlcam.load("timm/resnet51")
    with pytest.raises(vlcam.InputError, match="there is no model 'nonsense'; expected torchvision/NAME"):
        vlcam.load("nonsense")
    with pytest.raises(vlcam.InputError, match="device 'quantum' can't be used"):
        vlcam.load("scenes/vqa", device="quantum")
    with pytest.raises(vlcam.InputError, match="complete as it is"):
        vlcam.load("scenes/vqa", labels=["a"])


def test_a_missing_download_says_where_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(vlcam.InputError, match=r"ResNet18_Weights.IMAGENET1K_V1 .*not on this machine") as raised:
        vlcam.load("torchvision/resnet18")
    text = str(raised.value)
    assert str(tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in text
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in text and "TORCH_HOME" in text


def test_torchvisions_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import SqueezeNet1_1_Weights, get_model

    model = get_model("squeezenet1_1")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    cached = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    torch.save(model.state_dict(), cached)
    assert SqueezeNet1_1_Weights.DEFAULT.url.endswith(cached.name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    task = classification(vlcam.load("torchvision/squeezenet1_1"))
    torch.testing.assert_close(dict(task.model.state_dict()), dict(model.state_dict()))
    assert task.labels[282] == "tiger cat"


# timm


@pytest.mark.parametrize(
    ("name", "layer", "layout", "grid"),
    [
        ("resnet18", "layer4", "BCHW", (7, 7)),
        ("convnext_atto", "stages", "BCHW", (7, 7)),
        ("vit_tiny_patch16_224", "blocks.11.norm1", "BNC", (14, 14)),
        ("deit_tiny_distilled_patch16_224", "blocks.11.norm1", "BNC", (14, 14)),
        ("vit_relpos_small_patch16_224", "blocks.11", "BNC", (14, 14)),
        ("swin_tiny_patch4_window7_224", "norm", "BHWC", (7, 7)),
        ("levit_128s", "stages", "BNC", (4, 4)),
        ("pvt_v2_b0", "stages", "BCHW", (7, 7)),
        ("fastvit_t8", "final_conv", "BCHW", (8, 8)),
        pytest.param("vgg11", "features", "BCHW", (7, 7), marks=pytest.mark.extended),  # 133 million random weights
    ],
)
def test_timm_models_in_memory(name: str, layer: str, layout: str, grid: tuple[int, int]) -> None:
    timm = pytest.importorskip("timm")
    model = alive(timm.create_model(name))
    for module in model.modules():
        biases = getattr(module, "attention_biases", None)
        if isinstance(
            biases, nn.Parameter
        ):  # as trained ones: near tokens first, or its attention would have no places
            with torch.no_grad():
                biases.copy_(-torch.arange(biases.shape[1]).float())
    task = wrap_timm(model, name)
    assert isinstance(task.layout, Grid)
    assert (task.layer, task.layout.layout) == (layer, layout)
    assert len(task.labels) == 1000 and task.labels[282].startswith("tiger cat")
    explanation = vlcam.explain(task, photo(), targets=[3, 5])
    assert tuple(explanation.maps.shape) == (2, *grid) and bool(explanation.maps.any())


def test_timms_own_transform_gives_the_same_numbers() -> None:
    timm = pytest.importorskip("timm")
    data: Any = import_module("timm.data")
    model = timm.create_model("vit_tiny_patch16_224")
    task = wrap_timm(alive(model), "vit_tiny_patch16_224")
    theirs = data.create_transform(**data.resolve_data_config({}, model=model))(photo())
    torch.testing.assert_close(task.preprocess(photo())[0][0], theirs, atol=1e-6, rtol=1e-5)


def test_timm_from_a_state(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = alive(timm.create_model("vit_tiny_patch16_224", num_classes=2))
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    task = classification(
        vlcam.load(tmp_path / "vit.safetensors", arch="timm/vit_tiny_patch16_224", labels=["cat", "dog"])
    )
    assert vlcam.explain(task, photo()).targets[0].label in ("cat", "dog")


def test_timm_without_network_is_said() -> None:
    pytest.importorskip("timm")
    with pytest.raises(vlcam.InputError, match=r"weights of timm/resnet18 are not on this machine .*HF_HOME"):
        vlcam.load("timm/resnet18")


# Layouts and proposals


def test_another_layer_than_the_tasks_finds_its_own_layout() -> None:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    model = alive(VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=3))
    prepare = vlcam.Preprocess(32)
    task = wrap_torchvision(model, "tiny", labels=["a", "b", "c"], preprocess=prepare)
    assert task.layer == "encoder.layers.encoder_layer_2.ln_1"
    for layer, grid in [("conv_proj", (4, 4)), ("encoder.layers.encoder_layer_0", (4, 4)), (None, (4, 4))]:
        assert tuple(vlcam.explain(task, photo(), layer=layer).maps.shape[1:]) == grid
    with pytest.raises(vlcam.LayerError, match="not BCHW"):
        vlcam.explain(task, photo(), layer="heads")


def test_the_class_tokens_head_is_seen_through() -> None:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    model = alive(VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3))
    inputs = torch.randn(1, 3, 32, 32)
    best = propose(model, lambda inputs: model(inputs).max(), inputs, (32, 32))
    assert best[0].layer == "encoder.layers.encoder_layer_1.ln_1" and best[0].share >= LEAST_SHARE
    assert "encoder.layers.encoder_layer_1" not in [one.layer for one in best]  # its patches have no gradient
    assert best[0].layout == Grid("BNC", rows=4, columns=4, prefix=1)
    assert [one.layer for one in best].index("encoder.layers.encoder_layer_0") > 0
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (48, 48)])
def test_proposals_keep_the_inputs_proportions(size: tuple[int, int]) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 8, 8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    inputs = torch.randn(1, 3, size[1], size[0])
    (best, *_) = propose(model, lambda inputs: model(inputs).max(), inputs, size)
    assert best.layer == "1" and best.layout == Grid("BCHW")
    with pytest.raises(vlcam.LayerError, match="no layer of Sequential"):
        propose(model[2:], lambda inputs: model[2:](inputs).max(), torch.randn(1, 6, 1, 1), size)


def test_tokens_in_any_order_and_from_tiles() -> None:
    tokens = torch.arange(24.0).reshape(
        2, 6, 2
    )  # two tiles of a class token, then 2 x 2 cells, then one that is not used
    cells = torch.tensor([[[1, 2, 7, 8], [3, 4, 9, 10]]])
    layout = TokenLayout(cells)
    maps = layout.to_maps(tokens)
    assert maps.shape == (1, 2, 8, 1)
    flat = tokens.flatten(0, 1)
    torch.testing.assert_close(layout.place(maps[:, 1]), flat[cells[0], 1][None])
    thumbnail = TokenLayout(torch.stack([cells[0], torch.full((2, 4), 5)]))
    placed = thumbnail.place(thumbnail.to_maps(tokens)[:, 0])
    torch.testing.assert_close(placed[0], flat[cells[0], 0] + flat[5, 0] / 8)
    assert float(placed.sum()) == pytest.approx(float(flat[[1, 2, 3, 4, 7, 8, 9, 10, 5], 0].sum()))
    hole = TokenLayout(torch.tensor([[[0, -1]]]))
    assert hole.place(hole.to_maps(tokens)[:, 0]).tolist() == [[[0.0, 0.0]]]
    with pytest.raises(vlcam.LayerError, match="12 tokens in all; the layout needs 13"):
        TokenLayout(torch.tensor([[[12]]])).to_maps(tokens)


def test_maps_of_shuffled_tokens_are_those_of_the_rows() -> None:
    torch.manual_seed(0)
    order = torch.randperm(9)

    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.mix, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patch(images).flatten(2).transpose(1, 2)[:, order]
            said: Tensor = self.head(self.mix(tokens).relu().mean(1))
            return said

    model = Shuffled().eval()
    where = torch.empty(9, dtype=torch.long)
    where[order] = torch.arange(9)
    common: dict[str, Any] = {"labels": ["a", "b", "c"], "preprocess": vlcam.Preprocess(12)}
    known = Classification(model, **common, layer="mix", layout=TokenLayout(where.reshape(1, 3, 3)))
    taken = Classification(model, **common, layer="mix", layout=Grid("BNC", rows=3, columns=3))
    right, wrong = (vlcam.explain(task, photo(), targets=["a"]).maps[0] for task in (known, taken))
    torch.testing.assert_close(right.flatten()[order], wrong.flatten())


# The command line


def test_classify_with_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from torchvision.models import get_model

    from vlcam.cli import main

    save_file(get_model("squeezenet1_1").state_dict(), tmp_path / "s.safetensors")
    photo().save(tmp_path / "photo.png")
    given = ["classify", str(tmp_path / "photo.png"), "--model", str(tmp_path / "s.safetensors")]
    assert main([*given, "--arch", "torchvision/squeezenet1_1", "--class", "tiger cat", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["model"] == "torchvision/squeezenet1_1"
    assert main(given) == 2 and "give its architecture with --arch" in capsys.readouterr().err
    assert main(["classify", "scene:7", "--arch", "torchvision/resnet18"]) == 2
    assert main(["classify", "scene:7", "--model", "scenes/vqa"]) == 2
    assert "is a model for vqa, not for classification" in capsys.readouterr().err


def test_a_timm_model_of_grey_photos() -> None:
    import timm

    torch.manual_seed(0)
    task = vlcam.load(
        timm.create_model("resnet18", pretrained=False, num_classes=3, in_chans=1), labels=["a", "b", "c"]
    )
    grey = photo().convert("L")
    assert vlcam.explain(task, grey).maps.any() and vlcam.explain(task, photo()).maps.any()
    inputs, _ = task.preprocess(grey)  # type: ignore[attr-defined]
    assert inputs.shape[:2] == (1, 1)


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.body(photos).mean((2, 3)))
        return scores


def _open_in_memory(kind: str) -> tuple[nn.Module, Callable[[], Any]]:
    if kind == "any":
        net: Any = _Small()
        return net, lambda: vlcam.load(net, labels=["cat", "dog"], preprocess=vlcam.Preprocess(32))
    if kind == "timm":
        net = pytest.importorskip("timm").create_model("resnet18", num_classes=2)
        return net, lambda: vlcam.load(net, labels=["cat", "dog"])
    import transformers as hf

    if kind == "clip":
        tower: dict[str, Any] = {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        }
        net = hf.CLIPModel(
            hf.CLIPConfig(
                text_config={**tower, "vocab_size": 99, "eos_token_id": 98},
                vision_config={**tower, "image_size": 32, "patch_size": 8},
                projection_dim=8,
            )
        )

        class Words:
            model_max_length, all_special_ids = 20, ()

            def __call__(self, texts: Any, **options: Any) -> Any:
                ids = torch.tensor([[1, 2, 98]] * (1 if isinstance(texts, str) else len(texts)))
                return {"input_ids": ids[0].tolist() if isinstance(texts, str) else ids}

        class Both:
            image_processor = hf.CLIPImageProcessor(
                size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}
            )
            tokenizer = Words()

        return net, lambda: vlcam.load(net, processor=Both(), labels=["a cat", "a dog"])
    net = hf.ViTForImageClassification(
        hf.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=32,
            patch_size=8,
        )
    )
    return net, lambda: vlcam.load(net, processor=hf.ViTImageProcessor(size={"height": 32, "width": 32}))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", ["any", "timm", "transformers", "clip"])
def test_a_model_in_memory_keeps_its_mode(kind: str, train: bool) -> None:
    net, opening = _open_in_memory(kind)
    net.train(train)
    random = torch.get_rng_state()
    opening()
    assert all(module.training is train for module in net.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_state_dict_with_any_ending_is_tried(tmp_path: Path) -> None:
    from torchvision.models import get_model

    for name in ("net.th", "net", "net.weights", "model.v2.final"):
        torch.save(get_model("squeezenet1_1", num_classes=2).state_dict(), tmp_path / name)
        for given in (tmp_path / name, str(tmp_path / name)):
            task = vlcam.load(given, arch="torchvision/squeezenet1_1", labels=["a", "b"])
            assert task.name == "torchvision/squeezenet1_1"
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(vlcam.InputError, match=r"notes\.txt"):
        vlcam.load(tmp_path / "notes.txt", arch="torchvision/squeezenet1_1", labels=["a", "b"])
