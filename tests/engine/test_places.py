"""Layers that have places on the photo, and things that only look like them: tables, queries, pooled tokens, attention weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.contracts import LayerError
from vlcam.engine.layers import Grid
from vlcam.engine.places import Trial, find_layouts, list_layouts
from vlcam.engine.recording import record
from vlcam.tasks import Classification

PHOTO = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class Patches(nn.Module):
    """Photos as tokens ``(batch, cells, 8)``, optionally behind a class token or with rows and columns and the channels last."""

    def __init__(self, *, prefix: int = 0, maps: bool = False) -> None:
        super().__init__()
        self.cut, self.prefix, self.maps = nn.Conv2d(3, 8, 8, 8), prefix, maps

    def forward(self, photos: Tensor) -> Tensor:
        cut: Tensor = self.cut(photos)
        if self.maps:
            return cut.permute(0, 2, 3, 1)
        tokens = cut.flatten(2).transpose(1, 2)
        return torch.cat([tokens.new_ones(len(tokens), self.prefix, 8), tokens], 1)


class Block(nn.Module):
    """A step with no convolution in it."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        stepped: Tensor = tokens + self.inner(tokens).tanh()
        return stepped


class Table(nn.Module):
    """A learnt position embedding ``(1, 8, 4, 4)``, the same for every photo."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.rand(1, 8, 4, 4))

    def forward(self, features: Tensor) -> Tensor:
        return self.table * 1.0


class Queries(nn.Module):
    """16 learnt queries that look at all cells: as many as a grid of 4 x 4 has, but none of them is anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.look = nn.Parameter(torch.rand(1, 16, 8)), nn.MultiheadAttention(8, 1, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        asked = self.queries.expand(len(tokens), -1, -1)
        answered: Tensor = self.look(asked, tokens, tokens, need_weights=False)[0]
        return answered


class Weights(nn.Module):
    """Attention weights ``(batch, 2, 16, 16)``: square, and as wide as a map might be."""

    def forward(self, tokens: Tensor) -> Tensor:
        halves = tokens.unflatten(2, (2, 4)).transpose(1, 2)
        weights: Tensor = (halves @ halves.transpose(2, 3)).softmax(-1)
        return weights


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cut, self.weigh, self.step, self.head = Patches(), Weights(), Block(), nn.Linear(8, 3)

    def forward(self, photos: Tensor) -> Tensor:
        tokens = self.cut(photos)
        mixed = (self.weigh(tokens) @ tokens.unflatten(2, (2, 4)).transpose(1, 2)).transpose(1, 2).flatten(2)
        scores: Tensor = self.head(self.step(tokens + mixed).mean(1))
        return scores


class Mean(nn.Module):
    def __init__(self, axis: int | tuple[int, ...]) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(self.axis)


class Positioned(nn.Module):
    """As DETR: features, a position embedding with the same shape that is added later, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.places, self.head = nn.Conv2d(3, 8, 8, 8), Table(), nn.Linear(8, 3)

    def forward(self, photos: Tensor) -> Tensor:
        features = self.trunk(photos)
        table = self.places(features)
        scores: Tensor = self.head((features.flatten(2) * table.flatten(2)).tanh().mean(2))
        return scores


class Cut(nn.Module):
    """As a detector: five boxes are cut out of the features, which the head sees as a batch of five."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.look, self.head = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, 3), nn.Linear(8, 3)

    def forward(self, photos: Tensor) -> Tensor:
        features = self.trunk(photos)
        boxes = torch.cat([features[:, :, n : n + 6, n : n + 6] for n in range(5)])
        scores: Tensor = self.head(self.look(boxes).mean((2, 3))).amax(0)[None]
        return scores


def make(*parts: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*parts).eval()


def explain(net: nn.Module, layer: str | None = None) -> vlcam.Explanation:
    task = Classification(net, ["a", "b", "c"], vlcam.Preprocess(32), layer=layer)
    return vlcam.explain(task, PHOTO[0])


FOUND: dict[str, tuple[Any, str, tuple[int, int]]] = {
    "channels last": (lambda: make(Patches(maps=True), Block(), Mean((1, 2)), nn.Linear(8, 3)), "1", (4, 4)),
    "behind a table": (Positioned, "trunk", (4, 4)),
    "before the boxes": (Cut, "trunk", (16, 16)),
    "under the attention weights": (Attending, "cut.cut", (4, 4)),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_layer_that_is_found_has_places_for_everyone(name: str) -> None:
    build, layer, grid = FOUND[name]
    torch.manual_seed(0)
    net = build().eval()
    found = vlcam.attribute(net, PHOTO, targets=0)
    assert (found.layer, tuple(found.maps.shape[2:])) == (layer, grid)
    same = explain(net)
    assert (same.layer, tuple(same.maps.shape[1:])) == (layer, grid)
    torch.testing.assert_close(vlcam.attribute(net, PHOTO, targets=0).maps, found.maps)  # the second time as the first


def test_channels_last_are_read_as_channels() -> None:
    net = make(Patches(maps=True), Block(), Mean((1, 2)), nn.Linear(8, 3))
    found = vlcam.attribute(net, PHOTO, targets=0)
    assert found.alpha.shape == (1, 1, 8)
    given = vlcam.attribute(net, PHOTO, targets=0, layer="1", grid=Grid("BHWC"))
    torch.testing.assert_close(found.maps, given.maps)
    torch.testing.assert_close(vlcam.attribute(net, PHOTO, targets=0, layer="1").maps, given.maps)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_are_read_behind_their_prefix(prefix: int) -> None:
    net = make(Patches(prefix=prefix), Block(), Mean(1), nn.Linear(8, 3))
    for found in (vlcam.attribute(net, PHOTO, targets=0, layer="1").maps[0], explain(net, "1").maps[:1].relu()):
        assert found.shape == (1, 4, 4)
    given = vlcam.attribute(net, PHOTO, targets=0, layer="1", grid=Grid("BNC", rows=4, columns=4, prefix=prefix))
    torch.testing.assert_close(vlcam.attribute(net, PHOTO, targets=0, layer="1").maps, given.maps)


REFUSED: dict[str, tuple[Any, str, str]] = {
    "queries": (lambda: make(Patches(), Queries(), Block(), Mean(1), nn.Linear(8, 3)), "2", "don't respond to their own places"),
    "table": (Positioned, "places", "the same for every photo"),
    "pooled to one": (
        lambda: make(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)), "1", "pooled over all places"
    ),
    "attention weights": (Attending, "weigh", "don't respond to their own places"),
    "turned": (
        lambda: make(Patches(maps=True), Turn(), Mean((2, 3)), nn.Linear(8, 3)), "1", "don't respond to their own places"
    ),
    "behind too many": (
        lambda: make(Patches(prefix=20), Block(), Mean(1), nn.Linear(8, 3)), "1", "don't respond to their own places"
    ),
    "too few": (lambda: make(Patches(), First(), Mean(1), nn.Linear(8, 3)), "1", "doesn't lie as a grid"),
}  # fmt: skip


class First(nn.Module):
    """The first three tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, :3] * 1.0


class Turn(nn.Module):
    """Maps with rows and columns exchanged."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 3, 2, 1) * 1.0


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_places_is_refused_by_everyone(name: str) -> None:
    build, layer, message = REFUSED[name]
    torch.manual_seed(0)
    net = build().eval()
    for _ in range(2):
        with pytest.raises(LayerError, match=message):
            vlcam.attribute(net, PHOTO, targets=0, layer=layer)
        with pytest.raises(LayerError, match=message):
            explain(net, layer)


def test_where_nothing_has_places_the_error_says_what_to_give() -> None:
    net = make(Table(), Block(4), Mean((2, 3)), nn.Linear(8, 3))
    with pytest.raises(LayerError, match=r"the same for every photo.*grid="):
        vlcam.attribute(net, PHOTO, targets=0)


def test_a_proof_is_made_once_and_a_convolution_needs_none() -> None:
    class Counted(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.runs = inner, 0

        def forward(self, photos: Tensor) -> Tensor:
            self.runs += 1
            scores: Tensor = self.inner(photos)
            return scores

    plain = Counted(make(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 3))).eval()
    for count, layer in enumerate(("inner.0", "inner.1"), 1):  # the ReLU behind it needs none either
        vlcam.attribute(plain, PHOTO, targets=0, layer=layer)
        assert plain.runs == count
    tokens = Counted(make(Patches(), Block(), Mean(1), nn.Linear(8, 3))).eval()
    for expected in (5, 6):
        vlcam.attribute(tokens, PHOTO, targets=0, layer="inner.1")
        assert tokens.runs == expected


def test_a_layer_that_has_places_now_is_no_longer_refused() -> None:
    net = make(Patches(), Mixed(), Mean(1), nn.Linear(8, 3))
    with pytest.raises(LayerError, match="own places"):
        vlcam.attribute(net, PHOTO, targets=0, layer="1")
    mixed: Any = net[1]
    with torch.no_grad():
        mixed.share.fill_(0.0)
    assert vlcam.attribute(net, PHOTO, targets=0, layer="1").maps.shape == (1, 1, 4, 4)


class Mixed(nn.Module):
    """Tokens that all hold the mean of all, by a weight that training may change."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.ones(()))

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.share * tokens.mean(1, keepdim=True) + (1 - self.share) * tokens
        return mixed


def test_the_model_and_random_numbers_are_left_as_they_were() -> None:
    net = make(Patches(maps=True), Block(), Mean((1, 2)), nn.Linear(8, 3)).train()
    state, random = {name: one.clone() for name, one in net.state_dict().items()}, torch.get_rng_state()
    vlcam.attribute(net, PHOTO, targets=0)
    assert net.training and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(one, state[name]) for name, one in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("size", [(32, 32), (64, 16), (16, 64)])
def test_a_grid_of_any_proportions_is_proven(size: tuple[int, int]) -> None:
    width, height = size
    net = make(Patches(maps=True), Block(), Mean((1, 2)), nn.Linear(8, 3))
    found = vlcam.attribute(net, torch.rand(2, 3, height, width), targets=0)
    assert found.maps.shape == (2, 1, height // 8, width // 8)


def test_layouts_by_shape() -> None:
    assert list_layouts((1, 7, 7, 16), (56, 56)) == [Grid("BHWC"), Grid("BCHW")]
    assert list_layouts((1, 16, 7, 7), (56, 56)) == [Grid("BCHW"), Grid("BHWC")]
    assert list_layouts((1, 17, 16), (64, 64))[0] == Grid("BNC", rows=4, columns=4, prefix=1)
    assert Grid("BNC", rows=4, columns=4, prefix=0) in list_layouts((1, 16, 8), (64, 64))
    assert list_layouts((1, 8), (64, 64)) == []


def test_inputs_without_an_image_are_read_by_shape() -> None:
    net = make(nn.Linear(4, 8), Block())
    row = torch.rand(1, 16, 4)
    with record(net, "1") as recording:
        net(row)
    trial = Trial(
        net, {"ids": torch.ones(1, 3, dtype=torch.long), "row": row}, lambda inputs: net(inputs["row"]), (32, 32)
    )
    assert trial.find_image() is None
    (answer,) = find_layouts(trial, {recording.key: recording.leaf}).values()
    assert answer == Grid("BNC", rows=4, columns=4, prefix=0)
