"""The pages of a study in a browser, as raters use them. Skipped where there is no Chromium or no playwright."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support import browser as headless
from vlcam.study import Part, make_key, make_study_page, read_answers, read_key, score_answers
from vlcam.study.drawing import to_data_uri
from vlcam.study.plan import STRONGER, WEAKER, Item

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

METHODS = ("gradcam", "hirescam", "layercam")
PICTURES = 8


def study(kind: Any) -> Part:
    """A study of plain colours: red is the first category of discrimination, and the stronger model of trust."""
    rng = np.random.default_rng(0)
    items = []
    for place in range(PICTURES):
        for turn, name in enumerate(METHODS):
            swap = bool(rng.integers(2))
            red, blue = (np.full((40, 60, 3), colour, np.uint8) for colour in ((200, 0, place), (0, 0, 200 + place)))
            images: tuple[str, ...]
            number = f"{rng.integers(16**8):08x}"
            if kind == "discrimination":
                about = 'the "red", one' if place % 2 else "blue"
                choices = ('the "red", one', "blue")
                images = (to_data_uri(red if place % 2 else blue),)
            else:
                about, choices, images = (
                    "sky",
                    (STRONGER, WEAKER),
                    (to_data_uri(red + blue), to_data_uri(red), to_data_uri(blue)),
                )
            if swap:
                choices = (choices[1], choices[0])
                images = images if len(images) == 1 else (images[0], images[2], images[1])
            items.append(Item(number, f"p{place}", name, about, choices, (place + turn) % 3, False, images))
    return Part(kind, tuple(items), {"methods": list(METHODS)})


PARTS: dict[str, Part] = {kind: study(kind) for kind in ("discrimination", "trust")}


@pytest.fixture
def show(chromium: "Browser", tmp_path: Path) -> Iterator[Any]:
    """Opens a study's page; afterwards there must be no message, no dialog and no request."""
    records: list[headless.Record] = []
    tabs: list[Any] = []

    def opener(kind: str, **options: Any) -> "Page":
        path = tmp_path / f"{kind}.html"
        path.write_text(make_study_page(PARTS[kind], note="For <b>Ada</b>."), encoding="utf-8")
        tab = headless.opened(chromium, path, **options)
        tabs.append(tab)
        found: Page
        found, record = tab.__enter__()
        records.append(record)
        return found

    yield opener
    for tab in tabs:
        tab.__exit__(None, None, None)
    for record in records:
        assert [one for one in record.requests if not one.startswith(("file:", "blob:"))] == []
        assert replace(record, requests=[]) == headless.Record()


def start(tab: "Page", rater: str = "r1") -> None:
    tab.fill("#rater", rater)
    tab.keyboard.press("Enter")


def picture(tab: "Page", number: int = 0) -> str:
    return str(tab.locator("#pictures img").nth(number).get_attribute("src"))


def is_red(tab: "Page", number: int = 0) -> bool:
    """Whether a picture on the page is the red one, by its pixels."""
    return bool(
        tab.evaluate(
            """async (number) => { const image = document.querySelectorAll('#pictures img')[number]; await image.decode();
            const canvas = document.createElement('canvas'); const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0); return context.getImageData(9, 9, 1, 1).data[0] > 100; }""",
            number,
        )
    )


def answered(tab: "Page") -> str:
    return str(tab.locator("#who").inner_text())


def saved(tab: "Page", tmp_path: Path, name: str, button: str = "#download") -> Path:
    with tab.expect_download() as download:
        tab.click(button)
    assert download.value.suggested_filename == name
    path = tmp_path / name
    download.value.save_as(path)
    return path


def test_a_perfect_rater_from_start_to_score(show: Any, tmp_path: Path) -> None:
    tab = show("discrimination")
    assert tab.locator(".note").inner_text() == "For <b>Ada</b>."
    start(tab, " R1 ")
    for number in range(PICTURES):
        assert answered(tab) == f"Rater r1 · {number} of {PICTURES} answered"
        wanted = 'the "red", one' if is_red(tab) else "blue"
        tab.locator("#choices button", has_text=wanted).click()
    assert tab.locator("#thanks").is_visible() and not tab.locator("#ask").is_visible()
    path = saved(tab, tmp_path, "answers-discrimination-r1.csv")
    known = make_key(PARTS.values())
    (tmp_path / "key.json").write_text(json.dumps(known), "utf-8")
    (found,) = score_answers(read_key(tmp_path / "key.json"), read_answers(path, known))
    assert found.kind == "discrimination" and [one.value for one in found.methods] == [1.0, 1.0, 1.0]
    assert found.answered == {"r1": (PICTURES, PICTURES)}
    rows = [line.split(",") for line in path.read_text("utf-8").splitlines()[1:]]
    assert [int(row[-2]) for row in rows] == list(range(1, PICTURES + 1)) and all(float(row[-1]) >= 0 for row in rows)


def test_trust_by_keyboard_alone(show: Any, tmp_path: Path) -> None:
    tab = show("trust")
    tab.focus("#rater")
    tab.keyboard.type("r2")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    for number in range(PICTURES):
        assert tab.locator("#pictures img").count() == 3 and tab.locator("#about b").inner_text() == "sky"
        assert tab.evaluate("document.activeElement.id") == "question"
        left = is_red(tab, 1)
        if number % 2:
            tab.keyboard.press("2" if left else "4")  # slightly
        else:
            for _ in range(1 if left else 5):
                tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "download"
    path = saved(tab, tmp_path, "answers-trust-r2.csv")
    (found,) = score_answers(make_key(PARTS.values()), read_answers(path, make_key(PARTS.values())))
    total = sum(one.value * one.ratings for one in found.methods)
    assert total == PICTURES / 2 * (1 + 2) and all(one.value >= 1 for one in found.methods)


