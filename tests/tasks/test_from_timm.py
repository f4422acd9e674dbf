"""timm's models opened at another size than their weights were trained at."""

from typing import Any

import numpy as np
import pytest
import torch

import vlcam
from vlcam.tasks.from_timm import wrap_timm

timm = pytest.importorskip("timm")

PHOTO = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "options", "size", "grid"),
    [
        ("vit_tiny_patch16_224", {"img_size": 112}, (112, 112), (7, 7)),
        ("vit_tiny_patch16_224", {"img_size": (96, 160)}, (160, 96), (6, 10)),
        ("vit_tiny_patch16_224", {"img_size": 96, "dynamic_img_size": True}, (96, 96), (6, 6)),
        ("deit_tiny_distilled_patch16_224", {"img_size": 96}, (96, 96), (6, 6)),
        ("swin_tiny_patch4_window7_224", {"img_size": 112, "depths": (1, 1, 1, 1)}, (112, 112), (4, 4)),
        ("volo_d1_224", {"img_size": 96}, (96, 96), (6, 6)),
    ],
)
def test_the_size_is_that_of_the_model(
    name: str, options: dict[str, Any], size: tuple[int, int], grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    few = {"depth": 2} if name.startswith(("vit", "deit")) else {}
    task = wrap_timm(timm.create_model(name, num_classes=3, **few, **options), name, labels=["a", "b", "c"])
    found = vlcam.explain(task, PHOTO)
    assert found.geometry.input_size == size
    assert tuple(found.maps.shape[1:]) == grid


def test_a_preprocessing_that_is_given_tells_the_size() -> None:
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2, dynamic_img_size=True)
    task = vlcam.load(net, labels=["a", "b", "c"], preprocess=vlcam.Preprocess((64, 48)))
    assert tuple(vlcam.explain(task, PHOTO).maps.shape[1:]) == (3, 4)


def test_a_model_that_runs_at_no_size_is_refused() -> None:
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2)
    with pytest.raises(vlcam.InputError, match=r"runs at none of the sizes .*64 x 48.*vlcam\.Preprocess"):
        vlcam.load(net, labels=["a", "b", "c"], preprocess=vlcam.Preprocess((64, 48)))
