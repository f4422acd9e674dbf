"""What the page offers beside its maps: save, copy, link, thumbnails, pages of many photos. Skipped where there is no Chromium."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.support import browser as headless
from tests.support.examples_of_explanations import captioning, certain, classification, cropped, told, vqa
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.page import make_page
from vlcam.image.preprocess import PreprocessSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def number(count: int) -> list[Explanation]:
    """So many photos with names of their own."""
    some = [captioning(named=False), vqa(named=False)]
    return [
        replace(one, photo=replace(one.photo, name=f"photo {n}.jpg"))
        for n, one in enumerate((some * count)[:count], start=1)
    ]


@pytest.fixture
def show(chromium: "Browser", tmp_path: Path) -> Iterator[Any]:
    """Opens explanations as a page, whose scripts must say nothing."""
    with ExitStack() as stack:
        records: list[headless.Record] = []

        def opener(*explanations: Explanation, at: str = "", width: int = 1280, **more: Any) -> "Page":
            path = tmp_path / "page.html"
            path.write_text(make_page(explanations, **more), encoding="utf-8")
            tab, record = stack.enter_context(headless.opened(chromium, path, width=width))
            records.append(record)
            if at:
                tab.goto(path.as_uri() + at)
                tab.reload()
            return tab

        yield opener
        assert not [one for record in records for one in (*record.messages, *record.dialogs)]
        addresses = [one for record in records for one in record.requests]
        assert not [one for one in addresses if not one.startswith(("blob:", "file:"))]


def read_clipboard(tab: "Page") -> str:
    """What the page copied."""
    return str(tab.evaluate("copied"))


CLIPBOARD = "globalThis.copied = ''; navigator.clipboard.writeText = async (text) => { copied = text; }; 0"


def test_the_map_that_is_shown_is_saved(show: Any, tmp_path: Path) -> None:
    tab = show(classification(geometry=cropped()), vqa())
    tab.locator("#photo-1 [data-target='0']").click()
    with tab.expect_download() as found:
        tab.locator("#photo-1 .tools button", has_text="Save map").click()
    assert found.value.suggested_filename == "meadow-barn.png"
    found.value.save_as(tmp_path / "saved.png")
    assert tab.locator("#photo-1 .tools output").inner_text() == "Saved as meadow-barn.png."
    with Image.open(tmp_path / "saved.png") as saved:
        pixels = np.asarray(saved.convert("RGB").resize((640, 448))).astype(int)
    own = np.asarray(classification(geometry=cropped()).panels(["barn"], contour=False)[0]).astype(int)
    apart = np.abs(pixels - own).max(axis=2)
    seen = slice(100, 540)
    assert np.median(apart[:, seen]) <= 3 and (apart[:, seen] > 40).mean() < 0.03  # all but the line
    hot = (slice(230, 310), slice(110, 130))
    assert np.median(apart[hot]) <= 12
    assert np.ptp(pixels[:, 20:80].mean(axis=(0, 1))) < 25  # grey where the model saw nothing


def test_sentence_and_numbers_are_copied(show: Any) -> None:
    settings = PreprocessSettings((225, 225), "crop", 256, (0.5,) * 3, (0.5,) * 3, "bilinear")
    found = replace(told(), preprocessing=settings)
    tab = show(found)
    tab.evaluate(CLIPBOARD)
    tab.locator("#photo-1 [data-target='2']").click()
    tab.locator("#photo-1 .tools button", has_text="Copy text").click()
    tab.locator("#photo-1 .tools output", has_text="Copied.").wait_for()
    text = read_clipboard(tab)
    neurons = found["kite"].neurons
    assert neurons is not None and neurons.short in text
    assert "meadow.jpg: A red kite above" in text and "“kite”: probability 77" in text and "Maximum 0.805" in text
    assert "scenes-captioner, layer features.28, gradcam; input 225 × 225, the middle of the photo" in text
    assert "225 × 225, the middle of the photo" in tab.locator("#photo-1 .source").inner_text()  # and on the page


@pytest.mark.parametrize("works", [True, False])
def test_without_a_clipboard_there_is_another_way(show: Any, works: bool) -> None:
    tab = show(vqa())
    tab.evaluate("navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }; 0")
    tab.evaluate(
        "(works) => { document.execCommand = () => { globalThis.copied = document.activeElement.value; return works; }; }",
        works,
    )
    button = tab.locator("#photo-1 .tools button", has_text="Copy text")
    button.click()
    tab.locator("#photo-1 .tools output", has_text="Copied." if works else "Press Ctrl+C").wait_for()
    assert "“red”: probability 71" in read_clipboard(tab)
    assert tab.locator("#photo-1 textarea").count() == (0 if works else 1)
    if not works:
        assert "“red”" in tab.locator("#photo-1 textarea").input_value()


def test_the_address_keeps_the_pinned_word(show: Any) -> None:
    tab = show(captioning(), vqa())
    tab.locator("#photo-2 [data-target='1']").click()
    assert tab.url.endswith("#photo-2:1")
    tab.keyboard.press("ArrowRight")  # a pin moves along
    assert tab.url.endswith("#photo-2:2")
    tab.keyboard.press("Escape")
    assert tab.url.endswith("page.html")
    tab.locator("#photo-1 [data-target='4']").click()
    tab.locator("#photo-2 [data-target='0']").click()
    tab.locator("#photo-1 [data-target='4']").click()  # released: the address is that of the other photo
    assert tab.url.endswith("#photo-2:0")


def test_an_address_pins_its_word(show: Any) -> None:
    tab = show(*number(23), at="#photo-22:1")
    word = tab.locator("#photo-22 [data-target='1']")
    assert word.get_attribute("aria-pressed") == "true"
    assert tab.locator("#photo-22").is_visible() and not tab.locator("#photo-2").is_visible()
    assert tab.locator("#photo-22").bounding_box()["y"] < 300
    tab.evaluate("location.hash = '#photo-3:2'")
    tab.locator("#photo-3 [data-target='2'][aria-pressed='true']").wait_for()
    assert tab.locator("[aria-pressed='true']").count() == 1
    for nonsense in ("#photo-99:1", "#photo-3:99", "#cards", "#photo-0", "#<b>"):
        tab.evaluate("(hash) => { location.hash = hash; }", nonsense)
        tab.wait_for_timeout(30)


def test_the_link_is_copied(show: Any) -> None:
    tab = show(captioning())
    tab.evaluate(CLIPBOARD)
    tab.locator("#photo-1 .tools button", has_text="Copy link").click()
    tab.locator("#photo-1 .tools output", has_text="Copied.").wait_for()
    assert read_clipboard(tab) == tab.url and tab.url.endswith("/page.html#photo-1:6")


def test_thumbnails_say_what_they_are(show: Any) -> None:
    tab = show(captioning(), vqa())
    links = tab.locator("#index a")
    assert links.nth(1).inner_text().split("\n") == ["meadow.jpg", "red"]
    assert links.nth(1).get_attribute("title") == "meadow.jpg: What colour is the barn?"
    links.nth(1).click()
    tab.locator("#index a:nth-child(2)[aria-current]").wait_for()
    assert tab.evaluate("document.activeElement.closest('.card').id") == "photo-2"
    assert show(captioning()).locator("#index").is_hidden()


def test_twenty_photos_on_a_page(show: Any) -> None:
    tab = show(*number(41))
    top = tab.locator("nav.pages").first
    assert tab.locator(".card:visible").count() == tab.locator("#index a").count() == 20
    assert top.inner_text().split("\n")[1] == "Photos 1–20 of 41" and top.locator("button").first.is_disabled()
    tab.locator("nav.pages").last.locator("button", has_text="Next").click()
    assert tab.evaluate("scrollY") == 0
    assert tab.evaluate("document.activeElement.closest('.card').id") == "photo-21"
    assert top.inner_text().split("\n")[1] == "Photos 21–40 of 41"
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#photo-21 button.shown").get_attribute("data-target") == "7"
    top.locator("button", has_text="Next").click()
    assert tab.locator(".card:visible").count() == 1 and top.locator("button").last.is_disabled()
    tab.wait_for_timeout(100)
    painted = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(one => one)"
    assert tab.locator("#photo-41 .stage canvas").evaluate(painted)
    assert show(*number(20)).locator("nav.pages").count() == 0


def test_the_first_tab_stop_skips_to_the_explanations(show: Any) -> None:
    tab = show(captioning(), vqa())
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.locator(".skip").bounding_box()["x"] == 0
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('.card')?.id") == "photo-1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(show: Any, scheme: Any, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    tab = show(told(), certain(), *number(20), width=width)
    tab.emulate_media(color_scheme=scheme)
    found = axe.Axe().run(tab)
    assert found.response["violations"] == [], found.generate_report()
