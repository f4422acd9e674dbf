"""What the default method and masked gradients cost, in bare forward passes of the same input in the same process, and how that grows.

    python tests/benchmarks/method_cost.py [--rounds 5] [--threads 2] [--short] [--json FILE]

Every round times the bare forward (of the bundled captioner: its greedy search; of BLIP: the words, scored once) and each explanation
once, one after the other, so that a noisy machine hurts all alike; printed is the median over rounds of explanation / bare. An explanation
is all of ``vlcam.explain``: opening the photo, every map, and giving the model back.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import models

import vlcam
from vlcam.contracts import Request, Task
from vlcam.methods import make_masked_gradients
from vlcam.scenes.sample import make
from vlcam.tasks import bundled
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.classification import Classification
from vlcam.tasks.hub_speech import HubSpeech

ROWS: dict[str, float | None] = {
    "MobileNetV2, auto (Grad-CAM)": 1.15,
    "ResNet-20 at 32 px, auto (Grad-CAM)": 1.5,
    "bundled captioner, all words, auto": 3.0,
    "BLIP-base, 11 words, gradcam": 2.3,
    "BLIP-base, 11 words, 4 masks": 7.0,
}
"""What is timed, and how many bare forwards it may take."""


class Block(nn.Module):
    """A residual block of a ResNet for small pictures (He et al. 2016, arXiv 1512.03385, section 4.2)."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(before, channels, 3, stride, 1, bias=False),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)
        self.short = nn.Identity() if stride == 1 else nn.Conv2d(before, channels, 1, stride, bias=False)

    def forward(self, photo: torch.Tensor) -> Any:
        """What the block adds to its input."""
        inner = self.relu(self.norms[0](self.first(photo)))
        return self.relu(self.norms[1](self.second(inner)) + self.short(photo))


