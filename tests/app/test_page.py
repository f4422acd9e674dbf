"""The page in a real browser: pick and upload, ask, point at words, switch method and layer, test, stop; and what it refuses."""

import json
import re
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from PIL import Image

import vlcam
from tests.support import browser as headless
from vlcam.scenes.sample import make

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(bool(headless.missing()), reason=headless.missing() or "there is one"),
]
WAIT = 40_000


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page of the bundled models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("gradio", reason="the extra 'app' isn't installed")
        from vlcam.app import serve_app

        with serve_app(port=0) as served:
            yield served


@pytest.fixture
def tab(chromium: "Browser", address: str) -> Iterator["Page"]:
    """A fresh visit; in the end nothing must have been asked of any other server, and no script have failed."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(WAIT)
    elsewhere: list[str] = []
    faults: list[str] = []
    own = (address, "data:", "blob:", "about:")
    page.on("request", lambda one: elsewhere.append(one.url) if not one.url.startswith(own) else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    page.get_by_role("button", name="Explain").wait_for()
    yield page
    context.close()
    assert (elsewhere, faults) == ([], [])


def pick(tab: "Page", number: int) -> "FrameLocator":
    """Pick a generated picture; the frame with its explanation."""
    tab.locator(".vlcam-scenes .thumbnail-item").nth(number).click()
    return find_frame(tab)


def find_frame(tab: "Page") -> "FrameLocator":
    tab.locator("iframe.vlcam-page").wait_for()
    return tab.frame_locator("iframe.vlcam-page")


def choose(tab: "Page", label: str, text: str) -> None:
    """Choose an entry of a list by a part of it."""
    tab.get_by_label(label, exact=True).click()
    tab.get_by_role("option", name=re.compile(re.escape(text))).first.click()


def test_a_picture_is_captioned_and_its_words_are_pointed_at(tab: "Page") -> None:
    frame = pick(tab, 0)
    words = frame.locator(".word")
    assert words.count() >= 6
    said = []
    for number in (1, 4):
        words.nth(number).hover()
        said.append(frame.locator(".status").inner_text())
        assert words.nth(number).inner_text().split()[0] in said[-1]
    assert said[0] != said[1]


def test_an_upload_is_asked_a_question_and_its_map_is_tested(tab: "Page", tmp_path: Path) -> None:
    file = tmp_path / "my scene.png"
    Image.fromarray(make(12, "test").image(200)).save(file)
    tab.get_by_label("Answer", exact=True).check()
    tab.get_by_label("Question").wait_for()
    tab.locator(".vlcam-upload input[type=file]").set_input_files(str(file))
    tab.get_by_text("no question was given; type one").wait_for()
    tab.get_by_label("Question").fill("what colour is the star")
    tab.get_by_label("Answers, and contrasts").fill("orange; orange rather than red")
    tab.get_by_role("button", name="Explain").click()
    frame = find_frame(tab)
    frame.get_by_text("orange rather than red").first.wait_for()
    assert "my scene.png" in frame.locator("h1").inner_text()
    tab.get_by_role("button", name="Test maps").click()
    tab.get_by_text("Tested: the verdict is beside each map").wait_for(timeout=200_000)
    assert "random regions and" in frame.locator("main").inner_text()


def test_classes_contrasts_method_and_layer_are_switched(tab: "Page") -> None:
    tab.get_by_label("Classes", exact=True).check()
    tab.get_by_label("Classes, and contrasts").fill("orange star; red square rather than green circle")
    frame = pick(tab, 0)
    frame.get_by_text("red square rather than green circle").first.wait_for()
    choose(tab, "Method", "(layercam)")
    frame.get_by_text("layercam", exact=True).first.wait_for()
    choose(tab, "Layer", "features.14")
    frame.get_by_text("features.14", exact=True).first.wait_for()
    tab.get_by_label("Classes, and contrasts").fill("red stra")
    tab.get_by_role("button", name="Explain").click()
    alert = tab.locator(".vlcam-error")
    alert.wait_for()
    assert "no class 'red stra'; the nearest it has: 'red star'" in alert.inner_text()
    assert tab.get_by_role("button", name="Test maps").is_enabled()  # what was explained before is still there


def test_a_long_method_shows_progress_and_is_stopped(tab: "Page") -> None:
    tab.get_by_label("Classes", exact=True).check()
    pick(tab, 1)
    choose(tab, "Method", "(rise)")
    tab.get_by_text(re.compile(r"Explaining - ")).first.wait_for()
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_text("Stopped.").wait_for()
    choose(tab, "Method", "(hirescam)")
    find_frame(tab).get_by_text("hirescam", exact=True).first.wait_for()


def test_files_that_are_no_photos_are_refused_in_the_page(tab: "Page", tmp_path: Path) -> None:
    broken, large = tmp_path / "broken.png", tmp_path / "large.png"
    broken.write_bytes(b"no picture")
    Image.new("1", (10000, 6000)).save(large)
    for file, text in ((broken, "broken.png"), (large, "large.png")):
        tab.locator(".vlcam-upload input[type=file]").set_input_files(str(file))
        alert = tab.locator(".vlcam-error", has_text=text)
        alert.wait_for()
        assert "Traceback" not in tab.content() and tab.locator("iframe.vlcam-page").count() == 0
        tab.get_by_role("button", name=re.compile("remove|clear", re.IGNORECASE)).first.click()
        tab.get_by_text("Click to Upload").wait_for()
    tab.get_by_role("button", name="Explain").click()
    tab.get_by_text("Pick a picture, or upload a photo, first.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_and_nothing_sticks_out(tab: "Page", scheme: Any, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 900})
    pick(tab, 2)
    found = axe.Axe().run(tab, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
    own = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
    assert own == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


# --- what it refuses ------------------------------------------------------------------------------------------------------------


def ask(url: str, data: Any = None, **headers: str) -> tuple[int, str]:
    """The status and the text of an answer."""
    body = None if data is None else json.dumps(data).encode()
    try:
        with urlopen(Request(url, body, {"content-type": "application/json", **headers}), timeout=30) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def call(address: str, name: str, value: Any) -> str:
    """What the server says when an event of the page is sent with a value of one's own."""
    config = json.loads(ask(f"{address}config")[1])
    number = next(one["id"] for one in config["dependencies"] if one["api_name"] == name)
    session = {"session_hash": "abc", "fn_index": number, "data": [value, None], "trigger_id": None}
    status, text = ask(f"{address}gradio_api/queue/join", session)
    if status != 200:
        return text
    with urlopen(f"{address}gradio_api/queue/data?session_hash=abc", timeout=30) as stream:
        for line in stream:
            if b"process_completed" in line:
                return str(line.decode())
    return ""


