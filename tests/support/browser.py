"""A headless Chromium for tests of pages, if this machine has one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@cache
def chromium() -> str | None:
    """The browser's path: the ``CHROMIUM`` environment variable, what the path holds, or playwright's own."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    if path := os.environ.get("CHROMIUM") or next(filter(None, found), None):
        return path
    if find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        bundled = playwright.chromium.executable_path
    return bundled if Path(bundled).exists() else None


def missing() -> str:
    """Why there are no browser tests here; empty if there are."""
    if find_spec("playwright") is None:
        return "no playwright package"
    return "" if chromium() else "no Chromium: install it, run `playwright install chromium`, or set CHROMIUM"


@contextmanager
def launched() -> Iterator["Browser"]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Record:
    """What a page did besides showing itself."""

    messages: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def opened(
    browser: "Browser", path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light"
) -> Iterator[tuple["Page", Record]]:
    """A file in a fresh tab, with a record of its console, dialogs and requests (the file itself and data URIs left out)."""
    tab = browser.new_context().new_page()
    try:
        with _shown(tab, path, width, height, scheme) as record:
            yield tab, record
    finally:
        tab.context.close()


@contextmanager
def reopened(
    browser: "Browser", path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light"
) -> Iterator[tuple["Page", Record]]:
    """As :func:`opened`, in a tab that showed other files before, which is much faster: for pages that store nothing."""
    spare = _spare.setdefault(browser, [])
    tab = spare.pop() if spare else browser.new_context().new_page()
    with _shown(tab, path, width, height, scheme) as record:
        yield tab, record
    for other in tab.context.pages:
        if other is not tab:
            other.close()
    tab.goto("about:blank")
    tab.mouse.move(0, 0)
    spare.append(tab)


_spare: WeakKeyDictionary["Browser", list["Page"]] = WeakKeyDictionary()


@contextmanager
def _shown(tab: "Page", path: Path, width: int, height: int, scheme: str) -> Iterator[Record]:
    record = Record()

    def dismiss(dialog: "Dialog") -> None:
        record.dialogs.append(dialog.message)
        dialog.dismiss()

    listeners: dict[Any, Any] = {
        "console": lambda message: record.messages.append(message.text),
        "pageerror": lambda error: record.messages.append(str(error)),
        "request": lambda request: record.requests.append(request.url),
        "dialog": dismiss,
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    tab.set_viewport_size({"width": width, "height": height})
    tab.emulate_media(media="null", color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    address = path.as_uri()
    tab.goto(address)
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # it has been painted
    record.requests = [url for url in record.requests if url != address and not url.startswith("data:")]
    yield record
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
