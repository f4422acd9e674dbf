"""Colours, overlays and lettering."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.examples_of_explanations import (
    paint,
)
from vlcam.contracts import InputError
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
