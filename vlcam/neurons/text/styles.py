"""Three ways to say what a target rests on: ``full``, ``short``, and the paper's lists.

- ``full``: the four cases of :mod:`vlcam.neurons.text.describe` with units and shares, how much of the evidence the names cover, and which
  names are doubtful;
- ``short``: one or two sentences for a caption;
- ``paper``: the names by alpha, as section 7 of Grad-CAM (arXiv 1610.02391) gives them. They say nothing about the image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from vlcam.contracts import Target
from vlcam.neurons.names.record import FLAGS, AbstractNeuronNames, NeuronName
from vlcam.neurons.text.wording import Group, format_percent, join, list_absent, phrase, tell, tell_contrast, write_lead

Style = Literal["short", "full", "paper"]
STYLES: Final = ("short", "full", "paper")
_FEW: Final = 3
_CLOSE: Final = 0.9  # another concept whose score is so near makes a name doubtful


@final
@dataclass(frozen=True)
class Cases:
    """What can be said about one target in one image: names by case, strongest first.

    ``coverage`` is the share of the evidence in named channels; ``doubtful`` that in named channels that fire too weakly for
    their names to be claimed; ``measured`` whether it is known how often names hold.
    """

    supports: Sequence[Group]
    opposes: Sequence[Group]
    missing: Sequence[Group]
    absent: Sequence[Group]
    coverage: float
    doubtful: float
    measured: bool


def describe_target(names: AbstractNeuronNames, target: Target, cases: Cases, style: Style) -> str:
    """The text of one target in one image."""
    if style == "short":
        return _describe_briefly(names, target, cases)
    if target.kind == "contrast":
        parts = tell_contrast(target, cases.supports, cases.opposes, cases.missing, cases.absent)
    else:
        parts = [write_lead(target), *tell(cases.supports, cases.opposes, cases.missing, cases.absent)]
    hidden = ""
    if cases.doubtful >= 0.01:
        hidden = f" ({format_percent(cases.doubtful)} in channels that fire too weakly here to tell what they see)"
    rest = f"; {format_percent(1.0 - cases.coverage)} is unnamed" if cases.coverage < 1.0 else ""
    parts.append(f"Named units cover {format_percent(cases.coverage)} of the evidence{hidden}{rest}.")
    if not cases.measured:
        parts.append("How often these names hold was not measured.")
    return " ".join(parts + list_doubts(names, (*cases.supports, *cases.opposes)))


def describe_by_alpha(names: AbstractNeuronNames, target: Target, up: Sequence[Group], down: Sequence[Group]) -> str:
    """The paper's two lists: what would raise and lower the score, whether or not it is in the image."""

    def listed(groups: Sequence[Group]) -> str:
        return ", ".join(_mark_uncertain(names, group) for group in groups) or "nothing that is named"

    return (
        f"{write_lead(target)} By the paper's ranking (alpha; class-level: it does not say what is in this image): "
        f"presence raises the score: {listed(up)}; absence raises the score: {listed(down)}."
    )


def list_doubts(names: AbstractNeuronNames, groups: Iterable[Group]) -> list[str]:
    """A sentence for each told name that is flagged, or whose unit matches an unrelated concept nearly as well."""
    out: list[str] = []
    for group in groups:
        unit = names.units[group.units[0]]
        if unit.name != group.key[0]:
            continue  # something broader is claimed than the unit's own name
        rival = _find_rival(unit)
        reasons = [FLAGS.get(flag, flag) for flag in unit.flags if flag != "ambiguous" or rival is None]
        also = [] if rival is None else [f"also: {rival}"]
        if "polysemantic" in unit.flags and unit.also:
            reasons[reasons.index(FLAGS["polysemantic"])] = f"fires for {join(unit.also)} as well"
        if reasons or also:
            out.append(f'The name "{group.key[0]}" is uncertain ({"; ".join(also + reasons)}).')
    return list(dict.fromkeys(out))


def _find_rival(unit: NeuronName) -> str | None:
    """The next best concept, if it matches nearly as well and is neither a part nor a kind of the name."""
    own = set((unit.name or "").split())
    for other, _, score in unit.alternatives[:1]:
        words = set(other.split())
        if not (own <= words or words <= own) and score >= _CLOSE * unit.score:
            return other
    return None


def _mark_uncertain(names: AbstractNeuronNames, group: Group) -> str:
    return phrase(*group.key) + (" (uncertain)" if list_doubts(names, [group]) else "")


def _describe_briefly(names: AbstractNeuronNames, target: Target, cases: Cases) -> str:
    """One or two sentences: the strongest names with their shares, and what speaks against it or is helpfully absent."""
    head = write_lead(target)[:-1]

    def shares(groups: Sequence[Group]) -> str:
        return join(
            f"{phrase(*group.key)} ({format_percent(group.weight)}{', uncertain' if list_doubts(names, [group]) else ''})"
            for group in groups[:_FEW]
        )

    for_it = f"because the network sees signs of {shares(cases.supports)}" if cases.supports else ""
    mainly = for_it if target.kind == "contrast" else f"mainly {for_it}"
    first = f"{head}, {mainly}." if for_it else f"{head}. No named channel that supports it fires strongly here."
    if cases.opposes:
        return f"{first} {'Against it speak' if target.kind == 'contrast' else 'In spite of'} {shares(cases.opposes)}."
    if cases.absent:
        return f"{first} No sign of {list_absent(cases.absent[:_FEW])}."
    return first
