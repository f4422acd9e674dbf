"""Decoding without torch: files, PIL images and arrays as upright 8-bit RGB, checked, with what else belongs to them.

:func:`vlcam.image.photo.open_photo` is what callers use. A picture that it opened carries an :class:`Opened`, which Pillow copies to no
other picture: the channels that RGB lacks, and sentences about how the photo was read.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageFile, ImageOps

from vlcam.errors import InputError
from vlcam.files import MAX_PIXELS, show_path
from vlcam.image.open_picture import FORMATS, check_pixels, open_encoded, open_picture

_ATTRIBUTE: Final = "vlcam_opened"
_DEEP: Final = 65535.0
_DARK: Final = 0.25
"""A photo of 16 bits whose brightest value is below this part of white holds 14 bits or fewer, and is hardly to be seen."""
_FAINT: Final = 1 / 16
"""The same for floats: 12 bits that were divided as if they were 16, or bytes that were divided by 255 twice."""


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """What goes with a picture that was opened: more bands than RGB, remarks on how it was read, its name and its fingerprint.

    ``bands`` are ``(height, width, bands)``: RGBA as uint8, or the numbers of :class:`vlcam.Bands` as float32.
    """

    bands: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    name: str = ""
    sha256: str = ""

    def __repr__(self) -> str:
        return f"Opened({self.name!r:.60}, {len(self.notes)} notes)"


def get_opened(image: Image.Image) -> Opened:
    """What goes with a picture; of one that vlcam didn't open, nothing."""
    found: Opened = getattr(image, _ATTRIBUTE, None) or Opened()
    return found


def mark_opened(image: Image.Image, opened: Opened) -> Image.Image:
    """The picture, with what goes with it."""
    setattr(image, _ATTRIBUTE, opened)
    return image


def get_bands(image: Image.Image) -> np.ndarray | None:
    """What a picture of :func:`open_photo` was made from, if that was more than RGB: ``(height, width, bands)``.

    RGBA as uint8, or the numbers of :class:`Bands` as float32.
    """
    return get_opened(image).bands


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
    if _is_deep(image):
        return Image.fromarray(_scale_deep(image, None)[0]).convert("RGB")
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


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def flatten(image: Image.Image, white: int | float | None = None) -> Image.Image:
    """RGB of an image of any mode, a new object, with its RGBA if it has transparency, and with remarks on its scale.

    ``white`` is the value that is shown as white, in the image's own numbers.
    """
    if _is_deep(image):
        values, notes = _scale_deep(image, white)
        return mark_opened(Image.fromarray(values).convert("RGB"), Opened(notes=notes))
    if white is not None and _is_transparent(image):
        raise InputError(f"white={white:g} was given for a photo with transparency; lay it on a background first")
    flat = np.array(as_rgb(image))
    if white is not None:
        values, notes = scale_values(flat, 255.0, white, "8 bits")
        return mark_opened(Image.fromarray(values), Opened(notes=notes))
    opened = Opened(np.array(as_rgba(image))) if _is_transparent(image) else Opened()
    return mark_opened(Image.fromarray(flat), opened)


def check_white(white: int | float | None) -> None:
    """Raise InputError for a white that is no positive number."""
    if white is None:
        return
    if isinstance(white, bool) or not isinstance(white, (int, float)) or not (math.isfinite(white) and white > 0):
        raise InputError(
            f"white={white!r} was given; expected the value that is white, a positive number such as 4095 for 12 bits"
        )


def scale_values(
    values: Shaped[np.ndarray, "height width *channels"], most: float, white: int | float | None, kind: str
) -> tuple[UInt8[np.ndarray, "height width *channels"], tuple[str, ...]]:
    """Numbers from 0 as bytes, and remarks on their scale; ``most`` is white, or else ``white`` and all above it.

    ``kind`` says what the numbers are: ``16 bits``, ``8 bits`` or ``floats``.
    """
    whole = most if white is None else float(white)
    exact = values.astype(np.float64) if values.dtype.kind == "f" else values.astype(np.float32)
    exact *= 255 / whole
    scaled = np.round(np.clip(exact, 0, 255, out=exact) if white is not None else exact).astype(np.uint8)
    if white is not None:
        above = float((values > white).mean()) if values.size else 0.0
        lost = f"{above:.1%} of its values are above white, {white:g}, and are shown as white."
        return scaled, (lost,) if above > 0 else ()
    return scaled, _describe_scale(float(values.max()), most, kind)


def _describe_scale(highest: float, most: float, kind: str) -> tuple[str, ...]:
    """A remark on a photo so dark that its numbers are probably on another scale."""
    if highest <= 0 or most not in (_DEEP, 1.0) or highest >= most * (_DARK if most == _DEEP else _FAINT):
        return ()
    if most == _DEEP:
        bits = int(highest).bit_length()
        return (
            f"The photo's {kind} reach {highest:.0f} of {most:.0f} only, so people and the model see it nearly black. If it holds "
            f"{bits} bits, say so with white={2**bits - 1} (vlcam.image.open_photo, --white).",
        )
    return (
        f"The photo's {kind} reach {highest:.3g} of 1 only, so people and the model see it nearly black. If that is its white, say so with "
        f"white={highest:.3g} (vlcam.image.open_photo, --white).",
    )


