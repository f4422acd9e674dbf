"""Models that take grey, transparency or other bands get exactly those, while people are shown RGB."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms import InterpolationMode

import vlcam
from vlcam.image.geometry import make_crop_geometry, make_resize_geometry
from vlcam.image.photo import Bands, open_photo
from vlcam.image.preprocess import Resample
from vlcam.tasks.classification import Classification

SIZES = [(90, 60), (40, 71)]
RESAMPLES: list[Resample] = ["nearest", "bilinear", "bicubic"]


def noise(size: tuple[int, int], channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", RESAMPLES)
@pytest.mark.parametrize("channels", [1, 4])
def test_the_numbers_are_torchvisions(size: tuple[int, int], resample: Resample, channels: int) -> None:
    """Grey is ``Grayscale``'s; RGBA goes through as it does for a PIL image of that mode."""
    values = noise(size, 4 if channels == 4 else 3)
    image, mode = Image.fromarray(values), InterpolationMode[resample.upper()]
    mean, std = (0.4, 0.5, 0.6, 0.7)[:channels], (0.1, 0.2, 0.3, 0.4)[:channels]
    grey = [transforms.Grayscale(1)] if channels == 1 else []
    steps = [
        transforms.Resize(50, interpolation=mode),
        transforms.CenterCrop(40),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    preprocess = vlcam.Preprocess(40, "crop", 50, mean, std, resample, channels=channels)
    expected = transforms.Compose([*grey, *steps])(image)[None]
    for picture in (image, open_photo(image)[0], open_photo(values)[0]):
        inputs, geometry = preprocess(picture)
        assert inputs.shape == (1, channels, 40, 40) and torch.equal(inputs, expected)
        assert geometry == make_crop_geometry(size, 50, 40)


def test_grey_photos_reach_a_grey_model_unchanged() -> None:
    grey = noise((8, 8), 1)[:, :, 0]
    for way in (grey, Image.fromarray(grey), grey / 255, torch.from_numpy(grey), grey.astype(np.uint16) * 257):
        inputs, _ = vlcam.Preprocess(8, channels=1)(open_photo(way)[0])
        assert torch.equal(inputs, torch.from_numpy(grey)[None, None] / 255)  # by default neither mean nor deviation
    rgb, _ = vlcam.Preprocess(8, mean=(0.0,) * 3, std=(1.0,) * 3)(open_photo(grey)[0])
    assert torch.equal(rgb, torch.from_numpy(grey).expand(1, 3, 8, 8) / 255)


def test_what_is_opaque_and_what_lies_on_white() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:, :2] = (10, 20, 30, 255)
    picture = open_photo(clear)[0]
    four, _ = vlcam.Preprocess(4, channels=4)(picture)
    assert torch.equal(four[0], torch.from_numpy(clear).permute(2, 0, 1) / 255)
    three, _ = vlcam.Preprocess(4, mean=(0.0,) * 3, std=(1.0,) * 3)(picture)
    assert three[0, :, 0, 0].tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255]) and bool(
        (three[0, :, :, 2:] == 1).all()
    )
    opaque, _ = vlcam.Preprocess(4, channels=4)(open_photo(clear[:, :, :3])[0])
    assert torch.equal(opaque[:, :3], four[:, :3]) and bool((opaque[:, 3] == 1).all())


