"""A figure as PDF or SVG, with matplotlib: text stays text, lines are vectors, and photos have the resolution of print."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from vlcam._version import __version__
from vlcam.explanation.figure_layout import FigureLayout, FigurePanel, lay_out, list_texts
from vlcam.explanation.figure_options import DPI, CheckedFigure
from vlcam.explanation.figures import (
    INK,
    MUTED,
    choose_scale,
    describe_figure,
    draw_ramp,
    fade_line,
    shrink_photo,
    spread_map,
)
from vlcam.explanation.wording import find_peak
from vlcam.files import name_unwritable, replace_file
from vlcam.render.blending import overlay
from vlcam.render.plotting import PlotLettering, use_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PIXELS: Final = 1600
"""Of a panel's longer side: photos are kept at 1024 pixels, and more would only make the file large."""
_LINE: Final = 160
"""Cells of the longer side that a line is drawn on: the maps are smooth."""
_ANCHORS: Final[dict[str, tuple[Literal["left", "center", "right"], Literal["baseline", "top"]]]] = {
    "ls": ("left", "baseline"),
    "ms": ("center", "baseline"),
    "rs": ("right", "baseline"),
    "lt": ("left", "top"),
}


def save_vectors(wanted: CheckedFigure, path: Path, kind: str) -> None:
    """Write a figure as ``pdf`` or ``svg``, whole or not at all.

    Raises:
        InputError: matplotlib isn't installed, there is no such font, or the file can't be written.
    """
    with use_matplotlib():
        figure = _draw(wanted, keep_letters=kind == "svg")
        about: dict[str, Any] = {"Title": describe_figure(wanted), "Creator": f"vlcam {__version__}"}
        about |= {"CreationDate": None} if kind == "pdf" else {"Date": None}  # the same figure is the same file
        with name_unwritable(path), replace_file(path) as part:
            figure.savefig(part, format=kind, backend=kind, metadata=about, dpi=72)


def _draw(wanted: CheckedFigure, *, keep_letters: bool) -> "Figure":
    from matplotlib.figure import Figure

    texts = list_texts(wanted.explanation, wanted.views, wanted.title)
    letters = PlotLettering(texts, wanted.font, everything=keep_letters)
    layout = lay_out(wanted, wanted.measure_points(), letters)
    figure = Figure(figsize=(layout.width / 72, layout.height / 72), dpi=72)
    dots = min((wanted.dpi or DPI) / 72, _MOST_PIXELS / max(layout.wide, layout.tall))
    size = (max(1, round(layout.wide * dots)), max(1, round(layout.tall * dots)))
    for panel in layout.panels:
        _draw_panel(_add_axes(figure, layout, panel.x, panel.y, layout.wide, layout.tall), panel, wanted, size)
    for bar in layout.bars:
        axes = _add_axes(figure, layout, bar.x, bar.y, bar.long, bar.thick)
        axes.imshow(draw_ramp(wanted.colours), aspect="auto", interpolation="none")
    for line in layout.texts:
        across, up = _ANCHORS[line.anchor]
        figure.text(
            line.x / layout.width,
            1 - line.y / layout.height,
            line.text,
            fontproperties=letters.get_font(line.size),
            color=tuple(part / 255 for part in (INK if line.strong else MUTED)),
            ha=across,
            va=up,
            parse_math=False,
        )
    return figure


def _add_axes(
    figure: "Figure", layout: FigureLayout, x: float | int, y: float | int, wide: float | int, tall: float | int
) -> "Axes":
    box = (x / layout.width, 1 - (y + tall) / layout.height, wide / layout.width, tall / layout.height)
    axes = figure.add_axes(box)
    axes.set_axis_off()
    return axes


def _draw_panel(axes: "Axes", panel: FigurePanel, wanted: CheckedFigure, size: tuple[int, int]) -> None:
    """The photo with a map as one picture, and on it the line at half of the map's maximum."""
    photo = np.asarray(shrink_photo(wanted.explanation, *size))
    view = panel.view
    if view is None:
        axes.imshow(photo, aspect="auto", interpolation="none", extent=(0, 1, 1, 0))
        return
    scale = choose_scale(view, shared=wanted.shared)
    mixed = overlay(photo, spread_map(view, *size), scale=scale, colours=wanted.colours)
    axes.imshow(mixed, aspect="auto", interpolation="none", extent=(0, 1, 1, 0))
    if view.flag == "ok" and wanted.contour:
        own = find_peak(view)
        draw_line(axes, np.abs(spread_map(view, *_shrink(size))), own / 2, fade_line(own, scale), wanted.line)


def _shrink(size: tuple[int, int]) -> tuple[int, int]:
    part = min(1.0, _LINE / max(size))
    return max(2, round(size[0] * part)), max(2, round(size[1] * part))


def draw_line(
    axes: "Axes",
    heat: np.ndarray,
    level: float,
    strength: float,
    thickness: float,
    size: tuple[float, float] = (1.0, 1.0),
) -> None:
    """A white line, dark beside it, where a map crosses a level, on axes whose photo is of a ``size`` from the origin at the top left."""
    rows, columns = heat.shape
    x, y = (np.arange(columns) + 0.5) / columns * size[0], (np.arange(rows) + 0.5) / rows * size[1]
    values = np.ma.masked_invalid(heat)
    if min(heat.shape) < 2 or not (values.min() < level < values.max()):  # no line, about which matplotlib would warn
        return
    for colour, width, opacity in (("black", 2.4 * thickness, 0.45 * strength), ("white", thickness, strength)):
        axes.contour(x, y, values, levels=[level], colors=[colour], linewidths=width, alpha=opacity)
