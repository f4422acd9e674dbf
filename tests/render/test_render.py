"""Colours, overlays and figures."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.support.examples_of_explanations import (
    blob,
    captioning,
    certain,
    classification,
    explanation,
    paint,
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
from vlcam.render import colourise, overlay
from vlcam.render.blending import draw_contour
from vlcam.render.colour import SEQUENTIAL, choose_colours, get_colour_table, is_diverging, scale_values
from vlcam.render.lettering import Lettering


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB bytes."""
    part = colours / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    light: np.ndarray = np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)
    return light


def ramp(height: int = 20, width: int = 30) -> np.ndarray:
    return np.tile(np.linspace(0, 1, width), (height, 1))


BLACK = np.zeros((20, 30, 3), np.uint8)
WHITE = np.full((20, 30, 3), 255, np.uint8)


class TestColour:
    @pytest.mark.parametrize("name", SEQUENTIAL)
    def test_lightness_rises_all_the_way(self, name: str) -> None:
        steps = np.diff(lightness(get_colour_table(name)))
        assert (steps > -0.15).all()  # bytes are rounded
        assert lightness(get_colour_table(name))[-1] - lightness(get_colour_table(name))[0] > 70 or name in (
            "viridis",
            "cividis",
        )
        assert (np.diff(lightness(get_colour_table(name))[::8]) > 0).all()

    def test_the_diverging_table_is_lightest_in_the_middle(self) -> None:
        light = lightness(get_colour_table("coolwarm"))
        assert (np.diff(light[:120:6]) > 0).all()
        assert (np.diff(light[136::6]) < 0).all()
        middle = get_colour_table("coolwarm")[127].astype(int)
        assert np.ptp(middle) < 6

    def test_tables_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="read-only"):
            get_colour_table("inferno")[0, 0] = 1

    def test_an_unknown_table_names_the_known_ones(self) -> None:
        with pytest.raises(InputError, match="no colour table 'jet'; there are: inferno, viridis"):
            get_colour_table("jet")

    def test_the_default_follows_the_method(self) -> None:
        assert not is_diverging(choose_colours(relu=True))
        assert is_diverging(choose_colours(relu=False))

    def test_colourise_uses_the_scale_that_is_given(self) -> None:
        heat = np.array([[0.0, 1.0, 2.0]])
        assert (colourise(heat, scale=2.0)[0, 2] == get_colour_table("inferno")[255]).all()
        assert (colourise(heat, scale=4.0)[0, 2] == get_colour_table("inferno")[128]).all()
        assert (colourise(heat)[0, 2] == get_colour_table("inferno")[255]).all()

    def test_relative_values(self) -> None:
        heat = np.array([[-4.0, -1.0, 0.0, 1.0, 4.0, np.nan, np.inf]])
        assert scale_values(heat, 2.0).tolist() == [[0, 0, 0, 0.5, 1, 0, 1]]
        assert scale_values(heat, 2.0, signed=True).tolist() == [[-1, -0.5, 0, 0.5, 1, 0, 1]]
        for nothing in (0.0, -1.0, float("nan"), float("inf")):
            assert not scale_values(heat, nothing).any()

    def test_tiny_raw_values_keep_their_shape(self) -> None:
        heat = ramp() * 1e-30
        assert (colourise(heat) == colourise(ramp())).all()


class TestOverlay:
    def test_a_black_photo_stays_black_where_the_map_is_low(self) -> None:
        mixed = overlay(BLACK, ramp() * 0.3, scale=1.0)
        assert mixed[:, :3].max() <= 1
        assert mixed.max() < 60  # never stretched to white by the blend's own maximum

    def test_the_photo_shows_through_where_the_map_is_low(self) -> None:
        mixed = overlay(WHITE, ramp())
        assert (mixed[:, 0] == 255).all()
        assert (np.diff(mixed[0].astype(int).sum(axis=1)[:10]) <= 0).all()

    def test_the_full_value_has_the_last_colour(self) -> None:
        assert (overlay(BLACK, ramp(), opacity=1.0)[:, -1] == get_colour_table("inferno")[255]).all()

    @pytest.mark.parametrize("heat", [np.zeros((20, 30)), -ramp(), -np.ones((20, 30))])
    def test_zero_and_negative_maps_give_the_plain_photo(self, heat: np.ndarray) -> None:
        picture = paint(30, 20)
        assert (overlay(picture, heat) == picture).all()
        assert (overlay(picture, heat, scale=0.0) == picture).all()

    def test_a_constant_map_is_even(self) -> None:
        mixed = overlay(WHITE, np.full((20, 30), 0.2))
        assert len(np.unique(mixed.reshape(-1, 3), axis=0)) == 1

    def test_raw_scale_makes_maps_comparable(self) -> None:
        strong, weak = ramp(), 0.25 * ramp()
        assert (overlay(WHITE, strong) == overlay(WHITE, weak)).all()
        assert (overlay(WHITE, strong, scale=1.0) != overlay(WHITE, weak, scale=1.0)).any()
        assert (overlay(WHITE, 1000 * strong, scale=1000.0) == overlay(WHITE, strong, scale=1.0)).all()

    def test_opacity_zero_is_the_photo(self) -> None:
        picture = paint(30, 20)
        assert (overlay(picture, ramp(), opacity=0.0) == picture).all()

    def test_unseen_pixels_are_marked_and_others_are_not(self) -> None:
        heat = np.zeros((60, 90))
        heat[:, :20] = np.nan
        picture = paint(90, 60)
        mixed = overlay(picture, heat)
        assert (mixed[:, 20:] == picture[:, 20:]).all()
        unseen = mixed[:, :20]
        assert (np.ptp(unseen.astype(int), axis=2) <= 1).all()  # grey
        assert len(np.unique(unseen)) > 2  # hatched

    def test_all_unseen_and_no_number_at_all(self) -> None:
        assert overlay(WHITE, np.full((20, 30), np.nan)).shape == WHITE.shape
        assert (overlay(BLACK, np.full((20, 30), np.inf)) == BLACK).all()

    def test_signed_maps_show_both_sides(self) -> None:
        heat = np.concatenate([-np.ones((20, 15)), np.ones((20, 15))], axis=1)
        mixed = overlay(np.full((20, 30, 3), 128, np.uint8), heat, colours="coolwarm").astype(int)
        assert (mixed[:, 0, 2] > mixed[:, 0, 0] + 40).all()
        assert (mixed[:, -1, 0] > mixed[:, -1, 2] + 40).all()

    def test_wrong_size_says_both_sizes(self) -> None:
        with pytest.raises(InputError, match="heatmap of 14 x 14 on a photo of 30 x 20"):
            overlay(BLACK, np.zeros((14, 14)))

    def test_opacity_has_a_range(self) -> None:
        with pytest.raises(InputError, match=r"opacity 2\.0 was given"):
            overlay(BLACK, ramp(), opacity=2.0)

    def test_the_ring_lies_on_the_level(self) -> None:
        drawn = draw_contour(BLACK, ramp(), 0.5)
        lit = np.flatnonzero(drawn[0].any(axis=1))
        assert lit.tolist() == [15]

    def test_the_ring_stops_where_the_model_saw_no_more(self) -> None:
        heat = np.ones((20, 30))
        heat[:, :10] = np.nan
        assert not draw_contour(BLACK, heat, 0.5).any()


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