def make_resnet20() -> nn.Module:
    """A ResNet of 20 layers for pictures of 32 pixels."""
    widths = [
        (16, 16, 1),
        (16, 16, 1),
        (16, 16, 1),
        (16, 32, 2),
        (32, 32, 1),
        (32, 32, 1),
        (32, 64, 2),
        (64, 64, 1),
        (64, 64, 1),
    ]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    return nn.Sequential(
        nn.Sequential(*stem, *(Block(*one) for one in widths)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    ).eval()


class Numbers:
    """A tokenizer whose words are the numbers of tokens."""

    def encode(self, text: str) -> Sequence[int]:
        """The numbers in a text."""
        return [int(one) for one in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """The numbers as a text."""
        return " ".join(map(str, ids))


def make_blip(short: bool) -> Captioning:
    """A captioner of the size of BLIP-base with random weights."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    tiny: dict[str, Any] = {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
    }
    size = 64 if short else 384
    config = BlipConfig(
        text_config={**(tiny if short else {}), "encoder_hidden_size": 32 if short else 768},
        vision_config={**(tiny if short else {}), "image_size": size, "initializer_range": 0.02},
    )
    speech, preprocess = HubSpeech("vision_model"), vlcam.Preprocess((size, size))
    from vlcam.engine.layers import Grid

    def prepare(photo: Image.Image) -> tuple[Any, vlcam.Geometry]:
        pixels, geometry = preprocess(photo)
        return {"pixel_values": pixels}, geometry

    side = size // 16
    return Captioning(
        BlipForConditionalGeneration(config).eval(),
        tokens=Numbers(),
        preprocess=prepare,
        encode=speech.look,
        generate=speech.generate,
        logits=speech.compute_logits,
        logits_of_batch=speech.compute_batch_logits,
        layer="vision_model.post_layernorm",
        layout=Grid("BNC", rows=side, columns=side, prefix=1),
        name="blip",
    )


def make_cases(short: bool) -> Iterator[tuple[str, Task, Any, dict[str, Any]]]:
    """What is explained: its name, the task, the photo and the options."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    small = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    names = list(ROWS)
    torch.manual_seed(0)
    mobile = Classification(
        models.mobilenet_v2(num_classes=100).eval(),
        [str(number) for number in range(100)],
        vlcam.Preprocess((64, 64) if short else (224, 224)),
        layer="features",
    )
    yield names[0], mobile, photo, {}
    resnet = Classification(make_resnet20(), [str(number) for number in range(10)], vlcam.Preprocess((32, 32)))
    yield names[1], resnet, small, {}
    yield names[2], bundled.captioner(), Image.fromarray(make(0, "test").image()), {}
    blip = make_blip(short)
    words = " ".join(str(number) for number in range(2000, 2011))
    yield names[3], blip, photo, {"caption": words, "method": "gradcam"}
    yield names[4], blip, photo, {"caption": words, "method": make_masked_gradients(4, form="balanced")}


def time_ratio(task: Task, photo: Any, options: dict[str, Any], rounds: int) -> float:
    """The median over rounds of the time of an explanation by that of a bare forward."""
    request = Request(caption=options.get("caption"), top_k=3)
    prepared = task.prepare(photo, request)

    def run_bare() -> None:
        with torch.inference_mode():
            if isinstance(task, Captioning) and request.caption is None:
                task.generate(task.model, task.encode(task.model, prepared.inputs))
            else:
                task.run(prepared, request)

    return compare_times(run_bare, partial(vlcam.explain, task, photo, **options), rounds)


def compare_times(bare: Callable[[], Any], work: Callable[[], Any], rounds: int) -> float:
    """The median over rounds of the time of some work by that of the bare forward beside it; the first round warms up."""
    return statistics.median([_time(work) / _time(bare) for _ in range(rounds + 1)][1:])


def _time(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def make_growth(short: bool, rounds: int) -> list[list[str]]:
    """How the cost of the bundled captioner's masked gradients grows with words, masks and photos, in greedy searches of one photo."""
    task, picture = bundled.captioner(), Image.fromarray(make(0, "test").image())
    prepared = task.prepare(picture, Request())
    words = ["a", "large", "striped", "red", "star", "left", "of", "a", "small", "blue", "circle"]

    def run_bare() -> None:
        with torch.inference_mode():
            task.generate(task.model, task.encode(task.model, prepared.inputs))

    cases: dict[str, tuple[Any, dict[str, Any]]] = {}
    for count in (1, 5, 11) if not short else (1, 2):
        cases[f"{count} words, 8 masks"] = picture, {"caption": " ".join(words[:count])}
    for masks in (2, 4, 8, 16) if not short else (2, 4):
        method = make_masked_gradients(masks, form="balanced")
        cases[f"11 words, {masks} masks"] = picture, {"caption": " ".join(words), "method": method}
    for photos in (4, 8) if not short else (2,):
        cases[f"11 words, 8 masks, {photos} photos"] = [picture] * photos, {"caption": " ".join(words)}
    return [
        [name, f"{compare_times(run_bare, partial(vlcam.explain, task, *case[:1], **case[1]), rounds):.2f}"]
        for name, case in cases.items()
    ]


def main(given: list[str]) -> int:
    """Print the ratios beside what they may be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="small models and few rounds: that it runs, not how fast")
    parser.add_argument("--json", type=Path, help="a file for the table, which the documentation shows")
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    rows = []
    for name, task, photo, chosen in make_cases(options.short):
        ratio, most = time_ratio(task, photo, chosen, options.rounds), ROWS[name]
        print(f"{name:40} {ratio:6.2f} bare forwards (aim: at most {most})", flush=True)
        rows.append([name, f"{ratio:.2f}", str(most)])
    growth = make_growth(options.short, options.rounds)
    for name, text in growth:
        print(f"{name:40} {text:>6}")
    if options.json is not None:
        document = {
            "command": f"python tests/benchmarks/method_cost.py --rounds {options.rounds} --threads {options.threads}",
            "versions": {"vlcam": vlcam.__version__, "torch": torch.__version__},
            "head": ["work", "bare forwards", "aim: at most"],
            "rows": [*rows, *([f"bundled captioner, {name}", text, ""] for name, text in growth)],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
