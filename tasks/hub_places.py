"""Where the tokens of a vision tower lie on the photo: tiles found by measuring, patches by their order."""

from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from vlcam.contracts import Geometry, InputError, LayerError, Layout
from vlcam.engine.find_layer import infer_layout
from vlcam.engine.layers import Grid, TokenLayout
from vlcam.engine.modules import find_first_tensor
from vlcam.image.geometry import make_resize_geometry
from vlcam.image.preprocess import Preprocess

Order = Literal["rows", "merged", "windows", "shuffled", "patches", "tiles"]
LayoutMaker = Callable[[Tensor], Layout]
_LEVELS = 255.0
_BLUE = 153
_SMALL = 64
_FEWEST = 12
_OFF = 1.5
"""A measured position may be off by this many pixels of the input, or of the photo if that is coarser."""


def measure_tiles(process: Callable[[Image.Image], Any], photo_size: tuple[int, int]) -> list[Geometry | None]:
    """Where an image processor puts a photo, measured: for every tile it makes, its geometry, or None if it is all padding.

    Whatever a processor does (resize, crop, pad, cut into tiles), it also does to a picture of two ramps: its red says how far right a
    pixel was, its green how far down, and its blue, which is the same everywhere, what is not padding. Small black and white pictures show
    which numbers it turns colours into.

    Args:
        process: turns a photo into pixels ``(tiles, 3, height, width)`` or ``(1, tiles, 3, height, width)``.
        photo_size: ``(width, height)`` of the photo.

    Raises:
        InputError: the photo is rotated, mirrored, warped, or so small that nothing can be measured.
    """
    width, height = photo_size
    ramps = np.empty((height, width, 3), np.uint8)
    ramps[..., 0] = np.linspace(0, _LEVELS, width).round()
    ramps[..., 1] = np.linspace(0, _LEVELS, height).round()[:, None]
    ramps[..., 2] = _BLUE
    lit = _to_tiles(process(Image.fromarray(ramps)))
    black, white = (_measure_levels(process, value) for value in (0, 255))
    light = (lit - black) / (white - black)
    shown = ((light[:, 2:] - _BLUE / _LEVELS).abs() < 0.01).expand_as(light)
    size = (lit.shape[3], lit.shape[2])
    tiles: list[Geometry | None] = []
    for tile, part in zip(light, shown, strict=True):
        x, y = (_fit(line, side) for line, side in zip(_measure_lines(tile, part), photo_size, strict=True))
        tiles.append(None if x is None or y is None else Geometry(photo_size, size, (x[0], y[0]), (x[1], y[1])))
    if not any(tiles):
        raise InputError(
            "the photo is too small, or rotated by the image processor, so its position can't be measured; give another photo"
        )
    return tiles


def _measure_levels(process: Callable[[Image.Image], Any], value: int) -> Float[Tensor, "3 1 1"]:
    """What a processor turns a grey value into, for each channel; the numbers of padding are the same for every value."""
    plain, other = (
        _to_tiles(process(Image.new("RGB", (_SMALL, _SMALL), (one, one, one)))) for one in (value, 255 - value)
    )
    place = (plain - other).abs().sum(1).flatten().argmax()
    levels: Tensor = plain.movedim(1, 0).flatten(1)[:, place]
    return levels[:, None, None]


def _to_tiles(pixels: Any) -> Float[Tensor, "tiles 3 height width"]:
    found: Tensor = torch.as_tensor(pixels, device="cpu").double()
    found = found.flatten(0, -4)
    if found.ndim != 4 or found.shape[1] != 3:
        raise InputError(
            f"the image processor turns a photo into {tuple(torch.as_tensor(pixels, device='cpu').shape)}; expected (tiles, 3, height, "
            "width)"
        )
    return found


