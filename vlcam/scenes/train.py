"""Trains the three bundled models together, on one convolutional trunk.

Each step takes a batch of drawn scenes with two captions and four questions each. The loss is the sum of the classifier's binary
cross-entropy over colour-shape pairs, the captioner's cross-entropy per word and the VQA model's cross-entropy over answers. In
the first half of the run a fourth, fading loss asks a 1 x 1 convolution on the last conv layer which shape, colour, size and
texture each of its cells shows: with it the trunk learns to see about three times sooner. It is gone in the second half, and
the layer it trains is thrown away. A fifth asks each channel of the last conv layer to fire seldom (lifetime sparseness, Treves and
Rolls 1991): channels then stand for one kind of thing and stay silent elsewhere. From step 3000 on a sixth asks a linear layer on the
spatial mean of that layer which of the 144 combinations of size, texture, colour and shape are there: what belongs to one thing must
then be bound in the channels, since the mean has no places. From step 4000 on two more linear layers ask the same of the photo vectors
of the captioner and of the VQA model. They are all thrown away. The models shipped are exponential moving averages of the weights.

A run is seeded and can be stopped and resumed; ``train.jsonl`` in its folder holds the metrics.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError
from vlcam.scenes.data import CAPTION_VOCABULARY, CELL_KINDS, IGNORED, QUESTION_VOCABULARY, THINGS, Arrays, draw
from vlcam.scenes.models import CHANNELS, HIDDEN, SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.questions import ANSWERS, QUESTION_KINDS
from vlcam.scenes.record import PAIRS
from vlcam.scenes.words import Vocabulary
from vlcam.scenes.zoo import to_input, write_weights

VAL_SCENES = 1000
THINGS_FROM = 3000
PHOTO_THINGS_FROM = 4000
_KIND_WEIGHTS = np.array(
    [{"same": 3.0, "left": 1.6, "above": 1.6, "count": 1.6}.get(kind, 1.0) for kind in QUESTION_KINDS]
)


@final
@dataclass(frozen=True)
class Plan:
    """The settings of a run. ``steps`` may be changed when a run is resumed; everything else must stay."""

    scenes: int = 80_000
    steps: int = 9_000
    batch: int = 64
    peak: float = 2e-3
    decay: float = 0.02
    average: float = 0.998
    sparse: float = 3.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up over 300 steps, flat, then a straight line to zero over the last half."""
        warm = min(1.0, (step + 1) / 300)
        cool = min(1.0, (self.steps - step) / (0.5 * self.steps))
        return self.peak * warm * cool

    def things_weight(self, step: int) -> float:
        """Weight of the loss on whole things, asked of the last conv layer: nothing at first, then 1."""
        return float(step >= THINGS_FROM)

    def photo_things_weight(self, step: int) -> float:
        """Weight of the losses on whole things, asked of the photo vectors: nothing at first, then 1."""
        return float(step >= PHOTO_THINGS_FROM)

    def sparse_weight(self, step: int) -> float:
        """Weight of the sparseness loss: from 0 to ``sparse`` over the first 1000 steps."""
        return self.sparse * min(1.0, step / 1000)

    def cell_weight(self, step: int) -> float:
        """Weight of the loss per cell: from 1 to 0 over the first half."""
        return max(0.0, 1.0 - step / (0.5 * self.steps))


