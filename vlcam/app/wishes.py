"""What people type into the page, read as options of :func:`vlcam.explain`."""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from vlcam.contracts import InputError, show_record

Kind = Literal["classification", "captioning", "vqa"]

MOST_TEXT: Final = 2000
"""Characters that a box takes."""
MOST_TARGETS: Final = 20
"""Classes, answers and contrasts that are explained at a time."""
_RATHER: Final = re.compile(r"\s+rather\s+than\s+", re.IGNORECASE)


@final
@dataclass(frozen=True)
class Wishes:
    """What is to be explained, and how: the boxes of the page as they are.

    ``text`` is the question, or the caption to explain in place of the model's own; ``targets`` are classes or answers, separated by
    semicolons, and contrasts, ``A rather than B``. ``layer`` is empty for the usual one.
    """

    text: str = ""
    targets: str = ""
    method: str = "auto"
    layer: str = ""

    __repr__ = show_record

    def read_options(self, kind: Kind) -> dict[str, Any]:
        """The options for a model of that kind. Raises InputError for what it can't be asked."""
        for box in (self.text, self.targets):
            if len(box) > MOST_TEXT:
                raise InputError(f"a text of {len(box):,} characters was given; expected at most {MOST_TEXT:,}")
        labels, contrasts = read_targets(self.targets)
        options: dict[str, Any] = {"method": self.method, "layer": self.layer or None, "contrast": contrasts}
        text = " ".join(self.text.split())
        if kind == "captioning":
            if labels:
                raise InputError(
                    f"every word of a caption is explained anyway, so {labels[0]!r} can't be asked for; write a contrast, such as "
                    f"{labels[0]} rather than another word, or leave the box empty"
                )
            return options | {"caption": text or None}
        if kind == "vqa":
            if not text:
                raise InputError("no question was given; type one, such as: what colour is the star")
            options |= {"question": text}
        return options | {"targets": labels}


def read_targets(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The labels and the contrasts of a text. Raises InputError for too many of them, or a contrast that lacks a side.

    >>> read_targets("red star; red star rather than blue circle")
    (('red star',), (('red star', 'blue circle'),))
    """
    parts = [" ".join(part.split()) for part in re.split(r"[;\n]", text)]
    parts = [part for part in parts if part]
    if len(parts) > MOST_TARGETS:
        raise InputError(f"{len(parts)} classes, answers or contrasts were given; expected at most {MOST_TARGETS}")
    labels: dict[str, None] = {}
    contrasts: dict[tuple[str, str], None] = {}
    for part in parts:
        sides = _RATHER.split(f" {part} ")
        if len(sides) == 1:
            labels[part] = None
        elif len(sides) == 2 and all(side.strip() for side in sides):
            contrasts[sides[0].strip(), sides[1].strip()] = None
        else:
            raise InputError(f"{part!r} was given; expected a contrast with two sides: A rather than B")
    return tuple(labels), tuple(contrasts)
