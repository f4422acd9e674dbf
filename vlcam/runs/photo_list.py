"""The photos of a run as a list that is known before any of them is opened: each has a key of its own, and what goes with it."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from vlcam.contracts import InputError, shorten, show_record

Texts = Sequence[str | None] | None
"""One text, or None, for each photo; None if no photo has any."""

SEVERAL = "; "
"""What stands between several truths of one photo."""


@final
@dataclass(frozen=True, eq=False)
class PhotoList:
    """Photos that can be listed without opening them.

    ``keys`` are unique and the same whenever the list is made again, since a run is continued by them; ``load(i)`` opens the i-th photo:
    whatever :func:`vlcam.explain` takes. ``paths`` are those of photos that are files. ``questions`` and ``captions`` are what is asked
    of each photo, ``truths`` what is true of it; several truths are separated by a semicolon and a blank.
    """

    keys: Sequence[str]
    load: Callable[[int], Any]
    paths: Texts = None
    questions: Texts = None
    captions: Texts = None
    truths: Texts = None

    __repr__ = show_record

    def __len__(self) -> int:
        return len(self.keys)

    def get_name(self, place: int) -> str:
        """What the photo is called in its explanation: the name of its file, or its key."""
        path = get_text(self.paths, place)
        return self.keys[place] if path is None else Path(path).name or self.keys[place]

    def describe(self, order: Sequence[int]) -> dict[str, Any]:
        """How many photos an order has, and the sha256 of their keys, questions, captions and truths; None for what is not there."""
        about: dict[str, Any] = {"count": len(order), "sha256": _compute_digest(self.keys, order)}
        for name in ("questions", "captions", "truths"):
            texts = getattr(self, name)
            about[name] = None if texts is None else f"sha256:{_compute_digest(texts, order)}"
        return about


def _compute_digest(texts: Sequence[str | None], order: Sequence[int]) -> str:
    found = hashlib.sha256()
    for place in order:
        text = texts[place]
        data = b"" if text is None else text.encode("utf-8", "surrogatepass")
        found.update(f"{'-' if text is None else len(data)}:".encode() + data)
    return found.hexdigest()


def get_text(texts: Texts, place: int) -> str | None:
    """The text of one photo, if there are any."""
    return None if texts is None else texts[place]


def make_unique(keys: Iterable[str]) -> list[str]:
    """The keys, the second and later ones of the same text with a number.

    >>> make_unique(["a.jpg", "b.jpg", "a.jpg"])
    ['a.jpg', 'b.jpg', 'a.jpg (2)']
    """
    listed = list(keys)
    if len(set(listed)) == len(listed):
        return listed
    taken, counts, found = set(listed), dict[str, int](), list[str]()
    for key in listed:
        number = counts.get(key, 0) + 1
        unique = key
        while number > 1 and (unique := f"{key} ({number})") in taken:
            number += 1
        counts[key] = number
        taken.add(unique)
        found.append(unique)
    return found


def join_lists(parts: Sequence[PhotoList]) -> PhotoList:
    """Several lists one after the other. Raises InputError if there are no photos."""
    if not any(map(len, parts)):
        raise InputError("no photos were given; expected at least one")
    if len(parts) == 1:
        return parts[0]
    starts = [0]
    for one in parts:
        starts.append(starts[-1] + len(one))

    def column(name: str) -> Texts:
        have = [getattr(one, name) for one in parts]
        if all(texts is None for texts in have):
            return None
        return [
            text
            for one, texts in zip(parts, have, strict=True)
            for text in ([None] * len(one) if texts is None else texts)
        ]

    return PhotoList(
        make_unique(key for one in parts for key in one.keys),
        _LoadFromParts(tuple(one.load for one in parts), tuple(starts)),
        paths=column("paths"),
        questions=column("questions"),
        captions=column("captions"),
        truths=column("truths"),
    )


@final
@dataclass(frozen=True)
class _LoadFromParts:
    """Opens a photo of several lists that were joined."""

    loads: tuple[Callable[[int], Any], ...]
    starts: tuple[int, ...]

    def __call__(self, place: int) -> Any:
        part = next(number for number, end in enumerate(self.starts[1:]) if place < end)
        return self.loads[part](place - self.starts[part])


@final
@dataclass(frozen=True)
class LoadFile:
    """Opens the photo of a list whose photos are all files: by its path."""

    paths: Sequence[str]

    def __call__(self, place: int) -> str:
        """The path of the photo at a place."""
        return self.paths[place]


def with_texts(photos: PhotoList, **texts: Texts) -> PhotoList:
    """The list with other questions, captions or truths. Raises InputError unless there is one for each photo."""
    for name, given in texts.items():
        if given is not None and len(given) != len(photos):
            raise InputError(
                f"{len(given)} {name} were given for {len(photos)} photos ({shorten(', '.join(photos.keys[:2]))}, ...); expected one for "
                "each"
            )
    return replace(photos, **texts)  # type: ignore[arg-type]
