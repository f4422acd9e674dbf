"""Figures for papers and logs: the photo, and one panel per target, on white."""

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from PIL import Image, ImageDraw

from vlcam.contracts import InputError, Kind
from vlcam.explanation.numbers import format_factor as in_letters
from vlcam.explanation.numbers import format_nats, format_number, format_percent
from vlcam.explanation.record import AbstractExplanation, TargetView
from vlcam.explanation.wording import (
    NEARLY_CERTAIN,
    compute_faintness,
    find_peak,
    find_shared_peaks,
    get_notice,
    limit_ratio,
    resize_geometry,
    shows_against,
)
from vlcam.image.geometry import to_photo
from vlcam.render.blending import draw_contour, overlay
from vlcam.render.colour import choose_colours, is_diverging
from vlcam.render.lettering import Lettering

_PANEL = 320
_MOST_COLUMNS = 5
_TALLEST = 2.0
"""Height of the tallest panel by its width; a taller photo is drawn narrower."""
_FINER = 2
_FINE_ENOUGH = 1_000_000
"""A panel of more pixels isn't drawn finer than needed: its lines are smooth enough, and memory is limited."""
_GREY = 128
_INK, _MUTED, _PAPER = (28, 27, 25), (112, 109, 103), (255, 255, 255)
_PLURAL: dict[Kind, str] = {
    "class": "classes",
    "word": "words",
    "caption": "whole caption",
    "answer": "answers",
    "contrast": "contrasts",
}


def draw_figure(
    explanation: AbstractExplanation,
    *,
    targets: Sequence[int | str | tuple[str, int]] | None = None,
    columns: int | None = None,
    shared: bool = False,
    colours: str | None = None,
    contour: bool = True,
    width: int | None = None,
) -> Image.Image:
    """The photo and its heatmaps as one picture.

    ``targets`` picks and orders them (default: all), by position, label, or ``(label, n)``. ``shared`` gives all targets of a
    kind one scale; without it every map has its own, with its maximum written under it and, if it is faint, how faint.
    ``colours`` is a table of :mod:`vlcam.render.colour` (default: ``inferno``; ``coolwarm`` for signed maps). ``contour`` draws a
    line at half of each map's maximum, which is legible without colours. ``width`` is that of the whole picture in pixels.

    A map that shows nothing is not drawn: the plain photo stands there and the reason under it. A photo more than twice as tall
    as wide is drawn narrower than its panel, and one of a few pixels' width or height a little thicker than it is.
    """
    views = [explanation[key] for key in (range(len(explanation)) if targets is None else targets)]
    colours = choose_colours(relu=explanation.relu) if colours is None else colours
    if explanation.relu is False and not is_diverging(colours):
        raise InputError(
            f"{colours!r} can't show the signed maps of {explanation.method}; choose a diverging table, such as 'coolwarm'"
        )
    count = len(views) + 1
    if columns is None:
        columns = math.ceil(count / math.ceil(count / _MOST_COLUMNS))
    if columns < 1:
        raise InputError(f"{columns} columns were asked for; there must be at least one")
    columns = min(columns, count)
    return _Sheet(explanation, views, columns, colours, shared=shared, contour=contour, width=width).draw()


