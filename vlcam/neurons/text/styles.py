"""Three ways to say what a target rests on: ``full``, ``short``, and the paper's lists.

- ``short``: one sentence (:mod:`vlcam.neurons.text.short`);
- ``full``: the four cases of :mod:`vlcam.neurons.text.describe` with units and shares, how much of the evidence the names cover, and which
  names are doubtful;
- ``paper``: the names by alpha, as section 7 of Grad-CAM (arXiv 1610.02391) gives them. They say nothing about the image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from vlcam.contracts import Target
from vlcam.neurons.names.record import FLAGS, AbstractNeuronNames, NeuronName
from vlcam.neurons.text.wording import Group, format_percent, join, phrase, tell, tell_contrast, write_lead

Style = Literal["short", "full", "paper"]
STYLES: Final = ("short", "full", "paper")
_CLOSE: Final = 0.9  # another concept whose score is so near makes a name doubtful


@final
@dataclass(frozen=True)
class Cases:
    """What can be said about one target in one image: names by case, strongest first.

    ``coverage`` is the share of the evidence in named channels; ``weak`` that in named channels that fire too weakly for anything to be
    claimed, ``background`` that in those that don't fire; ``accounted`` the share of the positive evidence that the supporting names have
    together; ``measured`` whether it is known how often names hold.
    """

    supports: Sequence[Group]
    opposes: Sequence[Group]
    missing: Sequence[Group]
    absent: Sequence[Group]
    coverage: float
    accounted: float
    weak: float
    background: float
    measured: bool


def describe_target(names: AbstractNeuronNames, target: Target, cases: Cases) -> str:
    """The full text of one target in one image."""
    if target.kind == "contrast":
        parts = tell_contrast(target, cases.supports, cases.opposes, cases.missing, cases.absent, cases.accounted)
    else:
        parts = [
            write_lead(target),
            *tell(cases.supports, cases.opposes, cases.missing, cases.absent, cases.accounted),
        ]
    apart = [
        f"{format_percent(share)} in channels that {what}"
        for share, what in (
            (cases.weak, "fire too weakly here to tell what they see"),
            (cases.background, "don't fire here and only add their background"),
        )
        if share >= 0.01
    ]
    hidden = f" ({', '.join(apart)})" if apart else ""
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


def is_doubtful(names: AbstractNeuronNames, group: Group) -> bool:
    """Whether a told name is uncertain."""
    return bool(list_doubts(names, [group]))


def _find_rival(unit: NeuronName) -> str | None:
    """The next best concept, if it matches nearly as well and is neither a part nor a kind of the name."""
    own = set((unit.name or "").split())
    for other, _, score in unit.alternatives[:1]:
        words = set(other.split())
        if not (own <= words or words <= own) and score >= _CLOSE * unit.score:
            return other
    return None


def _mark_uncertain(names: AbstractNeuronNames, group: Group) -> str:
    return phrase(*group.key) + (" (uncertain)" if is_doubtful(names, group) else "")
