"""Where cells lie on the photo, against torchvision's own pixels, torch's own interpolation and a painted object."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from vlcam.contracts import Geometry, InputError
from vlcam.image.geometry import (
    find_cell,
    find_cell_box,
    find_seen_box,
    make_crop_geometry,
    make_letterbox_geometry,
    make_resize_geometry,
    point_to_input,
    point_to_photo,
    to_photo,
)
from vlcam.image.photo import open_photo
from vlcam.image.preprocess import Mode, Preprocess, Resample

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ((300, 100), (100, 300), (97, 131), (224, 224), (31, 17), (500, 333))
CROPS = (*((one, 64, 56) for one in SIZES), ((97, 131), 40, 64), ((300, 41), 33, 20))
WAYS = (
    make_resize_geometry((30, 20), (8, 8)),
    make_crop_geometry((30, 20), 10, 8),
    make_letterbox_geometry((30, 20), (8, 8)),
)


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def sampled(grid_map: Tensor, geometry: Geometry) -> Tensor:
    """The slow twin of to_photo: one pixel at a time, straight from the definition."""
    rows, columns = grid_map.shape
    width, height = geometry.photo_size
    drawn = torch.full((height, width), math.nan, dtype=torch.float64)
    for y, x in itertools.product(range(height), range(width)):
        at = point_to_input(geometry, x + 0.5, y + 0.5)
        if not all(0 <= place <= side for place, side in zip(at, geometry.input_size, strict=True)):
            continue
        u = min(max(at[0] / geometry.input_size[0] * columns - 0.5, 0), columns - 1)
        v = min(max(at[1] / geometry.input_size[1] * rows - 0.5, 0), rows - 1)
        total = 0.0
        for row, column in itertools.product(range(rows), range(columns)):
            total += float(grid_map[row, column]) * max(0, 1 - abs(u - column)) * max(0, 1 - abs(v - row))
        drawn[y, x] = total
    return drawn


@pytest.mark.parametrize("photo_size", SIZES)
@pytest.mark.parametrize("grid", [(7, 7), (1, 1), (5, 9)])
def test_a_plain_resize_is_torchs_interpolation(photo_size: tuple[int, int], grid: tuple[int, int]) -> None:
    maps = torch.randn(2, *grid, dtype=torch.float64)
    drawn = to_photo(maps, make_resize_geometry(photo_size, (224, 224)))
    expected = F.interpolate(maps[None], size=photo_size[::-1], mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(drawn, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "geometry",
    [
        make_resize_geometry((31, 17), (24, 40)),
        make_crop_geometry((31, 17), 16, 12),
        make_crop_geometry((17, 31), 12, 12),
        make_crop_geometry((9, 31), 8, (20, 12)),
        make_letterbox_geometry((31, 17), (24, 24)),
        make_letterbox_geometry((17, 31), (40, 24)),
        Geometry((20, 12), (16, 16), (-0.8, 1.0), (18.0, -2.0)),
    ],
    ids=str,
)
def test_to_photo_is_its_definition(geometry: Geometry) -> None:
    grid_map = torch.randn(3, 4, dtype=torch.float64)
    drawn = to_photo(grid_map[None], geometry)[0]
    torch.testing.assert_close(drawn, sampled(grid_map, geometry), rtol=1e-12, atol=1e-12, equal_nan=True)


def test_a_ramp_stays_a_ramp_on_the_photo() -> None:
    """Bilinear sampling is exact for a ramp: what is drawn is the pixel's own place in the input, cropped or padded."""
    for geometry in (make_crop_geometry((300, 100), 64, 64), make_letterbox_geometry((300, 100), (64, 64))):
        places = (torch.arange(8, dtype=torch.float64) + 0.5) * 8
        drawn = to_photo(places.expand(1, 8, 8), geometry)[0]
        expected = (torch.arange(300, dtype=torch.float64) + 0.5) * geometry.scale[0] + geometry.offset[0]
        inside = (expected >= 4) & (expected <= 60)
        torch.testing.assert_close(drawn[50, inside], expected[inside])
        unseen = (expected < 0) | (expected > 64)
        assert bool(drawn[:, unseen].isnan().all()) and not bool(drawn[:, ~unseen].isnan().any())


