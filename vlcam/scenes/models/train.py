"""Trains the three bundled models, in two stages.

First together, on one convolutional trunk. Each step takes a batch of drawn scenes with two captions and four questions each. The
loss is the sum of the classifier's binary cross-entropy over colour-shape pairs, the captioner's cross-entropy per word and the VQA
model's over answers, and of helper losses whose layers are discarded afterwards:

- ``cells``, fading over the first half of the schedule: a 1 x 1 convolution on the last conv layer predicts which shape, colour, size and
  texture each of its cells shows;
- ``sparse``: each channel of that layer should fire rarely (lifetime sparseness, Treves and Rolls 1991), so that it stands for one kind
  of object and stays silent elsewhere;
- ``objects``, from step 3000 on: a linear layer on the spatial mean of that layer predicts which of the 144 combinations of size, texture,
  colour and shape are there; what belongs to one object must then be bound in the channels, since the mean has no positions;
- ``photo objects``, from step 4000 on: the same, predicted from the photo vectors of the captioner and of the VQA model.

The trunk is an exponential moving average of the weights. Then it is fixed, and the layers after it are trained alone
(:mod:`vlcam.scenes.models.heads`).

A run is seeded and can be stopped and resumed; ``train.jsonl`` in its folder holds the metrics.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vlcam.contracts import InputError
from vlcam.engine.draws import PrivateDraws
from vlcam.files import encode_record, parse_json, read_json, read_text, show_path, write_json
from vlcam.scenes.models.data import draw
from vlcam.scenes.models.family import SceneModels, recalibrate
from vlcam.scenes.models.family import make_batch as make_batch
from vlcam.scenes.models.heads import fit_heads, load_state, save_state
from vlcam.scenes.models.plan import AVERAGE_FROM
from vlcam.scenes.models.plan import TrainingPlan as TrainingPlan
from vlcam.scenes.models.zoo import write_weights

VAL_SCENES = 1000


def _iterate_steps(plan: TrainingPlan, start: int) -> Iterator[tuple[int, NDArray[np.int64], np.random.Generator]]:
    """Rows and randomness of each step from ``start`` on: a pure function of the plan, so a resumed run continues unchanged."""
    per_epoch = plan.scenes // plan.batch
    epoch, rows = -1, np.empty(0, np.int64)
    for step in range(start, plan.steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            rows = np.random.Generator(np.random.PCG64([plan.seed, 1, epoch])).permutation(plan.scenes)
        place = step % per_epoch * plan.batch
        yield step, rows[place : place + plan.batch], np.random.Generator(np.random.PCG64([plan.seed, 2, step]))


def _read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of the run's log."""
    file, what = out / "train.jsonl", "the log of a training run"
    return (
        [parse_json(line, show_path(file), what) for line in read_text(file, what).splitlines()]
        if file.exists()
        else []
    )


def _read_seconds_spent(out: Path) -> float:
    """The seconds that a stopped run had taken when it last wrote to its log."""
    return float(max((line["seconds"] for line in _read_log(out)), default=0.0))


