"""Photos in WebDataset's shards: tar files in which files with one key belong together, such as a.jpg, a.cls, a.json."""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from vlcam.contracts import InputError
from vlcam.files import refuse_broken, show_path
from vlcam.image.decode import open_bytes
from vlcam.runs.photo_list import PhotoList, make_unique
from vlcam.runs.read_truth import LABEL_NAMES
from vlcam.runs.source_tables import QUESTION_NAMES, write_label

_WHAT: Final = "a shard of WebDataset: a tar file with files such as a.jpg and a.cls, not compressed"
_LABELS: Final = ("cls", "label", "class")
_LONGEST: Final = 2**20
_MOST_BYTES: Final = 2**30


def list_tar(path: Path, endings: frozenset[str]) -> PhotoList:
    """The photos of a shard, with labels, captions and questions from ``.cls``, ``.txt`` and ``.json`` beside them. Raises InputError."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    texts: dict[str, dict[str, Any]] = {}
    with refuse_broken(show_path(path), _WHAT), tarfile.open(path, "r:") as tar:
        for member in tar:
            if not member.isreg():
                continue
            folder, _, name = member.name.rpartition("/")
            if name.startswith("."):
                continue
            stem, _, ending = name.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            last = f".{ending.rpartition('.')[2].lower()}"
            if last in endings:
                samples.setdefault(key, {})[last] = member.offset_data, member.size
            elif last[1:] in (*_LABELS, "txt", "json") and member.size <= _LONGEST:
                file = tar.extractfile(member)
                data = b"" if file is None else file.read()
                texts.setdefault(key, {})[last[1:]] = data.decode("utf-8", "replace").strip()
    if not samples:
        raise InputError(f"{show_path(path)} has no photos in it; expected {_WHAT}")
    keys = list(samples)
    about = [_read_about(texts.get(key, {})) for key in keys]
    columns = {
        name: [one.get(name) for one in about] if any(name in one for one in about) else None
        for name in ("questions", "captions", "truths")
    }
    places = tuple(next(iter(samples[key].values())) for key in keys)
    return PhotoList(make_unique(keys), LoadFromTar(str(path), tuple(keys), places), **columns)


def _read_about(files: dict[str, str]) -> dict[str, str]:
    """What the texts of one sample say; a JSON file that can't be read says nothing."""
    found: dict[str, str] = {}
    try:
        record = json.loads(files.get("json", "{}"))
    except ValueError:
        record = {}
    record = record if isinstance(record, dict) else {}
    for what, names in (("questions", QUESTION_NAMES), ("truths", LABEL_NAMES)):
        value = next((write_label(record[name], None) for name in names if name in record), None)
        if value is not None:
            found[what] = value
    label = next((files[one] for one in _LABELS if files.get(one)), None)
    if label is not None:
        found["truths"] = label
    return found


@final
@dataclass(frozen=True)
class LoadFromTar:
    """Opens a photo in a tar file: the bytes at its place."""

    path: str
    keys: tuple[str, ...]
    places: tuple[tuple[int, int], ...]

    def __call__(self, place: int) -> Any:
        """The picture at a place of the list. Raises InputError for one that is cut off, or no picture."""
        start, size = self.places[place]
        if size > _MOST_BYTES:
            raise InputError(
                f"{self.keys[place]} in {show_path(self.path)} has {size:,} bytes; expected at most {_MOST_BYTES:,}"
            )
        with Path(self.path).open("rb") as file:
            file.seek(start)
            data = file.read(size)
        return open_bytes(data, self.keys[place])