@pytest.mark.parametrize("resample", RESAMPLES)
def test_bands_are_resized_one_by_one_in_full_precision(resample: Resample) -> None:
    """Against torch's own resampling with antialias, which is PIL's."""
    values = np.random.default_rng(0).normal(0, 1000, (60, 90, 6)).astype(np.float32)
    mean, std = tuple(map(float, range(6))), tuple(map(float, range(1, 7)))
    inputs, geometry = vlcam.Preprocess((40, 30), mean=mean, std=std, resample=resample, channels=6)(
        open_photo(Bands(values))[0]
    )
    chw = torch.from_numpy(values).permute(2, 0, 1)[None].double()
    options: dict[str, Any] = (
        {"mode": "nearest-exact"} if resample == "nearest" else {"mode": resample, "antialias": True}
    )
    small = nn.functional.interpolate(chw, (30, 40), **options)
    expected = (small - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(inputs.double(), expected, rtol=1e-3, atol=0.5 if resample == "bicubic" else 1e-2)
    assert geometry == make_resize_geometry((90, 60), (40, 30))


def test_margins() -> None:
    values = np.full((10, 30, 2), 5.0)
    inputs, _ = vlcam.Preprocess(30, "letterbox", channels=2, mean=(1.0, 1.0), std=(2.0, 2.0))(
        open_photo(Bands(values))[0]
    )
    assert bool((inputs[:, :, 10:20] == 2).all()) and bool((inputs[:, :, :10] == -0.5).all())
    white = open_photo(np.full((10, 30), 255, np.uint8))[0]
    grey, _ = vlcam.Preprocess(30, "letterbox", channels=1, fill=(255, 0, 0))(white)
    assert bool((grey[:, :, 10:20] == 1).all()) and grey[0, 0, 0, 0] == pytest.approx(76 / 255)
    clear, _ = vlcam.Preprocess(30, "letterbox", channels=4, fill=(51, 0, 0))(white)
    assert clear[0, :, 0, 0].tolist() == pytest.approx([0.2, 0, 0, 1])


class Banded(nn.Module):
    """A classifier whose two logits are the means of two of its channels, each times a feature."""

    def __init__(self, channels: int, pair: tuple[int, int]) -> None:
        super().__init__()
        self.features, self.pair = nn.Conv2d(channels, channels, 1, bias=False), pair
        nn.init.dirac_(self.features.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        means: Tensor = self.features(pixels).mean((2, 3))
        return means[:, list(self.pair)]


def test_a_model_of_infrared_is_explained_on_the_rgb_of_the_photo() -> None:
    """Only the fourth band has the object in the upper left, only the third the one in the lower right."""
    values = np.zeros((32, 32, 4), np.float32)
    values[:8, :8, 3] = values[24:, 24:, 2] = 1
    task = Classification(Banded(4, (3, 2)), ["infrared", "blue"], vlcam.Preprocess(32, channels=4), layer="features")
    banded: Any = Bands(values, shown=2)
    explanation = vlcam.explain(task, banded, targets=["infrared", "blue"])
    assert explanation["infrared"].target.score == pytest.approx(64 / 1024)
    maps = explanation.maps
    assert maps[0, :8, :8].min() > 0 and maps[0, 8:, 8:].abs().max() == 0 and maps[1, 24:, 24:].min() > 0
    assert explanation.photo.pixels[30, 30].tolist() == [255] * 3 and explanation.photo.pixels[0, 0].tolist() == [0] * 3
    clear = np.zeros((32, 32, 4), np.uint8)
    clear[:8, :8, 3] = 255
    opaque = vlcam.explain(task, clear, targets="infrared")[0]  # RGBA: the fourth channel is its transparency
    assert opaque.target.score == pytest.approx(64 / 1024)
    deep = Classification(Banded(1, (0, 0)), ["one", "two"], vlcam.Preprocess(32, channels=1), layer="features")
    assert vlcam.explain(deep, np.full((32, 32), 51, np.uint8), targets=0)[0].target.score == pytest.approx(0.2)
    xray: Any = Bands(np.full((32, 32, 1), 12345, np.uint16))
    assert vlcam.explain(deep, xray, targets=0)[0].target.score == pytest.approx(12345 / 65535)


def test_channels_that_do_not_fit() -> None:
    picture = open_photo(noise((8, 8), 3))[0]
    with pytest.raises(
        vlcam.InputError,
        match=r"an RGB photo was given, but .* 6 channels; give the photo as vlcam.image.photo.Bands with 6 bands",
    ):
        vlcam.Preprocess(8, channels=6)(picture)
    banded = open_photo(Bands(np.zeros((8, 8, 5))))[0]
    for channels in (1, 3, 4):
        with pytest.raises(
            vlcam.InputError, match=f"a photo of 5 bands was given, but the model's input has {channels} channels"
        ):
            vlcam.Preprocess(8, channels=channels)(banded)
    with pytest.raises(
        vlcam.InputError,
        match=r"channels=0 was given; expected 1 \(grey\), 3 \(RGB\), 4 \(RGBA\) or the number of bands",
    ):
        vlcam.Preprocess(8, channels=0)
    with pytest.raises(vlcam.InputError, match="expected 1 number each, those of std positive"):
        vlcam.Preprocess(8, channels=1, mean=(0.5, 0.5, 0.5))
    assert vlcam.Preprocess(8) == vlcam.Preprocess(8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert vlcam.Preprocess(8, channels=2).std == (1.0, 1.0) and vlcam.Preprocess(8, channels=1, mean=(0.5,)).std == (
        1.0,
    )


def test_a_classifier_of_five_bands() -> None:
    model = nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    cube = np.random.default_rng(0).random((40, 50, 5))
    task = Classification(model, ["one", "two"], preprocess=vlcam.Preprocess(64, channels=5))
    explanation = vlcam.explain(task, vlcam.Bands(cube, shown=(3, 1, 0)))
    assert explanation.text in ("one", "two") and explanation.photo.pixels.shape == (40, 50, 3)
