"""Scenes as a data set on disk that other tools read: PNG pictures, COCO instances, COCO captions, questions.

======================== ===============================================================================================
``images/000000.png``    the pictures
``instances.json``       COCO instances (arXiv 1405.0312): a category per colour-shape pair; box, area and mask of the visible
                         part of every object, and all its ``attributes``
``captions.json``        COCO captions; ``about`` holds, for each of the ``words``, the ids of the instances that it is about
``questions.json``       kind, question and answer, and the ids of the instances that decide it: ``unique`` and ``involved``,
                         the two ground truths of CLEVR-XAI (Arras, Osman and Samek 2022)
======================== ===============================================================================================

Masks are uncompressed COCO run lengths: pixels column by column, runs of 0 and 1 in turn, the first one (maybe empty) of 0.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vlcam.contracts import InputError
from vlcam.files import stage_folder, write_json
from vlcam.scenes.record import PAIRS, PIXELS, SPLITS, Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene

CAPTIONS_EACH = 5
QUESTIONS_EACH = 12
SMALLEST = 32


def export(
    folder: Path, split: str, n: int, size: int = PIXELS, progress: Callable[[int, int], Any] | None = None
) -> Path:
    """Write the scenes ``0..n-1`` of a split into a folder that doesn't exist yet or is empty; returns the folder.

    The folder is filled at the very end, all at once: an error or an interrupt leaves it as it was. ``progress`` is called with
    (done, all).

    Raises:
        InputError: an unknown split, a number or a size that makes no sense, or a folder that can't be filled.
    """
    known = next((one for one in SPLITS if one == split), None)
    if known is None:
        raise InputError(f"split {split!r} was given; expected one of {', '.join(SPLITS)}")
    if n < 1:
        raise InputError(f"{n} scenes were asked for; expected 1 or more")
    if size < SMALLEST:
        raise InputError(f"a size of {size} pixels was given; expected {SMALLEST} or more")
    with stage_folder(folder) as scratch:
        _write(scratch, known, n, size, progress)
    return folder


def encode_run_lengths(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """A mask as uncompressed COCO run lengths: column by column, runs of 0 first.

    >>> encode_run_lengths(np.array([[True, False], [True, True]]))
    [0, 2, 1, 1]
    """
    flat = mask.flatten(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = [0, *ends.tolist(), len(flat)]
    runs = [stop - start for start, stop in pairwise(edges)]
    return [0, *runs] if flat[0] else runs


def _write(folder: Path, split: Split, n: int, size: int, progress: Callable[[int, int], Any] | None) -> None:
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for seed in range(n):
        scene = make(seed, split)
        name = f"{seed:06d}.png"
        Image.fromarray(scene.image(size)).save(folder / "images" / name)
        image_id = seed + 1
        images.append({"id": image_id, "file_name": name, "width": size, "height": size, "seed": seed})
        ids = range(len(instances) + 1, len(instances) + 1 + len(scene.objects))
        instances += _list_instances(scene, size, image_id, ids)
        captions += _list_captions(scene, image_id, len(captions) + 1, ids)
        questions += _list_questions(scene, image_id, len(questions) + 1, ids)
        if progress is not None:
            progress(seed + 1, n)
    info = {"description": f"vlcam scenes, split {split}, seeds 0 to {n - 1}", "split": split}
    categories = [
        {"id": number, "name": f"{colour} {shape}", "supercategory": shape}
        for number, (colour, shape) in enumerate(PAIRS, 1)
    ]
    write_json(
        folder / "instances.json",
        {"info": info, "images": images, "categories": categories, "annotations": instances},
        indent=None,
    )
    write_json(folder / "captions.json", {"info": info, "images": images, "annotations": captions}, indent=None)
    write_json(folder / "questions.json", {"info": info, "images": images, "questions": questions}, indent=None)


def _list_instances(scene: Scene, size: int, image_id: int, ids: Sequence[int]) -> list[dict[str, Any]]:
    out = []
    for obj, mask, box, number in zip(scene.objects, scene.masks(size), scene.boxes(size).tolist(), ids, strict=True):
        x0, y0, x1, y1 = box
        out.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": PAIRS.index(obj.pair) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(mask.sum()),
                "segmentation": {"size": [size, size], "counts": encode_run_lengths(mask)},
                "iscrowd": 0,
                "attributes": {
                    "shape": obj.shape,
                    "colour": obj.colour,
                    "size": obj.size,
                    "texture": obj.texture,
                },
            }
        )
    return out


def _list_captions(scene: Scene, image_id: int, first: int, ids: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "image_id": image_id,
            "caption": caption.text,
            "words": list(caption.words),
            "about": [[ids[obj] for obj in objects] for objects in caption.about],
        }
        for number, caption in enumerate(scene.captions(CAPTIONS_EACH), first)
    ]


def _list_questions(scene: Scene, image_id: int, first: int, ids: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "image_id": image_id,
            "kind": question.kind,
            "question": question.text,
            "answer": question.answer,
            "unique": [ids[obj] for obj in question.unique],
            "involved": [ids[obj] for obj in question.involved],
        }
        for number, question in enumerate(scene.questions(QUESTIONS_EACH), first)
    ]
