"""A run of a tiny model in a process of its own, to be killed at any moment: ``python -m tests.runs.tiny_run PHOTOS OUT PAUSE [ray]``."""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vlcam
from vlcam.runs import Run
from vlcam.tasks.classification import Classification

LABELS = ["tiger", "cat", "dog", "crane", "bus"]


class SlowNet(nn.Module):
    """A small network that takes a while."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.features, self.head, self.pause = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 5), pause

    def forward(self, pixels: Tensor) -> Any:
        time.sleep(self.pause)
        return self.head(self.features(pixels).relu().mean((2, 3)))


def run_slowly(photos: Any, out: Path, pause: float = 0.0, **options: Any) -> Run:
    model = SlowNet(pause)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(torch.randn(one.shape, generator=generator))
    task = Classification(model, LABELS, vlcam.Preprocess((16, 16)), layer="features", name="slow")
    return vlcam.run(
        task, photos, out, batch_size=4, shard_size=6, top_k=2, method="gradcam", progress=False, **options
    )


if __name__ == "__main__":
    on_ray = {"ray": True, "ray_actors": 2} if "ray" in sys.argv[4:] else {}
    print("started", flush=True)
    run_slowly(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), **on_ray)
