"""What can be asked of a figure, checked before anything is drawn, and the lengths that all others follow from."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, final

from vlcam.contracts import InputError, shorten
from vlcam.explanation.record import AbstractExplanation, TargetView
from vlcam.render.colour import choose_colours, is_diverging

Words = Sequence[int | str | tuple[str, int]]
Scale = Literal["own", "shared"]
Length = float | int

GAP: Final = 0.06
"""Between panels, by the width of one."""
ENDINGS: Final = (".pdf", ".svg", ".png")
PAPER: Final = 174.0
"""Width of a page's text in millimetres, for a PDF or an SVG that nobody gave a width."""
POINTS: Final = 7.5
WIDE: Final = 200.0
"""From this width in millimetres on, letters grow with the figure: it is read from farther away."""
DPI: Final = 300.0
_PANEL: Final = 320
_MARGIN: Final = 0.08
_MOST_COLUMNS: Final = 5
_MOST_PIXELS: Final = 20_000
_SCREEN, _SMALL, _SMALL_ON_PAPER = 0.056, 0.044, 0.85
POINTS_PER_MM: Final = 72 / 25.4


@final
@dataclass(frozen=True)
class Sizes:
    """The lengths that the others follow from: a panel's width, letters, small letters, and the margin."""

    panel: Length
    text: Length
    small: Length
    margin: Length
    width: Length
    whole: bool
    """Whether lengths are whole numbers, of pixels."""

    def snap(self, length: Length) -> Length:
        """A length as it can be drawn."""
        return round(length) if self.whole else length

    @property
    def gap(self) -> Length:
        """Between two panels."""
        return self.snap(GAP * self.panel)


@final
@dataclass(frozen=True)
class CheckedFigure:
    """A figure as it was asked for: what is on it, and how large. ``dpi`` is None where a picture has no size on paper."""

    explanation: AbstractExplanation
    views: tuple[TargetView, ...]
    columns: int
    colours: str
    shared: bool
    contour: bool
    title: str | None
    facts: bool
    font: str | Path | None
    points: float
    width_mm: float | None
    width: int | None
    dpi: float | None

    def measure_pixels(self) -> Sizes:
        """The lengths of a picture, in pixels."""
        if self.width_mm is not None:
            scale = (self.dpi or DPI) / 72
            width = round(self.width_mm * POINTS_PER_MM * scale)
            panel = int(width / (self.columns + GAP * (self.columns - 1)))
            text = max(1, round(self.points * scale))
            return Sizes(panel, text, max(1, round(_SMALL_ON_PAPER * self.points * scale)), 0, width, whole=True)
        panel = _PANEL
        if self.width is not None:
            panel = int(self.width / (self.columns + GAP * (self.columns - 1) + 2 * _MARGIN))
        if panel < 40:
            raise InputError(
                f"a figure of {self.width} pixels is too narrow for {self.columns} columns; choose fewer columns or more pixels"
            )
        margin, gap = round(_MARGIN * panel), round(GAP * panel)
        width = self.columns * panel + (self.columns - 1) * gap + 2 * margin if self.width is None else self.width
        margin = (width - self.columns * panel - (self.columns - 1) * gap) // 2
        return Sizes(panel, max(9, round(_SCREEN * panel)), max(8, round(_SMALL * panel)), margin, width, whole=True)

    @property
    def line(self) -> float:
        """How thick the white part of a line on a map is, in points."""
        return 0.65 * self.points / POINTS

    def measure_points(self) -> Sizes:
        """The lengths of a page, in points."""
        width = (self.width_mm or PAPER) * POINTS_PER_MM
        panel = width / (self.columns + GAP * (self.columns - 1))
        return Sizes(panel, self.points, _SMALL_ON_PAPER * self.points, 0.0, width, whole=False)


class FigureOptions(TypedDict, total=False):
    """The options of :meth:`vlcam.Explanation.figure`, which explains them."""

    words: Words | None
    columns: int | None
    width_mm: float | int | None
    font: str | Path | None
    font_size: float | int | None
    title: str | None
    facts: bool
    colours: str | None
    scale: Scale
    contour: bool
    dpi: float | int | None
    width: int | None
    targets: Words | None
    shared: bool


