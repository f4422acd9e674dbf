"""Where a model's grid lies on the original photo: resize, crop and padding as one affine map per axis, and back.

Points are ``(x, y)`` in pixels, pixel ``i`` covers ``[i, i + 1)``; boxes are ``(left, top, right, bottom)``; sizes are
``(width, height)``; grids are ``(rows, columns)``. A photo is meant after its EXIF orientation.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Geometry, InputError, Maps
from vlcam.engine.precision import widen

Box = tuple[float, float, float, float]

_EDGE = 1e-9
"""How far outside the input (as a fraction of its side) a point still counts as on its edge: rounding, far below a pixel."""


def make_resize_geometry(photo_size: tuple[int, int], input_size: tuple[int, int]) -> Geometry:
    """The whole photo squeezed or stretched to the input.

    >>> make_resize_geometry((300, 100), (30, 20)).scale
    (0.1, 0.2)
    """
    _check_size(photo_size, "photo size")
    _check_size(input_size, "input size")
    return Geometry(photo_size, input_size, _compute_scale(photo_size, input_size), (0.0, 0.0))


def make_crop_geometry(photo_size: tuple[int, int], resize_shorter: int, crop: int | tuple[int, int]) -> Geometry:
    """The shorter side resized to ``resize_shorter``, then the middle cut out: torchvision's ``Resize`` and ``CenterCrop``.

    The rounding is torchvision's to the pixel. ``crop`` is a side or ``(width, height)``; where it is larger than the resized
    photo, the photo is padded evenly.

    >>> make_crop_geometry((300, 100), 50, 40).offset
    (-55.0, -5.0)
    """
    _check_size(photo_size, "photo size")
    crop = (crop, crop) if isinstance(crop, int) else crop
    _check_size(crop, "crop")
    new = compute_resized_size(photo_size, resize_shorter)
    left, top = (_find_crop_start(have, want) for have, want in zip(new, crop, strict=True))
    return Geometry(photo_size, crop, _compute_scale(photo_size, new), (float(-left), float(-top)))


def make_letterbox_geometry(photo_size: tuple[int, int], input_size: tuple[int, int]) -> Geometry:
    """The whole photo, its proportions kept, in the middle of the input; bands fill the rest.

    The photo is resized to whole pixels (:func:`fit_size`), so the two scales may differ a little.

    >>> make_letterbox_geometry((300, 100), (30, 30)).offset
    (0.0, 10.0)
    """
    _check_size(photo_size, "photo size")
    _check_size(input_size, "input size")
    new = fit_size(photo_size, input_size)
    left, top = ((have - want) // 2 for have, want in zip(input_size, new, strict=True))
    return Geometry(photo_size, input_size, _compute_scale(photo_size, new), (float(left), float(top)))


def compute_resized_size(photo_size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """The size after torchvision's ``Resize(shorter)``: the longer side is cut to a whole number, not rounded."""
    if shorter < 1:
        raise InputError(f"resize_shorter={shorter} was given; expected a positive number of pixels")
    width, height = photo_size
    longer = int(shorter * max(photo_size) / min(photo_size))
    return (shorter, longer) if width <= height else (longer, shorter)


