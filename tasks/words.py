"""Tokens grouped into words, by index: works for any tokenizer that can decode.

The text of growing prefixes of the token ids says which characters each token wrote; words are then found in the whole text, and
each token belongs to the word that holds its first visible character. Nothing is ever looked up by its spelling, so a word
that occurs twice is two words.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final
from unicodedata import category

from vlcam.contracts import show_record

_UNFINISHED = "\ufffd"
_CONNECTORS = ".'’-"
_WORD = re.compile(
    r"[wd](?:[wdm]|j(?=[wd]))*(?:(?:c|(?<=d),(?=d))[wd](?:[wdm]|j(?=[wd]))*)*"  # isn't, rock-n-roll, 3.5, 10,000
    r"|ff|o[mt]*(?:jo[mt]*)*"  # a flag; a picture with its colour of skin, or several joined to one
    r"|[^ ]"
)
"""A word, as a pattern over the letters that :func:`_classify_character` gives characters."""


@final
@dataclass(frozen=True)
class Word:
    """A word of a text: its characters ``text[span[0]:span[1]]`` and the positions of its tokens."""

    text: str
    span: tuple[int, int]
    tokens: tuple[int, ...]

    __repr__ = show_record

    @property
    def is_punctuation(self) -> bool:
        """Whether nothing in it is a letter, a digit or a picture (an emoji, say)."""
        return not any(one.isalnum() or (category(one) == "So" and one != _UNFINISHED) for one in self.text)


def find_spans(text: str) -> tuple[tuple[int, int], ...]:
    """The character ranges of the words and the marks between them. Every visible character is in exactly one.

    A word is letters and digits, with the accents that combine with them, held together by apostrophes, hyphens and dots; a comma
    belongs to a number. Of anything else each character stands for itself, an emoji with all its parts.

    >>> text = "It isn't 10,000, but 3.5!"
    >>> [text[start:end] for start, end in find_spans(text)]
    ['It', "isn't", '10,000', ',', 'but', '3.5', '!']
    """
    return tuple(match.span() for match in _WORD.finditer("".join(map(_classify_character, text))))


def group(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> tuple[str, tuple[Word, ...]]:
    """The text of ``ids`` and its words. Every token belongs to exactly one word, unless the text has no word at all.

    A token that writes nothing visible (part of a character, a lone blank) joins the word that is written next, or the last one.
    Blanks don't count, so a decoder may take them back: with ``clean_up_tokenization_spaces``, "cat ' s" becomes "cat's" only when
    the s is there.

    >>> vocabulary = ["a", " red", " st", "ar", "!"]
    >>> text, words = group([0, 1, 2, 3, 4], lambda ids: "".join(vocabulary[i] for i in ids))
    >>> [(word.text, word.tokens) for word in words]
    [('a', (0,)), ('red', (1,)), ('star', (2, 3)), ('!', (4,))]
    """
    text = decode(ids)
    found = find_spans(text)
    if not found:
        return text, ()
    visible = _drop_blanks(text)
    # The word of each visible character, in order.
    owner = [number for number, (start, end) in enumerate(found) for _ in _drop_blanks(text[start:end])]
    tokens: list[list[int]] = [[] for _ in found]
    written = 0
    for place in range(len(ids)):
        tokens[owner[min(written, len(owner) - 1)]].append(place)
        # What an unfinished character looks like is not what it becomes: only what agrees with the whole text is written.
        written = max(written, _count_common_prefix(_drop_blanks(decode(ids[: place + 1])), visible))
    return text, tuple(
        Word(text[start:end], (start, end), tuple(places)) for (start, end), places in zip(found, tokens, strict=True)
    )


def _drop_blanks(text: str) -> str:
    return "".join(text.split())


def _count_common_prefix(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _classify_character(character: str) -> str:
    """The kind of a character, as one letter of the pattern of words."""
    if character.isspace():
        return " "
    if character.isdecimal():
        return "d"
    if character.isalnum() or character == "_":
        return "w"
    if character in _CONNECTORS:
        return "c"
    if character == ",":
        return ","
    if category(character)[0] == "M":
        return "m"  # combines with the letter before: an accent, a vowel sign, the form of an emoji
    if character in "\u200c\u200d":
        return "j"  # joins, or keeps apart, the letters around it
    if "\U0001f1e6" <= character <= "\U0001f1ff":
        return "f"  # half of a flag
    if "\U0001f3fb" <= character <= "\U0001f3ff":
        return "t"  # a colour of skin
    return "o"
