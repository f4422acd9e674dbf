"""What is drawn with matplotlib, an extra: found when it is needed, without pyplot, and without the settings of whoever uses it."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from vlcam.errors import InputError, import_extra, shorten
from vlcam.render.blending import OPACITY, compute_cover
from vlcam.render.colour import get_colour_table, is_diverging
from vlcam.render.lettering import AbstractLettering, tidy

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.font_manager import FontProperties

EXTRA: Final = "plot"
_FALLBACKS: Final = (
    "DejaVu Sans",
    "Noto Sans",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "STIXGeneral",
)
_SETTINGS: Final[dict[str, Any]] = {
    "pdf.fonttype": 42,  # letters stay letters: they can be searched, copied and edited
    "svg.fonttype": "none",
    "svg.hashsalt": "vlcam",  # the same figure is the same file
    "svg.id": None,
    "image.resample": False,
    "path.simplify": False,
}


@contextmanager
def use_matplotlib() -> Iterator[None]:
    """A block in which figures are drawn with matplotlib's own settings, not those that its user made; they come back afterwards.

    Raises:
        InputError: matplotlib isn't installed.
    """
    import_extra("matplotlib", EXTRA)
    from matplotlib import style

    with style.context(["default", _SETTINGS]), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"Glyph .* missing from", category=UserWarning
        )  # SVG: the reader's fonts decide
        yield


def make_colormap(name: str, *, opacity: float = OPACITY) -> "Colormap":
    """A colour table of :mod:`vlcam.render.colour` for matplotlib, as it is laid over a photo: the lower a value, the more transparent.

    What the model didn't see (NaN) is half covered in grey.
    """
    from matplotlib.colors import ListedColormap

    parts = np.linspace(-1.0 if is_diverging(name) else 0.0, 1.0, 256)[None]
    cover = opacity * compute_cover(parts)[0]
    table = np.concatenate([get_colour_table(name) / 255, cover[:, None]], axis=1)
    colours = ListedColormap(table, name=f"vlcam {name}")
    return colours.with_extremes(bad=(0.5, 0.5, 0.5, 0.65))


@final
class PlotLettering(AbstractLettering):
    """Texts in a font of matplotlib's, with others for the letters that it lacks.

    Args:
        texts: all that will be written.
        font: a font file (.ttf or .otf) or the name of a font that matplotlib knows.
        everything: whether letters that no font has are kept, since whoever looks at the file may have them.

    Raises:
        InputError: there is no such font.
    """

    def __init__(self, texts: Iterable[str], font: str | Path | None = None, *, everything: bool = False) -> None:
        self._everything = everything
        self._file: str | None = None
        first = _FALLBACKS[0]
        if font is not None and Path(font).suffix.lower() in (".ttf", ".otf"):
            self._file, first = str(font), _read_family(str(font))
        elif font is not None:
            first = _find_family(str(font))
        needed = {one for text in texts for one in tidy(text)}
        missing = {one for one in needed if not self._has_in(first, one)}
        others = [name for name in _FALLBACKS if name != first and _is_installed(name)]
        useful = others if self._file is None and missing else []  # a file stands alone: matplotlib looks no further
        self.families = [first, *useful]

    def get_font(self, size: float | int) -> "FontProperties":
        """The font at a size in points."""
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=[*self.families, "sans-serif"], size=float(size), fname=self._file)

    def measure(self, text: str, size: float | int) -> float:
        """The width of a text in points."""
        from matplotlib.textpath import text_to_path

        return float(text_to_path.get_text_width_height_descent(text, self.get_font(size), False)[0]) if text else 0.0

    def has(self, character: str) -> bool:
        """Whether one of the fonts has a letter for a character, or its reader's may have."""
        return self._everything or any(self._has_in(name, character) for name in self.families)

    def _has_in(self, family: str, character: str) -> bool:
        return character == " " or _has_letter(self._file or _find_file(family), ord(character))


@cache
def _find_file(family: str) -> str:
    from matplotlib.font_manager import FontProperties, fontManager

    return str(fontManager.findfont(FontProperties(family=[family]), fallback_to_default=False))


@cache
def _has_letter(file: str, code: int) -> bool:
    from matplotlib.font_manager import get_font

    return bool(get_font(file).get_char_index(code))


def _list_families() -> list[str]:
    from matplotlib.font_manager import fontManager

    return sorted({one.name for one in fontManager.ttflist})


def _is_installed(family: str) -> bool:
    """Whether matplotlib knows a font, as a file that a PDF can hold."""
    return family in _list_families() and _find_file(family).lower().endswith(".ttf")


def _find_family(name: str) -> str:
    known = {one.lower(): one for one in _list_families()}
    if name.strip().lower() in known:
        return known[name.strip().lower()]
    close = get_close_matches(name.strip().lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(known[one] for one in close)}? Or " if close else ""
    raise InputError(
        f"font={shorten(name)!r} was given, which matplotlib doesn't know; {hint}give the path of a .ttf or .otf file"
    )


def _read_family(path: str) -> str:
    from matplotlib.ft2font import FT2Font

    try:
        return str(FT2Font(path).family_name)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"font={shorten(path)!r} can't be read as a font ({error}); give a .ttf or .otf file"
        ) from error
