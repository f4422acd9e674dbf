"""How far a run has come: a bar with rate and time left, or a plain line now and then where stderr is no terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlcam.render.progress import is_styled

_EVERY = 30.0
_FIRST = 5.0


@contextmanager
def show_progress(total: int, done: int, *, wanted: bool | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show progress of ``total`` photos, of which ``done`` were there before; call it with how many more are done, and have failed.

    Args:
        total: all photos.
        done: how many an earlier run has done.
        wanted: whether there is anything to see; by default a bar on a terminal, and lines elsewhere.
    """
    if wanted is False:
        yield lambda more, failed: None
        return
    counts = [done, 0]
    started = time.monotonic()
    with _open(total, done) as show:

        def advance(more: int, failed: int) -> None:
            counts[0] += more
            counts[1] += failed
            rate = (counts[0] - done) / max(time.monotonic() - started, 1e-9)
            show(counts[0], counts[1], rate)

        yield advance


@contextmanager
def _open(total: int, done: int) -> Iterator[Callable[[int, int, float], None]]:
    if not is_styled(sys.stderr):
        yield _make_lines(total)
        return
    from rich.console import Console
    from rich.errors import LiveError
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("explaining", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", markup=False),
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    try:
        progress.start()
    except LiveError:  # inside another bar
        yield _make_lines(total)
        return
    with progress:
        row = progress.add_task("", total=total, completed=done, rate="", failed="")

        def show(now: int, failed: int, rate: float) -> None:
            said = f"{failed} failed" if failed else ""
            progress.update(row, completed=now, rate=f"{rate:.3g} photos/s", failed=said)

        yield show


def _make_lines(total: int) -> Callable[[int, int, float], None]:
    last = [time.monotonic() - _EVERY + _FIRST]

    def show(now: int, failed: int, rate: float) -> None:
        if time.monotonic() - last[0] < _EVERY and now < total:
            return
        last[0] = time.monotonic()
        print(describe_progress(now, total, failed, rate), file=sys.stderr, flush=True)  # noqa: T201

    return show


def describe_progress(done: int, total: int, failed: int, rate: float) -> str:
    """One line about how far a run has come.

    >>> describe_progress(200, 1000, 1, 4.0)
    'explained 200 of 1000 photos, 1 failed, 4 photos/s, 3 min 20 s left'
    """
    parts = [f"explained {done} of {total} photos"]
    if failed:
        parts.append(f"{failed} failed")
    parts.append(f"{rate:.3g} photos/s")
    if rate > 0 and done < total:
        parts.append(f"{format_duration((total - done) / rate)} left")
    return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """A time in two units at most.

    >>> format_duration(59.6), format_duration(3725.0)
    ('1 min 0 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
