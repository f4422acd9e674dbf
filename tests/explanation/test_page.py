"""The interactive page as a text: its data, its policy, its escaping. Its behaviour is in test_page_browser.py."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.examples_of_explanations import (
    CAPTION,
    PAYLOADS,
    blob,
    captioning,
    certain,
    classification,
    cropped,
    explanation,
    hostile,
    photo,
    vqa,
    weighed,
)
from vlcam.contracts import InputError, Target
from vlcam.explanation.document import make_document
from vlcam.explanation.notebook import make_cell
from vlcam.explanation.page import make_page
from vlcam.render.blending import OPACITY
from vlcam.render.html import embed, read_template

if TYPE_CHECKING:
    pass


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
    def test_maps_come_back_from_the_make_page(self) -> None:
        found = captioning()
        for view, target in zip(found, make_document(found)["targets"], strict=True):
            if view.flag != "ok":
                assert target["map"] is None
                continue
            raw = np.frombuffer(base64.b64decode(target["map"]), "<i2").reshape(14, 14) / 32767 * target["peak"]
            assert np.abs(raw - view.map.numpy()).max() <= 2e-5 * float(view.map.max())

    def test_tiny_and_huge_maps(self) -> None:
        targets = [Target("tiny", "class"), Target("huge", "class")]
        found = explanation("classification", targets, [blob(0.5, 0.5) * 1e-12, blob(0.5, 0.5) * 1e12], text="")
        tiny, huge = make_document(found)["targets"]
        assert tiny["map"] == huge["map"]
        assert tiny["peak"] == pytest.approx(1e-12, rel=0.05)

    def test_pieces_give_the_caption_back(self) -> None:
        found = captioning()
        pieces = make_document(found)["pieces"]
        assert "".join(piece if isinstance(piece, str) else found[piece].label for piece in pieces) == CAPTION
        assert [piece for piece in pieces if isinstance(piece, int)] == list(range(10))

    def test_a_question_is_cut_at_its_words(self) -> None:
        found = make_document(weighed())
        assert found["asked"] == [["What"], " ", ["colour"], " ", ["is"], " ", ["the"], " ", ["barn"], "?"]
        assert [one["text"] for one in found["targets"][1]["reading"]] == ["−0.5", "+0.3", "0", "+0.001", "−1.2"]
        assert make_document(vqa())["asked"] == []

    def test_gain_certainty_measure_and_notes(self) -> None:
        found = make_document(certain())
        assert found["notes"] == ["Nats from the image."]
        assert [target["gain"] for target in found["targets"][:5]] == [
            "", "+0.4\xa0nats", "+0.8\xa0nats", "+1.2\xa0nats", "−1.2\xa0nats",
        ]  # fmt: skip
        assert [n for n, target in enumerate(found["targets"]) if target["certain"]] == [6, 8]
        assert "measure='logit'" in found["targets"][6]["noticeLong"]
        assert [target["scoreName"] for target in found["targets"][-3:]] == [
            "log-probability",
            "difference",
            "difference",
        ]
        assert make_document(replace(certain(), targets=captioning().targets))["targets"][6]["scoreName"] == "score"

    def test_words_without_a_span_are_not_lost(self) -> None:
        targets = [Target("two", "word", span=(4, 7)), Target("extra", "word")]
        pieces = make_document(explanation("captioning", targets, [blob(0.5, 0.5)] * 2, text="one two three"))["pieces"]
        assert pieces == ["one ", 0, " three", 1]

    def test_the_geometry_maps_photo_to_input(self) -> None:
        found = make_document(classification(geometry=cropped()))
        (scale, _), (offset, _) = found["toInput"]
        left, _, right, _ = found["seen"]
        assert left * scale + offset == pytest.approx(0, abs=1e-5)
        assert right * scale + offset == pytest.approx(1, abs=1e-5)

    def test_every_number_is_json(self) -> None:
        targets = [Target("x", "class", float("nan"), float("nan")), Target("y", "class", float("inf"), None)]
        bad = torch.full((14, 14), float("inf"))
        json.dumps(make_document(explanation("classification", targets, [bad, -bad], text="")), allow_nan=False)

    def test_large_photos_are_reduced_and_small_ones_kept(self) -> None:
        for height, width, kind in ((600, 3000, "jpeg"), (96, 96, "png")):
            picture = photo(pixels=np.zeros((height, width, 3), np.uint8))
            found = explanation("classification", [Target("x", "class")], [blob(0.5, 0.5)], text="", picture=picture)
            shown = make_document(found)["photo"]
            assert shown["uri"].startswith(f"data:image/{kind};base64,")
            assert shown["size"] == [width, height]
            kept = Image.open(BytesIO(base64.b64decode(shown["uri"].partition(",")[2])))
            assert max(kept.size) == min(max(height, width), 960)


class TestText:
    def test_nothing_comes_from_outside(self) -> None:
        text = make_page([captioning(), vqa(), classification()])
        outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*|@import|url\(", text.replace("url(#hatch)", ""))
        assert not [address for address in outside if "www.w3.org/2000/svg" not in address]
        for tag, attributes in Elements(text).found:
            assert tag not in ("link", "iframe", "object", "embed", "base")
            assert "src" not in attributes

    def test_no_inline_handlers_or_styles(self) -> None:
        for _, attributes in Elements(make_page([captioning()])).found:
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]

    def test_the_policy_allows_exactly_this_script_and_style(self) -> None:
        elements = Elements(make_page([captioning()]))
        policy = next(attributes["content"] for tag, attributes in elements.found if "http-equiv" in attributes)
        assert policy is not None
        rules = {name: values for name, *values in (rule.split() for rule in policy.split(";"))}

        def hashed(text: str) -> str:
            return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

        assert rules["default-src"] == ["'none'"]
        assert rules["script-src"] == [hashed(text) for text in elements.texts["script"][1:]]
        assert rules["style-src"] == [hashed(elements.texts["style"][0])]
        assert rules["img-src"] == ["data:"]

    def test_the_script_never_parses_text_as_html(self) -> None:
        script = "".join(Elements(make_page([captioning()])).texts["script"][1:])
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in script

    def test_script_and_style_stay_small(self) -> None:
        script, style, *tools = (
            len(read_template("vlcam.explanation", name))
            for name in ("page.js", "page.css", "page_tools.js", "page_tools.css")
        )
        assert script + style < 40_000  # the cards
        assert sum(tools) < 13_500  # what stands beside them, and the frame of a notebook

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_payloads_stay_data(self, payload: str) -> None:
        text = make_page([hostile(payload)], title=payload)
        text.encode("utf-8")
        elements = Elements(text)
        plain = Elements(make_page([hostile("plain")], title="plain"))
        assert [tag for tag, _ in elements.found] == [tag for tag, _ in plain.found]
        found = data_of(text)["explanations"][0]
        for value in (found["question"], found["targets"][0]["label"], found["photo"]["name"], found["facts"]["model"]):
            assert value == payload

    def test_embedding_escapes_what_html_and_scripts_know(self) -> None:
        text = embed({"<a>&": "</script>\u2028\u2029\ud800"})
        assert not set(text) & set("<>&\u2028\u2029")
        assert json.loads(text) == {"<a>&": "</script>\u2028\u2029\ud800"}

    def test_it_is_the_same_every_time(self) -> None:
        assert make_page([captioning(), vqa()]) == make_page([captioning(), vqa()])

    def test_slider_starts_at_the_opacity_of_figures(self) -> None:
        slider = next(
            attributes for _, attributes in Elements(make_page([vqa()])).found if attributes.get("id") == "opacity"
        )
        assert slider["value"] == str(round(100 * OPACITY))

    def test_one_explanation_gives_the_page_its_name(self) -> None:
        assert Elements(make_page([captioning()])).texts["title"] == ["meadow.jpg: Caption"]
        assert Elements(make_page([captioning(), vqa()])).texts["title"] == ["vlcam"]
        assert Elements(make_page([captioning()], title="mine")).texts["title"] == ["mine"]

    def test_the_footer_follows_the_method(self) -> None:
        usual, against = classification(), replace(classification(), method="counterfactual")
        side = "the method found evidence {} the word"
        assert side.format("for") in make_page([usual])
        assert side.format("against") not in make_page([usual])
        assert side.format("against") in make_page([against])
        assert side.format("for") not in make_page([against])
        assert "For counterfactual it is the reverse: colour marks evidence against" in make_page([usual, against])

    def test_the_footer_tells_what_the_tint_of_a_question_means(self) -> None:
        assert "gradient times embedding" in make_page([captioning(), weighed()])
        assert "gradient times embedding" not in make_page([captioning(), vqa()])

    def test_every_percentage_stays_on_a_line_and_cards_may_break_in_print(self) -> None:
        style = Elements(make_page([captioning()])).texts["style"][0]
        printed = style[style.index("@media print {") :]
        assert "print-color-adjust: exact" in printed
        assert not re.search(r"\.card \{[^}]*break-inside", printed)
        assert re.search(r"\.percent[^{]*\{[^}]*white-space: nowrap", style)

    def test_no_explanations_is_an_error(self) -> None:
        with pytest.raises(InputError, match="needs at least one"):
            make_page([])

    def test_a_notebook_gets_a_sandboxed_frame(self) -> None:
        found = Elements(make_cell(hostile('"><script>'))).found
        assert [tag for tag, _ in found] == ["div", "img", "iframe", "script"]  # the payload made no element
        assert (found[1][1]["src"] or "").startswith("data:image/jpeg;base64,")  # stays where frames are taken out
        attributes = found[2][1]
        assert attributes["sandbox"] == "allow-scripts allow-downloads"
        assert attributes["srcdoc"] is not None
        assert attributes["srcdoc"].startswith("<!doctype html>")
