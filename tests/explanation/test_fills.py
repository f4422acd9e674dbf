"""Ways to take a region out of a picture."""

import pytest
import torch

from vlcam.explanation.fills import FILLS, FillName, fill_from_neighbours, fill_image, remove_regions

IMAGE = torch.rand(1, 3, 24, 31, generator=torch.Generator().manual_seed(0))


def masks() -> torch.Tensor:
    found = torch.zeros(2, 24, 31, dtype=torch.bool)
    found[0, 3:9, 4:15] = True
    found[1, 20:, :3] = True
    return found


@pytest.mark.parametrize("fill", FILLS)
def test_only_the_region_changes(fill: FillName) -> None:
    found = remove_regions(IMAGE, masks(), fill)
    inside = masks()[:, None].expand_as(found)
    assert torch.equal(found[~inside], IMAGE.expand_as(found)[~inside])
    assert torch.isfinite(found).all() and not torch.isclose(found, IMAGE.expand_as(found))[inside].all()
    assert torch.equal(found, remove_regions(IMAGE, masks(), fill))
    assert torch.equal(found[:1], remove_regions(IMAGE, masks()[:1], fill))  # whatever else is in the batch


def test_what_the_fills_are() -> None:
    mean = IMAGE.mean((2, 3), keepdim=True)
    assert torch.equal(fill_image(IMAGE, "mean"), mean.expand_as(IMAGE))
    noise = fill_image(IMAGE, "noise", seed=3)
    assert torch.allclose(noise.mean((2, 3)), mean[..., 0, 0], atol=0.05) and not torch.equal(
        noise, fill_image(IMAGE, "noise", seed=4)
    )
    blur = fill_image(IMAGE, "blur")
    assert float(blur[..., 6:18, 6:25].std()) < 0.25 * float(IMAGE.std())


def test_flat_grounds_and_slopes_are_continued() -> None:
    flat = torch.full((1, 3, 16, 16), 0.7)
    flat[:, :, 5:9, 5:9] = 0.1
    hole = torch.zeros(1, 16, 16, dtype=torch.bool)
    hole[0, 5:9, 5:9] = True
    assert torch.allclose(fill_from_neighbours(flat, hole), torch.tensor(0.7))
    slope = torch.linspace(0, 1, 32).expand(1, 1, 32, 32).clone()
    hole = torch.zeros(1, 32, 32, dtype=torch.bool)
    hole[0, 10:20, 12:20] = True
    filled = fill_from_neighbours(slope, hole)
    assert float((filled - slope).abs().max()) < 0.1


def test_a_picture_without_anything_left_becomes_its_mean_colour() -> None:
    whole = torch.ones(1, 24, 31, dtype=torch.bool)
    assert torch.allclose(remove_regions(IMAGE, whole, "neighbours"), IMAGE.mean((2, 3), keepdim=True).expand_as(IMAGE))
