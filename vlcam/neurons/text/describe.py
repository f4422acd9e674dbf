"""From named channels to words: which channels a target rests on, and what may be said of them.

Grad-CAM (arXiv 1610.02391), section 7, ranks the last conv layer's channels by ``alpha_k`` (eq. 1) and reports the names of
the top 5 ("presence raises the score") and the bottom 5 ("absence raises it"). Where a network ends in pooling and one linear
layer, alpha is the same for every image, and a channel may be in the top 5 without firing at all. So vlcam ranks by the
contribution ``c_k = alpha_k * sum_ij A^k_ij`` in this image, and tells four cases apart:

=========  ==================================  ==============================================
..         fires: above its T_k                silent
=========  ==================================  ==============================================
for        supports: "signs of red things"     missing support: would have raised the score
against    opposes: "in spite of stars"        absence helps: would have lowered the score
=========  ==================================  ==============================================

The contributions are taken as they are given: those of masked gradients, from the gradient averaged on the way to the image, measure
better than those of the gradient at the image alone (``vlcam neurons evaluate --method``).

T_k is where the unit's masks begin in Network Dissection, and no sign that its name is in the picture: of the pictures in which a
unit of the bundled models fires above T_k, only half show what it is named after. So presence is claimed by how often the name held
on the probe (:mod:`vlcam.neurons.text.claimable`): a unit named "red star" that fires strongly speaks for red stars, for stars and for
red things, one that fires less perhaps still for stars, and one that fires weakly for nothing; it counts as evidence all the same. Names
that were never calibrated are claimed above T_k, and the text says so. Of what may be claimed, the names are told that have a large part
of the evidence (:mod:`vlcam.neurons.text.selection`).

A name is said to be absent only if no firing channel has it or implies it ("red star" implies "red"). How sentences are
made of the four cases is in :mod:`vlcam.neurons.text.styles`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Target
from vlcam.explanation.record import Evidence, NamedEvidence, NeuronText, Standing
from vlcam.neurons.names.record import AbstractNeuronNames
from vlcam.neurons.text.firing import Members, read_firing
from vlcam.neurons.text.selection import choose_names, sum_share
from vlcam.neurons.text.short import name_target, write_short
from vlcam.neurons.text.styles import STYLES, Cases, Style, describe_by_alpha, describe_target, is_doubtful
from vlcam.neurons.text.wording import Group, Key, format_percent, write_lead

TOP: Final = 5
MIN_COVERAGE: Final = 0.30
_RANKINGS: Final = ("contribution", "paper")
# What one cell at T_k would have changed (objects cover several). The slope of a silent channel is unsure; where it is
# positive it is mostly that of a rival of what was said (9 of 10, on validation scenes), so it must be as large as present evidence.
_ABSENT: Final = 0.003
_MISSING: Final = 0.03


def describe(
    names: AbstractNeuronNames,
    target: Target,
    alpha: Float[Tensor, " channels"],
    contributions: Float[Tensor, " channels"],
    activity: Float[Tensor, " channels"],
    *,
    ranking: str = "contribution",
    top_k: int = TOP,
    style: str | None = None,
) -> NeuronText:
    """The channels behind one target and a text about them, by templates: the same input gives the same words.

    Args:
        names: the names of the layer's channels.
        target: what is explained.
        alpha: mean gradients (eq. 1).
        contributions: each channel's part in the score in this image, such as ``alpha * sum(A)``.
        activity: each channel's maximum in this image.
        ranking: ``contribution`` (in this image) or ``paper`` (by alpha).
        top_k: length of the lists, and of each list of names in the text.
        style: of ``sentence``: ``short``, ``full`` or ``paper``; by default what the ranking asks for.

    Returns:
        ``top``: the channels with the largest positive values, ``bottom``: with the largest negative ones, strongest first.
        ``coverage``: the named channels' share of ``sum |c_k|`` (``sum |alpha_k|`` in the paper's ranking). ``named``: what the
        text says of this image, name by name. ``short`` and ``paper`` are there in every style.
    """
    chosen, form = _check_options(ranking, style, top_k)
    if not _is_finite(names, alpha, contributions, activity):
        sentence = f"{write_lead(target)} Some channel values are not finite (NaN or infinity), so nothing can be said about channels."
        short = f"Nothing can be said about {name_target(target)}: some numbers are not finite."
        return NeuronText(sentence, (), (), 0.0, chosen, (), reliable=False, short=short)
    every = _Channels(names, alpha, contributions, activity)
    values = every.alphas if chosen == "paper" else every.parts
    order = sorted(range(len(values)), key=lambda k: (-abs(values[k]), k))
    top = tuple(every.make_record(k) for k in [k for k in order if values[k] > 0][:top_k])
    bottom = tuple(every.make_record(k) for k in [k for k in order if values[k] < 0][:top_k])
    total = sum(map(abs, values))
    known = sum(abs(value) for value, unit in zip(values, names.units, strict=True) if unit.name is not None)
    coverage = min(known / total, 1.0) if total > 0 else 0.0
    reliable = coverage >= MIN_COVERAGE
    by_alpha = _sum_by_name(every.firing.named, every.alphas)
    paper = describe_by_alpha(
        names,
        target,
        _select(every.firing.named, by_alpha, every.alphas, 1, top_k),
        _select(every.firing.named, by_alpha, every.alphas, -1, top_k),
    )
    named: tuple[NamedEvidence, ...] = ()
    accounted = 0.0
    if total == 0:
        sentence = f"{write_lead(target)} No channel contributed to it."
        short = f"Nothing in the picture contributes to {name_target(target)}."
    elif not reliable:
        sentence = f"{write_lead(target)} No reliable names: named units cover only {format_percent(coverage)} of the evidence."
        short = f"No short reason can be named for {name_target(target)}."
    elif chosen == "paper":
        sentence = short = paper
    else:
        cases = _find_cases(every, coverage, top_k)
        short = write_short(
            target,
            cases.supports,
            cases.opposes,
            lambda told: sum_share(told, every.parts),
            lambda group: is_doubtful(names, group),
        )
        sentence = paper if form == "paper" else short if form == "short" else describe_target(names, target, cases)
        named, accounted = tuple(_make_records(cases)), cases.accounted
    return NeuronText(sentence, top, bottom, coverage, chosen, named, reliable, short, paper, accounted)


def evidence(
    names: AbstractNeuronNames,
    alpha: Float[Tensor, " channels"],
    contributions: Float[Tensor, " channels"],
    activity: Float[Tensor, " channels"],
) -> tuple[Evidence, ...]:
    """The record of every channel, in the layer's order. All positive shares sum to 1, all negative ones to -1."""
    every = _Channels(names, alpha, contributions, activity)
    return tuple(map(every.make_record, range(len(names.units))))


