"""What naming units costs beyond the forward passes: 512 channels, 1,000 pictures, 1,000 concepts, and how that grows with pictures.

    python tests/benchmarks/naming.py [--images 1000] [--channels 512] [--concepts 1000] [--cells 7] [--threads 2] [--growth]

Synthetic maps (7 x 7, smooth, sparse as after a ReLU) and labels as dense as Broden's (per picture a scene and 14 objects and parts,
on 56 x 56 cells). It prints the seconds of each part and the peak memory of the process. The aim is 180 seconds on 2 cores.
"""

import argparse
import resource
import sys
import time

import numpy as np
import torch

from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.probes.probe import GridLabels
from vlcam.neurons.scoring.choose import name_by_masks
from vlcam.neurons.scoring.cover import Cover, average_precisions, bin_levels, correlations
from vlcam.neurons.scoring.scorers import OverlapScorer
from vlcam.neurons.scoring.settings import Settings

GRID = 56
PRESENT = 14


def maps(images: int, channels: int, cells: int, seed: int = 0) -> np.ndarray:
    """Activations after a ReLU: most are 0, and neighbours are alike."""
    made = torch.Generator().manual_seed(seed)
    out = np.empty((images, channels, cells, cells), np.float32)
    for start in range(0, images, 100):
        some = min(100, images - start)
        coarse = torch.randn(some, channels, 4, 4, generator=made)
        fine = torch.nn.functional.interpolate(coarse, size=(cells, cells), mode="bilinear", align_corners=False)
        noise = torch.randn(some, channels, cells, cells, generator=made)
        out[start : start + some] = (fine + 0.3 * noise - 0.5).relu().numpy()
    return out


def labels(images: int, concepts: int, seed: int = 0) -> Marks:
    """One scene of a tenth of the concepts for each whole picture, and boxes of the others."""
    rng = np.random.default_rng(seed)
    scenes = max(1, concepts // 10)
    names = tuple((f"scene {n}", "scene") if n < scenes else (f"object {n}", "object") for n in range(concepts))
    marks = Marks(names, (GRID, GRID))
    for _ in range(images):
        chosen = np.sort(rng.choice(np.arange(scenes, concepts), min(PRESENT, concepts - scenes), replace=False))
        masks = np.zeros((len(chosen) + 1, GRID, GRID), bool)
        masks[0] = True
        for mask in masks[1:]:
            y, x = rng.integers(0, GRID - 8, 2)
            height, width = rng.integers(6, 28, 2)
            mask[y : y + height, x : x + width] = True
        every = np.concatenate([[rng.integers(scenes)], chosen])
        marks.add(GridLabels(every, masks, np.arange(2), np.ones((2, GRID, GRID), bool)))
    return marks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--concepts", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--growth", action="store_true", help="Also a quarter and half of the pictures.")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for images in (options.images // 4, options.images // 2, options.images) if options.growth else (options.images,):
        measure(images, options)
    return 0


def measure(images: int, options: argparse.Namespace) -> None:
    seen, marks = maps(images, options.channels, options.cells), labels(images, options.concepts)
    began = time.perf_counter()
    settings = Settings(permutations=options.permutations)
    name_by_masks(seen, marks, settings)
    total = time.perf_counter() - began
    parts = {}
    start = time.perf_counter()
    overlap = OverlapScorer(seen, marks, settings.quantile)
    parts["thresholds, firing and IoU"] = time.perf_counter() - start
    start = time.perf_counter()
    overlap.score_by_chance(options.permutations, 0)
    parts[f"{options.permutations} permutations"] = time.perf_counter() - start
    start = time.perf_counter()
    overlap.measure_stability(settings.bootstrap, 0)
    parts["100 bootstrap samples"] = time.perf_counter() - start
    start = time.perf_counter()
    cover = Cover.from_marks(marks, (options.cells, options.cells))
    correlations(seen, cover)
    parts["correlation"] = time.perf_counter() - start
    start = time.perf_counter()
    average_precisions(bin_levels(seen), cover)
    parts["average precision"] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{images} pictures, {options.channels} channels, {options.concepts} concepts: {total:.1f} s, peak {peak:.1f} GB"
    )
    for what, seconds in parts.items():
        print(f"  {what:<28}{seconds:7.1f} s")


if __name__ == "__main__":
    sys.exit(main())
