"""Folders as ``vlcam run`` writes them: made up and of any size, or from explanations."""

import json
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tests.support.examples_of_explanations import classification
from vlcam.explanation.document import make_document
from vlcam.explanation.explanation import Explanation
from vlcam.runs.rows import RowContext, make_rows
from vlcam.runs.shards import start_folder, write_shard

CLASSES = ("cat", "dog", "red barn", "kite", "boat", "apple", "city bus", "zebra", "teapot", "umbrella")
NEURONS = ("red stripe", "roof edge", "fur", "blue sky", "grass", "wheel", "handle")
GRID = 12
_POOL = 48


def start_run(folder: Path, photos: int, **facts: Any) -> None:
    """The manifest of a run with so many photos."""
    start_folder(folder, {"photos": {"count": photos}, "model": "made up", "method": "gradcam", **facts})


def encode_jpeg(pixels: np.ndarray, longest: int = 256) -> bytes:
    """A small JPEG."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((longest, longest))
    data = BytesIO()
    picture.save(data, "JPEG", quality=85)
    return data.getvalue()


# --- from explanations ----------------------------------------------------------------------------------------------------------


def write_explanations(
    folder: Path, found: Sequence[Explanation | Exception], truths: Sequence[str | None] = ()
) -> None:
    """A run of these explanations, or failures, as vlcam run writes them."""
    rows: list[dict[str, Any]] = []
    photos: list[dict[str, Any]] = []
    for number, one in enumerate(found):
        truth = truths[number] if number < len(truths) else None
        photo = None if isinstance(one, Exception) else one.photo
        name = f"photo-{number}.jpg" if photo is None else photo.name
        right = None if truth is None or isinstance(one, Exception) else truth == one.text
        made = make_rows(RowContext(number, f"{number}/{name}", name=name, truth=truth, correct=right), one, photo)
        rows += made[0]
        photos.append(made[1])
    start_run(folder, len(found))
    write_shard(folder, 0, rows, photos)


# --- made up --------------------------------------------------------------------------------------------------------------------


def make_run(
    folder: Path, photos: int, *, targets: int = 3, shard: int = 500, seed: int = 0, failures: bool = True, **facts: Any
) -> None:
    """A run of a classifier on painted photos: right, wrong, faint, empty and failed ones; ``facts`` (model, method) go into each row."""
    start_run(folder, photos, **facts)
    rng = np.random.default_rng(seed)
    thumbnails = [_paint(number) for number in range(_POOL)]
    document = make_document(classification(), picture=False)
    for part, start in enumerate(range(0, photos, shard)):
        rows: list[dict[str, Any]] = []
        records: list[dict[str, Any]] = []
        for number in range(start, min(start + shard, photos)):
            failed = failures and number % 97 == 41
            name = f"{number // 1000:03d}/photo-{number:06d}.jpg"
            error = "the file is cut short: 1,024 bytes are missing" if failed else None
            record = {"photo_index": number, "photo": name, "name": name.partition("/")[2], "error": error}
            if failed:
                rows.append(
                    {"id": f"{number}:0", "photo_index": number, "photo": name, "error": error, "vlcam": "0.1.0"}
                )
            else:
                made = _make_up(rng, number, name, targets, facts)
                rows += made
                size, data = thumbnails[number % _POOL]
                record |= {"width": size[0], "height": size[1], "thumbnail": data, "sha256": f"{number:064x}"}
                record["document"] = _fill(document, name, size, made)
            records.append(record)
        write_shard(folder, part, rows, records)


def _paint(number: int) -> tuple[tuple[int, int], bytes]:
    """A photo's size and thumbnail: sky, ground, and a few shapes."""
    rng = np.random.default_rng(number)
    size = [(256, 192), (192, 256), (256, 256), (256, 144)][number % 4]
    picture = Image.new("RGB", size, tuple(rng.integers(120, 230, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, size[1] * 0.6, *size), fill=tuple(rng.integers(60, 160, 3).tolist()))
    for _ in range(5):
        x, y, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(10, 50)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 255, 3).tolist()))
    noise = rng.normal(0, 6, (size[1], size[0], 3))
    return (size[0] * 4, size[1] * 4), encode_jpeg(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _make_up(
    rng: np.random.Generator, number: int, name: str, targets: int, facts: dict[str, Any]
) -> list[dict[str, Any]]:
    truth = int(rng.integers(len(CLASSES)))
    best = truth if rng.random() < 0.8 else (truth + 1) % len(CLASSES)
    order = [best, *(one for one in rng.permutation(len(CLASSES)).tolist() if one != best)][:targets]
    sure = float(rng.beta(4, 1.5))
    parts = [sure, *((1 - sure) * 0.7**k * 0.5 for k in range(1, targets))]
    size = [(1024, 768), (768, 1024), (1024, 1024), (1024, 576)][number % 4]
    places = rng.uniform(0.2, 0.8, (targets, 2))
    at = (np.arange(GRID) + 0.5) / GRID
    found = []
    for k in range(targets):
        x, y = places[k]
        heat = np.exp(-((at[None, :] - x) ** 2 + (at[:, None] - y) ** 2) / (2 * rng.uniform(0.08, 0.2) ** 2)) - 0.1
        flag = "zero" if rng.random() < 0.02 else "negative" if rng.random() < 0.02 else "ok"
        heat = heat * 0 if flag == "zero" else -np.abs(heat) if flag == "negative" else heat
        fainter = 1.0 if k == 0 else float(rng.lognormal(1.2, 1.2)) + 1
        p = float(rng.beta(0.4, 3))
        found.append(
            {
                "id": f"{number}:{k}",
                "photo_index": number,
                "photo": name,
                "target_index": k,
                "label": CLASSES[best],
                "truth": CLASSES[truth],
                "correct": best == truth,
                "target": CLASSES[order[k]],
                "kind": "class",
                "score": math.log(parts[k]) + 9,
                "measure": "logit",
                "probability": parts[k],
                "gain": float(rng.normal(1.5, 1.0)),
                "p": p,
                "p_corrected": min(1.0, targets * p),
                "flag": flag,
                "map": heat.astype(np.float16).ravel().tolist(),
                "map_unit": 3.0 / fainter,
                "rows": GRID,
                "columns": GRID,
                "relu": True,
                "steps": "",
                "faintness": fainter if flag == "ok" else None,
                "photo_width": size[0],
                "photo_height": size[1],
                "input_width": 224,
                "input_height": 224,
                "scale_x": 224 / size[0],
                "scale_y": 224 / size[1],
                "offset_x": 0.0,
                "offset_y": 0.0,
                "sentence": f"“{CLASSES[order[k]]}” rests mainly on {NEURONS[(number + k) % len(NEURONS)]}.",
                "neurons": [NEURONS[(number + k) % len(NEURONS)], NEURONS[(number + k + 2) % len(NEURONS)]],
                "notes": [],
                "task": "classification",
                "model": "torchvision/resnet50",
                "layer": "layer4",
                "method": "gradcam",
                "vlcam": "0.1.0",
                **facts,
            }
        )
    return found


def _fill(document: dict[str, Any], name: str, size: tuple[int, int], rows: Sequence[dict[str, Any]]) -> str:
    """A page document about this photo with the look of a real one."""
    targets = []
    for template, row in zip(document["targets"], rows, strict=False):
        targets.append({**template, "label": row["target"], "percent": f"{row['probability']:.1%}"})
    photo = {**document["photo"], "name": name.partition("/")[2], "size": list(size), "ratio": size[0] / size[1]}
    return json.dumps({**document, "photo": photo, "targets": targets, "text": rows[0]["label"]})