class TestLettering:
    def test_plain_letters_use_pillows_own_font(self) -> None:
        assert Lettering(["a red kite", "83 %"]).get_font(20).getname()[0] == "Aileron"

    @pytest.mark.parametrize("text", ["café", "Straße", "żółw", "−0.5"])
    def test_accents_never_become_boxes(self, text: str) -> None:
        letters = Lettering([text])
        plain = letters.to_plain(text)
        box = bytes(letters.get_font(24).getmask("\uffff"))
        assert len(plain) >= len(text)
        assert "?" not in plain
        assert all(bytes(letters.get_font(24).getmask(letter)) != box for letter in plain)

    def test_without_system_fonts_accents_are_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vlcam.render.lettering._list_fonts", lambda: ("",))
        assert Lettering(["café"]).to_plain("café 漢") == "cafe ?"

    def test_fit_and_wrap(self) -> None:
        letters = Lettering(["a"])
        assert letters.fit("a b", 20, 500) == "a b"
        cut = letters.fit("a very long label indeed", 20, 100)
        assert cut.endswith("…")
        assert letters.get_font(20).getlength(cut) <= 100
        assert letters.wrap("one two three", 20, 60, 3) == ["one", "two", "three"]
        assert letters.wrap("one two three four", 20, 60, 2)[1].startswith("two")

    def test_control_and_direction_characters_are_dropped(self) -> None:
        assert Lettering([""]).to_plain("a\u202eb\x00\n c") == "ab c"


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
        two = draw_figure(found, targets=[("red", 0), ("red", 1)], width=400)
        assert two.tobytes() != draw_figure(found, targets=[("red", 1), ("red", 0)], width=400).tobytes()

    def test_own_scales_differ_from_the_shared_one(self) -> None:
        found = vqa()
        assert draw_figure(found, width=500).tobytes() != draw_figure(found, shared=True, width=500).tobytes()

    def test_flagged_maps_leave_the_photo(self) -> None:
        found = captioning()
        for label in ("a", "the", "barn rather than house"):
            sheet = np.asarray(draw_figure(found, targets=[label], columns=2)).astype(int)
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
        assert "evidence against" in written
        draw_figure(replace(classification(), method="counterfactual"), shared=True)
        assert "against: classes" in written

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


@pytest.mark.parametrize(
    "draw", [overlay, lambda photo, heat: draw_contour(photo, heat, 0.5)], ids=["overlay", "contour"]
)
def test_every_kind_of_photo_and_map_is_drawn_alike(draw: Any) -> None:
    """Floats from 0 to 1 were taken for levels of 0 to 255, and drawn black."""
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    heat = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    photo = np.repeat(grey[:, :, None], 3, 2)
    want = draw(photo, heat)
    kinds = [
        photo / 255,
        (photo / 255).astype(np.float32),
        torch.from_numpy(photo).permute(2, 0, 1),
        photo.astype(np.uint16) * 257,
    ]
    kinds += [grey, grey[:, :, None], Image.fromarray(grey), Image.fromarray(photo), torch.from_numpy(grey / 255)]
    for given in kinds:
        assert np.array_equal(draw(given, heat), want)
    assert np.array_equal(draw(photo, torch.from_numpy(heat).requires_grad_()), want)
    assert draw(photo, heat > 0.5).shape == want.shape
    assert np.array_equal(colourise(torch.from_numpy(heat)), colourise(heat))
    with pytest.raises(InputError, match=r"floats from .* was given; expected 0 to 1"):
        draw(photo * 1.0, heat)
    with pytest.raises(InputError, match="of 5 x 5 on a p"):
        draw(photo, heat[:5, :5])
