"""A comparison as one HTML file that loads nothing and runs no script."""

import html
import math
from string import Template
from typing import Final

from vlcam._version import __version__
from vlcam.comparison.record import AbstractComparison, Candidate
from vlcam.metrics.statistics import Summary
from vlcam.render.html import make_policy, read_template

_WIDTH, _HEIGHT = 160, 14
_MEANING: Final = (
    "Faithfulness: the share of a target's score that is there with only the top 3, 6, 10, 20 or 30 % of the map's pixels, less the share "
    "that is left without them; the mean over these steps and over two fills, the mean colour and a strong blur. From -1 to 1; higher is "
    "better.",
    "Behind the best: the difference in faithfulness on the same photos. The intervals hold together for all candidates. Where one "
    "includes 0, that candidate can't be told apart from the best: its bar is in the same colour, and “tied” stands below it.",
    "Rank correlation with occlusion: whether the map has most where covering a square lowers the score most. The squares are random ones "
    "that no method has seen. A method that is made of such runs itself (occlusion, RISE) has an advantage here.",
    "Agreement: the mean rank correlation with the maps of the other candidates. It says who goes alone, not who is right.",
    "Cost: the time of all maps of a photo, in forward passes of the whole model; approximate.",
    "No mask was used: this says which map tells best what this model uses, not whether the model looks at the right thing.",
)


def make_comparison_page(comparison: AbstractComparison) -> str:
    """The comparison as a self-contained HTML document."""
    style = read_template("vlcam.comparison", "comparison.css")
    rows = [*comparison.candidates, comparison.control]
    span = _find_span(rows)
    photos = f"{len(comparison.photos)} photo{'s' if len(comparison.photos) != 1 else ''}"
    targets = f"{comparison.targets} target{'s' if comparison.targets != 1 else ''}"
    left = "".join(f"<li>{_escape(name)}: {_escape(reason)}</li>" for name, reason in comparison.left_out)
    return Template(read_template("vlcam.comparison", "comparison.html")).substitute(
        policy=make_policy("", style),
        version=html.escape(__version__),
        style=style,
        title=_escape(f"Methods and layers for {comparison.model}"),
        lead=f"Measured without masks on {targets} of {photos}: {_escape(', '.join(comparison.photos[:8]))}"
        + (" and others." if len(comparison.photos) > 8 else "."),
        kind="verdict" if comparison.recommended is not None else "verdict open",
        verdict=_escape(comparison.verdict) + ".",
        rows="\n        ".join(_make_row(comparison, one, span) for one in rows),
        meaning="\n    ".join(f"<li>{html.escape(line, quote=False)}</li>" for line in _MEANING),
        left_out=f"<h2>Left out</h2>\n  <ul>{left}</ul>" if left else "",
    )


def _find_span(rows: list[Candidate]) -> tuple[float, float]:
    """The ends of the bars' scale: what all intervals of faithfulness need, and 0."""
    ends = [end for one in rows for end in (one.faithfulness.low, one.faithfulness.high) if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    return (low, high) if high > low else (0.0, 1.0)


def _make_row(comparison: AbstractComparison, one: Candidate, span: tuple[float, float]) -> str:
    tied = any(one is other for other in comparison.tied)
    control = one is comparison.control
    name = f"{_escape(one.method)}<small>{_escape(one.layer)}</small>"
    if tied and len(comparison.tied) > 1:
        name = f"{_escape(one.method)} <small>{_escape(one.layer)} · tied</small>"
    cells = [
        f"{_draw_bar(one.faithfulness, span)}{_format(one.faithfulness)}",
        "–" if one is comparison.best else _format(one.behind),
        _format(one.deletion),
        _format(one.insertion),
        _format(one.correlation),
        _format(one.agreement),
        "–" if control else f"{one.cost:.1f}",
    ]
    kind = "control" if control else "tied" if tied else ""
    return f'<tr class="{kind}"><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _format(one: Summary) -> str:
    if math.isnan(one.mean):
        return "–"
    known = math.isfinite(one.low) and math.isfinite(one.high)
    return f"{one.mean:.3f}<small>{f'{one.low:.3f} to {one.high:.3f}' if known else 'no interval'}</small>"


def _draw_bar(one: Summary, span: tuple[float, float]) -> str:
    """The interval of a number and its middle on the common scale."""
    left, right, middle, zero = (_place(value, span) for value in (one.low, one.high, one.mean, 0.0))
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
        f'<rect class="track" x="0" y="5" width="{_WIDTH}" height="4" rx="2"/>'
        f'<line class="zero" x1="{zero}" x2="{zero}" y1="0" y2="{_HEIGHT}"/>'
        f'<rect class="range" x="{left}" y="4" width="{max(1.0, round(right - left, 1))}" height="6" rx="3"/>'
        f'<circle class="point" cx="{middle}" cy="7" r="3"/></svg>'
    )


def _place(value: float, span: tuple[float, float]) -> float:
    """Where a number lies on the scale, in pixels."""
    low, high = span
    return round((min(max(value, low), high) - low) / (high - low) * (_WIDTH - 4) + 2, 1)


def _escape(text: str) -> str:
    """Text that is safe in HTML, with half of a surrogate pair replaced."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))
