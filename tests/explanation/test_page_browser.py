"""The interactive page in a browser: what a person sees and does. Skipped where there is no Chromium or no playwright."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.support import browser as headless
from tests.support.examples_of_explanations import (
    PAYLOADS,
    blob,
    captioning,
    certain,
    classification,
    cropped,
    explanation,
    hostile,
    photo,
    stretched,
    told,
    vqa,
    weighed,
)
from vlcam.contracts import Target
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.notebook import make_cell
from vlcam.explanation.page import make_page
from vlcam.render import overlay
from vlcam.render.blending import OPACITY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def show(chromium: "Browser", tmp_path: Path) -> Iterator[Any]:
    """Opens explanations as a page; afterwards there must be no message, no dialog and no request."""
    records: list[headless.Record] = []
    tabs: list[Any] = []

    def opener(*explanations: Explanation, title: str = "report", width: int = 1280, height: int = 900) -> "Page":
        path = tmp_path / f"page{len(tabs)}.html"
        path.write_text(make_page(explanations, title=title), encoding="utf-8")
        tab = headless.reopened(chromium, path, width=width, height=height)
        tabs.append(tab)
        found: Page
        found, record = tab.__enter__()
        records.append(record)
        return found

    yield opener
    for tab in tabs:
        tab.__exit__(None, None, None)
    for record in records:
        assert record == headless.Record()


def pixels(tab: "Page", canvas: str = ".stage canvas") -> np.ndarray:
    """The first card's heatmap (or another canvas) as RGBA."""
    uri = tab.evaluate("canvas => document.querySelector(canvas).toDataURL()", canvas)
    return np.asarray(Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def word(tab: "Page", index: int) -> Any:
    return tab.locator(f"#photo-1 [data-target='{index}']")


def shown(tab: "Page") -> int:
    return int(str(tab.locator("#photo-1 button.shown").get_attribute("data-target")))


def contrast(one: str, other: str) -> float:
    """The contrast of two CSS colours, as WCAG counts it."""
    lights = []
    for text in (one, other):
        part = np.array(re.findall(r"[\d.]+", text)[:3], float) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ np.array([0.2126, 0.7152, 0.0722])))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