def test_a_reload_loses_nothing(show: Any, tmp_path: Path) -> None:
    tab = show("discrimination")
    start(tab)
    seen = []
    for _ in range(3):
        seen.append(picture(tab))
        tab.keyboard.press("1")
    before = picture(tab)
    tab.reload()
    assert answered(tab) == f"Rater r1 · 3 of {PICTURES} answered" and picture(tab) == before
    for place in (2, 1, 0):
        tab.keyboard.press("Backspace")
        assert picture(tab) == seen[place]
        assert tab.locator("#choices [aria-pressed=true] kbd").inner_text() == "1"
    assert tab.locator("#back").is_disabled()
    tab.keyboard.press("2")  # another answer to the first question
    tab.click("#leave")
    assert tab.locator("#raters li").inner_text().splitlines()[0] == f"r1: 3 of {PICTURES}"
    path = saved(tab, tmp_path, "answers-discrimination-r1.csv", "#raters button >> nth=1")
    (found,) = score_answers(make_key(PARTS.values()), read_answers(path, make_key(PARTS.values())), partial=True)
    assert found.answered == {"r1": (3, PICTURES)}
    tab.click("#raters button >> nth=0")
    assert answered(tab) == f"Rater r1 · 3 of {PICTURES} answered" and picture(tab) == before


def order(tab: "Page", rater: str) -> list[str]:
    """The pictures that a rater sees, in order."""
    start(tab, rater)
    seen = []
    while tab.locator("#ask").is_visible():
        seen.append(picture(tab))
        tab.keyboard.press("1")
    tab.click("#other")
    return seen


def test_the_rater_id_decides_booklet_and_order(show: Any) -> None:
    tab = show("discrimination")
    orders = {rater: order(tab, rater) for rater in ("r1", "r2", "r3", "r4", "ada")}
    assert order(show("discrimination"), "r1") == orders["r1"]  # another browser
    pictures = {
        number: sorted(item.images[0] for item in PARTS["discrimination"].items if item.booklet == number)
        for number in range(3)
    }
    for rater, booklet in (("r1", 0), ("r2", 1), ("r3", 2), ("r4", 0)):
        assert sorted(orders[rater]) == pictures[booklet]
    assert sorted(orders["ada"]) in pictures.values()
    assert orders["r1"] != orders["r4"]
    assert tab.locator("#raters li").count() == 5


def test_rater_ids_are_checked(show: Any) -> None:
    tab = show("trust")
    for wrong in ("", "  ", "=1+1", "a b", "-x"):
        start(tab, wrong)
        assert "Please give your rater id" in tab.locator("#rater-wrong").inner_text()
        assert tab.locator("#rater").get_attribute("aria-invalid") == "true" and not tab.locator("#ask").is_visible()


def test_number_keys_can_be_switched_off(show: Any) -> None:
    tab = show("trust")
    start(tab)
    tab.uncheck("#keys")
    tab.keyboard.press("1")
    assert answered(tab) == f"Rater r1 · 0 of {PICTURES} answered"
    tab.check("#keys")
    tab.keyboard.press("6")
    tab.keyboard.press("Control+1")
    assert answered(tab) == f"Rater r1 · 0 of {PICTURES} answered"
    tab.keyboard.press("1")
    assert answered(tab) == f"Rater r1 · 1 of {PICTURES} answered"


def test_without_storage_the_page_says_so(chromium: "Browser", tmp_path: Path) -> None:
    path = tmp_path / "trust.html"
    path.write_text(make_study_page(PARTS["trust"]), encoding="utf-8")
    context = chromium.new_context(accept_downloads=True)
    try:
        context.add_init_script(
            "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
        )
        tab = context.new_page()
        tab.goto(path.as_uri())
        assert "can't save your answers" in tab.locator("#unsafe").inner_text()
        start(tab)
        for _ in range(PICTURES):
            tab.keyboard.press("3")
        file = saved(tab, tmp_path, "answers-trust-r1.csv")
        assert len(file.read_text("utf-8").splitlines()) == 1 + PICTURES
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["discrimination", "trust"])
def test_nothing_sticks_out_and_text_is_legible(show: Any, kind: str, scheme: str) -> None:
    from tests.explanation.test_page_browser import contrast

    tab = show(kind, width=360, height=740, scheme=scheme)
    for screen in ("#start .card p", "#choices button span"):
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        colour = tab.locator(screen).first.evaluate("one => getComputedStyle(one).color")
        ground = tab.locator(screen).first.evaluate(
            "one => getComputedStyle(one.closest('button, .note, .card')).backgroundColor"
        )
        assert contrast(colour, ground) > 7
        if screen.startswith("#start"):
            start(tab)
    for button in tab.locator("#choices button, #back, #leave").all():
        box = button.bounding_box()
        assert box is not None and box["height"] >= 32 and box["width"] >= 32
    assert all(image.get_attribute("alt") for image in tab.locator("img").all())