def read_old_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by their names of today, with a DeprecationWarning for those that are gone."""
    given = dict(options)
    if "targets" in given:
        warnings.warn("figure(targets=) is deprecated; use words=", DeprecationWarning, stacklevel=3)
        given.setdefault("words", given.pop("targets"))
    if "shared" in given:
        warnings.warn("figure(shared=) is deprecated; use scale='shared'", DeprecationWarning, stacklevel=3)
        given.setdefault("scale", "shared" if given.pop("shared") else "own")
    if unknown := given.keys() - FigureOptions.__annotations__.keys():
        raise TypeError(f"figure() got an unexpected keyword argument {min(unknown)!r}")
    return given


def check_figure(
    explanation: AbstractExplanation,
    *,
    words: Words | None = None,
    columns: int | None = None,
    width: int | None = None,
    width_mm: float | int | None = None,
    font: str | Path | None = None,
    font_size: float | int | None = None,
    title: str | None = None,
    facts: bool = True,
    colours: str | None = None,
    scale: str = "own",
    contour: bool = True,
    dpi: float | int | None = None,
    vectors: bool = False,
) -> CheckedFigure:
    """Check what was asked for (the arguments: :meth:`vlcam.Explanation.figure`); ``vectors`` says that it becomes a PDF or an SVG.

    Raises:
        InputError: an option makes no sense, or doesn't go with another.
        TargetError: there is no such target.
    """
    if isinstance(words, str):
        raise InputError(f"words={words!r} was given; expected a list of words, such as [{words!r}]")
    views = tuple(explanation[key] for key in (range(len(explanation)) if words is None else words))
    colours = choose_colours(relu=explanation.relu) if colours is None else colours
    if explanation.relu is False and not is_diverging(colours):
        raise InputError(
            f"{colours!r} can't show the signed maps of {explanation.method}; choose a diverging table, such as 'coolwarm'"
        )
    shared = is_shared(scale)
    if width is not None and (vectors or width_mm is not None):
        raise InputError(
            f"width={width} is in pixels, and a PDF or SVG, or a figure with width_mm=, has a width in millimetres; give width_mm= alone"
        )
    if font_size is not None and width_mm is None and not vectors:
        raise InputError(
            f"font_size={font_size!r} is in points, and this picture has no size on paper; give width_mm= as well"
        )
    _check_range(
        "width_mm", width_mm, 10, 3000, "the width on paper in millimetres, 10 to 3000, such as 84 for a column"
    )
    _check_range("font_size", font_size, 2, 400, "the size of the letters in points, 2 to 400, such as 8")
    _check_range("dpi", dpi, 30, 2400, "pixels an inch, 30 to 2400, such as 300")
    wide = PAPER if width_mm is None else float(width_mm)
    points = POINTS * max(1.0, wide / WIDE) if font_size is None else float(font_size)
    paper = vectors or width_mm is not None
    count = len(views) + 1
    if columns is None:
        room = int(wide * POINTS_PER_MM / (7.5 * points)) if paper else _MOST_COLUMNS
        columns = choose_columns(count, min(max(room, 1), _MOST_COLUMNS + 1 if paper else _MOST_COLUMNS))
    if isinstance(columns, bool) or columns < 1:
        raise InputError(f"{columns} columns were asked for; there must be at least one")
    columns = min(columns, count)
    if paper and wide * POINTS_PER_MM / (columns + GAP * (columns - 1)) < 3 * points:
        raise InputError(
            f"a figure of {wide:g} mm is too narrow for {columns} columns with letters of {points:g} points; choose fewer columns, "
            "more millimetres or a smaller font_size="
        )
    if width_mm is not None and not vectors and (pixels := wide / 25.4 * float(dpi or DPI)) > _MOST_PIXELS:
        raise InputError(
            f"width_mm={width_mm:g} at dpi={dpi or DPI:g} are {pixels:,.0f} pixels; expected {_MOST_PIXELS:,} at most: "
            "choose a smaller dpi=, or write a PDF or an SVG"
        )
    density = None if dpi is None and width_mm is None else float(dpi or DPI)
    given_mm = None if width_mm is None else float(width_mm)
    return CheckedFigure(
        explanation, views, columns, colours, shared, contour, title, facts, font, points, given_mm, width, density
    )


def choose_columns(count: int, most: int) -> int:
    """How many columns so many panels have, in rows as even as can be.

    >>> choose_columns(6, 5), choose_columns(10, 5), choose_columns(11, 5)
    (3, 5, 4)
    """
    return math.ceil(count / math.ceil(count / most))


def is_shared(scale: str) -> bool:
    """Whether all targets of a kind have one scale. Raises InputError for a word that is neither."""
    if scale not in ("own", "shared"):
        raise InputError(f"scale={shorten(repr(scale))} was given; expected 'own' (a scale for each map) or 'shared'")
    return scale == "shared"


def _check_range(name: str, value: Any, low: float | int, high: float | int, expected: str) -> None:
    if value is None:
        return
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise InputError(f"{name}={shorten(repr(value))} was given; expected {expected}")
