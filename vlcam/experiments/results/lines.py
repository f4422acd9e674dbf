"""From values to what a result shows: a row, a mean with its interval, and a sentence that compares methods photo by photo."""

from collections.abc import Hashable, Mapping, Sequence

from vlcam.experiments.results.result import ResultRow, format_number, make_row
from vlcam.metrics.statistics import Summary, summarise


def make_summary_row(
    key: str,
    name: str,
    found: Summary,
    *,
    column: str = "",
    undefined: int | None = None,
    note: str = "",
    published_as: str | None = None,
    scale: float = 1.0,
) -> ResultRow:
    """A summary as a row, with the paper's number where there is one (see :func:`vlcam.experiments.results.result.make_row`).

    ``undefined`` is that of the summary, or another count of maps without an answer.
    """
    return make_row(
        key,
        name,
        scale * found.mean,
        scale * found.low,
        scale * found.high,
        found.n,
        column=column,
        undefined=found.undefined if undefined is None else undefined,
        note=note,
        published_as=published_as,
    )


def make_percent_row(
    key: str, name: str, found: Summary, *, column: str = "", undefined: int | None = None, note: str = ""
) -> ResultRow:
    """:func:`make_summary_row` for a summary of shares, in percent."""
    return make_summary_row(key, name, found, column=column, undefined=undefined, note=note, scale=100.0)


def format_summary(one: Summary, unit: str = "") -> str:
    """A mean with its interval, for a note.

    >>> format_summary(Summary(4, 0, 75.0, 25.0, 100.0), "%")
    '75.0 [25.0, 100.0]'
    """
    return f"{format_number(one.mean, unit)} [{format_number(one.low, unit)}, {format_number(one.high, unit)}]"


def write_comparison(
    values: Mapping[str, Sequence[float]],
    ours: str,
    others: Sequence[str],
    what: str,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
) -> str:
    """A sentence: by how many points ``ours`` is above or below each of the others, paired by sample, with 95 % intervals.

    ``values`` are shares, of every method for the same samples. Empty if there is nothing to compare.

    >>> write_comparison({"a": [1.0, 1.0], "b": [1.0, 0.0]}, "a", ["b"], "pointing", seed=0)
    'Paired by photo, in pointing a is 50.0 points [0.0, 100.0] above b.'
    """
    parts = []
    for other in others:
        if other == ours or other not in values or ours not in values:
            continue
        differences = [one - two for one, two in zip(values[ours], values[other], strict=True)]
        found = summarise(differences, seed=seed, clusters=clusters)
        sign = 1 if found.mean >= 0 else -1
        ends = sorted(100 * sign * end + 0.0 for end in (found.low, found.high))
        word = "above" if sign > 0 else "below"
        parts.append(f"{100 * abs(found.mean):.1f} points [{ends[0]:.1f}, {ends[1]:.1f}] {word} {other}")
    return f"Paired by photo, in {what} {ours} is {', '.join(parts)}." if parts else ""
