"""Where everything stands in a figure and what it says: the same for a picture of pixels and for a page of vectors.

Lengths are in one unit, pixels or points, and follow from the width of a panel and the size of the letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from vlcam.contracts import Kind
from vlcam.explanation.figure_options import CheckedFigure, Length, Sizes
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
    name_score,
    shows_against,
)
from vlcam.render.colour import is_diverging
from vlcam.render.lettering import AbstractLettering

TALLEST: Final = 2.0
"""Height of the tallest panel by its width; a taller photo is drawn narrower."""
_PLURAL: Final[dict[Kind, str]] = {
    "class": "classes",
    "word": "words",
    "caption": "whole caption",
    "answer": "answers",
    "contrast": "contrasts",
}


@final
@dataclass(frozen=True)
class FigureText:
    """A line of text; ``anchor`` is Pillow's: left, middle or right, and the top or the baseline."""

    x: Length
    y: Length
    text: str
    size: Length
    strong: bool
    anchor: Literal["ls", "ms", "rs", "lt"]


@final
@dataclass(frozen=True)
class FigurePanel:
    """The upper left corner of a panel; without a view it is the plain photo."""

    x: Length
    y: Length
    view: TargetView | None


@final
@dataclass(frozen=True)
class FigureBar:
    """A colour bar."""

    x: Length
    y: Length
    long: Length
    thick: Length


@final
@dataclass(frozen=True)
class FigureLayout:
    """A figure of a width and a height, whose panels are all ``wide`` and ``tall``."""

    width: Length
    height: Length
    wide: Length
    tall: Length
    panels: tuple[FigurePanel, ...]
    texts: tuple[FigureText, ...]
    bars: tuple[FigureBar, ...]


def list_texts(explanation: AbstractExplanation, views: Sequence[TargetView], title: str | None) -> list[str]:
    """All that a figure may write and that isn't plain English: what decides on a font."""
    peaks = find_shared_peaks(explanation)
    texts = [explanation.text, explanation.question or "", explanation.model, explanation.layer, explanation.method]
    texts += [in_letters(compute_faintness(view, peaks[view.target.kind])) for view in views]
    return [*texts, *(view.label for view in views), title or ""]


def lay_out(wanted: CheckedFigure, sizes: Sizes, letters: AbstractLettering) -> FigureLayout:
    """The layout of a figure."""
    return _Arranging(wanted, sizes, letters).layout


