"""Open a photo from a file, a PIL image, an array or a tensor: upright, RGB, checked, and with its identity.

What people are shown is always 8-bit RGB. A model may want something else: transparency and :class:`Bands` travel with the picture
(:func:`get_bands`), for :class:`vlcam.Preprocess` to make its channels from.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vlcam.contracts import InputError, shorten, show_record
from vlcam.files import MAX_PIXELS, show_path
from vlcam.image.decode import (
    Opened,
    check_white,
    get_opened,
    make_bands_hint,
    mark_opened,
    open_file,
    read_array,
    turn_upright,
)
from vlcam.image.decode import as_rgb as as_rgb
from vlcam.image.decode import as_rgba as as_rgba
from vlcam.image.decode import get_bands as get_bands
from vlcam.image.decode import list_photos as list_photos
from vlcam.image.open_picture import check_pixels, convert_errors

KEPT_SIDE = 1024
"""The longer side of the pixels that a Photo keeps to be shown."""

_EXPECTED = "expected a path, a PIL image, an array (height, width, channels) or a tensor (channels, height, width)"


@final
@dataclass(frozen=True, eq=False)
class Photo:
    """The photo's identity and what is needed to show it.

    ``pixels`` are RGB ``(height, width, 3)`` after EXIF orientation; large photos are kept at reduced size, ``width`` and
    ``height`` are those of the original. ``sha256`` is over the original decoded pixels.
    """

    name: str
    width: int
    height: int
    sha256: str
    pixels: UInt8[np.ndarray, "height width 3"]

    def __repr__(self) -> str:
        return f"Photo({shorten(self.name)}: {self.width}x{self.height}, sha256 {shorten(self.sha256, 12)})"


@final
@dataclass(frozen=True, eq=False)
class Bands:
    """A photo with any number of bands: multispectral, depth, X-rays of 16 bits.

    ``values`` are an array ``(height, width, bands)`` or a tensor ``(bands, height, width)`` of finite numbers. A model gets all
    bands by way of ``vlcam.Preprocess(channels=...)``: uint8 and uint16 scaled to 0..1, anything else as it is. ``shown`` are
    the bands that people see as red, green and blue, or the one that they see as grey; by default the first three, or the first if
    there are fewer. ``limits`` are the values shown as black and as white; by default the lowest and the highest of what is shown.
    """

    values: np.ndarray | Tensor
    shown: tuple[int, int, int] | int | None = None
    limits: tuple[float, float] | None = None

    __repr__ = show_record

    def numbers(self) -> np.ndarray:
        """The values as float32 ``(height, width, bands)``. Raises InputError for another shape, or values that aren't finite."""
        if isinstance(self.values, Tensor):
            expected, plain = "a tensor (bands, height, width)", self.values.detach().cpu()
            plain = plain.permute(1, 2, 0) if plain.ndim == 3 else plain
            array = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
        else:
            expected, array = "an array (height, width, bands)", self.values
        if array.ndim != 3 or not array.shape[2] or array.dtype.kind not in "uif":
            raise InputError(
                f"bands of shape {tuple(self.values.shape)} and dtype {self.values.dtype} were given; expected {expected} of numbers"
            )
        most = 255.0 if array.dtype == np.uint8 else 65535.0 if array.dtype == np.uint16 else 1.0
        numbers = np.ascontiguousarray(array / np.float32(most), dtype=np.float32)
        if not np.isfinite(numbers).all():
            raise InputError("bands with numbers that are not finite were given; replace NaN and infinity first")
        return numbers


def open_photo(
    source: Any, *, name: str | None = None, max_pixels: int = MAX_PIXELS, white: int | float | None = None
) -> tuple[Image.Image, Photo]:
    """Open a photo, apply its EXIF orientation and convert it to 8-bit RGB.

    Transparency is laid on white, 16 bits become 8; of an animation the first frame is taken. The picture that comes back can be given
    wherever a photo is expected: its bands, its name, its scale and its size have been seen to.

    Args:
        source: a path; a PIL image; a numpy array ``(height, width)`` or ``(height, width, 1|3|4)``; a tensor ``(height, width)``
            or ``(1|3|4, height, width)``; or :class:`Bands`. Arrays and tensors hold uint8, uint16, or floats from 0 to 1; four
            channels are RGBA.
        name: what to call it; the file's name by default.
        max_pixels: larger photos are refused, for files before anything is decoded.
        white: the value that is shown as white, in the photo's own numbers, such as 4095 for 12 bits in a file of 16; by default 255,
            65535 for 16 bits, and 1 for floats. What is above it is white, too.

    Returns:
        The RGB image at full size, and the record of it that explanations keep (at most 1024 pixels wide or high).

    Raises:
        InputError: for anything that isn't a whole photo of that size. The text says what was given and what to do.
    """
    check_white(white)
    image, found = _open_picture(source, max_pixels, white)
    with convert_errors(f"the photo {show_path(name or found)}"):
        return _identify(image, source, name or found, white)


def _identify(image: Image.Image, source: Any, name: str, white: int | float | None) -> tuple[Image.Image, Photo]:
    """The picture with what goes with it, and its record."""
    before = get_opened(source) if isinstance(source, Image.Image) and white is None else Opened()
    if before.sha256 and (before.bands is None or before.bands.shape[:2] == (image.height, image.width)):
        mark_opened(image, before)
        photo = _make_record(image, name)
        if photo.sha256 == before.sha256:  # opened before and not changed since, so it keeps what goes with it
            return image, photo
        mark_opened(image, Opened())
    photo = _make_record(image, name)
    return mark_opened(image, replace(get_opened(image), name=photo.name, sha256=photo.sha256)), photo