def _measure_lines(light: Float[Tensor, "3 rows columns"], shown: Tensor) -> tuple[Tensor, Tensor]:
    """For each column, how far right on the photo it was (0 to 1, -1 for padding); for each row, how far down."""
    found = []
    for axis in (0, 1):  # red runs across, green down
        mask = shown[axis].double()
        count = mask.sum(axis)
        found.append(torch.where(count > 0, (light[axis] * mask).sum(axis) / count.clamp_min(1), -1.0))
    return found[0], found[1]


def _find_steady_pixels(line: Float[Tensor, " pixels"]) -> Tensor:
    """Where a line can be trusted: the outermost pixels mix with the edge, and at the photo's edges the ramp is flat."""
    good = (line > 2 / _LEVELS) & (line < 1 - 2 / _LEVELS)
    edge = len(line) // 16
    good[:edge] = False
    good[len(line) - edge :] = False
    return good


def _fit(line: Float[Tensor, " pixels"], side: int) -> tuple[float, float] | None:
    """Scale and offset of ``input = photo * scale + offset`` along one axis, from where each pixel of the input was (0 to 1).

    None if there is hardly anything to measure: padding, or a strip thinner than a token.
    """
    good = _find_steady_pixels(line)
    at = (torch.arange(len(line), dtype=torch.float64, device="cpu") + 0.5)[good]
    seen = line[good] * (side - 1) + 0.5
    if len(at) < min(_FEWEST, len(line) // 3):
        return None
    mean_at, mean_seen = at.mean(), seen.mean()
    slope = float(
        ((seen - mean_seen) * (at - mean_at)).sum() / ((at - mean_at) ** 2).sum()
    )  # photo pixels per input pixel
    rest = seen - mean_seen - slope * (at - mean_at)
    if slope <= 0 or float(rest.abs().max()) > _OFF * max(slope, 1.0, side / _LEVELS):
        raise InputError("the image processor rotates, mirrors or warps the photo, so a map can't be put back onto it")
    return 1 / slope, float(mean_at - mean_seen / slope)


def compute_canvas(tiles: Sequence[Geometry | None]) -> Geometry:
    """Where the tiles of the photo, side by side, lie on it: one geometry for all of them."""
    level = _choose_main_tiles(tiles)
    (width, *across), (height, *down) = (_fit_row(level, axis) for axis in (0, 1))
    return Geometry(level[0].photo_size, (round(width), round(height)), (across[0], down[0]), (across[1], down[1]))


def _fit_row(tiles: Sequence[Geometry], axis: int) -> tuple[float, float, float]:
    """Length of a row of tiles along one axis, and scale and offset of the photo on it.

    A tile's middle is measured best. If the tiles lie edge to edge, the distances of their middles give the scale.
    """
    side = tiles[0].input_size[axis]
    start = max(tile.offset[axis] for tile in tiles)
    after = [start - tile.offset[axis] for tile in tiles]
    whole = [side * round(one / side) for one in after]
    if max(abs(one - other) for one, other in zip(after, whole, strict=True)) < side / 16:
        after = [float(one) for one in whole]
    middle = np.array([(side / 2 - tile.offset[axis]) / tile.scale[axis] for tile in tiles])
    place = np.array(after) + side / 2
    scale = float(np.mean([tile.scale[axis] for tile in tiles]))
    if max(after) > 0:
        far = middle - middle.mean()
        scale = float((far * place).sum() / (far * far).sum())
    return max(after) + side, scale, float(place.mean() - scale * middle.mean())


def _choose_main_tiles(tiles: Sequence[Geometry | None]) -> list[Geometry]:
    """The tiles of the most frequent scale (a thumbnail stands alone) or, in a tie, of the finest."""
    real = [tile for tile in tiles if tile is not None]
    levels = [[other for other in real if _is_same_scale(other, tile)] for tile in real]
    return max(levels, key=lambda level: (len(level), level[0].scale[0] * level[0].scale[1]))


def _is_same_scale(tile: Geometry, finest: Geometry) -> bool:
    return all(abs(one / other - 1) < 0.06 for one, other in zip(tile.scale, finest.scale, strict=True))


def lay_out_tiles(tiles: Sequence[Geometry | None], output: Float[Tensor, "tiles tokens channels"]) -> Layout:
    """The layout of a tower that ran on tiles of the photo: fine tiles side by side, and over them a thumbnail of the whole photo."""
    real = [tile for tile in tiles if tile is not None]
    if output.ndim != 3 or len(output) not in (len(tiles), len(real)):
        raise LayerError(
            f"the layer's output is {tuple(output.shape)}; expected (tiles, tokens, channels) for {len(tiles)} tiles of the photo"
        )
    used = tiles if len(output) == len(tiles) else real
    finest = _choose_main_tiles(tiles)[0]
    grid = infer_layout(output[:1], finest.input_size)
    if grid is None:
        raise LayerError(
            f"the layer's output is {tuple(output.shape)}, whose tokens don't lie as a grid over the tiles; name another layer"
        )
    rows, columns = grid.rows or 0, grid.columns or 0
    whole = compute_canvas(tiles)
    cell = finest.input_size[0] / columns, finest.input_size[1] / rows
    shape = max(round(whole.input_size[1] / cell[1]), 1), max(round(whole.input_size[0] / cell[0]), 1)
    down, across = torch.meshgrid(
        *(torch.arange(count, dtype=torch.float64, device="cpu") + 0.5 for count in shape), indexing="ij"
    )
    x = (across * cell[0] - whole.offset[0]) / whole.scale[0]
    y = (down * cell[1] - whole.offset[1]) / whole.scale[1]
    layers: list[Tensor] = []
    for number, tile in enumerate(used):
        if tile is None:
            continue
        column = ((x * tile.scale[0] + tile.offset[0]) / tile.input_size[0] * columns).floor().long()
        row = ((y * tile.scale[1] + tile.offset[1]) / tile.input_size[1] * rows).floor().long()
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        token = number * output.shape[1] + grid.prefix + row * columns + column
        for layer in layers:
            if not bool((layer[inside] >= 0).any()):
                layer[inside] = token[inside]
                break
        else:
            layers.append(torch.where(inside, token, -1))
    return TokenLayout(torch.stack(layers))


def lay_out_by_shape(input_size: tuple[int, int], output: Tensor) -> Layout:
    """The layout that follows from the shape of a layer's output: maps, or tokens in rows after a few others."""
    found = infer_layout(output, input_size)
    if found is None:
        raise LayerError(
            f"the layer's output is {tuple(output.shape)}, which doesn't lie as a grid over the {input_size[0]} x {input_size[1]} input; "
            "name another layer"
        )
    return found


def follow_input(
    layout: Layout, preprocess: Callable[[Image.Image], tuple[Any, Geometry]]
) -> Layout | Callable[[Any], LayoutMaker]:
    """A layout found in a trial run, as a function of the input if a preprocessing keeps a photo's proportions.

    Tokens in rows are then counted again for every size of input; anything else lies the same way for all of them.
    """
    if isinstance(preprocess, Preprocess) or not isinstance(layout, Grid) or layout.layout != "BNC":
        return layout
    sizes = {preprocess(Image.new("RGB", size))[1].input_size for size in ((_SMALL, _SMALL), (2 * _SMALL, _SMALL))}
    return layout if len(sizes) == 1 else partial(_lay_out_for_input, layout.prefix)


def _lay_out_for_input(prefix: int, inputs: Any) -> LayoutMaker:
    pixels = find_first_tensor(inputs)
    if pixels is None or pixels.ndim < 3:
        raise LayerError(
            "the model's input is not an image, so its tokens can't be placed; name a layer with rows and columns"
        )
    return partial(_lay_out_rows, prefix, (pixels.shape[-1], pixels.shape[-2]))


def _lay_out_rows(prefix: int, input_size: tuple[int, int], output: Tensor) -> Layout:
    """Tokens in rows after ``prefix`` others, over an input of that size."""
    found = infer_layout(output[:, prefix:] if output.ndim == 3 else output, input_size)
    if not isinstance(found, Grid) or found.layout != "BNC" or found.prefix:
        raise LayerError(
            f"the layer's output is {tuple(output.shape)}, whose tokens after {prefix} others don't lie as a grid over the "
            f"{input_size[0]} x {input_size[1]} input; name another layer"
        )
    return Grid("BNC", rows=found.rows, columns=found.columns, prefix=prefix)


def order_merged_tokens(
    rows: int, columns: int, merge: int, window: int | None = None
) -> Int[Tensor, "1 rows columns"]:
    """Qwen's orders: blocks of ``merge x merge`` tokens one after the other, in rows, or in windows of ``window x window`` blocks.

    >>> order_merged_tokens(2, 4, 2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    """
    down, across = torch.meshgrid(torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu"), indexing="ij")
    block, inner = (down // merge, across // merge), (down % merge, across % merge)
    keys = [*inner] if window is None else [block[0] % window, block[1] % window, *inner]
    keys = [block[0], block[1], *keys] if window is None else [block[0] // window, block[1] // window, *keys]
    order = torch.zeros(rows, columns, dtype=torch.long, device="cpu")
    for key in keys:
        order = order * (int(key.max()) + 1) + key
    place = torch.empty(rows * columns, dtype=torch.long, device="cpu")
    place[order.flatten().argsort()] = torch.arange(rows * columns, device="cpu")
    return place.view(1, rows, columns)


def place_tokens(
    order: Order, model: Any, inputs: dict[str, Any], photo_size: tuple[int, int]
) -> tuple[Geometry, Layout | LayoutMaker]:
    """Where the input lies on the photo and how the tower's tokens lie on the input, for the orders that the inputs determine.

    Raises InputError for inputs without what the order needs.
    """
    if order in ("merged", "windows"):
        vision = model.config.vision_config
        frames, rows, columns = (int(one) for one in inputs["image_grid_thw"][0])
        if frames != 1:
            raise InputError(f"the photo became {frames} frames; expected one")
        merge, patch = int(vision.spatial_merge_size), int(vision.patch_size)
        window = int(vision.window_size) // merge // patch if order == "windows" else None
        return make_resize_geometry(photo_size, (columns * patch, rows * patch)), TokenLayout(
            order_merged_tokens(rows, columns, merge, window)
        )
    if order == "patches":
        patches = inputs["flattened_patches"][0]
        at = patches[:, :2].round().long()
        rows, columns = int(at[:, 0].max()), int(at[:, 1].max())
        cells = torch.full((1, rows, columns), -1, device="cpu")
        real = (at > 0).all(1).nonzero()[:, 0]
        cells[0, at[real, 0] - 1, at[real, 1] - 1] = real
        side = isqrt((patches.shape[1] - 2) // 3)
        return make_resize_geometry(photo_size, (columns * side, rows * side)), TokenLayout(cells)
    raise InputError(f"the order {order!r} of a tower's tokens isn't one that the inputs determine")


def find_shuffled_order(model: Any, inputs: dict[str, Any]) -> Int[Tensor, "1 rows columns"]:
    """ViLT's patches, which come in random order: the order of a run with the same random numbers."""
    embeddings = model.vilt.embeddings
    _, _, (index, shape) = embeddings.visual_embed(
        inputs["pixel_values"], inputs["pixel_mask"], max_image_length=model.config.max_image_length
    )
    rows, columns = (int(one) for one in shape)
    first = inputs["input_ids"].shape[1] + 1  # the question and the photo's class token
    cells = torch.full((1, rows, columns), -1, device="cpu")
    at = index[0].cpu()
    cells[0, at[:, 0], at[:, 1]] = torch.arange(len(at), device="cpu") + first
    return cells


def make_tiles_layout(tiles: Sequence[Geometry | None]) -> LayoutMaker:
    """:func:`lay_out_tiles` as a function of the layer's output alone."""
    return partial(lay_out_tiles, tuple(tiles))
