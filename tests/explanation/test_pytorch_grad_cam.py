"""Calls written for pytorch-grad-cam work as they are, and give that package's maps."""

import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vlcam
from tests.support.tiny import Cnn, Lambda, lively, snapshot
from vlcam.contracts import InputError, LayerError, TargetError
from vlcam.engine.layers import Grid
from vlcam.explanation.attribution import attribute
from vlcam.explanation.pytorch_grad_cam import GradCAM, apply_per_image

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}


class ClassifierOutputTarget:
    """As pytorch-grad-cam declares it."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        if len(model_output.shape) == 1:
            return model_output[self.category]
        return model_output[:, self.category]


class SemanticSegmentationTarget:
    """As pytorch-grad-cam declares it."""

    def __init__(self, category: int, mask: np.ndarray) -> None:
        self.category, self.mask = category, torch.from_numpy(mask)

    def __call__(self, model_output: Tensor) -> Tensor:
        return (model_output[self.category, :, :] * self.mask.to(model_output.device)).sum()


class BinaryClassifierOutputTarget:
    """As pytorch-grad-cam declares it: what it returns has one number if the output of an image has."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        return model_output * (1 if self.category == 1 else -1)


class Tokens(nn.Module):
    """A small vision transformer: 4 x 3 patches after a class token, two blocks, the class read off all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.first = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, 1, 16))
        block = {"dim_feedforward": 32, "batch_first": True, "dropout": 0.0}
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(16, 2, **block) for _ in range(2)])  # type: ignore[arg-type]
        self.head = nn.Linear(16, 5)

    def forward(self, pixels: Tensor) -> Any:
        tokens = self.patch(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(1))


def vit_reshape_transform(tensor: Tensor, height: int = 4, width: int = 3) -> Tensor:
    """As in pytorch-grad-cam's tutorial."""
    result = tensor[:, 1:, :].reshape(tensor.size(0), height, width, tensor.size(2))
    return result.transpose(2, 3).transpose(1, 2)


def cnn() -> Cnn:
    torch.manual_seed(0)
    return lively(Cnn()).eval()


def photos(batch: int = 3, height: int = 12, width: int = 16) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(5))


# vlcam.attribute


def test_one_callable_for_every_image() -> None:
    model, classes = cnn(), [4, 0, 2]
    found = vlcam.attribute(
        model,
        photos(),
        target_layers=[model.block[-1]],
        targets=[ClassifierOutputTarget(one) for one in classes],
    )
    expected = vlcam.attribute(model, photos(), targets=classes, layer=model.block[-1])
    assert found.maps.shape == (3, 1, 6, 8) and found.layer == expected.layer == "block.1"
    assert expected.maps.abs().sum((1, 2, 3)).min() > 0
    for field in ("maps", "alpha", "contributions", "scores"):
        torch.testing.assert_close(getattr(found, field), getattr(expected, field), **CLOSE)
    assert found.targets == (("ClassifierOutputTarget",),) * 3


def test_per_image_says_so_without_their_keywords() -> None:
    model, targets = cnn(), [ClassifierOutputTarget(4), ClassifierOutputTarget(0)]
    found = vlcam.attribute(model, photos(2), targets=apply_per_image(targets), layer="block.1")
    expected = vlcam.attribute(model, photos(2), targets=[4, 0], layer="block.1")
    torch.testing.assert_close(found.maps, expected.maps, **CLOSE)


def test_objects_of_that_package_are_known_by_their_module(monkeypatch: pytest.MonkeyPatch) -> None:
    model, targets = cnn(), [ClassifierOutputTarget(4), ClassifierOutputTarget(0)]
    monkeypatch.setattr(ClassifierOutputTarget, "__module__", "pytorch_grad_cam.utils.model_targets")
    found = vlcam.attribute(model, photos(2), targets=targets, layer="block.1")
    assert found.maps.equal(vlcam.attribute(model, photos(2), targets=apply_per_image(targets), layer="block.1").maps)
    monkeypatch.setattr(ClassifierOutputTarget, "__module__", "pytorch_grad_camera")
    assert vlcam.attribute(model, photos(2), targets=targets, layer="block.1").maps.shape[1] == 2