@final
class _Sheet:
    """The layout of one figure. All lengths follow from the panel's width."""

    def __init__(
        self,
        explanation: AbstractExplanation,
        views: Sequence[TargetView],
        columns: int,
        colours: str,
        *,
        shared: bool,
        contour: bool,
        width: int | None,
    ) -> None:
        self.explanation, self.views, self.columns = explanation, views, columns
        self.colours, self.shared, self.contour = colours, shared, contour
        if width is None:
            self.panel = _PANEL
        else:
            # margin 0.08, gap 0.06 of a panel
            self.panel = int(width / (columns + 0.06 * (columns - 1) + 0.16))
        if self.panel < 40:
            raise InputError(
                f"a figure of {width} pixels is too narrow for {columns} columns; choose fewer columns or more pixels"
            )
        self.margin, self.gap = round(0.08 * self.panel), round(0.06 * self.panel)
        self.width = columns * self.panel + (columns - 1) * self.gap + 2 * self.margin if width is None else width
        self.margin = (self.width - columns * self.panel - (columns - 1) * self.gap) // 2
        photo = explanation.photo
        ratio = limit_ratio(photo.width, photo.height)
        self.tall = max(1, round(min(self.panel / ratio, _TALLEST * self.panel)))
        self.wide = max(1, min(self.panel, round(self.tall * ratio)))
        self.finer = _FINER if self.tall * self.wide <= _FINE_ENOUGH else 1
        size = (self.wide * self.finer, self.tall * self.finer)
        self.photo = Image.fromarray(np.ascontiguousarray(photo.pixels)).resize(size, Image.Resampling.LANCZOS)
        self.text, self.small = max(9, round(0.056 * self.panel)), max(8, round(0.044 * self.panel))
        self.peaks = find_shared_peaks(explanation)
        texts = [explanation.text, explanation.question or "", explanation.model, explanation.layer, explanation.method]
        texts += [in_letters(compute_faintness(view, self.peaks[view.target.kind])) for view in views]
        self.letters = Lettering([*texts, *(view.label for view in views)])

    def draw(self) -> Image.Image:
        """The finished picture."""
        heading = self._wrap_heading()
        title_line = round(1.75 * self.text)
        top = self.margin + (len(heading) * title_line + round(0.3 * self.margin) if heading else 0)
        bars = self._list_bars()
        panels: list[TargetView | None] = [None, *self.views]
        rows = [panels[n : n + self.columns] for n in range(0, len(panels), self.columns)]
        heights = [self._measure_row(row) for row in rows]
        base = top + sum(heights) + round(0.05 * self.panel)
        height = base + (self._measure_bar() if bars else 0) + round(1.6 * self.small) + self.margin
        sheet = Image.new("RGB", (self.width, height), _PAPER)
        pen = ImageDraw.Draw(sheet)
        for n, text in enumerate(heading):
            size = round(1.25 * self.text)
            pen.text((self.margin, self.margin + n * title_line), text, _INK, self.letters.get_font(size), anchor="lt")
        for n, row in enumerate(rows):
            y = top + sum(heights[:n])
            for column, view in enumerate(row):
                x = self.margin + column * (self.panel + self.gap)
                sheet.paste(self._draw_panel(view), (x, y))
                self._draw_legend(pen, view, x, y + self.tall + round(1.25 * self.text))
        if bars:
            self._draw_bars(sheet, pen, bars, base)
            base += self._measure_bar()
        facts = " · ".join((self.explanation.model, self.explanation.layer, self.explanation.method))
        facts = self.letters.fit(facts, self.small, self.width - 2 * self.margin)
        pen.text((self.margin, base + self.small), facts, _MUTED, self.letters.get_font(self.small), anchor="ls")
        return sheet

    def _measure_row(self, row: Sequence[TargetView | None]) -> int:
        """A row of panels with its legends and the gap below; further lines only where one of them has notes."""
        notes = max((len(self._list_notes(view)) for view in row if view is not None), default=0)
        return self.tall + round(1.5 * self.text) + round(1.35 * self.small * notes) + self.gap

    def _wrap_heading(self) -> list[str]:
        found = self.explanation
        text = found.question if found.question is not None else found.text if found.task == "captioning" else ""
        return self.letters.wrap(text, round(1.25 * self.text), self.width - 2 * self.margin, 3) if text.strip() else []

    def _draw_panel(self, view: TargetView | None) -> Image.Image:
        """The photo with a map, drawn finer than needed and reduced, so that lines are smooth."""
        size = (self.wide, self.tall)
        if view is None:
            return self.photo.resize(size, Image.Resampling.LANCZOS)
        drawn = view.flag == "ok"
        values = view.map if drawn else view.map.new_zeros(view.map.shape)
        heat = (
            to_photo(values[None], resize_geometry(view.explanation.geometry, *self.photo.size))[0]
            .float()
            .cpu()
            .numpy()
        )
        own = find_peak(view)
        scale = self.peaks[view.target.kind] if self.shared else own
        mixed = overlay(np.asarray(self.photo), heat, scale=scale, colours=self.colours)
        if drawn and self.contour:
            # A weak map gets a faint line: a strong one would say more than its colours do.
            thickness, strength = max(1, round(self.panel * self.finer / 400)), 0.2 + 0.8 * own / scale
            mixed = draw_contour(mixed, np.abs(heat), own / 2, thickness=thickness, strength=strength)
        return Image.fromarray(mixed).resize(size, Image.Resampling.BOX)

    def _draw_legend(self, pen: ImageDraw.ImageDraw, view: TargetView | None, x: int, y: int) -> None:
        """Label and probability, and under them a notice or the map's own maximum."""
        font, small = self.letters.get_font(self.text), self.letters.get_font(self.small)
        if view is None:
            pen.text((x, y), "photo", _MUTED, font, anchor="ls")
            return
        right = self.letters.to_plain(format_percent(view.target.probability))
        pen.text((x + self.panel, y), right, _MUTED, font, anchor="rs")
        label = "whole caption" if view.target.kind == "caption" else view.label
        room = self.panel - (font.getlength(right) + 0.6 * self.text if right else 0)
        pen.text((x, y), self.letters.fit(label, self.text, room), _INK, font, anchor="ls")
        for n, note in enumerate(self._list_notes(view)):
            pen.text((x, y + round((1.45 + 1.3 * n) * self.small)), note, _MUTED, small, anchor="ls")

    def _list_notes(self, view: TargetView) -> list[str]:
        """The lines under a label: what the image adds, near certainty, why there is no map, or how strong it is."""
        gain = format_nats(view.target.gain)
        lines = [self._fit_text(f"{gain} from the image", gain)] if gain else []
        if view.nearly_certain:
            lines.append(
                self._fit_text(
                    f"{NEARLY_CERTAIN}: explain the logit instead", f"{NEARLY_CERTAIN}: try the logit", NEARLY_CERTAIN
                )
            )
        if view.flag != "ok":
            return [*lines, self.letters.fit(get_notice(view), self.small, self.panel)]
        if self.shared:
            return lines
        most = format_number(find_peak(view))
        lines.append(self._fit_text(f"maximum {most}", f"max. {most}", most))
        if ratio := compute_faintness(view, self.peaks[view.target.kind]):
            times = in_letters(ratio)
            if self.letters.to_plain(times) != times:  # a font without superscripts would say "109" for a billion
                times = f"{ratio:.0e}".replace("e+0", "e").replace("e+", "e")
            lines.append(self._fit_text(f"{times} times fainter than the strongest", f"{times} times fainter", "faint"))
        return lines

    def _fit_text(self, *texts: str) -> str:
        """The first text that fits under a panel, in letters that the font has; the last one is cut if it must be."""
        font = self.letters.get_font(self.small)
        fits = (text for text in texts if font.getlength(self.letters.to_plain(text)) <= self.panel)
        return self.letters.fit(next(fits, texts[-1]), self.small, self.panel)

    def _list_bars(self) -> list[tuple[str, str, str]]:
        """Each colour bar's name and the numbers at its ends."""
        drawn = [view for view in self.views if view.flag == "ok"]
        if not drawn:
            return []
        signed = is_diverging(self.colours)
        against = shows_against(self.explanation)
        if not self.shared:
            name = "evidence against" if against else "each on its own scale"
            return [(name, "−maximum" if signed else "0", "maximum")]
        kinds = list(dict.fromkeys(view.target.kind for view in drawn))
        ends = [
            (format_number(-self.peaks[kind]) if signed else "0", format_number(self.peaks[kind])) for kind in kinds
        ]
        about = "against: " if against else ""
        return [(about + _PLURAL[kind], low, high) for kind, (low, high) in zip(kinds, ends, strict=True)]

    def _measure_bar(self) -> int:
        return round(0.045 * self.panel) + round(3.4 * self.small)

    def _draw_bars(
        self, sheet: Image.Image, pen: ImageDraw.ImageDraw, bars: Sequence[tuple[str, str, str]], y: int
    ) -> None:
        font, thick = self.letters.get_font(self.small), max(4, round(0.03 * self.panel))
        room = (self.width - 2 * self.margin - (len(bars) - 1) * self.gap) / len(bars)
        long = min(self.panel, int(room))
        values = np.linspace(-1.0 if is_diverging(self.colours) else 0.0, 1.0, 256)[None]
        # The colours as drawn, over a mid-grey photo.
        drawn = overlay(np.full((1, 256, 3), _GREY, np.uint8), values, scale=1.0, colours=self.colours)
        ramp = Image.fromarray(drawn).resize((long, thick), Image.Resampling.BILINEAR)
        for n, (name, low, high) in enumerate(bars):
            x = self.margin + n * (long + self.gap)
            sheet.paste(ramp, (x, y))
            below = y + thick + round(1.3 * self.small)
            pen.text((x, below), self.letters.to_plain(low), _MUTED, font, anchor="ls")
            pen.text((x + long, below), self.letters.to_plain(high), _MUTED, font, anchor="rs")
            middle = self.letters.fit(
                name, self.small, long - 2.2 * font.getlength(self.letters.to_plain(max(low, high, key=len)))
            )
            pen.text((x + long / 2, below), middle, _MUTED, font, anchor="ms")
