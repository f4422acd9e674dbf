"""Does the heatmap of each word and answer point at the object it is about? Scored on scenes with exact masks.

The pointing game without tolerance, inside the visible mask. Only words that are true of the scene, and right answers, are scored. For an
answer, these are the objects it turns on (``Question.decides``); "read off" counts only the object that it is read from. Each row is
compared with what no explanation at all would score (the object's share of the picture, the picture's centre, a random map, the same model
untrained) and with the best that a map of this resolution can do.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import Geometry, Task
from vlcam.explanation.explain import explain
from vlcam.explanation.explanation import Explanation
from vlcam.image.geometry import to_photo
from vlcam.metrics import oracle_map, pointing_hit, summarise
from vlcam.scenes.captions import check_words, find_word_objects
from vlcam.scenes.record import COLOURS, PIXELS, SHAPES, SIZES, TEXTURES, Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene

WORD_KINDS = {
    **dict.fromkeys(COLOURS, "colour words"),
    **dict.fromkeys(SHAPES, "shape words"),
    **dict.fromkeys(SIZES, "size words"),
    **dict.fromkeys(TEXTURES, "texture words"),
}
COLUMNS = ("map", "contrast", "area", "centre", "random", "untrained", "ceiling")


@final
@dataclass
class HitTable:
    """Hits of one kind of target, per column. ``rows`` holds one dict per scored target, ``scenes`` the scene of each."""

    rows: list[dict[str, float]] = field(default_factory=list)
    scenes: list[int] = field(default_factory=list)

    def add(self, scene: int, row: dict[str, float]) -> None:
        """One more target."""
        self.rows.append(row)
        self.scenes.append(scene)

    def compute_means(self) -> dict[str, float]:
        """Mean of each column over the targets that have it."""
        return {
            column: float(np.mean([row[column] for row in self.rows if column in row]))
            for column in COLUMNS
            if any(column in row for row in self.rows)
        }

    def compute_interval(self, column: str = "map", *, seed: int = 0) -> tuple[float, float]:
        """95 % bootstrap interval of a column's mean over targets. Scenes are drawn, each with all its targets."""
        pairs = [(row[column], scene) for row, scene in zip(self.rows, self.scenes, strict=True) if column in row]
        found = summarise([value for value, _ in pairs], seed=seed, clusters=[scene for _, scene in pairs])
        return found.low, found.high


def _score_hit(
    grid_map: Float[Tensor, "rows columns"], geometry: Geometry, mask: Bool[Tensor, "height width"]
) -> float:
    return float(pointing_hit(to_photo(grid_map[None].float(), geometry)[0], mask))


def _make_row(
    explanation: Explanation,
    index: int,
    mask: Bool[Tensor, "height width"],
    rng: np.random.Generator,
    untrained: Explanation,
) -> dict[str, float]:
    geometry, grid = explanation.geometry, explanation.maps.shape[1:]
    noise = torch.from_numpy(rng.random(tuple(grid), np.float32))
    middle = PIXELS // 2
    return {
        "map": _score_hit(explanation[index].map, geometry, mask),
        "area": float(mask.float().mean()),
        "centre": float(mask[middle, middle]),
        "random": _score_hit(noise, geometry, mask),
        "untrained": _score_hit(untrained[index].map, geometry, mask),
        "ceiling": _score_hit(oracle_map(mask, (grid[0], grid[1])), geometry, mask),
    }


def _unite_masks(
    masks: Bool[np.ndarray, "objects height width"], objects: Sequence[int]
) -> Bool[Tensor, "height width"]:
    return torch.from_numpy(masks[list(objects)].any(axis=0))


def _swap(word: str, rng: np.random.Generator) -> str:
    family = next(words for words in (COLOURS, SHAPES, SIZES, TEXTURES) if word in words)
    return str(rng.choice([other for other in family if other != word]))


def _score_words(
    scene: Scene, task: Task, untrained: Task, rng: np.random.Generator, method: str
) -> Iterator[tuple[str, dict[str, float]]]:
    image, masks = scene.image(), scene.masks()
    first = explain(task, image, method=method)
    words = first.text.split()
    try:
        truth, objects = check_words(scene, words), find_word_objects(scene, words)
    except ValueError:
        return
    scored = [n for n, word in enumerate(words) if word in WORD_KINDS and truth[n] and objects[n]]
    once = [n for n in scored if words.index(words[n]) == n]  # a contrast names the first of two equal words
    contrast = [(words[n], _swap(words[n], rng)) for n in once]
    full = explain(task, image, caption=first.text, contrast=contrast, method=method) if contrast else first
    blind = explain(untrained, image, caption=first.text, method=method)
    for n in scored:
        mask = _unite_masks(masks, objects[n])
        row = _make_row(full, n, mask, rng, blind)
        if n in once:
            row["contrast"] = _score_hit(full[len(words) + 1 + once.index(n)].map, full.geometry, mask)
        yield WORD_KINDS[words[n]], row


def _score_answers(
    scene: Scene, task: Task, untrained: Task, rng: np.random.Generator, method: str, each: int, answers: Sequence[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    image, masks = scene.image(), scene.masks()
    asked = [question for question in scene.questions(each) if question.unique]
    for question in asked:
        rival = str(rng.choice([answer for answer in _list_rivals(question.answer) if answer in answers]))
        pair = [(question.answer, rival)]
        full = explain(task, image, question=question.text, targets=question.answer, contrast=pair, method=method)
        if full.text != question.answer:
            continue
        blind = explain(untrained, image, question=question.text, targets=question.answer, method=method)
        for title, objects in (("answers", question.decides), ("answers, read off", question.unique)):
            mask = _unite_masks(masks, objects)
            row = _make_row(full, 0, mask, rng, blind)
            row["contrast"] = _score_hit(full[1].map, full.geometry, mask)
            yield title, row
            if title == "answers":
                yield f"answers: {question.kind}", row


def _list_rivals(answer: str) -> list[str]:
    families: tuple[Sequence[str], ...] = (COLOURS, SHAPES, SIZES, TEXTURES, ("yes", "no"), ("0", "1", "2", "3", "4"))
    return [other for family in families if answer in family for other in family if other != answer]


def play_pointing_game(
    captioner: Task,
    vqa: Task,
    untrained_captioner: Task,
    untrained_vqa: Task,
    answers: Sequence[str],
    *,
    split: Split = "test",
    n: int = 500,
    questions_each: int = 4,
    method: str = "gradcam",
    seed: int = 0,
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, HitTable]:
    """Play the pointing game on scenes ``0..n-1``: a table per kind of word, for all answers, and per kind of question."""
    tallies: dict[str, HitTable] = {}
    for number in range(n):
        scene = make(number, split)
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        rows = list(_score_words(scene, captioner, untrained_captioner, rng, method))
        rows += _score_answers(scene, vqa, untrained_vqa, rng, method, questions_each, answers)
        for kind, row in rows:
            tallies.setdefault(kind, HitTable()).add(number, row)
        if progress is not None:
            progress(number + 1, n)
    return dict(sorted(tallies.items()))
