"""The one way to open pictures from files: known formats only, checked before anything is decoded, one error for all that may go wrong.

Photos, label maps and pictures in memory go through it alike. It needs no torch.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageFile, UnidentifiedImageError

from vlcam.errors import InputError
from vlcam.files import MAX_PIXELS, MAX_RATIO, MAX_SIDE, check_file, describe_error, show_path

FORMATS: Final = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, whatever a file's name says. Not all that Pillow can: EPS starts Ghostscript, and nobody keeps photos as WMF."""

_PHOTO: Final = "a photo"

_lock = threading.RLock()
"""Held while one of Pillow's and Python's switches, which are the process's, is thrown or put back."""

_quiet: list["warnings.catch_warnings[None]"] = []
_inside: list[int] = []
"""The threads that keep decoders quiet, each as often as it does."""


@contextmanager
def open_picture(
    path: str | Path, what: str = _PHOTO, *, max_pixels: int = MAX_PIXELS
) -> Iterator[ImageFile.ImageFile]:
    """A picture that is open and not decoded yet; inside, whatever a decoder raises becomes one InputError.

    Raises:
        InputError: the file doesn't exist, is empty, is none of :data:`FORMATS`, larger than ``max_pixels``, broken or cut off; the text
            says what was expected, as ``what`` calls it.
    """
    shown = show_path(path)
    if check_file(path, what) == 0:
        raise InputError(f"the file {shown} is empty; expected {what}: copy or download it again")
    with Path(path).open("rb") as file, _open_stream(file, shown, what, max_pixels) as image:
        yield image


@contextmanager
def open_encoded(
    data: bytes, shown: str, what: str = _PHOTO, *, max_pixels: int = MAX_PIXELS
) -> Iterator[ImageFile.ImageFile]:
    """As :func:`open_picture`, of the bytes of a picture's file; ``shown`` is what errors call it."""
    with _open_stream(BytesIO(data), shown, what, max_pixels) as image:
        yield image


@contextmanager
def _open_stream(
    file: BufferedReader | BytesIO, shown: str, what: str, max_pixels: int
) -> Iterator[ImageFile.ImageFile]:
    with convert_errors(shown, what):
        Image.init()
        with Image.open(file, formats=[one for one in FORMATS if one in Image.OPEN]) as image:
            check_pixels(shown, image.size, max_pixels, what)
            yield image


def check_pixels(shown: str, size: tuple[int, int], max_pixels: int, what: str = _PHOTO) -> None:
    """Raise InputError for a picture without pixels, with too many, or too long and narrow for what models do with it."""
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"{shown} has {width} x {height} pixels; expected at least one")
    if width * height > max_pixels:
        advice = "raise max_pixels of vlcam.image.open_photo and give the picture that it opens"
        raise InputError(
            f"{shown} has {width} x {height} = {width * height:,} pixels; expected at most {max_pixels:,}: "
            f"make it smaller{f', or (in Python) {advice}' if what == _PHOTO else ''}"
        )
    if max(size) > MAX_SIDE or max(size) > MAX_RATIO * min(size):
        raise InputError(
            f"{shown} has {width} x {height} pixels; expected sides of at most {MAX_SIDE:,}, the longer at most {MAX_RATIO:,} times "
            "the shorter: cut it into pieces"
        )


@contextmanager
def convert_errors(shown: str, what: str = _PHOTO) -> Iterator[None]:
    """Turn whatever a decoder may raise into one InputError, keep its warnings quiet and truncated files refused."""
    try:
        with _keep_quiet(), _refuse_truncated():
            yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{shown} is not {what} that can be read; expected one of {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{shown} has more pixels than Pillow opens; make it smaller: {describe_error(error)}"
        ) from error
    except Exception as error:  # broken files make decoders raise nearly anything
        raise InputError(f"{shown} is broken or cut off: {describe_error(error)}; copy or download it again") from error


@contextmanager
def _keep_quiet() -> Iterator[None]:
    """Decoders' warnings are ignored. Python's filters are the process's: the first thread sets them, the last one puts them back."""
    _enter_quiet()
    try:
        yield
    finally:
        _leave_quiet()


def _enter_quiet() -> None:
    with _lock:
        _inside.append(threading.get_ident())
        _quiet.append(warnings.catch_warnings())
        if len(_quiet) == 1:
            _quiet[0].__enter__()
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _leave_quiet() -> None:
    with _lock:
        if len(_quiet) == 1:
            _quiet[0].__exit__(None, None, None)
        if len(_quiet) > 0:
            _quiet.pop()
        with suppress(ValueError):
            _inside.remove(threading.get_ident())


@contextmanager
def _refuse_truncated() -> Iterator[None]:
    """Pillow's switch that fills the missing part of a photo with grey is off here, even if it was turned on elsewhere."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _lock:
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def _start_anew_after_fork() -> None:
    """In a forked child only the thread that forked is there: what the others kept quiet is heard again."""
    global _lock
    _lock = threading.RLock()
    _inside[:] = [one for one in _inside if one == threading.get_ident()]
    if _quiet and not _inside:
        _quiet[0].__exit__(None, None, None)
    del _quiet[len(_inside) :]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)
