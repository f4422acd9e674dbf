"""Figures of explanations, and the words and numbers in them."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ImageDraw

from tests.support.examples_of_explanations import (
    blob,
    captioning,
    certain,
    classification,
    explanation,
    photo,
    vqa,
)
from vlcam.contracts import Geometry, InputError, Target
from vlcam.explanation.figures import draw_figure
from vlcam.explanation.numbers import format_factor, format_number, format_percent
from vlcam.explanation.wording import (
    compute_faintness,
    describe_place,
    find_peak,
    find_seen_part,
    find_shared_peaks,
    get_long_notice,
    get_notice,
    resize_geometry,
)


class TestReading:
    def test_places(self) -> None:
        spots = {
            (0.1, 0.1): "upper left", (0.5, 0.1): "top", (0.9, 0.1): "upper right", (0.1, 0.5): "left", (0.5, 0.5): "centre",
            (0.9, 0.5): "right", (0.1, 0.9): "lower left", (0.5, 0.9): "bottom", (0.9, 0.9): "lower right",
        }  # fmt: skip
        targets = [Target(name, "class") for name in spots.values()]
        found = explanation("classification", targets, [blob(*spot, 0.08) for spot in spots], text="")
        assert [describe_place(view) for view in found] == list(spots.values())

    def test_two_spots_have_the_place_of_the_stronger_one(self) -> None:
        targets = [Target(name, "class") for name in ("right", "left", "corner")]
        maps = [
            blob(0.1, 0.5, 0.08, 0.9) + blob(0.9, 0.5, 0.08, 1.0),
            blob(0.1, 0.5, 0.08, 1.0) + blob(0.9, 0.5, 0.08, 0.95),
            sum((blob(x, y, 0.08, 0.9) for x in (0.1, 0.9) for y in (0.1, 0.9)), start=blob(0.9, 0.1, 0.08, 0.1)),
        ]
        found = explanation("classification", targets, maps, text="")
        assert [describe_place(view) for view in found] == ["right", "left", "upper right"]

    def test_against_is_the_other_way_round(self) -> None:
        found = replace(classification(), method="counterfactual")
        found = replace(found, maps=torch.stack([-found.maps[1], *found.maps[1:]]))
        assert get_notice(found[0]) == "only evidence for"
        assert get_long_notice(found[0]).startswith("Only evidence for: nothing in the photo speaks against")
        assert get_notice(found[1]) == get_long_notice(found[1]) == ""
        assert get_notice(replace(found, method="gradcam")[0]) == "only evidence against"

    def test_how_much_fainter(self) -> None:
        found = classification()
        assert compute_faintness(found[1], 19 * find_peak(found[1])) == 0
        assert compute_faintness(found[1], 21 * find_peak(found[1])) == pytest.approx(21)
        assert [format_factor(x) for x in (20.4, 9999.0, 10000.0, 3112442379.0, 1e80)] == [
            "20", "9999", "1 × 10⁴", "3 × 10⁹", "1 × 10⁸⁰",
        ]  # fmt: skip

    def test_a_place_is_on_the_photo_not_on_the_input(self) -> None:
        # The model saw the left half only; the right edge of its input is the middle of the photo.
        half = Geometry((640, 448), (224, 224), (224 / 320, 0.5), (0.0, 0.0))
        found = explanation("classification", [Target("x", "class")], [blob(0.95, 0.5, 0.05)], text="x", geometry=half)
        assert describe_place(found[0]) == "centre"
        assert find_seen_part(half) == (0.0, 0.0, 0.5, 1.0)

    def test_no_place_for_flagged_and_even_maps(self) -> None:
        targets = [Target(str(n), "class") for n in range(4)]
        flat = torch.ones(14, 14)
        maps = [flat, -flat, 0 * flat, float("nan") * flat]
        found = explanation("classification", targets, maps, text="")
        assert [describe_place(view) for view in found] == ["spread out", "", "", ""]
        assert [find_peak(view) for view in found] == [1, 0, 0, 0]

    def test_kinds_have_their_own_scale(self) -> None:
        peaks = find_shared_peaks(captioning())
        assert peaks["word"] == pytest.approx(1.06, abs=0.01)
        assert peaks["caption"] > peaks["word"]

    def test_geometry_of_a_copy_at_another_size(self) -> None:
        small = resize_geometry(classification().geometry, 64, 112)
        assert small.photo_size == (64, 112)
        assert find_seen_part(small) == pytest.approx(find_seen_part(classification().geometry))

    @pytest.mark.parametrize(
        ("probability", "text"),
        [
            (0.0, "0.0 %"),
            (1e-9, "<0.1 %"),
            (0.0042, "0.4 %"),
            (0.5, "50 %"),
            (0.9951, "99.5 %"),
            (0.9999, ">99.9 %"),
            (1.0, "100 %"),
        ],
    )
    def test_percent(self, probability: float, text: str) -> None:
        assert format_percent(probability).replace("\xa0", " ") == text

    def test_numbers(self) -> None:
        assert [format_number(x) for x in (1234.5, 0.00012345, float("nan"))] == [
            "1.23e+03",
            "0.000123",
            "not a number",
        ]


class TestFigure:
    def test_size_follows_the_columns(self) -> None:
        found = classification()
        assert draw_figure(found, width=701).width == 701
        assert draw_figure(found, columns=1, width=300).width == 300
        assert draw_figure(found, columns=1, width=300).height > draw_figure(found, columns=3, width=300).height

    def test_it_is_the_same_every_time(self) -> None:
        assert draw_figure(captioning(), width=500).tobytes() == draw_figure(captioning(), width=500).tobytes()

    @pytest.mark.parametrize(("x", "y"), [(0.12, 0.12), (0.88, 0.12), (0.12, 0.88), (0.88, 0.88)])
    def test_the_map_lies_where_the_object_is(self, x: float, y: float) -> None:
        black = photo(pixels=np.zeros((200, 300, 3), np.uint8))
        spot = explanation("classification", [Target("spot", "class")], [blob(x, y, 0.06)], text="spot", picture=black)
        sheet = np.asarray(draw_figure(spot, columns=2, contour=False)).astype(int)
        # The panels are the only black objects.
        dark = (sheet.max(axis=2) < 25).all(axis=1) | (sheet[:, 40].max(axis=1) < 25)
        rows = np.flatnonzero(dark)
        tall = rows[-1] - rows[0] + 1
        wide = round(tall * 1.5)
        left = sheet.shape[1] - round(0.08 * 320) - wide
        panel = sheet[rows[0] : rows[-1] + 1, left : left + wide].sum(axis=2)
        row, column = np.unravel_index(panel.argmax(), panel.shape)
        assert abs(column / wide - x) < 0.06
        assert abs(row / tall - y) < 0.06

    def test_repeated_words_and_order(self) -> None:
        found = captioning()
        two = draw_figure(found, words=[("red", 0), ("red", 1)], width=400)
        assert two.tobytes() != draw_figure(found, words=[("red", 1), ("red", 0)], width=400).tobytes()

    def test_own_scales_differ_from_the_shared_one(self) -> None:
        found = vqa()
        assert draw_figure(found, width=500).tobytes() != draw_figure(found, scale="shared", width=500).tobytes()

    def test_flagged_maps_leave_the_photo(self) -> None:
        found = captioning()
        for label in ("a", "the", "barn rather than house"):
            sheet = np.asarray(draw_figure(found, words=[label], columns=2)).astype(int)
            panel, margin, gap = 320, 26, 19
            top = next(y for y in range(sheet.shape[0]) if (sheet[y, margin : margin + panel] < 250).all())
            first = sheet[top : top + 220, margin : margin + panel]
            second = sheet[top : top + 220, margin + panel + gap : margin + 2 * panel + gap]
            assert np.abs(first - second).max() < 12

    def test_odd_photos(self) -> None:
        for size in ((4, 300), (300, 4), (1, 1), (1, 600), (600, 1)):
            picture = photo(pixels=np.full((size[1], size[0], 3), 90, np.uint8))
            found = explanation("classification", [Target("x", "class")], [blob(0.5, 0.5)], text="x", picture=picture)
            assert draw_figure(found, width=300, columns=2).height < 2 * 150 + 150

    @pytest.mark.parametrize(
        ("width", "height", "wide", "tall"), [(1, 600, 40, 640), (600, 1, 320, 20), (100, 400, 160, 640)]
    )
    def test_thin_photos_fit_a_box_and_stay_visible(self, width: int, height: int, wide: int, tall: int) -> None:
        picture = photo(pixels=np.full((height, width, 3), 90, np.uint8))
        found = explanation("classification", [Target("x", "class")], [blob(0.5, 0.5)], text="x", picture=picture)
        sheet = np.asarray(draw_figure(found))
        grey = (sheet[:, : 26 + 320] == 90).all(axis=2)
        assert (grey.sum(axis=0) >= tall).sum() == wide
        assert (grey.sum(axis=1) >= wide).sum() == tall

    def test_memory_does_not_follow_the_photo(self) -> None:
        picture = photo(pixels=np.full((6000, 100, 3), 90, np.uint8))
        targets = [Target(name, "class") for name in "abc"]
        found = explanation("classification", targets, [blob(0.5, 0.5)] * 3, text="a", picture=picture)
        tracemalloc.start()
        try:
            draw_figure(found)
            assert tracemalloc.get_traced_memory()[1] < 50e6
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("ratio", [23.0, 3112442379.0])
    @pytest.mark.parametrize("width", [150, 400, 1100])
    def test_the_warning_about_a_faint_map_is_never_cut(
        self, ratio: float, width: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[str] = []
        draw = ImageDraw.ImageDraw.text

        def text(pen: Any, at: Any, text: str, *rest: Any, **more: Any) -> None:
            written.append(text)
            draw(pen, at, text, *rest, **more)

        monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
        targets = [Target("strong", "class"), Target("weak", "class")]
        found = explanation("classification", targets, [blob(0.5, 0.5), blob(0.5, 0.5) / ratio], text="")
        draw_figure(found, width=width, columns=3)
        assert [one for one in written if "faint" in one and "…" not in one]

    def test_gain_and_near_certainty_stand_under_the_map(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[str] = []
        monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda pen, at, text, *rest, **more: written.append(text))
        draw_figure(certain())
        assert [one for one in written if one.endswith("nats from the image")][:3] == [
            "+0.4 nats from the image", "+0.8 nats from the image", "+1.2 nats from the image",
        ]  # fmt: skip
        assert written.count("nearly certain: explain the logit instead") == 2  # "the" and "barn"
        assert any("1.2 nats from the image" in one and one[0] in "-−" for one in written)
        written.clear()
        draw_figure(captioning())
        assert not [one for one in written if "nats" in one or "certain" in one]

    def test_what_the_colours_of_a_counterfactual_mean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[str] = []
        monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda pen, at, text, *rest, **more: written.append(text))
        draw_figure(replace(classification(), method="counterfactual"))
        assert any("colours: evidence against" in one for one in written)
        draw_figure(replace(classification(), method="counterfactual"), scale="shared")
        assert "against: classes, score" in written

    def test_a_photo_kept_at_reduced_size(self) -> None:
        found = classification()
        big = replace(
            found.geometry, photo_size=(6400, 4480), scale=(found.geometry.scale[0] / 10, found.geometry.scale[1] / 10)
        )
        large = replace(found, geometry=big, photo=replace(found.photo, width=6400, height=4480))
        small = draw_figure(found, width=500)
        assert draw_figure(large, width=500).size == small.size
        assert np.abs(np.asarray(draw_figure(large, width=500)).astype(int) - np.asarray(small)).mean() < 0.5

    def test_labels_in_any_script(self) -> None:
        labels = ["żółw", "漢字", "كلب", "x" * 400, "", "a\nb"]
        targets = [Target(label, "class", 1.0, 0.5) for label in labels]
        draw_figure(explanation("classification", targets, [blob(0.5, 0.5)] * len(labels), text=""), width=500)

    def test_errors(self) -> None:
        found = classification()
        with pytest.raises(InputError, match="0 columns were asked for"):
            draw_figure(found, columns=0)
        with pytest.raises(InputError, match="60 pixels is too narrow for 5 columns"):
            draw_figure(found, width=60)
        with pytest.raises(InputError, match="choose a diverging table"):
            draw_figure(classification(relu=False), colours="inferno")