@pytest.fixture
def neighbour() -> Iterator[tuple[str, list[str]]]:
    """Another server on this machine, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/photo.png", asked
    server.shutdown()
    server.server_close()


def test_addresses_and_files_of_the_machine_are_not_opened(address: str, neighbour: tuple[str, list[str]]) -> None:
    url, asked = neighbour
    meta = {"_type": "gradio.FileData"}
    assert '"success":true' in call(address, "receive", None).replace(
        " ", ""
    )  # what is asked here is what the page asks
    for path in (url, "https://example.org/photo.png", "/etc/passwd", "../../etc/passwd", "file:///etc/passwd"):
        for given in ({"path": path, "meta": meta}, {"path": path, "url": path, "meta": meta}):
            answer = call(address, "receive", given)
            assert '"success":false' in answer.replace(" ", ""), (path, answer[:300])
            assert "root:" not in answer
    assert asked == []


def test_no_other_file_is_served_and_no_other_name_is_answered(address: str) -> None:
    here = Path(vlcam.__file__).resolve()
    for path in ("/etc/passwd", str(here), "../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd"):
        status, text = ask(f"{address}gradio_api/file={path}")
        assert status in (400, 403, 404) and "root:" not in text, path
    for path in (f"gradio_api/proxy={address}", "docs", "openapi.json", "gradio_api/mcp/sse", "monitoring"):
        status, text = ask(f"{address}{path}")
        assert status >= 400 or "gradio" in text.lower(), path
    assert ask(address, Host="evil.example")[0] == 400


def test_headers_keep_everything_on_this_machine(address: str) -> None:
    with urlopen(address, timeout=30) as answer:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "http" not in policy
        assert answer.headers["x-frame-options"] == "DENY" and answer.headers["referrer-policy"] == "no-referrer"
    config = json.loads(ask(f"{address}config")[1])
    assert config["analytics_enabled"] is False and not config.get("is_space")
    assert all(one.get("api_visibility", "private") == "private" for one in config["dependencies"])
