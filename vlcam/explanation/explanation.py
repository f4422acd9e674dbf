"""An explanation with everything that can be done with it: drawn, tested, saved. The data and its views are in ``record``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from PIL.Image import Image

from vlcam.contracts import Task
from vlcam.explanation import figures, json_document, matrix_figure, page, storage, verify
from vlcam.explanation.matrix import NAMES
from vlcam.explanation.record import AbstractExplanation
from vlcam.files import dump_json
from vlcam.image.regions import AREA


@final
@dataclass(frozen=True, eq=False, repr=False)
class Explanation(AbstractExplanation):
    """Everything that was explained about one photo, from one forward pass (the fields: :class:`AbstractExplanation`)."""

    def figure(
        self,
        *,
        targets: Sequence[int | str | tuple[str, int]] | None = None,
        columns: int | None = None,
        shared: bool = False,
        colours: str | None = None,
        contour: bool = True,
        width: int | None = None,
    ) -> Image:
        """A picture of the photo with every target's heatmap (the arguments: :func:`vlcam.explanation.figures.draw_figure`)."""
        return figures.draw_figure(
            self, targets=targets, columns=columns, shared=shared, colours=colours, contour=contour, width=width
        )

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
        return page.make_notebook_cell(self)

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
    """The explanations of several photos: a list that is shown by its length and its first item."""

    def __repr__(self) -> str:
        more = f", and {len(self) - 1} more" if len(self) > 1 else ""
        return f"[{self[0]!r}{more}]" if self else "[]"
