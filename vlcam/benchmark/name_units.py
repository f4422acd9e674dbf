"""The concepts of generated scenes as masks, and the names that the bundled models' channels get from them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vlcam._version import __version__
from vlcam.neurons import NeuronNames
from vlcam.neurons.limits import METHODS, list_limits
from vlcam.neurons.probes.marks import from_dense
from vlcam.neurons.probes.scenes import CONCEPTS, MASK_SIZE, make_concept_masks
from vlcam.neurons.scoring.choose import name_by_masks
from vlcam.neurons.scoring.dissect import MIN_IOU, PERMUTATIONS, QUANTILE, Batch
from vlcam.neurons.scoring.settings import Settings
from vlcam.scenes.models.zoo import ModelName, get_weights_folder, load, read_checksums, to_input
from vlcam.scenes.record import Split
from vlcam.scenes.sample import make


def name_features(
    which: ModelName,
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

    ``folder`` holds other weights than the packaged ones; ``model`` is a model to use instead (with ``features``). ``seed`` is
    that of the null test. ``progress`` is called with (draws done, all draws).
    """
    taken = load(which, folder) if model is None else model
    parts = list(make_feature_batches(taken, n, split=split, size=size))
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
        "notes": list_limits(n, maps[:, 0].size, settings, found),
        "null": found.make_null_curve(),
    }
    sha256 = None if model is not None else read_checksums(get_weights_folder() if folder is None else folder)[which]
    return NeuronNames(f"scenes-{which}", "features", sha256, probe, found.units, found.together)


def make_feature_batches(
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
            yield maps, np.stack([make_concept_masks(scene, size) for scene in scenes])
    finally:
        for name, module in features.named_modules():
            module.training = training[name]
