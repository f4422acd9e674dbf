"""Single overlays: the photo with one target's map, as pictures to lay out by hand, and their names."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image

from vlcam.contracts import InputError
from vlcam.explanation.figure_options import Words, check_figure
from vlcam.explanation.figures import choose_scale, fade_line, shrink_photo, spread_map
from vlcam.explanation.record import AbstractExplanation
from vlcam.explanation.wording import find_peak, limit_ratio
from vlcam.files import make_slug, stage_files
from vlcam.render.blending import draw_contour, overlay


@final
class Panels(list[Image.Image]):
    """Pictures, and ``names`` to save each by: its place and what it shows, such as ``03-kite``."""

    def __init__(self, pictures: Iterable[Image.Image] = (), names: Iterable[str] = ()) -> None:
        super().__init__(pictures)
        self.names = tuple(names)

    def __repr__(self) -> str:
        return f"Panels({len(self)} pictures{f' of {self[0].width} x {self[0].height}' if self else ''})"

    def save(self, folder: str | Path) -> list[Path]:
        """Write each as ``NAME.png`` into a folder, all of them or none.

        Returns:
            The files.

        Raises:
            InputError: the folder can't be written to.
        """
        folder = Path(folder)
        with stage_files(folder) as part:
            for name, picture in zip(self.names, self, strict=True):
                picture.save(part / f"{name}.png")
        return [folder / f"{name}.png" for name in self.names]


def draw_panels(
    explanation: AbstractExplanation,
    words: Words | None = None,
    *,
    size: int | None = None,
    colours: str | None = None,
    scale: str = "own",
    contour: bool = True,
) -> Panels:
    """The photo with the map of one target, for each target; a map that shows nothing leaves the plain photo.

    Args:
        explanation: what to draw.
        words: which targets, and their order (all), as :meth:`vlcam.Explanation.figure` takes them.
        size: the longer side in pixels; by default that of the photo as the explanation keeps it.
        colours: as :meth:`vlcam.Explanation.figure` takes it.
        scale: as :meth:`vlcam.Explanation.figure` takes it.
        contour: whether there is a line at half of each map's maximum.

    Raises:
        InputError: an option makes no sense.
        TargetError: there is no such target.
    """
    wanted = check_figure(explanation, words=words, colours=colours, scale=scale, contour=contour)
    width, height = _choose_size(explanation, size)
    photo: Any = np.asarray(shrink_photo(explanation, width, height))
    pictures, names = list[Image.Image](), list[str]()
    for view in wanted.views:
        top, own = choose_scale(view, shared=wanted.shared), find_peak(view)
        heat = spread_map(view, width, height)
        mixed = overlay(photo, heat, scale=top, colours=wanted.colours)
        if view.flag == "ok" and contour:
            thickness = max(1, round(max(width, height) / 400))
            mixed = draw_contour(mixed, np.abs(heat), own / 2, thickness=thickness, strength=fade_line(own, top))
        pictures.append(Image.fromarray(mixed))
        names.append(f"{view.index:02d}-{make_slug(view.label)}")
    if len(set(names)) < len(names):  # the same target twice
        names = [f"{name}-{n}" if name in names[:n] else name for n, name in enumerate(names)]
    return Panels(pictures, names)


def _choose_size(explanation: AbstractExplanation, size: int | None) -> tuple[int, int]:
    """Width and height of a panel."""
    photo = explanation.photo
    ratio = limit_ratio(photo.width, photo.height)
    if size is None:
        size = max(photo.pixels.shape[:2])
    elif isinstance(size, bool) or not 16 <= size <= 4096:
        raise InputError(f"size={size!r} was given; expected the longer side in pixels, 16 to 4096")
    return (size, max(1, round(size / ratio))) if ratio >= 1 else (max(1, round(size * ratio)), size)
