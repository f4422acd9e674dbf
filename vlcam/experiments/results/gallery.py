"""Example maps on one sheet: a line of panels for each photo, with boxes and a few words under each panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.image.geometry import Box
from vlcam.image.photo import open_photo
from vlcam.render.blending import draw_contour, overlay
from vlcam.render.lettering import Lettering
from vlcam.render.png import save_png

_INK, _MUTED, _PAPER = (28, 27, 25), (112, 109, 103), (255, 255, 255)
_TRUE, _FOUND = (255, 255, 255), (0, 200, 255)
_SIDE: Final = 288
_GAP, _MARGIN = 16, 28
_TEXT, _TITLE = 20, 26
_LINES: Final = 2


@final
@dataclass(frozen=True, eq=False)
class Panel:
    """A picture and the text under it."""

    picture: UInt8[np.ndarray, "height width 3"]
    text: str


def draw_panel(
    image: Any,
    text: str,
    heat: Float[Tensor, "height width"] | None = None,
    *,
    true: Sequence[Box] = (),
    found: Sequence[Box] = (),
) -> Panel:
    """A photo with a map on it, with a line at half of its maximum.

    ``image`` is whatever :func:`vlcam.explain` takes, ``heat`` a map of any size of the photo's proportions. Boxes are in pixels of the
    photo: true ones are white, found ones blue and dashed.
    """
    photo, _ = open_photo(image)
    width, height = photo.size
    scale = _SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.asarray(photo.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS))
    if heat is not None:
        drawn = Image.fromarray(np.nan_to_num(heat.detach().cpu().float().numpy())).resize(
            size, Image.Resampling.BILINEAR
        )
        values = np.asarray(drawn)
        if 0 < values.max() < np.inf:
            pixels = draw_contour(overlay(pixels, values), values, 0.5 * float(values.max()))
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for boxes, colour, dashed in ((true, _TRUE, False), (found, _FOUND, True)):
        for box in boxes:
            _outline(pen, [round(one * scale) for one in box], colour, dashed)
    return Panel(np.asarray(picture), text)


def draw_gallery(rows: Sequence[Sequence[Panel]], title: str) -> Image.Image:
    """The sheet, RGB on white. Raises InputError for no panels."""
    if not any(rows):
        raise InputError("no panels were given, so there is nothing to draw; expected at least one")
    columns = max(len(row) for row in rows)
    letters = Lettering([title, *(one.text for row in rows for one in row)])
    below = _LINES * (_TEXT + 4) + _GAP
    heights = [max(one.picture.shape[0] for one in row) + below for row in rows]
    width = 2 * _MARGIN + columns * _SIDE + (columns - 1) * _GAP
    lines = letters.wrap(title, _TITLE, width - 2 * _MARGIN, _LINES)
    top = 2 * _MARGIN + len(lines) * (_TITLE + 6)
    sheet = Image.new("RGB", (width, top + sum(heights) + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, _MARGIN + number * (_TITLE + 6)), line, _INK, letters.get_font(_TITLE))
    for row, height in zip(rows, heights, strict=True):
        for place, one in enumerate(row):
            left = _MARGIN + place * (_SIDE + _GAP)
            sheet.paste(Image.fromarray(one.picture), (left, top))
            for number, line in enumerate(letters.wrap(one.text, _TEXT, _SIDE, _LINES)):
                under = top + one.picture.shape[0] + 4 + number * (_TEXT + 4)
                pen.text((left, under), line, _INK if number == 0 else _MUTED, letters.get_font(_TEXT))
        top += height
    return sheet


def save_gallery(rows: Sequence[Sequence[Panel]], title: str, path: Path) -> tuple[str, ...]:
    """Write the sheet as a PNG and return its file name; nothing for no panels. Raises InputError if it can't be written."""
    if not any(rows):
        return ()
    save_png(draw_gallery(rows, title), path, optimize=True)
    return (path.name,)


def _outline(pen: ImageDraw.ImageDraw, box: Sequence[int], colour: tuple[int, ...], dashed: bool) -> None:
    left, top, right, bottom = box
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    for (x0, y0), (x1, y1) in pairwise(corners):
        length = max(abs(x1 - x0), abs(y1 - y0))
        pieces = range(0, length + 1, 12) if dashed else (0,)
        for start in pieces:
            end = min(length, start + 7) if dashed else length
            ends = [(x0 + (x1 - x0) * at / max(length, 1), y0 + (y1 - y0) * at / max(length, 1)) for at in (start, end)]
            pen.line(ends, fill=colour, width=3)
