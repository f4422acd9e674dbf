"""What readers of data sets share: how a layout is found in a folder, boxes from XML, and photos in the frame they were annotated in."""

import os
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from PIL import Image, UnidentifiedImageError

from vlcam.contracts import InputError
from vlcam.experiments.data.samples import Has, World
from vlcam.files import read_text
from vlcam.image.geometry import Box
from vlcam.image.photo import as_rgb

_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = (5, 6, 7, 8)


@final
@dataclass(frozen=True)
class MissingLayout:
    """Why a folder doesn't have a layout. ``partly``: something of it is there, so that it was probably meant."""

    what: str
    partly: bool = False


@final
@dataclass(frozen=True)
class DataLayout:
    """A way in which a data set lies in a folder.

    ``expects`` lists the files in words. ``open(path, split, needs)`` returns the world, or what is missing; it raises InputError for files
    that are there but broken. ``needs`` is what the experiment needs of it, where that changes which photos are taken.
    """

    name: str
    title: str
    expects: str
    has: frozenset[Has]
    open: Callable[[Path, str | None, frozenset[Has]], World | MissingLayout]


@final
@dataclass(frozen=True)
class XmlObject:
    """One object in an XML file: the class's name or code, its box and whether it is marked as difficult."""

    name: str
    box: Box
    difficult: bool


def read_annotation(path: Path, *, first: int) -> tuple[tuple[int, int], tuple[XmlObject, ...]]:
    """The photo's width and height, and the objects, of an annotation in Pascal VOC's XML.

    Corners there name the first and the last pixel of a box, counted from ``first``: VOC counts from 1, ILSVRC from 0 (in its
    validation set left edges lie at 0 and right edges at the width less 1). So ``left - first, top - first, right - first + 1,
    bottom - first + 1`` is the same box in coordinates where pixel i covers ``[i, i + 1)``; it is cut at the edges of the photo.

    Raises:
        InputError: the file can't be read, is no such XML, or has a box that is empty or outside the photo.
    """
    try:
        root = ET.fromstring(read_text(path, "an annotation in Pascal VOC's XML"))
    except ET.ParseError as error:
        raise InputError(
            f"{str(path)!r} is no XML ({error}); expected an annotation in Pascal VOC's format: copy it again"
        ) from error
    try:
        width, height = (int(_find_text(root, f"size/{side}")) for side in ("width", "height"))
        found = []
        for one in root.iter("object"):
            left, top, right, bottom = (
                float(_find_text(one, f"bndbox/{side}")) - first for side in ("xmin", "ymin", "xmax", "ymax")
            )
            box = (max(left, 0.0), max(top, 0.0), min(right + 1, float(width)), min(bottom + 1, float(height)))
            if not (box[0] < box[2] and box[1] < box[3]):
                raise ValueError(f"box {(left, top, right, bottom)} in a photo of {width} x {height} pixels")
            found.append(XmlObject(_find_text(one, "name"), box, one.findtext("difficult", "0").strip() == "1"))
    except ValueError as error:
        raise InputError(
            f"{str(path)!r} has no, or a wrong, {error}; expected size, and objects with name and bndbox, as Pascal VOC has them"
        ) from error
    return (width, height), tuple(found)


def open_annotated(photo: Path, size: tuple[int, int] | None = None) -> tuple[Path | Image.Image, tuple[int, int]]:
    """A photo in the frame that its annotations were made in, as something that ``vlcam.explain`` takes, with width and height.

    Most annotations were drawn on the pixels as they are stored, whatever the EXIF orientation says, and models were trained so. So
    a photo that EXIF would turn is decoded and given unturned, unless only the turned one has the annotated ``size``. Others are given
    by their paths, and only their heads are read.

    Raises:
        InputError: there is no such photo, it can't be read, or it doesn't have the annotated size.
    """
    try:
        with warnings.catch_warnings(), Image.open(photo) as image:
            warnings.simplefilter("ignore")
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
    except FileNotFoundError as error:
        raise InputError(
            f"the photo {str(photo)!r} is missing; put it there, or take it off the data set's list"
        ) from error
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{str(photo)!r} is not a photo that can be read; copy it again") from error
    except Exception as error:  # broken files make decoders raise nearly anything
        raise InputError(f"the photo {str(photo)!r} is broken or cut off ({error}); copy it again") from error


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
    """The first folder that is there and holds what is looked for."""
    return next((one for one in folders if one.is_dir() and holds(one)), None)


def read_start(path: Path, characters: int = 4000) -> str:
    """The first characters of a text file, to tell what it is without reading it all; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(characters).decode("utf-8-sig", "replace").lstrip()
    except OSError:
        return ""


def _find_text(element: ET.Element, name: str) -> str:
    found = (element.findtext(name) or "").strip()
    if not found:
        raise ValueError(name)
    return found


def _read_orientation(image: Image.Image) -> int:
    """1 to 8; 1 (upright) where EXIF can't be read, as :func:`vlcam.image.photo.open_photo` takes it."""
    try:
        found = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF makes its reader raise nearly anything; the pixels are fine
        return 1
    return found if 1 <= found <= 8 else 1