@final
class _Arranging:
    def __init__(self, wanted: CheckedFigure, sizes: Sizes, letters: AbstractLettering) -> None:
        self.explanation, self.sizes, self.letters = wanted.explanation, sizes, letters
        self.views, self.shared, self.colours = wanted.views, wanted.shared, wanted.colours
        self.peaks = find_shared_peaks(self.explanation)
        self.texts: list[FigureText] = []
        photo, snap = self.explanation.photo, sizes.snap
        ratio = limit_ratio(photo.width, photo.height)
        self.tall = max(1, snap(min(sizes.panel / ratio, TALLEST * sizes.panel)))
        self.wide = max(1, min(sizes.panel, snap(self.tall * ratio)))

        top = self._put_heading(wanted.title)
        panels: list[FigurePanel] = []
        every: list[TargetView | None] = [None, *self.views]
        for start in range(0, len(every), wanted.columns):
            row = every[start : start + wanted.columns]
            for column, view in enumerate(row):
                x = sizes.margin + column * (sizes.panel + sizes.gap)
                panels.append(FigurePanel(x, top, view))
                self._put_legend(view, x, top + self.tall + snap(1.25 * sizes.text))
            top += self._measure_row(row)
        base = top - sizes.gap + snap(1.4 * sizes.small)
        bars = self._put_bars(base)
        if bars:
            base += snap(3.6 * sizes.small)
        if wanted.facts:
            for line in letters.wrap(self._name_facts(), sizes.small, sizes.width - 2 * sizes.margin, 3):
                self._put(sizes.margin, base + sizes.small, line, sizes.small, False, "ls")
                base += snap(1.4 * sizes.small)
        self.layout = FigureLayout(
            sizes.width, base + sizes.margin, self.wide, self.tall, tuple(panels), tuple(self.texts), tuple(bars)
        )

    def _put(
        self, x: Length, y: Length, text: str, size: Length, strong: bool, anchor: Literal["ls", "ms", "rs", "lt"]
    ) -> None:
        self.texts.append(FigureText(x, y, text, size, strong, anchor))

    def _put_heading(self, title: str | None) -> Length:
        """The title, or what was said or asked, and where the panels begin."""
        found, sizes = self.explanation, self.sizes
        said = found.question if found.question is not None else found.text if found.task == "captioning" else ""
        text = said if title is None else title
        if not text.strip():
            return sizes.margin
        size, line = sizes.snap(1.25 * sizes.text), sizes.snap(1.75 * sizes.text)
        lines = self.letters.wrap(text, size, sizes.width - 2 * sizes.margin, 3)
        for n, one in enumerate(lines):
            self._put(sizes.margin, sizes.margin + n * line, one, size, True, "lt")
        return sizes.margin + len(lines) * line + sizes.snap(0.3 * sizes.text)

    def _measure_row(self, row: Sequence[TargetView | None]) -> Length:
        """A row of panels with its legends and the gap below; further lines only where one of them has notes."""
        sizes = self.sizes
        notes = max((len(self._list_notes(view)) for view in row if view is not None), default=0)
        return self.tall + sizes.snap(1.5 * sizes.text) + sizes.snap(1.35 * sizes.small * notes) + sizes.gap

    def _put_legend(self, view: TargetView | None, x: Length, y: Length) -> None:
        """Label and probability, and under them a notice or the map's own maximum."""
        sizes, letters = self.sizes, self.letters
        if view is None:
            self._put(x, y, "photo", sizes.text, False, "ls")
            return
        right = letters.to_plain(format_percent(view.target.probability))
        self._put(x + sizes.panel, y, right, sizes.text, False, "rs")
        label = "whole caption" if view.target.kind == "caption" else view.label
        room = sizes.panel - (letters.measure(right, sizes.text) + 0.6 * sizes.text if right else 0)
        self._put(x, y, letters.fit(label, sizes.text, room), sizes.text, True, "ls")
        for n, note in enumerate(self._list_notes(view)):
            self._put(x, y + sizes.snap((1.45 + 1.3 * n) * sizes.small), note, sizes.small, False, "ls")

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
            return [*lines, self.letters.fit(get_notice(view), self.sizes.small, self.sizes.panel)]
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
        letters, small, room = self.letters, self.sizes.small, self.sizes.panel
        fits = (text for text in texts if letters.measure(letters.to_plain(text), small) <= room)
        return letters.fit(next(fits, texts[-1]), small, room)

    def _name_facts(self) -> str:
        """What made the maps, and what their colours mean where no colour bar says it."""
        found = self.explanation
        facts = [found.model, found.layer, found.method]
        if not self.shared and any(view.flag == "ok" for view in self.views):
            against = ["colours: evidence against"] if shows_against(found) else []
            facts += [*against, "each map on its own scale"]
        return " · ".join(facts)

    def _put_bars(self, y: Length) -> list[FigureBar]:
        """A colour bar for each kind of target, with its name, its unit and the numbers at its ends: only for a shared scale."""
        kinds = list(dict.fromkeys(view.target.kind for view in self.views if view.flag == "ok")) if self.shared else []
        if not kinds:
            return []
        sizes, letters, signed = self.sizes, self.letters, is_diverging(self.colours)
        room = (sizes.width - 2 * sizes.margin - (len(kinds) - 1) * sizes.gap) / len(kinds)
        long = sizes.snap(min(max(sizes.panel, 20 * sizes.small), room) - 0.5 * sizes.whole)
        thick = sizes.snap(max(4 * sizes.whole, 0.7 * sizes.small))
        bars = []
        for n, kind in enumerate(kinds):
            x = sizes.margin + n * (long + sizes.gap)
            bars.append(FigureBar(x, y, long, thick))
            peak, below = self.peaks[kind], y + thick + sizes.snap(1.2 * sizes.small)
            low, high = (letters.to_plain(format_number(end)) for end in (-peak if signed else 0.0, peak))
            self._put(x, below, low, sizes.small, False, "ls")
            self._put(x + long, below, high, sizes.small, False, "rs")
            unit = name_score(next(view.target for view in self.views if view.target.kind == kind))
            about = "against: " if shows_against(self.explanation) else ""
            left = long - 2.2 * letters.measure(max(low, high, key=len), sizes.small)
            name = f"{about}{_PLURAL[kind]}, {unit}"
            if letters.measure(letters.to_plain(name), sizes.small) > left:
                name = about + unit
            self._put(x + long / 2, below, letters.fit(name, sizes.small, left), sizes.small, False, "ms")
        return bars
