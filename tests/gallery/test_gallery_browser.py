"""The gallery in a browser, opened from disk: what a person sees and does. Skipped where there is no Chromium or no playwright."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import browser as headless
from tests.support.run_folders import make_run
from vlcam.gallery import make_gallery
from vlcam.gallery.run_tables import list_parts, read_photos

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page

READY = "() => document.documentElement.dataset.ready === 'yes' && [...document.querySelectorAll('.tile img')].every((one) => one.complete)"


@pytest.fixture
def show(chromium: "Browser") -> Iterator[Any]:
    """Opens a gallery; afterwards there must be no message and no dialog, and no request but for files beside the page."""
    opened: list[tuple[Any, headless.Record, Path]] = []

    def opener(home: Path, address: str = "", *, width: int = 1280, height: int = 900, scheme: str = "light") -> "Page":
        page = home / "index.html"
        tab = headless.reopened(chromium, page, width=width, height=height, scheme=scheme)
        found: Page
        found, record = tab.__enter__()
        opened.append((tab, record, home))
        if address:
            found.goto("about:blank")
            found.goto(page.as_uri() + address)
        found.wait_for_function(READY)
        return found

    yield opener
    for tab, record, home in opened:
        tab.__exit__(None, None, None)
        assert record.messages == [] and record.dialogs == []
        others = [
            url for url in record.requests if not url.startswith((home.as_uri(), "data:image/jpeg;base64,", "about:"))
        ]
        assert others == []


def names(tab: "Page") -> list[str]:
    """What the tiles that exist are of, in reading order."""
    found: list[str] = tab.evaluate("[...document.querySelectorAll('.tile .name')].map((one) => one.textContent)")
    return found


def files(tab: "Page") -> list[str]:
    found: list[str] = tab.evaluate("[...document.querySelectorAll('.tile .file')].map((one) => one.textContent)")
    return found


def count(tab: "Page") -> str:
    return tab.locator("#count").inner_text()


def address(tab: "Page") -> str:
    return str(tab.evaluate("location.hash"))


def focused(tab: "Page") -> str:
    return str(tab.evaluate("document.activeElement.dataset.place ?? document.activeElement.id"))


def settle(tab: "Page") -> None:
    """Wait until what was typed has been taken up, and tiles have been filled."""
    tab.wait_for_timeout(250)
    tab.wait_for_function(READY)


def framed(tab: "Page", side: int = 0) -> "FrameLocator":
    """The page of the photo that is open, once it has been drawn."""
    frame = tab.frame_locator("#frames iframe").nth(side)
    frame.locator(".card").wait_for()
    return frame


@pytest.fixture
def run(classified: Path) -> Path:
    return classified / "_gallery"


# --- the grid -------------------------------------------------------------------------------------------------------------------


def test_only_what_is_near_the_screen_exists_and_is_loaded(chromium: "Browser", tmp_path: Path) -> None:
    make_run(tmp_path / "run", 300)
    page = make_gallery(tmp_path / "run")
    all_files = len(list((page.parent / "files-1" / "data").glob("tiles-*.js")))
    assert all_files > 8
    with headless.opened(chromium, page) as (tab, record):
        tab.wait_for_function(READY)
        assert 12 <= len(files(tab)) <= 40 and files(tab)[0] == "photo-000000.jpg"
        assert sum("/tiles-" in url for url in record.requests) <= 2
        assert not any("/page-" in url for url in record.requests)
        tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        settle(tab)
        assert files(tab)[-1] == "photo-000299.jpg" and len(files(tab)) <= 40
        assert sum("/tiles-" in url for url in record.requests) <= 5 < all_files
        assert record.messages == []


def test_a_tile_says_all_without_colours(show: Any, run: Path) -> None:
    tab = show(run)
    entry = next(read_photos(list_parts(run.parent)[0]))
    first = tab.locator(".tile").first
    label = first.get_attribute("aria-label")
    assert label.startswith(f"{entry.label}, ") and "photo-000000.jpg" in label and label.endswith("1 of 60")
    wrong = tab.locator(".tile.mistake").first
    assert "✗ true: “" in wrong.inner_text() and "✗ true: “" in wrong.get_attribute("aria-label")
    assert wrong.evaluate("(one) => getComputedStyle(one).borderStyle") == "dashed"
    assert "✓ Right" in tab.locator(".tile:not(.mistake)").first.inner_text()
    # The line at half of the peak: near-white pixels beside the colours, which go with the switch.
    white = """() => {
      const canvas = document.querySelector('.tile canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let n = 0;
      for (let i = 0; i < data.length; i += 4) n += data[i + 3] > 200 && Math.min(data[i], data[i + 1], data[i + 2]) > 235;
      return n;
    }"""
    assert tab.evaluate(white) > 30
    tab.locator("#line").uncheck()
    assert tab.evaluate(white) == 0


def test_the_map_is_where_its_peak_is(show: Any, run: Path) -> None:
    tab = show(run)
    for place, entry in zip(range(4), read_photos(list_parts(run.parent)[0]), strict=False):
        row = entry.rows[0]
        if row.map is None:
            continue
        y, x = divmod(int(row.map.argmax()), row.map.shape[1])
        tab.locator("#line").uncheck()
        alpha = tab.evaluate(
            """([place, x, y]) => { const canvas = document.querySelector(`[data-place='${place}'] canvas`);
            return canvas.getContext('2d').getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3]; }""",
            [place, (x + 0.5) / row.map.shape[1], (y + 0.5) / row.map.shape[0]],
        )
        assert alpha > 190


def test_empty_maps_failures_and_missing_pictures_are_named(show: Any, run: Path, told: Path) -> None:
    tab = show(run, "#map=zero&show=maps")
    assert {one.inner_text() for one in tab.locator(".badge").all()} == {"∅ Empty map: no evidence"}
    tab = show(run, "#error=only")
    assert count(tab) == "1 photo of 60."
    assert "⚠ Failed" in tab.locator(".tile").inner_text() and "cut short" in tab.locator(".tile").get_attribute(
        "aria-label"
    )
    tab = show(told / "_gallery")
    assert [one.inner_text() for one in tab.locator(".badge").all()].count("No picture") == 1


def test_photos_without_thumbnails_still_have_their_numbers(show: Any, own_copy: Path) -> None:
    for part in (own_copy / "_photos").glob("part-*.parquet"):
        table = pq.read_table(part)
        at = table.schema.get_field_index("thumbnail")
        pq.write_table(table.set_column(at, table.schema.field(at), pa.nulls(len(table), pa.binary())), part)
    make_gallery(own_copy)
    tab = show(own_copy / "_gallery")
    assert "No picture" in tab.locator(".tile").first.inner_text()
    tab.locator(".tile").first.click()
    assert framed(tab).locator(".rows button").count() == 3


# --- filters, sorting, groups ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def entries(classified: Path) -> list[Any]:
    return [one for part in list_parts(classified) for one in read_photos(part)]


FILTERS: tuple[tuple[str, Any], ...] = (
    ("right=wrong", lambda one: one.correct is False),
    ("said=red barn", lambda one: one.label == "red barn"),
    ("truth=dog", lambda one: one.truth == "dog"),
    ("error=none", lambda one: one.error is None),
    ("conf=90..", lambda one: any(row.probability >= 0.9 for row in one.rows)),
    ("conf=..5&p=..0.05", lambda one: any(row.probability <= 0.05 and row.p <= 0.05 for row in one.rows)),
    ("gain=-1..0.5", lambda one: any(-1 <= row.gain <= 0.5 for row in one.rows)),
    ("map=faint,negative", lambda one: any(row.faintness >= 20 or row.flag == "negative" for row in one.rows)),
    ("target=zebra", lambda one: any(row.target == "zebra" for row in one.rows)),
    ("q=ROOF+edge", lambda one: any("roof edge" in row.neurons for row in one.rows)),
    ("q=photo-00003", lambda one: one.name.startswith("photo-00003")),
)
SORTS: tuple[tuple[str, Any], ...] = (
    ("sure", lambda one: -one.rows[0].probability),
    ("p", lambda one: one.rows[0].p),
    ("gain", lambda one: -one.rows[0].gain),
    ("mistakes", lambda one: (one.correct is not False, -one.rows[0].probability)),
)


def go(tab: "Page", asked: str) -> None:
    """Change the address, as a link or the back button does."""
    tab.evaluate("(asked) => { location.hash = asked; }", asked)
    tab.wait_for_timeout(50)


def test_filters_and_sorting_do_what_they_say(show: Any, run: Path, entries: list[Any]) -> None:
    tab = show(run, height=6000)
    for asked, passes in FILTERS:
        go(tab, asked)
        wanted = [one.name for one in entries if passes(one)]
        assert 0 < len(wanted) < 60 and files(tab) == wanted, asked
        assert count(tab) == f"{len(wanted)} photo{'' if len(wanted) == 1 else 's'} of 60."
    for asked, key in SORTS:
        go(tab, f"sort={asked}")
        known = sorted((one for one in entries if one.rows), key=key)
        assert files(tab) == [one.name for one in [*known, *(one for one in entries if not one.rows)]], asked
    go(tab, "show=maps&conf=20..60")
    assert names(tab) == [row.target for one in entries for row in one.rows if 0.2 <= row.probability <= 0.6]
    tab.locator("#clear").click()
    settle(tab)
    assert count(tab) == "178 maps of 60 photos." and address(tab) == "#show=maps"


def test_groups_of_confused_classes(show: Any, run: Path, entries: list[Any]) -> None:
    tab = show(run, "#group=pair&right=wrong", height=6000)
    heads = [one.inner_text().split("\n")[0] for one in tab.locator("h2.group").all()]
    pairs = {(one.truth, one.label) for one in entries if one.correct is False}
    assert set(heads) == {f"True “{truth}”, model said “{label}”" for truth, label in pairs} and len(heads) == len(
        pairs
    )
    order = tab.evaluate("[...document.querySelectorAll('#grid > *')].map((one) => one.tagName)")
    assert order[0] == "H2" and order[1] == "BUTTON"  # in the order of reading
    tops = tab.evaluate("[...document.querySelectorAll('#grid > *')].map((one) => one.getBoundingClientRect().top)")
    assert tops == sorted(tops)


def test_what_is_typed_and_chosen_is_in_the_address(show: Any, run: Path) -> None:
    tab = show(run)
    tab.locator("#q").fill("kite")
    tab.locator("#right").select_option("wrong")
    tab.locator("#conf-from").fill("10")
    tab.locator("#sort").select_option("sure")
    tab.locator("#map input[value=clear]").check()
    settle(tab)
    assert address(tab) == "#q=kite&right=wrong&conf=10..&map=clear&sort=sure"
    before, said = files(tab), count(tab)
    again = show(run, address(tab))
    assert (files(again), count(again)) == (before, said)
    assert again.locator("#q").input_value() == "kite" and again.locator("#conf-from").input_value() == "10"
    assert again.locator("#map input[value=clear]").is_checked()


def test_numbers_may_have_a_comma_and_what_is_none_is_marked(show: Any, run: Path, entries: list[Any]) -> None:
    tab = show(run, height=6000)
    tab.locator("#conf-from").fill("50,5")
    tab.locator("#gain-to").fill("2.")
    settle(tab)
    assert address(tab) == "#conf=50.5..&gain=..2"
    wanted = [one.name for one in entries if any(row.probability >= 0.505 and row.gain <= 2 for row in one.rows)]
    assert files(tab) == wanted and wanted
    tab.locator("#conf-from").fill("many")
    settle(tab)
    assert tab.locator("#conf-from").get_attribute("aria-invalid") == "true" and address(tab) == "#gain=..2"


def test_an_address_of_nonsense_does_no_harm(show: Any, run: Path) -> None:
    tab = show(run, "#conf=a..b&sort=constructor&group=toString&open=999999.4&show=%00&q=%E0%A4%A&map=x&said=__proto__")
    assert tab.locator("#nothing").is_visible() and not tab.locator("#dialog").is_visible()
    tab.locator("#clear").click()
    settle(tab)
    assert count(tab) == "60 photos."


# --- one photo --------------------------------------------------------------------------------------------------------------------


def test_a_tile_opens_the_whole_explanation(show: Any, run: Path) -> None:
    tab = show(run)
    tab.locator(".tile").nth(2).click()
    assert address(tab) == "#open=2.0" and tab.locator("#dialog-title").inner_text() == "photo-000002.jpg"
    inside = framed(tab)
    assert inside.locator(".rows button").count() == 3
    assert inside.locator(".stage img").evaluate("(one) => one.naturalWidth") > 100
    assert "Named neurons" in inside.locator("body").inner_text()
    tab.locator("#next").click()
    assert tab.locator("#dialog-place").inner_text() == "4 of 60" and address(tab) == "#open=3.0"
    tab.locator("#close").click()
    assert not tab.locator("#dialog").is_visible() and address(tab) == "" and focused(tab) == "3"


def test_the_map_of_the_tile_is_the_one_shown(show: Any, told: Path) -> None:
    tab = show(told / "_gallery", "#show=maps")
    place = names(tab).index("church")
    tab.locator(".tile").nth(place).click()
    framed(tab).locator("button.shown .name", has_text="church").wait_for()
    assert framed(tab).locator('[aria-pressed="true"]').count() == 0


def test_back_closes_and_a_link_opens(show: Any, run: Path) -> None:
    tab = show(run, "#right=right")
    tab.locator(".tile").nth(1).click()
    link = address(tab)
    tab.go_back()
    assert not tab.locator("#dialog").is_visible() and address(tab) == "#right=right"
    tab.go_forward()
    assert tab.locator("#dialog").is_visible()
    tab = show(run, link)
    assert tab.locator("#dialog").is_visible() and framed(tab).locator(".rows button").count() == 3


def test_a_failed_photo_says_why(show: Any, failed: Path) -> None:
    make_gallery(failed)
    tab = show(failed / "_gallery")
    assert count(tab) == "3 photos." and tab.locator(".tile").count() == 3
    tab.locator(".tile").first.click()
    assert "no. 0" in framed(tab).locator(".status").inner_text()


def test_an_empty_run_says_so(show: Any, empty: Path) -> None:
    make_gallery(empty)
    tab = show(empty / "_gallery")
    assert tab.locator("#nothing").inner_text() == "This run has no photos." and count(tab) == "0 photos."


def test_a_missing_file_is_named(chromium: "Browser", own_copy: Path) -> None:
    (own_copy / "_gallery" / "files-1" / "data" / "tiles-0000.js").unlink()
    with headless.opened(chromium, own_copy / "_gallery" / "index.html") as (tab, _):
        tab.wait_for_function(READY)
        tab.wait_for_selector(".badge:not(:empty)")
        assert "Its file can't be loaded" in tab.locator(".badge").first.inner_text()
        (own_copy / "_gallery" / "files-1" / "data" / "index-0000.js").unlink()
        tab.reload()
        tab.wait_for_selector("#nothing:not([hidden])")
        assert "The gallery isn't whole: index-0000.js can't be loaded" in tab.locator("#nothing").inner_text()


# --- the keyboard -----------------------------------------------------------------------------------------------------------------


def test_everything_goes_by_keyboard(show: Any, run: Path) -> None:
    tab = show(run)
    tab.keyboard.press("/")
    assert focused(tab) == "q"
    tab.keyboard.type("photo-0000")
    tab.keyboard.press("Enter")
    assert focused(tab) == "0"
    columns = int(
        tab.evaluate(
            "new Set([...document.querySelectorAll('.tile')].map((one) => one.getBoundingClientRect().left)).size"
        )
    )
    assert columns == 4
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 5),
        ("ArrowLeft", 4),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", 59),
        ("ArrowRight", 59),
        ("Home", 0),
    ):
        tab.keyboard.press(key)
        assert focused(tab) == str(place), key
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert tab.locator("#dialog").is_visible() and tab.locator("#dialog-place").inner_text() == "5 of 60"
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#dialog-place").inner_text() == "6 of 60"
    tab.keyboard.press("Escape")
    assert not tab.locator("#dialog").is_visible() and focused(tab) == "5"
    tab.keyboard.press("/")
    tab.keyboard.press("Escape")
    assert tab.locator("#q").input_value() == "" and count(tab) == "60 photos."
    tab.keyboard.press("Escape")
    assert focused(tab) == "0"


def test_escape_in_the_explanation_releases_first_and_closes_then(show: Any, run: Path) -> None:
    tab = show(run)
    tab.locator(".tile").first.click()
    framed(tab).locator(".rows button").nth(1).click()
    assert framed(tab).locator('[aria-pressed="true"]').count() == 1
    tab.keyboard.press("Escape")
    assert framed(tab).locator('[aria-pressed="true"]').count() == 0 and tab.locator("#dialog").is_visible()
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#dialog", state="hidden")


def test_the_skip_link_goes_to_the_photos_and_keeps_the_address(show: Any, run: Path) -> None:
    tab = show(run, "#right=wrong")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    assert focused(tab) == "0" and address(tab) == "#right=wrong"


def test_tab_stops_at_one_tile(show: Any, run: Path) -> None:
    tab = show(run)
    assert tab.locator(".tile[tabindex='0']").count() == 1
    tab.evaluate("scrollTo(0, 2500)")
    settle(tab)
    stop = tab.locator(".tile[tabindex='0']")
    assert stop.count() == 1 and stop.bounding_box()["y"] >= 0


def test_arrows_go_from_group_to_group(show: Any, run: Path) -> None:
    tab = show(run, "#group=said")
    sizes = tab.evaluate("[...document.querySelectorAll('h2 .many')].map((one) => parseInt(one.textContent))")
    tab.locator(".tile").first.focus()
    for _ in range((sizes[0] + 3) // 4):
        tab.keyboard.press("ArrowDown")
    assert focused(tab) == str(sizes[0])
    tab.keyboard.press("ArrowUp")
    assert int(focused(tab)) == (sizes[0] - 1) // 4 * 4


# --- all eyes and hands -------------------------------------------------------------------------------------------------------------


def check_axe(tab: "Page") -> None:
    """Axe finds nothing."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(tab, options={"preload": False, "iframes": False}).response["violations"]
    assert found == [], json.dumps([(one["id"], [node["target"] for node in one["nodes"][:3]]) for one in found])


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.extended)])
def test_axe_finds_nothing(width: int, scheme: str, show: Any, run: Path, two: Path) -> None:
    tab = show(run, "#group=pair", width=width, scheme=scheme)
    check_axe(tab)
    tab.locator("#filters").evaluate("(one) => { one.open = true; }")
    tab.locator("footer summary").click()
    check_axe(tab)
    tab.locator(".tile").first.click()
    assert framed(tab).locator(".rows button").count() == 3
    check_axe(tab)
    check_axe(show(two / "gallery", width=width, scheme=scheme))