class TestBrowser:
    def test_pointing_at_a_word_shows_its_map(self, show: Any) -> None:
        tab = show(captioning())
        assert shown(tab) == 6  # the strongest word
        before = pixels(tab)
        word(tab, 2).hover()
        after = pixels(tab)
        assert shown(tab) == 2
        assert (before != after).any()
        row, column = np.argwhere(after[..., 3] == after[..., 3].max()).mean(axis=0)  # the strongest part is a plateau
        assert column / after.shape[1] == pytest.approx(0.78, abs=0.06)
        assert row / after.shape[0] == pytest.approx(0.22, abs=0.06)
        assert "“kite”: probability 77" in tab.locator("#photo-1 [role=status]").inner_text()
        assert "“kite”" in tab.locator("#photo-1 .sentence").inner_text()

    def test_arrow_keys_move_and_show(self, show: Any) -> None:
        tab = show(captioning())
        word(tab, 6).focus()
        for key, place in (
            ("ArrowRight", 7),
            ("ArrowLeft", 6),
            ("Home", 0),
            ("ArrowLeft", 12),
            ("End", 12),
            ("ArrowRight", 0),
        ):
            tab.keyboard.press(key)
            assert shown(tab) == place
            assert tab.evaluate("document.activeElement.dataset.target") == str(place)
        assert tab.locator("#photo-1 .said button[tabindex='0']").count() == 1

    def test_a_click_pins_and_escape_lets_go(self, show: Any) -> None:
        tab = show(captioning())
        word(tab, 1).click()
        assert word(tab, 1).get_attribute("aria-pressed") == "true"
        word(tab, 2).hover()
        assert shown(tab) == 1
        tab.keyboard.press("ArrowRight")  # the pin moves along
        assert shown(tab) == 2
        assert word(tab, 2).get_attribute("aria-pressed") == "true"
        tab.keyboard.press("Escape")
        assert tab.locator("[aria-pressed='true']").count() == 0
        word(tab, 9).hover()
        assert shown(tab) == 9
        word(tab, 9).click()
        word(tab, 9).click()
        assert word(tab, 9).get_attribute("aria-pressed") == "false"

    def test_keys_work_wherever_the_focus_is(self, show: Any) -> None:
        tab = show(captioning(), vqa())
        word(tab, 1).click()
        tab.evaluate("document.activeElement.blur()")
        tab.keyboard.press("ArrowRight")
        assert shown(tab) == 2
        tab.evaluate("document.activeElement.blur()")
        tab.keyboard.press("Escape")
        assert tab.locator("[aria-pressed='true']").count() == 0
        tab.evaluate("document.activeElement.blur()")
        tab.locator("#photo-2 .stage").hover()
        tab.keyboard.press("ArrowRight")
        assert tab.locator("#photo-2 button.shown").get_attribute("data-target") == "1"
        assert shown(tab) == 2
        tab.locator("#opacity").focus()
        tab.keyboard.press("ArrowLeft")
        assert tab.locator("#photo-2 button.shown").get_attribute("data-target") == "1"

    @pytest.mark.parametrize("gone", [False, True])
    def test_the_footer_follows_the_switch(self, show: Any, gone: bool) -> None:
        tab = show(captioning())
        if gone:
            tab.locator("#shared").check()
        text = tab.locator("footer").inner_text()
        assert ("share one scale" in text) == gone
        assert ("on its own scale" in text) == (not gone)

    def test_a_counterfactual_is_said_to_be_against(self, show: Any) -> None:
        tab = show(replace(captioning(), method="counterfactual"))
        assert "Evidence against" in tab.locator("#photo-1 .what").inner_text()
        word(tab, 4).hover()
        assert "Only evidence for" in tab.locator("#photo-1 .notice").inner_text()

    def test_the_colour_bar_shows_the_colours_as_drawn(self, show: Any) -> None:
        tab = show(captioning())
        grey = np.full((1, 256, 3), 128, np.uint8)
        bar = pixels(tab, ".ramp canvas")[..., :3].astype(int)
        assert np.abs(bar - overlay(grey, np.linspace(0, 1, 256)[None])).max() <= 1
        tab.locator("#opacity").focus()
        tab.keyboard.press("Home")
        assert (pixels(tab, ".ramp canvas")[..., :3] == 128).all()

    @pytest.mark.parametrize(("width", "height"), [(540, 1200), (1, 600), (600, 1), (100, 3000)])
    def test_thin_photos_fit_the_window(self, show: Any, width: int, height: int) -> None:
        picture = photo(pixels=np.full((height, width, 3), 90, np.uint8))
        found = explanation(
            "classification", [Target("x", "class", 1.0, 0.5)], [blob(0.5, 0.5)], text="x", picture=picture
        )
        tab = show(found, vqa())
        stage, bar = (tab.locator(f"#photo-1 {part}").bounding_box() for part in (".stage", ".what"))
        assert stage["height"] <= 640
        assert min(stage["width"], stage["height"]) >= 20
        assert bar["y"] + bar["height"] <= 900
        if width == 540:
            assert stage["width"] / stage["height"] == pytest.approx(0.45, abs=0.01)

    @pytest.mark.parametrize("tall", [False, True])
    def test_on_a_phone_the_picture_stays(self, show: Any, tall: bool) -> None:
        found = captioning()
        if tall:
            pixels = np.full((1200, 540, 3), 90, np.uint8)
            found = replace(found, photo=photo(pixels=pixels), geometry=stretched(540, 1200))
        tab = show(found, width=390, height=844)
        tab.locator("#photo-1 summary").scroll_into_view_if_needed()
        tab.mouse.wheel(0, 300)
        tab.wait_for_timeout(200)
        box = tab.locator("#photo-1 .picture").bounding_box()
        assert box["y"] == pytest.approx(0, abs=1)
        assert box["height"] <= 0.44 * 844

    def test_on_a_phone_a_notice_leaves_room_for_the_words(self, show: Any) -> None:
        tab = show(certain(), width=390, height=844)
        word(tab, 6).hover()
        assert "--measure\xa0logit" in tab.locator("#photo-1 .notice").inner_text()
        assert tab.locator("#photo-1 .picture").bounding_box()["height"] <= 0.48 * 844

    def test_print(self, show: Any) -> None:
        tab = show(captioning(), vqa())
        tab.emulate_media(media="print")
        style = "([part, name]) => getComputedStyle(document.querySelector(part))[name]"
        for part in (".meter span", ".lever span", ".stage", ".ramp"):
            assert tab.evaluate(style, [part, "printColorAdjust"]) == "exact"
        assert tab.evaluate(style, ["nav", "display"]) == "none"
        assert tab.evaluate(style, [".card", "breakInside"]) == "auto"
        assert tab.evaluate(style, [".picture", "breakInside"]) == "avoid"
        assert tab.evaluate(style, [".evidence tr", "breakInside"]) == "avoid"

    def test_the_shown_word_is_legible(self, show: Any) -> None:
        tab = show(captioning())
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.mouse.move(0, 0)
            tab.wait_for_timeout(250)
            style = "([part, name]) => getComputedStyle(document.querySelector('button.shown' + part))[name]"
            ink, ground = (tab.evaluate(style, part) for part in ([" .name", "color"], ["", "backgroundColor"]))
            assert contrast(ink, ground) >= 4.5

    def test_headings_have_no_gaps(self, show: Any) -> None:
        tab = show(captioning(), vqa(), classification())
        levels = tab.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1]))")
        assert levels == [1, 2, 3, 2, 3, 2, 3, 2]

    def test_words_that_look_alike_are_two(self, show: Any) -> None:
        tab = show(captioning())
        word(tab, 1).hover()
        first = pixels(tab)
        word(tab, 5).hover()
        second = pixels(tab)
        assert first[:, 240:, 3].max() > 50 > first[:, :240, 3].max()
        assert second[:, :240, 3].max() > 50 > second[:, 240:, 3].max()

    def test_the_slider_changes_opacity(self, show: Any) -> None:
        tab = show(captioning())
        assert pixels(tab)[..., 3].max() == round(255 * OPACITY)
        tab.locator("#opacity").focus()
        tab.keyboard.press("Home")
        assert pixels(tab)[..., 3].max() == 0
        assert tab.locator("#opacity-text").inner_text() == "0\xa0%"

    def test_one_scale_or_one_for_each(self, show: Any) -> None:
        tab = show(captioning())
        word(tab, 3).click()
        strong = pixels(tab)[..., 3].max()
        assert float(tab.locator("#photo-1 .scale span").nth(1).inner_text()) == pytest.approx(0.22, abs=0.01)
        assert "this map alone" in tab.locator("#photo-1 .what").inner_text()
        tab.locator("#shared").check()
        assert pixels(tab)[..., 3].max() < 200 < strong
        assert tab.locator("#photo-1 .scale span").nth(1).inner_text() == "1.06"

    def test_a_faint_map_on_its_own_scale_says_so(self, show: Any) -> None:
        found = captioning()
        maps = found.maps.clone()
        maps[3] /= 10
        tab = show(replace(found, maps=maps))
        word(tab, 3).click()
        assert "times fainter than the strongest of all words" in tab.locator("#photo-1 .what").inner_text()
        word(tab, 2).click()
        assert "fainter" not in tab.locator("#photo-1 .what").inner_text()

    def test_the_line_at_half_of_the_maximum(self, show: Any) -> None:
        tab = show(captioning())
        path = tab.locator("#photo-1 .ring").get_attribute("d")
        places = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", str(path)), float) / [420, 294]
        # Half of a Gaussian's height lies 1.18 deviations from its middle.
        away = np.hypot(places[:, 0] - 0.23, places[:, 1] - 0.58)
        assert away == pytest.approx(0.12 * 1.1774, abs=0.02)
        tab.locator("#contour").uncheck()
        assert tab.locator("#photo-1 .ring").get_attribute("d") is None

    @pytest.mark.parametrize(
        ("index", "notice"), [(4, "Only evidence against"), (8, "No evidence"), (12, "not numbers")]
    )
    def test_flagged_maps_get_a_notice_and_no_picture(self, show: Any, index: int, notice: str) -> None:
        tab = show(captioning())
        word(tab, index).hover()
        assert not pixels(tab).any()
        assert notice in tab.locator("#photo-1 .notice").inner_text()
        assert not tab.locator("#photo-1 .scale").is_visible()
        tab.locator("#shared").check()
        assert not pixels(tab).any()

    def test_what_the_model_did_not_see_has_no_heat_and_is_hatched(self, show: Any) -> None:
        tab = show(classification(geometry=cropped()))
        heat = pixels(tab)[..., 3]
        unseen = round((640 - 448) / 2 / 640 * heat.shape[1])
        assert not heat[:, :unseen].any()
        assert heat[:, unseen].any()
        assert tab.locator("#photo-1 .unseen").count() == 1
        tab.locator("#photo-1 .stage").hover(position={"x": 10, "y": 100})
        assert "didn't see" in tab.locator("#photo-1 .what").inner_text()

    def test_the_page_and_the_library_lay_maps_alike(self, show: Any) -> None:
        found = classification(geometry=cropped())
        tab = show(found)
        heat = found[0].heatmap().numpy()
        row, column = np.unravel_index(np.nanargmax(heat), heat.shape)
        box = tab.locator("#photo-1 .stage").bounding_box()
        at = {"x": (column + 0.5) / 640 * box["width"], "y": (row + 0.5) / 448 * box["height"]}
        tab.locator("#photo-1 .stage").hover(position=at)
        here = tab.locator("#photo-1 .what").inner_text().removeprefix("Here: ")
        assert float(here) == pytest.approx(float(np.nanmax(heat)), rel=0.02)

    def test_signed_maps_show_both_sides(self, show: Any) -> None:
        tab = show(classification(relu=False))
        picture = pixels(tab).astype(int)
        strong = picture[..., 3] > 60
        assert (picture[..., 0] > picture[..., 2] + 30)[strong].any()
        assert (picture[..., 2] > picture[..., 0] + 30)[strong].any()
        assert tab.locator("#photo-1 .scale span").first.inner_text().startswith("−")

    def test_neurons_are_listed_with_their_signs(self, show: Any) -> None:
        tab = show(vqa())
        rows = tab.locator("#photo-1 .evidence tbody tr")
        assert rows.count() == 10
        assert "+34" in rows.nth(0).inner_text()
        assert "−31" in rows.nth(5).inner_text()
        assert "silent here" in rows.nth(4).inner_text()
        assert tab.locator("#photo-1 .question").inner_text() == "What colour is the barn?"

    def test_what_may_be_said_of_a_unit_is_told_apart_by_signs_and_words(self, show: Any) -> None:
        tab, text = show(told()), told()[2].neurons
        assert text is not None
        word(tab, 2).click()
        assert tab.locator("#photo-1 .sentence").inner_text() == text.short
        rows = tab.locator("#photo-1 .evidence tbody tr")
        for sign, kind, says in (
            ("●", "claimable", "sees: red kite"),
            ("◐", "weak", "fires too weakly to say"),
            ("○", "background", "background: doesn't fire"),
        ):
            row = tab.locator(f"#photo-1 .evidence tr.{kind}", has_text=says).first
            assert sign in row.inner_text() and says in row.inner_text()
        assert rows.count() == len(text.top) + len(text.bottom)
        more = tab.locator("#photo-1 details.more")
        more.locator("summary").click()
        assert "units 0, 1" in more.inner_text() and "By the paper's ranking" in more.inner_text()
        word(tab, 6).hover()  # it stays open
        assert "barn" in tab.locator("#photo-1 details.more p").first.inner_text()

    def test_words_by_named_neurons(self, show: Any) -> None:
        tab = show(told())
        tab.locator("#photo-1 details.names summary").click()
        table = tab.locator("#photo-1 .names table")
        heads = [one.strip() for one in table.locator("thead th").all_inner_texts()][1:]
        assert set(heads) == {"kite", "red kite", "red", "barn", "door"}
        assert table.locator("tbody tr").count() == 12
        cell = table.locator("tbody tr").nth(2).locator("td").nth(heads.index("kite"))
        assert cell.inner_text().startswith("+77") and "told" in (cell.get_attribute("class") or "")
        style = "(node) => getComputedStyle(node).outlineStyle"
        assert cell.evaluate(style) == "solid"
        other = table.locator("tbody tr").nth(2).locator("td").nth(heads.index("red"))
        assert other.inner_text().startswith("+4") and other.evaluate(style) == "none"

    def test_the_table_says_it_all_without_pictures(self, show: Any) -> None:
        tab = show(captioning())
        tab.locator("#photo-1 summary").click()
        rows = tab.locator("#photo-1 .table tbody tr")
        assert rows.count() == 13
        assert re.split(r"\s*\t\s*", rows.nth(2).inner_text().replace("\xa0", " ")) == [
            "kite", "word", "−0.261", "77 %", "0.805", "upper right",
        ]  # fmt: skip
        assert "only evidence against" in rows.nth(4).inner_text()

    def test_the_words_of_a_question_are_tinted_for_the_answer_shown(self, show: Any) -> None:
        tab = show(weighed())
        words = tab.locator("#photo-1 .asked")
        assert tab.locator("#photo-1 .question").inner_text() == "What colour is the barn?"
        style = "([n, name, pseudo]) => getComputedStyle(document.querySelectorAll('.asked')[n], pseudo)[name]"

        def part(n: int) -> float:
            return float(words.nth(n).evaluate("one => one.style.getPropertyValue('--part')"))

        assert part(1) == 1 and part(4) == pytest.approx(0.9 / 1.31)
        assert tab.evaluate(style, [1, "content", "::after"]) == '"+1.31"'
        assert [tab.evaluate(style, [n, "borderBottomStyle", None]) for n in range(5)] == [
            "solid", "solid", "dashed", "solid", "solid",
        ]  # fmt: skip
        word(tab, 1).click()
        assert part(4) == 1 and tab.evaluate(style, [4, "borderBottomStyle", None]) == "dashed"
        assert tab.evaluate(style, [4, "content", "::after"]) == '"−1.2"'
        tab.locator("#shared").check()
        assert part(4) == pytest.approx(1.2 / 1.31)
        word(tab, 2).click()
        assert [part(n) for n in range(5)] == [0] * 5
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            word(tab, 0).click()
            ink, tint = (tab.evaluate(style, [1, name, None]) for name in ("color", "backgroundColor"))
            # The tint is see-through: laid on the card.
            card = tab.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
            *colour, opacity = (float(number) for number in re.findall(r"[\d.]+(?:e-\d+)?", tint.replace("srgb", "")))
            under = [float(number) / 255 for number in re.findall(r"\d+", card)[:3]]
            mixed = [255 * (c * opacity + u * (1 - opacity)) for c, u in zip(colour, under, strict=True)]
            assert contrast(ink, "rgb({}, {}, {})".format(*mixed)) >= 4.5

    def test_what_the_image_adds_and_what_is_nearly_certain(self, show: Any) -> None:
        tab = show(certain(), weighed())
        assert tab.locator("#photo-1 .note").inner_text() == "Nats from the image."
        assert tab.locator("#photo-2 .note").count() == 2
        assert "+0.4\xa0nats" in word(tab, 1).inner_text()
        assert "nats" not in word(tab, 0).inner_text()
        word(tab, 4).hover()
        assert "−1.2\xa0nats from the image" in tab.locator("#photo-1 [role=status]").inner_text()
        assert "Only evidence against" in tab.locator("#photo-1 .notice").inner_text()
        word(tab, 6).hover()
        assert "(nearly certain)" in tab.locator("#photo-1 [role=status]").inner_text()
        assert "Explain the logit instead" in tab.locator("#photo-1 .notice").inner_text()
        assert pixels(tab).any()
        word(tab, 5).hover()
        assert "certain" not in tab.locator("#photo-1 [role=status]").inner_text()
        assert not tab.locator("#photo-1 .notice").is_visible()
        tab.locator("#photo-2 summary").click()
        head = tab.locator("#photo-2 .table thead th").all_inner_texts()
        assert head[4] == "Visual information gain" and head[-1] == "Words of the question"
        cells = tab.locator("#photo-2 .table tbody tr").nth(1).locator("td").all_inner_texts()
        assert cells[3] == "−0.7\xa0nats" and cells[-1].startswith("What −0.5, colour +0.3")

    def test_several_photos_have_an_index(self, show: Any) -> None:
        tab = show(captioning(), vqa(), classification())
        links = tab.locator("nav a")
        assert links.count() == 3
        assert [link.get_attribute("title") for link in links.all()] == [
            "meadow.jpg: Caption", "meadow.jpg: What colour is the barn?", "meadow.jpg: Classification",
        ]  # fmt: skip
        assert [link.inner_text().split("\n")[1] for link in links.all()] == [captioning().text, "red", "barn"]
        links.nth(2).click()
        assert tab.evaluate("document.querySelector('#photo-3').getBoundingClientRect().top") < 400
        assert tab.evaluate("document.activeElement.closest('article').id") == "photo-3"

    def test_a_thumbnail_leaves_what_is_shown(self, show: Any) -> None:
        tab = show(vqa(), captioning())
        strongest = tab.locator("#photo-2 button.shown").get_attribute("data-target")
        tab.locator("nav a").nth(1).click()
        assert tab.locator("#photo-2 button.shown").get_attribute("data-target") == strongest == "6"
        assert tab.evaluate("document.activeElement.dataset.target") == "6"

    def test_a_card_far_down_is_painted_when_it_comes_near(self, show: Any) -> None:
        tab = show(*[captioning()] * 8)
        painted = "[...document.querySelectorAll('.ring')].map(line => line.hasAttribute('d'))"
        assert tab.evaluate(painted)[0] is True
        assert tab.evaluate(painted)[7] is False
        tab.locator("#photo-8").scroll_into_view_if_needed()
        tab.locator("#photo-8 .ring[d]").wait_for(state="attached")

    def test_one_photo_has_none(self, show: Any) -> None:
        assert not show(vqa()).locator("nav").is_visible()

    @pytest.mark.parametrize("width", [1280, 390])
    def test_nothing_sticks_out(self, show: Any, width: int) -> None:
        long = replace(weighed(), notes=("n" * 300,), question="q" * 300, question_words=((0, 299),) * 5)
        found = (captioning(), vqa(), classification(), certain(), weighed(), long, hostile("x" * 200))
        tab = show(*found, title="t" * 300, width=width)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width

    @pytest.mark.parametrize("kind", ["word", "answer"])
    def test_payloads_stay_text(self, show: Any, kind: Any) -> None:
        tab = show(*(hostile(payload, kind) for payload in PAYLOADS), title=PAYLOADS[0])
        assert tab.title() == PAYLOADS[0]
        assert tab.locator("#cards script, #cards img:not([src^='data:image/'])").count() == 0
        assert (
            tab.evaluate(
                "[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on'))).length"
            )
            == 0
        )
        label = tab.locator("#photo-1 [data-target='0'] .name").text_content()
        assert label == PAYLOADS[0]
        for place in range(len(PAYLOADS)):
            tab.locator(f"#photo-{place + 1} [data-target='1']").hover()

    def test_the_policy_stops_a_script_that_got_in(self, chromium: "Browser", tmp_path: Path) -> None:
        """The second wall alone: as if escaping had failed."""
        path = tmp_path / "broken.html"
        text = make_page([vqa()]).replace(
            "</footer>", "</footer><script>alert(1)</script><img src=x onerror=alert(2)>", 1
        )
        path.write_text(text, encoding="utf-8")
        with headless.opened(chromium, path) as (tab, record):
            tab.wait_for_timeout(200)
            assert not record.dialogs
            assert any("Content Security Policy" in message for message in record.messages)

    def test_in_a_notebook(self, chromium: "Browser", tmp_path: Path) -> None:
        path = tmp_path / "notebook.html"
        path.write_text("<!doctype html><meta charset=utf-8>" + make_cell(captioning()), encoding="utf-8")
        with headless.opened(chromium, path) as (tab, record):
            frame = tab.frame_locator("iframe")
            frame.locator("[data-target='2']").hover()
            assert "kite" in frame.locator("[role=status]").inner_text()
            assert record == headless.Record()
