"""Figures for papers, slides and logs: the photo, and one panel per target, on white. Made with Pillow alone, or as PDF or SVG."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from vlcam.contracts import InputError, shorten
from vlcam.explanation.figure_layout import lay_out, list_texts
from vlcam.explanation.figure_options import ENDINGS, CheckedFigure, check_figure
from vlcam.explanation.record import AbstractExplanation, TargetView
from vlcam.explanation.wording import find_peak, find_shared_peaks, resize_geometry
from vlcam.files import show_path
from vlcam.image.geometry import to_photo
from vlcam.render.blending import draw_contour, overlay
from vlcam.render.colour import is_diverging
from vlcam.render.lettering import Lettering, tidy
from vlcam.render.png import save_png

INK, MUTED, PAPER = (28, 27, 25), (112, 109, 103), (255, 255, 255)
_FINER: Final = 2
_FINE_ENOUGH: Final = 1_000_000
"""A panel of more pixels isn't drawn finer than needed: its lines are smooth enough, and memory is limited."""
_GREY: Final = 128


def draw_figure(explanation: AbstractExplanation, **options: Any) -> Image.Image:
    """The photo and its heatmaps as one picture (the options: :meth:`vlcam.Explanation.figure`)."""
    return _draw(check_figure(explanation, **options))


def save_figure(explanation: AbstractExplanation, path: str | Path, **options: Any) -> Path:
    """Write the figure as a PDF, an SVG or a PNG, whole or not at all (the options: :meth:`vlcam.Explanation.figure`)."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"{show_path(path)} was given as a figure's file, which ends in {shorten(ending) or 'nothing'}; expected a name that ends in "
            f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        )
    wanted = check_figure(explanation, vectors=ending != ".png", **options)
    if ending != ".png":
        from vlcam.explanation.vector_figure import save_vectors  # it needs matplotlib

        save_vectors(wanted, path, ending[1:])
    else:
        save_png(_draw(wanted), path, dpi=wanted.dpi, description=describe_figure(wanted))
    return path


def describe_figure(wanted: CheckedFigure) -> str:
    """What a figure shows, in a line for the file's own description."""
    found = wanted.explanation
    labels = ", ".join(view.label for view in wanted.views)
    return tidy(f"{found.photo.name}: {labels} ({found.model}, {found.layer}, {found.method})")


def _draw(wanted: CheckedFigure) -> Image.Image:
    found, sizes = wanted.explanation, wanted.measure_pixels()
    letters = Lettering(list_texts(found, wanted.views, wanted.title), wanted.font)
    layout = lay_out(wanted, sizes, letters)
    size = (int(layout.wide), int(layout.tall))
    finer = _FINER if size[0] * size[1] <= _FINE_ENOUGH else 1
    photo = shrink_photo(found, size[0] * finer, size[1] * finer)
    sheet = Image.new("RGB", (int(layout.width), int(layout.height)), PAPER)
    pen = ImageDraw.Draw(sheet)
    thick = sizes.panel / 400 if wanted.width_mm is None else wanted.line * sizes.text / wanted.points / 2
    thickness = max(1, round(thick * finer))
    for one in layout.panels:
        if one.view is None:
            picture = photo.resize(size, Image.Resampling.LANCZOS)
        else:
            picture = _draw_panel(one.view, photo, wanted, thickness).resize(size, Image.Resampling.BOX)
        sheet.paste(picture, (int(one.x), int(one.y)))
    for bar in layout.bars:
        ramp = Image.fromarray(draw_ramp(wanted.colours))
        sheet.paste(ramp.resize((int(bar.long), int(bar.thick)), Image.Resampling.BILINEAR), (int(bar.x), int(bar.y)))
    for line in layout.texts:
        font = letters.get_font(line.size)
        pen.text((line.x, line.y), line.text, INK if line.strong else MUTED, font, anchor=line.anchor)
    return sheet


def shrink_photo(explanation: AbstractExplanation, width: int, height: int) -> Image.Image:
    """The photo at the size that it is drawn at."""
    picture = Image.fromarray(np.ascontiguousarray(explanation.photo.pixels))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _draw_panel(view: TargetView, photo: Image.Image, wanted: CheckedFigure, thickness: int) -> Image.Image:
    """The photo with a map, drawn finer than needed, so that lines are smooth when it is reduced."""
    scale = choose_scale(view, shared=wanted.shared)
    heat = spread_map(view, *photo.size)
    mixed = overlay(np.asarray(photo), heat, scale=scale, colours=wanted.colours)
    if view.flag == "ok" and wanted.contour:
        own = find_peak(view)
        mixed = draw_contour(mixed, np.abs(heat), own / 2, thickness=thickness, strength=fade_line(own, scale))
    return Image.fromarray(mixed)


def spread_map(view: TargetView, width: int, height: int) -> Float[np.ndarray, "height width"]:
    """A target's map on the photo at a size; zero where there is no map to be drawn, NaN where the model saw nothing."""
    values = view.map if view.flag == "ok" else view.map.new_zeros(view.map.shape)
    geometry = resize_geometry(view.explanation.geometry, width, height)
    heat: Float[np.ndarray, "height width"] = to_photo(values[None], geometry)[0].float().cpu().numpy()
    return heat


def choose_scale(view: TargetView, *, shared: bool) -> float:
    """The value of the strongest colour of a target's map: that of the strongest map of its kind, or its own."""
    return find_shared_peaks(view.explanation)[view.target.kind] if shared else find_peak(view)


def fade_line(own: float, scale: float) -> float:
    """How strong the line of a map is, 0.2 to 1: a weak map gets a faint line, since a strong one would say more than its colours do."""
    return min(1.0, 0.2 + 0.8 * own / scale)


def draw_ramp(colours: str) -> UInt8[np.ndarray, "1 256 3"]:
    """A colour bar: the colours as drawn, over a mid-grey photo."""
    values = np.linspace(-1.0 if is_diverging(colours) else 0.0, 1.0, 256)[None]
    return overlay(np.full((1, 256, 3), _GREY, np.uint8), values, scale=1.0, colours=colours)