def test_axe_finds_nothing_on_the_page_of_a_photo(chromium: "Browser", run: Path) -> None:
    with headless.opened(chromium, run / "files-1" / "view.html") as (tab, _):
        for asked in ("?side=0&photo=0", "?side=0&photo=41", "?photo=nonsense"):
            tab.goto((run / "files-1" / "view.html").as_uri() + asked)
            tab.wait_for_selector(".card")
            check_axe(tab)


@pytest.mark.parametrize(
    "width", [pytest.param(320, marks=pytest.mark.extended), 390, pytest.param(768, marks=pytest.mark.extended)]
)
def test_nothing_runs_over_the_side(width: int, show: Any, run: Path, two: Path, attacked: Path) -> None:
    for home in (run, two / "gallery", attacked / "_gallery"):
        tab = show(home, width=width)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(
            "[...document.querySelectorAll('.tile')].every((one) => one.scrollWidth <= one.clientWidth)"
        )


def test_texts_are_large_enough(show: Any, run: Path) -> None:
    tab = show(run)
    sizes = tab.evaluate(
        """[...document.querySelectorAll('.tile span, select, input, button, .lead, #count')]
        .filter((one) => one.childNodes.length && one.textContent.trim()).map((one) => parseFloat(getComputedStyle(one).fontSize))"""
    )
    assert min(sizes) >= 15 and sum(size < 16 for size in sizes) <= len(sizes) / 10


