"""What ran before a layer isn't run again: the outputs of the modules before it are kept, and given in their place."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.tiny import Captioner, Cnn, lively, snapshot
from vlcam.contracts import LayerError
from vlcam.engine.recording import gradients, record
from vlcam.engine.restore import preserve_model
from vlcam.engine.run_once import pause_recording
from vlcam.engine.tower import Tower, get_rows, list_siblings, replay

PHOTO = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def watch(model: nn.Module, layer: str, *inputs: Tensor) -> tuple[Tower, Tensor, Tensor]:
    """The tower of one run, the layer's output, and what the model said."""
    tower = Tower()
    with record(model, layer, tower=tower) as recording:
        out = model(*inputs)
    recording.resolve(out.sum())
    return tower, recording.leaf.detach(), out.detach()


def count_runs(model: nn.Module) -> dict[str, int]:
    """How often each module's own computation ran from now on, counted by what it calls."""
    runs: dict[str, int] = {}
    for name, module in model.named_modules():
        if not list(module.children()):
            own = type(module).forward

            def forward(*args: Any, _module: nn.Module = module, _own: Any = own, _name: str = name) -> Any:
                runs[_name] = runs.get(_name, 0) + 1
                return _own(_module, *args)

            module.forward = forward
    return runs


def test_only_what_follows_runs_and_gives_the_same() -> None:
    model = lively(Cnn())
    before = snapshot(model)
    tower, leaf, out = watch(model, "block.0", PHOTO)
    assert tower.is_complete
    runs = count_runs(model)
    with preserve_model(model), replay(model, tower, "block.0", leaf):
        again = model(PHOTO)
    assert torch.equal(again.detach(), out)
    assert not any(name.startswith(("stem", "block.0")) for name in runs)
    assert runs["block.1.conv"] == 1 and runs["fc"] == 1
    for module in model.modules():
        module.__dict__.pop("forward", None)
    assert snapshot(model) == before


def test_many_rows_in_one_pass_are_as_one_by_one() -> None:
    model = lively(Cnn())
    tower, leaf, _ = watch(model, "stem", PHOTO)
    points = leaf * torch.linspace(0, 1, 4)[:, None, None, None]
    with preserve_model(model):
        with replay(model, tower, "stem", points.requires_grad_()):
            assert get_rows() == 4
            found = model(PHOTO)
        slopes = gradients(found[:, 2].sum(), points)
        for row in range(4):
            one = points[row : row + 1].detach().requires_grad_()
            with replay(model, tower, "stem", one):
                alone = model(PHOTO)
            torch.testing.assert_close(alone[0], found[row])
            torch.testing.assert_close(gradients(alone[0, 2], one)[0, 0], slopes[0, row])
    assert get_rows() == 1


def test_without_a_tower_all_runs_again_and_the_layer_is_replaced() -> None:
    model = lively(Cnn())
    _, leaf, out = watch(model, "stem", PHOTO)
    runs = count_runs(model)
    with preserve_model(model), replay(model, None, "stem", leaf * 2):
        other = model(PHOTO)
    assert runs["stem.0"] == 1 and not torch.equal(other.detach(), out)


class Reader(nn.Module):
    """A text branch that runs before the photo's, modules in a list, and a layer that returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 8)
        self.blocks = nn.ModuleList(nn.Conv2d(3 if not n else 8, 8, 3, padding=1) for n in range(3))
        self.last = Pair()
        self.fc = nn.Linear(8, 4)

    def forward(self, photo: Tensor, ids: Tensor) -> Any:
        read = self.words(ids).mean(1)
        for block in self.blocks:
            photo = functional.relu(block(photo))
        photo, extra = self.last(photo)
        return self.fc(photo.mean((2, 3)) * read + extra)


class Pair(nn.Module):
    def forward(self, photo: Tensor) -> tuple[Tensor, float]:
        return photo.tanh(), 1.0


def test_lists_text_branches_and_tuples() -> None:
    model, ids = lively(Reader()), torch.tensor([[1, 3]])
    assert list(list_siblings(model, "last")) == ["words", "blocks.0", "blocks.1", "blocks.2", "fc"]
    tower, leaf, out = watch(model, "last", PHOTO, ids)
    runs = count_runs(model)
    with preserve_model(model), replay(model, tower, "last", torch.cat([leaf, leaf * 0])):
        found = model(PHOTO, ids)
    torch.testing.assert_close(found[:1].detach(), out)
    assert runs == {"fc": 1} and not torch.allclose(found[0], found[1])


def test_one_photo_of_a_batch() -> None:
    model = lively(Cnn())
    photos = torch.cat([PHOTO, PHOTO.flip(3), PHOTO * 0.5])
    tower, leaf, out = watch(model, "block", photos)
    mine = tower.select(1, 3)
    with preserve_model(model), replay(model, mine, "block", leaf[1:2]):
        found = model(photos[1:2])
    torch.testing.assert_close(found.detach(), out[1:2])


class Overwriter(nn.Module):
    """Changes a kept output in place: before the layer, where that doesn't matter, and beside it, where it does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer, self.fc = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        self.around = False

    def forward(self, photo: Tensor) -> Any:
        made = self.first(photo)
        made += 1
        seen = self.layer(made).mean((2, 3))
        return self.fc(seen + made.mean((2, 3)) if self.around else seen)


def test_what_is_overwritten_stays_as_it_was_kept() -> None:
    model = lively(Overwriter())
    tower, leaf, out = watch(model, "layer", PHOTO)
    found = []
    for around in (False, True, True):
        model.around = around
        with preserve_model(model), replay(model, tower, "layer", leaf):
            found.append(model(PHOTO).detach())
    assert torch.equal(found[0], out)
    assert torch.equal(found[1], found[2])  # not added to once more each time


def test_what_runs_unseen_is_not_kept() -> None:
    model = lively(Captioner())
    tower, words = Tower(), torch.tensor([[1, 2, 3]])
    with record(model, "encoder", tower=tower) as recording:
        with pause_recording():
            model(PHOTO * 0, words)
        out = model(PHOTO, words)
    recording.resolve(out.sum())
    assert tower.leaf is not None and torch.equal(recording.leaf.detach(), tower.leaf)


def test_a_layer_without_tensors_is_refused() -> None:
    class Texts(nn.Module):
        def forward(self, photo: Tensor) -> str:
            return "no tensor"

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.texts = Texts()

        def forward(self, photo: Tensor) -> Any:
            self.texts(photo)
            return photo

    model = Model()
    with (
        pytest.raises(LayerError, match="layer 'texts' returned str with no floating-point tensor"),
        preserve_model(model),
        replay(model, None, "texts", PHOTO),
    ):
        model(PHOTO)


class Shared(nn.Module):
    """One ReLU in three places, two of them before the layer."""

    def __init__(self) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.first, self.one, self.second, self.two = nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu
        self.layer, self.three, self.fc = nn.Conv2d(4, 4, 1), relu, nn.Linear(4, 2)

    def forward(self, photo: Tensor) -> Any:
        seen = self.layer(self.two(self.second(self.one(self.first(photo)))))
        return self.fc(self.three(seen).mean((2, 3)))


def test_a_module_in_several_places_is_kept_run_by_run() -> None:
    model = lively(Shared())
    assert list(list_siblings(model, "layer")) == ["first", "one", "second", "fc"]
    tower, leaf, out = watch(model, "layer", PHOTO)
    for _ in range(2):
        with preserve_model(model), replay(model, tower, "layer", leaf):
            assert torch.equal(model(PHOTO).detach(), out)
