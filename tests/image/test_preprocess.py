"""From any kind of photo through a CNN of 1 or 4 channels to maps that lie where they should on it."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from vlcam.image.photo import Bands, open_photo
from vlcam.tasks.classification import Classification

MODES: list[Literal["resize", "crop", "letterbox"]] = ["resize", "crop", "letterbox"]


class Bright(nn.Module):
    """A CNN whose only logit is how strong one of its input's channels is; a box of ones sees to it that there is a grid."""

    def __init__(self, channels: int, watched: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 4, 4, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[0, watched] = 1 / 16

    def forward(self, pixels: Tensor) -> Any:
        return self.conv(pixels).relu().mean((2, 3))


def task(channels: int, watched: int = 0, mode: Literal["resize", "crop", "letterbox"] = "resize") -> Classification:
    preprocess = vlcam.Preprocess((48, 32), mode, resize_shorter=40 if mode == "crop" else None, channels=channels)
    return Classification(Bright(channels, watched).eval(), ["bright", "nothing"], preprocess, layer="conv")


def spot(channels: int, where: int, *, background: int = 0) -> np.ndarray:
    """80 x 120 pixels, dark but for a spot at the lower left in one channel."""
    values = np.full((80, 120, channels), background, np.uint8)
    values[56:72, 16:40, where] = 255
    return values


def on_the_spot(explanation: vlcam.Explanation) -> None:
    """The strongest pixels of the photo are the spot's, and nothing lies far from it."""
    heat = np.nan_to_num(np.asarray(explanation["bright"].heatmap()))
    assert heat.shape == (80, 120) and explanation["bright"].map.max() > 0
    assert heat[60:68, 20:36].min() > 0.5 * heat.max()
    far = np.ones_like(heat, dtype=bool)
    far[40:, :60] = False
    assert heat[far].max() < 0.05 * heat.max()


@pytest.mark.parametrize("mode", MODES)
def test_a_grey_cnn(mode: Literal["resize", "crop", "letterbox"]) -> None:
    grey = spot(1, 0)[:, :, 0]
    ways: dict[str, Any] = {
        "uint8": grey,
        "(height, width, 1)": grey[:, :, None],
        "float32": (grey / 255).astype(np.float32),
        "float64 tensor": torch.from_numpy(grey[None] / 255),
        "RGB": np.dstack([grey] * 3),
        "L": Image.fromarray(grey),
        "1": Image.fromarray(grey).convert("1"),
        "I;16": Image.fromarray(grey.astype(np.uint16) * 257),
        "F": Image.fromarray((grey / 255).astype(np.float32)),
        "LA": Image.merge("LA", [Image.fromarray(grey), Image.new("L", (120, 80), 255)]),
        "RGBA": Image.fromarray(np.dstack([grey] * 3 + [np.full_like(grey, 255)])),
    }
    found = {name: vlcam.explain(task(1, mode=mode), way, targets=["bright"]) for name, way in ways.items()}
    for name, explanation in found.items():
        on_the_spot(explanation)
        assert torch.equal(explanation.maps, found["uint8"].maps), name
        assert np.array_equal(explanation.photo.pixels, np.dstack([grey] * 3)), name  # shown as RGB


@pytest.mark.parametrize("mode", MODES)
def test_a_cnn_that_sees_transparency(mode: Literal["resize", "crop", "letterbox"]) -> None:
    """Black, and opaque only at the spot: what people see is the spot, black on white."""
    values = spot(4, 3)
    chw = torch.from_numpy(values).permute(2, 0, 1)
    ways: list[Any] = [values, values / 255, (values / 255).astype(np.float32), chw, chw / 255, Image.fromarray(values)]
    found = [vlcam.explain(task(4, 3, mode), way, targets=["bright"]) for way in ways]
    for explanation in found:
        if mode != "letterbox":  # whose bands are opaque
            on_the_spot(explanation)
        assert explanation.maps.max() > 0 and torch.equal(explanation.maps, found[0].maps)
        assert np.array_equal(explanation.photo.pixels, 255 - np.repeat(values[:, :, 3:], 3, 2))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("watched", [0, 3])
def test_a_cnn_of_red_green_blue_and_infrared(mode: Literal["resize", "crop", "letterbox"], watched: int) -> None:
    """Bands are not transparency: one that is 0 hides none of the others, and people see the first three."""
    values = spot(4, watched)
    chw = torch.from_numpy(values).permute(2, 0, 1)
    ways: list[Any] = [
        values,
        values / 255,
        (values / 255).astype(np.float32),
        chw,
        chw.double() / 255,
        chw.float() / 255,
    ]
    found = [vlcam.explain(task(4, watched, mode), open_bands(way), targets=["bright"]) for way in ways]
    for explanation in found:
        on_the_spot(explanation)
        torch.testing.assert_close(explanation.maps, found[0].maps, rtol=1e-5, atol=1e-6)
        assert np.array_equal(explanation.photo.pixels, values[:, :, :3])


def open_bands(values: np.ndarray | Tensor) -> Any:
    return Bands(values, limits=(0.0, 1.0))


def test_an_opaque_photo_is_opaque_to_a_cnn_of_four_channels() -> None:
    inputs, _ = vlcam.Preprocess(8, channels=4)(open_photo(spot(3, 1))[0])
    assert inputs.shape == (1, 4, 8, 8) and bool((inputs[:, 3] == 1).all())


@pytest.mark.parametrize(
    ("photo", "text"),
    [
        (np.zeros((8, 9, 2), np.uint8), r"shape \(8, 9, 2\) was given; .* with 1, 3 or 4 channels"),
        (np.zeros((8, 9, 5), np.uint8), r"shape \(8, 9, 5\) was given; .* with 1, 3 or 4 channels"),
        (torch.zeros(5, 8, 9), r"shape \(5, 8, 9\) was given; .* with 1, 3 or 4 channels"),
        (np.full((8, 9), 2.0), "floats from 2 to 2 was given; expected 0 to 1: divide by 255"),
        (torch.full((4, 8, 9), -0.5), "floats from -0.5 to -0.5 was given; expected 0 to 1"),
        (np.full((8, 9, 4), np.nan), "floats from nan to nan was given"),
        (Bands(np.full((8, 9, 4), np.nan)), "not finite"),
        (Bands(np.zeros((8, 9, 5))), "a photo of 5 bands was given, but the model's input has 4 channels"),
    ],
)
def test_what_can_not_be_is_refused_in_one_sentence(photo: Any, text: str) -> None:
    with pytest.raises(vlcam.InputError, match=text) as caught:
        vlcam.explain(task(4), photo)
    assert "\n" not in str(caught.value)