# --- hostile texts ------------------------------------------------------------------------------------------------------------------


def test_hostile_texts_stay_texts(show: Any, attacked: Path) -> None:
    tab = show(attacked / "_gallery", "#group=said", height=3000)
    entry = next(read_photos(list_parts(attacked)[0]))
    assert entry.label is not None and entry.label in tab.evaluate("document.querySelector('#grid').textContent")
    assert tab.locator("script:not([src])").count() == 0 and tab.locator("#grid svg").count() == 0
    tab.locator("#q").fill("</script>")
    settle(tab)
    assert "photos of " in count(tab)
    tab.locator(".tile").first.click()
    assert entry.name in framed(tab).locator("body").inner_text()


# --- two runs -----------------------------------------------------------------------------------------------------------------------


def test_a_comparison_shows_both_maps_of_a_pair(show: Any, two: Path) -> None:
    tab = show(two / "gallery")
    first = tab.locator(".tile").first
    assert first.locator("canvas").count() == 2 and first.locator(".letter").all_inner_texts() == ["A", "B"]
    assert "disagreement" in first.inner_text() and "A: " in first.get_attribute("aria-label")
    values = [
        float(text.split("disagreement ")[1])
        for text in tab.locator(".apart").all_inner_texts()
        if "disagreement" in text
    ]
    assert values == sorted(values, reverse=True) and len(values) > 4
    first.click()
    assert tab.locator("#frames h3").all_inner_texts() == ["A: a (gradcam)", "B: b (layercam)"]
    shown = [framed(tab, side).locator("button.shown .name").inner_text() for side in (0, 1)]
    assert shown == [first.locator(".name").nth(side).inner_text() for side in (0, 1)]


