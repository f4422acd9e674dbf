"""Tokens grouped into words, by index: works for any tokenizer that can decode.

The text of growing prefixes of the token ids says which characters each token wrote; words are then found in the whole text, and
each token belongs to the word that holds its first visible character. Nothing is ever looked up by its spelling, so a word
that occurs twice is two words.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

_WORD = re.compile(r"\w+(?:[.'’-]\w+)*|[^\w\s]")
_UNFINISHED = "\ufffd"


@final
@dataclass(frozen=True)
class Word:
    """A word of a text: its characters ``text[span[0]:span[1]]`` and the positions of its tokens."""

    text: str
    span: tuple[int, int]
    tokens: tuple[int, ...]

    @property
    def is_punctuation(self) -> bool:
        """Whether nothing in it is a letter or a digit."""
        return not any(character.isalnum() for character in self.text)


def group(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> tuple[str, tuple[Word, ...]]:
    """The text of ``ids`` and its words. Every token belongs to exactly one word, unless the text has no word at all.

    A token that writes nothing visible (part of a character, a lone blank) joins the word being written, or the next one.

    >>> vocabulary = ["a", " red", " st", "ar", "!"]
    >>> text, words = group([0, 1, 2, 3, 4], lambda ids: "".join(vocabulary[i] for i in ids))
    >>> [(word.text, word.tokens) for word in words]
    [('a', (0,)), ('red', (1,)), ('star', (2, 3)), ('!', (4,))]
    """
    text = decode(ids)
    ends = [len(decode(ids[: n + 1]).rstrip(_UNFINISHED)) for n in range(len(ids))]
    matches = list(_WORD.finditer(text))
    if not matches:
        return text, ()
    owners: list[int] = []
    start = 0
    for end in ends:
        visible = next((place for place in range(start, end) if not text[place : place + 1].isspace()), None)
        if visible is None:
            owner = _at_or_after(matches, start)
            # A part of a character belongs to the word that is being written.
            if owners and end <= start and start < matches[owners[-1]].end():
                owner = owners[-1]
        else:
            owner = _at_or_after(matches, visible)
        owners.append(owner)
        start = max(start, end)
    return text, tuple(
        Word(match.group(), match.span(), tuple(place for place, owner in enumerate(owners) if owner == number))
        for number, match in enumerate(matches)
    )


def _at_or_after(matches: Sequence[re.Match[str]], place: int) -> int:
    """The match that holds ``place`` or else the next one (or the last)."""
    for number, match in enumerate(matches):
        if place < match.end():
            return number
    return len(matches) - 1
