"""What is true of a photo, and whether the model said so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, final

from vlcam.contracts import InputError, Task, shorten
from vlcam.explanation.explanation import Explanation
from vlcam.files import MAX_DIGITS
from vlcam.runs.photo_list import SEVERAL, PhotoList

_ARTICLES: Final = ("a", "an", "the")


@final
@dataclass(frozen=True)
class Verdict:
    """Whether the model was right about a photo, and which pair "predicted rather than true" explains why not.

    ``correct`` is None where that can't be said; ``note`` then says why.
    """

    correct: bool | None = None
    contrast: tuple[str | int, str | int] | None = None
    note: str | None = None


def judge(task: Task, explanation: Explanation, truth: str | None) -> Verdict:
    """Compare what the model said of a photo with what is true of it."""
    if truth is None:
        return Verdict()
    truths = split_truths(truth)
    if task.kind == "classification":
        return _judge_label(tuple(getattr(task, "labels", ())), explanation, truths, "class")
    if task.kind == "vqa":
        answers = tuple(getattr(task, "answers", ()))
        said = normalise_answer(explanation.text)
        correct = any(said == normalise_answer(one) for one in truths)
        if correct:
            return Verdict(True)
        known = _find_label(truths[0], answers) if answers else None
        this = _find_said(explanation, answers)
        pair = (this, known) if known is not None and this is not None else None
        return Verdict(False, pair if answers else (explanation.text, truths[0]))
    exact = any(explanation.text.split() == one.split() for one in truths)
    return Verdict(True) if exact else Verdict()


def check_truths(task: Task, photos: PhotoList, *, given: bool) -> PhotoList:
    """The list, without truths that are no classes of a classifier at all.

    Raises InputError if a person gave them (``given``); else their source has other classes than the model.
    """
    labels = tuple(getattr(task, "labels", ()))
    if photos.truths is None or task.kind != "classification" or not labels:
        return photos
    named = {name for one in set(photos.truths) if one is not None for name in split_truths(one)}
    unknown = sorted(name for name in named if _find_label(name, labels) is None)
    if len(unknown) < len(named):
        return photos
    if given:
        raise InputError(
            f"none of the {len(named)} labels (such as {shorten(', '.join(unknown), 80)}) is a class of {task.name}, whose "
            f"classes are {shorten(', '.join(labels), 80)}"
        )
    return replace(photos, truths=None)


def split_truths(truth: str) -> tuple[str, ...]:
    """The truths of one photo, which are separated by semicolons."""
    return tuple(one.strip() for one in truth.split(SEVERAL.strip()) if one.strip()) or (truth.strip(),)


def _judge_label(labels: tuple[str, ...], explanation: Explanation, truths: Sequence[str], what: str) -> Verdict:
    places = [_find_label(one, labels) for one in truths]
    unknown = [one for one, place in zip(truths, places, strict=True) if place is None]
    said = _find_said(explanation, labels)
    if said is None:
        return Verdict(explanation.text in truths)
    if said in places:
        return Verdict(True)
    known = [place for place in places if place is not None]
    if unknown:
        return Verdict(
            None, note=f"the truth {unknown[0]!r} is no {what} of the model, so right and wrong can't be told"
        )
    return Verdict(False, (said, known[0]))


def _find_said(explanation: Explanation, labels: tuple[str, ...]) -> int | None:
    """The number of what the model said; None if labels of that name are several."""
    for target in explanation.targets:
        if target.label == explanation.text and target.kind in ("class", "answer") and len(target.token_ids) == 1:
            return target.token_ids[0]
    return _find_label(explanation.text, labels)


@lru_cache(maxsize=8)
def _index_labels(labels: tuple[str, ...]) -> Mapping[str, int | None]:
    """Each way to write a label, with its number; None for what several labels share."""
    found: dict[str, int | None] = {}
    shorter: dict[str, int | None] = {}
    for number, label in enumerate(labels):
        for table, names in ((found, {label, normalise_label(label)}), (shorter, split_names(label))):
            for name in names:
                table[name] = None if name in table and table[name] != number else number
    return {**shorter, **found}


def _find_label(wanted: str, labels: tuple[str, ...]) -> int | None:
    """The number of the label that is meant: by its name, case and underscores aside, one of the names between commas, or the number."""
    index = _index_labels(labels)
    for name in (wanted, normalise_label(wanted), *sorted(split_names(wanted))):
        place = index.get(name)
        if place is not None:
            return place
    number = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) <= MAX_DIGITS else -1
    return number if 0 <= number < len(labels) else None


def normalise_label(label: str) -> str:
    """A label without case, underscores and needless blanks."""
    return " ".join(label.replace("_", " ").lower().split())


def split_names(label: str) -> set[str]:
    """The names that a label lists between commas.

    >>> sorted(split_names("tench, Tinca tinca"))
    ['tench', 'tinca tinca']
    """
    return {name for part in label.split(",") if (name := normalise_label(part))}


def normalise_answer(answer: str) -> str:
    """An answer without case, articles and the punctuation around its words.

    >>> normalise_answer("The Red one.")
    'red one'
    """
    words = [word.strip(".,;:!?\"'()") for word in answer.lower().split()]
    return " ".join(word for word in words if word and word not in _ARTICLES)
