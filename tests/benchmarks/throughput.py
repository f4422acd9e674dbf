"""What a stream of explanations costs: images through ResNet-50 against the same images through a bare batched forward loop.

    python tests/benchmarks/throughput.py [--rounds 5] [--images 64] [--threads 2] [--cpu] [--short] [--json FILE]

64 decoded pictures of 500 x 375 pixels, random weights, batches of 8, the three most probable classes of each. Two bare loops in
``inference_mode``: with the preprocessing of every picture, which is the work that a person would write, and on inputs that were
made before. The loops run in one process, batch by batch in turn, and ratios are of the same round, so that other work on the
machine matters little.
The ratio is the bare loop's time by vlcam's: 1 is as fast, and 0.9 is the aim for the loop with preprocessing.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import models

import vlcam
from vlcam.tasks.classification import Classification

AIM = 0.9
BATCH = 8

Loop: TypeAlias = Callable[[], Iterator[None]]


def pictures(count: int, size: tuple[int, int] = (500, 375)) -> list[Image.Image]:
    """Pictures of a ``(width, height)`` that are smooth in places, as photos are; each different."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 16, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one in coarse]


def made_loops(count: int, short: bool) -> dict[str, Loop]:
    """The three loops over the same pictures; each stops after every batch."""
    side = 64 if short else 224
    preprocess = vlcam.Preprocess(side, mode="crop", resize_shorter=side * 8 // 7)
    model = (models.resnet18 if short else models.resnet50)(weights=None).eval()
    task = Classification(model, [f"class {number}" for number in range(1000)], preprocess, layer="layer4")
    images = pictures(count)
    made = [preprocess(image)[0] for image in images]

    def forward(inputs: Sequence[Tensor]) -> None:
        model(torch.cat(list(inputs))).softmax(1).topk(3)

    def bare() -> Iterator[None]:
        for start in range(0, count, BATCH):
            with torch.inference_mode():
                forward([preprocess(image)[0] for image in images[start : start + BATCH]])
            yield

    def forwards() -> Iterator[None]:
        for start in range(0, count, BATCH):
            with torch.inference_mode():
                forward(made[start : start + BATCH])
            yield

    def explained() -> Iterator[None]:
        for outcome in vlcam.explain_batches(task, images, batch_size=BATCH, progress=False):
            if outcome.error is not None:
                raise outcome.error
            if outcome.index % BATCH == BATCH - 1:
                yield

    return {"bare loop": bare, "forwards only": forwards, "vlcam": explained}


def measure(loops: dict[str, Loop], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every round; the first, in which memory is taken and kernels are chosen, doesn't count."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        spent = dict.fromkeys(loops, 0.0)
        running = {name: loop() for name, loop in loops.items()}
        while running:
            for name, loop in list(running.items()):
                began = clock()
                if next(loop, running) is running:
                    del running[name]
                spent[name] += clock() - began
        if number:
            for name, seconds in spent.items():
                times[name].append(seconds)
    return times


def main(given: list[str]) -> int:
    """Print the ratios; the exit code is 1 if the one with the preprocessing is below the aim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cpu", action="store_true", help="CPU seconds of all threads, for a machine with other work to do"
    )
    parser.add_argument("--short", action="store_true", help="a small model and pictures: that it runs, not how fast")
    parser.add_argument("--json", type=Path, help="a file for the table, which the documentation shows")
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.process_time if options.cpu else time.perf_counter
    times = measure(made_loops(options.images, options.short), options.rounds, clock)
    for name, found in times.items():
        print(f"{name:14} {statistics.median(found) / options.images * 1e3:7.1f} ms for an image")
    low = False
    rows = []
    for name, what in (("bare loop", "with preprocessing"), ("forwards only", "without preprocessing")):
        rounds = sorted(bare / mine for bare, mine in zip(times[name], times["vlcam"], strict=True))
        ratio = statistics.median(rounds)
        low |= name == "bare loop" and ratio < AIM
        rows.append([f"a bare loop, {what}", f"{ratio:.2f}"])
        print(f"throughput by that of the bare loop, {what:18} {ratio:.3f} ({rounds[0]:.3f} to {rounds[-1]:.3f})")
    if options.json is not None:
        document = {
            "command": f"python tests/benchmarks/throughput.py --rounds {options.rounds} --images {options.images} "
            f"--threads {options.threads}" + " --cpu" * options.cpu,
            "versions": {"vlcam": vlcam.__version__, "torch": torch.__version__},
            "head": ["compared with", "vlcam's throughput by its"],
            "rows": rows,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(low and not options.short)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