def read_pixels(source: Any) -> UInt8[np.ndarray, "height width 3"]:
    """The RGB pixels to draw on, of whatever :func:`open_photo` takes, but a path; an array that has them already is itself.

    Raises InputError as :func:`open_photo` does, and for a picture that isn't opaque: what is behind it is for the caller to say.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] == 3:
        return source
    if isinstance(source, (str, Path)):
        raise InputError(f"the path {str(source)[:80]!r} was given; {_EXPECTED.replace('a path, ', '')}")
    picture, _ = _open_picture(source, MAX_PIXELS, None)
    bands = get_bands(picture)
    if bands is not None and bands.dtype == np.uint8 and int(bands[:, :, 3].min()) < 255:
        raise InputError(
            "a picture with transparency was given to be drawn on; give its RGB, or the picture that vlcam.image.open_photo makes of it, "
            "which lies on white"
        )
    return np.asarray(picture)


def _open_picture(source: Any, max_pixels: int, white: int | float | None) -> tuple[Image.Image, str]:
    """A photo as upright RGB, and what it is called."""
    if isinstance(source, (str, Path)):
        return open_file(source, max_pixels, white), Path(source).name
    if isinstance(source, Image.Image):
        opened = get_opened(source)
        found = opened.name or Path(str(getattr(source, "filename", ""))).name or "photo"
        if not opened.sha256:  # whoever opened it has said how large it may be
            check_pixels("a PIL image", source.size, max_pixels)
        if white is not None and opened.bands is not None:
            raise InputError(
                f"white={white:g} was given for a photo of bands; give limits=(0, {white:g}) of vlcam.Bands"
            )
        with convert_errors(f"the PIL image {found!r}"):
            return turn_upright(source, white), found
    if isinstance(source, Tensor):
        return _from_tensor(source, max_pixels, white), "photo"
    if isinstance(source, np.ndarray):
        return read_array(source, max_pixels, "an array", f"shape {source.shape}", white), "photo"
    if isinstance(source, Bands):
        if white is not None:
            raise InputError(
                f"white={white:g} was given for a photo of bands; give limits=(0, {white:g}) of vlcam.Bands"
            )
        return _from_bands(source, max_pixels), "photo"
    raise InputError(f"a {type(source).__name__} was given; {_EXPECTED}")


def _from_bands(source: Bands, max_pixels: int) -> Image.Image:
    numbers = source.numbers()
    height, width, count = numbers.shape
    check_pixels("a photo of bands", (width, height), max_pixels)
    shown = source.shown if source.shown is not None else (0, 1, 2) if count >= 3 else 0
    chosen = (shown,) * 3 if isinstance(shown, int) else shown
    if len(chosen) != 3 or not all(0 <= one < count for one in chosen):
        raise InputError(f"shown={source.shown} was given; expected one or three bands of the {count}, counted from 0")
    seen = numbers[:, :, chosen].astype(np.float64)
    low, high = source.limits or (float(seen.min()), float(seen.max()))
    if not (low < high or source.limits is None):
        raise InputError(f"limits={source.limits} was given; expected a lower and a higher number")
    light = (seen - low) / (high - low) if high > low else np.zeros_like(seen)
    picture = Image.fromarray(np.round(light.clip(0, 1) * 255).astype(np.uint8))
    return mark_opened(picture, Opened(numbers))


def _from_tensor(tensor: Tensor, max_pixels: int, white: int | float | None) -> Image.Image:
    given = f"shape {tuple(tensor.shape)}"
    if tensor.ndim == 4:
        raise InputError(
            f"a batch of {given} was given; expected one photo (channels, height, width): give them one by one"
        )
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise InputError(
            f"a tensor of {given} was given; expected (channels, height, width) with 1, 3 or 4 channels{make_bands_hint(tensor.shape)}"
        )
    if not (tensor.dtype in (torch.uint8, torch.uint16) or tensor.is_floating_point()):
        raise InputError(f"a tensor of dtype {tensor.dtype} was given; expected uint8, uint16, or floats from 0 to 1")
    check_pixels("a tensor", (tensor.shape[2], tensor.shape[1]), max_pixels)
    plain = tensor.detach().cpu()
    plain = plain.to(torch.float64) if plain.is_floating_point() else plain
    return read_array(plain.permute(1, 2, 0).numpy(), max_pixels, "a tensor", given, white)


def _make_record(image: Image.Image, name: str) -> Photo:
    pixels = np.array(image)
    digest = hashlib.sha256(f"RGB {image.width} x {image.height}\n".encode())
    digest.update(pixels.reshape(-1).data)
    bands = get_bands(image)
    if bands is not None and bands.dtype != np.uint8:
        digest.update(f"{bands.shape[2]} bands\n".encode() + bands.tobytes())
    kept = pixels if max(image.size) <= KEPT_SIDE else np.array(_reduce(image))
    return Photo(name, image.width, image.height, digest.hexdigest(), kept)


def _reduce(image: Image.Image) -> Image.Image:
    width, height = (max(1, round(side * KEPT_SIDE / max(image.size))) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
