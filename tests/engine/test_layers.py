"""Layers by name, as a table, chosen by themselves, and read as maps."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from tests.support.tiny import Captioner, Cnn, Lambda, SideBranch, Twice, compiled, snapshot
from vlcam.contracts import InputError, LayerError
from vlcam.engine.layers import Grid, Layer, find, list_layers
from vlcam.engine.recording import _chosen, gradients, record


def choice(model: nn.Module, *inputs: Any, key: str | None = None) -> tuple[str, tuple[int, ...]]:
    with record(model) as recording:
        output = model(*inputs)
        scores = output[key] if key else output
        scores = scores[:, 0, :2] if scores.ndim == 3 else scores[:, :2]
    leaf = recording.resolve(scores)
    assert gradients(scores, leaf).shape == (2, *leaf.shape)
    return recording.layer_name, tuple(leaf.shape)


# -------------------------------------------------------------------------------------------------------------------- names


def test_find_by_name_and_by_module() -> None:
    model = Cnn()
    conv = model.get_submodule("block.1.conv")
    assert find(model, "block.1.conv") == find(model, conv) == ("block.1.conv", conv)
    assert find(model, model) == ("Cnn", model)


@pytest.mark.parametrize("name", ["block.1", "module.block.1", "_orig_mod.block.1", "_orig_mod.module.block.1"])
def test_find_in_wrapped_models(name: str) -> None:  # peers 8.5 #66, #67
    model = Cnn()
    for wrapped in (
        model,
        nn.DataParallel(model),
        compiled(model),
        compiled(nn.DataParallel(model)),
    ):
        assert find(wrapped, name) == ("block.1", model.block[1])
        assert find(wrapped, model.block[1]) == ("block.1", model.block[1])
        assert find(wrapped, wrapped) == ("Cnn", model)


def test_find_a_compiled_part() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    whole = Lambda(lambda self, x: self.part(x), part=compiled(model))
    assert find(whole, "part.0") == find(whole, "part._orig_mod.0") == find(whole, model[0]) == ("part.0", model[0])


def test_a_layer_that_is_really_called_module() -> None:
    model = Lambda(lambda self, x: self.module(x), module=nn.Sequential(nn.ReLU()))
    assert find(model, "module.0") == ("module.0", model.module[0])


def test_a_shared_module_is_found_by_all_its_names() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 3, 1), relu, nn.Conv2d(3, 3, 1), relu)
    assert find(model, "3") == ("3", relu) and find(model, relu) == ("1", relu)


def test_a_wrong_name_gets_the_closest() -> None:
    with pytest.raises(
        LayerError, match=r"the model \(Cnn\) has no layer 'block.1.cnov'; the closest names are block.1.conv, "
    ):
        find(Cnn(), "block.1.cnov")
    with pytest.raises(LayerError, match=r"has no layer 'zzzzzz'; its layers are stem, stem.0, "):
        find(Cnn(), "zzzzzz")
    shapes = {row.name: row.shape for row in list_layers(Cnn(), torch.randn(1, 3, 8, 8))}
    with pytest.raises(
        LayerError, match=r"closest names, with the shapes of their outputs, are block \(1, 12, 4, 4\), "
    ):
        find(Cnn(), "blokc", shapes=shapes)
    with pytest.raises(LayerError, match=r"the ReLU that was given as layer is not part of the model \(Cnn\)"):
        find(Cnn(), nn.ReLU())


def test_the_table_of_layers() -> None:
    model = Cnn().train()
    with torch.inference_mode():
        pixels = torch.randn(2, 3, 8, 12)
        before = snapshot(model)
        rows = list_layers(model, pixels)
    before["global"] = snapshot(model)["global"]
    assert snapshot(model) == before
    assert rows[0] == Layer("stem.0", "Conv2d", (2, 12, 4, 6), (4, 6))
    assert rows[-1] == Layer("fc", "Linear", (2, 5), None) and rows[-3] == Layer(
        "pool", "AdaptiveAvgPool2d", (2, 12, 1, 1), None
    )
    assert [row.name for row in list_layers(Twice(), torch.randn(1, 3, 8, 8))] == ["conv", "conv", "fc"]


# --------------------------------------------------------------------------------------------------------- chosen by itself

CHOICES = [
    ("resnet18", 64, "layer4", (512, 2, 2)),
    ("vgg11", 64, "features.19", (512, 4, 4)),
    ("squeezenet1_1", 64, "features", (512, 3, 3)),  # not its classifier, whose channels are the classes
    ("densenet121", 64, "features", (1024, 2, 2)),
    ("googlenet", 64, "inception5b", (1024, 2, 2)),  # not one of its branches
    ("swin_t", 64, "permute", (768, 2, 2)),  # not the layers with channels last before it
]


@pytest.mark.parametrize(("name", "size", "layer", "shape"), CHOICES)
def test_torchvision_models(name: str, size: int, layer: str, shape: tuple[int, ...]) -> None:  # peers 8.5 #59, #60
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, num_classes=10, **options).eval()
    expected = layer, (1, *shape)
    assert choice(model, torch.randn(1, 3, size, size)) == expected
    assert choice(model, torch.randn(1, 3, size, size)) == expected  # from memory


def test_vgg16_is_explained_where_the_paper_does() -> None:
    model = torchvision.models.vgg16(num_classes=10)
    assert choice(model, torch.randn(1, 3, 32, 32)) == ("features.29", (1, 512, 2, 2))


def test_side_branches_are_ignored_and_heads_have_their_own_layer() -> None:
    model = SideBranch()
    assert choice(model, torch.randn(1, 3, 8, 8), key="logits") == ("main", (1, 9, 8, 8))
    assert choice(model, torch.randn(1, 3, 8, 8), key="logits") == ("main", (1, 9, 8, 8))
    assert choice(model, torch.randn(1, 3, 8, 8), key="aux") == ("side", (1, 7, 8, 8))
    assert choice(model, torch.randn(1, 3, 8, 8), key="logits") == ("main", (1, 9, 8, 8))  # whatever came before


@pytest.mark.parametrize(
    ("rows", "columns", "channels", "dtype"), [(8, 8, 3, torch.float64), (20, 7, 1, torch.bfloat16)]
)
def test_any_input_size_channels_and_dtype(
    rows: int, columns: int, channels: int, dtype: torch.dtype
) -> None:  # peers 8.5 #60
    model = Lambda(
        lambda self, x: self.fc(self.conv(x).mean((2, 3))), conv=nn.Conv2d(channels, 4, 3), fc=nn.Linear(4, 5)
    ).to(dtype)
    assert choice(model, torch.randn(2, channels, rows, columns, dtype=dtype)) == (
        "conv",
        (2, 4, rows - 2, columns - 2),
    )


def test_a_smaller_input_gets_its_own_choice() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )
    assert choice(model, torch.randn(1, 3, 8, 8)) == ("1", (1, 6, 2, 2))
    assert choice(model, torch.randn(1, 3, 4, 4)) == ("0", (1, 4, 2, 2))  # the second has one place only
    assert choice(model, torch.randn(1, 3, 8, 8)) == ("1", (1, 6, 2, 2))


def test_pooling_dropout_and_containers_around_them_are_no_layers() -> None:
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Identity())
    model = nn.Sequential(nn.Sequential(features), nn.Flatten(), nn.Linear(36, 5))
    assert choice(model, torch.randn(1, 3, 8, 8)) == ("0.0.1", (1, 4, 6, 6))


def test_dropout_after_the_layer_leaves_it_its_name() -> None:
    model = Lambda(
        lambda self, x: self.fc(self.drop(self.conv(x)).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3),
        drop=nn.Dropout2d(),
        fc=nn.Linear(4, 5),
    )
    assert choice(model, torch.randn(1, 3, 8, 8)) == ("conv", (1, 4, 6, 6))


def test_whole_blocks_and_not_their_branches() -> None:
    def join(self: Any, x: Tensor) -> Any:
        x = self.stem(x).relu()
        return self.fc(torch.cat([self.left(x), self.right(x)], 1).mean((2, 3)))

    model = Lambda(join, stem=nn.Conv2d(3, 4, 3), left=nn.Conv2d(4, 2, 3), right=nn.Conv2d(4, 2, 3), fc=nn.Linear(4, 5))
    assert choice(model, torch.randn(1, 3, 8, 8)) == ("stem", (1, 4, 6, 6))


def test_features_from_several_depths_are_explained_at_the_last() -> None:
    def pyramid(self: Any, x: Tensor) -> Any:
        fine = self.one(x).relu()
        coarse = self.three(self.two(fine).relu())
        return self.fc(torch.cat([fine.mean((2, 3)), coarse.mean((2, 3))], 1))

    model = Lambda(
        pyramid, one=nn.Conv2d(3, 4, 3, 2), two=nn.Conv2d(4, 4, 3, 2), three=nn.Conv2d(4, 4, 3, 2), fc=nn.Linear(8, 5)
    )
    assert choice(model, torch.randn(1, 3, 32, 32)) == ("three", (1, 4, 3, 3))


def test_a_conv_classifier_gives_way_even_when_its_relu_is_dead() -> None:  # peers 8.5 #59
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    nn.init.constant_(model[2].bias, -100)  # type: ignore[arg-type]
    assert choice(model, torch.randn(1, 3, 8, 8)) == ("1", (1, 8, 6, 6))


def test_a_captioner() -> None:
    assert choice(Captioner(), torch.randn(1, 3, 16, 16), torch.arange(4)[None]) == ("encoder", (1, 8, 4, 4))


def test_what_is_remembered_dies_with_the_model() -> None:
    model = Cnn()
    choice(model, torch.randn(1, 3, 8, 8))
    assert model in _chosen
    count = len(_chosen)
    del model
    assert len(_chosen) == count - 1


# --------------------------------------------------------------------------------------------------------------------- grids


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_on_a_grid_that_is_not_square(prefix: int) -> None:  # peers 8.5 #62
    maps = torch.randn(2, 7, 3, 4)
    tokens = torch.cat([torch.randn(2, prefix, 7), maps.flatten(2).transpose(1, 2)], 1)
    assert Grid("BNC", rows=3, columns=4, prefix=prefix).to_maps(tokens).equal(maps)


def test_maps_with_channels_first_and_last() -> None:
    maps = torch.randn(2, 7, 3, 4)
    assert Grid().to_maps(maps).equal(maps)
    assert Grid("BHWC", rows=3).to_maps(maps.permute(0, 2, 3, 1)).equal(maps)


def test_grids_that_do_not_fit() -> None:
    with pytest.raises(LayerError, match=r"output is \(2, 13, 7\), not BCHW; for tokens .* give grid=Grid\('BNC'"):
        Grid().to_maps(torch.zeros(2, 13, 7))
    with pytest.raises(
        LayerError, match=r"output is \(2, 13, 7\); a grid of 3 x 4 tokens after 0 others needs \(batch, 12, channels\)"
    ):
        Grid("BNC", rows=3, columns=4).to_maps(torch.zeros(2, 13, 7))
    with pytest.raises(LayerError, match=r"output is \(2, 7, 3, 4\); expected 4 x None as BCHW"):
        Grid(rows=4).to_maps(torch.zeros(2, 7, 3, 4))
    with pytest.raises(InputError, match="a grid of tokens needs its rows and columns"):
        Grid("BNC", rows=3)
    with pytest.raises(InputError, match="prefix=1 was given for BCHW"):
        Grid(prefix=1)


def test_the_gradient_at_a_token_lies_in_its_cell() -> None:  # models.md 6
    def forward(self: Any, pixels: Tensor) -> Any:
        tokens = self.patch(pixels).flatten(2).transpose(1, 2)
        return (
            functional.gelu(self.norm(torch.cat([tokens.mean(1, keepdim=True), tokens], 1)))
            .sum((1, 2))[:, None]
            .expand(-1, 2)
        )

    model = Lambda(forward, patch=nn.Conv2d(3, 6, 4, 4, bias=False), norm=nn.LayerNorm(6, bias=False))
    pixels = torch.zeros(1, 3, 12, 20)
    pixels[:, :, 4:8, 12:16] = torch.randn(3, 4, 4)
    with record(model, "norm") as recording:
        scores = model(pixels)
    grid = Grid("BNC", rows=3, columns=5, prefix=1)
    strength = (
        (grid.to_maps(recording.activations) * grid.to_maps(gradients(scores, recording.leaf)[0])).abs().sum(1)[0]
    )
    assert strength.flatten().nonzero().tolist() == [[1 * 5 + 3]]
