"""How good the bundled models are at their tasks, on scenes they never saw."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlcam.metrics.statistics import mean_average_precision
from vlcam.scenes.models.data import Arrays
from vlcam.scenes.models.nets import SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.models.zoo import greedy_search, to_input
from vlcam.scenes.questions import QUESTION_KINDS
from vlcam.scenes.record import Split
from vlcam.scenes.sample import make

BATCH = 250


def evaluate_models(
    classifier: SceneClassifier, captioner: SceneCaptioner, vqa: SceneVQA, arrays: Arrays, split: Split
) -> dict[str, float]:
    """Classification, caption and answer quality on the scenes ``0..n-1`` of ``split``.

    ``map``: mean average precision over the pairs that occur. ``words_true`` and ``captions_true``: greedy captions checked against
    the scene; ``bleu4``: nltk's corpus BLEU-4 with smoothing 1 against the scene's true captions. ``vqa`` and ``vqa_<kind>``:
    share of right answers.
    """
    place = next(classifier.parameters()).device
    scores: list[Tensor] = []
    said: list[tuple[str, ...]] = []
    right: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(arrays), BATCH):
            rows = slice(start, start + BATCH)
            images = to_input(torch.from_numpy(np.array(arrays.images[rows])).to(place))
            scores.append(classifier(images).cpu())
            said += greedy_search(captioner, captioner.encode(images))
            each = arrays.questions.shape[1]
            questions = torch.from_numpy(np.array(arrays.questions[rows])).long().to(place).flatten(0, 1)
            photo = vqa.encode(images).repeat_interleave(each, 0)
            right.append(vqa.answer(photo, vqa.read(questions)).argmax(-1).view(-1, each).cpu())
    pairs = np.asarray(arrays.pairs).astype(bool)
    ranked = torch.cat(scores).numpy()
    return {
        "map": mean_average_precision(ranked, pairs),
        **score_captions(said, split),
        **_score_answers(torch.cat(right).numpy(), np.asarray(arrays.answers), np.asarray(arrays.kinds)),
    }


def score_captions(said: Sequence[tuple[str, ...]], split: Split) -> dict[str, float]:
    """Share of true words and of wholly true captions for captions of the scenes ``0..n-1``, and BLEU-4.

    A caption outside the grammar counts as wholly false, every word of it.
    """
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

    words: list[bool] = []
    whole: list[bool] = []
    references: list[list[list[str]]] = []
    for seed, caption in enumerate(said):
        scene = make(seed, split)
        references.append([list(one.words) for one in scene.captions(8)])
        try:
            truth: tuple[bool, ...] = scene.true_words(caption)
        except ValueError:
            truth = (False,) * max(1, len(caption))
        words += truth
        whole.append(all(truth))
    bleu = corpus_bleu(references, [list(caption) for caption in said], smoothing_function=SmoothingFunction().method1)
    return {"words_true": float(np.mean(words)), "captions_true": float(np.mean(whole)), "bleu4": float(bleu)}


def _score_answers(said: NDArray[np.int64], answers: NDArray[np.int16], kinds: NDArray[np.int8]) -> dict[str, float]:
    asked = answers >= 0
    out = {"vqa": float((said == answers)[asked].mean())}
    for number, kind in enumerate(QUESTION_KINDS):
        chosen = asked & (kinds == number)
        out[f"vqa_{kind}"] = float((said == answers)[chosen].mean()) if chosen.any() else float("nan")
    return out