@final
class Family(nn.Module):
    """The three models on one trunk, and the helper layers that are thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = SceneClassifier(len(PAIRS))
        self.captioner = SceneCaptioner(len(CAPTION_VOCABULARY))
        self.vqa = SceneVQA(len(QUESTION_VOCABULARY), len(ANSWERS))
        self.captioner.features = self.classifier.features
        self.vqa.features = self.classifier.features
        self.cells = nn.Conv2d(CHANNELS, sum(CELL_KINDS), 1)
        self.things = nn.Linear(CHANNELS, len(THINGS))
        self.said_things = nn.Linear(HIDDEN, len(THINGS))
        self.asked_things = nn.Linear(HIDDEN, len(THINGS))

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The seven losses of a batch, each a scalar."""
        seen = self.classifier.features(batch["images"])
        pairs = self.classifier.classifier(self.classifier.head(seen)).float()
        photo = self.captioner.head(seen)
        vectors = [self.said_things(photo)]
        words = batch["captions"]  # (batch * captions, length)
        each = len(words) // len(photo)
        said = self.captioner.decode(photo.repeat_interleave(each, 0), words[:, :-1]).float()
        photo = self.vqa.head(seen)
        vectors.append(self.asked_things(photo))
        each = len(batch["questions"]) // len(photo)
        answers = self.vqa.answer(photo.repeat_interleave(each, 0), self.vqa.read(batch["questions"])).float()
        fired = seen.float()
        sparse = fired.mean((0, 2, 3)).square() / (fired.square().mean((0, 2, 3)) + 1e-6)
        cells = self.cells(seen).float().split(CELL_KINDS, dim=1)
        return {
            "pairs": F.binary_cross_entropy_with_logits(pairs, batch["pairs"]) * 10,
            "words": F.cross_entropy(said.flatten(0, 1), words[:, 1:].flatten(), ignore_index=Vocabulary.PAD),
            "answers": F.cross_entropy(answers, batch["answers"], ignore_index=IGNORED),
            "cells": torch.stack(
                [F.cross_entropy(part, batch["cells"][:, row], ignore_index=IGNORED) for row, part in enumerate(cells)]
            ).mean(),
            "sparse": sparse.mean(),
            "things": _presence(self.things(fired.mean((2, 3))), batch["things"]),
            "photo things": _presence(torch.stack(vectors), batch["things"].expand(2, -1, -1)),
        }


def _presence(logits: Tensor, there: Tensor) -> Tensor:
    """Binary cross-entropy, on the scale of the other losses."""
    return F.binary_cross_entropy_with_logits(logits.float(), there) * 40


def make_batch(
    arrays: Arrays, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device
) -> dict[str, Tensor]:
    """One training batch: two captions and four questions a scene; pictures shifted by up to 3 pixels, exposure varied."""
    two = rng.integers(0, arrays.captions.shape[1], (len(rows), 2))
    captions = np.asarray(arrays.captions[rows[:, None], two]).reshape(-1, arrays.captions.shape[-1])
    # Four without replacement, the harder kinds more often: the largest keys u^(1/weight) win (Efraimidis and Spirakis 2006).
    keys = rng.random((len(rows), arrays.questions.shape[1])) ** (1 / _KIND_WEIGHTS[np.asarray(arrays.kinds[rows])])
    four = np.argsort(-keys, axis=1)[:, :4]
    questions = np.asarray(arrays.questions[rows[:, None], four]).reshape(-1, arrays.questions.shape[-1])
    answers = np.asarray(arrays.answers[rows[:, None], four]).reshape(-1)
    images = to_input(torch.from_numpy(np.array(arrays.images[rows])).to(device))
    shift = rng.integers(0, 7, 2)
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    images = padded[:, :, shift[0] : shift[0] + images.shape[2], shift[1] : shift[1] + images.shape[3]]
    gain, lift = (torch.from_numpy(rng.uniform(*span, (len(rows), 1, 1, 1)).astype(np.float32)).to(device)
                  for span in ((0.9, 1.1), (-0.15, 0.15)))  # fmt: skip
    images = (images * gain + lift).contiguous(memory_format=torch.channels_last)
    longest = int((captions != Vocabulary.PAD).sum(1).max())
    widest = max(1, int((questions != Vocabulary.PAD).sum(1).max()))
    return {
        "images": images,
        "pairs": torch.from_numpy(np.array(arrays.pairs[rows])).float().to(device),
        "things": torch.from_numpy(np.array(arrays.things[rows])).float().to(device),
        "cells": torch.from_numpy(np.array(arrays.cells[rows])).long().to(device),
        "captions": torch.from_numpy(captions[:, :longest]).long().to(device),
        "questions": torch.from_numpy(questions[:, :widest]).long().to(device),
        "answers": torch.from_numpy(answers).long().to(device),
    }


