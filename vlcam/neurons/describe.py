"""From named channels to words: which channels a target rests on, ranked, and a sentence about them.

Grad-CAM (arXiv 1610.02391), section 7, ranks the last conv layer's channels by ``alpha_k`` (eq. 1) and reports the names of
the top 5 ("presence raises the score") and the bottom 5 ("absence raises it"). Where a network ends in pooling and one linear
layer, alpha is the same for every image, and a channel may be in the top 5 without firing at all. So vlcam ranks by the
contribution ``c_k = alpha_k * sum_ij A^k_ij`` in this image, and tells four cases apart:

=========  ==================================  ==============================================
..         active: fires above its T_k         silent
=========  ==================================  ==============================================
for        supports: "signs of red things"     missing support: would have raised the score
against    opposes: "in spite of stars"        absence helps: would have lowered the score
=========  ==================================  ==============================================

Presence is claimed of active channels only. A name is said to be absent only if no active channel has it or implies it ("red
star" implies "red"). ``ranking="paper"`` gives the paper's ranking, and its sentence claims nothing about the image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Target
from vlcam.explanation import Evidence, NeuronText
from vlcam.neurons.names import NeuronNames
from vlcam.neurons.wording import Group, join, lead, percent, phrase, tell

TOP: Final = 5
MIN_COVERAGE: Final = 0.30
_RANKINGS: Final = ("contribution", "paper")
_SMALLEST: Final = 0.005  # a smaller share of the evidence is not worth a word
_THINGS: Final = frozenset({"colour", "shape", "texture", "size", "pair"})


def describe(
    names: NeuronNames,
    target: Target,
    alpha: Float[Tensor, " channels"],
    contributions: Float[Tensor, " channels"],
    activity: Float[Tensor, " channels"],
    *,
    ranking: str = "contribution",
    top_k: int = TOP,
) -> NeuronText:
    """The channels behind one target and a sentence about them, by templates: the same input gives the same words.

    Args:
        names: the names of the layer's channels.
        target: what is explained.
        alpha: mean gradients (eq. 1).
        contributions: ``alpha * sum(A)``.
        activity: each channel's maximum in this image; a channel is active above its ``threshold``.
        ranking: ``contribution`` (in this image) or ``paper`` (by alpha).
        top_k: length of the lists, and of each list of names in the sentence.

    Returns:
        ``top``: the channels with the largest positive values, ``bottom``: with the largest negative ones, strongest first.
        ``coverage``: the named channels' share of ``sum |c_k|`` (``sum |alpha_k|`` in the paper's ranking).
    """
    if ranking not in _RANKINGS:
        raise InputError(f"ranking {ranking!r} was given; expected one of {', '.join(_RANKINGS)}")
    chosen = cast(Literal["contribution", "paper"], ranking)
    if not _finite(names, alpha, contributions, activity):
        sentence = f"{lead(target)} Some channel values are not finite (NaN or infinity), so nothing can be said about channels."
        return NeuronText(sentence, (), (), 0.0, chosen)
    every = evidence(names, alpha, contributions, activity)
    values = [one.alpha if chosen == "paper" else one.contribution for one in every]
    order = sorted(range(len(every)), key=lambda k: (-abs(values[k]), k))
    top = tuple(every[k] for k in order if values[k] > 0)[:top_k]
    bottom = tuple(every[k] for k in order if values[k] < 0)[:top_k]
    total = sum(abs(value) for value in values)
    named = sum(abs(value) for value, one in zip(values, every, strict=True) if one.name is not None)
    coverage = min(named / total, 1.0) if total > 0 else 0.0
    if total == 0:
        body = "No channel contributed to it."
    elif coverage < MIN_COVERAGE:
        body = f"No reliable names: named units cover only {percent(coverage)} of the evidence."
    elif chosen == "paper":
        body = _by_alpha(names, every, top_k)
    else:
        body = _in_image(names, target, every, coverage, total, top_k)
    return NeuronText(f"{lead(target)} {body}", top, bottom, coverage, chosen)


def evidence(
    names: NeuronNames,
    alpha: Float[Tensor, " channels"],
    contributions: Float[Tensor, " channels"],
    activity: Float[Tensor, " channels"],
) -> tuple[Evidence, ...]:
    """The record of every channel, in the layer's order. All positive shares sum to 1, all negative ones to -1."""
    alphas, parts, peaks = (one.detach().double().cpu().tolist() for one in (alpha, contributions, activity))
    most = sum(part for part in parts if part > 0)
    least = -sum(part for part in parts if part < 0)
    return tuple(
        Evidence(
            unit=unit.unit,
            name=unit.name,
            alpha=alphas[k],
            contribution=parts[k],
            share=parts[k] / most if parts[k] > 0 else parts[k] / least if parts[k] < 0 else 0.0,
            active=unit.state != "dead" and peaks[k] > unit.threshold,
            match=unit.score if unit.name is not None else None,
        )
        for k, unit in enumerate(names.units)
    )


