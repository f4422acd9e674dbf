"""Models that checkpoint their activations give the maps of models that don't; outside, and in other threads, they checkpoint."""

from threading import Thread
from typing import Any

import pytest
import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn

import vlcam
from vlcam.engine.checkpointing import checkpoint_plainly, is_checkpointing_plainly


class Saving(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
        self.head, self.reentrant = nn.Linear(4, 3), reentrant

    def run(self, part: nn.Module, features: Tensor) -> Any:
        if self.reentrant is None:
            return part(features)
        return checkpointing.checkpoint(part, features, use_reentrant=self.reentrant)

    def forward(self, photos: Tensor) -> Tensor:
        scores: Tensor = self.head(self.run(self.second, self.run(self.first, photos)).mean((2, 3)))
        return scores


@pytest.mark.parametrize("layer", ["first.0", "first", "second.1", None])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_model_has_the_same_maps(reentrant: bool, layer: str | None) -> None:
    photos = torch.rand(2, 3, 16, 16)
    plain, saving = (
        vlcam.attribute(Saving(one).eval(), photos, targets=[0, 2], layer=layer) for one in (None, reentrant)
    )
    assert torch.equal(plain.maps, saving.maps)


def count_saved(net: nn.Module, photos: Tensor) -> int:
    """How many tensors autograd keeps of one run."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        net(photos.requires_grad_())
    return len(kept)


def test_outside_and_in_other_threads_checkpoints_are_checkpoints() -> None:
    net, photos = Saving(False), torch.rand(1, 3, 16, 16)
    before = count_saved(net, photos)
    seen: list[int] = []
    checkpoint_plainly(True)
    try:
        inside = count_saved(net, photos)
        other = Thread(target=lambda: seen.append(count_saved(net, photos)))
        other.start()
        other.join()
    finally:
        checkpoint_plainly(False)
    vlcam.attribute(net, photos.detach(), targets=0)
    assert not is_checkpointing_plainly()
    assert before == seen[0] == count_saved(net, photos) < inside


@pytest.mark.parametrize("reentrant", [False, True])
def test_training_with_checkpoints_goes_on_afterwards(reentrant: bool) -> None:
    nets = [Saving(one) for one in (None, reentrant)]
    photos = torch.rand(1, 3, 16, 16, requires_grad=True)
    vlcam.attribute(nets[1], photos, targets=0)
    for net in nets:
        net(photos).sum().backward()  # reentrant checkpoints know no other way
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
