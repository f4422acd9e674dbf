"""The words of neuron sentences: noun phrases for names, lists, percentages, and what was said about the target."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from vlcam.contracts import Target

Key = tuple[str, str | None]
"""A name and its category."""

_PLURALS: Final[Mapping[str, str]] = {"cross": "crosses"}


@final
@dataclass(frozen=True)
class Group:
    """Channels of one name: ``key`` (name, category), ``units`` strongest first, ``weight`` their sum with its sign."""

    key: Key
    units: tuple[int, ...]
    weight: float


def phrase(name: str, category: str | None) -> str:
    """A noun phrase for a concept; a name of an unknown category stays as it is.

    >>> [phrase("red", "colour"), phrase("red star", "pair"), phrase("linen", "background"), phrase("upper left", "region")]
    ['red things', 'red stars', 'a linen background', 'something in the upper left']
    >>> phrase("book shelf", None)
    'book shelf'
    """
    if category in ("colour", "size", "texture"):
        return f"{name} things"
    if category in ("shape", "pair", "object"):
        head, _, last = name.rpartition(" ")
        return f"{head} {_PLURALS.get(last, last + 's')}".strip()
    if category == "background":
        return f"{'an' if name[:1] in 'aeiou' else 'a'} {name} background"
    if category == "region":
        return f"something {phrase_place(name)}"
    return name


def phrase_place(name: str) -> str:
    """Where a region is.

    >>> phrase_place("upper left"), phrase_place("left"), phrase_place("top"), phrase_place("centre")
    ('in the upper left', 'on the left', 'at the top', 'in the centre')
    """
    preposition = {"left": "on", "right": "on", "top": "at", "bottom": "at"}.get(name, "in")
    return f"{preposition} the {name}"


def format_percent(share: float) -> str:
    """A share as whole per cent, with a true minus; small ones are not rounded to nothing, nor large ones to all.

    >>> format_percent(0.314), format_percent(-0.06), format_percent(0.001), format_percent(0.999), format_percent(1.0)
    ('31 %', '−6 %', '<1 %', '>99 %', '100 %')
    """
    size = abs(share)
    if 0 < size < 0.005:
        return "<1 %" if share > 0 else "−<1 %"
    if 0.995 <= size < 1 - 1e-9:
        return ">99 %" if share > 0 else "−>99 %"
    return f"{'−' if share < 0 else ''}{size:.0%}".replace("%", " %")


def join(phrases: Iterable[str], last: str = "and") -> str:
    """A list in words.

    >>> join(["stars", "crosses", "hearts"], "or")
    'stars, crosses or hearts'
    """
    items = list(phrases)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else ""


def format_chance(p: float) -> str:
    """A probability with two decimals; one that isn't 0 or 1 is not rounded to that.

    >>> format_chance(0.914), format_chance(0.9999), format_chance(1e-9)
    ('0.91', '>0.99', '<0.01')
    """
    return ">0.99" if 0.995 <= p < 1 else "<0.01" if 0 < p < 0.005 else f"{p:.2f}"


def write_lead(target: Target) -> str:
    """What the sentence is about. A class or answer that the model itself thinks unlikely was not predicted or answered.

    >>> write_lead(Target("red star", "class", probability=0.91))
    'Predicted red star (0.91).'
    >>> write_lead(Target("zebra", "class", probability=0.02))
    'The class "zebra" (p 0.02).'
    """
    p, label = target.probability, target.label
    chance = "" if p is None else f" (p {format_chance(p)})"
    said = p is None or p >= 0.5
    if target.kind == "class" and said:
        return f"Predicted {label}{chance.replace('p ', '')}."
    if target.kind == "answer" and said:
        return f'Answered "{label}"{chance.replace("p ", "")}.'
    if target.kind == "contrast":
        return f"{label[:1].upper()}{label[1:]}."
    return f'The {target.kind} "{label}"{chance}.'


def tell(
    supports: Sequence[Group],
    opposes: Sequence[Group],
    missing: Sequence[Group],
    helping: Sequence[Group],
    accounted: float,
) -> list[str]:
    """The sentences of the four cases; ``missing`` and ``helping`` are names of silent channels for and against the target.

    "Signs of", since a channel that is named after red stars also fires for much that resembles them. "Mainly" only where the supporting
    names have at least half of the positive evidence together (``accounted``).
    """
    out = []
    if supports:
        how = "Mainly" if accounted >= 0.5 else "In part"
        out.append(f"{how} because the network sees signs of {_list_shares(supports, accounted)}.")
    else:
        out.append("No named channel that supports it fires strongly here.")
    if opposes:
        out.append(f"In spite of {_list(opposes, '')}.")
    return out + _tell_silent(missing, helping, "raised the score", "lowered the score")


def tell_contrast(
    target: Target,
    supports: Sequence[Group],
    opposes: Sequence[Group],
    missing: Sequence[Group],
    helping: Sequence[Group],
    accounted: float,
) -> list[str]:
    """The same for one target rather than another: what speaks for which of the two."""
    this, _, that = target.label.partition(" rather than ")
    head = write_lead(target)[:-1]
    if supports:
        how = "mainly" if accounted >= 0.5 else "in part"
        first = f"{head}, {how} because the network sees signs of {_list_shares(supports, accounted)}"
    else:
        first = f"{head}: no named channel that supports {this} fires strongly here"
    if opposes:
        first += f"; for {that or 'the other'} speak signs of {_list(opposes, '')}"
    return [f"{first}.", *_tell_silent(missing, helping, f"spoken for {this}", f"spoken for {that or 'the other'}")]


def _tell_silent(missing: Sequence[Group], helping: Sequence[Group], raised: str, lowered: str) -> list[str]:
    out = []
    if helping:
        out.append(f"No sign of {list_absent(helping)}, which would have {lowered}.")
    if missing:
        out.append(f"{'Nor' if helping else 'No sign'} of {list_absent(missing)}, which would have {raised}.")
    return out


def _list_shares(supports: Sequence[Group], accounted: float) -> str:
    """Supporting names; what they have together is said where it isn't the share of one of them, since a unit may be in several."""
    if len(supports) == 1:
        return _list(supports, " of the evidence for it")
    return f"{_list(supports, '')}: together {format_percent(accounted)} of the evidence for it"


def _list(groups: Sequence[Group], of_what: str) -> str:
    """Names with their units and shares; what the shares are of is said once."""
    parts = []
    for n, group in enumerate(groups):
        units = f"unit{'s' if len(group.units) > 1 else ''} {', '.join(map(str, group.units))}"
        parts.append(f"{phrase(*group.key)} ({units}; {format_percent(group.weight)}{of_what if n == 0 else ''})")
    return join(parts)


def list_absent(groups: Sequence[Group]) -> str:
    """Names of what is not there.

    >>> list_absent([Group(("top", "region"), (1,), 0.0), Group(("star", "shape"), (2,), 0.0)])
    'anything at the top or stars'
    """
    return join((phrase(*group.key).replace("something", "anything", 1) for group in groups), "or")
