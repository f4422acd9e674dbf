"""What a run costs: batches against one photo at a time, a run against a bare loop, its memory, and two actors of Ray.

    python tests/benchmarks/run_throughput.py [--rounds 3] [--images 64] [--threads 2] [--cpu] [--memory] [--ray] [--short] [--device D]

- **batches**: the bundled captioner and question answerer, explained by Grad-CAM in batches of 16 against one at a time; with names of
  neurons and without. The aim is 3 for the captioner.
- **run**: ``vlcam.run`` of a ResNet-50 with random weights on JPEG files of 500 x 375 pixels, three classes each, against a bare batched
  loop in ``inference_mode`` that opens, prepares and classifies the same files. The aim is 0.9.
- **memory** (``--memory``): the resident memory of a process after 1,000 and after 10,000 photos of a tiny model.
- **Ray** (``--ray``): the same run on two actors, against the run without Ray, after Ray has started.

Ratios are of the same round, so that other work on the machine matters little; ``--cpu`` counts CPU seconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torchvision import models

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import vlcam
from tests.benchmarks.throughput import pictures
from vlcam.image.photo import open_photo
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

BATCH = 16
MEMORY = """
import resource, sys
from pathlib import Path
from tests.runs.tiny_run import run_slowly
run_slowly([sys.argv[1]] * int(sys.argv[2]), Path(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def compare(rounds: int, clock: Callable[[], float], slow: Callable[[], Any], quick: Callable[[], Any]) -> list[float]:
    """How many times quicker the second is than the first, round by round; the first round doesn't count."""
    found = []
    for _ in range(rounds + 1):
        times = []
        for one in (slow, quick):
            began = clock()
            one()
            times.append(clock() - began)
        found.append(times[0] / times[1])
    return sorted(found[1:])


def say(what: str, ratios: list[float]) -> None:
    print(f"{what:58} {statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


def measure_batches(count: int, rounds: int, clock: Callable[[], float], device: str) -> None:
    """Batches of 16 against one at a time."""
    scenes = [vlcam.scenes.make(seed).image(96) for seed in range(count)]
    for what, task, options in (
        ("captioner", bundled.captioner(), {}),
        ("question answerer", bundled.vqa(), {"question": "what colour is the star"}),
        ("classifier", bundled.classifier(), {}),
    ):
        task.model.to(device)
        for names, one in (("with names", task), ("without names", replace(task, names=None))):

            def alone(one: Any = one, options: Any = options) -> None:
                for scene in scenes:
                    vlcam.explain(one, scene, method="gradcam", **options)

            def together(one: Any = one, options: Any = options) -> None:
                for outcome in vlcam.explain_batches(
                    one, scenes, batch_size=BATCH, method="gradcam", progress=False, **options
                ):
                    if outcome.error is not None:
                        raise outcome.error

            say(f"{what}, batches of {BATCH} by one at a time, {names}", compare(rounds, clock, alone, together))


def make_resnet(short: bool, device: str) -> Classification:
    """A classifier with random weights."""
    side = 64 if short else 224
    model = (models.resnet18 if short else models.resnet50)(weights=None).eval().to(device)
    preprocess = vlcam.Preprocess(side, mode="crop", resize_shorter=side * 8 // 7)
    return Classification(model, [f"class {number}" for number in range(1000)], preprocess, layer="layer4")


def measure_run(count: int, rounds: int, clock: Callable[[], float], short: bool, device: str, on_ray: bool) -> None:
    """A run against a bare loop, and on Ray against itself."""
    task = make_resnet(short, device)
    with tempfile.TemporaryDirectory() as folder:
        home, number = Path(folder), 0
        (home / "photos").mkdir()
        for place, picture in enumerate(pictures(count)):
            picture.save(home / "photos" / f"{place:04}.jpg", quality=90)
        files = sorted((home / "photos").iterdir())

        def run(**options: Any) -> None:
            nonlocal number
            number += 1
            vlcam.run(task, home / "photos", home / f"run {number}", method="gradcam", progress=False, **options)

        def loop() -> None:
            preprocess: Any = task.preprocess
            for start in range(0, count, 8):
                with torch.inference_mode():
                    made = [preprocess(open_photo(one)[0])[0] for one in files[start : start + 8]]
                    task.model(torch.cat(made).to(device)).softmax(1).topk(3)

        say("run by a bare loop with the same preprocessing", compare(rounds, clock, loop, run))
        if on_ray:
            import ray

            from vlcam.runs.on_ray import open_ray

            with open_ray(True, 2):
                assert ray.is_initialized()
                two = compare(
                    rounds,
                    time.perf_counter,
                    lambda: run(shard_size=8),
                    lambda: run(shard_size=8, ray=True, ray_actors=2),
                )
            say("two actors of Ray by a plain run (seconds)", two)


def measure_memory(short: bool) -> None:
    """Resident memory after a thousand photos, and after ten thousand."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        pictures(1)[0].resize((100, 75)).save(photo)
        for count in (20, 40) if short else (1000, 10_000):
            command = [sys.executable, "-c", MEMORY, str(photo), str(count), f"{folder}/{count}"]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"resident memory after {count:6} photos: {float(ran.stdout.split()[-1]):7.1f} MiB", flush=True)


def main(given: list[str]) -> int:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of all threads")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--short", action="store_true", help="a small model and few pictures: that it runs")
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu else time.perf_counter
    measure_batches(options.images, options.rounds, clock, options.device)
    measure_run(options.images, options.rounds, clock, options.short, options.device, options.ray)
    if options.memory:
        measure_memory(options.short)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