def test_a_smaller_copy_shows_the_same_places() -> None:
    geometry = make_crop_geometry((300, 100), 64, 64)
    maps = torch.randn(1, 7, 7)
    full, small = to_photo(maps, geometry)[0], to_photo(maps, geometry, size=(60, 20))[0]
    assert small.shape == (20, 60)
    torch.testing.assert_close(small, full[2::5, 2::5], rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_to_photo_keeps_the_dtype_and_leaves_the_maps_alone(dtype: torch.dtype) -> None:
    maps = torch.randn(2, 3, 3).to(dtype)
    before = maps.clone()
    drawn = to_photo(maps, make_resize_geometry((10, 8), (6, 6)))
    assert drawn.dtype == dtype and drawn.shape == (2, 8, 10)
    assert torch.equal(maps, before)
    assert float(drawn.double().max()) <= float(maps.double().max())


def test_a_nonfinite_cell_stays_where_it_is() -> None:
    maps = torch.zeros(1, 6, 6)
    maps[0, 0, 0] = math.nan
    drawn = to_photo(maps, make_resize_geometry((60, 60), (60, 60)))[0]
    assert bool(drawn[:5, :5].isnan().all())
    assert not bool(drawn[20:, :].isnan().any()) and not bool(drawn[:, 20:].isnan().any())


@pytest.mark.parametrize(("photo_size", "shorter", "crop"), CROPS)
def test_crop_lies_where_torchvision_puts_it(photo_size: tuple[int, int], shorter: int, crop: int) -> None:
    """Ramps over the photo say for each pixel of torchvision's input where it comes from; the geometry must say the same."""
    width, height = photo_size
    geometry = make_crop_geometry(photo_size, shorter, crop)
    pipeline = transforms.Compose([transforms.Resize(shorter), transforms.CenterCrop(crop)])
    across = Image.fromarray(np.broadcast_to(np.arange(width, dtype=np.float32) + 1, (height, width)).copy())
    down = Image.fromarray(np.broadcast_to((np.arange(height, dtype=np.float32) + 1)[:, None], (height, width)).copy())
    seen_x, seen_y = np.asarray(pipeline(across)), np.asarray(pipeline(down))
    assert geometry.input_size == (crop, crop) == seen_x.shape[::-1]
    for y, x in itertools.product(range(0, crop, 5), range(0, crop, 5)):
        place = point_to_photo(geometry, x + 0.5, y + 0.5)
        inside = 0 <= place[0] <= width and 0 <= place[1] <= height
        assert inside == (seen_x[y, x] > 0)
        for at, side, seen, scale in zip(place, photo_size, (seen_x, seen_y), geometry.scale, strict=True):
            margin = 2 * max(1.0, 1 / scale)  # the resampling kernel is cut off at the photo's edge
            if inside and margin < at < side - margin:
                assert seen[y, x] - 0.5 == pytest.approx(at, abs=0.2 / scale)  # a fifth of an input pixel


@pytest.mark.parametrize("photo_size", SIZES)
@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "nearest", "box", "lanczos", "hamming"])
def test_preprocess_gives_torchvisions_numbers(photo_size: tuple[int, int], resample: Resample) -> None:
    image, mode = noise(photo_size), InterpolationMode[resample.upper()]
    ending = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    crop = transforms.Compose([transforms.Resize(64, interpolation=mode), transforms.CenterCrop(56), *ending])
    inputs, _ = Preprocess(56, "crop", 64, MEAN, STD, resample)(image)
    assert torch.equal(inputs, crop(image)[None])
    larger = transforms.Compose([transforms.Resize(40, interpolation=mode), transforms.CenterCrop((64, 70)), *ending])
    inputs, _ = Preprocess((70, 64), "crop", 40, MEAN, STD, resample)(image)
    assert torch.equal(inputs, larger(image)[None])
    whole = transforms.Compose([transforms.Resize((48, 32), interpolation=mode), *ending])
    inputs, geometry = Preprocess((32, 48), "resize", None, MEAN, STD, resample)(image)
    assert torch.equal(inputs, whole(image)[None]) and geometry == make_resize_geometry(photo_size, (32, 48))


def test_letterbox_keeps_the_whole_photo_between_bands() -> None:
    image = Image.new("RGB", (300, 100), (255, 255, 255))
    inputs, geometry = Preprocess((64, 48), "letterbox", mean=(0.0,) * 3, std=(1.0,) * 3, fill=(0, 51, 0))(image)
    assert inputs.shape == (1, 3, 48, 64)
    assert bool((inputs[0, 0, 13:34] == 1).all())  # 64 x 21 pixels of photo, 13 rows above
    assert bool((inputs[0, 0, :13] == 0).all()) and bool((inputs[0, 1, 34:] == 0.2).all())
    assert find_seen_box(geometry) == (0, 0, 300, 100)
    assert find_cell_box(geometry, 0, 0, (1, 1)) == pytest.approx((0, -13 * 100 / 21, 300, 35 * 100 / 21))


# An object in a corner of a 3:1 photo (left, top, right, bottom). In crop mode the model sees x from 100 to 200 only.
CORNERS = {
    "upper left": (4, 4, 24, 24),
    "upper right": (276, 4, 296, 24),
    "lower left": (4, 76, 24, 96),
    "lower right": (276, 76, 296, 96),
    "seen, upper left": (104, 4, 124, 24),
    "seen, lower right": (176, 76, 196, 96),
}


def hot_map(inputs: Tensor, grid: int = 16) -> Tensor:
    """What a model that looks for white would show: the whitest cell of its own input, (1, grid, grid)."""
    cells = F.adaptive_avg_pool2d(inputs, grid).mean(1)
    return (cells == cells.max()).float()


