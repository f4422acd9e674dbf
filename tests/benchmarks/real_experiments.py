"""Experiments 1, 3 and 6 on real photos, vlcam's maps beside grad-cam's and torchcam's (``pip install '.[bench]'``), scored alike.

    python tests/benchmarks/real_experiments.py [--experiments 1 3 6] [--models squeezenet1_0] [--threads 2]
        [--out FOLDER] [--quick] [--n PHOTOS]

It needs a folder of real photos and weights that is not part of the project (by default ``shared/real`` beside the checkout or further
up): ILSVRC-2012 validation photos with boxes, and the state dicts of two classifiers. The peers' maps enter the experiments as methods
of their own, taken raw, on the grid of the layer, for each of the same targets; so all that differs is the map.
"""

import argparse
import importlib
import importlib.util
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlcam.contracts import PerturbationMethod, Subject
from vlcam.experiments.results.result import Result, make_cells
from vlcam.experiments.running import choose_experiments, run_one
from vlcam.experiments.setting import Setting
from vlcam.methods import list_methods, register

REAL = runpy.run_path(str(Path(__file__).with_name("real_photos.py")))
MODELS = ("squeezenet1_0", "mobilenet_v2")


def grad_cam(subject: Subject) -> Tensor:
    """Raw maps of pytorch-grad-cam's GradCAM, one run and one backward pass for each target, as it works."""
    target = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    layer = subject.model.get_submodule(subject.layer)
    found = []
    with importlib.import_module("pytorch_grad_cam").GradCAM(subject.model, [layer]) as cam:
        for one in subject.targets:
            wanted = [target(one.token_ids[0])]
            cam(subject.image, wanted)
            kept = cam.activations_and_grads
            arrays = (each[0].numpy() for each in (kept.activations, kept.gradients))
            found.append(torch.from_numpy(np.array(cam.get_cam_image(subject.image, layer, wanted, *arrays, False)))[0])
    subject.model.zero_grad()
    return torch.stack(found)


def torchcam(subject: Subject) -> Tensor:
    """Raw maps of torchcam's GradCAM."""
    found = []
    for one in subject.targets:
        with importlib.import_module("torchcam.methods").GradCAM(subject.model, subject.layer) as cam:
            (raw,) = cam([one.token_ids[0]], subject.model(subject.image), normalized=False)
            found.append(raw[0].detach().clone())
    return torch.stack(found)


PEERS = {"pytorch_grad_cam": ("pytorch-grad-cam", grad_cam), "torchcam": ("torchcam", torchcam)}


def peers() -> tuple[str, ...]:
    """The peers that are installed, made known as methods."""
    names = []
    for package, (name, function) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            continue
        if name not in list_methods():
            register(
                PerturbationMethod(name, function, f"{name}'s Grad-CAM", "Selvaraju et al. 2017", "as it computes it")
            )
        names.append(name)
    return tuple(names)


def run(
    real: Path,
    experiments: Sequence[str],
    models: Sequence[str],
    *,
    quick: bool,
    most: int | None,
    out: Path | None,
) -> list[Result]:
    """The results of each experiment with each model."""
    methods = peers()
    found = []
    for name in models:
        place = None if out is None else out / name
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        opened = {f"classification {name}": REAL["load"](real, name)}
        setting = Setting(
            data=real / "ilsvrc_val.json", model=name, methods=methods, quick=quick, most=most, out=place, opened=opened
        )
        found += [run_one(experiment, setting) for experiment in choose_experiments(experiments)]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiments and print their tables; 2 if the photos aren't there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiments", nargs="+", default=["1", "3", "6"])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n", type=int, help="at most that many photos")
    options = parser.parse_args(arguments)
    real: Any = REAL["folder"]()
    if real is None:
        print("no folder shared/real beside the checkout or further up", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    for result in run(real, options.experiments, options.models, quick=options.quick, most=options.n, out=options.out):
        print(f"\n{result.number}. {result.title}: {result.model}, {result.world} ({result.seconds:.0f} s)")
        widths = [max(map(len, column)) for column in zip(*make_cells(result), strict=True)]
        for row in make_cells(result):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(*result.notes, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
