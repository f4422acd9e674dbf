"""Volumes through 3-D CNNs: maps with a depth, drawn slice by slice."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.engine.layers import VolumeGrid
from vlcam.render import draw_slices
from vlcam.tasks import Classification


class Volumes(nn.Module):
    """As a CNN of medical volumes: two convolutions, a pooling, a head."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv3d(channels, 4, 3, 2, 1), nn.BatchNorm3d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv3d(4, 6, 3, padding=1), nn.ReLU())
        self.pool, self.head = nn.MaxPool3d(2), nn.Linear(6, 3)

    def forward(self, volumes: Tensor) -> Tensor:
        scores: Tensor = self.head(self.pool(self.second(self.first(volumes))).mean((2, 3, 4)))
        return scores


VOLUMES = torch.rand(2, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layer", [None, "second", "first.0"])
def test_maps_of_volumes_are_the_equations(layer: str | None) -> None:
    net = Volumes().eval()
    found = vlcam.attribute(net, VOLUMES, targets=[0, 2], layer=layer)
    assert found.layer == ("second" if layer is None else layer)
    assert found.maps.shape == (2, 1, 4, 6, 8)
    if layer == "first.0":
        return
    features = net.second(net.first(VOLUMES)).detach().requires_grad_()
    scores = net.head(net.pool(features).mean((2, 3, 4)))
    (slopes,) = torch.autograd.grad(scores[0, 0] + scores[1, 2], features)
    alpha = slopes.mean((2, 3, 4), keepdim=True)
    torch.testing.assert_close(found.maps[:, 0], (alpha * features).sum(1).relu().detach())
    torch.testing.assert_close(found.alpha[:, 0], alpha.flatten(1))


@pytest.mark.parametrize("method", vlcam.list_methods("one-run"))
def test_every_method_of_one_run_gives_volumes(method: str) -> None:
    found = vlcam.attribute(Volumes().eval(), VOLUMES, targets=1, method=method)
    assert found.maps.shape == (2, 1, 4, 6, 8) and bool(found.maps.isfinite().all())


def test_a_layout_that_is_given_is_taken() -> None:
    net = Volumes().eval()
    plain = vlcam.attribute(net, VOLUMES, targets=1, layer="second")
    given = vlcam.attribute(net, VOLUMES, targets=1, layer="second", grid=VolumeGrid(4))
    assert torch.equal(plain.maps, given.maps)
    with pytest.raises(vlcam.LayerError, match=r"expected \(batch, channels, 5, rows, columns\)"):
        vlcam.attribute(net, VOLUMES, targets=1, layer="second", grid=VolumeGrid(5))


def test_a_photo_has_no_depth() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Volumes(3)

        def forward(self, photos: Tensor) -> Tensor:
            scores: Tensor = self.inner(photos[:, :, None].expand(-1, -1, 4, -1, -1))
            return scores

    task = Classification(Deep().eval(), ["a", "b", "c"], vlcam.Preprocess(16))
    with pytest.raises(vlcam.LayerError, match=r"maps of a volume.*vlcam\.attribute"):
        vlcam.explain(task, np.zeros((20, 20, 3), np.uint8))


def test_slices_stand_in_rows_under_their_own_slice_of_the_map() -> None:
    volume = np.zeros((6, 10, 12))
    volume[3] = 1
    heat = torch.zeros(3, 5, 6)
    heat[1] = 2.0
    sheet = draw_slices(volume, heat, columns=3)
    assert sheet.shape == (2 * 10 + 4, 3 * 12 + 2 * 4, 3) and sheet.dtype == np.uint8
    tiles = [sheet[top : top + 10, left : left + 12] for top in (0, 14) for left in (0, 16, 32)]
    coloured = [bool((tile.max(2) - tile.min(2)).any()) for tile in tiles]
    assert coloured == [False, False, True, True, False, False]
    assert not tiles[0].any() and bool((sheet[:, 12:16] == 255).all())


def test_slices_share_one_scale() -> None:
    heat = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 0.1)])
    strong, weak = draw_slices(np.zeros((2, 4, 4)), heat, columns=1)[[0, 8]]
    assert int(strong.max()) > 2 * int(weak.max())


@pytest.mark.parametrize(
    "volume", [np.zeros((4, 4)), np.zeros((1, 1, 4, 4)), np.full((2, 2, 2), np.nan), np.zeros((0, 2, 2))]
)
def test_what_is_no_volume_is_refused(volume: np.ndarray) -> None:
    with pytest.raises(vlcam.InputError, match="volume"):
        draw_slices(volume, np.zeros((2, 2, 2)))
    with pytest.raises(vlcam.InputError, match="map"):
        draw_slices(np.zeros((2, 2, 2)), volume)
