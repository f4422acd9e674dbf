"""A heatmap on matplotlib's axes, for figures that are put together by hand."""

from typing import TYPE_CHECKING

import numpy as np

from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.explanation.figure_options import is_shared
from vlcam.explanation.figures import choose_scale, fade_line, spread_map
from vlcam.explanation.numbers import format_percent
from vlcam.explanation.record import TargetView
from vlcam.explanation.vector_figure import draw_line
from vlcam.explanation.wording import find_peak, get_notice
from vlcam.render.blending import OPACITY
from vlcam.render.colour import choose_colours, is_diverging
from vlcam.render.plotting import EXTRA, make_colormap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


def plot(
    view: TargetView,
    ax: "Axes | None" = None,
    *,
    scale: str | float | int = "own",
    colours: str | None = None,
    opacity: float | int = OPACITY,
    contour: bool = True,
    title: str | None = None,
) -> "AxesImage":
    """Draw the photo and one target's map on matplotlib's axes, in pixels of the photo.

    ``figure.colorbar(plot(explanation["red"], ax))`` has a colour bar in the units of the target's score. Beside several maps put a
    colour bar only if they were drawn with one ``scale``.

    Args:
        view: a target of an explanation, such as ``explanation["red"]``.
        ax: where to draw; by default on pyplot's current axes.
        scale: the value of the strongest colour: the map's own maximum (``"own"``), that of all targets of its kind (``"shared"``),
            or a number.
        colours: a table of :mod:`vlcam.render.colour` (``inferno``; ``coolwarm`` for signed maps).
        opacity: of the strongest colour, 0 to 1.
        contour: whether there is a line at half of the map's maximum.
        title: what stands above (the label and its probability); nothing if it is empty.

    Returns:
        What ``figure.colorbar`` takes: the map, whose values are raw, and NaN where the model didn't see the photo.

    Raises:
        InputError: matplotlib isn't installed, or an option makes no sense.
    """
    import_extra("matplotlib", EXTRA)
    found = view.explanation
    colours = choose_colours(relu=found.relu) if colours is None else colours
    if not found.relu and not is_diverging(colours):
        raise InputError(
            f"{colours!r} can't show the signed maps of {found.method}; choose a diverging table, such as 'coolwarm'"
        )
    if isinstance(scale, str):
        top = choose_scale(view, shared=is_shared(scale)) or 1.0
    elif np.isfinite(scale) and scale > 0:
        top = float(scale)
    else:
        raise InputError(f"scale={scale!r} was given; expected a number above 0, 'own' or 'shared'")
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity={opacity!r} was given; expected 0 to 1")
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.gca()
    width, height = found.photo.width, found.photo.height
    rows, columns = found.photo.pixels.shape[:2]
    extent = (0.0, float(width), float(height), 0.0)
    ax.imshow(found.photo.pixels, extent=extent, interpolation="antialiased")
    heat = spread_map(view, columns, rows)
    low = -top if is_diverging(colours) else 0.0
    shown = ax.imshow(
        heat, extent=extent, cmap=make_colormap(colours, opacity=opacity), vmin=low, vmax=top, interpolation="nearest"
    )
    if contour and view.flag == "ok":
        draw_line(
            ax,
            np.abs(heat),
            find_peak(view) / 2,
            fade_line(find_peak(view), max(top, find_peak(view))),
            1.2,
            (float(width), float(height)),
        )
    ax.set_axis_off()
    words = [view.label, format_percent(view.target.probability), get_notice(view)]
    ax.set_title("  ".join(filter(None, words)) if title is None else title, parse_math=False)
    return shown
