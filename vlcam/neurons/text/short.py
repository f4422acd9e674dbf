"""One sentence for a person who knows nothing of channels: what a target mainly rests on, or that no short reason can be given.

It has no numbers and at most :data:`WORDS` words. "Mainly" is said only where the names account for at least half of the positive evidence.
"""

from collections.abc import Callable, Sequence
from typing import Final

from vlcam.contracts import Target
from vlcam.neurons.text.selection import is_kind
from vlcam.neurons.text.wording import Group, join, phrase

WORDS: Final = 25
HALF: Final = 0.5
"""Names that account for less of the positive evidence are no short reason."""
_LABEL_WORDS: Final = 8


def write_short(
    target: Target,
    supports: Sequence[Group],
    opposes: Sequence[Group],
    account: Callable[[Sequence[Group]], float],
    doubtful: Callable[[Group], bool],
) -> str:
    """The sentence.

    Args:
        target: what it is about.
        supports: the names that speak for it, strongest first; kinds of a name come after it.
        opposes: the names that speak against it.
        account: the share of the positive evidence that some groups have together.
        doubtful: whether a name is uncertain.
    """
    who = name_target(target)
    told, against = list(supports), list(opposes[:1])
    while told:
        if account(told) >= HALF:
            but = f", in spite of signs of {_list(against, doubtful)}" if against else ""
            sentence = f"{who} rests mainly on signs of {_list(told, doubtful)}{but}."
        else:
            sentence = f"No short reason accounts for {who}: signs of {_list(told, doubtful)} are only part of it."
        if count_words(sentence) <= WORDS:
            return _capitalise(sentence)
        if against:
            against = []
        else:
            told.pop()
    return f"No short reason can be named for {who}."


def name_target(target: Target) -> str:
    """What the sentence is about, in at most ten words.

    >>> name_target(Target("star", "word")), name_target(Target("a red star", "caption"))
    ('"star"', 'the whole caption')
    >>> name_target(Target("red rather than blue", "contrast"))
    '"red" rather than "blue"'
    """
    if target.kind == "caption":
        return "the whole caption"
    if target.kind == "contrast":
        this, _, that = target.label.partition(" rather than ")
        return f'"{_cut(this, _LABEL_WORDS // 2)}" rather than "{_cut(that, _LABEL_WORDS // 2)}"'
    return f'"{_cut(target.label, _LABEL_WORDS)}"'


def count_words(sentence: str) -> int:
    """How many words a sentence has."""
    return len(sentence.split())


def _cut(label: str, most: int) -> str:
    words = label.split()
    return " ".join(words[:most]) + ("…" if len(words) > most else "")


def _list(groups: Sequence[Group], doubtful: Callable[[Group], bool]) -> str:
    """Names in words; the kinds of a name follow it."""
    parts: list[str] = []
    for group in groups:
        words = ("perhaps " if doubtful(group) else "") + phrase(*group.key)
        inside = [n for n, one in enumerate(groups) if one is not group and is_kind(group.key, one.key)]
        if inside and parts:
            parts[-1] += f" ({words})" if not parts[-1].endswith(")") else f" and {words}"
            parts[-1] = parts[-1].replace(") and ", " and ") + ("" if parts[-1].endswith(")") else ")")
        else:
            parts.append(words)
    return join(parts)


def _capitalise(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
