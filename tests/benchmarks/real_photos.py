"""How well maps find the object in real photos: vlcam beside grad-cam and torchcam (``pip install '.[bench]'``), and baselines.

    python tests/benchmarks/real_photos.py [--photos 150] [--threads 2] [--folder PATH]

It needs a folder of real photos and weights that is not part of the project (by default ``shared/real`` beside the checkout or further
up): ILSVRC-2012 validation photos with boxes, and the state dicts of two classifiers. All maps are of the photo's own class.

- box: the error of the paper's localisation with the class given: the share of photos where the tight box of the largest part above
  15 % of the map's maximum has an IoU of less than 0.5 with every true box. box top-1: also the model's first class has to be right.
- point, point 15: the pointing game, whether the map's highest point lies in a true box, or less than 15 pixels of the photo in its
  original size away from one.

"As they come" takes each library's maps the way it gives them: vlcam's heatmaps on the photo; grad-cam's, normalised and resized to
the model's input; torchcam's, normalised, resized as its ``overlay_mask`` does (PIL, bicubic). "Same maps" takes the raw maps on the
layer's grid, brought to the photo by vlcam, and says by how much they differ from vlcam's at most, by the maximum of each map.
"""

import argparse
import contextlib
import importlib
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import vlcam
from vlcam.contracts import Method
from vlcam.image.geometry import Box, make_resize_geometry, to_photo
from vlcam.methods import get_one_run_method as find_method
from vlcam.metrics import box_from_map, box_hit, localisation_error

LAYER = "features"
MODELS = {
    "squeezenet1_0": ("squeezenet1_0_imagenet.pth", vlcam.Preprocess(227)),
    "mobilenet_v2": ("mobilenet_v2_imagenet_qat.pth", vlcam.Preprocess(225, mean=(0.5,) * 3, std=(0.5,) * 3)),
}
METHODS = {  # vlcam's name: grad-cam's class, torchcam's class
    "gradcam": ("GradCAM", "GradCAM"),
    "gradcam++": ("GradCAMPlusPlus", "GradCAMpp"),
    "layercam": ("LayerCAM", "LayerCAM"),
    "hirescam": ("HiResCAM", None),
    "xgradcam": ("XGradCAM", "XGradCAM"),
}


def _with_an_epsilon(activations: Tensor, gradients: Tensor) -> Tensor:
    """grad-cam's Grad-CAM++: 1e-6 is added to a denominator that is smaller than that where gradients are small."""
    bottom = 2 * gradients**2 + activations.sum((2, 3), keepdim=True) * gradients**3 + 1e-6
    weights = (gradients**2 / bottom * gradients.relu()).sum((2, 3), keepdim=True)
    return (weights * activations).sum(1)


def _without_denominator(activations: Tensor, gradients: Tensor) -> Tensor:
    """torchcam's Grad-CAM++: ``alpha[mask].div_(denominator)`` divides a copy, so ``G^2`` is never divided."""
    return ((gradients**2 * gradients.relu()).sum((2, 3), keepdim=True) * activations).sum(1)


# What a peer computes where it isn't the paper's formula: measured as well, to be sure that this is all of the difference.
DEVIATIONS = {
    ("grad-cam", "gradcam++"): Method("with 1e-6", _with_an_epsilon, "with 1e-6 in the denominator", "", ""),
    ("torchcam", "gradcam++"): Method("numerator", _without_denominator, "without the denominator", "", ""),
}
TOLERANCE = 15.0
BATCH = 15


@dataclass(frozen=True)
class Photo:
    """A photo with the boxes of all objects of its class, in its own pixels; ``pixel`` is one of them in the original's pixels."""

    image: Image.Image
    label: int
    boxes: tuple[Box, ...]
    pixel: tuple[float, float]


@dataclass(frozen=True)
class Score:
    """Shares of photos, 0 to 1."""

    box_error: float
    box_error_top1: float
    points: float
    points_15: float


def folder() -> Path | None:
    """``shared/real`` beside the checkout or further up, if there is one."""
    return next((up / "shared/real" for up in Path(__file__).resolve().parents if (up / "shared/real").is_dir()), None)


def photos(real: Path, count: int | None = None) -> list[Photo]:
    """The photos with boxes, in the order of their list."""
    found = []
    for entry in json.loads((real / "ilsvrc_val.json").read_text())[:count]:
        image = Image.open(real / "ilsvrc_val" / entry["file"]).convert("RGB")
        width, height = (side / own for side, own in zip(entry["original_size"], image.size, strict=True))
        boxes = tuple((left, top, right, bottom) for left, top, right, bottom in entry["boxes"])
        found.append(Photo(image, entry["label"], boxes, (width, height)))
    return found


def load(real: Path, name: str) -> Any:
    """One of the classifiers, from its state dict."""
    file, prepare = MODELS[name]
    return vlcam.load(real / "weights" / file, arch=f"torchvision/{name}", preprocess=prepare)


