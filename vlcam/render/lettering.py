"""Text on figures with fonts that are already there: Pillow's own, or the system's where a text needs letters that it lacks."""

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import final

from PIL import ImageFont

from vlcam.errors import InputError, shorten

_SYSTEM = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
    "segoeui.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
)
_OWN = ""
_TYPOGRAPHIC = {"−": "-", "–": "-", "—": "-", "\u00a0": " ", "×": "x", "‘": "'", "’": "'"}


class AbstractLettering(ABC):
    """Texts in one font: how wide they are, which of their letters it has, and how they fit into a width."""

    @abstractmethod
    def measure(self, text: str, size: float | int) -> float:
        """The width of a text that :meth:`to_plain` made, in the unit of ``size``."""

    @abstractmethod
    def has(self, character: str) -> bool:
        """Whether there is a letter for a character."""

    def to_plain(self, text: str) -> str:
        """The text on one line, in letters that the font has."""
        return "".join(self._replace_letter(character) for character in tidy(text))

    def fit(self, text: str, size: float | int, width: float | int) -> str:
        """The text, cut with an ellipsis if it is wider than ``width``."""
        text = self.to_plain(text)
        if self.measure(text, size) <= width:
            return text
        while text and self.measure(text.rstrip() + "…", size) > width:
            text = text[:-1]
        return text.rstrip() + "…"

    def wrap(self, text: str, size: float | int, width: float | int, lines: int) -> list[str]:
        """The text broken between words into at most ``lines`` lines, the last one cut if need be."""
        words = self.to_plain(text).split(" ")
        done: list[str] = []
        while words and len(done) < lines:
            count = 1
            while count < len(words) and self.measure(" ".join(words[: count + 1]), size) <= width:
                count += 1
            if len(done) == lines - 1:
                count = len(words)
            done.append(self.fit(" ".join(words[:count]), size, width))
            words = words[count:]
        return done

    def _replace_letter(self, character: str) -> str:
        if self.has(character):
            return character
        instead = _TYPOGRAPHIC.get(character) or "".join(
            part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)
        )
        return instead if instead and all(self.has(part) for part in instead) else "?"


@final
class Lettering(AbstractLettering):
    """One font for all texts of a picture: the first that has the most of their letters, or the one that was asked for.

    Letters that no font has lose their accents, or become question marks; nothing is ever drawn as an empty box.

    Args:
        texts: all that will be written.
        font: a font file (.ttf or .otf), or the name of one that the system has.

    Raises:
        InputError: there is no such font.
    """

    def __init__(self, texts: Iterable[str], font: str | Path | None = None) -> None:
        needed = "".join(sorted({character for text in texts for character in tidy(text)}))
        if font is None:
            self._name = max(_list_fonts(), key=lambda name: sum(_has(name, character) for character in needed))
        else:
            self._name = _find_font(str(font))

    def get_font(self, size: float | int) -> ImageFont.FreeTypeFont:
        """The font at a size in pixels."""
        return _load_font(self._name, round(size))

    def measure(self, text: str, size: float | int) -> float:
        """The width of a text in pixels."""
        return self.get_font(size).getlength(text)

    def has(self, character: str) -> bool:
        """Whether the font has a letter for a character."""
        return _has(self._name, character)


def tidy(text: str) -> str:
    """The text on one line, composed, without control and direction characters."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(character for character in text if unicodedata.category(character)[0] != "C")


@cache
def _list_fonts() -> tuple[str, ...]:
    found = [_OWN]
    for name in _SYSTEM:
        try:
            ImageFont.truetype(name, 16)
        except OSError:
            continue
        found.append(name)
    return tuple(found)


@cache
def _find_font(font: str) -> str:
    """The file of a font that was asked for by its path or its name."""
    plain = font.replace(" ", "")
    for name in (font, f"{font}.ttf", f"{plain}.ttf", f"{plain}-Regular.ttf", f"{font}.otf"):
        try:
            ImageFont.truetype(name, 16)
        except (OSError, ValueError):
            continue
        return name
    raise InputError(
        f"font={shorten(font)!r} was given, and no font file of that name was found; give the path of a .ttf or .otf file"
    )


@cache
def _load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    if name:
        return ImageFont.truetype(name, size)
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ImportError("figures need Pillow with FreeType support; this Pillow was built without it")
    return font


@cache
def _has(name: str, character: str) -> bool:
    font = _load_font(name, 24)
    return character == " " or bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))
