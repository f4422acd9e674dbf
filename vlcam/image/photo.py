"""Open a photo from a file, a PIL image, an array or a tensor: upright, RGB, checked, and with its identity.

What people are shown is always 8-bit RGB. A model may want something else: transparency and :class:`Bands` travel with the picture
(:func:`get_bands`), for :class:`vlcam.Preprocess` to make its channels from.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from vlcam.contracts import InputError, shorten, show_record
from vlcam.files import MAX_PIXELS, show_path
from vlcam.image.decode import FORMATS, check_pixels, convert_errors, open_picture

KEPT_SIDE = 1024
"""The longer side of the pixels that a Photo keeps to be shown."""

_BANDS = "vlcam_bands"
"""The attribute of a picture that holds more than its RGB; Pillow copies it to no other picture."""

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


def open_photo(source: Any, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, Photo]:
    """Open a photo, apply its EXIF orientation and convert it to 8-bit RGB.

    Transparency is laid on white, 16 bits become 8; of an animation the first frame is taken.

    Args:
        source: a path; a PIL image; a numpy array ``(height, width)`` or ``(height, width, 1|3|4)``; a tensor ``(height, width)``
            or ``(1|3|4, height, width)``; or :class:`Bands`. Arrays and tensors hold uint8, uint16, or floats from 0 to 1; four
            channels are RGBA.
        name: what to call it; the file's name by default.
        max_pixels: larger photos are refused, for files before anything is decoded.

    Returns:
        The RGB image at full size, and the record of it that explanations keep (at most 1024 pixels wide or high).

    Raises:
        InputError: for anything that isn't a whole photo of that size. The text says what was given and what to do.
    """
    if isinstance(source, (str, Path)):
        image, found = _from_file(source, max_pixels), Path(source).name
    elif isinstance(source, Image.Image):
        found = Path(str(getattr(source, "filename", ""))).name or "photo"
        check_pixels("a PIL image", source.size, max_pixels)
        with convert_errors(f"the PIL image {found!r}"):
            image = _turn_upright(source)
    elif isinstance(source, Tensor):
        image, found = _from_tensor(source, max_pixels), "photo"
    elif isinstance(source, np.ndarray):
        image, found = _from_array(source, max_pixels, "an array", f"shape {source.shape}"), "photo"
    elif isinstance(source, Bands):
        image, found = _from_bands(source, max_pixels), "photo"
    else:
        raise InputError(f"a {type(source).__name__} was given; {_EXPECTED}")
    with convert_errors(f"the photo {show_path(name or found)}"):
        return image, _make_record(image, name or found)


def get_bands(image: Image.Image) -> np.ndarray | None:
    """What a picture of :func:`open_photo` was made from, if that was more than RGB: ``(height, width, bands)``.

    RGBA as uint8, or the numbers of :class:`Bands` as float32.
    """
    found: np.ndarray | None = getattr(image, _BANDS, None)
    return found


def list_photos(folder: str | Path) -> list[Path]:
    """The image files of a folder in the order of their names; other files, hidden ones and folders in it are passed over.

    Raises InputError for what is not a folder, or has no image files.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(
            f"{show_path(folder)} is not a folder; expected a folder of photos, or an iterable of their paths"
        )
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS}
    files = (one for one in path.iterdir() if one.suffix.lower() in endings and not one.name.startswith("."))
    found = sorted(one for one in files if one.is_file())
    if not found:
        raise InputError(f"the folder {show_path(folder)} has no photos in it; expected files such as a.jpg or b.png")
    return found


