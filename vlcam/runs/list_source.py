"""What people give as photos, as a list: each kind of source has a module, and here is which one it is."""

import glob
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from vlcam.contracts import InputError
from vlcam.files import is_there, show_path
from vlcam.image.decode import refuse_url
from vlcam.image.open_picture import FORMATS
from vlcam.image.photo import Bands
from vlcam.runs.photo_list import LoadFile, PhotoList, join_lists, make_unique
from vlcam.runs.source_annotated import is_voc, list_coco, list_voc
from vlcam.runs.source_datasets import is_hugging_face, list_hugging_face, list_items, list_saved_dataset
from vlcam.runs.source_scenes import PREFIX, list_scenes
from vlcam.runs.source_tables import list_csv, list_parquet, list_text_file
from vlcam.runs.source_tar import list_tar

_EXPECTED: Final = (
    "expected a folder, a path, a list of paths or of pictures, or a data set with a length (see the guide on runs)"
)
_SHARDS: Final = (".parquet", ".tar")
_SAVED: Final = ("dataset_info.json", "state.json")


def list_source(photos: Any, kind: str = "classification") -> PhotoList:
    """The photos as a list, with what their source says is asked and true of them, for a task of a kind.

    Raises InputError for what can't be listed, or has no photos. No photo is decoded.
    """
    if isinstance(photos, PhotoList):
        return join_lists([photos])
    if isinstance(photos, (str, Path)):
        return join_lists([list_path(photos, kind)])
    single = isinstance(photos, (Image.Image, Bands)) or (
        isinstance(photos, (Tensor, np.ndarray)) and photos.ndim in (2, 3)
    )
    if single:
        raise InputError(
            f"one {type(photos).__name__} was given as photos; {_EXPECTED} (for a single one there is vlcam.explain)"
        )
    if is_hugging_face(photos):
        return list_hugging_face(photos)
    if isinstance(photos, (list, tuple)) and photos and all(isinstance(one, (str, Path)) for one in photos):
        return list_paths(photos, kind)
    if isinstance(photos, IterableDataset) or not isinstance(photos, Sized) or not hasattr(photos, "__getitem__"):
        raise InputError(
            f"a {type(photos).__name__} was given as photos; {_EXPECTED}, so that a run can go on where it stopped: list(...) makes a "
            "list of what fits into memory"
        )
    return list_items(photos)


def list_paths(paths: Sequence[str | Path], kind: str) -> PhotoList:
    """Folders, patterns and files one after the other, each as :func:`list_path` lists it."""
    endings = list_endings()
    if all(Path(one).suffix.lower() in endings and is_there(one) for one in paths):
        return make_list([str(one) for one in paths])
    return join_lists([list_path(one, kind) for one in paths])


def list_path(source: str | Path, kind: str) -> PhotoList:
    """A folder, the files that a pattern such as ``photos/*.jpg`` means, a file that lists photos or holds them, or a photo."""
    if isinstance(source, str) and source.startswith(PREFIX):
        return list_scenes(source, kind)
    refuse_url(source)
    path = Path(source)
    if path.is_dir():
        return list_directory(path, kind)
    if not is_there(path):
        if any(sign in str(source) for sign in "*?["):
            return list_pattern(str(source), kind)
        raise InputError(f"there is no file or folder {show_path(source)} (looked from {Path.cwd()}); check the path")
    ending = path.suffix.lower()
    if ending == ".txt":
        return list_voc(path, kind) if is_voc(path) else list_text_file(path)
    if ending in (".csv", ".tsv"):
        return list_csv(path)
    if ending == ".json":
        return list_coco(path, kind)
    if ending == ".parquet":
        return list_parquet(path)
    if ending == ".tar":
        return list_tar(path, list_endings())
    return make_list([str(source)])


def list_pattern(pattern: str, kind: str) -> PhotoList:
    """The files that a pattern means, in the order of their paths. Raises InputError if there are none."""
    found = sorted(one for one in glob.iglob(pattern, recursive=True) if Path(one).is_file())  # noqa: PTH207
    if not found:
        raise InputError(f"no file is called {show_path(pattern)} (looked from {Path.cwd()}); check the pattern")
    return list_paths(found, kind)


def list_directory(folder: Path, kind: str) -> PhotoList:
    """A folder of photos, of Parquet files or tar shards, of Pascal VOC, or one that ``save_to_disk`` of ``datasets`` wrote."""
    if (folder / "dataset_dict.json").is_file() or all((folder / one).is_file() for one in _SAVED):
        return list_saved_dataset(folder)
    if is_voc(folder):
        return list_voc(folder, kind)
    found = find_photos(folder)
    if found:
        return make_list([str(folder / one) for one in found], found)
    for ending in _SHARDS:
        shards = sorted(
            one for one in folder.rglob(f"*{ending}") if one.is_file() and not one.name.startswith((".", "_"))
        )
        if shards:
            return join_lists([list_path(one, kind) for one in shards])
    raise InputError(
        f"the folder {show_path(folder)} has no photos in it; expected files such as a.jpg or b.png, or shards of them (.parquet, .tar)"
    )


def find_photos(folder: Path) -> list[str]:
    """The image files in a folder and the folders in it, relative to it, in the order of their paths; hidden ones are passed over."""
    endings = list_endings()
    inside = (one.relative_to(folder) for one in folder.rglob("*") if one.suffix.lower() in endings)
    return sorted(
        one.as_posix()
        for one in inside
        if not any(part.startswith(".") for part in one.parts) and is_there(folder / one)
    )


def list_endings() -> frozenset[str]:
    """The endings of files that may be photos, in lower case."""
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS)


def make_list(files: Sequence[str], keys: Sequence[str] | None = None) -> PhotoList:
    """A list of files by their paths. Full paths are as they are called: links are not followed."""
    here = Path.cwd()
    named = make_unique(Path(one).as_posix() for one in files) if keys is None else list(keys)
    return PhotoList(named, LoadFile(list(files)), paths=[str(here / one) for one in files])
