"""Tokens grouped into words, by index: works for any tokenizer that can decode.

The text of growing prefixes of the token ids says which characters each token wrote; words are then found in the whole text, and
each token belongs to the word that holds its first visible character. Nothing is ever looked up by its spelling, so a word
that occurs twice is two words.

Chinese, Japanese, Thai, Lao, Khmer and some other scripts are written without blanks, so that only a dictionary knows their words. There a
segmenter decides, if the user has one (``segment=``); else what one token wrote is a word, and where no tokens are known, or a
character is spread over several, each character is (with the marks that belong to it).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias, final
from unicodedata import category, name

from vlcam.contracts import InputError, shorten, show_record

_UNFINISHED = "\ufffd"
_CONNECTORS = ".'’-"
_WORD = re.compile(
    r"[wd](?:[wdm]|j(?=[wd]))*(?:(?:c|(?<=d),(?=d))[wd](?:[wdm]|j(?=[wd]))*)*"  # isn't, rock-n-roll, 3.5, 10,000
    r"|s[m]*(?:k+s[m]*)*k*"  # one character of a script without blanks, with its marks and the letters stacked under it
    r"|ff|o[mt]*(?:jo[mt]*)*"  # a flag; an emoji with its skin tone, or several joined into one
    r"|[^ ]"
)
"""A word, as a pattern over the letters that :func:`_classify_character` gives characters."""
# The first words of the Unicode names of letters in scripts that are written without blanks.
_WITHOUT_BLANKS = (
    "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH KATAKANA", "IDEOGRAPHIC", "BOPOMOFO", "NUSHU", "TANGUT", "YI", "THAI",
    "LAO", "KHMER", "MYANMAR", "TAI", "NEW TAI", "AHOM", "JAVANESE", "BALINESE",
)  # fmt: skip
_STACKERS = "\u17d2\u1039"
"""Khmer's coeng and Myanmar's virama: the letter after it is written under the one before."""
_FOLLOWERS = "\u0e33\u0eb3"
"""Thai's and Lao's vowel AM, which belongs to the letter before it."""

Segmenter: TypeAlias = Callable[[str], Sequence[str]]
"""Cuts a text without blanks into its words, whose texts follow each other without a gap."""


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


def group(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], segment: Segmenter | None = None
) -> tuple[str, tuple[Word, ...]]:
    """The text of ``ids`` and its words. Every token belongs to exactly one word, unless the text has no word at all.

    ``segment`` cuts what is written without blanks; by default every token that wrote such characters is a word.

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
    # What an unfinished character looks like is not what it becomes: only what agrees with the whole text is written.
    ends = list(
        accumulate(
            (_count_common_prefix(_drop_blanks(decode(ids[: place + 1])), visible) for place in range(len(ids))), max
        )
    )
    found = _merge_spans(text, found, ends, segment)
    # The word of each visible character, in order.
    owner = [number for number, (start, end) in enumerate(found) for _ in _drop_blanks(text[start:end])]
    tokens: list[list[int]] = [[] for _ in found]
    written = 0
    for place in range(len(ids)):
        tokens[owner[min(written, len(owner) - 1)]].append(place)
        written = ends[place]
    return text, tuple(
        Word(text[start:end], (start, end), tuple(places)) for (start, end), places in zip(found, tokens, strict=True)
    )


def _merge_spans(
    text: str, spans: Sequence[tuple[int, int]], ends: Sequence[int], segment: Segmenter | None
) -> tuple[tuple[int, int], ...]:
    """The spans, with those of scripts without blanks merged into words: a segmenter's, or what one token wrote.

    ``ends`` holds, for every token, how many visible characters are written with it.
    """
    without = [_classify_character(text[start]) == "s" for start, _ in spans]
    if not any(without):
        return tuple(spans)
    merged: list[tuple[int, int]] = []
    starts: set[int] = set()
    if segment is not None:
        for first, last in _find_runs(spans, without):
            starts |= _segment_run(text[first:last], first, segment)
    else:
        places = [place for place, one in enumerate(text) if not one.isspace()]
        starts = {places[end] for end in (0, *ends) if end < len(places)}
    joined = False
    for (start, end), own in zip(spans, without, strict=True):
        if own and joined and merged[-1][1] == start and start not in starts:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
        joined = own
    return tuple(merged)


def _find_runs(spans: Sequence[tuple[int, int]], without: Sequence[bool]) -> list[tuple[int, int]]:
    """The uninterrupted stretches of characters of scripts without blanks, as character ranges."""
    runs: list[tuple[int, int]] = []
    for (start, end), own in zip(spans, without, strict=True):
        if own and runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end)
        elif own:
            runs.append((start, end))
    return runs


def _segment_run(text: str, first: int, segment: Segmenter) -> set[int]:
    """Where the words of a stretch begin in the whole text. Raises InputError for a segmenter that changes the text."""
    parts = [str(one) for one in segment(text)]
    if "".join(parts) != text:
        raise InputError(
            f"the segmenter cut {shorten(repr(text), 40)} into {shorten(repr(parts), 60)}; expected parts without gaps between them"
        )
    return {first + place for place in accumulate((len(one) for one in parts), initial=0)}


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
    if character in _STACKERS:
        return "k"
    if character in _FOLLOWERS:
        return "m"
    if ord(character) > 0xDFF and character.isalpha() and name(character, "").startswith(_WITHOUT_BLANKS):
        return "s"
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
        return "t"  # a skin tone
    return "o"
