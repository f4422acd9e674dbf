"""Regions of a picture: the top of a map, and the same shape put down at random."""

import numpy as np
import pytest
import torch

from vlcam.contracts import InputError
from vlcam.image.regions import draw_on_picture, draw_random_regions, find_top_region


def test_the_top_of_a_map_has_the_area_asked_for() -> None:
    heat = torch.arange(16.0).reshape(4, 4)
    region = find_top_region(heat, (8, 8), 0.25)
    assert region is not None and int(region.sum()) == 16
    drawn = draw_on_picture(heat[None], (8, 8))[0]
    assert float(drawn[region].min()) >= float(drawn[~region].max())


def test_only_what_is_positive_belongs_to_it() -> None:
    heat = torch.full((4, 4), -1.0)
    assert find_top_region(heat, (8, 8)) is None and find_top_region(torch.zeros(4, 4), (8, 8)) is None
    heat[0, 0] = 1.0
    region = find_top_region(heat, (4, 4), 0.5)
    assert region is not None and int(region.sum()) == 1
    assert find_top_region(torch.full((4, 4), torch.nan), (8, 8)) is None


@pytest.mark.parametrize("area", [0.0, 1.0, -0.5])
def test_areas_out_of_range_are_refused(area: float) -> None:
    with pytest.raises(InputError, match="expected a fraction of the picture"):
        find_top_region(torch.ones(2, 2), (4, 4), area)


def test_shapes_are_kept_where_they_fit() -> None:
    region = torch.zeros(20, 20, dtype=torch.bool)
    region[3:6, 4] = True
    region[5, 4:7] = True  # an L
    found = draw_random_regions(region, 200, np.random.default_rng(0))
    assert (found.sum((1, 2)) == region.sum()).all()
    for one in found:
        rows, columns = torch.nonzero(one.any(1))[:, 0], torch.nonzero(one.any(0))[:, 0]
        assert (
            (len(rows), len(columns)) == (3, 3) and int(rows[-1] - rows[0]) == 2 and int(columns[-1] - columns[0]) == 2
        )
    assert len({tuple(torch.nonzero(one)[0].tolist()) for one in found}) > 100
    shapes = {tuple(one[one.any(1)][:, one.any(0)].flatten().tolist()) for one in found}
    assert len(shapes) == 4  # as it is, and mirrored in each way


def test_large_regions_are_shifted_around_the_edges() -> None:
    region = torch.zeros(10, 10, dtype=torch.bool)
    region[0] = region[9] = True
    found = draw_random_regions(region, 50, np.random.default_rng(0))
    assert (found.sum((1, 2)) == 20).all() and len({tuple(one.flatten().tolist()) for one in found}) > 5
