"""The errors that vlcam raises about its input, and how they say what was given. Nothing heavy is imported here."""

from collections.abc import Collection
from difflib import get_close_matches
from importlib import import_module
from typing import Any


class VlcamError(Exception):
    """Base of the errors that vlcam raises about its input; the text says what was given, what was expected and what to do."""

    def __init__(self, text: str = "", *more: object) -> None:
        if len(text) > 1500:  # it quotes a file that holds something very long
            text = f"{text[:1000]} ... {text[-400:]}"
        super().__init__(*((text, *more) if text or more else ()))


class InputError(VlcamError, ValueError):
    """A photo, text, option or file that can't be used."""


class TargetError(VlcamError, LookupError):
    """A class, word or answer that the model doesn't know, or targets that don't fit the batch."""


class LayerError(VlcamError, LookupError):
    """A layer that doesn't exist, has no grid, or doesn't lead to the target."""


def shorten(text: str, length: int = 40) -> str:
    r"""The text on one line of at most ``length`` characters, for a ``repr``; what a terminal would obey becomes an escape.

    >>> print(shorten("a\x1b[31mred\nstar", 12))
    a\x1b[31mre…
    """
    line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: length + 1])
    return line if len(line) <= length else line[: length - 1] + "…"


def find_name(name: str, known: Collection[str], what: str) -> str:
    """The one of the known names that is meant. Raises InputError with the closest ones if there is none."""
    for wanted in (name, name.strip().lower()):
        if wanted in known:
            return wanted
    close = get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? (" if close else "("
    raise InputError(f"no {what} {shorten(name)!r}; {hint}the {what}s are {', '.join(known)})")


def import_extra(module: str, extra: str) -> Any:
    """Import a package that is an extra. Raises InputError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module} can't be imported ({error}); it comes with an extra: pip install 'vlcam[{extra}]'"
        ) from error