def with_object(box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGB", (300, 100))
    image.paste((255, 255, 255), box)
    return image


@pytest.mark.parametrize("box", CORNERS.values(), ids=CORNERS)
@pytest.mark.parametrize("turned", [False, True], ids=["upright", "exif 6"])
@pytest.mark.parametrize("mode", ["resize", "crop", "letterbox"])
def test_the_map_lands_on_the_object(mode: Mode, turned: bool, box: tuple[int, int, int, int], tmp_path: Path) -> None:
    image = with_object(box)
    file = tmp_path / "photo.png"
    if turned:  # stored lying on its side; orientation 6 says: turn it a quarter clockwise to see it
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif)
        with Image.open(file) as stored:
            assert stored.size == (100, 300)
    else:
        image.save(file)
    upright, photo = open_photo(file)
    assert (photo.width, photo.height) == upright.size == (300, 100)
    inputs, geometry = Preprocess(128, mode)(upright)
    seen = find_seen_box(geometry)
    if not seen[0] <= box[0] <= seen[2]:
        assert mode == "crop"
        drawn = to_photo(torch.ones(1, 16, 16), geometry)[0]
        assert bool(drawn[box[1] : box[3], box[0] : box[2]].isnan().all())
        return
    drawn = to_photo(hot_map(inputs), geometry)[0].nan_to_num(-1)
    top = (drawn == drawn.max()).nonzero().double().mean(0) + 0.5
    assert box[0] < float(top[1]) < box[2] and box[1] < float(top[0]) < box[3]
    row, column = divmod(int(hot_map(inputs).flatten().argmax()), 16)
    left, above, right, below = find_cell_box(geometry, row, column, (16, 16))
    assert box[0] < (left + right) / 2 < box[2] and box[1] < (above + below) / 2 < box[3]


@pytest.mark.parametrize(
    "geometry",
    WAYS,
    ids=str,
)
def test_points_boxes_and_cells_agree(geometry: Geometry) -> None:
    grid = (4, 2)
    for row, column in itertools.product(range(4), range(2)):
        left, top, right, bottom = find_cell_box(geometry, row, column, grid)
        assert find_cell(geometry, (left + right) / 2, (top + bottom) / 2, grid) == (row, column)
        assert point_to_input(geometry, left, top) == pytest.approx((column * 4, row * 2))
    for x, y in ((0.0, 0.0), (12.5, 7.25), (-3.0, 40.0)):
        assert point_to_photo(geometry, *point_to_input(geometry, x, y)) == pytest.approx((x, y))
    left, top, right, bottom = find_seen_box(geometry)
    assert find_cell(geometry, left + 1e-6, top + 1e-6, grid) is not None
    assert find_cell(geometry, right - 1e-6, bottom - 1e-6, grid) is not None
    assert find_cell(geometry, 1000.0, 0.0, grid) is None and find_cell(geometry, -1000.0, 0.0, grid) is None


def test_the_seen_part_of_a_cropped_photo() -> None:
    assert find_seen_box(make_crop_geometry((300, 100), 50, 40)) == pytest.approx((110, 10, 190, 90))
    nowhere = Geometry((10, 10), (8, 8), (1.0, 1.0), (50.0, 0.0))
    assert find_seen_box(nowhere)[0] == find_seen_box(nowhere)[2] == 0


def test_what_can_not_be_is_refused() -> None:
    geometry = make_resize_geometry((30, 20), (8, 8))
    with pytest.raises(InputError, match=r"cell \(4, 0\) was given; the grid has 4 rows and 2 columns"):
        find_cell_box(geometry, 4, 0, (4, 2))
    with pytest.raises(InputError, match="at least one of each"):
        find_cell(geometry, 1.0, 1.0, (0, 2))
    with pytest.raises(InputError, match="at least one row and one column"):
        to_photo(torch.zeros(1, 0, 3), geometry)
    with pytest.raises(InputError, match=r"size \(0, 5\) was given"):
        to_photo(torch.zeros(1, 3, 3), geometry, size=(0, 5))
    with pytest.raises(InputError, match=r"photo size \(0, 5\) was given"):
        make_resize_geometry((0, 5), (8, 8))
    with pytest.raises(InputError, match=r"input size \(8, -1\) was given"):
        make_letterbox_geometry((5, 5), (8, -1))
    with pytest.raises(InputError, match="resize_shorter=0 was given"):
        make_crop_geometry((5, 5), 0, 4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 0}, "size=0 was given"),
        ({"size": 8, "resize_shorter": 9}, "for mode='crop' only"),
        ({"size": 8, "mode": "crop", "resize_shorter": 0}, "a positive number of pixels"),
        ({"size": 8, "mean": (0.5,)}, "expected three numbers each"),
        ({"size": 8, "std": (0.5, 0.0, 1.0)}, "those of std positive"),
        ({"size": 8, "fill": (0, 300, 0)}, "from 0 to 255"),
    ],
)
def test_a_preprocessing_that_can_not_be_is_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Preprocess(**options)  # type: ignore[arg-type]


def test_a_hair_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(InputError, match="too long and narrow for mode='crop'"):
        Preprocess(224, "crop", 256)(Image.new("RGB", (1, 50_000)))
    inputs, _ = Preprocess(64, "letterbox")(Image.new("RGB", (1, 50_000)))
    assert inputs.shape == (1, 3, 64, 64)