def _describe_halved(flat: Image.Image, white: int | float | None) -> tuple[str, ...]:
    """A remark on a file of 16 bits for each of several channels, of which Pillow reads the upper 8."""
    highest = max(int(one[1]) for one in flat.getextrema())  # type: ignore[index]
    advice = "read it with another library and give the array of uint16 to vlcam.image.open_photo"
    if white is not None:
        raise InputError(
            f"white={white:g} was given for a file of 16 bits for each colour, of which Pillow reads the upper 8; {advice}"
        )
    if not 0 < highest < 255 * _DARK:
        return ()
    return (
        f"The file has 16 bits for each colour, of which the upper 8 are read, and they reach {highest} of 255 only, so people and the "
        f"model see it nearly black. If it holds fewer than 16 bits, {advice}, with white=.",
    )


def open_file(source: str | Path, max_pixels: int = MAX_PIXELS, white: int | float | None = None) -> Image.Image:
    """A file as upright RGB. Raises InputError for anything that isn't a whole photo of at most that many pixels."""
    refuse_url(source)
    with open_picture(source, max_pixels=max_pixels) as image:
        return _decode(image, white)


def open_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The bytes of a photo's file as upright RGB, which is called by that name. Raises InputError as :func:`open_file` does."""
    with open_encoded(data, show_path(name), max_pixels=max_pixels) as image:
        found = _decode(image, None)
    return mark_opened(found, replace(get_opened(found), name=Path(name).name))


def _decode(image: ImageFile.ImageFile, white: int | float | None) -> Image.Image:
    halved = image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(part[-1]) for part in image.tile)
    flat = turn_upright(image, None if halved else white)
    if not halved:
        return flat
    opened = get_opened(flat)
    return mark_opened(flat, replace(opened, notes=(*opened.notes, *_describe_halved(flat, white))))


def check_photo_file(source: str | Path, max_pixels: int = MAX_PIXELS) -> None:
    """Raise InputError for a file that is missing, no picture or too large, as far as that can be told without decoding it."""
    refuse_url(source)
    with open_picture(source, max_pixels=max_pixels):
        pass


def refuse_url(source: str | Path) -> None:
    """Raise InputError for an address in place of a path."""
    if isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|data:", source):
        raise InputError(f"the URL {source[:80]!r} was given; vlcam doesn't download: save the photo and give its path")


def turn_upright(image: Image.Image, white: int | float | None = None) -> Image.Image:
    """Decoded, turned as its EXIF says, RGB; never the same object, and without the file behind it."""
    image.load()
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # EXIF that can't be read has no orientation; the pixels are fine
        turned = image.copy()
    return flatten(turned, white)


def _scale_deep(
    image: Image.Image, white: int | float | None
) -> tuple[UInt8[np.ndarray, "height width"], tuple[str, ...]]:
    """Grey of 16 bits (0..65535) or floats (0..1) as bytes."""
    values, floats = np.asarray(image), image.mode == "F"
    low, high = float(values.min()), float(values.max())
    most = 1.0 if floats else _DEEP
    if not (low >= 0 and (high <= most or (white is not None and math.isfinite(high)))):
        raise InputError(
            f"an image of mode {image.mode} with values from {low:g} to {high:g} was given; expected 0 to {most:g}: convert it to "
            "8 bits, or say which value is white (white=, --white)"
        )
    if image.mode == "I" and white is None and values.dtype != np.uint16:
        values = values.astype(np.uint16)
    return scale_values(values, most, white, "floats" if floats else "16 bits")


def read_array(
    array: np.ndarray, max_pixels: int, what: str, given: str, white: int | float | None = None
) -> Image.Image:
    """An array ``(height, width)`` or ``(height, width, 1|3|4)`` as RGB. Raises InputError; ``what`` and ``given`` say of what."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; its channels come first: use array.transpose(1, 2, 0)" if first else make_bands_hint(array.shape)
        raise InputError(
            f"{what} of {given} was given; expected (height, width, channels) with 1, 3 or 4 channels{hint}"
        )
    check_pixels(what, (array.shape[1], array.shape[0]), max_pixels)
    floats = bool(np.issubdtype(array.dtype, np.floating))
    if not floats and array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{what} of dtype {array.dtype} was given; expected uint8, uint16, or floats from 0 to 1")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if floats:
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and (high <= 1 or (white is not None and math.isfinite(high)))):
            raise InputError(
                f"{what} of floats from {low:g} to {high:g} was given; expected 0 to 1: divide by 255, undo the normalisation, or say "
                "which value is white (white=)"
            )
    transparent = array.ndim == 3 and array.shape[2] == 4
    if white is not None and transparent:
        raise InputError(f"white={white:g} was given for {what} with transparency; lay it on a background first")
    most, kind = (1.0, "floats") if floats else (_DEEP, "16 bits") if array.dtype == np.uint16 else (255.0, "8 bits")
    notes: tuple[str, ...] = ()
    if white is not None or most != 255.0:
        if transparent:  # a full alpha would hide dark colours
            notes = _describe_scale(float(array[:, :, :3].max()), most, kind)
            array, _ = scale_values(array, most, None, kind)
        else:
            array, notes = scale_values(array, most, white, kind)
    flat = flatten(Image.fromarray(np.ascontiguousarray(array)))
    return mark_opened(flat, replace(get_opened(flat), notes=notes))


def make_bands_hint(shape: Sequence[int]) -> str:
    """What to do with channels that are no colours."""
    return "; wrap other bands in vlcam.image.photo.Bands" if len(shape) == 3 else ""