def recalibrate(features: nn.Sequential, arrays: Arrays, device: torch.device, *, scenes: int = 2560) -> None:
    """Measure the batch-norm statistics anew for averaged weights, on the first training scenes; leaves everything in eval mode.

    Averaged weights have statistics of their own: those of the run they are averaged from don't fit (Izmailov et al. 2018, 3.2).
    """
    norms = [layer for layer in features if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    features.train()
    with torch.no_grad():
        for start in range(0, min(scenes, len(arrays)), 128):
            features(to_input(torch.from_numpy(np.array(arrays.images[start : start + 128])).to(device)))
    features.eval()
    for norm in norms:
        norm.momentum = 0.1


def _order(plan: Plan, start: int) -> Iterator[tuple[int, NDArray[np.int64], np.random.Generator]]:
    """Rows and randomness of each step from ``start`` on: a pure function of the plan, so a resumed run goes on as it was."""
    per_epoch = plan.scenes // plan.batch
    epoch, rows = -1, np.empty(0, np.int64)
    for step in range(start, plan.steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            rows = np.random.Generator(np.random.PCG64([plan.seed, 1, epoch])).permutation(plan.scenes)
        place = step % per_epoch * plan.batch
        yield step, rows[place : place + plan.batch], np.random.Generator(np.random.PCG64([plan.seed, 2, step]))


def train(
    out: Path,
    plan: Plan,
    *,
    resume: bool = False,
    device: str | None = None,
    report: Callable[[int, int, dict[str, float]], None] | None = None,
    check_every: int = 1000,
) -> Path:
    """Train and write ``classifier|captioner|vqa.safetensors`` into ``out``; returns ``out``.

    ``report(step, steps, numbers)`` is called every 20 steps. Raises InputError for a folder that holds another run.
    """
    from vlcam.scenes.evaluate import quality

    out.mkdir(parents=True, exist_ok=True)
    state_file, plan_file = out / "state.pt", out / "plan.json"
    if state_file.exists() and not resume:
        raise InputError(f"{out} holds a training run; give --resume to go on with it, or another folder")
    if resume and plan_file.exists():
        before = json.loads(plan_file.read_text())
        changed = {k for k, v in asdict(plan).items() if k != "steps" and before.get(k) != v}
        if changed:
            raise InputError(
                f"{out} holds a run with other settings ({', '.join(sorted(changed))}); start anew in another folder"
            )
    plan_file.write_text(json.dumps(asdict(plan), indent=1))
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    note = None if report is None else (lambda done, every: report(0, plan.steps, {"drawn": done, "of": every}))
    arrays = draw(out / "train", "train", plan.scenes, progress=note)
    val = draw(out / "val", "val", VAL_SCENES)

    torch.manual_seed(plan.seed)
    family = Family().to(place).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        family, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.average), use_buffers=False
    )
    optimiser = torch.optim.AdamW(family.parameters(), lr=plan.peak, weight_decay=plan.decay)
    first = 0
    if resume and state_file.exists():
        state = torch.load(state_file, map_location=place, weights_only=True)
        family.load_state_dict(state["family"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])

    def checkpoint(step: int) -> None:
        part = state_file.with_suffix(".part")
        state = {
            "family": family.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
        }
        torch.save(state, part)
        part.replace(state_file)
        averaged = average.module
        assert isinstance(averaged, Family)
        averaged.eval()
        recalibrate(averaged.classifier.features, arrays, place)
        write_weights(out, {"classifier": averaged.classifier, "captioner": averaged.captioner, "vqa": averaged.vqa})
        numbers = quality(averaged.classifier, averaged.captioner, averaged.vqa, val, "val")
        line = {"step": step, "seconds": round(time.monotonic() - began), **numbers}
        with (out / "train.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    began = time.monotonic()
    running: dict[str, float] = {}
    done = first
    for step, rows, rng in _order(plan, first):
        family.train()
        for group in optimiser.param_groups:
            group["lr"] = plan.rate(step)
        with torch.autocast(place.type, torch.bfloat16):
            losses = family.losses(make_batch(arrays, rows, rng, place))
            total = losses["pairs"] + losses["words"] + losses["answers"]
            total = total + plan.cell_weight(step) * losses["cells"] + plan.sparse_weight(step) * losses["sparse"]
            # A loss times zero would still move Adam, so these are left out until they count.
            if plan.things_weight(step):
                total = total + losses["things"]
            if plan.photo_things_weight(step):
                total = total + 2 * losses["photo things"]
        optimiser.zero_grad(set_to_none=True)
        # Training is the one place where parameters want their .grad filled.
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(family.parameters(), 2.0)
        optimiser.step()
        if step >= 100:
            average.update_parameters(family)
        if step % 20 == 0:
            for name, loss in losses.items():
                new = float(loss.detach())
                if not math.isfinite(new):
                    raise FloatingPointError(f"the {name} loss became {new} at step {step}")
                running[name] = 0.9 * running.get(name, new) + 0.1 * new
            if report is not None:
                report(step, plan.steps, running)
        done = step + 1
        if done % check_every == 0 and done < plan.steps:
            checkpoint(done)
    checkpoint(done)
    return out