def test_without_their_keywords_each_callable_is_for_all_images() -> None:
    model, targets = cnn(), [ClassifierOutputTarget(4), ClassifierOutputTarget(0)]
    found = vlcam.attribute(model, photos(2), targets=targets, layer="block.1")
    expected = vlcam.attribute(model, photos(2), targets=[[4, 0], [4, 0]], layer="block.1")
    torch.testing.assert_close(found.maps, expected.maps, **CLOSE)


@pytest.mark.parametrize("targets", [None, 3, [3, 1, 0], [[0, 1], [2, 3], [4, 0]]])
def test_targets_that_are_no_callables_keep_their_meaning(targets: Any) -> None:
    model = cnn()
    found = vlcam.attribute(model, photos(), target_layers=[model.block], targets=targets)
    expected = vlcam.attribute(model, photos(), layer="block", targets=targets)
    assert found.targets == expected.targets and found.maps.equal(expected.maps)


def test_a_reshape_transform_is_a_grid() -> None:
    torch.manual_seed(0)
    model, pixels = Tokens().eval(), photos(2, 16, 12)
    found = vlcam.attribute(
        model,
        pixels,
        target_layers=[model.blocks[0].norm1],
        targets=[ClassifierOutputTarget(1), ClassifierOutputTarget(3)],
        reshape_transform=vit_reshape_transform,
    )
    grid = Grid("BNC", rows=4, columns=3, prefix=1)
    expected = vlcam.attribute(model, pixels, layer="blocks.0.norm1", targets=[1, 3], grid=grid)
    assert found.maps.shape == (2, 1, 4, 3) and found.maps.max() > 0
    torch.testing.assert_close(found.maps, expected.maps, **CLOSE)
    alone = vlcam.attribute(model, pixels, layer="blocks.0.norm1", targets=1, reshape_transform=vit_reshape_transform)
    torch.testing.assert_close(alone.maps[:1], expected.maps[:1], **CLOSE)


def test_masks_of_dense_outputs() -> None:
    model: Any = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval()
    masks = np.zeros((2, 6, 8), np.float32)
    masks[0, :2], masks[1, 3:, :4] = 1, 1
    found = vlcam.attribute(
        model,
        photos(2),
        target_layers=[model[1]],
        targets=[SemanticSegmentationTarget(2, masks[0]), SemanticSegmentationTarget(3, masks[1])],
    )
    output = model(photos(2))
    scores = [(output[0, 2] * torch.from_numpy(masks[0])).sum(), (output[1, 3] * torch.from_numpy(masks[1])).sum()]
    torch.testing.assert_close(found.scores[:, 0], torch.stack(scores).detach())
    alpha = model[2].weight.detach()[[2, 3], :, 0, 0] * torch.tensor([16.0, 12.0])[:, None] / 48
    torch.testing.assert_close(found.alpha[:, 0], alpha, **CLOSE)


def test_outputs_of_one_number_and_of_dicts() -> None:
    features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())

    def run(self: Any, pixels: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(pixels).mean((2, 3)))
        return found

    def detect(self: Any, pixels: Tensor) -> list[dict[str, Tensor]]:
        return [{"scores": one} for one in run(self, pixels)]

    head = nn.Linear(6, 1)
    single = Lambda(run, features=features, head=head).eval()
    detector = Lambda(detect, features=features, head=head).eval()
    expected = vlcam.attribute(single, photos(2), layer="features", targets=lambda output: output[:, 0], signed=True)
    found = vlcam.attribute(
        single, photos(2), target_layers=[features], targets=[BinaryClassifierOutputTarget(1)] * 2, signed=True
    )
    torch.testing.assert_close(found.maps, expected.maps, **CLOSE)
    found = vlcam.attribute(
        single, photos(2), target_layers=[features], targets=[BinaryClassifierOutputTarget(0)] * 2, signed=True
    )
    torch.testing.assert_close(found.maps, -expected.maps, **CLOSE)
    found = vlcam.attribute(
        detector, photos(2), target_layers=[features], targets=[lambda one: one["scores"].sum()] * 2, signed=True
    )
    torch.testing.assert_close(found.maps, expected.maps, **CLOSE)