def train(
    out: Path,
    plan: TrainingPlan,
    *,
    resume: bool = False,
    device: str | None = None,
    report: Callable[[int, int, dict[str, float]], None] | None = None,
    check_every: int = 1000,
) -> Path:
    """Train and write ``classifier|captioner|vqa.safetensors`` into ``out``; returns ``out``.

    ``report(step, steps, numbers)`` is called every 20 steps. With ``resume``, a run that was stopped continues from its last checkpoint
    and ends as if it had not been stopped; ``seconds`` in the log leave out what was lost and done again. Raises InputError for a folder
    that holds another run.
    """
    from vlcam.scenes.models.quality import evaluate_models

    out.mkdir(parents=True, exist_ok=True)
    state_file, plan_file = out / "state.pt", out / "plan.json"
    if not resume and any((out / name).exists() for name in ("state.pt", "heads.pt", "train.jsonl")):
        raise InputError(f"{out} holds a training run; give --resume to continue it, or another folder")
    settings = encode_record(plan, nonfinite="null")
    if resume and plan_file.exists():
        before = read_json(plan_file, "the plan of a training run")
        changed = {name for name, value in settings.items() if before.get(name) != value}
        if changed:
            raise InputError(
                f"{out} holds a run with other settings ({', '.join(sorted(changed))}); start again in another folder"
            )
    write_json(plan_file, settings)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    total_steps = plan.steps + plan.head_steps + plan.caption_steps
    note = None if report is None else (lambda done, every: report(0, total_steps, {"drawn": done, "of": every}))
    arrays = draw(out / "train", "train", plan.scenes, progress=note)
    val = draw(out / "val", "val", VAL_SCENES)

    with PrivateDraws(plan.seed):
        family = SceneModels()
    family = family.to(place).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        family, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.average), use_buffers=False
    )
    optimiser = torch.optim.AdamW(family.parameters(), lr=plan.peak, weight_decay=plan.decay)
    first, spent = 0, 0.0
    if resume and state_file.exists():
        state = load_state(state_file, place)
        family.load_state_dict(state["family"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first, spent = int(state["step"]), _read_seconds_spent(out)

    def checkpoint(step: int) -> None:
        save_state(
            {
                "family": family.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
            },
            state_file,
        )
        log(step, averaged_family())

    def averaged_family() -> SceneModels:
        averaged = average.module
        assert isinstance(averaged, SceneModels)
        averaged.eval()
        recalibrate(averaged.classifier.features, arrays, place)
        return averaged

    def log(step: int, models: SceneModels) -> None:
        write_weights(out, {"classifier": models.classifier, "captioner": models.captioner, "vqa": models.vqa})
        if step in (line["step"] for line in _read_log(out)):
            return
        numbers = evaluate_models(models.classifier, models.captioner, models.vqa, val, "val")
        line = {"step": step, "seconds": round(spent + time.monotonic() - began), **numbers}
        with (out / "train.jsonl").open("a") as lines:
            lines.write(json.dumps(line) + "\n")

    began = time.monotonic()
    running: dict[str, float] = {}
    done = first
    for step, rows, rng in _iterate_steps(plan, first):
        family.train()
        for group in optimiser.param_groups:
            group["lr"] = plan.get_rate(step)
        with torch.autocast(place.type, torch.bfloat16):
            losses = family.compute_losses(make_batch(arrays, rows, rng, place))
            total = losses["pairs"] + losses["words"] + losses["answers"]
            total = (
                total + plan.get_cell_weight(step) * losses["cells"] + plan.get_sparse_weight(step) * losses["sparse"]
            )
            # A loss times zero would still move Adam, so these are left out until they count.
            if plan.get_object_weight(step):
                total = total + losses["objects"]
            if plan.get_photo_object_weight(step):
                total = total + 2 * losses["photo objects"]
        optimiser.zero_grad(set_to_none=True)
        # Training is the one place where parameters need their .grad filled.
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(family.parameters(), 2.0)
        optimiser.step()
        if step >= AVERAGE_FROM:
            average.update_parameters(family)
        if step % 20 == 0:
            for name, loss in losses.items():
                new = float(loss.detach())
                if not math.isfinite(new):
                    raise FloatingPointError(f"the {name} loss became {new} at step {step}")
                running[name] = 0.9 * running.get(name, new) + 0.1 * new
            if report is not None:
                report(step, total_steps, running)
        done = step + 1
        if done % check_every == 0 and done < plan.steps:
            checkpoint(done)
    if first < plan.steps:
        checkpoint(done)
    fit_heads(
        averaged_family(),
        arrays,
        plan,
        state_file=out / "heads.pt",
        device=place,
        check=lambda step, models: log(plan.steps + step, models),
        report=None if report is None else (lambda step, _, numbers: report(plan.steps + step, total_steps, numbers)),
        check_every=check_every,
    )
    return out
