"""Scenes as arrays for training and measuring: drawn once, kept in memory-mapped files, the same for the same seeds."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from vlcam.files import read_json, refuse_broken, show_path, write_json
from vlcam.scenes.captions import CAPTION_WORDS
from vlcam.scenes.models.vocabulary import Vocabulary
from vlcam.scenes.questions import ANSWERS, QUESTION_KINDS, QUESTION_WORDS
from vlcam.scenes.record import COLOURS, PAIRS, PIXELS, SHAPES, SIZES, TEXTURES, Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene

CAPTION_VOCABULARY = Vocabulary(CAPTION_WORDS)
QUESTION_VOCABULARY = Vocabulary(QUESTION_WORDS)
CAPTION_LENGTH = 16
QUESTION_LENGTH = 14
CELLS = 12
CAPTIONS_EACH = 5
QUESTIONS_EACH = 12
CELL_KINDS = (len(SHAPES) + 1, len(COLOURS) + 1, len(SIZES) + 1, len(TEXTURES) + 1)
"""Classes of each cell label, "no object" last."""

OBJECT_KINDS = tuple(product(SIZES, TEXTURES, COLOURS, SHAPES))
"""All 144 kinds of objects, as (size, texture, colour, shape)."""

_VALUES = (SHAPES, COLOURS, SIZES, TEXTURES)

IGNORED = -1
FORMAT = 3


@final
@dataclass(frozen=True)
class Arrays:
    """N scenes. Token rows are padded with 0; a missing question has answer -1.

    ``images`` (N, 96, 96, 3); ``pairs`` (N, 36) and ``objects`` (N, 144) 0/1; ``cells`` (N, 4, 12, 12) shape, colour, size and
    texture in each cell of the grid, -1 where an object's edge makes it undecided; ``captions`` (N, 5, 16); ``questions``
    (N, 12, 14); ``answers`` and ``kinds`` (N, 12).
    """

    images: NDArray[np.uint8]
    pairs: NDArray[np.uint8]
    objects: NDArray[np.uint8]
    cells: NDArray[np.int8]
    captions: NDArray[np.int16]
    questions: NDArray[np.int16]
    answers: NDArray[np.int16]
    kinds: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.images)


_SHAPES: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    "images": ((PIXELS, PIXELS, 3), np.uint8),
    "pairs": ((len(PAIRS),), np.uint8),
    "objects": ((len(OBJECT_KINDS),), np.uint8),
    "cells": ((4, CELLS, CELLS), np.int8),
    "captions": ((CAPTIONS_EACH, CAPTION_LENGTH), np.int16),
    "questions": ((QUESTIONS_EACH, QUESTION_LENGTH), np.int16),
    "answers": ((QUESTIONS_EACH,), np.int16),
    "kinds": ((QUESTIONS_EACH,), np.int8),
}


def make_pair_labels(scene: Scene) -> NDArray[np.uint8]:
    """``(36,)``: 1 for each colour-shape pair that is in the scene."""
    have = {obj.pair for obj in scene.objects}
    return np.array([pair in have for pair in PAIRS], np.uint8)


def make_cell_labels(scene: Scene) -> NDArray[np.int8]:
    """``(4, 12, 12)``: shape, colour, size and texture of the object that a cell shows."""
    side = PIXELS // CELLS
    cover = scene.masks(PIXELS).reshape(-1, CELLS, side, CELLS, side).mean(axis=(2, 4))
    best = cover.argmax(axis=0)
    seen = cover.max(axis=0)
    out = np.full((4, CELLS, CELLS), IGNORED, np.int8)
    for row, (values, name) in enumerate(zip(_VALUES, ("shape", "colour", "size", "texture"), strict=True)):
        codes = np.array([values.index(getattr(obj, name)) for obj in scene.objects], np.int8)
        out[row][seen >= 0.35] = codes[best][seen >= 0.35]
        out[row][cover.sum(axis=0) < 0.1] = len(values)
    return out


def _fill(row: dict[str, NDArray[np.generic]], scene: Scene, captions: int, questions: int) -> None:
    row["images"][...] = scene.image()
    row["pairs"][...] = make_pair_labels(scene)
    have = {obj.words for obj in scene.objects}
    row["objects"][...] = [kind in have for kind in OBJECT_KINDS]
    row["cells"][...] = make_cell_labels(scene)
    said = scene.captions(captions)
    for place in range(captions):
        ids = CAPTION_VOCABULARY.encode(said[place % len(said)].words)
        tokens = (Vocabulary.START, *ids, Vocabulary.END)
        row["captions"][place, : len(tokens)] = tokens
    row["answers"][...] = IGNORED
    for place, question in enumerate(scene.questions(questions)):
        tokens = QUESTION_VOCABULARY.encode(question.text)
        row["questions"][place, : len(tokens)] = tokens
        row["answers"][place] = ANSWERS.index(question.answer)
        row["kinds"][place] = QUESTION_KINDS.index(question.kind)


def _draw(folder: Path, split: Split, start: int, stop: int) -> int:
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in _SHAPES}
    for seed in range(start, stop):
        _fill({name: array[seed] for name, array in arrays.items()}, make(seed, split), CAPTIONS_EACH, QUESTIONS_EACH)
    for array in arrays.values():
        array.flush()
    return stop - start


def count_cores() -> int:
    """How many cores this process may use: those of its affinity mask where the system keeps one (``taskset``, containers)."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def draw(
    folder: Path,
    split: Split,
    n: int,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Arrays:
    """Draw scenes ``0..n-1`` of a split into ``folder`` (or open what an earlier call drew there) and return them.

    ``workers`` processes draw at the same time (default: one for each core that this process may use). ``progress`` is called with
    (done, all).
    """
    stamp = folder / "scenes.json"
    wanted = {"format": FORMAT, "split": split, "scenes": n}
    if not (stamp.exists() and read_json(stamp, "the stamp of drawn scenes") == wanted):
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        for name, (shape, dtype) in _SHAPES.items():
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(n, *shape)).flush()
        starts = range(0, n, 500)
        done = 0
        with ProcessPoolExecutor(workers or count_cores(), mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(_draw, folder, split, start, min(start + 500, n)) for start in starts]
            for job in jobs:
                done += job.result()
                if progress is not None:
                    progress(done, n)
        write_json(stamp, wanted)
    with refuse_broken(show_path(folder), "scenes that were drawn there; remove the folder to draw them again"):
        return Arrays(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _SHAPES})
