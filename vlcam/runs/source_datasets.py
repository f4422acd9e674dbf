"""Photos of data sets in memory or on disk: torch's, Hugging Face's, and lists of pictures."""

from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, Final, final

from torch import Tensor

from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.files import refuse_broken, show_path
from vlcam.runs.photo_list import PhotoList, make_unique
from vlcam.runs.read_truth import LABEL_NAMES
from vlcam.runs.source_tables import CAPTION_NAMES, QUESTION_NAMES, open_stored, write_label

_PICTURES: Final = ("image", "img", "photo", "picture")


def is_hugging_face(dataset: Any) -> bool:
    """Whether this is a data set of Hugging Face's ``datasets``."""
    return any(one.__module__.partition(".")[0] == "datasets" for one in type(dataset).__mro__)


def list_saved_dataset(folder: Path) -> PhotoList:
    """A data set that ``save_to_disk`` wrote. Raises InputError without the extra ``datasets``, or for a broken one."""
    datasets = import_extra("datasets", "datasets")
    with refuse_broken(show_path(folder), "a folder that save_to_disk of datasets wrote"):
        found = datasets.load_from_disk(str(folder))
    return list_hugging_face(found)


def list_hugging_face(dataset: Any) -> PhotoList:
    """A data set of ``datasets`` with a column of pictures. Nothing is decoded. Raises InputError."""
    datasets = import_extra("datasets", "datasets")
    if isinstance(dataset, dict):
        raise InputError(
            f"a data set with the splits {', '.join(dataset)} was given; give one, such as dataset[{next(iter(dataset))!r}]"
        )
    if not isinstance(dataset, datasets.Dataset):
        raise InputError(
            f"a {type(dataset).__name__} was given, which has no length; give a datasets.Dataset: load it without streaming"
        )
    features = dataset.features
    pictures = [name for name, one in features.items() if isinstance(one, datasets.Image)]
    column = next((one for one in _PICTURES if one in pictures), pictures[0] if pictures else None)
    if column is None:
        raise InputError(
            f"the data set has the columns {', '.join(features)}; expected one with pictures (datasets.Image)"
        )
    if not len(dataset):
        raise InputError("the data set is empty; expected at least one photo")
    texts: dict[str, Any] = {}
    for what, names in (("questions", QUESTION_NAMES), ("captions", CAPTION_NAMES), ("truths", LABEL_NAMES)):
        name = next((one for one in names if one in features and one != column), None)
        if name is not None:
            classes = getattr(features[name], "names", None)
            texts[what] = [write_label(one, classes) for one in dataset.select_columns([name])[name]]
    plain = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    return PhotoList([f"{column} {place}" for place in range(len(dataset))], LoadStored(plain, column), **texts)


@final
@dataclass(frozen=True, eq=False)
class LoadStored:
    """Opens a photo of a data set whose pictures are left encoded."""

    dataset: Any
    column: str

    def __call__(self, place: int) -> Any:
        """The picture in a row. Raises InputError for a row without one, or a broken one."""
        return open_stored(self.dataset[place][self.column], f"{self.column} {place}")


def list_items(items: Any) -> PhotoList:
    """Anything with a length whose i-th item is a picture, ``(picture, label)``, or a dictionary with ``image``.

    Of lists and tuples the labels, questions and captions are taken; of torch's data sets the labels that they list.
    """
    count = len(items)
    if not count:
        raise InputError("no photos were given; expected at least one")
    keys = [f"image {place}" for place in range(count)]
    paths = None
    samples = getattr(items, "samples", None)
    if isinstance(samples, list) and len(samples) == count and all(isinstance(one, tuple) for one in samples):
        files = [str(one[0]) for one in samples]
        keys, here = make_unique(_shorten_paths(files, getattr(items, "root", None))), Path.cwd()
        paths = [str(here / one) for one in files]
    texts = _read_items(items) if isinstance(items, (list, tuple)) else {"truths": _read_targets(items, count)}
    return PhotoList(keys, LoadItem(items), paths=paths, **texts)


def _shorten_paths(files: list[str], root: Any) -> list[str]:
    """Paths relative to a root that they are all in."""
    try:
        return [Path(one).relative_to(root).as_posix() for one in files]
    except (ValueError, TypeError):
        return files


def _read_targets(dataset: Any, count: int) -> list[str | None] | None:
    """The labels that a data set of torchvision lists, by the names of its classes."""
    targets, classes = getattr(dataset, "targets", None), getattr(dataset, "classes", None)
    plain = targets.tolist() if isinstance(targets, Tensor) else targets
    if (
        not isinstance(plain, (list, tuple))
        or len(plain) != count
        or not all(hasattr(one, "__index__") for one in plain)
    ):
        return None
    names = list(classes) if isinstance(classes, (list, tuple)) else None
    return [write_label(index(one), names) for one in plain]


def _read_items(items: Any) -> dict[str, Any]:
    """What the items of a list say beside the picture."""
    found: dict[str, list[str | None]] = {"questions": [], "captions": [], "truths": []}
    for item in items:
        own: dict[str, Any] = {}
        if isinstance(item, dict):
            for what, names in (("questions", QUESTION_NAMES), ("captions", CAPTION_NAMES), ("truths", LABEL_NAMES)):
                own[what] = next((item[one] for one in names if one in item), None)
        elif isinstance(item, (tuple, list)) and len(item) > 1:
            own["truths"] = item[1]
        for what, values in found.items():
            values.append(write_label(own.get(what), None))
    return {what: values if any(one is not None for one in values) else None for what, values in found.items()}


@final
@dataclass(frozen=True, eq=False)
class LoadItem:
    """Opens a photo of a sequence or a data set: the item itself, or the picture in it."""

    items: Any

    def __call__(self, place: int) -> Any:
        """What the item at a place shows."""
        item = self.items[place]
        if isinstance(item, dict):
            return next((item[one] for one in _PICTURES if one in item), item)
        return item[0] if isinstance(item, (tuple, list)) and item else item
