"""Display steps: named, off the raw map, and fit for the grid."""

import numpy as np
import pytest
import torch
from PIL import Image

import vlcam
from vlcam.contracts import InputError
from vlcam.image.display import apply_steps, check_steps, filter_by_guide, follow_edges
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

MAPS = torch.rand(2, 8, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("steps", [["box3"], ["square"], ["box3", "cube"]])
def test_the_peak_keeps_its_value(steps: list[str]) -> None:
    drawn = apply_steps(MAPS, steps)
    torch.testing.assert_close(drawn.amax((1, 2)), MAPS.amax((1, 2)))
    assert drawn.shape == MAPS.shape and not torch.allclose(drawn, MAPS)


def test_box3_is_the_mean_with_nothing_outside() -> None:
    padded = np.pad(MAPS[0].numpy(), 1)
    expected = np.array([[np.mean(padded[i : i + 3, j : j + 3]) for j in range(9)] for i in range(8)])
    expected *= float(MAPS[0].max()) / expected.max()
    np.testing.assert_allclose(apply_steps(MAPS, ["box3"])[0].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 80), (1, 40), (2, 2)])
def test_short_sides_are_not_averaged(shape: tuple[int, int]) -> None:
    maps = torch.zeros(1, *shape)
    maps[0, 0, shape[1] // 2] = 1
    drawn = apply_steps(maps, ["box3"])
    middle = shape[1] // 2
    assert drawn[0, 1:].sum() == 0 and float(drawn[0, 0, middle]) == 1


def test_no_steps_and_empty_maps_stay() -> None:
    assert apply_steps(MAPS, []) is MAPS
    assert not apply_steps(torch.zeros(1, 8, 8), ["box3", "cube"]).any()


def test_unknown_steps_are_refused() -> None:
    with pytest.raises(InputError, match="no display step 'box'; did you mean box3"):
        apply_steps(MAPS, ["box"])
    with pytest.raises(InputError, match="expected a list of names"):
        check_steps("box3")
    assert check_steps(["cube"]) == ("cube",)


def test_the_guided_filter_follows_the_edges_of_the_photo() -> None:
    guide = torch.zeros(3, 20, 20)
    guide[:, :, 10:] = 1
    heat = torch.zeros(20, 20)
    heat[:, 8:14] = 1  # over the edge by two pixels
    found = filter_by_guide(heat, guide, 4)
    assert float(found[10, 12]) > float(found[10, 8]) + 0.15 and float(found[10, 13]) > float(found[10, 14]) > 0.4
    torch.testing.assert_close(filter_by_guide(torch.full((20, 20), 0.3), guide, 4), torch.full((20, 20), 0.3))


def test_a_guided_heatmap_keeps_what_was_not_seen_and_its_size() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 15:] = 255
    heat = torch.full((40, 60), torch.nan)
    heat[4:36] = 0
    heat[4:36, 24:34] = 1  # over the edge, which is at column 30, by six pixels
    found = follow_edges(heat, pixels, (10.0, 10.0))
    assert torch.equal(found.isnan(), heat.isnan())
    before, after = (float(one[20, 32] - one[20, 26]) for one in (heat, found))
    assert before == 0 and after != 0
    nothing = torch.full((4, 4), torch.nan)
    assert bool(follow_edges(nothing, pixels, (1.0, 1.0)).isnan().all())


def test_a_view_gives_a_guided_heatmap() -> None:
    explanation = vlcam.explain(
        bundled.classifier(), Image.fromarray(make(3, "test").image()), method="gradcam", top_k=1
    )
    plain, guided = explanation[0].heatmap(), explanation[0].heatmap(guided=True)
    assert plain.shape == guided.shape and not torch.equal(plain, guided)
    assert float(torch.corrcoef(torch.stack([plain.flatten(), guided.flatten()]))[0, 1]) > 0.8
