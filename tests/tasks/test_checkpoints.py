"""Checkpoints of trainers: their tensors are read, whatever else is in them is neither imported nor called."""

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.tasks.checkpoints import Ignored, drop_prefix, read_tensors
from vlcam.tasks.states import read_state

LABELS = ["a", "b"]
ARCH = "torchvision/squeezenet1_1"


def make_state(prefix: str = "") -> dict[str, Tensor]:
    from torchvision.models import get_model

    torch.manual_seed(0)
    return {prefix + name: one for name, one in get_model("squeezenet1_1", num_classes=2).state_dict().items()}


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def save_lightning(path: Path, state: dict[str, Tensor], **more: Any) -> None:
    """A checkpoint as Lightning writes it, hyperparameters as objects."""
    torch.save(
        {
            "epoch": 3,
            "state_dict": state,
            "hyper_parameters": argparse.Namespace(lr=0.1, root=PurePosixPath("data"), sizes={1, 2}),
            "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}],
            "callbacks": {"best": Path("best.ckpt")},
            **more,
        },
        path,
    )


@pytest.mark.parametrize("prefix", ["", "model.", "net.backbone.", "module.model."])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_trainers_checkpoint_is_loaded(tmp_path: Path, prefix: str, legacy: bool) -> None:
    state = make_state(prefix)
    path = tmp_path / "last.ckpt"
    if legacy:
        everything = {"state_dict": state, "hyper_parameters": argparse.Namespace(lr=1)}
        torch.save(everything, path, _use_new_zipfile_serialization=False)
    else:
        save_lightning(path, {**state, "loss.weight": torch.ones(2)} if prefix else state)
    task = vlcam.load(path, arch=ARCH, labels=LABELS)
    for name, one in make_state().items():
        assert torch.equal(task.model.state_dict()[name], one)


def test_no_code_of_a_checkpoint_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "evil.ckpt"
    save_lightning(path, make_state("model."), evil=Evil(mark))
    vlcam.load(path, arch=ARCH, labels=LABELS)
    assert isinstance(read_tensors(path)["evil"], Ignored)
    assert not mark.exists()
    torch.save({"weights": Evil(mark)}, path)
    with pytest.raises(vlcam.InputError, match="holds more than tensors"):
        read_state(path)
    torch.save(Evil(mark), path)
    with pytest.raises(vlcam.InputError, match="holds more than tensors"):
        read_state(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "builtins.getattr", "torch.load", "torch.storage._load_from_bytes"]
)
def test_names_that_could_do_something_are_ignored(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    raw = b"\x80\x02c" + module.encode() + b"\n" + attribute.encode() + b"\nX\x01\x00\x00\x00x\x85R."
    from vlcam.tasks.checkpoints import _InertPickle

    (tmp_path / "raw").write_bytes(raw)
    with (tmp_path / "raw").open("rb") as file:
        assert isinstance(_InertPickle.load(file), Ignored)
    assert pickle.loads(pickle.dumps(3)) == 3  # pickle itself is as it was


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(vlcam.InputError, match="holds more than tensors"):
        read_state(tmp_path / "whole.pt")


def test_a_prefix_is_dropped_only_where_the_model_is_under_it() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))

    own = build().state_dict()
    assert drop_prefix(own, build) == own
    under = {f"net.{name}": one for name, one in own.items()} | {"other": torch.ones(1)}
    assert {name: id(one) for name, one in drop_prefix(under, build).items()} == {
        name: id(one) for name, one in own.items()
    }
    elsewhere = {"stem.weight": torch.ones(1)}
    assert drop_prefix(elsewhere, build) == elsewhere


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    save_lightning(tmp_path / "other.ckpt", {"model.weight": torch.ones(2, 2)})
    with pytest.raises(vlcam.InputError, match="the state dict is not that of"):
        vlcam.load(tmp_path / "other.ckpt", arch=ARCH, labels=["a", "b"])
