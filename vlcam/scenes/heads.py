"""The second stage of training: what follows the last conv layer, on a trunk that no longer changes.

The trunk's pooled features of all training scenes are computed once (and once more for the scenes shifted by a few pixels), so a step
costs a fraction of a whole one and many more can be taken.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.scenes.data import IGNORED, Arrays
from vlcam.scenes.words import Vocabulary
from vlcam.scenes.zoo import to_input

if TYPE_CHECKING:
    from vlcam.scenes.train import Family, Plan

CHUNK = 128


def pooled_features(
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


def head_losses(family: "Family", pooled: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of everything that follows the pooled features ``(batch, channels * 16)``."""
    pairs = family.classifier.classifier(family.classifier.head[2:](pooled)).float()
    photo = family.captioner.head[2:](pooled)
    said = family.captioner.decode(photo, batch["captions"][:, :-1]).float()
    asked = family.vqa.head[2:](pooled)
    each = len(batch["questions"]) // len(asked)
    answers = family.vqa.answer(asked.repeat_interleave(each, 0), family.vqa.read(batch["questions"])).float()
    things = torch.stack([family.said_things(photo), family.asked_things(asked)]).float()
    return {
        "pairs": F.binary_cross_entropy_with_logits(pairs, batch["pairs"]) * 10,
        "words": F.cross_entropy(
            said.flatten(0, 1), batch["captions"][:, 1:].flatten(), ignore_index=Vocabulary.PAD
        ),
        "answers": F.cross_entropy(answers, batch["answers"], ignore_index=IGNORED),
        "photo things": F.binary_cross_entropy_with_logits(things, batch["things"].expand(2, -1, -1)) * 40,
    }


def _batch(
    arrays: Arrays, rows: NDArray[np.int64], kinds: NDArray[np.float64], rng: np.random.Generator, device: torch.device
) -> dict[str, Tensor]:
    one = rng.integers(0, arrays.captions.shape[1], len(rows))
    captions = np.array(arrays.captions[rows, one])
    keys = rng.random((len(rows), arrays.questions.shape[1])) ** (1 / kinds[np.asarray(arrays.kinds[rows])])
    three = np.argsort(-keys, axis=1)[:, :3]
    questions = np.array(arrays.questions[rows[:, None], three]).reshape(-1, arrays.questions.shape[-1])
    answers = np.array(arrays.answers[rows[:, None], three]).reshape(-1)
    longest = int((captions != Vocabulary.PAD).sum(1).max())
    widest = max(1, int((questions != Vocabulary.PAD).sum(1).max()))

    def numbers(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(device)

    return {
        "captions": numbers(captions[:, :longest]),
        "questions": numbers(questions[:, :widest]),
        "answers": numbers(answers),
        "pairs": numbers(np.array(arrays.pairs[rows])).float(),
        "things": numbers(np.array(arrays.things[rows])).float(),
    }


def fit_heads(
    family: "Family",
    arrays: Arrays,
    plan: "Plan",
    kinds: NDArray[np.float64],
    *,
    device: torch.device,
    check: Callable[[int], None],
    report: Callable[[int, int, dict[str, float]], None] | None = None,
    check_every: int = 1000,
) -> None:
    """Train the heads of ``family`` in place for ``plan.head_steps`` steps; its convolutions stay as they are.

    ``check(step)`` is called now and then and at the end, with the family in eval mode.
    """
    pool = family.classifier.head[:2]
    both = [
        pooled_features(family.classifier.features, pool, arrays, shift=shift, seed=plan.seed, device=device)
        for shift in (0, 3)
    ]
    trained = [
        parameter
        for name, parameter in family.named_parameters()
        if ".features." not in name and not name.startswith(("cells.", "things."))
    ]
    optimiser = torch.optim.AdamW(trained, lr=plan.head_peak, weight_decay=plan.decay)
    running: dict[str, float] = {}
    for step in range(plan.head_steps):
        rng = np.random.Generator(np.random.PCG64([plan.seed, 4, step]))
        rows = rng.integers(0, len(arrays), plan.head_batch)
        rate = plan.head_peak * min(1.0, (step + 1) / 200) * min(1.0, (plan.head_steps - step) / (0.6 * plan.head_steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        family.train()
        with torch.autocast(device.type, torch.bfloat16):
            pooled = torch.from_numpy(both[step % 2][rows]).to(device).float()
            losses = head_losses(family, pooled, _batch(arrays, rows, kinds, rng, device))
            total = losses["pairs"] + losses["words"] + losses["answers"] + 0.5 * losses["photo things"]
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(trained, 2.0)
        optimiser.step()
        if step % 20 == 0:
            for name, loss in losses.items():
                new = float(loss.detach())
                running[name] = 0.9 * running.get(name, new) + 0.1 * new
            if report is not None:
                report(step, plan.head_steps, running)
        if (step + 1) % check_every == 0 or step + 1 == plan.head_steps:
            family.eval()
            check(step + 1)


