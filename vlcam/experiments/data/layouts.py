"""What readers of data sets share: how a layout is found in a folder, and photos in the frame they were annotated in."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from PIL import Image

from vlcam.contracts import InputError
from vlcam.experiments.data.samples import Has, World
from vlcam.files import is_there
from vlcam.image.open_picture import open_picture
from vlcam.image.photo import as_rgb

_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = (5, 6, 7, 8)


@final
@dataclass(frozen=True)
class MissingLayout:
    """Why a folder doesn't have a layout. ``partly``: some of its files are there, so it was probably meant."""

    what: str
    partly: bool = False


@final
@dataclass(frozen=True)
class DataLayout:
    """A way in which a data set is laid out in a folder.

    ``expects`` lists the files in words. ``open(path, split, needs)`` returns the world, or what is missing; it raises InputError for files
    that are there but broken. ``needs`` is what the experiment needs of it, where that changes which photos are taken.
    """

    name: str
    title: str
    expects: str
    has: frozenset[Has]
    open: Callable[[Path, str | None, frozenset[Has]], World | MissingLayout]


def open_annotated(photo: Path, size: tuple[int, int] | None = None) -> tuple[Path | Image.Image, tuple[int, int]]:
    """A photo in the frame that its annotations were made in, as something that ``vlcam.explain`` takes, with width and height.

    Most annotations were drawn on the pixels as they are stored, whatever the EXIF orientation says, and models were trained on them that
    way. So a photo that EXIF would turn is decoded and given unturned, unless only the turned one has the annotated ``size``. Others are
    given by their paths, and only their headers are read.

    Raises:
        InputError: there is no such photo, it can't be read, or it doesn't have the annotated size.
    """
    if not is_there(photo):
        raise InputError(f"the photo {str(photo)!r} is missing; put it there, or take it off the data set's list")
    with open_picture(photo) as image:
        stored, turn = image.size, _read_orientation(image)
        turned = (stored[1], stored[0]) if turn in _SIDEWAYS else stored
        if size is not None and size not in (stored, turned):
            raise InputError(
                f"the photo {str(photo)!r} has {stored[0]} x {stored[1]} pixels, but was annotated at {size[0]} x {size[1]}; "
                "put the original photo there"
            )
        if turn == 1 or (size is not None and size != stored):
            return photo, turned
        image.load()
        return Image.fromarray(np.asarray(as_rgb(image))), stored


def list_files(folder: Path, ending: str = "") -> list[str]:
    """The names of the files in a folder with this ending in any case, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted(
            one.name
            for one in found
            if one.name.lower().endswith(ending.lower()) and not one.name.startswith(".") and one.is_file()
        )


def find_first_folder(folders: Iterable[Path], holds: Callable[[Path], Any]) -> Path | None:
    """The first folder that exists and holds what is looked for."""
    return next((one for one in folders if one.is_dir() and holds(one)), None)


def read_start(path: Path, characters: int = 4000) -> str:
    """The first characters of a text file, to tell what it is without reading it all; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(characters).decode("utf-8-sig", "replace").lstrip()
    except OSError:
        return ""


def _read_orientation(image: Image.Image) -> int:
    """1 to 8; 1 (upright) where EXIF can't be read, as :func:`vlcam.image.photo.open_photo` takes it."""
    try:
        found = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF makes its reader raise nearly anything; the pixels are fine
        return 1
    return found if 1 <= found <= 8 else 1
