"""Which class of a data set corresponds to which of a model: by number where both have ILSVRC's classes, else by name."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from vlcam.contracts import InputError
from vlcam.experiments.data.samples import World

_ALIASES: Final[Mapping[str, str]] = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""Six of Pascal VOC's class names, and COCO's names for the same classes."""


@final
@dataclass(frozen=True)
class ClassMapping:
    """``of`` maps the world's class numbers to the model's. ``by`` says how; ``sentence`` says it in words, for reports."""

    of: Mapping[int, int]
    by: Literal["index", "name"]
    sentence: str


def match(world: World, labels: Sequence[str]) -> ClassMapping:
    """Match the world's classes with a model's labels.

    By number, if the world has ILSVRC's thousand classes and the model a thousand labels of which at least half agree, or which are mere
    numbers ("class 281"). Else by name: labels are the same if they agree apart from case and underscores, or if one of the names that they
    list (between commas) does; a name that several labels on one side share is ignored.

    Raises:
        InputError: no class matches.
    """
    theirs = list(world.labels)
    if world.indexed and len(labels) == len(theirs):
        same = sum(bool(_split_names(one) & _split_names(other)) for one, other in zip(theirs, labels, strict=True))
        if 2 * same >= len(labels) or _are_numbers(labels):
            found = {number: number for number in range(len(labels))}
            return ClassMapping(found, "index", f"all {len(labels)} classes of {world.name} match by their numbers")
    found = _match_by_name(theirs, labels)
    if not found:
        raise InputError(
            f"none of the {len(theirs)} classes of {world.name} ({_quote_some(theirs)}) is one of the model's "
            f"{len(labels)} ({_quote_some(labels)}); "
            "give a model of these classes, or labels with the same names"
        )
    missing = [label for number, label in enumerate(theirs) if number not in found]
    rest = f"; not {_quote_some(missing)}" if missing else ""
    return ClassMapping(
        found, "name", f"{len(found)} of {len(theirs)} classes of {world.name} match the model's by name{rest}"
    )


def _match_by_name(theirs: Sequence[str], labels: Sequence[str]) -> dict[int, int]:
    found: dict[int, int] = {}
    for names in (lambda label: {_normalise(label)}, _split_names):
        free = [number for number in range(len(theirs)) if number not in found]
        taken = set(found.values())
        ours: dict[str, set[int]] = {}
        for number, label in enumerate(labels):
            for name in names(label) if number not in taken else ():
                ours.setdefault(name, set()).add(number)
        counts = Counter(name for number in free for name in names(theirs[number]))
        for number in free:
            hits = {one for name in names(theirs[number]) if counts[name] == 1 for one in ours.get(name, ())}
            if len(hits) == 1 and not hits & set(found.values()):
                found[number] = hits.pop()
    return dict(sorted(found.items()))


def _normalise(label: str) -> str:
    plain = " ".join(label.lower().replace("_", " ").split())
    return _ALIASES.get(plain, plain)


def _split_names(label: str) -> set[str]:
    """What a label calls its class.

    >>> sorted(_split_names("tench, Tinca_tinca"))
    ['tench', 'tinca tinca']
    """
    return {_normalise(part) for part in label.split(",") if part.strip()}


def _are_numbers(labels: Sequence[str]) -> bool:
    return all(re.fullmatch(rf"\D*0*{number}", label) for number, label in enumerate(labels))


def _quote_some(labels: Sequence[str]) -> str:
    return ", ".join(repr(label) for label in labels[:3]) + (", ..." if len(labels) > 3 else "") if labels else "none"
