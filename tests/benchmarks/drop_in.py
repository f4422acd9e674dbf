"""How far the maps of ``vlcam.explanation.GradCAM`` are from those of pytorch-grad-cam, for which it stands in.

    python tests/benchmarks/drop_in.py [--images 8] [--short] [--json FILE]

Networks of torchvision with random weights, batch-norms set to what the layers give, and random images, each with its own class. Both make
maps from 0 to 1 at the size of the input. Counted are the maps that are equal (nowhere more than 0.0001 apart), and those of opposite sense
(their correlation is below 0). It needs pytorch-grad-cam: ``pip install '.[bench]'``.
"""

import argparse
import importlib
import json
import statistics
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlcam.explanation import GradCAM

EQUAL = 1e-4
CALLS: tuple[tuple[str, dict[str, Any], str, dict[str, Any]], ...] = (
    ("GradCAM", {}, "gradcam", {}),
    ("HiResCAM", {}, "hirescam", {}),
    ("LayerCAM", {}, "layercam", {}),
    ("XGradCAM", {}, "xgradcam", {}),
    ("GradCAMPlusPlus", {}, "gradcam++", {}),
    ("EigenCAM", {}, "eigen-cam", {}),
    ("EigenCAM", {}, "eigen-cam", {"eigen_smooth": True}),
    ("EigenGradCAM", {}, "hirescam", {"eigen_smooth": True}),
    ("GradCAM", {"aug_smooth": True}, "gradcam", {"aug_smooth": True}),
    ("GradCAM", {"eigen_smooth": True}, "gradcam", {"eigen_smooth": True}),
    ("LayerCAM", {"eigen_smooth": True}, "layercam", {"eigen_smooth": True}),
)
"""Their class and its options, and what is said here in its place."""


def list_networks(short: bool) -> Iterator[tuple[str, nn.Module, nn.Module, Any]]:
    """Names, networks, the explained layer and its reshape_transform."""
    from torchvision import models

    def tokens_to_map(tokens: Tensor) -> Tensor:
        grid: Tensor = tokens[:, 1:].mT.unflatten(2, (6, 6))
        return grid

    plain: list[tuple[str, str]] = [
        ("resnet18", "layer4"),
        ("vgg11_bn", "features.28"),
        ("mobilenet_v2", "features.18"),
    ]
    for name, layer in plain[:1] if short else [*plain, ("densenet121", "features.norm5")]:
        model = settle_norms(getattr(models, name)(weights=None))
        yield name, model, model.get_submodule(layer), None
    vit = models.VisionTransformer(96, 16, 4, 4, 64, 128, num_classes=1000).eval()
    nn.init.normal_(vit.heads.head.weight)
    yield "a small ViT", vit, vit.get_submodule("encoder.layers.encoder_layer_3.ln_1"), tokens_to_map


def settle_norms(model: nn.Module) -> nn.Module:
    """The network in eval mode, its batch-norms with the statistics of a random batch."""
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 96, 96))
    return model.eval()


def compare(theirs: Any, number: int, network: tuple[Any, ...], images: Tensor) -> list[tuple[float, float]]:
    """For each image how far the two maps are apart at most, and how they correlate."""
    name, options, method, ours = CALLS[number]
    _, model, layer, reshape = network
    targets = [theirs.utils.model_targets.ClassifierOutputTarget(100 + one) for one in range(len(images))]
    with getattr(theirs, name)(model=model, target_layers=[layer], reshape_transform=reshape) as cam:
        expected = cam(input_tensor=images, targets=targets, **options)
    found = GradCAM(model, [layer], reshape, method=method)(images, targets, **ours)
    return [
        (
            float(np.abs(one - two).max()),
            float(np.corrcoef(one.ravel(), two.ravel())[0, 1]) if one.any() and two.any() else 1.0,
        )
        for one, two in zip(found, expected, strict=True)
    ]


def describe(name: str, options: dict[str, Any]) -> str:
    """A call in words, as code."""
    return f"`{', '.join([name, *(f'{key}={value}' for key, value in options.items())])}`"


def main(given: list[str]) -> int:
    """Print the table; the exit code is 2 without that package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--short", action="store_true", help="two networks: that it runs")
    parser.add_argument("--json", type=Path, help="a file for the table, which the documentation shows")
    options = parser.parse_args(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its own imports
        try:
            theirs = importlib.import_module("pytorch_grad_cam")
        except ImportError as error:
            print(f"pytorch-grad-cam can't be imported ({error}): pip install '.[bench]'", file=sys.stderr)
            return 2
    torch.manual_seed(0)
    networks = list(list_networks(options.short))
    images = torch.randn(options.images, 3, 96, 96)
    rows = []
    for number, (name, asked, method, ours) in enumerate(CALLS):
        # What the network overwrites in place is a difference of its own, and has its own row.
        for kind in (False, True):
            chosen = [one for one in networks if (one[0] == "densenet121") == kind]
            pairs = [pair for one in chosen for pair in compare(theirs, number, one, images)]
            if not pairs or (kind and (asked or ours)):
                continue
            apart = [far for far, _ in pairs]
            others = [far for far in apart if far > EQUAL]
            rows.append(
                [
                    describe(name, asked) + (", DenseNet's last norm" if kind else ""),
                    describe(f'method="{method}"', ours),
                    str(len(pairs)),
                    str(len(pairs) - len(others)),
                    str(sum(along < 0 for _, along in pairs)),
                    f"{statistics.median(others):.2g}" if others else "",
                    f"{max(apart):.1g}",
                ]
            )
            print(*rows[-1], sep="  ", flush=True)
    if options.json is not None:
        document = {
            "command": f"python tests/benchmarks/drop_in.py --images {options.images}",
            "versions": {"grad-cam": version("grad-cam"), "torch": torch.__version__},
            "head": [
                "pytorch-grad-cam",
                "`vlcam.explanation.GradCAM`",
                "maps",
                "equal",
                "of opposite sense",
                "how far the others are apart (median)",
                "how far any is apart",
            ],
            "rows": rows,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