@final
class _Channels:
    """The numbers of all channels as plain lists, in the layer's order; only a few of them become records."""

    def __init__(self, names: AbstractNeuronNames, alpha: Tensor, contributions: Tensor, activity: Tensor) -> None:
        self.units = names.units
        self.alphas, self.parts, self.peaks = (
            one.detach().double().cpu().tolist() for one in (alpha, contributions, activity)
        )
        self.firing = read_firing(names, self.peaks)
        self.most = sum(part for part in self.parts if part > 0)
        self.least = -sum(part for part in self.parts if part < 0)

    def sum_parts(self, standing: Standing) -> float:
        """How much the channels of a standing do, for and against."""
        found = zip(self.parts, self.firing.standing, strict=True)
        return sum((abs(part) for part, own in found if own == standing), 0.0)

    def make_record(self, k: int) -> Evidence:
        """All about one channel."""
        unit, part = self.units[k], self.parts[k]
        return Evidence(
            unit=unit.unit,
            name=unit.name,
            alpha=self.alphas[k],
            contribution=part,
            share=part / self.most if part > 0 else part / self.least if part < 0 else 0.0,
            active=self.firing.active[k],
            match=unit.score if unit.name is not None else None,
            standing=self.firing.standing[k],
            says=tuple(name for name, _ in self.firing.claimable[k]),
        )