def _finite(names: NeuronNames, alpha: Tensor, contributions: Tensor, activity: Tensor) -> bool:
    """Whether all values are finite; InputError if their number is not that of the named units."""
    for what, values in (("alpha", alpha), ("contributions", contributions), ("activity", activity)):
        if tuple(values.shape) != (len(names.units),):
            raise InputError(
                f"{what} has shape {tuple(values.shape)} but there are names of {len(names.units)} units (layer {names.layer!r} of "
                f"{names.model!r}); expected ({len(names.units)},): use the names of the layer that is explained"
            )
    return all(bool(torch.isfinite(one).all()) for one in (alpha, contributions, activity))


def _in_image(
    names: NeuronNames, target: Target, every: Sequence[Evidence], coverage: float, total: float, top_k: int
) -> str:
    """The four cases, what they cover, and which names are doubtful."""
    sums = {sign: sum(abs(one.contribution) for one in every if one.contribution * sign > 0) for sign in (1, -1)}
    present = [
        replace(group, weight=group.weight / sums[1 if group.weight > 0 else -1]) if group.weight else group
        for group in _merge(names, [(one, one.contribution) for one in every if one.active])
    ]  # as shares of all positive (or all negative) contributions
    # what a silent channel would have done if it had fired at its threshold
    silent = _merge(
        names, [(one, one.alpha * max(names.units[one.unit].threshold, 1e-9)) for one in every if not one.active]
    )
    implied = _implied(present)
    shown = {group.key for group in present}
    absent = [group for group in silent if not (group.key in shown or _words(group) <= implied)]
    supports = _select(present, 1, top_k, _SMALLEST)
    opposes = _select(present, -1, top_k, _SMALLEST)
    parts = tell(target, supports, opposes, _select(absent, 1, top_k), _select(absent, -1, top_k))
    weak = sum(abs(one.contribution) for one in every if one.name is not None and not one.active) / total
    hidden = f" ({percent(weak)} in channels that fire too weakly here to count as seen)" if weak >= 0.01 else ""
    rest = f"; {percent(1.0 - coverage)} is unnamed" if coverage < 1.0 else ""
    parts.append(f"Named units cover {percent(coverage)} of the evidence{hidden}{rest}.")
    parts.extend(_doubts(names, supports))
    return " ".join(parts)


def _by_alpha(names: NeuronNames, every: Sequence[Evidence], top_k: int) -> str:
    """The paper's lists: what would raise and lower the score, whether or not it is in the image."""
    groups = _merge(names, [(one, one.alpha) for one in every])
    parts = ["By the paper's ranking (alpha: class-level, it does not say what is in this image),"]
    up, down = (join(phrase(*group.key) for group in _select(groups, sign, top_k)) for sign in (1, -1))
    parts.append(
        f"{up or 'nothing that is named'} would raise the score; {down or 'nothing that is named'} would lower it."
    )
    return " ".join(parts)


def _merge(names: NeuronNames, weighted: Iterable[tuple[Evidence, float]]) -> list[Group]:
    """Named channels put together by name: weights summed, strongest first."""
    found: dict[tuple[str, str | None], list[tuple[int, float]]] = {}
    for one, weight in weighted:
        unit = names.units[one.unit]
        if unit.name is not None:
            found.setdefault((unit.name, unit.category), []).append((one.unit, weight))
    groups = [
        Group(
            key,
            tuple(unit for unit, _ in sorted(parts, key=lambda part: (-abs(part[1]), part[0]))),
            sum(w for _, w in parts),
        )
        for key, parts in found.items()
    ]
    return sorted(groups, key=lambda group: (-abs(group.weight), group.units))


def _select(groups: Sequence[Group], sign: int, most: int, smallest: float = 0.0) -> list[Group]:
    """The strongest groups of one sign."""
    return [group for group in groups if group.weight * sign > smallest][:most]


def _words(group: Group) -> frozenset[str]:
    return frozenset(group.key[0].split())


def _implied(present: Iterable[Group]) -> frozenset[str]:
    """The words that active names make true: those in them, and "thing" for what only things have."""
    words: set[str] = set()
    for group in present:
        words |= {"thing"} if group.key[1] in _THINGS else set()
        words |= {group.key[0]} if group.key[1] == "region" else _words(group)
    return frozenset(words)


def _doubts(names: NeuronNames, groups: Iterable[Group]) -> list[str]:
    """A remark for each told name whose strongest unit matches another concept (no part of it, nor a kind of it) nearly as well."""
    out: list[str] = []
    for group in groups:
        unit = names.units[group.units[0]]
        for other, _, iou in unit.alternatives[:1]:
            apart = not (_words(group) <= set(other.split()) or set(other.split()) <= _words(group))
            if apart and iou >= 0.9 * unit.score:
                out.append(f'The name "{group.key[0]}" is uncertain (also: {other}).')
    return out