def test_a_pair_is_drawn_on_one_scale(show: Any, two: Path) -> None:
    tab = show(two / "gallery")
    strongest = """() => {
      const most = (canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.reduce((high, value, i) => (i % 4 === 3 ? Math.max(high, value) : high), 0);
      };
      return [...document.querySelectorAll('.tile')].slice(0, 6).map((tile) => [...tile.querySelectorAll('canvas')].map(most));
    }"""
    tab.locator("#line").uncheck()
    shared = tab.evaluate(strongest)
    tab.locator("#shared").uncheck()
    own = tab.evaluate(strongest)
    assert all(max(pair) > 200 for pair in shared) and any(min(pair) < 150 for pair in shared)
    assert all(min(pair) > 200 for pair in own)


def test_filters_of_a_comparison(show: Any, two: Path) -> None:
    tab = show(two / "gallery", "#labels=same", height=6000)
    assert tab.locator(".tile").count() and all(
        "Different labels" not in text for text in tab.locator(".apart").all_inner_texts()
    )
    go(tab, "labels=different&apart=..0.9")
    texts = tab.locator(".apart").all_inner_texts()
    assert texts and all(
        "≠ Different labels" in text and float(text.split("disagreement ")[1]) <= 0.9 for text in texts
    )
    go(tab, "right=first")
    assert tab.locator(".tile").count() and all(
        "✓" in text and "✗" in text for text in tab.locator(".sides").all_inner_texts()
    )
