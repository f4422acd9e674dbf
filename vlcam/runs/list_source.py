"""What people give as photos, as a list: folders, files, pictures in memory, data sets."""

import glob
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from vlcam.contracts import InputError
from vlcam.files import is_there, show_path
from vlcam.image.open_picture import FORMATS
from vlcam.image.photo import Bands
from vlcam.runs.photo_list import LoadFile, PhotoList, join_lists, make_unique

_EXPECTED: Final = (
    "expected a folder, a path, a list of paths or of pictures, a data set with a length, or a PhotoList of vlcam.runs"
)


def list_source(photos: Any) -> PhotoList:
    """The photos as a list. Raises InputError for what can't be listed, or has no photos."""
    if isinstance(photos, PhotoList):
        return join_lists([photos])
    if isinstance(photos, (str, Path)):
        return join_lists([list_path(photos)])
    single = isinstance(photos, (Image.Image, Bands)) or (
        isinstance(photos, (Tensor, np.ndarray)) and photos.ndim in (2, 3)
    )
    if single:
        raise InputError(
            f"one {type(photos).__name__} was given as photos; {_EXPECTED} (for a single one there is vlcam.explain)"
        )
    if isinstance(photos, (list, tuple)) and photos and all(isinstance(one, (str, Path)) for one in photos):
        return list_paths(photos)
    if isinstance(photos, IterableDataset) or not isinstance(photos, Sized) or not hasattr(photos, "__getitem__"):
        raise InputError(
            f"a {type(photos).__name__} was given as photos; {_EXPECTED}, so that a run can go on where it stopped: list(...) makes a "
            "list of what fits into memory"
        )
    return list_items(photos)


def list_paths(paths: Sequence[str | Path]) -> PhotoList:
    """Folders, globs and files one after the other, each as :func:`list_path` lists it."""
    if all(is_there(one) and Path(one).suffix.lower() in list_endings() for one in paths):
        files = [str(one) for one in paths]
        return PhotoList(make_unique(Path(one).as_posix() for one in files), LoadFile(files), paths=_find_full(files))
    return join_lists([list_path(one) for one in paths])


def list_path(path: str | Path) -> PhotoList:
    """A folder with all that is in it, the files that a pattern such as ``photos/*.jpg`` means, or one file."""
    if Path(path).is_dir():
        return list_folder(Path(path))
    if not is_there(path) and any(sign in str(path) for sign in "*?["):
        found = sorted(one for one in glob.iglob(str(path), recursive=True) if Path(one).is_file())  # noqa: PTH207
        if not found:
            raise InputError(f"no file is called {show_path(path)} (looked from {Path.cwd()}); check the pattern")
        return PhotoList([Path(one).as_posix() for one in found], LoadFile(found), paths=_find_full(found))
    return PhotoList([Path(path).as_posix()], LoadFile([str(path)]), paths=_find_full([str(path)]))


def list_folder(folder: Path) -> PhotoList:
    """The image files in a folder and the folders in it, in the order of their paths; hidden ones are passed over.

    Raises InputError if there are none.
    """
    endings = list_endings()
    inside = (one.relative_to(folder) for one in folder.rglob("*") if one.suffix.lower() in endings)
    found = sorted(
        one.as_posix()
        for one in inside
        if not any(part.startswith(".") for part in one.parts) and is_there(folder / one)
    )
    if not found:
        raise InputError(f"the folder {show_path(folder)} has no photos in it; expected files such as a.jpg or b.png")
    files = [str(folder / one) for one in found]
    return PhotoList(found, LoadFile(files), paths=_find_full(files))


def list_endings() -> frozenset[str]:
    """The endings of files that may be photos, in lower case."""
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS)


def list_items(items: Any) -> PhotoList:
    """Anything with a length whose i-th item is a picture, ``(picture, label)``, or a dictionary with ``image``."""
    if not len(items):
        raise InputError("no photos were given; expected at least one")
    return PhotoList([f"image {place}" for place in range(len(items))], LoadItem(items))


@final
@dataclass(frozen=True, eq=False)
class LoadItem:
    """Opens a photo of a sequence or a data set: the item itself, or the picture in it."""

    items: Any

    def __call__(self, place: int) -> Any:
        """What the item at a place shows."""
        item = self.items[place]
        if isinstance(item, dict) and "image" in item:
            return item["image"]
        return item[0] if isinstance(item, (tuple, list)) and item else item


def _find_full(files: Sequence[str]) -> list[str]:
    """The absolute paths of files, as they are called: links are not followed."""
    here = Path.cwd()
    return [str(here / one) for one in files]
