"""Bounds on what files may hold, all in one place, and numbers of files checked against them.

A number in a file becomes the size of an array, of a list of names or of a picture. So it is checked before anything is made of it:
whether it is a number at all (JSON's true, NaN and Infinity, and texts, are none), whether it is whole, and whether it is within reason.
"""

from typing import Any, Final

MAX_SAVED_BYTES: Final = 512 * 2**20
"""Of a file that vlcam saves and loads; an explanation of 100 words takes a few megabytes."""

MAX_TEXT_BYTES: Final = 2 * 2**30
"""Of a text or JSON file; the instances of COCO's training photos take 450 MB."""

MAX_PIXELS: Final = 50_000_000
"""Of a photo, unless the caller says otherwise; also of pictures of labels, of what annotations say, and of a photo resized for a model."""

MAX_SIDE: Final = 100_000
"""Of a photo's width and height."""

MAX_RATIO: Final = 5000
"""How many times longer the longer side of a photo may be: models enlarge the shorter one to a fixed size."""

MAX_SAVED_PIXELS: Final = 4 * MAX_PIXELS
"""Of the photo that a saved explanation says it is of; its heatmap is as large."""

MAX_CLASSES: Final = 100_000
"""Of a data set or a list of words; the whole of ImageNet has 21,841."""

MAX_WHOLE: Final = 2**53
"""Of a whole number in a record: what JSON's readers agree on."""

MAX_NUMBER: Final = 1e100
"""Of a finite number in a record: sums and products of a few of them are still finite."""

MAX_COORDINATE: Final = 1e7
"""Of a place in a photo, also outside it."""

MAX_DEPTH: Final = 100
"""Of what is inside, or broader than, one another."""

MAX_DIGITS: Final = 18
"""Of a whole number that is written out."""


def check_whole(value: Any, what: str, most: int = MAX_WHOLE, least: int = 0) -> int:
    """A whole number from a file, within bounds; 3.0 is taken for 3. Raises ValueError that says what it is of, and what was expected.

    >>> check_whole(3.0, "image_id")
    3
    >>> check_whole(10**400, "label", 999)
    Traceback (most recent call last):
    ValueError: label 1000000000000000000000000000000000000000... (expected a whole number from 0 to 999)
    """
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if not whole or not least <= value <= most:
        raise ValueError(f"{what} {show_value(value)} (expected a whole number from {least} to {most})")
    return int(value)


def check_number(value: Any, what: str, most: float = MAX_COORDINATE) -> float:
    """A finite number from a file, at most ``most`` from 0. Raises ValueError that says what it is of, and what was expected.

    >>> check_number(True, "left")
    Traceback (most recent call last):
    ValueError: left True (expected a number from -1e+07 to 1e+07)
    """
    if type(value) not in (int, float) or not abs(value) <= most:
        raise ValueError(f"{what} {show_value(value)} (expected a number from {-most:g} to {most:g})")
    return float(value)


def parse_whole(text: str, what: str, most: int = MAX_WHOLE) -> int:
    """A whole number that is written out in digits. Raises ValueError as :func:`check_whole` does.

    >>> parse_whole("012", "number"), parse_whole("9" * 5000, "number", 9)
    Traceback (most recent call last):
    ValueError: number '999999999999999999999999999999999999999... (expected a whole number from 0 to 9)
    """
    good = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return check_whole(int(text) if good else text, what, most)


def check_size(width: Any, height: Any, most: int = MAX_PIXELS, side: int = MAX_SIDE) -> tuple[int, int]:
    """A picture's width and height from a file. Raises ValueError for sides or an area out of bounds.

    >>> check_size(640, 480)
    (640, 480)
    """
    size = check_whole(width, "width", side, 1), check_whole(height, "height", side, 1)
    if size[0] * size[1] > most:
        raise ValueError(f"size of {size[0]} x {size[1]} pixels (expected at most {most:,} together)")
    return size


def show_value(value: Any) -> str:
    """A value from a file as errors show it, in at most 40 characters and three dots."""
    try:
        shown = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists without end
        shown = f"a {type(value).__name__} without a short form"
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
