"""An explanation with everything that can be done with it: drawn, tested, saved. The data and its views are in ``record``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, final, overload

from PIL.Image import Image

from vlcam.contracts import Task
from vlcam.explanation import figures, json_document, matrix_figure, notebook, page, panels, storage, verify
from vlcam.explanation.figure_options import FigureOptions, Scale, Words, read_old_names
from vlcam.explanation.matrix import NAMES
from vlcam.explanation.record import AbstractExplanation
from vlcam.files import dump_json
from vlcam.image.regions import AREA


@final
@dataclass(frozen=True, eq=False, repr=False)
class Explanation(AbstractExplanation):
    """Everything that was explained about one photo, from one forward pass (the fields: :class:`AbstractExplanation`)."""

    @overload
    def figure(self, path: str | Path, **options: Unpack[FigureOptions]) -> Path: ...

    @overload
    def figure(self, path: None = None, **options: Unpack[FigureOptions]) -> Image: ...

    def figure(self, path: str | Path | None = None, **options: Unpack[FigureOptions]) -> Image | Path:
        """The photo with every target's heatmap: a picture, or a file for a paper.

        Letters in a PDF or an SVG are letters, which can be searched and edited, and the line at half of a map's maximum, which is
        legible without colours, is a line; both need matplotlib (``pip install 'vlcam[plot]'``). A PNG, or a picture, needs nothing.

        A map that shows nothing is not drawn: the plain photo stands there and the reason under it. On its own scale every map has
        its maximum written under it and, if it is faint, how faint. A photo more than twice as tall as wide is drawn narrower than its
        panel, and one of a few pixels' width or height a little thicker than it is.

        The options:

        - ``words``: which targets, and their order (all): words, classes, answers or contrasts by label, position, or ``(label, n)``.
        - ``columns``: how many panels stand side by side, the plain photo among them.
        - ``width_mm``: the width on paper in millimetres, such as 84 for a column; 174 for a PDF or an SVG unless given. There is no
              white margin then: the page has one.
        - ``font``: the name of a font, or its ``.ttf`` or ``.otf`` file.
        - ``font_size``: of the labels, in points; 7.5 unless given, and more for figures wider than 200 mm, such as posters.
        - ``title``: what stands above; by default the caption or the question, and nothing if it is empty.
        - ``facts``: whether model, layer and method stand below.
        - ``colours``: a table of :mod:`vlcam.render.colour` (``inferno``; ``coolwarm`` for signed maps).
        - ``scale``: ``"own"``: the strongest colour is each map's own maximum; ``"shared"``: all targets of a kind have one scale, so that
              their colours can be compared, with a colour bar in units of the score.
        - ``contour``: whether there is a line at half of each map's maximum.
        - ``dpi``: pixels an inch, of the photos in a PDF or an SVG, or of a PNG that has ``width_mm`` (300).
        - ``width``: of a picture or a PNG without ``width_mm``: the whole width in pixels.
        - ``targets``: the old name of ``words``.
        - ``shared``: the old form of ``scale``.

        Args:
            path: a file that ends in ``.pdf``, ``.svg`` or ``.png``, written whole or not at all; None: the figure is returned.
            **options: as above.

        Returns:
            The path that was written, or the picture.

        Raises:
            InputError: an option makes no sense, the name has another ending, the file can't be written, there is no such font, or
                matplotlib isn't installed.
            TargetError: there is no such word.
        """
        given = read_old_names(options)
        return figures.draw_figure(self, **given) if path is None else figures.save_figure(self, path, **given)

    def panels(
        self,
        words: Words | None = None,
        *,
        size: int | None = None,
        colours: str | None = None,
        scale: Scale = "own",
        contour: bool = True,
    ) -> panels.Panels:
        """Only the overlays, one picture for each target, in a list that can be saved (:func:`vlcam.explanation.panels.draw_panels`)."""
        return panels.draw_panels(self, words, size=size, colours=colours, scale=scale, contour=contour)

    def matrix_figure(self, *, names: int = NAMES, scale: float = 1.0) -> Image:
        """A picture of the words by named neurons (the arguments: :func:`vlcam.explanation.matrix_figure.draw_matrix`)."""
        return matrix_figure.draw_matrix(self, names=names, scale=scale)

    def html(self) -> str:
        """The interactive page, one self-contained HTML document."""
        return page.make_page([self])

    def verify(
        self,
        task: Task,
        image: Any = None,
        *,
        regions: int | None = None,
        area: float = AREA,
        seed: int = 0,
        prompt: str | None = None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> "Explanation":
        """The same with a significance test of every map (the arguments: :func:`vlcam.explanation.verify.verify`)."""
        return verify.verify(self, task, image, regions=regions, area=area, seed=seed, prompt=prompt, progress=progress)

    def _repr_html_(self) -> str:
        return notebook.make_cell(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return notebook.make_bundle(self)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON values, without maps: the document that ``vlcam/explanation/schema.json`` describes.

        Numbers are finite or None. What the commands print with ``--json`` has the same fields in each of its ``results``.
        """
        return json_document.make_json_document(self)

    def to_json(self, *, indent: int | None = None) -> str:
        """:meth:`to_dict` as JSON text in ASCII."""
        return dump_json(self.to_dict(), indent=indent)

    def save(self, path: str | Path) -> Path:
        """Write to a safetensors file with a JSON header (see :mod:`vlcam.explanation.storage`)."""
        return storage.save(self, path)

    @staticmethod
    def load(path: str | Path) -> "Explanation":
        """Read back what :meth:`save` wrote."""
        return storage.load(path, make=Explanation)


@final
class Explanations(list[Explanation]):
    """The explanations of several photos: a list that a notebook shows as a grid of small pictures."""

    def __repr__(self) -> str:
        more = f", and {len(self) - 1} more" if len(self) > 1 else ""
        return f"[{self[0]!r}{more}]" if self else "[]"

    def _repr_html_(self) -> str:
        return notebook.make_grid(self, len(self))
