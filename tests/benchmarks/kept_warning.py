"""How often the warning about Grad-CAM errs: ``kept`` against where its maps, and those of ``auto``, really point.

    python tests/benchmarks/kept_warning.py [--scenes 60] [--first 5000] [--flat FOLDER ...] [--wheel WHEEL] [--json FILE]

A result warns where Grad-CAM's average over the picture keeps less than a share of the gradient's energy (``vlcam.methods.diagnose``).
The warning is right where Grad-CAM's map peaks elsewhere than on what the target is about and that of ``auto`` peaks on it; a false alarm
where Grad-CAM's map peaks on it. Measured on the bundled world's three models, and, where they are given, on trainings of
``worlds/flatten_vqa.py`` (at its last conv layer and one before) and on ``worlds/text_recogniser.py``. Every world counts the same.
"""

import argparse
import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

import vlcam
from vlcam.contracts import Task
from vlcam.metrics import pointing_hit
from vlcam.scenes.captions import find_word_objects
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

WORLDS = Path(__file__).parent / "worlds"
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)


@final
@dataclass(frozen=True)
class Judged:
    """One target: what Grad-CAM's average keeps in its explanation, and whether both maps peak where they should."""

    kept: float
    gradcam: bool
    auto: bool


def judge_scenes(name: str, scenes: Sequence[int]) -> Iterator[Judged]:
    """Words, answers or classes of the bundled models that are about some object."""
    makers: dict[str, Any] = {"words": bundled.captioner, "answers": bundled.vqa, "classes": bundled.classifier}
    task: Task = makers[name]()
    for number in scenes:
        scene = make(number, "test")
        picture, masks = scene.image(), scene.masks()
        if name == "answers":
            for question in (one for one in scene.questions(4) if one.unique and one.decides):
                yield from judge(
                    task, picture, {0: masks[list(question.decides)].any(0)}, question=question.text, top_k=1
                )
            continue
        if name == "classes":
            pairs = [f"{one.colour} {one.shape}" for one in scene.objects]
            known = [one for one in dict.fromkeys(pairs) if one in getattr(task, "labels", ())]
            own = {
                place: masks[[i for i, pair in enumerate(pairs) if pair == one]].any(0)
                for place, one in enumerate(known)
            }
            if known:
                yield from judge(task, picture, own, targets=known)
            continue
        said = vlcam.explain(task, picture, method="gradcam").text
        about = find_word_objects(scene, said)
        yield from judge(
            task, picture, {place: masks[list(one)].any(0) for place, one in enumerate(about) if one}, caption=said
        )


def judge(task: Task, picture: Any, masks: dict[int, Any], **options: Any) -> Iterator[Judged]:
    """The targets whose places on the photo are known, by position."""
    plain, own = (vlcam.explain(task, picture, method=method, **options) for method in ("gradcam", "auto"))
    kept = float("nan") if plain.diagnostic is None else plain.diagnostic.kept
    for place, mask in masks.items():
        hits = [bool(pointing_hit(one[place].heatmap().float(), torch.as_tensor(mask))) for one in (plain, own)]
        yield Judged(kept, *hits)


def judge_flat(folder: Path, layer: str, scenes: Sequence[int]) -> Iterator[Judged]:
    """Answers of a model with a flattened head."""
    world = runpy.run_path(str(WORLDS / "flatten_vqa.py"))
    task = world["load_task"](folder)
    for case in world["draw_cases"](task, "test", scenes[0], len(scenes)):
        yield from judge(task, case.picture, {0: case.mask}, question=case.question.text, top_k=1, layer=layer)


def judge_texts(wheel: Path, layer: str, texts: Sequence[int]) -> Iterator[Judged]:
    """Characters of a text recogniser: the peak in the character's columns."""
    world = runpy.run_path(str(WORLDS / "text_recogniser.py"))
    model, characters = world["build_recogniser"](wheel)
    for drawn, places in world["draw_texts"](model, characters, texts[0], len(texts)):
        task = world["make_task"](model, drawn.text, places)
        plain, own = (vlcam.explain(task, drawn.picture, layer=layer, method=method) for method in ("gradcam", "auto"))
        assert plain.diagnostic is not None
        cell = world["HEIGHT"] / plain.maps.shape[1]
        for one, other, box in zip(plain, own, drawn.boxes, strict=True):
            hits = [world["judge_peak"](view.heatmap(), box, cell)[0] for view in (one, other)]
            yield Judged(plain.diagnostic.kept, *hits)


def rate(worlds: Sequence[Sequence[Judged]], share: float) -> tuple[float, float]:
    """Of the targets where Grad-CAM fails and auto doesn't, those without a warning; of those where it points rightly, those with one."""
    missed, false = [], []
    for world in worlds:
        bad = [one.kept >= share for one in world if one.auto and not one.gradcam]
        good = [one.kept < share for one in world if one.gradcam]
        missed += [float(np.mean(bad))] if bad else []
        false += [float(np.mean(good))] if good else []
    return float(np.mean(missed)), float(np.mean(false))


def main(given: list[str]) -> int:
    """Print a row for every world and every threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--first", type=int, default=5000)
    parser.add_argument(
        "--flat", type=Path, nargs="*", default=[], help="folders of trained models with a flattened head"
    )
    parser.add_argument("--wheel", type=Path, help="of ddddocr")
    parser.add_argument("--json", type=Path, help="a file for the tables, which the documentation shows")
    options = parser.parse_args(given)
    scenes = range(options.first, options.first + options.scenes)
    worlds: dict[str, Iterator[Judged]] = {
        f"bundled, {name}": judge_scenes(name, scenes) for name in ("words", "answers", "classes")
    }
    for number, folder in enumerate(options.flat, 1):
        for layer in ("features", "middle"):
            worlds[f"flattened head {number}, {layer}"] = judge_flat(folder, layer, scenes)
    if options.wheel is not None:
        for layer in ("features", "middle"):
            worlds[f"text recogniser, {layer}"] = judge_texts(options.wheel, layer, scenes)
    found: dict[str, list[Judged]] = {}
    rows: list[list[str]] = []
    for name, judged in worlds.items():
        found[name] = many = list(judged)
        low, middle, high = np.nanquantile([one.kept for one in many], [0.05, 0.5, 0.95])
        hits = [np.mean([getattr(one, method) for one in many]) for method in ("gradcam", "auto")]
        rows.append([name, f"{middle:.2f} ({low:.2f} to {high:.2f})", *(f"{hit:.3f}" for hit in hits), str(len(many))])
        print(" | ".join(rows[-1]), flush=True)
    errors = []
    for share in SHARES:
        missed, false = rate(list(found.values()), share)
        errors.append([f"{share:.0%}".replace("%", " %"), f"{missed:.2f}", f"{false:.2f}"])
        print(" | ".join(errors[-1]), flush=True)
    if options.json is not None:
        document = {
            "command": f"python tests/benchmarks/kept_warning.py --scenes {options.scenes} --first {options.first}",
            "versions": {"vlcam": vlcam.__version__, "torch": torch.__version__},
            "worlds": {"head": ["world", "kept, median (5 % to 95 %)", "Grad-CAM", "auto", "n"], "rows": rows},
            "errors": {
                "head": ["warned below", "no warning though only auto points rightly", "warned though Grad-CAM does"],
                "rows": errors,
            },
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
