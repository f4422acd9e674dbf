"""Models of Ultralytics by their attributes alone, on stand-ins: the package is never imported."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlcam
from tests.tasks.test_load import photo
from vlcam.tasks.custom import Custom
from vlcam.tasks.from_ultralytics import pick_logits_before_softmax


class Head(nn.Module):
    """As Ultralytics' ``Classify``: probabilities, and from version 8.3 on the logits beside them, except while training."""

    def __init__(self, pairs: bool) -> None:
        super().__init__()
        self.conv, self.linear, self.pairs = nn.Conv2d(8, 12, 1), nn.Linear(12, 3), pairs

    def forward(self, features: Tensor) -> Any:
        logits = self.linear(self.conv(features).relu().mean((2, 3)))
        if self.training:
            return logits
        return (logits.softmax(1), logits) if self.pairs else logits.softmax(1)


class Network(nn.Module):
    """As ``ClassificationModel``: layers in ``.model``, called one after the other, and ``.names``."""

    def __init__(self, pairs: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1), Head(pairs))
        self.names = {0: "ant", 1: "bee", 2: "cat"}
        self.args = {"imgsz": 48, "task": "classify"}

    def forward(self, photos: Tensor, **options: Any) -> Any:
        for layer in self.model:
            photos = layer(photos)
        return photos


class YOLO(nn.Module):
    """As the object that people hold: calling it predicts, ``train()`` would start a training."""

    def __init__(self, network: nn.Module | None = None, task: str = "classify") -> None:
        super().__init__()
        self.model, self.task = network or Network(), task

    @property
    def names(self) -> Any:
        return self.model.names

    def train(self, mode: bool = True) -> Any:
        raise AssertionError("a training was started")

    def forward(self, *given: Any) -> Any:
        raise AssertionError("a prediction was started")


def test_a_yolo_object_is_a_task_with_its_own_names_and_preprocessing() -> None:
    yolo = YOLO()
    task = vlcam.load(yolo)
    found = vlcam.explain(task, photo(), targets=["cat", "ant"], method="gradcam")
    with torch.no_grad():
        likely, logits = yolo.model.eval()(task.prepare(photo(), vlcam.Request()).inputs)
    assert task.model is yolo.model and found.geometry.input_size == (48, 48) and found.preprocessing is not None
    assert (found.preprocessing.mean, found.preprocessing.std) == ((0.0,) * 3, (1.0,) * 3)
    for place, target in zip((2, 0), found.targets, strict=True):
        assert target.score == pytest.approx(float(logits[0, place]), abs=1e-5)
        assert target.probability == pytest.approx(float(likely[0, place]), abs=1e-5)
    assert found.maps.shape[1:] == (12, 12) and "ultralytics" not in sys.modules


@pytest.mark.parametrize("pairs", [True, False])
def test_the_network_alone_and_an_object_that_is_no_module(pairs: bool) -> None:
    network = Network(pairs)
    expected = vlcam.explain(vlcam.load(network), photo(), targets="bee", method="gradcam")
    holder = SimpleNamespace(model=network, names=network.names)
    found = vlcam.explain(vlcam.load(holder, labels=["a", "b", "c"]), photo(), targets="b", method="gradcam")
    torch.testing.assert_close(found.maps, expected.maps)
    logits = pick_logits_before_softmax(Network(True).eval(), torch.zeros(1, 3, 48, 48))
    assert float(logits.detach().sum()) != pytest.approx(1)
    assert expected.targets[0].probability == pytest.approx(found.targets[0].probability or 0)


def test_what_is_no_classifier_is_refused_with_the_way_out() -> None:
    with pytest.raises(vlcam.InputError, match=r"a model for 'detect'.*Custom\(yolo.model"):
        vlcam.load(YOLO(task="detect"))
    odd = Network()
    odd.names = {1: "ant", 2: "bee"}
    with pytest.raises(vlcam.InputError, match=r"expected 0, 1, 2"):
        vlcam.load(odd)
    with pytest.raises(vlcam.InputError, match="leave it out"):
        vlcam.load(YOLO(), processor=object())
    with pytest.raises(vlcam.InputError, match=r"is no torch\.nn\.Module and holds none"):
        vlcam.load(SimpleNamespace(model=3, names={0: "a"}))


def test_a_number_of_any_model_of_theirs_can_be_explained() -> None:
    yolo = YOLO(task="detect")
    task = Custom(yolo.model, {"box 0": lambda output: output[1][0, 0]}, vlcam.Preprocess(48), layer="model.2")
    assert vlcam.explain(task, photo(), method="gradcam").maps.shape == (1, 12, 12)


class DenseLayer(nn.Module):
    """As in MONAI's DenseNet: norm, ReLU in place, convolution, and the input beside the output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, 4, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([features, self.layers(features)], 1)


class DenseNet(nn.Module):
    """As MONAI builds ``DenseNet121(spatial_dims=2, in_channels=1, out_channels=2)``: ``features`` and ``class_layers``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        stem = (nn.Conv2d(1, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        self.features = nn.Sequential(*stem, DenseLayer(8), DenseLayer(12), nn.BatchNorm2d(16))
        pool = (nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(16, 2))
        self.class_layers = nn.Sequential(*pool)

    def forward(self, slices: Tensor) -> Any:
        return self.class_layers(self.features(slices))


def test_a_densenet_as_monai_builds_it_of_one_channel() -> None:
    task = vlcam.load(DenseNet(), labels=["healthy", "lesion"], preprocess=vlcam.Preprocess(64, channels=1))
    found = vlcam.explain(task, torch.rand(90, 80).numpy(), contrast=[("lesion", "healthy")], method="gradcam")
    assert found.layer == "class_layers.0" and found.maps.shape[1:] == (16, 16)
    assert all(view.flag == "ok" for view in found if view.target.kind == "contrast")