def _find_cases(every: _Channels, coverage: float, top_k: int) -> Cases:
    """Names by case, and how much of the evidence can't be told."""
    firing, whole = every.firing, every.most + every.least
    against = [-part for part in every.parts]
    supports = choose_names(firing.seen, every.parts, top_k)
    opposes = [replace(group, weight=-group.weight) for group in choose_names(firing.seen, against, top_k)]
    # what a silent channel would have done if it had fired at its threshold
    silent = [alpha * least / whole for alpha, least in zip(every.alphas, firing.thresholds, strict=True)]
    absent = _sum_by_name(firing.absent, silent)
    return Cases(
        supports=supports,
        opposes=opposes,
        missing=_select(firing.absent, absent, silent, 1, top_k, _MISSING),
        absent=_select(firing.absent, absent, silent, -1, top_k, _ABSENT),
        coverage=coverage,
        accounted=sum_share(supports, every.parts),
        weak=every.sum_parts("weak") / whole,
        background=every.sum_parts("background") / whole,
        measured=firing.measured,
    )


def _sum_by_name(members: Members, weights: Sequence[float]) -> dict[Key, float]:
    return {key: sum([weights[k] for k in units]) for key, units in members.items()}


def _select(
    members: Members, sums: Mapping[Key, float], weights: Sequence[float], sign: int, most: int, smallest: float = 0.0
) -> tuple[Group, ...]:
    """The strongest names of one sign, each with its channels, strongest first."""
    order = sorted((key for key, weight in sums.items() if weight * sign > smallest), key=lambda key: -abs(sums[key]))
    if len(order) > most:  # names as strong as the last that is told are told apart by their channels
        order = [key for key in order if abs(sums[key]) >= abs(sums[order[most - 1]])]
    groups = [Group(key, tuple(sorted(members[key], key=lambda k: (-abs(weights[k]), k))), sums[key]) for key in order]
    return tuple(sorted(groups, key=lambda group: (-abs(group.weight), group.units))[:most])


def _make_records(cases: Cases) -> Iterable[NamedEvidence]:
    for case, groups in (("supports", cases.supports), ("opposes", cases.opposes)):
        for one in groups:
            yield NamedEvidence(cast(Any, case), *one.key, one.units, one.weight)
    for case, groups in (("absent", cases.absent), ("missing", cases.missing)):
        for one in groups:
            yield NamedEvidence(cast(Any, case), *one.key, one.units, 0.0)


def _check_options(ranking: str, style: str | None, top_k: int) -> tuple[Literal["contribution", "paper"], Style]:
    """The ranking and the style; InputError for unknown ones, or ones that contradict each other."""
    if ranking not in _RANKINGS:
        raise InputError(f"ranking {ranking!r} was given; expected one of {', '.join(_RANKINGS)}")
    if style is not None and style not in STYLES:
        raise InputError(f"style {style!r} was given; expected one of {', '.join(STYLES)}")
    if isinstance(top_k, bool) or top_k < 1:
        raise InputError(f"top_k {top_k!r} was given; expected how many names to list, 1 or more")
    paper = ranking == "paper" if style is None else style == "paper"
    if ranking == "paper" and not paper:
        raise InputError(f"style {style!r} was given with the paper's ranking; expected style 'paper'")
    return ("paper" if paper else "contribution"), cast(Style, style or ("paper" if paper else "full"))


def _is_finite(names: AbstractNeuronNames, alpha: Tensor, contributions: Tensor, activity: Tensor) -> bool:
    """Whether all values are finite; InputError if their number is not that of the named units."""
    for what, values in (("alpha", alpha), ("contributions", contributions), ("activity", activity)):
        if tuple(values.shape) != (len(names.units),):
            raise InputError(
                f"{what} has shape {tuple(values.shape)} but there are names of {len(names.units)} units (layer {names.layer!r} of "
                f"{names.model!r}); expected ({len(names.units)},): use the names of the layer that is explained"
            )
    return all(bool(torch.isfinite(one).all()) for one in (alpha, contributions, activity))
