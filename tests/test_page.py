"""The interactive page: its text, and its behaviour in a browser."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import browser as headless
import numpy as np
import pytest
import torch
from examples_of_explanations import (
    CAPTION,
    PAYLOADS,
    blob,
    captioning,
    classification,
    cropped,
    explanation,
    hostile,
    photo,
    vqa,
)
from PIL import Image

from vlcam.contracts import InputError, Target
from vlcam.explanation import Explanation
from vlcam.render import notebook, page
from vlcam.render.data import document
from vlcam.render.overlay import OPACITY
from vlcam.render.page import embed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts, styles and the title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self.inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in self.texts:
            self.texts[self.inside][-1] += data


def data_of(text: str) -> Any:
    return json.loads(Elements(text).texts["script"][0])


class TestDocument:
    def test_maps_come_back_from_the_page(self) -> None:
        found = captioning()
        for view, target in zip(found, document(found)["targets"], strict=True):
            if view.flag != "ok":
                assert target["map"] is None
                continue
            raw = np.frombuffer(base64.b64decode(target["map"]), "<i2").reshape(14, 14) / 32767 * target["peak"]
            assert np.abs(raw - view.map.numpy()).max() <= 2e-5 * float(view.map.max())

    def test_tiny_and_huge_maps(self) -> None:
        targets = [Target("tiny", "class"), Target("huge", "class")]
        found = explanation("classification", targets, [blob(0.5, 0.5) * 1e-12, blob(0.5, 0.5) * 1e12], text="")
        tiny, huge = document(found)["targets"]
        assert tiny["map"] == huge["map"]
        assert tiny["peak"] == pytest.approx(1e-12, rel=0.05)

    def test_pieces_give_the_caption_back(self) -> None:
        found = captioning()
        pieces = document(found)["pieces"]
        assert "".join(piece if isinstance(piece, str) else found[piece].label for piece in pieces) == CAPTION
        assert [piece for piece in pieces if isinstance(piece, int)] == list(range(10))

    def test_words_without_a_span_are_not_lost(self) -> None:
        targets = [Target("two", "word", span=(4, 7)), Target("extra", "word")]
        pieces = document(explanation("captioning", targets, [blob(0.5, 0.5)] * 2, text="one two three"))["pieces"]
        assert pieces == ["one ", 0, " three", 1]

    def test_the_geometry_maps_photo_to_input(self) -> None:
        found = document(classification(geometry=cropped()))
        (scale, _), (offset, _) = found["toInput"]
        left, _, right, _ = found["seen"]
        assert left * scale + offset == pytest.approx(0, abs=1e-5)
        assert right * scale + offset == pytest.approx(1, abs=1e-5)

    def test_every_number_is_json(self) -> None:
        targets = [Target("x", "class", float("nan"), float("nan")), Target("y", "class", float("inf"), None)]
        bad = torch.full((14, 14), float("inf"))
        json.dumps(document(explanation("classification", targets, [bad, -bad], text="")), allow_nan=False)

    def test_large_photos_are_reduced_and_small_ones_kept(self) -> None:
        for height, width, kind in ((600, 3000, "jpeg"), (96, 96, "png")):
            picture = photo(pixels=np.zeros((height, width, 3), np.uint8))
            found = explanation("classification", [Target("x", "class")], [blob(0.5, 0.5)], text="", picture=picture)
            shown = document(found)["photo"]
            assert shown["uri"].startswith(f"data:image/{kind};base64,")
            assert shown["size"] == [width, height]
            kept = Image.open(BytesIO(base64.b64decode(shown["uri"].partition(",")[2])))
            assert max(kept.size) == min(max(height, width), 960)


class TestText:
    def test_nothing_comes_from_outside(self) -> None:
        text = page([captioning(), vqa(), classification()])
        outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*|@import|url\(", text.replace("url(#hatch)", ""))
        assert not [address for address in outside if "www.w3.org/2000/svg" not in address]
        for tag, attributes in Elements(text).found:
            assert tag not in ("link", "iframe", "object", "embed", "base")
            assert "src" not in attributes

    def test_no_inline_handlers_or_styles(self) -> None:
        for _, attributes in Elements(page([captioning()])).found:
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]

    def test_the_policy_allows_exactly_this_script_and_style(self) -> None:
        elements = Elements(page([captioning()]))
        policy = next(attributes["content"] for tag, attributes in elements.found if "http-equiv" in attributes)
        assert policy is not None
        rules = {name: values for name, *values in (rule.split() for rule in policy.split(";"))}

        def hashed(text: str) -> str:
            return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

        assert rules["default-src"] == ["'none'"]
        assert rules["script-src"] == [hashed(elements.texts["script"][1])]
        assert rules["style-src"] == [hashed(elements.texts["style"][0])]
        assert rules["img-src"] == ["data:"]

    def test_the_script_never_parses_text_as_html(self) -> None:
        script = Elements(page([captioning()])).texts["script"][1]
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in script

    def test_script_and_style_stay_small(self) -> None:
        elements = Elements(page([captioning()]))
        assert len(elements.texts["script"][1]) + len(elements.texts["style"][0]) < 40_000

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_payloads_stay_data(self, payload: str) -> None:
        text = page([hostile(payload)], title=payload)
        text.encode("utf-8")
        elements = Elements(text)
        plain = Elements(page([hostile("plain")], title="plain"))
        assert [tag for tag, _ in elements.found] == [tag for tag, _ in plain.found]
        found = data_of(text)["explanations"][0]
        for value in (found["question"], found["targets"][0]["label"], found["photo"]["name"], found["facts"]["model"]):
            assert value == payload

    def test_embedding_escapes_what_html_and_scripts_know(self) -> None:
        text = embed({"<a>&": "</script>\u2028\u2029\ud800"})
        assert not set(text) & set("<>&\u2028\u2029")
        assert json.loads(text) == {"<a>&": "</script>\u2028\u2029\ud800"}

    def test_it_is_the_same_every_time(self) -> None:
        assert page([captioning(), vqa()]) == page([captioning(), vqa()])

    def test_slider_starts_at_the_opacity_of_figures(self) -> None:
        slider = next(
            attributes for _, attributes in Elements(page([vqa()])).found if attributes.get("id") == "opacity"
        )
        assert slider["value"] == str(round(100 * OPACITY))

    def test_no_explanations_is_an_error(self) -> None:
        with pytest.raises(InputError, match="needs at least one"):
            page([])

    def test_a_notebook_gets_a_sandboxed_frame(self) -> None:
        ((tag, attributes),) = Elements(notebook(hostile('"><script>'))).found
        assert tag == "iframe"
        assert attributes["sandbox"] == "allow-scripts"
        assert attributes["srcdoc"] is not None
        assert attributes["srcdoc"].startswith("<!doctype html>")


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    if reason := headless.missing():
        pytest.skip(reason)
    with headless.launched() as browser:
        yield browser


@pytest.fixture
def show(chromium: "Browser", tmp_path: Path) -> Iterator[Any]:
    """Opens explanations as a page; afterwards there must be no message, no dialog and no request."""
    records: list[headless.Record] = []
    tabs: list[Any] = []

    def opener(*explanations: Explanation, title: str = "report", width: int = 1280) -> "Page":
        path = tmp_path / f"page{len(tabs)}.html"
        path.write_text(page(explanations, title=title), encoding="utf-8")
        tab = headless.opened(chromium, path, width=width)
        tabs.append(tab)
        found, record = tab.__enter__()
        records.append(record)
        return found

    yield opener
    for tab in tabs:
        tab.__exit__(None, None, None)
    for record in records:
        assert record == headless.Record()


def pixels(tab: "Page") -> np.ndarray:
    """The first card's heatmap: the canvas's RGBA."""
    uri = tab.evaluate("document.querySelector('.stage canvas').toDataURL()")
    return np.asarray(Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def word(tab: "Page", index: int) -> Any:
    return tab.locator(f"#photo-1 [data-target='{index}']")


def shown(tab: "Page") -> int:
    return int(str(tab.locator("#photo-1 button.shown").get_attribute("data-target")))


class TestBrowser:
    def test_pointing_at_a_word_shows_its_map(self, show: Any) -> None:
        tab = show(captioning())
        assert shown(tab) == 6  # the strongest word
        before = pixels(tab)
        word(tab, 2).hover()
        after = pixels(tab)
        assert shown(tab) == 2
        assert (before != after).any()
        row, column = np.unravel_index(after[..., 3].astype(int).argmax(), after.shape[:2])
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
        weak = pixels(tab)[..., 3].max()
        assert tab.locator("#photo-1 .scale span").nth(1).inner_text() == "1.06"
        tab.locator("#shared").uncheck()
        assert pixels(tab)[..., 3].max() > 200 > weak
        assert float(tab.locator("#photo-1 .scale span").nth(1).inner_text()) == pytest.approx(0.22, abs=0.01)
        assert "this map alone" in tab.locator("#photo-1 .what").inner_text()

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
        tab.locator("#shared").uncheck()
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

    def test_the_table_says_it_all_without_pictures(self, show: Any) -> None:
        tab = show(captioning())
        tab.locator("#photo-1 summary").click()
        rows = tab.locator("#photo-1 .table tbody tr")
        assert rows.count() == 13
        assert re.split(r"\s*\t\s*", rows.nth(2).inner_text().replace("\xa0", " ")) == [
            "kite", "word", "−0.261", "77 %", "0.805", "upper right",
        ]  # fmt: skip
        assert "only evidence against" in rows.nth(4).inner_text()

    def test_several_photos_have_an_index(self, show: Any) -> None:
        tab = show(captioning(), vqa(), classification())
        links = tab.locator("nav a")
        assert links.count() == 3
        links.nth(2).click()
        tab.wait_for_function("document.querySelector('#photo-3').getBoundingClientRect().top < 400")
        assert tab.evaluate("document.activeElement.closest('article').id") == "photo-3"

    def test_one_photo_has_none(self, show: Any) -> None:
        assert not show(vqa()).locator("nav").is_visible()

    @pytest.mark.parametrize("width", [1280, 390])
    def test_nothing_sticks_out(self, show: Any, width: int) -> None:
        tab = show(captioning(), vqa(), classification(), hostile("x" * 200), title="t" * 300, width=width)
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
        text = page([vqa()]).replace("</footer>", "</footer><script>alert(1)</script><img src=x onerror=alert(2)>", 1)
        path.write_text(text, encoding="utf-8")
        with headless.opened(chromium, path) as (tab, record):
            tab.wait_for_timeout(200)
            assert not record.dialogs
            assert any("Content Security Policy" in message for message in record.messages)

    def test_in_a_notebook(self, chromium: "Browser", tmp_path: Path) -> None:
        path = tmp_path / "notebook.html"
        path.write_text("<!doctype html><meta charset=utf-8>" + notebook(captioning()), encoding="utf-8")
        with headless.opened(chromium, path) as (tab, record):
            frame = tab.frame_locator("iframe")
            frame.locator("[data-target='2']").hover()
            assert "kite" in frame.locator("[role=status]").inner_text()
            assert record == headless.Record()
