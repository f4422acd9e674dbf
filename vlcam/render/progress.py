"""The one progress bar: in a notebook, or on stderr where a terminal, or a person, wants one."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from vlcam.render.notebook_bar import in_notebook, open_notebook_bar


@runtime_checkable
class Stream(Protocol):
    """What may be a terminal."""

    def isatty(self) -> bool: ...  # noqa: D102


def is_styled(stream: Stream) -> bool:
    """Whether colours and moving bars are welcome: a terminal, not a dumb one, and no NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def open_bar(what: str, *, wanted: bool | None = None) -> Iterator[Callable[[int, int | None, str], None] | None]:
    """A progress bar to call with (done, all, what is being done), or None where there is none.

    Args:
        what: what is being done, at first.
        wanted: whether there is a bar; by default in a notebook, and where stderr is a terminal that welcomes one.

    On a terminal it vanishes at the end; in a log its last state stays. In a notebook it is an element of the page. Inside another bar, of
    the caller's own say, there is none where rich draws one at a time (before version 14.1).
    """
    if wanted is not False and in_notebook():
        with open_notebook_bar(what) as show:
            yield show
        return
    if not (is_styled(sys.stderr) if wanted is None else wanted):
        yield None
        return
    from rich.console import Console
    from rich.errors import LiveError
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    progress = Progress(*columns, console=console, transient=console.is_terminal)
    try:
        progress.start()
    except LiveError:
        yield None
        return
    with progress:
        row = progress.add_task(what, total=None)
        yield lambda done, total, now: progress.update(row, completed=done, total=total, description=now)
