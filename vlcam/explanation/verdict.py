"""What a significance test found, in words: one statistic, its counts and its p-value in one voice."""

from collections.abc import Sequence
from typing import Final

from vlcam.contracts import Target
from vlcam.explanation.record import FillTest, SignificanceTest

SURE: Final = 0.05
"""Up to this p-value a map is said to be better than chance."""

HARDLY: Final = 0.05
"""A logit or log-probability that no change of the picture moves by more than this hardly depends on it: less than 5 % of the odds."""

_CLEAR: Final = 0.1
"""An effect of at least this part of the strongest fill's has a sign."""


def write_verdict(
    target: Target, test: SignificanceTest, reach: float, number: int, *, learnt: bool = True, against: bool = False
) -> str:
    """What removing the region does, how many others did as much, and whether that is better than chance.

    Args:
        target: what was explained.
        test: the test, with everything but its verdict.
        reach: the most that the score moved in any picture of the test.
        number: how many targets were tested together.
        learnt: the picture moves the score more than in untrained models; otherwise the p-value is of these alone.
        against: the map shows what speaks against the target, and the signs of the effects are turned round.
    """
    p = test.p
    if p is None:
        return test.verdict
    unit, sign = _name_unit(target), -1 if against else 1
    if reach <= HARDLY and target.measure in ("logit", "log-probability"):
        return (
            f"{target.label!r} hardly depends on the picture: whatever was removed, even all of it, changed the score by at most "
            f"{_format_amount(reach)}{unit} (p = {p:.2g})."
        )
    does = _describe_change(target.label, sign * test.removed, unit)
    if not learnt:
        may = "An untrained model may do as well" if p > SURE else "Few untrained models do"
        return (
            f"Removing this region {does}; {_count_models(test)} did as much. {may} (p = {p:.2g}), and the picture as a whole moves "
            f"{target.label!r} no more than in models without training."
        )
    counts = _count_others(test)
    parts = [f"Removing this region {does}; {counts}.", _judge(test, p, number)]
    if disagree(test.fills):
        moves = ", ".join(f"{sign * one.removed:+.2g} ({one.fill})".replace("-", "−") for one in test.fills)
        parts.append(f"The fills disagree, so be careful; the score falls by {moves}.")
    return " ".join(parts)


def disagree(fills: Sequence[FillTest]) -> bool:
    """Whether the fills contradict each other: the score clearly falls with one and clearly rises with another."""
    most = max((abs(one.removed) for one in fills), default=0.0)
    clear = [one.removed for one in fills if abs(one.removed) >= _CLEAR * most]
    return bool(clear) and min(clear) < 0 < max(clear)


def _describe_change(label: str, change: float, unit: str) -> str:
    if abs(change) < 5e-4:
        return f"hardly changes {label!r} (by {abs(change):.1g}{unit})"
    return f"{'lowers' if change > 0 else 'raises'} {label!r} by {_format_amount(abs(change))}{unit}"


def _count_others(test: SignificanceTest) -> str:
    """How many random regions and untrained models did as much."""
    word = ", but" if test.untrained_as_much and not test.removed_as_much else " and"
    return f"{test.removed_as_much or 'none'} of {test.regions} random regions{word} {_count_models(test)} did as much"


def _count_models(test: SignificanceTest) -> str:
    return f"{test.untrained_as_much or 'none'} of {test.models} untrained models"


def _judge(test: SignificanceTest, p: float, number: int) -> str:
    corrected = test.corrected
    if p > SURE:
        untrained = (1 + test.untrained_as_much) / (1 + test.models)
        who = "An untrained model" if untrained > (1 + test.removed_as_much) / (1 + test.regions) else "A random map"
        return f"{who} may do as well (p = {p:.2g})."
    if corrected is None or number < 2:
        return f"Better than chance (p = {p:.2g})."
    together = f"p = {p:.2g}; {corrected:.2g} corrected for {number} tests"
    if corrected <= SURE:
        return f"Better than chance ({together})."
    return f"Better than chance taken alone, but not as one of {number} ({together})."


def _name_unit(target: Target) -> str:
    return " nats" if target.measure == "log-probability" else ""


def _format_amount(value: float) -> str:
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"
