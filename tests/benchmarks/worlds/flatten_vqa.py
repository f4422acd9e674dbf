"""A world for measuring maps: a question answerer whose head is flattened and fully connected, so that it knows places.

    python tests/benchmarks/worlds/flatten_vqa.py FOLDER [--seed 0] [--steps 8000] [--scenes 24000] [--threads 1]
    python tests/benchmarks/worlds/flatten_vqa.py FOLDER --methods gradcam,layercam --layers features,middle [--measured 300]

Most classifiers pool their last conv layer, and Grad-CAM's average of the gradient over the picture costs them nothing. This model's
dense layer has weights of its own for every place, so the gradient of a cell says something about that cell alone. It is trained from
scratch on the bundled world's scenes (one or two objects, 64 x 64 pixels; questions for a colour, a shape, and whether something is there)
in some minutes on one core, and then left alone: nothing in it was made with maps in mind.

``load_task(FOLDER)`` is what was trained, as a task. ``draw_cases`` gives test scenes with their questions and the exact mask of what was
asked about.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import vlcam
from vlcam.engine.draws import PrivateDraws
from vlcam.metrics import pointing_hit
from vlcam.metrics.statistics import Summary, summarise
from vlcam.scenes.questions import ANSWERS, QUESTION_WORDS
from vlcam.scenes.record import Question, Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene
from vlcam.tasks.vqa import VQA

SIDE = 64
LAYER = "features"
KINDS = ("colour", "shape", "exists")
SHIFT = 4


def _build_conv(channels: int, out: int, side: int, stride: int = 1) -> list[nn.Module]:
    """A convolution with batch norm and ReLU."""
    return [nn.Conv2d(channels, out, side, stride, side // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


@final
class FlattenVQA(nn.Module):
    """Three convolutions, flattened, fully connected, times the question's words, fully connected again.

    ``features`` is the last conv layer, 16 x 16 cells; ``middle`` is one layer earlier, 32 x 32.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.early = nn.Sequential(*_build_conv(3, 16, 5, stride=2))
        self.middle = nn.Sequential(*_build_conv(16, 32, 3))
        self.features = nn.Sequential(nn.MaxPool2d(2), *_build_conv(32, 64, 3))
        self.flat = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * (SIDE // 8) ** 2, width), nn.ReLU())
        self.read = nn.Sequential(nn.Linear(len(QUESTION_WORDS), width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.answer = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(ANSWERS)))

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Logits ``(batch, answers)`` of images ``(batch, 3, 64, 64)`` and bags of words ``(batch or 1, words)``."""
        seen = self.flat(self.features(self.middle(self.early(images))))
        return cast(Tensor, self.answer(seen * self.read(words)))


@dataclass(frozen=True)
class Case:
    """A scene with a question about it, and the objects that the answer turns on."""

    number: int
    scene: Scene
    question: Question
    mask: Tensor

    @property
    def picture(self) -> np.ndarray:
        """The scene, ``(64, 64, 3)``."""
        return self.scene.image(SIDE)


def make_scene(number: int, split: Split) -> Scene:
    """A scene of the bundled world with only its first one or two objects."""
    scene = make(number, split)
    return replace(scene, objects=scene.objects[: 1 + number % 2])


def list_questions(scene: Scene, most: int) -> list[Question]:
    """Questions of the kinds that the model learns."""
    return [one for one in scene.questions(12) if one.kind in KINDS][:most]


def read_words(question: str) -> Tensor:
    """The question as a bag of words ``(1, words)``."""
    words = question.lower().split()
    return torch.tensor([[float(word in words) for word in QUESTION_WORDS]])


def to_input(pictures: Tensor) -> Tensor:
    """0..255, channels last, to -1..1, channels first."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def draw(split: Split, scenes: int, each: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures; bags of words, numbers of the right answers, and which picture each question is about."""
    pictures, words, answers, about = [], [], [], []
    for number in range(scenes):
        scene = make_scene(number, split)
        pictures.append(torch.from_numpy(scene.image(SIDE)))
        for question in list_questions(scene, each):
            words.append(read_words(question.text)[0])
            answers.append(ANSWERS.index(question.answer))
            about.append(number)
    return torch.stack(pictures), torch.stack(words), torch.tensor(answers), torch.tensor(about)


def shift(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures moved by up to four pixels each way, all alike."""
    wide = nn.functional.pad(pictures, (SHIFT,) * 4, mode="replicate")
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
    return wide[:, :, down : down + SIDE, right : right + SIDE]


def train(folder: Path, *, seed: int, steps: int, scenes: int, batch: int = 48) -> float:
    """Train the model, write ``flatten_vqa.safetensors`` and ``flatten_vqa.json`` into the folder; the share of right answers."""
    began = time.monotonic()
    pictures, words, answers, about = draw("train", scenes, 6)
    print(f"{len(pictures)} scenes, {len(answers)} questions drawn in {time.monotonic() - began:.0f} s", flush=True)
    with PrivateDraws(seed):
        model = FlattenVQA()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    running = math.log(len(ANSWERS))
    for step in range(steps):
        rate = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 200) * rate
        rows = torch.randint(0, len(answers), (batch,), generator=generator)
        images = shift(to_input(pictures[about[rows]]), generator)
        loss = nn.functional.cross_entropy(model(images, words[rows]), answers[rows])
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        running = 0.99 * running + 0.01 * float(loss.detach())
        if step % 500 == 0:
            print(f"step {step}, loss {running:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    model.eval()
    right = measure_accuracy(model, "val", 600)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "flatten_vqa.safetensors")
    settings = {"seed": seed, "steps": steps, "scenes": scenes, "accuracy": right, "seconds": time.monotonic() - began}
    (folder / "flatten_vqa.json").write_text(json.dumps(settings) + "\n", encoding="utf-8")
    return right


def measure_accuracy(model: FlattenVQA, split: Split, scenes: int) -> float:
    """The share of right answers on scenes that it wasn't trained on."""
    pictures, words, answers, about = draw(split, scenes, 6)
    with torch.no_grad():
        said = torch.cat(
            [
                model(to_input(pictures[about[rows]]), words[rows]).argmax(1)
                for rows in torch.arange(len(answers)).split(256)
            ]
        )
    return float((said == answers).double().mean())


def load_task(folder: Path) -> VQA:
    """What was trained, as a task."""
    model = FlattenVQA()
    model.load_state_dict(load_file(folder / "flatten_vqa.safetensors"))
    return make_task(model.eval())


def make_task(model: FlattenVQA) -> VQA:
    """A model as a task."""
    return VQA(
        model,
        answers=ANSWERS,
        preprocess=vlcam.Preprocess(size=(SIDE, SIDE), mode="resize", mean=(0.5,) * 3, std=(0.5,) * 3, resample="box"),
        read=read_words,
        logits=_score_answers,
        layer=LAYER,
        name="flatten-vqa",
    )


def _score_answers(model: nn.Module, images: Any, words: Any) -> Tensor:
    return cast(Tensor, model(images, words))


def draw_cases(task: VQA, split: Split, first: int, scenes: int, each: int = 3) -> Iterator[Case]:
    """Questions that the model answers rightly, other than "no", with the visible pixels of the objects asked about."""
    for number in range(first, first + scenes):
        scene = make_scene(number, split)
        masks = scene.masks(SIDE)
        images = to_input(torch.from_numpy(scene.image(SIDE))[None])
        for question in list_questions(scene, each):
            if not question.decides:
                continue
            with torch.no_grad():
                said = ANSWERS[int(task.model(images, read_words(question.text)).argmax())]
            if said == question.answer:
                yield Case(number, scene, question, torch.from_numpy(masks[list(question.decides)].any(axis=0)))


def point(
    task: VQA, split: Split, first: int, scenes: int, methods: Sequence[str], layers: Sequence[str]
) -> dict[str, dict[str, Summary]]:
    """How often each method's map has its highest point on what was asked about, at each layer: all answers, and by kind of question."""
    rows: dict[str, list[tuple[int, str, bool]]] = {}
    for case in draw_cases(task, split, first, scenes):
        for layer, method in product(layers, methods):
            one = vlcam.explain(task, case.picture, question=case.question.text, top_k=1, layer=layer, method=method)
            hit = bool(pointing_hit(one[0].heatmap(), case.mask))
            rows.setdefault(f"{method} at {layer}", []).append((case.number, case.question.kind, hit))
    return {
        name: {
            title: summarise([hit for _, _, hit in some], seed=0, clusters=[number for number, _, _ in some])
            for title in ("all", *KINDS)
            if (some := [row for row in found if title in ("all", row[1])])
        }
        for name, found in rows.items()
    }


def main(given: list[str]) -> int:
    """Train, unless that is done, and say how good the model is; or measure methods on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--scenes", type=int, default=24000, help="to train on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", default="", help="measure these, separated by commas")
    parser.add_argument("--layers", default=LAYER, help="at these, separated by commas")
    parser.add_argument("--first", type=int, default=0, help="the first test scene")
    parser.add_argument("--measured", type=int, default=300, help="how many test scenes")
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    if not (options.folder / "flatten_vqa.safetensors").is_file():
        right = train(options.folder, seed=options.seed, steps=options.steps, scenes=options.scenes)
        print(f"{right:.3f} of the questions about other scenes are answered rightly")
    if options.methods:
        task, methods, layers = load_task(options.folder), options.methods.split(","), options.layers.split(",")
        for name, found in point(task, "test", options.first, options.measured, methods, layers).items():
            cells = (
                f"{title} {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}] n {one.n}" for title, one in found.items()
            )
            print(f"{name:28} {'; '.join(cells)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
