"""The concepts of generated scenes as masks, and the names that the bundled models' channels get from them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn

from vlcam import __version__
from vlcam.contracts import InputError
from vlcam.neurons import NeuronNames
from vlcam.neurons.dissect import MIN_IOU, PERMUTATIONS, QUANTILE, Batch
from vlcam.neurons.limits import METHODS, limits
from vlcam.neurons.marks import from_dense
from vlcam.neurons.naming import Settings, name_by_masks
from vlcam.neurons.probe import Concept
from vlcam.scenes.record import BACKGROUNDS, COLOURS, PAIRS, SHAPES, SIZES, TEXTURES, Scene, Split
from vlcam.scenes.sample import make
from vlcam.scenes.zoo import Which, load, to_input, weights_folder

REGIONS: Final = ("upper left", "top", "upper right", "left", "centre", "right", "lower left", "bottom", "lower right")
"""The nine cells of a 3 x 3 board, row by row: equal areas, so that no region has a lower IoU ceiling than another."""

CONCEPTS: Final[tuple[Concept, ...]] = (
    ("thing", "object"),
    *((name, "colour") for name in COLOURS),
    *((name, "shape") for name in SHAPES),
    *((name, "texture") for name in TEXTURES),
    *((name, "size") for name in SIZES),
    *((f"{colour} {shape}", "pair") for colour, shape in PAIRS),
    *((name, "background") for name in BACKGROUNDS),
    *((name, "region") for name in REGIONS),
)
"""Name and category of every concept."""

MASK_SIZE: Final = 24
_FINE: Final = 4  # pixels a cell and side that visible areas are measured with
_ROW: Final = {concept: row for row, concept in enumerate(CONCEPTS)}


def concept_masks(scene: Scene, size: int = MASK_SIZE) -> Bool[np.ndarray, "concepts size size"]:
    """Which cells of a ``size`` x ``size`` grid show each concept.

    A cell shows a concept of things if at least half of it is covered by visible parts of such things. A background is where the
    picture has it: everywhere, or nowhere (as scenes are in Network Dissection).
    """
    if isinstance(size, bool) or size < 3:
        raise InputError(f"size {size!r} was given; expected a grid of 3 cells a side or more, such as {MASK_SIZE}")
    visible = scene.masks(size * _FINE)
    out = np.zeros((len(CONCEPTS), size, size), np.bool_)
    cover = visible.reshape(len(visible), size, _FINE, size, _FINE).sum(
        axis=(2, 4)
    )  # things lie side by side: covers add up
    total = np.zeros((len(CONCEPTS), size, size), np.int64)
    for thing, area in zip(scene.things, cover, strict=True):
        for concept in (
            ("thing", "object"),
            (thing.colour, "colour"),
            (thing.shape, "shape"),
            (thing.texture, "texture"),
            (thing.size, "size"),
            (" ".join(thing.pair), "pair"),
        ):
            total[_ROW[concept]] += area
    out[:] = 2 * total >= _FINE * _FINE
    out[_ROW[scene.background, "background"]] = True
    third = (np.arange(size) * 2 + 1) * 3 // (2 * size)  # 0, 1 or 2 by the cell's centre
    for place, name in enumerate(REGIONS):
        out[_ROW[name, "region"]] = (third[:, None] == place // 3) & (third[None, :] == place % 3)
    return out


def name_features(
    which: Which,
    *,
    folder: Path | None = None,
    model: nn.Module | None = None,
    n: int = 1000,
    split: Split = "val",
    seed: int = 0,
    quantile: float = QUANTILE,
    min_iou: float = MIN_IOU,
    permutations: int = PERMUTATIONS,
    bootstrap: int = 100,
    size: int = MASK_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> NeuronNames:
    """Name the last conv channels of a bundled model by Network Dissection on scenes ``0..n-1`` of a split.

    ``folder`` holds other weights than the packaged ones; ``model`` is a model to take instead (with ``features``). ``seed`` is
    that of the null test. ``progress`` is called with (draws done, all draws).
    """
    taken = load(which, folder) if model is None else model
    parts = list(feature_batches(taken, n, split=split, size=size))
    maps = np.concatenate([one.numpy() for one, _ in parts])
    marks = from_dense(CONCEPTS, np.concatenate([masks for _, masks in parts]))
    settings = Settings("iou", quantile, min_iou, permutations, bootstrap=bootstrap, seed=seed)
    told = None if progress is None else (lambda what, done, total: progress(done, total))
    found = name_by_masks(maps, marks, settings, progress=told)
    probe = {
        "command": f"vlcam scenes name --n {n} --seed {seed}",
        "method": METHODS["iou"],
        "scorer": "iou",
        "kind": "generated scenes",
        "split": split,
        "images": n,
        "mask_size": size,
        "concepts": len(CONCEPTS),
        "quantile": quantile,
        "min_score": min_iou,
        "permutations": permutations,
        "bootstrap": bootstrap,
        "seed": seed,
        "vlcam": __version__,
        "notes": limits(n, maps[:, 0].size, settings, found),
        "null": found.curve(),
    }
    sha256 = None if model is not None else _sha256(which, weights_folder() if folder is None else folder)
    return NeuronNames(f"scenes-{which}", "features", sha256, probe, found.units)


def feature_batches(
    model: nn.Module, n: int, *, split: Split = "val", size: int = MASK_SIZE, batch: int = 50
) -> Iterator[Batch]:
    """Activations ``(batch, channels, rows, columns)`` of ``model.features`` and concept masks of scenes ``0..n-1``."""
    features = model.get_submodule("features")
    device = next(features.parameters()).device
    training = {name: module.training for name, module in features.named_modules()}
    features.eval()
    try:
        for start in range(0, n, batch):
            scenes = [make(seed, split) for seed in range(start, min(start + batch, n))]
            images = torch.from_numpy(np.stack([scene.image() for scene in scenes]))
            with torch.no_grad():
                maps = features(to_input(images).to(device)).float().cpu()
            yield maps, np.stack([concept_masks(scene, size) for scene in scenes])
    finally:
        for name, module in features.named_modules():
            module.training = training[name]


def _sha256(which: Which, folder: Path) -> str:
    """The recorded checksum of the weights, which :func:`vlcam.scenes.zoo.load` has checked."""
    return str(json.loads((folder / "sha256.json").read_text())[which])
