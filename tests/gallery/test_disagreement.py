"""How unlike two maps are: known cases, another way of counting it, and cases without an answer."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.support.examples_of_explanations import blob, cropped, stretched
from vlcam.contracts import Geometry
from vlcam.gallery.disagreement import POINTS, measure_disagreement
from vlcam.gallery.run_tables import MapRow
from vlcam.image.geometry import to_photo


def row(heat: torch.Tensor | None, geometry: Geometry | None = None, target: str = "cat") -> MapRow:
    geometry = stretched() if geometry is None else geometry
    (sx, sy), (ox, oy) = geometry.scale, geometry.offset
    (width, height), (wide, high) = geometry.photo_size, geometry.input_size
    return MapRow(
        number=0,
        target=target,
        kind="class",
        probability=0.5,
        gain=math.nan,
        p=math.nan,
        flag="ok" if heat is not None else "zero",
        faintness=1.0,
        neurons=(),
        place=(sx * width / wide, ox / wide, sy * height / high, oy / high),
        signed=False,
        map=None if heat is None else heat.numpy(),
        peak=1.0,
    )


def test_alike_opposite_and_in_other_units() -> None:
    heat = blob(0.3, 0.6)
    same, opposite, other = measure_disagreement(
        [(row(heat), row(heat)), (row(heat), row(-heat)), (row(heat), row(7 * heat**3))]
    )
    assert same == pytest.approx(0, abs=1e-9) and opposite == pytest.approx(2) and other == pytest.approx(0, abs=0.01)


def test_it_is_one_less_the_rank_correlation_on_the_photo() -> None:
    one, other = torch.rand(9, 7), torch.rand(14, 14)
    square = Geometry((POINTS, POINTS), (224, 224), (224 / POINTS,) * 2, (0.0, 0.0))
    (found,) = measure_disagreement([(row(one, square), row(other, square))])
    flat = [to_photo(heat[None], square)[0].flatten().numpy() for heat in (one, other)]
    assert found == pytest.approx(1 - spearmanr(*flat).statistic, abs=1e-5)


def test_only_the_part_that_both_saw_counts() -> None:
    """A slope over the photo, seen by one model as a whole and by the other without its ends."""
    whole, middle = stretched(), cropped()
    places = (torch.arange(14) + 0.5) / 14
    left, width = -middle.offset[0] / middle.scale[0] / 640, 224 / middle.scale[0] / 640
    first = (places[None, :] * 1.0 + 0 * places[:, None]).contiguous()
    second = ((left + places[None, :] * width) + 0 * places[:, None]).contiguous()
    (found,) = measure_disagreement([(row(first, whole), row(second, middle))])
    assert found < 0.01
    (moved,) = measure_disagreement([(row(blob(0.05, 0.5, 0.05), whole), row(blob(0.9, 0.5, 0.05), middle))])
    assert moved > 0.9


def test_no_number_where_there_is_nothing_to_compare() -> None:
    heat = blob(0.5, 0.5)
    left, right = (Geometry((640, 448), (224, 224), (1.0, 0.5), (offset, 0.0)) for offset in (0.0, -400.0))
    found = measure_disagreement(
        [
            (row(heat), row(None)),
            (row(None), row(None)),
            (row(heat), None),
            (row(heat), row(torch.ones(14, 14))),
            (row(heat), row(heat, target="dog")),
            (row(heat, left), row(heat, right)),
        ]
    )
    assert np.isnan(found).all() and len(found) == 6
    assert measure_disagreement([]) == []


def test_the_order_of_pairs_stays_whatever_their_grids() -> None:
    small, large = blob(0.3, 0.3, grid=7), blob(0.3, 0.3, grid=14)
    pairs = [
        (row(small), row(small)),
        (row(large), row(-large)),
        (row(small), row(large)),
        (row(None), row(small)),
        (row(small), row(-small)),
    ]
    found = measure_disagreement(pairs)
    assert found[0] == pytest.approx(0, abs=1e-9) and found[1] == pytest.approx(2) and found[4] == pytest.approx(2)
    assert math.isnan(found[3]) and 0 < found[2] < 0.2