def as_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image of any mode, transparency laid on white.

    Raises:
        InputError: for what has no 8-bit meaning, and for :class:`Bands`, which are shown as RGB but aren't.
    """
    bands = get_bands(image)
    if bands is not None and bands.dtype != np.uint8:
        count = bands.shape[2]
        raise InputError(
            f"a photo of {count} bands was given to a model that takes RGB; give an RGB photo, or let "
            f"preprocess=vlcam.Preprocess(..., channels={count}) make the model's input"
        )
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(np.asarray(image), image.mode)
    if _is_transparent(image):
        full = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", full.size, (255, 255, 255, 255)), full).convert("RGB")
    return image.convert("RGB")


def as_rgba(image: Image.Image) -> Image.Image:
    """8-bit RGBA of an image of any mode, also of one that :func:`open_photo` laid on white; opaque where nothing else is known.

    Raises:
        InputError: as :func:`as_rgb`.
    """
    bands = get_bands(image)
    if bands is not None and bands.dtype == np.uint8:
        return Image.fromarray(bands)
    return image.convert("RGBA") if _is_transparent(image) else as_rgb(image).convert("RGBA")


def _is_transparent(image: Image.Image) -> bool:
    return "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")


def _flatten(image: Image.Image) -> Image.Image:
    """RGB of an image of any mode, a new object, with its RGBA attached if it has transparency."""
    flat = Image.fromarray(np.array(as_rgb(image)))
    if _is_transparent(image):
        setattr(flat, _BANDS, np.array(as_rgba(image)))
    return flat


def _from_file(source: str | Path, max_pixels: int) -> Image.Image:
    if isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|data:", source):
        raise InputError(f"the URL {source[:80]!r} was given; vlcam doesn't download: save the photo and give its path")
    with open_picture(source, max_pixels=max_pixels) as image:
        return _turn_upright(image)


def _turn_upright(image: Image.Image) -> Image.Image:
    """Decoded, turned as its EXIF says, RGB; never the same object, and without the file behind it."""
    image.load()
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # EXIF that can't be read has no orientation; the pixels are fine
        turned = image.copy()
    return _flatten(turned)


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
    setattr(picture, _BANDS, numbers)
    return picture


def _from_deep(values: np.ndarray, mode: str) -> Image.Image:
    """Grey of 16 bits (0..65535) or floats (0..1) as RGB."""
    low, high = float(values.min()), float(values.max())
    most = 1.0 if mode == "F" else 65535.0
    if not (low >= 0 and high <= most):
        raise InputError(
            f"an image of mode {mode} with values from {low:g} to {high:g} was given; expected 0 to {most:g}: convert it to 8 bits"
        )
    return Image.fromarray(np.round(values.astype(np.float64) * (255 / most)).astype(np.uint8)).convert("RGB")


def _from_tensor(tensor: Tensor, max_pixels: int) -> Image.Image:
    given = f"shape {tuple(tensor.shape)}"
    if tensor.ndim == 4:
        raise InputError(
            f"a batch of {given} was given; expected one photo (channels, height, width): give them one by one"
        )
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise InputError(
            f"a tensor of {given} was given; expected (channels, height, width) with 1, 3 or 4 channels{_make_bands_hint(tensor.shape)}"
        )
    if not (tensor.dtype in (torch.uint8, torch.uint16) or tensor.is_floating_point()):
        raise InputError(f"a tensor of dtype {tensor.dtype} was given; expected uint8, uint16, or floats from 0 to 1")
    check_pixels("a tensor", (tensor.shape[2], tensor.shape[1]), max_pixels)
    plain = tensor.detach().cpu()
    plain = plain.to(torch.float64) if plain.is_floating_point() else plain
    return _from_array(plain.permute(1, 2, 0).numpy(), max_pixels, "a tensor", given)


def _from_array(array: np.ndarray, max_pixels: int, what: str, given: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; its channels come first: use array.transpose(1, 2, 0)" if first else _make_bands_hint(array.shape)
        raise InputError(
            f"{what} of {given} was given; expected (height, width, channels) with 1, 3 or 4 channels{hint}"
        )
    check_pixels(what, (array.shape[1], array.shape[0]), max_pixels)
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"{what} of floats from {low:g} to {high:g} was given; expected 0 to 1: divide by 255, or undo the normalisation"
            )
        array = np.round(array.astype(np.float64) * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = np.round(array * (255 / 65535)).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"{what} of dtype {array.dtype} was given; expected uint8, uint16, or floats from 0 to 1")
    grey = array.ndim == 3 and array.shape[2] == 1
    return _flatten(Image.fromarray(np.ascontiguousarray(array[:, :, 0] if grey else array)))


def _make_bands_hint(shape: Sequence[int]) -> str:
    return "; wrap other bands in vlcam.image.photo.Bands" if len(shape) == 3 else ""


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
