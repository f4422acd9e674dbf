"""The neuron report in a browser: what a person sees and does. Skipped where there is no Chromium or no playwright."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.explanation.test_page_browser import contrast
from tests.neurons.report.test_report import NAMES, card_of, made, made_effects, named_everything
from tests.support import browser as headless
from tests.support.examples_of_explanations import PAYLOADS, captioning
from vlcam.explanation.page import make_page
from vlcam.neurons import NeuronName, NeuronNames
from vlcam.neurons.report.report import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def show(chromium: "Browser", tmp_path: Path) -> Iterator[Any]:
    """Opens a text as a page; afterwards there must be no message, no dialog and no request."""
    records: list[headless.Record] = []
    tabs: list[Any] = []

    def opener(text: str, *, width: int = 1280, height: int = 900, scheme: str = "light", name: str = "") -> "Page":
        path = tmp_path / (name or f"report{len(tabs)}.html")
        path.write_text(text, encoding="utf-8")
        tab = headless.reopened(chromium, path, width=width, height=height, scheme=scheme)
        tabs.append(tab)
        found: Page
        found, record = tab.__enter__()
        records.append(record)
        return found

    yield opener
    for tab in tabs:
        tab.__exit__(None, None, None)
    for record in records:
        record.requests = [url for url in record.requests if not url.startswith(tmp_path.as_uri())]  # tabs that went on
        assert record == headless.Record()


def many(count: int) -> NeuronNames:
    """Units of 7 names, every tenth dead, every ninth without a name; scores fall and rise again."""
    units = []
    for unit in range(count):
        if unit % 10 == 9:
            units.append(NeuronName(unit, "dead"))
        elif unit % 9 == 8:
            units.append(NeuronName(unit, "unnamed", score=0.02, p=0.5, alternatives=(("spoon", "thing", 0.02),)))
        else:
            flags = ("few",) if unit % 7 == 2 else ()
            score = 0.1 + abs(unit * 37 % count - count / 2) / count
            kind = "colour" if unit % 7 < 3 else "thing"
            units.append(NeuronName(unit, "named", f"name {unit % 7}", kind, score, 0.9, 0.001, flags=flags, iou=score))
    curve = {"observed": [one.score for one in units], "null": np.linspace(0, 0.1, 101).tolist(), "limit95": 0.09}
    return NeuronNames("many", "layer", None, {"images": 100, "null": curve}, tuple(units))


def cards(tab: "Page") -> list[int]:
    """The units whose cards are shown."""
    return [int(one.partition("-")[2]) for one in tab.locator("article.card").evaluate_all("all => all.map(a => a.id)")]


def rows(tab: "Page", column: int = 0) -> list[str]:
    return tab.locator(f"table.all tbody td:nth-child({column + 1})").all_inner_texts()


def as_cards(tab: "Page") -> None:
    tab.get_by_label("Cards").check(force=True)


class TestReport:
    def test_a_card_tells_everything(self, show: Any) -> None:
        unit = replace(
            NAMES.units[0], flags=("few",), also=("warm",), formula=("red AND NOT blue", 0.6), auprc=0.41, correlation=0.7,
            stability=0.93, margin=0.8, claims=(("red", "colour", 1.5),),
        )  # fmt: skip
        tab = show(report(replace(NAMES, units=(unit, *NAMES.units[1:])), made(), effects=made_effects()))
        text = tab.locator("#unit-0").inner_text()
        for part in (
            "Unit 0", "red", "colour", "weak", "few: the concept is in few pictures", "red AND NOT blue (IoU 0.60)", "Also: warm",
            "56\xa0% of at most 0.90", "AUPRC", "0.41", "0.70", "0.001", "93\xa0%", "80\xa0%", "blue", "Strongest", "3.00",
            "A text may say: red (above 1.50)", "Helps", "cat", "+2.00", "Hurts", "−4.00", "Mean activation by class", "night",
        ):  # fmt: skip
            assert part in text
        assert tab.locator("#unit-0 .row.top .tile").count() == 6
        sizes = tab.locator("#unit-0 img").evaluate_all(
            "all => Promise.all(all.map(i => i.decode().then(() => i.naturalWidth)))"
        )
        assert min(sizes) > 8
        assert "never fires" in tab.locator("#unit-1").inner_text()
        assert "Fires without “blue”" in tab.locator("#unit-2").inner_text()
        bars = tab.locator("#unit-0 .bins i")
        assert bars.count() == 40
        assert tab.locator("#unit-0 .bins i.above").count() > 0

    def test_the_layer(self, show: Any) -> None:
        tab = show(report(many(30)))
        assert "many" in tab.locator("#lead").inner_text()
        assert tab.locator("#tiles dd").all_inner_texts()[:3] == ["24", "3", "3"]
        assert "24 of 30\xa0units score higher than" in tab.locator("#null").inner_text()
        assert tab.locator("#bars button").count() == 7
        tab.locator("#twins summary").click()
        assert tab.locator("#twins-table tbody tr").count() == 7
        tab.locator("#twins-table a").first.click()
        assert tab.evaluate("location.hash.startsWith('#unit-')")
        assert tab.locator("article.here").count() == 1

    def test_the_table_sorts_by_its_heads(self, show: Any) -> None:
        tab = show(report(many(30)))
        head = tab.get_by_role("button", name="IoU")
        head.click()
        scores = [float(one) for one in rows(tab, 5) if one != "–"]
        assert scores == sorted(scores, reverse=True)
        assert rows(tab, 5)[-3:] == ["–"] * 3
        assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        assert tab.evaluate("document.activeElement.dataset.sort") == "score"
        tab.keyboard.press("Enter")
        scores = [float(one) for one in rows(tab, 5) if one != "–"]
        assert scores == sorted(scores)
        assert rows(tab, 5)[-3:] == ["–"] * 3
        tab.get_by_role("button", name="Name", exact=True).click()
        assert rows(tab, 1)[0] == "name 0"
        as_cards(tab)
        assert cards(tab)[0] == 0
        tab.get_by_role("button", name="Reverse the order").click()
        assert tab.locator("article h3").first.text_content() == "name 6"  # that of a card may not be painted yet

    def test_search_and_filters(self, show: Any) -> None:
        tab = show(report(many(60)))
        find = tab.get_by_role("searchbox")
        find.fill("NAME 3")
        tab.wait_for_timeout(250)
        assert set(rows(tab, 1)) == {"name 3"}
        find.fill("spoon")
        tab.wait_for_timeout(250)
        assert set(rows(tab, 1)) == {"no reliable name"}
        find.fill("unit 12")
        tab.wait_for_timeout(250)
        assert rows(tab) == ["12"]
        tab.get_by_role("button", name="Show all").click()
        assert len(rows(tab)) == 60
        tab.get_by_label("State").select_option("dead")
        assert rows(tab) == [str(unit) for unit in range(9, 60, 10)]
        tab.get_by_label("Category").select_option("colour")
        assert "No unit matches" in tab.locator("#units").inner_text()
        tab.get_by_role("button", name="Show all").click()
        tab.get_by_label("Flag", exact=True).select_option("few")
        assert set(rows(tab, 1)) == {"name 2"}
        assert tab.locator("#count").inner_text() == f"{len(rows(tab))} of 60\xa0units"

    def test_a_bar_of_the_chart_shows_its_units(self, show: Any) -> None:
        tab = show(report(many(60)))
        bar = tab.locator("#bars button").nth(1)
        name = bar.locator(".name").inner_text()
        bar.focus()
        tab.keyboard.press("Enter")
        assert bar.get_attribute("aria-pressed") == "true"
        assert set(rows(tab, 1)) == {name}
        tab.locator("#only").click()
        assert len(rows(tab)) == 60

    def test_large_layers_are_paged(self, show: Any) -> None:
        tab = show(report(many(250)))
        assert len(rows(tab)) == 100
        tab.get_by_role("button", name="Next").click()
        assert rows(tab)[0] == "100"
        tab.get_by_role("button", name="Next").click()
        assert (rows(tab)[0], len(rows(tab))) == ("200", 50)
        assert tab.get_by_role("button", name="Next").is_disabled()
        tab.get_by_label("State").select_option("named")
        assert tab.locator("#pages").is_hidden() == (len(rows(tab)) <= 200)
        assert not show(report(many(200))).locator("#pages").is_visible()

    @pytest.mark.parametrize("unit", [0, 137, 249])
    def test_a_link_from_elsewhere_finds_its_card(self, show: Any, unit: int) -> None:
        tab = show(report(many(250)))
        tab.get_by_label("State").select_option("dead" if unit != 249 else "unnamed")
        tab.evaluate("hash => { location.hash = hash }", f"#unit-{unit}")
        tab.wait_for_selector(f"#unit-{unit}.here")
        tab.wait_for_timeout(150)
        box = tab.locator(f"#unit-{unit}").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 700
        assert tab.evaluate("document.activeElement.id") == f"unit-{unit}"
        assert tab.locator("#pages").inner_text().count(f"Page {unit // 100 + 1} of 3") == 1

    def test_a_link_is_followed_on_opening_and_twice(self, show: Any) -> None:
        tab = show(report(many(250)))
        address = tab.url
        tab.goto("about:blank")
        tab.goto(address + "#unit-220")
        assert tab.locator("article.here").get_attribute("id") == "unit-220"
        tab.get_by_label("Table").check(force=True)
        tab.evaluate("scrollTo(0, 0)")
        tab.get_by_role("searchbox").fill("unit 220")
        tab.wait_for_timeout(250)
        tab.locator("table.all a").click()
        assert tab.locator("article.here").get_attribute("id") == "unit-220"
        tab.evaluate("location.hash = '#unit-9999'")
        tab.evaluate("location.hash = '#elsewhere'")
        assert tab.locator("article.card").count() > 0

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_payloads_are_shown_as_text(self, show: Any, payload: str) -> None:
        tab = show(report(named_everything(payload), [card_of(payload)], title=payload))
        for view in ("Table", "Cards"):
            tab.get_by_label(view).check(force=True)
            assert (
                tab.locator("main b b, main svg, main iframe, main script, [onmouseover], [onload], [onerror]").count()
                == 0
            )
        name = tab.locator("h3").first.evaluate("node => node.textContent")
        assert name == payload.replace("\ud800", name[0] if payload[0] == "\ud800" else "\ud800")

    def test_nothing_is_wider_than_a_narrow_screen(self, show: Any) -> None:
        word = "W" * 90
        for text in (
            report(named_everything(word), [card_of(word)], title=word),
            report(many(30)),
            report(NAMES, made(), effects=made_effects()),
        ):
            for scheme in ("light", "dark"):
                tab = show(text, width=360, height=700, scheme=scheme)
                as_cards(tab)
                assert tab.evaluate("document.documentElement.scrollWidth") <= 360

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_can_be_read(self, show: Any, scheme: str) -> None:
        names = replace(NAMES, units=(replace(NAMES.units[0], flags=("few",)), *NAMES.units[1:]))
        tab = show(report(names, made(), effects=made_effects()), scheme=scheme)
        found = tab.evaluate(
            """() => {
                const ground = (node) => {
                    for (let one = node; one; one = one.parentElement) {
                        const colour = getComputedStyle(one).backgroundColor;
                        if (/^rgb\\(/.test(colour)) return colour;
                    }
                    return "rgb(255, 255, 255)";
                };
                return [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility()
                    && [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
                    .map((node) => [node.className || node.tagName, getComputedStyle(node).color, ground(node)]);
            }"""
        )
        assert len(found) > 60
        assert [(what, colour) for what, colour, ground in found if contrast(colour, ground) < 4.5] == []

    def test_everything_can_be_reached_by_keyboard(self, show: Any) -> None:
        tab = show(report(many(30)))
        seen = set()
        for _ in range(40):
            tab.keyboard.press("Tab")
            seen.add(
                tab.evaluate(
                    "document.activeElement.id || document.activeElement.name || document.activeElement.tagName"
                )
            )
        assert {"view", "find", "state", "category", "trust", "flag", "sort", "turn", "SUMMARY", "BUTTON"} <= seen

    def test_layers_with_nothing_to_show(self, show: Any) -> None:
        dead = NeuronNames("m", "l", None, {}, tuple(NeuronName(unit, "dead") for unit in range(5)))
        tab = show(report(dead))
        assert rows(tab, 1) == ["dead"] * 5
        assert "No unit has a reliable name" in tab.locator("#notes").inner_text()
        assert not tab.locator("#null, #chart").first.is_visible()
        assert "no units" in show(report(NeuronNames("m", "l", None, {}, ()))).locator("#units").inner_text()


class TestLinksOfExplanations:
    def test_units_lead_to_their_cards(self, show: Any, tmp_path: Path) -> None:
        (tmp_path / "neurons").mkdir()
        (tmp_path / "neurons" / "report.html").write_text(report(many(400)), encoding="utf-8")
        tab = show(make_page([captioning()], neurons="neurons/report.html"))
        links = tab.locator("#photo-1 td.unit a")
        unit = links.first.inner_text()
        assert links.count() == tab.locator("#photo-1 td.unit").count() > 1
        assert links.first.get_attribute("href") == f"neurons/report.html#unit-{unit}"
        tab.goto(str(links.first.evaluate("link => link.href")))
        assert tab.locator("article.here").get_attribute("id") == f"unit-{unit}"

    def test_without_a_report_they_are_plain(self, show: Any) -> None:
        tab = show(make_page([captioning()]))
        assert tab.locator("td.unit").count() > 1
        assert tab.locator("td.unit a").count() == 0
