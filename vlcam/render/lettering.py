"""Text on figures with fonts that are already there: Pillow's own, or the system's where a text needs letters that it lacks."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import final

from PIL import ImageFont

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


@final
class Lettering:
    """One font for all texts of a figure: the first that has the most of their letters.

    Letters that no font has lose their accents, or become question marks; nothing is ever drawn as an empty box.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        needed = "".join(sorted({character for text in texts for character in tidy(text)}))
        self._name = max(_list_fonts(), key=lambda name: sum(_has(name, character) for character in needed))

    def get_font(self, size: int) -> ImageFont.FreeTypeFont:
        """The font at a size in pixels."""
        return _load_font(self._name, size)

    def to_plain(self, text: str) -> str:
        """The text on one line, in letters that the font has."""
        return "".join(self._replace_letter(character) for character in tidy(text))

    def fit(self, text: str, size: int, width: float | int) -> str:
        """The text, cut with an ellipsis if it is wider than ``width``."""
        text, font = self.to_plain(text), self.get_font(size)
        if font.getlength(text) <= width:
            return text
        while text and font.getlength(text.rstrip() + "…") > width:
            text = text[:-1]
        return text.rstrip() + "…"

    def wrap(self, text: str, size: int, width: float | int, lines: int) -> list[str]:
        """The text broken between words into at most ``lines`` lines, the last one cut if need be."""
        font = self.get_font(size)
        words = self.to_plain(text).split(" ")
        done: list[str] = []
        while words and len(done) < lines:
            count = 1
            while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
                count += 1
            if len(done) == lines - 1:
                count = len(words)
            done.append(self.fit(" ".join(words[:count]), size, width))
            words = words[count:]
        return done

    def _replace_letter(self, character: str) -> str:
        if _has(self._name, character):
            return character
        instead = _TYPOGRAPHIC.get(character) or "".join(
            part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)
        )
        return instead if instead and all(_has(self._name, part) for part in instead) else "?"


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
