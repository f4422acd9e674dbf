"""How the commands print: styled on a terminal, plain text anywhere else and under NO_COLOR.

Results go to stdout; notes, errors and progress go to stderr. Control characters are removed from whatever is printed, so that a file name,
a question or a neuron's name can't control the terminal. Nothing heavy is imported here.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

StyledText = tuple[str, str]
"""A text and how it looks on a terminal (a style of rich, or nothing)."""

_LOGGED_EVERY = 0.05


def clean(text: str) -> str:
    r"""The text on one line, without anything that a terminal would obey; such characters become ``?``.

    >>> print(clean("a\x1b[31mred\nstar"))
    a?[31mred star
    """
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def say(text: str) -> None:
    """A note on stderr."""
    print(clean(text), file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """One line about an error, on stderr."""
    say(f"vlcam: {text}")


def print_data(text: str) -> None:
    """A document for another program, on stdout as it is."""
    print(text)


def print_heading(text: str) -> None:
    """The name of what follows."""
    print_line([(text, "bold underline")])


def print_line(parts: Sequence[StyledText] = ()) -> None:
    """One line of results on stdout."""
    clear = [(_make_printable(text), style) for text, style in parts]
    if not _is_styled(sys.stdout):
        print("".join(text for text, _ in clear).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    Console(file=sys.stdout, highlight=False).print(Text.assemble(*clear), soft_wrap=True)


def print_paragraph(text: str, indent: int) -> None:
    """A text over several lines on a terminal, and on one line in a pipe."""
    margin = " " * indent
    if not _is_styled(sys.stdout):
        print_line([(margin + clean(text), "")])
        return
    width = min(max(get_terminal_size().columns, 40), 100)
    for row in wrap(clean(text), width, initial_indent=margin, subsequent_indent=margin):
        print_line([(row, "italic")])


def print_table(head: Sequence[str], body: Sequence[Sequence[str]], *, texts: int = 1) -> None:
    """Rows under a header; the first columns, which hold text, are aligned left, the others right."""
    widths = [max(len(row[column]) for row in (head, *body)) for column in range(len(head))]
    for number, row in enumerate((head, *body)):
        padded = zip(row, widths, strict=True)
        cells = [
            cell.ljust(width) if place < texts else cell.rjust(width) for place, (cell, width) in enumerate(padded)
        ]
        print_line([("  ".join(cells), "" if number else "bold")])
    print_line()


@contextmanager
def show_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar to call with (done, all); silent where stderr is not a terminal."""
    with show_steps() as advance:
        advance(what, 0, None)
        yield lambda done, total: advance(what, done, total)


@contextmanager
def show_steps() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar for work in several steps, to call with (what, done, all); silent where stderr is not a terminal."""
    from vlcam.render.progress import open_bar

    with open_bar("") as bar:

        def advance(what: str, done: int, total: int | None) -> None:
            if bar is not None:
                bar(done, total, what)

        yield advance


@contextmanager
def show_training() -> Iterator[Callable[[int, int, Mapping[str, int | float]], None]]:
    """A progress bar with numbers, to call with (step, steps, numbers); where stderr is not a terminal, a line every 5 %."""
    from vlcam.render.progress import open_bar

    with open_bar("drawing") as bar:
        said = -1

        def report(step: int, steps: int, numbers: Mapping[str, int | float]) -> None:
            nonlocal said
            drawing = "drawn" in numbers
            done, every = (int(numbers["drawn"]), int(numbers["of"])) if drawing else (step, steps)
            what = "drawing" if drawing else "training"
            losses = "" if drawing else "  ".join(f"{name} {loss:.3f}" for name, loss in numbers.items())
            if bar is not None:
                bar(done, every, f"{what}  {losses}".rstrip())
            part = int(done / max(every, 1) / _LOGGED_EVERY) + (0 if drawing else 1000)
            if bar is None and part > said:
                said = part
                say(f"{what} {done}/{every}  {losses}")

        yield report


def _is_styled(stream: Any) -> bool:
    from vlcam.render.progress import is_styled  # the package loads numpy, which usage errors don't need

    return is_styled(stream)


def _make_printable(text: str) -> str:
    """As :func:`clean`, but blanks stay as they are."""
    return "".join(
        character if character.isprintable() else " " if character == "\u00a0" else "?" for character in text
    )


def hush_transformers() -> None:
    """Keep transformers' progress bars and remarks about loading off the terminal; for commands, which own it."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