def fit_size(photo_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """The largest size with the photo's proportions that fits the input, in whole pixels."""
    ratio = min(into / of for of, into in zip(photo_size, input_size, strict=True))
    width, height = (max(1, min(into, round(of * ratio))) for of, into in zip(photo_size, input_size, strict=True))
    return width, height


def point_to_input(geometry: Geometry, x: float, y: float) -> tuple[float, float]:
    """Where a point of the photo lies on the model's input; outside ``input_size`` where the model didn't see it."""
    return x * geometry.scale[0] + geometry.offset[0], y * geometry.scale[1] + geometry.offset[1]


def point_to_photo(geometry: Geometry, x: float, y: float) -> tuple[float, float]:
    """Where a point of the model's input lies on the photo; outside ``photo_size`` where the input is padding."""
    return (x - geometry.offset[0]) / geometry.scale[0], (y - geometry.offset[1]) / geometry.scale[1]


def find_seen_box(geometry: Geometry) -> Box:
    """The part of the photo that the model saw, in photo pixels; without area where it saw nothing of it."""
    left, top, right, bottom = _box_to_photo(geometry, 0.0, 0.0, *map(float, geometry.input_size))
    width, height = geometry.photo_size
    return _clip(left, width), _clip(top, height), _clip(right, width), _clip(bottom, height)


def find_cell_box(geometry: Geometry, row: int, column: int, grid: tuple[int, int]) -> Box:
    """The box of a grid cell in photo pixels; it reaches outside the photo where the input is padding.

    Raises InputError for a cell that the grid ``(rows, columns)`` doesn't have.
    """
    rows, columns = grid
    if not (0 <= row < rows and 0 <= column < columns):
        raise InputError(
            f"cell ({row}, {column}) was given; the grid has {rows} rows and {columns} columns, counted from 0"
        )
    across, down = geometry.input_size[0] / columns, geometry.input_size[1] / rows
    return _box_to_photo(geometry, column * across, row * down, (column + 1) * across, (row + 1) * down)


def find_cell(geometry: Geometry, x: float, y: float, grid: tuple[int, int]) -> tuple[int, int] | None:
    """The ``(row, column)`` of the cell over a point of the photo, or None where the model didn't see it."""
    rows, columns = grid
    if rows < 1 or columns < 1:
        raise InputError(f"a grid of {rows} rows and {columns} columns was given; expected at least one of each")
    at = point_to_input(geometry, x, y)
    if not all(0 <= place < side for place, side in zip(at, geometry.input_size, strict=True)):
        return None
    column, row = int(at[0] * columns / geometry.input_size[0]), int(at[1] * rows / geometry.input_size[1])
    return min(row, rows - 1), min(column, columns - 1)


def to_photo(
    maps: Maps, geometry: Geometry, *, size: tuple[int, int] | None = None
) -> Float[Tensor, "targets height width"]:
    """Grid maps on the photo's pixels: bilinear between cell centres, sampled at the centre of each photo pixel.

    This is ``F.interpolate(mode="bilinear", align_corners=False)`` made exact for crops and padding: outside the outermost cell
    centres the edge cell goes on, and what the model didn't see is NaN.

    Args:
        maps: ``(targets, rows, columns)``; the result has the same dtype and device.
        geometry: where the model's input lies on the photo.
        size: ``(width, height)`` of a copy of the photo to draw on; the photo's own size by default. The result takes
            ``targets * width * height`` numbers, so large photos are better drawn small.

    Raises:
        InputError: for an empty grid or size.
    """
    rows, columns = maps.shape[-2:]
    if rows < 1 or columns < 1:
        raise InputError(f"maps of shape {tuple(maps.shape)} were given; expected at least one row and one column")
    width, height = size = geometry.photo_size if size is None else size
    _check_size(size, "size")
    left, right, across, seen_x = _find_samples(geometry, 0, width, columns, maps)
    above, below, down, seen_y = _find_samples(geometry, 1, height, rows, maps)
    exact = widen(maps)
    down = down[:, None]
    tall = exact[:, above] * (1 - down) + exact[:, below] * down
    drawn = tall[:, :, left] * (1 - across) + tall[:, :, right] * across
    seen = seen_y[:, None] & seen_x
    return drawn.masked_fill(~seen, math.nan).to(maps.dtype)


def _find_samples(
    geometry: Geometry, axis: int, pixels: int, cells: int, like: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each pixel along an axis: the cells before and after its centre, how far it lies between them, and if it was seen."""
    side = geometry.input_size[axis]
    centres = (torch.arange(pixels, dtype=torch.float64, device="cpu") + 0.5) * (geometry.photo_size[axis] / pixels)
    places = (centres * geometry.scale[axis] + geometry.offset[axis]) / side
    seen = (places >= -_EDGE) & (places <= 1 + _EDGE)
    at = (places * cells - 0.5).clamp(0, cells - 1)
    before = at.long()
    part = (at - before).to(torch.float64 if like.dtype == torch.float64 else torch.float32)
    after = (before + 1).clamp_max(cells - 1)
    return before.to(like.device), after.to(like.device), part.to(like.device), seen.to(like.device)


def _compute_scale(photo_size: tuple[int, int], new: tuple[int, int]) -> tuple[float, float]:
    return new[0] / photo_size[0], new[1] / photo_size[1]


def _find_crop_start(have: int, want: int) -> int:
    """Where torchvision's ``CenterCrop`` starts; negative for padding."""
    return -((want - have) // 2) if want > have else round((have - want) / 2.0)


def _box_to_photo(geometry: Geometry, left: float, top: float, right: float, bottom: float) -> Box:
    one, other = point_to_photo(geometry, left, top), point_to_photo(geometry, right, bottom)
    (low_x, high_x), (low_y, high_y) = (sorted(pair) for pair in zip(one, other, strict=True))
    return low_x, low_y, high_x, high_y


def _clip(place: float, side: int) -> float:
    return min(max(place, 0.0), float(side))


def _check_size(size: tuple[int, int], what: str) -> None:
    if min(size) < 1:
        raise InputError(f"{what} {size} was given; expected a positive width and height in pixels")
