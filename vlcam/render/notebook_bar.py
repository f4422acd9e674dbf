"""A progress bar as the output of a notebook's cell: an HTML element that every notebook has, without widgets."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_OFTEN: Final = 0.1
"""Seconds between two states: a notebook keeps up with no more."""


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    found: Any = sys.modules.get("IPython")
    shell = None if found is None else found.get_ipython()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def open_notebook_bar(what: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A progress bar to call with (done, all, what is being done); its last state stays as a line of text.

    Args:
        what: what is being done, at first.
    """
    from importlib import import_module

    display: Any = import_module("IPython.display")
    started = time.monotonic()
    handle: Any = None
    shown = 0.0
    last: tuple[int, int | None, str] = (0, None, what)

    def show(done: int, total: int | None, now: str) -> None:
        nonlocal handle, shown, last
        last = (done, total, now)
        moment = time.monotonic()
        if handle is not None and moment - shown < _OFTEN and done != total:
            return
        shown = moment
        page = display.HTML(draw_bar(done, total, now, moment - started))
        if handle is None:
            handle = display.display(page, display_id=True)
        else:
            handle.update(page)

    try:
        yield show
    finally:
        if handle is not None:
            done, total, now = last
            handle.update(display.HTML(f"<small>{_name(done, total, now)}</small>"))


def draw_bar(done: int, total: int | None, now: str, seconds: float) -> str:
    """The bar's HTML: an element for how far it is, and beside it the count and the time left.

    >>> draw_bar(2, 8, "explaining", 6.0)
    '<progress value="2" max="8" aria-label="explaining"></progress> <small>explaining 2/8, about 18 s left</small>'
    """
    label = html.escape(now, quote=True)
    if not total:
        return f'<progress aria-label="{label}"></progress> <small>{_name(done, total, now)}</small>'
    left = f", about {seconds / done * (total - done):.0f} s left" if 0 < done < total else ""
    return (
        f'<progress value="{done}" max="{total}" aria-label="{label}"></progress> '
        f"<small>{_name(done, total, now)}{left}</small>"
    )


def _name(done: int, total: int | None, now: str) -> str:
    return f"{html.escape(now)} {done}" + ("" if total is None else f"/{total}")
