"""The matrix of words by named neurons as a picture, on white."""

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from vlcam.contracts import InputError
from vlcam.explanation.matrix import NAMES, make_matrix
from vlcam.explanation.record import AbstractExplanation
from vlcam.render.colour import get_colour_table
from vlcam.render.lettering import Lettering

_INK, _MUTED, _PAPER, _LINE = (28, 27, 25), (112, 109, 103), (255, 255, 255), (205, 201, 192)
_CELL: Final = (74, 40)
_SIZE: Final = 17
_LONGEST: Final = 240
"""Room for a label or a name, in pixels."""
_SMALLEST: Final = 0.01
_LEGEND: Final = (
    "Share of the evidence for a word (+) or against it (−) in channels that may be said to see the name; a unit may count for several.",
    "A frame: the word's own text says so.",
)


def draw_matrix(explanation: AbstractExplanation, *, names: int = NAMES, scale: float = 1.0) -> Image.Image:
    """The targets as rows and the names of neurons as columns, with the share of each in each (:mod:`vlcam.explanation.matrix`).

    Each cell has its number and sign, so that it is legible without colours; names that the target's own text tells are framed.

    Args:
        explanation: with texts of named neurons for at least two targets.
        names: how many names at most.
        scale: size of everything; 2 for print.

    Raises:
        InputError: fewer than two targets have such texts, no text tells a name, or ``names`` or ``scale`` is out of range.
    """
    if isinstance(names, bool) or names < 1:
        raise InputError(f"names={names!r} was given; expected how many names to show, 1 or more")
    if not 0.25 <= scale <= 8:
        raise InputError(f"scale={scale!r} was given; expected 0.25 to 8, such as 2 for print")
    matrix = make_matrix(explanation, names)
    if matrix is None:
        raise InputError(
            "a matrix needs two targets or more with texts about named neurons, and at least one name in them; explain a caption with a "
            "model whose channels have names (names=)"
        )
    size = round(_SIZE * scale)
    small = round(0.8 * size)
    cell_x, cell_y = (round(side * scale) for side in _CELL)
    labels = [explanation.targets[row].label for row in matrix.targets]
    heads = [name for name, _ in matrix.names]
    facts = " · ".join((explanation.photo.name, explanation.model, explanation.layer, explanation.method))
    letters = Lettering([*labels, *heads, facts, *_LEGEND, "+−%"])
    font = letters.get_font(size)
    room = round(_LONGEST * scale)
    labels = [letters.fit(one, size, room) for one in labels]
    heads = [letters.fit(one, size, room) for one in heads]
    margin = round(1.2 * size)
    left = margin + round(max(font.getlength(one) for one in labels)) + size
    tall = round(max(font.getlength(one) for one in heads)) + size
    width = max(left + len(heads) * cell_x + margin, left + round(22 * size))
    below = [line for text in (*_LEGEND, facts) for line in letters.wrap(text, small, width - 2 * margin, 3)]
    height = margin + tall + len(labels) * cell_y + round(1.5 * small * len(below)) + 2 * margin
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for n, head in enumerate(heads):
        _paste_upright(sheet, head, letters, size, left + n * cell_x + cell_x // 2, margin + tall - size // 2)
    table = get_colour_table("coolwarm").astype(np.float64)
    for row, label in enumerate(labels):
        y = margin + tall + row * cell_y
        pen.text((left - size, y + cell_y / 2), label, _INK, font, anchor="rm")
        for n in range(len(heads)):
            share = float(matrix.shares[row, n])
            box = (left + n * cell_x, y, left + (n + 1) * cell_x - 1, y + cell_y - 1)
            pen.rectangle(box, _tint(table, share), _LINE)
            if abs(share) >= _SMALLEST:
                text = letters.to_plain(f"{'+' if share > 0 else '−'}{abs(share):.0%}".replace("%", " %"))
                ink = _INK if matrix.told[row, n] else _MUTED
                pen.text(
                    ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), text, ink, letters.get_font(small), anchor="mm"
                )
            if matrix.told[row, n]:
                inner = max(1, round(2 * scale))
                pen.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), None, _INK, inner)
    y = margin + tall + len(labels) * cell_y + margin
    for n, line in enumerate(below):
        pen.text((margin, y + round(1.5 * small * n)), line, _MUTED, letters.get_font(small), anchor="lt")
    return sheet


def _tint(table: np.ndarray, share: float) -> tuple[int, int, int]:
    """The colour of a share over white paper: the stronger the share, the stronger the colour, and never so dark that ink is lost."""
    part = min(max(share, -1.0), 1.0)
    colour = table[round((part + 1) * 127.5)]
    strength = 0.85 * min(1.0, abs(part) * 1.6)
    red, green, blue = (round(255 + (float(one) - 255) * strength) for one in colour)
    return red, green, blue


def _paste_upright(sheet: Image.Image, text: str, letters: Lettering, size: int, x: int, bottom: int) -> None:
    """Text that reads upwards, its end above ``bottom`` and its middle at ``x``."""
    font = letters.get_font(size)
    strip = Image.new("L", (max(1, round(font.getlength(text))), round(1.5 * size)), 255)
    ImageDraw.Draw(strip).text((0, strip.height / 2), text, 0, font, anchor="lm")
    turned = strip.rotate(90, expand=True)
    sheet.paste(
        Image.new("RGB", turned.size, _INK), (x - turned.width // 2, bottom - turned.height), turned.point(_invert)
    )


def _invert(value: int) -> int:
    return 255 - value
