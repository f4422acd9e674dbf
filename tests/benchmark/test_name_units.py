"""Concept masks of generated scenes, and the naming of channels from them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam._version import __version__
from vlcam.benchmark.name_units import make_feature_batches, name_features
from vlcam.contracts import InputError
from vlcam.neurons import NeuronNames
from vlcam.neurons.probes.scenes import CONCEPTS, REGIONS, make_concept_masks
from vlcam.scenes import BACKGROUNDS, make
from vlcam.scenes.models.zoo import MEAN, STD, create_model

ROW = {concept: row for row, concept in enumerate(CONCEPTS)}


class Painter(nn.Module):
    """Maps that follow colours of the picture; ``features`` like a bundled model's."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _Colours()


class _Colours(nn.Module):
    """12 x 12 maps: redness, blueness, darkness of nothing (dead), the inverse of redness, noise, a corner."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Float[Tensor, "batch 3 96 96"]) -> Float[Tensor, "batch 6 12 12"]:
        rgb = torch.nn.functional.avg_pool2d(images * STD[0] + MEAN[0], 8)
        red = (rgb[:, 0] - rgb[:, 1:].amax(1) - 0.2).relu()
        blue = (rgb[:, 2] - rgb[:, :2].amax(1) - 0.1).relu()
        noise = torch.rand(red.shape, generator=torch.Generator().manual_seed(int(1e6 * float(rgb.sum())) % 2**31))
        corner = noise * 0.1
        corner[:, :4, :4] += noise[:, :1, :1]  # the whole corner at once: it survives the smoothing of upsampling
        return torch.stack((red, blue, torch.zeros_like(red), (1 - red).relu(), noise, corner), 1)


def test_concepts_are_complete_and_different() -> None:
    assert len(CONCEPTS) == len(set(CONCEPTS)) == 1 + 6 + 6 + 2 + 2 + 36 + 5 + 9
    assert len({name for name, _ in CONCEPTS}) == len(CONCEPTS)  # names merge by name: none may mean two objects


@pytest.mark.parametrize("seed", range(8))
def test_masks_are_what_is_there(seed: int) -> None:
    scene = make(seed, "val")
    masks = make_concept_masks(scene)
    assert masks.shape == (len(CONCEPTS), 24, 24)
    fine = scene.masks(96)
    for (name, category), mask in zip(CONCEPTS, masks, strict=True):
        if category in ("background", "region"):
            continue
        own = [
            fine[i]
            for i, obj in enumerate(scene.objects)
            if category == "object" or name in (obj.colour, obj.shape, obj.texture, obj.size, " ".join(obj.pair))
        ]
        union = np.any(own, axis=0) if own else np.zeros((96, 96), bool)
        for row in range(24):
            for column in range(24):
                covered = union[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].sum()
                assert mask[row, column] == (covered >= 8), (name, row, column)
    backgrounds = [masks[ROW[name, "background"]] for name in BACKGROUNDS]
    assert [mask.all() for mask in backgrounds] == [name == scene.background for name in BACKGROUNDS]
    assert sum(mask.any() for mask in backgrounds) == 1


def test_regions_share_the_picture() -> None:
    for size in (12, 24, 48):
        masks = make_concept_masks(make(0), size)[[ROW[name, "region"] for name in REGIONS]]
        assert (masks.sum(axis=0) == 1).all()
        assert (masks.sum(axis=(1, 2)) == (size // 3) ** 2).all()
    corner = make_concept_masks(make(0), 12)
    assert corner[ROW["upper right", "region"], 0, 11]
    assert corner[ROW["lower left", "region"], 11, 0]
    assert (
        corner[ROW["left", "region"], 6, 0]
        and corner[ROW["top", "region"], 0, 6]
        and corner[ROW["centre", "region"], 6, 6]
    )


def test_too_coarse_a_grid() -> None:
    with pytest.raises(InputError, match=r"size 2 was given; expected a grid of 3 cells"):
        make_concept_masks(make(0), 2)


def test_planted_features_get_their_names() -> None:
    names = name_features("classifier", model=Painter(), n=150, permutations=40)
    found = [(unit.state, unit.name) for unit in names.units]
    assert found[0] == ("named", "red")
    assert found[1] == ("named", "blue")
    assert found[2] == ("dead", None)
    assert found[4] == ("unnamed", None)
    assert found[5] == ("named", "upper left")
    assert names.units[5].category == "region"
    assert (names.model, names.layer, names.weights_sha256) == ("scenes-classifier", "features", None)
    assert names.probe["images"] == 150 and names.probe["split"] == "val" and names.probe["vlcam"] == __version__
    assert NeuronNames.from_json(names.to_json()) == names


def test_untrained_model_and_its_mode(tmp_path: Path) -> None:
    model = create_model("classifier").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    maps, masks = next(make_feature_batches(model, 7, batch=5))
    assert maps.shape == (5, 192, 12, 12) and masks.shape == (5, len(CONCEPTS), 24, 24)
    assert not maps.requires_grad
    assert [len(one[0]) for one in make_feature_batches(model, 7, batch=5)] == [5, 2]
    list(make_feature_batches(model, 2))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with pytest.raises(InputError, match="no weights of the bundled classifier"):
        name_features("classifier", folder=tmp_path)
