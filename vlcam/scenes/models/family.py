"""The three models on one trunk while they are trained: their losses and their batches."""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.scenes.models.data import CAPTION_VOCABULARY, CELL_KINDS, IGNORED, OBJECT_KINDS, QUESTION_VOCABULARY, Arrays
from vlcam.scenes.models.nets import CHANNELS, HIDDEN, SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.models.vocabulary import Vocabulary
from vlcam.scenes.models.zoo import to_input
from vlcam.scenes.questions import ANSWERS, QUESTION_KINDS
from vlcam.scenes.record import PAIRS

KIND_WEIGHTS = np.array(
    [{"same": 3.0, "left": 1.6, "above": 1.6, "count": 1.6}.get(kind, 1.0) for kind in QUESTION_KINDS]
)
"""How much more often the harder kinds of questions are asked."""


@final
class SceneModels(nn.Module):
    """The three models on one trunk, and the helper layers that are discarded afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = SceneClassifier(len(PAIRS))
        self.captioner = SceneCaptioner(len(CAPTION_VOCABULARY))
        self.vqa = SceneVQA(len(QUESTION_VOCABULARY), len(ANSWERS))
        self.captioner.features = self.classifier.features
        self.vqa.features = self.classifier.features
        self.cells = nn.Conv2d(CHANNELS, sum(CELL_KINDS), 1)
        self.objects = nn.Linear(CHANNELS, len(OBJECT_KINDS))
        self.said_objects = nn.Linear(HIDDEN, len(OBJECT_KINDS))
        self.asked_objects = nn.Linear(HIDDEN, len(OBJECT_KINDS))

    def compute_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The seven losses of a batch, each a scalar."""
        seen = self.classifier.features(batch["images"])
        pairs = self.classifier.classifier(self.classifier.head(seen)).float()
        photo = self.captioner.head(seen)
        vectors = [self.said_objects(photo)]
        words = batch["captions"]  # (batch * captions, length)
        each = len(words) // len(photo)
        said = self.captioner.decode(photo.repeat_interleave(each, 0), words[:, :-1]).float()
        photo = self.vqa.head(seen)
        vectors.append(self.asked_objects(photo))
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
            "objects": compute_presence_loss(self.objects(fired.mean((2, 3))), batch["objects"]),
            "photo objects": compute_presence_loss(torch.stack(vectors), batch["objects"].expand(2, -1, -1)),
        }


def compute_presence_loss(logits: Tensor, there: Tensor) -> Tensor:
    """Binary cross-entropy, on the scale of the other losses."""
    return F.binary_cross_entropy_with_logits(logits.float(), there) * 40


def sample_texts(
    arrays: Arrays, rows: NDArray[np.int64], rng: np.random.Generator, *, captions: int, questions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Token rows of some captions and questions of each scene, and the answers; cut to the longest."""
    some = rng.integers(0, arrays.captions.shape[1], (len(rows), captions))
    said = np.asarray(arrays.captions[rows[:, None], some]).reshape(-1, arrays.captions.shape[-1]).astype(np.int64)
    # Without replacement, the harder kinds more often: the largest keys u^(1/weight) win (Efraimidis and Spirakis 2006).
    keys = rng.random((len(rows), arrays.questions.shape[1])) ** (1 / KIND_WEIGHTS[np.asarray(arrays.kinds[rows])])
    chosen = np.argsort(-keys, axis=1)[:, :questions]
    asked = np.asarray(arrays.questions[rows[:, None], chosen]).reshape(-1, arrays.questions.shape[-1]).astype(np.int64)
    answers = np.asarray(arrays.answers[rows[:, None], chosen]).reshape(-1).astype(np.int64)
    longest = int((said != Vocabulary.PAD).sum(1).max())
    widest = max(1, int((asked != Vocabulary.PAD).sum(1).max()))
    return torch.from_numpy(said[:, :longest]), torch.from_numpy(asked[:, :widest]), torch.from_numpy(answers)


def make_batch(
    arrays: Arrays, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device
) -> dict[str, Tensor]:
    """One training batch: two captions and four questions a scene; pictures shifted by up to 3 pixels, exposure varied."""
    captions, questions, answers = sample_texts(arrays, rows, rng, captions=2, questions=4)
    images = to_input(torch.from_numpy(np.array(arrays.images[rows])).to(device))
    shift = rng.integers(0, 7, 2)
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    images = padded[:, :, shift[0] : shift[0] + images.shape[2], shift[1] : shift[1] + images.shape[3]]
    gain, lift = (torch.from_numpy(rng.uniform(*span, (len(rows), 1, 1, 1)).astype(np.float32)).to(device)
                  for span in ((0.9, 1.1), (-0.15, 0.15)))  # fmt: skip
    images = (images * gain + lift).contiguous(memory_format=torch.channels_last)
    return {
        "images": images,
        "pairs": torch.from_numpy(np.array(arrays.pairs[rows])).float().to(device),
        "objects": torch.from_numpy(np.array(arrays.objects[rows])).float().to(device),
        "cells": torch.from_numpy(np.array(arrays.cells[rows])).long().to(device),
        "captions": captions.to(device),
        "questions": questions.to(device),
        "answers": answers.to(device),
    }


def recalibrate(features: nn.Sequential, arrays: Arrays, device: torch.device, *, scenes: int = 2560) -> None:
    """Measure the batch-norm statistics again for averaged weights, on the first training scenes; leaves everything in eval mode.

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
