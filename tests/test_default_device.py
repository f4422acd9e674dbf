"""Another default device than the CPU (torch.set_default_device, or a context) changes nothing: what vlcam makes says where it lies."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.tasks import Classification, Similarity

PHOTO = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cut, self.step, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, photos: Tensor) -> Tensor:
        scores: Tensor = self.head(self.step(self.cut(photos).permute(0, 2, 3, 1)).relu().mean((1, 2)))
        return scores


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """A default device on which nothing can be computed, so that whatever is made there by mistake shows."""
    before = torch.get_default_device()
    torch.set_default_device("meta")
    yield
    torch.set_default_device(before if before.type != "cpu" else None)


def make(net: nn.Module) -> Classification:
    return Classification(net.eval(), list("abcd"), vlcam.Preprocess(32))


def cnn() -> nn.Module:
    with torch.device("cpu"):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))


def channels_last() -> nn.Module:
    with torch.device("cpu"):
        torch.manual_seed(0)
        return ChannelsLast()


RUNS: dict[str, Callable[[], Any]] = {
    "one photo": lambda: vlcam.explain(make(cnn()), PHOTO),
    "several": lambda: vlcam.explain(make(cnn()), [PHOTO, PHOTO]),
    "a layer that is proven": lambda: vlcam.explain(make(channels_last()), PHOTO),
    "a batch": lambda: vlcam.attribute(cnn(), torch.ones(2, 3, 16, 16, device="cpu"), targets=[0, 1]),
    "a caption": lambda: vlcam.explain(vlcam.load("scenes/captioner"), PHOTO, method="gradcam"),
    "an answer": lambda: vlcam.explain(vlcam.load("scenes/vqa"), PHOTO, question="what colour is the star"),
    "likeness": lambda: vlcam.explain(Similarity(cnn(), {"a": PHOTO[::-1].copy()}, vlcam.Preprocess(32)), PHOTO),
    "a picture": lambda: vlcam.explain(make(cnn()), PHOTO).html(),
    "a significance test": lambda: vlcam.explain(make(cnn()), PHOTO, targets="a").verify(make(cnn())),
    "a comparison": lambda: vlcam.compare(make(cnn()), [PHOTO, PHOTO], methods=["gradcam"]),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("elsewhere")
def test_the_default_device_does_not_matter(name: str) -> None:
    RUNS[name]()


METHODS = [one if isinstance(one, str) else one.name for one in vlcam.list_methods()]


@pytest.mark.parametrize("method", METHODS)
def test_methods_give_the_same_maps(method: str, request: pytest.FixtureRequest) -> None:
    expected = vlcam.explain(make(cnn()), PHOTO, targets="a", method=method).maps
    request.getfixturevalue("elsewhere")
    found = vlcam.explain(make(cnn()), PHOTO, targets="a", method=method).maps
    assert found.device.type == "cpu" and torch.equal(found, expected)