def batches(task: Any, some: Sequence[Photo]) -> Iterator[tuple[Tensor, list[int]]]:
    """The model's inputs and the classes to explain, a few photos at a time."""
    for start in range(0, len(some), BATCH):
        part = some[start : start + BATCH]
        yield torch.cat([task.preprocess(photo.image)[0] for photo in part]), [photo.label for photo in part]


def vlcam_maps(task: Any, some: Sequence[Photo], methods: Sequence[Method]) -> tuple[dict[str, Tensor], list[int]]:
    """Raw maps on the layer's grid, ``(photos, rows, columns)`` for every method, and the model's first classes.

    vlcam finds the layer by itself.
    """
    tops: list[int] = []
    found: dict[str, list[Tensor]] = {method.name: [] for method in methods}
    for inputs, labels in batches(task, some):
        with vlcam.record(task.model) as recording:
            logits = task.model(inputs)
            scores = logits[range(len(labels)), labels].sum()
        tops += logits.argmax(1).tolist()
        slopes = vlcam.gradients(scores, recording.resolve(scores))[0]
        if recording.layer_name != LAYER:
            raise ValueError(f"the peers explain {LAYER}, but vlcam found {recording.layer_name}")
        for method in methods:
            found[method.name].append(method.function(recording.activations, slopes).relu())
    return {name: torch.cat(maps) for name, maps in found.items()}, tops


def grad_cam_maps(task: Any, some: Sequence[Photo], name: str) -> tuple[Tensor, Tensor]:
    """grad-cam's maps: normalised and resized to the input, as it gives them; and raw on the grid."""
    target = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    layer = task.model.get_submodule(LAYER)
    given, raw = [], []
    for inputs, labels in batches(task, some):
        with getattr(importlib.import_module("pytorch_grad_cam"), name)(task.model, [layer]) as cam:
            targets = [target(label) for label in labels]
            given.append(torch.from_numpy(np.array(cam(inputs, targets))))
            kept = cam.activations_and_grads
            arrays = (one[0].numpy() for one in (kept.activations, kept.gradients))
            raw.append(torch.from_numpy(np.array(cam.get_cam_image(inputs, layer, targets, *arrays, False))).relu())
    task.model.zero_grad()
    return torch.cat(given), torch.cat(raw)


def torchcam_maps(task: Any, some: Sequence[Photo], name: str) -> tuple[Tensor, Tensor]:
    """torchcam's maps: normalised and resized to the input as its ``overlay_mask`` does; and raw on the grid."""
    given, raw = [], []
    for inputs, labels in batches(task, some):
        with getattr(importlib.import_module("torchcam.methods"), name)(task.model, LAYER) as cam:
            (found,) = cam(labels, task.model(inputs), normalized=False)
            size, bicubic = (inputs.shape[3], inputs.shape[2]), Image.Resampling.BICUBIC
            raw.append(found.detach().clone())
            normal = cam._normalize(found.detach())
            large = [np.array(Image.fromarray(one.numpy()).resize(size, bicubic)) for one in normal]
            given.append(torch.from_numpy(np.stack(large)))
    return torch.cat(given), torch.cat(raw)


PEERS = {"grad-cam": grad_cam_maps, "torchcam": torchcam_maps}
"""In the order of the names in METHODS."""


def judged(heats: Sequence[Tensor], some: Sequence[Photo], tops: Sequence[int]) -> Score:
    """How well heatmaps find the objects; those of another size than the photo lie on all of it."""
    found, points, points_15 = [], [], []
    for heat, photo in zip(heats, some, strict=True):
        across, down = photo.image.width / heat.shape[1], photo.image.height / heat.shape[0]
        box = box_from_map(heat)
        found.append(None if box is None else (box[0] * across, box[1] * down, box[2] * across, box[3] * down))
        boxes = [(left / across, top / down, right / across, bottom / down) for left, top, right, bottom in photo.boxes]
        pixel = photo.pixel[0] * across, photo.pixel[1] * down
        points.append(box_hit(heat, boxes, pixel=pixel))
        points_15.append(box_hit(heat, boxes, pixel=pixel, tolerance=TOLERANCE))
    truths = [photo.boxes for photo in some]
    said = [box if top == photo.label else None for box, top, photo in zip(found, tops, some, strict=True)]
    return Score(
        localisation_error(found, truths),
        localisation_error(said, truths),
        statistics.fmean(points),
        statistics.fmean(points_15),
    )


def on_photos(maps: Tensor, task: Any, some: Sequence[Photo]) -> list[Tensor]:
    """Grid maps on the photos' pixels."""
    return [
        to_photo(one[None], task.preprocess.geometry(photo.image.size))[0]
        for one, photo in zip(maps, some, strict=True)
    ]