LINE = ClassifierOutputTarget(1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"targets": [LINE]},
            TargetError,
            "1 targets were given for a batch of 3; .* each image has its own: expected 3",
        ),
        ({"targets": [LINE] * 4}, TargetError, "4 targets were given for a batch of 3"),
        (
            {"targets": [LINE, ClassifierOutputTarget(9), LINE]},
            TargetError,
            r"target 1 \(ClassifierOutputTarget\) doesn't fit the output of \(5,\) of one image",
        ),
        (
            {"targets": [lambda row: row] * 3},
            TargetError,
            r"target 0 \(<lambda>\) returned \(5,\) .* expected a tensor with one number",
        ),
        ({"targets": [lambda row: 1.0] * 3}, TargetError, "target 0 .* returned float"),
        ({"layer": "block"}, InputError, "layer= and target_layers= were both given"),
        (
            {"target_layers": ["stem", "block"]},
            InputError,
            "2 target_layers were given.*vlcam.explanation.pytorch_grad_cam.GradCAM",
        ),
        ({"target_layers": []}, InputError, r"target_layers=\[\] was given; expected a list of layers"),
        ({"target_layers": nn.Sequential()}, InputError, "target_layers=Sequential was given; expected a list"),
        ({"target_layers": ["blok"]}, LayerError, "no layer 'blok'"),
        ({"reshape_transform": Tensor.abs, "grid": Grid()}, InputError, "grid= and reshape_transform= were both given"),
        ({"reshape_transform": lambda x: x[0]}, LayerError, r"made \(12, 6, 8\) of a layer output of \(3, 12, 6, 8\)"),
        (
            {"reshape_transform": lambda x: x["pool"]},
            LayerError,
            r"reshape_transform failed on a layer output of \(3, 12, 6, 8\): TypeError",
        ),
    ],
)
def test_what_that_package_passes_over_is_an_error(options: Any, error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"target_layers": ["block"], **options}
    with pytest.raises(error, match=message) as caught:
        vlcam.attribute(cnn(), photos(), **given)
    assert "\n" not in str(caught.value)


# GradCAM


def textbook(model: nn.Module, pixels: Tensor, layers: list[nn.Module], classes: list[int]) -> np.ndarray:
    """Scaled, resized, averaged and scaled again, image by image and pixel by pixel."""
    height, width = pixels.shape[2:]
    out = np.zeros((len(pixels), height, width))
    for image, index in enumerate(classes):
        for layer in layers:
            raw = vlcam.attribute(model, pixels[image : image + 1], targets=index, layer=layer).maps[0, 0].numpy()
            scaled = (raw - raw.min()) / (1e-7 + (raw - raw.min()).max())
            for y in range(height):
                for x in range(width):
                    at = [
                        min(max((place + 0.5) * cells / side - 0.5, 0), cells - 1)
                        for place, cells, side in ((y, raw.shape[0], height), (x, raw.shape[1], width))
                    ]
                    (top, left), (part_y, part_x) = map(int, at), (at[0] % 1, at[1] % 1)
                    low, right = min(top + 1, raw.shape[0] - 1), min(left + 1, raw.shape[1] - 1)
                    out[image, y, x] += (
                        scaled[top, left] * (1 - part_y) * (1 - part_x)
                        + scaled[top, right] * (1 - part_y) * part_x
                        + scaled[low, left] * part_y * (1 - part_x)
                        + scaled[low, right] * part_y * part_x
                    ) / len(layers)
        out[image] = (out[image] - out[image].min()) / (1e-7 + (out[image] - out[image].min()).max())
    return out


@pytest.mark.parametrize("names", [["block"], ["stem", "block.0"]])
def test_maps_are_scaled_and_resized_to_the_input(names: list[str]) -> None:
    model, classes = cnn(), [4, 0, 2]
    layers = [model.get_submodule(name) for name in names]
    before = snapshot(model)
    with GradCAM(model=model, target_layers=layers) as cam:
        found = cam(input_tensor=photos(), targets=[ClassifierOutputTarget(one) for one in classes])
    assert found.shape == (3, 12, 16) and found.dtype == np.float32
    np.testing.assert_allclose(found, textbook(model, photos(), layers, classes), atol=1e-5)
    assert found.min() == 0 and found.max() == pytest.approx(1, abs=1e-5)
    assert snapshot(model) == before


