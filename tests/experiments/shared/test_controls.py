"""The controls that stand beside every method: centre, edges, and the true mask at the resolution of the layer."""

import numpy as np
import torch

from vlcam.experiments.shared.maps import make_ceiling_map, make_centre_map, make_edge_map, make_random_map
from vlcam.image.geometry import make_crop_geometry, make_letterbox_geometry, make_resize_geometry


def test_the_ceiling_is_the_share_of_each_cell() -> None:
    mask = np.zeros((8, 12), np.bool_)
    mask[:2, :3] = True  # a cell of 4 x 3 pixels, half of it
    found = make_ceiling_map(mask, make_resize_geometry((12, 8), (12, 8)), (2, 4))
    assert found[0].tolist() == [[0.5, 0.0, 0.0, 0.0], [0.0] * 4]
    assert make_ceiling_map(np.ones((8, 12), np.bool_), make_resize_geometry((12, 8), (24, 32)), (4, 3)).eq(1).all()


def test_the_ceiling_follows_crops_and_bands() -> None:
    left = np.zeros((10, 30), np.bool_)
    left[:, :10] = True
    assert make_ceiling_map(left, make_crop_geometry((30, 10), 10, 10), (2, 2)).eq(0).all()  # the middle third is seen
    whole = make_ceiling_map(np.ones((10, 30), np.bool_), make_letterbox_geometry((30, 10), (30, 30)), (3, 3))
    assert whole[0].tolist() == [[0.0] * 3, [1.0] * 3, [0.0] * 3]


def test_the_centre_is_highest_in_the_middle_and_the_same_all_around() -> None:
    found = make_centre_map((5, 7))[0]
    assert divmod(int(found.argmax()), 7) == (2, 3) and torch.allclose(found, found.flip(0, 1))
    assert make_centre_map((1, 1)).tolist() == [[[1.0]]]


def test_edges_are_where_the_picture_changes() -> None:
    image = torch.zeros(1, 3, 6, 8)
    image[..., 4:] = 1.0
    found = make_edge_map(image)[0]
    assert found[:, 3:5].eq(4.0).all() and found[:, :3].eq(0).all() and found[:, 5:].eq(0).all()


def test_random_maps_are_those_of_the_generator() -> None:
    one, other = (make_random_map((3, 4), np.random.default_rng(seed)) for seed in (1, 1))
    assert (
        one.shape == (1, 3, 4) and one.equal(other) and not one.equal(make_random_map((3, 4), np.random.default_rng(2)))
    )
