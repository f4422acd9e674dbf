"""The second stage of training: what follows the last conv layer, on a trunk that no longer changes.

The trunk's pooled features of all training scenes are computed once (and once more for the scenes shifted by a few pixels), so a step
costs a fraction of a whole one and many more can be taken.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.files import refuse_broken, replace_file, show_path
from vlcam.scenes.models.data import IGNORED, Arrays
from vlcam.scenes.models.family import SceneModels, compute_presence_loss, sample_texts
from vlcam.scenes.models.plan import TrainingPlan
from vlcam.scenes.models.vocabulary import Vocabulary
from vlcam.scenes.models.zoo import to_input

CHUNK = 128


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that either the old or the new one is there, whatever happens."""
    with replace_file(path) as part:
        torch.save(state, part)


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint that :func:`save_state` wrote; layers that earlier versions named differently get their present names."""
    with refuse_broken(show_path(path), "the checkpoint of a training run; remove it to start again"):
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    for key in state.keys() & {"family", "average"}:
        state[key] = {name.replace("things.", "objects."): value for name, value in state[key].items()}
    return state


def pool_features(
    features: nn.Sequential, pool: nn.Module, arrays: Arrays, *, shift: int, seed: int, device: torch.device
) -> NDArray[np.float16]:
    """``(N, channels * 16)``: the last conv layer pooled to 4 x 4 cells, of pictures shifted by up to ``shift`` pixels each way."""
    rng = np.random.Generator(np.random.PCG64([seed, 3, shift]))
    rows: list[NDArray[np.float16]] = []
    features.eval()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        for start in range(0, len(arrays), CHUNK):
            images = to_input(torch.from_numpy(np.array(arrays.images[start : start + CHUNK])).to(device))
            if shift:
                down, right = rng.integers(0, 2 * shift + 1, 2)
                wide = F.pad(images, (shift,) * 4, mode="replicate")
                images = wide[:, :, down : down + images.shape[2], right : right + images.shape[3]]
            images = images.contiguous(memory_format=torch.channels_last)
            rows.append(pool(features(images)).half().cpu().numpy())
    return np.concatenate(rows)


def compute_caption_loss(family: SceneModels, photo: Tensor, captions: Tensor, *, smoothing: float) -> Tensor:
    """The captioner's loss per word, from photo vectors and some captions of each.

    It is label-smoothed. A captioner that is practically certain of a word (``p`` > 0.999) is flat around the photo, and the gradient of
    its log-probability says little about what led to the word.
    """
    each = len(captions) // len(photo)
    said = family.captioner.decode(photo.repeat_interleave(each, 0), captions[:, :-1]).float()
    wanted = captions[:, 1:].flatten()
    return F.cross_entropy(said.flatten(0, 1), wanted, ignore_index=Vocabulary.PAD, label_smoothing=smoothing)


def compute_head_losses(
    family: SceneModels, pooled: Tensor, batch: dict[str, Tensor], *, smoothing: float
) -> dict[str, Tensor]:
    """The losses of everything that follows the pooled features ``(batch, channels * 16)``; words and answers are label-smoothed."""
    pairs = family.classifier.classifier(family.classifier.head[2:](pooled)).float()
    photo = family.captioner.head[2:](pooled)
    asked = family.vqa.head[2:](pooled)
    each = len(batch["questions"]) // len(asked)
    answers = family.vqa.answer(asked.repeat_interleave(each, 0), family.vqa.read(batch["questions"])).float()
    objects = torch.stack([family.said_objects(photo), family.asked_objects(asked)]).float()
    return {
        "pairs": F.binary_cross_entropy_with_logits(pairs, batch["pairs"]) * 10,
        "words": compute_caption_loss(family, photo, batch["captions"], smoothing=smoothing),
        "answers": F.cross_entropy(answers, batch["answers"], ignore_index=IGNORED, label_smoothing=smoothing),
        "photo objects": compute_presence_loss(objects, batch["objects"].expand(2, -1, -1)),
    }


def _make_batch(
    arrays: Arrays, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device, *, captions_each: int
) -> dict[str, Tensor]:
    captions, questions, answers = sample_texts(arrays, rows, rng, captions=captions_each, questions=3)
    there = (torch.from_numpy(np.array(have[rows])).float() for have in (arrays.pairs, arrays.objects))
    given = dict(
        zip(
            ("captions", "questions", "answers", "pairs", "objects"),
            (captions, questions, answers, *there),
            strict=True,
        )
    )
    return {name: tensor.to(device) for name, tensor in given.items()}


def fit_heads(
    family: SceneModels,
    arrays: Arrays,
    plan: TrainingPlan,
    *,
    state_file: Path,
    device: torch.device,
    check: Callable[[int, SceneModels], None],
    report: Callable[[int, int, dict[str, float]], None] | None = None,
    check_every: int = 1000,
) -> None:
    """Train the heads of ``family`` in place for ``plan.head_steps`` steps, then the captioner's alone for ``plan.caption_steps``.

    The convolutions stay as they are.

    ``check(step)`` is called from time to time and at the end, with the family in eval mode, and the state is saved in ``state_file``;
    if that file exists, the run continues from it.
    """
    pool = family.classifier.head[:2]
    both = [
        pool_features(family.classifier.features, pool, arrays, shift=shift, seed=plan.seed, device=device)
        for shift in (0, 3)
    ]
    trained = [
        parameter
        for name, parameter in family.named_parameters()
        if ".features." not in name and not name.startswith(("cells.", "objects."))
    ]
    optimiser = torch.optim.AdamW(trained, lr=plan.head_peak, weight_decay=plan.decay)
    first = 0
    if state_file.exists():
        state = load_state(state_file, device)
        family.load_state_dict(state["family"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    last = plan.head_steps + plan.caption_steps
    if first >= last:  # stopped between its last checkpoint and writing the weights
        family.eval()
        check(first, family)
    running: dict[str, float] = {}
    for step in range(first, last):
        rng = np.random.Generator(np.random.PCG64([plan.seed, 4, step]))
        rows = rng.integers(0, len(arrays), plan.head_batch)
        for group in optimiser.param_groups:
            group["lr"] = (
                plan.get_head_rate(step) if step < plan.head_steps else plan.get_caption_rate(step - plan.head_steps)
            )
        family.train()
        family.classifier.features.eval()
        with torch.autocast(device.type, torch.bfloat16):
            pooled = torch.from_numpy(both[step % 2][rows]).to(device).float()
            if step < plan.head_steps:
                batch = _make_batch(arrays, rows, rng, device, captions_each=1)
                losses = compute_head_losses(family, pooled, batch, smoothing=plan.smoothing)
                total = losses["pairs"] + losses["words"] + losses["answers"] + 0.5 * losses["photo objects"]
            else:
                batch = _make_batch(arrays, rows, rng, device, captions_each=2)
                total = compute_caption_loss(
                    family, family.captioner.head[2:](pooled), batch["captions"], smoothing=plan.smoothing
                )
                losses = {"words": total}
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(trained, 2.0)
        optimiser.step()
        if step % 20 == 0:
            for name, loss in losses.items():
                new = float(loss.detach())
                running[name] = 0.9 * running.get(name, new) + 0.1 * new
            if report is not None:
                report(step, last, running)
        if (step + 1) % check_every == 0 or step + 1 == last:
            family.eval()
            state = {"family": family.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            save_state(state, state_file)
            check(step + 1, family)