def apart(maps: Tensor, ours: Tensor) -> float:
    """The largest difference of two libraries' raw maps, by the maximum of each map of ours; both after the ReLU."""
    scale = ours.amax((1, 2)).clamp_min(1e-30)
    return float(((maps.relu() - ours).abs().amax((1, 2)) / scale).max())


def baselines(some: Sequence[Photo], tops: Sequence[int], grid: Sequence[int], draws: int = 10) -> dict[str, Score]:
    """What needs no model: the middle, random maps of the layer's grid (mean of so many draws), and the whole photo.

    The middle is a Gaussian of a quarter of the side; the whole photo's box is the photo, and its points are random pixels.
    """
    places = [torch.linspace(-0.5, 0.5, 2 * side + 1, dtype=torch.float64)[1::2] for side in some[0].image.size[::-1]]
    middle = torch.exp(-8 * (places[0][:, None] ** 2 + places[1][None] ** 2))
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(draws):
        noise = torch.rand(len(some), *grid, generator=generator)
        heats = [
            to_photo(one[None], make_resize_geometry(photo.image.size, photo.image.size))[0]
            for one, photo in zip(noise, some, strict=True)
        ]
        drawn.append(judged(heats, some, tops))
    means = [statistics.fmean(getattr(one, name) for one in drawn) for name in Score.__dataclass_fields__]
    whole = judged([torch.ones(photo.image.height, photo.image.width) for photo in some], some, tops)
    return {
        "the middle": judged([middle] * len(some), some, tops),
        "random map": Score(*means),
        "whole photo": Score(
            whole.box_error,
            whole.box_error_top1,
            statistics.fmean(_covered(photo, 0.0) for photo in some),
            statistics.fmean(_covered(photo, TOLERANCE) for photo in some),
        ),
    }


def _covered(photo: Photo, tolerance: float) -> float:
    """The share of the photo's pixels that lie in a box or less than ``tolerance`` away: what a random pixel hits."""
    x, y = (torch.arange(side, dtype=torch.float64) + 0.5 for side in photo.image.size)
    hit = torch.zeros(len(y), len(x), dtype=torch.bool)
    for left, top, right, bottom in photo.boxes:
        beside = torch.maximum(left - x, x - right).clamp_min(0) * photo.pixel[0]
        above = torch.maximum(top - y, y - bottom).clamp_min(0) * photo.pixel[1]
        away = torch.hypot(beside[None], above[:, None])
        hit |= (away == 0) | (away < tolerance)
    return float(hit.double().mean())


def _line(name: str, score: Score, note: str = "") -> None:
    cells = (score.box_error, score.box_error_top1, score.points, score.points_15)
    print(f"    {name:26}" + "".join(f"{one:12.3f}" for one in cells) + f"    {note}")


def compare(real: Path, count: int | None) -> None:
    """Print the tables of both models."""
    some = photos(real, count)
    for name in MODELS:
        task = load(real, name)
        methods = [*(find_method(method) for method in METHODS), *DEVIATIONS.values()]
        maps, tops = vlcam_maps(task, some, methods)
        right = statistics.fmean(top == photo.label for top, photo in zip(tops, some, strict=True))
        print(f"\n{name}, {len(some)} photos, top-1 accuracy {right:.3f}")
        print(f"    {'':26}" + "".join(f"{title:>12}" for title in ("box", "box top-1", "point", "point 15")))
        for method, names in METHODS.items():
            print(f"  {method}")
            _line("vlcam", judged(on_photos(maps[method], task, some), some, tops))
            for (peer, make), theirs in zip(PEERS.items(), names, strict=True):
                if theirs is None:
                    continue
                with contextlib.suppress(ModuleNotFoundError):
                    own, raw = make(task, some, theirs)
                    _line(f"{peer}, as they come", judged(list(own), some, tops))
                    difference = f"raw maps differ by {apart(raw, maps[method]):.1e}"
                    if (peer, method) in DEVIATIONS:
                        variant = DEVIATIONS[peer, method]
                        left = apart(raw, maps[variant.name])
                        difference += f"; from the formula {variant.title} by {left:.1e}"
                    _line(f"{peer}, same maps", judged(on_photos(raw, task, some), some, tops), difference)
        print("  baselines")
        for title, score in baselines(some, tops, next(iter(maps.values())).shape[1:]).items():
            _line(title, score)
    chance = 1.96 * (0.25 / len(some)) ** 0.5
    print("\nbox: error, lower is better; point: higher is better.")
    print(f"95 % intervals of shares of {len(some)} photos reach at most {chance:.2f} to either side.")


def main(given: list[str]) -> int:
    """Print the tables; the exit code is 2 where there are no real photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, help="only so many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=folder())
    options = parser.parse_args(given)
    if options.folder is None:
        print("there is no folder shared/real beside the checkout or further up; give --folder", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    compare(options.folder, options.photos)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
