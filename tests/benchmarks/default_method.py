"""Where the default method's maps point on the bundled world, beside Grad-CAM's: words, answers and classes, with exact masks.

    python tests/benchmarks/default_method.py [--scenes 100] [--first 3000] [--split test] [--methods gradcam auto] [--json FILE]

Words are scored by the four measures of experiment 16 (``vlcam reproduce words``), right answers and classes by the pointing game without
tolerance. Beside answers stands how often the object whose removal lowers the score most is one that decides the answer: more than that a
true map can't reach. The method's settings were chosen on other scenes: scenes 100 to 164 of the validation split. Intervals are 95 %
bootstrap intervals that draw whole scenes.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image

import vlcam
from vlcam.contracts import Request
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.word_grounding import GroundingScores, ground, name_pair
from vlcam.experiments.shared.word_targets import FUNCTION, KINDS, TARGETS
from vlcam.metrics import pointing_hit
from vlcam.metrics.statistics import summarise
from vlcam.scenes.record import Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene
from vlcam.tasks import bundled

REMOVAL = "removing objects"
"""What is no method: the scene is drawn again without each object."""

MEASURES = ("pointing", "mass", "F1-IoU", "top-1")
ABOUT = tuple(kind for kind in KINDS if kind != FUNCTION)

Rows = dict[str, list[tuple[int, float]]]
"""For each row of the table the scene and the value of everything that was scored."""


def measure_words(scenes: Sequence[int], split: Split, methods: Sequence[str]) -> Iterator[tuple[str, str, Rows]]:
    """For each method the words' four measures."""
    captioner, scores = bundled.captioner(), GroundingScores()
    blind = make_untrained_task(captioner, 0)
    for number in scenes:
        rng = np.random.Generator(np.random.PCG64([0, number]))
        ground(make(number, split), number, captioner, blind, methods, rng, scores)
    for method in methods:
        for measure in MEASURES:
            found = scores.get_values(name_pair(method, TARGETS[0]), measure, ABOUT)
            yield method, f"words, {measure}", {"": [(where[0], value) for where, value in found.items()]}


def measure_answers(scenes: Sequence[int], split: Split, method: str) -> Rows:
    """Whether the map of each right answer peaks on an object that decides it, in all and by kind of question."""
    task, found = bundled.vqa(), defaultdict(list)
    for number in scenes:
        scene = make(number, split)
        for question in (one for one in scene.questions(4) if one.unique):
            explained = vlcam.explain(task, scene.image(), question=question.text, top_k=1, method=method)
            if explained.text == question.answer:
                hit = score_hit(explained[0], scene, question.decides)
                found["answers, pointing"].append((number, hit))
                found[f"answers, pointing, {question.kind}"].append((number, hit))
    return found


def measure_removal(scenes: Sequence[int], split: Split) -> Rows:
    """Whether the object whose removal from the scene lowers a right answer's score most is one that decides it."""
    task, found = bundled.vqa(), defaultdict(list)
    for number in scenes:
        scene = make(number, split)
        for question in (one for one in scene.questions(4) if one.unique and one.decides):
            if score_answer(task, scene, question.text, None)[0] != question.answer:
                continue
            left = [
                score_answer(
                    task,
                    replace(scene, objects=(*scene.objects[:n], *scene.objects[n + 1 :])),
                    question.text,
                    question.answer,
                )[1]
                for n in range(len(scene.objects))
            ]
            hit = float(int(np.argmin(left)) in question.decides)
            found["answers, pointing"].append((number, hit))
            found[f"answers, pointing, {question.kind}"].append((number, hit))
    return found


def score_answer(task: Any, scene: Scene, question: str, answer: str | None) -> tuple[str, float]:
    """What is answered about a scene, and the score of that answer, or of another that is given."""
    request = Request(question=question, labels=() if answer is None else (answer,), top_k=1)
    with torch.no_grad():
        spoken = task.run(task.prepare(Image.fromarray(scene.image()), request), request)
    return spoken.text, float(spoken.scores[0])


def measure_classes(scenes: Sequence[int], split: Split, method: str) -> Rows:
    """Whether the map of each class that is there peaks on one of its objects."""
    task, found = bundled.classifier(), defaultdict(list)
    for number in scenes:
        scene = make(number, split)
        pairs = [f"{one.colour} {one.shape}" for one in scene.objects]
        known = [one for one in dict.fromkeys(pairs) if one in task.labels]
        if known:
            for view in vlcam.explain(task, scene.image(), targets=known, method=method):
                own = [place for place, one in enumerate(pairs) if one == view.label]
                found["classes, pointing"].append((number, score_hit(view, scene, own)))
    return found


def score_hit(view: Any, scene: Scene, objects: Sequence[int]) -> float:
    """1 if the heatmap's highest point lies on one of the objects."""
    mask = torch.from_numpy(scene.masks()[list(objects)].any(axis=0))
    return float(pointing_hit(view.heatmap().float(), mask))


def main(given: list[str]) -> int:
    """Print a row for every measure and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--first", type=int, default=3000)
    parser.add_argument("--split", choices=get_args(Split), default="test")
    parser.add_argument("--methods", nargs="+", default=["gradcam", "auto"])
    parser.add_argument("--json", type=Path, help="a file for the table, which the documentation shows")
    options = parser.parse_args(given)
    scenes = range(options.first, options.first + options.scenes)
    rows: list[tuple[str, str, str]] = []

    def show(method: str, title: str, values: list[tuple[int, float]]) -> None:
        one = summarise([value for _, value in values], seed=0, clusters=[scene for scene, _ in values])
        rows.append((title, method, f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}], n = {one.n}"))
        print(" | ".join(rows[-1]), flush=True)

    for method in options.methods:
        for part in (measure_classes, measure_answers):
            for title, values in sorted(part(scenes, options.split, method).items()):
                show(method, title, values)
    for title, values in sorted(measure_removal(scenes, options.split).items()):
        show(REMOVAL, title, values)
    for method, title, found in measure_words(scenes, options.split, options.methods):
        show(method, title, found[""])
    if options.json is not None:
        titles = list(dict.fromkeys(title for title, _, _ in rows))
        cells = {(title, method): text for title, method, text in rows}
        command = f"python tests/benchmarks/default_method.py --scenes {options.scenes} --first {options.first} --split {options.split}"
        document = {
            "command": command,
            "versions": {"vlcam": vlcam.__version__, "torch": torch.__version__},
            "head": ["what", *options.methods, REMOVAL],
            "rows": [
                [title, *(cells.get((title, one), "") for one in (*options.methods, REMOVAL))] for title in titles
            ],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
