"""The one progress bar."""

import io
import sys

import pytest

from vlcam.render.progress import is_styled, open_bar


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Tty:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Tty()


def test_the_bar_says_what_is_done_and_vanishes(terminal: Tty, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_styled(terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with open_bar("first") as bar:
        assert bar is not None
        bar(1, 3, "second")
        with open_bar("another"):  # drawn or not, it does no harm to the first
            pass
        bar(2, 3, "[b]third")  # no markup
    text = terminal.getvalue()
    assert "[b]third" in text and "2/3" in text and text.endswith("\x1b[2K")
    with open_bar("first", wanted=False) as bar:
        assert bar is None


def test_elsewhere_there_is_none_unless_it_is_wanted(terminal: Tty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_styled(terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with open_bar("first") as bar:
        assert bar is None
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with open_bar("first", wanted=True) as bar:
        assert bar is not None
        bar(2, 2, "first")
    assert "2/2" in log.getvalue()  # its last state stays
