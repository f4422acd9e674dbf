"""Where tokens lie on a photo: places measured by sending ramps through image processors, and token orders."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

from vlcam.contracts import Geometry, InputError, LayerError
from vlcam.tasks.hub_photos import compute_geometry
from vlcam.tasks.hub_places import compute_canvas, lay_out_tiles, measure_tiles, order_merged_tokens, place_tokens


def pixels_of(processor: Any) -> Callable[[Image.Image], Tensor]:
    return lambda photo: processor(images=photo, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("family", ["ViT", "CLIP", "ConvNext", "MobileNetV2", "Levit", "Siglip"])
@pytest.mark.parametrize("size", [(300, 200), (201, 333), (1000, 700)])
def test_measured_places_are_those_of_the_settings(family: str, size: tuple[int, int]) -> None:
    process = pixels_of(getattr(transformers, f"{family}ImageProcessor")())
    (found,) = measure_tiles(process, size)
    rows, columns = process(Image.new("RGB", size)).shape[2:]
    expected = compute_geometry(getattr(transformers, f"{family}ImageProcessor")(), size, (columns, rows))
    assert found is not None and found.input_size == expected.input_size
    for axis in (0, 1):  # compared in pixels of the input, at both ends of what the model sees
        for end in (0, expected.input_size[axis]):
            on_photo = (end - expected.offset[axis]) / expected.scale[axis]
            assert on_photo * found.scale[axis] + found.offset[axis] == pytest.approx(end, abs=0.75)


def test_padding_is_measured() -> None:
    """A photo shrunk to 100 x 50 and put into the middle of a grey 120 x 120 canvas."""

    def process(photo: Image.Image) -> Tensor:
        canvas = Image.new("RGB", (120, 120), (128, 128, 128))
        canvas.paste(photo.resize((100, 50), Image.Resampling.BILINEAR), (10, 35))
        return torch.from_numpy(np.asarray(canvas).copy()).permute(2, 0, 1)[None].double()

    (found,) = measure_tiles(process, (400, 200))
    assert found is not None
    assert found.scale == pytest.approx((0.25, 0.25), rel=5e-3) and found.offset == pytest.approx((10, 35), abs=0.4)


@pytest.mark.parametrize(
    ("turn", "wrong"),
    [
        (lambda photo: photo.transpose(Image.Transpose.ROTATE_90), "rotated|rotates"),
        (lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "rotated|rotates"),
        (lambda photo: photo.resize((8, 8)).resize((90, 60), Image.Resampling.NEAREST), "rotated|rotates|too small"),
    ],
)
def test_what_is_turned_or_bent_is_refused(turn: Any, wrong: str) -> None:
    def process(photo: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(turn(photo)).copy()).permute(2, 0, 1)[None].double()

    with pytest.raises(InputError, match=wrong):
        measure_tiles(process, (90, 60))


def geometry(size: tuple[int, int], scale: tuple[float, float], offset: tuple[float, float]) -> Geometry:
    return Geometry((200, 100), size, scale, offset)


def test_tiles_and_a_thumbnail() -> None:
    """A photo of 200 x 100 as two tiles of 64 pixels side by side at scale 0.64, and the whole of it squeezed into one."""
    tiles = [
        geometry((64, 64), (0.64, 0.64), (0.0, 0.0)),
        geometry((64, 64), (0.64, 0.64), (-64.0, 0.0)),
        geometry((64, 64), (0.32, 0.64), (0.0, 0.0)),
    ]
    assert compute_canvas(tiles) == geometry((128, 64), (0.64, 0.64), (0.0, 0.0))
    layout = lay_out_tiles(tiles, torch.zeros(3, 17, 5))  # a class token, then 4 x 4
    cells: Tensor = layout.cells  # type: ignore[attr-defined]
    assert cells.shape == (2, 4, 8)
    assert cells[0, 0].tolist() == [1, 2, 3, 4, 18, 19, 20, 21] and cells[0, 3, 7] == 17 + 16
    assert cells[1, 0].tolist() == [35, 35, 36, 36, 37, 37, 38, 38]  # each over two fine cells
    values = torch.zeros(1, 3, 17, 1)
    values[0, 2, 1] = 6.0
    maps = layout.place(layout.to_maps(values[0])[:, 0])
    assert maps[0, 0].tolist() == [3, 3, 0, 0, 0, 0, 0, 0] and float(maps.sum()) == 6


def test_a_tile_of_padding_is_left_out() -> None:
    tiles = [geometry((64, 64), (0.64, 0.64), (0.0, 0.0)), None, geometry((64, 64), (0.64, 0.64), (-64.0, 0.0))]
    cells: Tensor = lay_out_tiles(tiles, torch.zeros(3, 16, 5)).cells  # type: ignore[attr-defined]
    assert cells.shape == (1, 4, 8) and cells[0, 0, 4] == 32
    cells = lay_out_tiles(tiles, torch.zeros(2, 16, 5)).cells  # type: ignore[attr-defined]  # a tower that skips it
    assert cells[0, 0, 4] == 16
    with pytest.raises(LayerError, match=r"\(5, 16, 5\); expected \(tiles, tokens, channels\) for 3 tiles"):
        lay_out_tiles(tiles, torch.zeros(5, 16, 5))
    with pytest.raises(LayerError, match="don't lie as a grid"):
        lay_out_tiles(tiles, torch.zeros(3, 3, 5))


def test_merged_order_is_that_of_the_image_processor() -> None:
    rows, columns = 8, 12
    order = torch.arange(rows * columns).view(rows // 2, 2, columns // 2, 2).permute(0, 2, 1, 3).flatten()
    place = order_merged_tokens(rows, columns, 2)[0].flatten()
    assert torch.equal(order[place], torch.arange(rows * columns))


@pytest.mark.parametrize(("rows", "columns", "window"), [(8, 12, 2), (6, 10, 2), (12, 14, 4)])
def test_window_order_is_that_of_qwen(rows: int, columns: int, window: int) -> None:
    from transformers.vision_utils import get_vision_window_index

    index, _ = get_vision_window_index(torch.tensor([[1, rows, columns]]), 2, window * 2 * 14, 14)
    units = (
        torch.arange(rows * columns).view(-1, 4)[index].flatten()
    )  # after this, token i is patch units[i] of the processor
    blocks = torch.arange(rows * columns).view(rows // 2, 2, columns // 2, 2).permute(0, 2, 1, 3).flatten()
    assert torch.equal(
        blocks[units][order_merged_tokens(rows, columns, 2, window)[0].flatten()], torch.arange(rows * columns)
    )


def test_patches_say_where_they_are() -> None:
    patches = torch.zeros(1, 8, 2 + 3 * 16)
    for number, (row, column) in enumerate([(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]):
        patches[0, number, :2] = torch.tensor([row, column])
    found, layout = place_tokens("patches", None, {"flattened_patches": patches}, (60, 40))
    assert found.input_size == (12, 8) and layout.cells.tolist() == [[[0, 1, 2], [3, 4, 5]]]  # type: ignore[union-attr]