def test_without_targets_the_top_class_of_each_image() -> None:
    model = cnn()
    cam = GradCAM(model, [model.block])
    tops = [ClassifierOutputTarget(int(one)) for one in model(photos()).argmax(1)]
    assert np.array_equal(cam(photos()), cam(photos(), tops))
    assert np.array_equal(cam(input_tensor=photos(), targets=None), cam(photos(), tops))


def test_of_equal_top_classes_the_first_counts() -> None:
    mirrored = Lambda(lambda self, pixels: torch.cat([pixels[:, :1], pixels[:, :1].flip(3)], 1))
    model = Lambda(lambda self, pixels: self.features(pixels).mean((2, 3)), features=mirrored)
    model.weight = nn.Parameter(torch.zeros(1))
    pixels = torch.arange(24.0).reshape(1, 1, 4, 6)
    # Each cell also answers for its mirror image, so it has no place of its own: how it lies is said.
    maps = GradCAM(model, [mirrored], lambda output: output)(pixels)
    np.testing.assert_allclose(maps[0], np.arange(24).reshape(4, 6) / 23, rtol=1e-5)


def test_a_map_that_is_zero_stays_zero() -> None:
    model = cnn()
    maps = GradCAM(model, [model.block])(photos(), [lambda row: row[0] * 0] * 3)
    assert not maps.any()


def test_a_frozen_half_precision_model_under_no_grad() -> None:
    model = cnn().to(torch.bfloat16).requires_grad_(False)
    with torch.no_grad():
        maps = GradCAM(model, [model.block])(photos(), [ClassifierOutputTarget(1)] * 3)
    exact = GradCAM(cnn(), ["block"])(photos(), [ClassifierOutputTarget(1)] * 3)
    assert maps.dtype == np.float32 and np.corrcoef(maps.ravel(), exact.ravel())[0, 1] > 0.98


