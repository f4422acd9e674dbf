"""COCO's outlines as masks."""

import re
from array import array
from typing import Any

import numpy as np
import pytest

from vlcam.contracts import InputError
from vlcam.image.outlines import expand_run_lengths, fill_outline


def compressed(counts: list[int]) -> str:
    """COCO's compressed run lengths, digit by digit."""
    text = ""
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while True:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * more)
            if not more:
                break
    return text


def runs_of(mask: np.ndarray) -> list[int]:
    counts, now = [0], False
    for pixel in mask.T.ravel():
        if bool(pixel) != now:
            counts.append(0)
            now = not now
        counts[-1] += 1
    return counts


class TestOutlines:
    @pytest.mark.parametrize("seed", range(8))
    def test_run_lengths_of_both_forms(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        mask = np.kron(rng.random((5, 4)) < 0.5, np.ones((rng.integers(1, 30), rng.integers(1, 30)), bool))
        height, width = mask.shape
        counts = runs_of(mask)
        assert expand_run_lengths(compressed(counts)) == counts
        for form in (counts, compressed(counts)):
            assert (fill_outline({"size": [height, width], "counts": form}, height, width) == mask).all()

    def test_large_numbers(self) -> None:
        counts = [0, 100_000, 3, 1, 70_000, 2]
        assert expand_run_lengths(compressed(counts)) == counts

    @pytest.mark.parametrize("seed", range(8))
    def test_polygons_have_the_pixels_whose_centres_are_inside(self, seed: int) -> None:
        """Against the winding of each pixel's centre, for a triangle that reaches beyond the picture."""
        corners = np.random.default_rng(seed).uniform(-5, 20, (3, 2))
        found = fill_outline([corners.ravel().tolist()], 14, 16)
        for y in range(14):
            for x in range(16):
                centre = np.array([x + 0.5, y + 0.5])
                a, b = np.roll(corners, -1, 0) - corners, centre - corners
                sides = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0
                assert found[y, x] == (sides.all() or not sides.any())

    def test_several_polygons_and_a_hole(self) -> None:
        left, right = [0, 0, 2, 0, 2, 3, 0, 3], [3, 0, 4, 0, 4, 1, 3, 1]
        assert fill_outline([left, right], 3, 4).astype(int).tolist() == [[1, 1, 0, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
        assert fill_outline([left, left], 3, 4).sum() == 6  # joined, not toggled
        ring = [0, 0, 5, 0, 5, 5, 0, 5, 0, 0, 2, 2, 2, 3, 3, 3, 3, 2, 2, 2]
        expected = np.ones((5, 5), bool)
        expected[2, 2] = False
        assert (fill_outline([ring], 5, 5) == expected).all()
        assert not fill_outline([], 3, 4).any() and not fill_outline([[1, 1, 3, 3]], 4, 4).any()

    @pytest.mark.parametrize(
        ("outline", "text"),
        [
            ([[1, 2, 3]], "was given; expected polygons"),
            ([["a", 2, 3, 4, 5, 6]], "was given; expected polygons"),
            ([[float("nan"), 2, 3, 4, 5, 6]], "was given; expected polygons"),
            (None, "was given; expected polygons"),
            ({"size": [2, 2]}, "run lengths without a good 'counts'"),
            ({"size": [2, 3], "counts": [6]}, "run lengths of size"),
            ({"size": [2, 2], "counts": [3]}, "that don't add up to 2 x 2 pixels"),
            ({"size": [2, 2], "counts": [5, -1]}, "that don't add up to 2 x 2 pixels"),
            ({"size": [2, 2], "counts": None}, "that don't add up to 2 x 2 pixels"),
            ({"size": [2, 2], "counts": "~"}, "with '~'"),
            ({"size": [2, 2], "counts": "`"}, "that break off"),
        ],
    )
    def test_what_is_wrong(self, outline: Any, text: str) -> None:
        with pytest.raises(InputError, match=re.escape(text)):
            fill_outline(outline, 2, 2)

    def test_packed_polygons_are_the_same(self) -> None:
        corners = [0.5, 0.5, 4, 1, 2.5, 4]
        assert (fill_outline([array("d", corners)], 5, 5) == fill_outline([corners], 5, 5)).all()
        with pytest.raises(InputError, match="was given; expected polygons"):
            fill_outline([array("d", [1, 2])], 2, 2)
