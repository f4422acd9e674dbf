"""A result as a chart: one dot with its 95 % interval per row, the paper's number as a hollow diamond, controls in grey.

Dots on a common scale are read most exactly of all charts (Cleveland and McGill 1984), and intervals show which differences are real. What
differs in colour also differs in form, so it survives greyscale print. Made with Pillow alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from PIL import Image, ImageDraw

from vlcam.contracts import InputError
from vlcam.experiments.results.result import Result, ResultRow, format_number
from vlcam.render.colour import get_colour_table
from vlcam.render.lettering import Lettering
from vlcam.render.png import save_png

WIDTH: Final = 1600
"""Of the picture, in pixels; at 6.5 inches, the width of a page of text, 246 dots an inch."""

_Real = float | int

_INK, _MUTED, _PAPER = (28, 27, 25), (112, 109, 103), (255, 255, 255)
_GRID, _RULE, _GREY = (232, 230, 226), (200, 197, 191), (150, 147, 141)
_FINER: Final = 3
_TEXT, _SMALL, _TITLE = 28, 23, 34
_LINE: Final = 50
_MARGIN: Final = 36
_GAP: Final = 56
_MOST_COLUMNS: Final = 4
_LABELS: Final = 0.34


@final
@dataclass(frozen=True)
class _Scale:
    """Values to pixels along one panel."""

    low: float
    high: float
    left: float
    right: float
    ticks: tuple[float, ...]

    def to_pixel(self, value: float) -> float:
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.left + part * (self.right - self.left)


def draw_chart(result: Result, *, width: int = WIDTH) -> Image.Image:
    """The chart of a result, RGB on white. With several measures each has its panel and its own scale, at most four side by side.

    Rows without a number say so; they have no dot. Raises InputError for a result without rows, or a width below 800.
    """
    if not result.rows:
        raise InputError(f"the result of {result.key} has no rows, so there is nothing to draw")
    if width < 800:
        raise InputError(f"width={width} was given; expected 800 pixels or more, or the letters don't fit")
    return _Drawing(result, width).image


def save_chart(result: Result, path: str | Path, *, width: int = WIDTH) -> None:
    """Write the chart as a PNG. Raises InputError if that is impossible."""
    picture = draw_chart(result, width=width)
    save_png(picture, path, dpi=width / 6.5)


@final
class _Drawing:
    def __init__(self, result: Result, width: int) -> None:
        self.result, self.width = result, width
        self.every = (*result.rows, *result.controls)
        self.names = list(dict.fromkeys(row.name for row in result.rows))
        self.controls = [name for name in dict.fromkeys(row.name for row in result.controls) if name not in self.names]
        self.own = {(row.name, row.column): row for row in self.every}
        self.blocks = [result.measures[at : at + _MOST_COLUMNS] for at in range(0, len(result.measures), _MOST_COLUMNS)]
        texts = [result.title, result.world, result.model, result.unit, "0123456789.-–◇ ·", *result.measures]
        self.letters = Lettering([*texts, *self.names, *self.controls])
        self.labels = self._measure_label_width()
        self.accent = tuple(int(part) for part in get_colour_table("viridis")[82])

        below_title = self._measure_title_height()
        block = self._measure_block_height()
        height = math.ceil(below_title + len(self.blocks) * block + _MARGIN / 2)
        self.shapes = Image.new("RGB", (width * _FINER, height * _FINER), _PAPER)
        self.lines = ImageDraw.Draw(self.shapes)
        self.written: list[tuple[tuple[_Real, _Real], str, int, tuple[int, ...], str]] = []
        self._draw_title()
        for place, columns in enumerate(self.blocks):
            self._draw_block(columns, below_title + place * block)
        self.image = self.shapes.resize((width, height), Image.Resampling.LANCZOS)
        pen = ImageDraw.Draw(self.image)
        for at, text, size, colour, anchor in self.written:
            pen.text(at, text, font=self.letters.get_font(size), fill=colour, anchor=anchor)

    # --- measures ---

    def _measure_label_width(self) -> _Real:
        font = self.letters.get_font(_TEXT)
        longest = max(font.getlength(self.letters.to_plain(name)) for name in (*self.names, *self.controls))
        return min(longest, _LABELS * self.width)

    def _measure_title_height(self) -> _Real:
        return _MARGIN + _TITLE * 1.4 + _SMALL * 1.6 + 14

    def _measure_block_height(self) -> _Real:
        heads = 1.7 * _TEXT if self._has_heads() else 0
        return (
            heads
            + _LINE * len(self.names)
            + (0.5 * _LINE + _LINE * len(self.controls) if self.controls else 0)
            + 2.6 * _SMALL
            + 30
        )

    def _has_heads(self) -> bool:
        return any(self.result.measures) and len(self.result.measures) > 1

    # --- pieces ---

    def _write(
        self, at: tuple[_Real, _Real], text: str, size: int, colour: tuple[int, ...], anchor: str, room: _Real
    ) -> None:
        self.written.append((at, self.letters.fit(text, size, room), size, colour, anchor))

    def _draw_title(self) -> None:
        result, room = self.result, self.width - 2 * _MARGIN
        self._write((_MARGIN, _MARGIN + _TITLE), f"{result.number}. {result.title}", _TITLE, _INK, "ls", room)
        facts = [result.world, result.model, self._format_counts()]
        text = " · ".join(fact for fact in facts if fact)
        y = _MARGIN + _TITLE * 1.4 + _SMALL
        key = self._measure_key_width()
        self._write((_MARGIN, y), text, _SMALL, _MUTED, "ls", room - key - 24)
        self._draw_key(self.width - _MARGIN - key, y - _SMALL * 0.36)

    def _format_counts(self) -> str:
        counts = sorted({row.n for row in self.result.rows if row.n})
        if not counts:
            return ""
        return f"n = {counts[0]:,}" if len(counts) == 1 else f"n = {counts[0]:,} to {counts[-1]:,}"

    def _list_key_parts(self) -> list[tuple[str, str]]:
        parts = [("ours", "ours, 95 % interval")]
        if any(row.paper is not None for row in self.every):
            parts.append(("paper", "the paper's number"))
        return parts + ([("control", "control")] if self.controls else [])

    def _measure_key_width(self) -> _Real:
        font = self.letters.get_font(_SMALL)
        return (
            sum(66 + font.getlength(text) for _, text in self._list_key_parts())
            + 22 * (len(self._list_key_parts()) - 1)
            - 10
        )

    def _draw_key(self, x: _Real, y: _Real) -> None:
        for kind, text in self._list_key_parts():
            if kind == "paper":
                self._draw_diamond(x + 37, y)
            else:
                self._draw_dot(
                    x + 4, x + 27, x + 50, y, self.accent if kind == "ours" else _GREY, control=kind == "control"
                )
            self._write((x + 60, y + _SMALL * 0.36), text, _SMALL, _MUTED, "ls", self.width)
            x += 66 + self.letters.get_font(_SMALL).getlength(text) + 22

    def _draw_block(self, columns: Sequence[str], top: _Real) -> None:
        first = _MARGIN + self.labels + 28
        room = (self.width - _MARGIN - first - _GAP * (len(columns) - 1)) / len(columns)
        below = top + (1.7 * _TEXT if self._has_heads() else 0)
        rows = {name: below + _LINE * (place + 0.5) for place, name in enumerate(self.names)}
        bottom = below + _LINE * len(self.names)
        if self.controls:
            rule = bottom + 0.25 * _LINE
            self._draw_line(_MARGIN, rule, self.width - _MARGIN, rule, _RULE, 1.5)
            rows |= {name: bottom + _LINE * (place + 1.0) for place, name in enumerate(self.controls)}
            bottom += _LINE * (len(self.controls) + 0.5)
        for name, y in rows.items():
            colour = _MUTED if name in self.controls else _INK
            self._write((_MARGIN + self.labels, y), name, _TEXT, colour, "rm", self.labels)
        for place, column in enumerate(columns):
            left = first + place * (room + _GAP)
            self._draw_panel(column, rows, (left, left + room), (below, bottom))

    def _draw_panel(
        self, column: str, rows: dict[str, _Real], across: tuple[_Real, _Real], down: tuple[_Real, _Real]
    ) -> None:
        own = [row for row in self.every if row.column == column]
        values = max(
            (self.letters.get_font(_SMALL).getlength(format_number(row.value, self.result.unit)) for row in own),
            default=0,
        )
        left, right = across[0] + 14, across[1] - values - 26
        scale = _make_scale(own, left, right, self.result.unit)
        if self._has_heads():
            self._write((across[0], down[0] - 0.55 * _TEXT), column, _TEXT, _INK, "ls", across[1] - across[0])
        for tick in scale.ticks:
            x = scale.to_pixel(tick)
            self._draw_line(x, down[0], x, down[1] + 8, _RULE if tick == 0 and scale.low < 0 else _GRID, 2)
            self._write((x, down[1] + 12), _format_tick(tick, scale.ticks), _SMALL, _MUTED, "ma", 200)
        self._draw_line(scale.left, down[1] + 4, scale.right, down[1] + 4, _RULE, 2)
        better = f"{self.result.better} is better" if self.result.better else ""
        text = " · ".join(filter(None, (self.result.unit, better)))
        middle = (scale.left + scale.right) / 2
        self._write((middle, down[1] + 16 + 1.2 * _SMALL), text, _SMALL, _MUTED, "ma", across[1] - across[0])
        for name, y in rows.items():
            row = self.own.get((name, column))
            if row is not None:
                self._draw_row(row, scale, y, across[1], control=name in self.controls)

    def _draw_row(self, row: ResultRow, scale: _Scale, y: _Real, edge: _Real, *, control: bool) -> None:
        self._write(
            (edge, y), format_number(row.value, self.result.unit), _SMALL, _MUTED if control else _INK, "rm", 200
        )
        if math.isfinite(row.value):
            ends = [
                scale.to_pixel(end) if math.isfinite(end) else scale.to_pixel(row.value) for end in (row.low, row.high)
            ]
            self._draw_dot(
                ends[0], scale.to_pixel(row.value), ends[1], y, _GREY if control else self.accent, control=control
            )
        else:
            self._write(
                ((scale.left + scale.right) / 2, y), "no number", _SMALL, _MUTED, "mm", scale.right - scale.left
            )
        if row.paper is not None:
            self._draw_diamond(scale.to_pixel(row.paper), y)

    def _draw_line(self, x0: _Real, y0: _Real, x1: _Real, y1: _Real, colour: tuple[int, ...], thick: _Real) -> None:
        half = thick / 2
        if x0 == x1:
            box = (x0 - half, y0, x0 + half, y1)
        else:
            box = (x0, y0 - half, x1, y0 + half)
        self.lines.rectangle([round(one * _FINER) for one in box], fill=colour)

    def _draw_dot(
        self, low: _Real, at: _Real, high: _Real, y: _Real, colour: tuple[int, ...], *, control: bool
    ) -> None:
        self._draw_line(low, y, high, y, colour, 4 if control else 5)
        for end in (low, high):
            if high - low > 16:
                self._draw_line(end, y - 7, end, y + 7, colour, 4)
        radius = 8 if control else 10
        self.lines.ellipse(
            [round(one * _FINER) for one in (at - radius, y - radius, at + radius, y + radius)], fill=colour
        )

    def _draw_diamond(self, x: _Real, y: _Real) -> None:
        """Hollow: what lies below shows through, so that it hides no dot."""
        corners = [(x, y - 14), (x + 14, y), (x, y + 14), (x - 14, y), (x, y - 14), (x + 14, y)]
        points = [(round(a * _FINER), round(b * _FINER)) for a, b in corners]
        self.lines.line(points, fill=_PAPER, width=7 * _FINER, joint="curve")
        self.lines.line(points, fill=_INK, width=3 * _FINER, joint="curve")


def _make_scale(rows: Sequence[ResultRow], left: float, right: float, unit: str) -> _Scale:
    numbers = [
        one
        for row in rows
        for one in (row.value, row.low, row.high, row.paper)
        if one is not None and math.isfinite(one)
    ]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    if 0 < low < 0.5 * high:
        low = 0.0
    if high < 0 and high > 0.5 * low:
        high = 0.0
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    spare = 0.04 * (high - low)
    low, high = low - (spare if low != 0 else 0), high + (spare if high != 0 else 0)
    if unit == "%":
        low, high = max(low, 0.0) if min(numbers, default=0) >= 0 else low, min(high, 100.0) if high <= 104 else high
    most = 4 if right - left > 400 else 3 if right - left > 250 else 2
    return _Scale(low, high, left, right, _choose_ticks(low, high, most))


def _choose_ticks(low: float, high: float, most: int = 4) -> tuple[float, ...]:
    """Round numbers within the scale, about ``most``.

    >>> _choose_ticks(0.0, 0.31)
    (0.0, 0.1, 0.2, 0.3)
    >>> _choose_ticks(44.0, 63.0)
    (45.0, 50.0, 55.0, 60.0)
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    for step in sorted(steps, key=lambda one: (one < 0.999 * rough, abs(one - rough))):
        found = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(found) > 1:
            break
    return tuple(round(index * step, 12) + 0.0 for index in found)


def _format_tick(value: float, ticks: Sequence[float]) -> str:
    """All ticks of a scale with as many digits as any of them needs."""
    digits = max(len(f"{tick:.10f}".rstrip("0").split(".")[1]) for tick in ticks)
    return f"{value:.{digits}f}".replace("-", "−")