def test_errors_reach_the_caller_and_leave_no_hook() -> None:
    model, tokens = cnn(), Tokens().eval()
    before = snapshot(model)
    with pytest.raises(TargetError, match="doesn't fit"), GradCAM(model, [model.block]) as cam:
        cam(photos(1), [ClassifierOutputTarget(77)])
    with pytest.raises(InputError, match=r"an input of \(3, 12, 16\) was given; expected \(batch, channels"):
        cam(photos()[0])
    with pytest.raises(InputError, match="expected a list of layers"):
        GradCAM(model, model.block)
    with pytest.raises(TargetError, match=r"output is \(3, 12, 6, 8\), not \(batch, classes\): give targets="):
        GradCAM(nn.Sequential(model.stem, model.block).eval(), ["0"])(photos())
    with pytest.raises(LayerError, match=r"reshape_transform made \(3, 12\) of a layer output"):
        GradCAM(model, [model.pool], lambda tensor: tensor[:, :, 0, 0])(photos())
    with pytest.raises(LayerError, match=r"returned \(1, 13, 16\); .* for tokens give reshape_transform="):
        GradCAM(tokens, ["blocks.0"])(photos(1, 16, 12))
    doubled = Lambda(lambda self, pixels: self.inner(pixels.repeat(2, 1, 1, 1))[:1], inner=model)
    with pytest.raises(LayerError, match=r"layer 'inner.block' ran on a batch of 2, not of 1"):
        GradCAM(doubled, ["inner.block"])(photos(1))
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"compute_input_gradient": True},
            "compute_input_gradient=True isn't supported by vlcam's GradCAM; expected False",
        ),
        ({"uses_gradients": False}, "uses_gradients=False isn't supported by vlcam's GradCAM; expected True"),
        ({"detach": False}, "detach=False isn't supported by vlcam's GradCAM; expected True"),
        (
            {"device": "meta"},
            r"device='meta' isn't supported .* expected the model's device, cpu: move the model, model.to\('meta'\)",
        ),
        ({"use_cuda": True}, "use_cuda=True isn't supported .* expected the model's device, cpu"),
        (
            {"ablation_layer": 3},
            "ablation_layer=3 isn't supported by vlcam's GradCAM; expected model, target_layers, reshape",
        ),
        ({"tta_transforms": [abs]}, r"tta_transforms=\[.*\] was given; expected a ttach.Compose"),
        ({"tta_transforms": 3}, "tta_transforms=3 was given; expected a ttach.Compose"),
        ({"method": "score-cam"}, "'score-cam' takes one run for each channel of the layer.*use vlcam.explain"),
        ({"method": "GradCAMPlusPlus"}, "no method 'GradCAMPlusPlus'"),
    ],
)
def test_arguments_that_are_not_supported_are_named(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        GradCAM(cnn(), ["block"], **options)
    assert "\n" not in str(caught.value)


def test_arguments_that_change_nothing_are_taken() -> None:
    model = cnn()
    options: dict[str, Any] = {
        "compute_input_gradient": False,
        "uses_gradients": True,
        "detach": True,
        "use_cuda": False,
    }
    for device in (None, "cpu", torch.device("cpu")):
        cam = GradCAM(model, ["block"], device=device, **options)
        assert np.array_equal(cam(photos()), GradCAM(model, ["block"])(photos()))
        assert cam.device == torch.device("cpu")


def test_a_batch_of_one_channel() -> None:
    model = cnn()
    model.stem[0] = nn.Conv2d(1, 12, 3, 2, 1)
    found = GradCAM(model, [model.block])(photos(16)[:, :1])
    assert found.shape == (16, 12, 16) and found.max() > 0.99


def test_the_output_is_kept_without_its_graph() -> None:
    model: Any = Lambda(lambda self, pixels: {"logits": self.net(pixels), "more": (3, pixels)}, net=cnn()).eval()
    assert GradCAM(model, [model.net.block]).outputs is None
    cam = GradCAM(model, [model.net.block])
    cam(photos())
    assert set(cam.outputs) == {"logits", "more"} and cam.outputs["more"][0] == 3
    torch.testing.assert_close(cam.outputs["logits"], model(photos())["logits"].detach())
    assert not cam.outputs["logits"].requires_grad


def test_a_layer_of_doubtful_places_is_refused_with_a_way_out() -> None:
    mixed = Lambda(lambda self, pixels: pixels.mean((2, 3), keepdim=True) * self.weight)
    mixed.weight = nn.Parameter(torch.arange(24.0).reshape(1, 1, 4, 6))
    model = Lambda(lambda self, pixels: self.mixed(pixels).mean((2, 3)), mixed=mixed).eval()
    with pytest.raises(LayerError, match=r"don't respond to their own places.*reshape_transform=lambda output: output"):
        GradCAM(model, [mixed])(photos())
    assert GradCAM(model, [mixed], lambda output: output)(photos()).shape == (3, 12, 16)


def test_frames_side_by_side_are_resized_to_a_frame() -> None:
    torch.manual_seed(0)
    net, clips = _Clips().eval(), torch.rand(2, 5, 3, 17, 17)
    maps = GradCAM(net, [net.look], lambda frames: frames.unflatten(0, (-1, 5)).permute(0, 2, 3, 1, 4).flatten(3))(
        clips
    )
    assert maps.shape == (2, 17, 17)


def test_per_image_names_its_parts() -> None:
    scores: Any = apply_per_image([ClassifierOutputTarget(0), ClassifierOutputTarget(2), lambda row: row[0]])
    assert scores.__name__ == "ClassifierOutputTarget | <lambda>"
    assert scores(torch.arange(6.0).reshape(3, 2).repeat(1, 2)).tolist() == [0, 2, 4]


def test_code_written_for_pytorch_grad_cam_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["pytorch_grad_cam", "pytorch_grad_cam.utils", "pytorch_grad_cam.utils.model_targets"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    vars(sys.modules[names[-1]])["ClassifierOutputTarget"] = ClassifierOutputTarget
    model: Any = Lambda(
        lambda self, pixels: self.head(self.layer4(pixels).mean((2, 3))),
        layer4=nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU()),
        head=nn.Linear(6, 300),
    ).eval()
    targets = [ClassifierOutputTarget(281), ClassifierOutputTarget(7)]
    images = photos(2)
    assert vlcam.attribute(model, images, target_layers=[model.layer4[-1]], targets=targets).maps.shape[:2] == (2, 1)
    with vlcam.explanation.GradCAM(model, target_layers=[model.layer4[-1]]) as cam:
        grayscale_cam = cam(input_tensor=images, targets=targets)
    assert grayscale_cam.shape == (2, 12, 16) and grayscale_cam.max() > 0.99


# The package itself, where it is installed


def resnet18() -> tuple[nn.Module, nn.Module, Tensor]:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = resnet18().eval()
    return model, model.layer4[-1], torch.randn(2, 3, 96, 128)


@pytest.fixture
def theirs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its own imports
        package = pytest.importorskip("pytorch_grad_cam")
        pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    return package


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("classes", [None, [281, 7]])
def test_a_resnet_gives_their_maps(theirs: Any, classes: list[int] | None, several: bool) -> None:
    model, layer, pixels = resnet18()
    layers = [layer, model.get_submodule("layer3")] if several else [layer]
    declared: Callable[[int], Any] = theirs.utils.model_targets.ClassifierOutputTarget
    targets = None if classes is None else [declared(one) for one in classes]
    with theirs.GradCAM(model=model, target_layers=layers) as cam:
        expected = cam(input_tensor=pixels, targets=targets)
    with GradCAM(model=model, target_layers=layers) as ours:
        found = ours(input_tensor=pixels, targets=targets)
    assert found.shape == expected.shape == (2, 96, 128) and found.dtype == expected.dtype
    assert expected.max() > 0.9
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_vision_transformer_gives_their_maps(theirs: Any) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=(96, 128), num_classes=10).eval()
    pixels, layers = torch.randn(2, 3, 96, 128), [model.blocks[-1].norm1]
    targets = [theirs.utils.model_targets.ClassifierOutputTarget(one) for one in (3, 9)]

    def reshape(tensor: Tensor) -> Tensor:
        return vit_reshape_transform(tensor, 6, 8)

    with theirs.GradCAM(model=model, target_layers=layers, reshape_transform=reshape) as cam:
        expected = cam(input_tensor=pixels, targets=targets)
    found = GradCAM(model, layers, reshape)(pixels, targets)
    assert expected.max() > 0.9
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_their_own_targets_are_one_for_every_image(theirs: Any) -> None:
    model = cnn()
    targets = [theirs.utils.model_targets.ClassifierOutputTarget(one) for one in (4, 0, 2)]
    found = vlcam.attribute(model, photos(), targets=targets, layer="block")
    assert found.maps.shape == (3, 1, 6, 8)
    torch.testing.assert_close(
        found.maps, vlcam.attribute(model, photos(), targets=[4, 0, 2], layer="block").maps, **CLOSE
    )


class _TokensFirst(nn.Module):
    """Tokens as ``(tokens, batch, width)`` behind a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.one, self.head = nn.Conv2d(3, 8, 8, 8), nn.TransformerEncoderLayer(8, 2, 8), nn.Linear(8, 3)

    def forward(self, photos: Tensor) -> Tensor:
        tokens = self.cut(photos).flatten(2).permute(2, 0, 1)
        scores: Tensor = self.head(self.one(torch.cat([tokens[:1] * 0, tokens])).mean(0))
        return scores


class _Clips(nn.Module):
    """A network of single pictures over the frames of a clip."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.head = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU()), nn.Linear(8, 4)

    def forward(self, clips: Tensor) -> Tensor:
        seen = self.look(clips.flatten(0, 1)).mean((2, 3))
        scores: Tensor = self.head(seen.unflatten(0, clips.shape[:2]).mean(1))
        return scores


class _Levels(nn.Module):
    """A backbone that returns its levels in a dictionary, and a head that uses both."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = _Backbone(), nn.Linear(8, 3)

    def forward(self, photos: Tensor) -> Tensor:
        levels = self.backbone(photos)
        scores: Tensor = self.head(levels["fine"].mean((2, 3)) + levels["coarse"].mean((2, 3)) ** 2)
        return scores


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, 2, 2)

    def forward(self, photos: Tensor) -> dict[str, Any]:
        fine = self.first(photos).relu()
        return {"fine": fine, "coarse": self.second(fine), "scale": 2, "mask": fine > 0}


def test_a_reshape_may_bring_the_batch_first() -> None:
    torch.manual_seed(0)
    net, photos = _TokensFirst().eval(), torch.rand(2, 3, 32, 32)
    found = attribute(net, photos, targets=1, target_layers=[net.one], reshape_transform=_to_grid)
    assert found.maps.shape == (2, 1, 4, 4)
    for number in range(2):
        alone = attribute(
            net, photos[number : number + 1], targets=1, target_layers=[net.one], reshape_transform=_to_grid
        )
        torch.testing.assert_close(alone.maps[0], found.maps[number])
    maps = GradCAM(net, [net.one], _to_grid)(photos, [lambda scores: scores[1]] * 2)
    assert maps.shape == (2, 32, 32)


def _to_grid(tokens: Tensor) -> Tensor:
    grid: Tensor = tokens[1:].permute(1, 2, 0).unflatten(2, (4, 4))
    return grid


def test_a_reshape_may_give_frames_back_to_their_clip() -> None:
    torch.manual_seed(0)
    net, clips = _Clips().eval(), torch.rand(2, 5, 3, 17, 17)

    def side_by_side(frames: Tensor) -> Tensor:
        clips: Tensor = frames.unflatten(0, (-1, 5))
        return clips.permute(0, 2, 3, 1, 4).flatten(3)

    found = attribute(net, clips, targets=2, target_layers=[net.look], reshape_transform=side_by_side)
    assert found.maps.shape == (2, 1, 8, 40)
    with pytest.raises(LayerError, match=r"a batch of 10, but there are scores for 2 inputs.*reshape_transform="):
        attribute(net, clips, targets=2)


def test_a_reshape_is_given_every_level_and_every_levels_gradient() -> None:
    torch.manual_seed(0)
    net, photos = _Levels().eval(), torch.rand(2, 3, 16, 16)
    seen: list[Any] = []

    def levels(output: Any) -> Tensor:
        seen.append(output)
        coarse = nn.functional.interpolate(output["coarse"], output["fine"].shape[2:])
        return torch.cat([output["fine"], coarse], 1)

    found = attribute(net, photos, targets=1, target_layers=[net.backbone], reshape_transform=levels)
    assert found.maps.shape == (2, 1, 8, 8) and found.alpha.shape == (2, 1, 16)
    activations, slopes = seen
    assert activations["scale"] == slopes["scale"] == 2 and activations["mask"].dtype == torch.bool
    fine = net.backbone.first(photos).relu().detach().requires_grad_()
    coarse = net.backbone.second(fine).detach().requires_grad_()
    score = net.head(fine.mean((2, 3)) + coarse.mean((2, 3)) ** 2)[:, 1].sum()
    for name, slope in zip(("fine", "coarse"), torch.autograd.grad(score, [fine, coarse]), strict=True):
        torch.testing.assert_close(slopes[name], slope)


def test_a_layer_with_its_channels_last_needs_no_reshape() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut, self.step, self.head = nn.Conv2d(3, 6, 8, 8), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, photos: Tensor) -> Tensor:
            scores: Tensor = self.head(self.step(self.cut(photos).permute(0, 2, 3, 1)).relu().mean((1, 2)))
            return scores

    torch.manual_seed(0)
    net, photos = Last().eval(), torch.rand(2, 3, 32, 32)
    targets = [lambda scores: scores[1]] * 2
    plain = GradCAM(net, [net.step])(photos, targets)
    given = GradCAM(net, [net.step], lambda output: output.permute(0, 3, 1, 2))(photos, targets)
    assert np.array_equal(plain, given)
