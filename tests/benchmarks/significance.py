"""Calibration and power of the significance test of one heatmap, on the bundled models.

    python tests/benchmarks/significance.py [--flat 100] [--untrained 34] [--scenes 30] [--regions 99] [--split test] [--threads 2]
        [--models classifier vqa captioner] [--methods occlusion layercam gradcam]

- flat: pictures of one object on a ground of one colour. The exact mask of the object, and a random smooth map.
- untrained: models of the bundled architectures with random weights, half of them with such a picture and half with a whole scene.
  Grad-CAM, a random smooth map, and the mean of the layer's absolute activations, which lies on objects whatever the model knows. One
  target each, the first. Kolmogorov and Smirnov's test of a uniform distribution.
- trained: the bundled models on whole scenes; targets that are about some object. Exact masks, occlusion (120 runs), LayerCAM, Grad-CAM,
  a random smooth map; and a method by name with ``--method``.

Each line has n, the share of p-values of at most 0.05 with Wilson's 95 % interval, how many scores had learnt something, and how often
the fills disagreed.
Rows are printed as they are done, so that a run that is stopped has said something.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, kstest
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import vlcam
from vlcam.contracts import Task
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.rebuild import rebuild_subject
from vlcam.explanation.region_test import RegionComparison
from vlcam.explanation.rerun import PhotoSubject
from vlcam.explanation.run import make_maps
from vlcam.explanation.verdict import disagree
from vlcam.explanation.verify import compare_regions
from vlcam.methods.registry import get_method
from vlcam.scenes.captions import find_word_objects
from vlcam.scenes.models.zoo import MODEL_NAMES, ModelName, create_model
from vlcam.scenes.record import Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene
from vlcam.tasks import bundled

LEVEL = 0.05


def make_flat(seed: int, split: Split) -> tuple[Scene, NDArray[np.uint8], Tensor]:
    """The first object of a scene, moved to a random place on a ground of one colour, and its exact mask."""
    scene, rng = make(seed, split), np.random.default_rng([7, seed])
    one = scene.objects[0]
    margin = 0.08 + one.radius
    x, y = rng.uniform(margin, 1 - margin, 2)
    scene = replace(scene, objects=(replace(one, x=float(x), y=float(y)),))
    picture, mask = scene.image().copy(), scene.masks()[0]
    picture[~mask] = np.median(picture[~mask], 0).astype(np.uint8)
    return scene, picture, torch.tensor(mask)


def make_random_map(seed: int) -> Tensor:
    """A smooth random map of 12 x 12 cells."""
    draw = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(draw, size=(12, 12), mode="bicubic", align_corners=False)[0, 0]


def make_task(name: ModelName, model: nn.Module | None = None) -> Task:
    """A bundled model as a task; the trained one if none is given."""
    if name == "captioner":
        return bundled.captioner(model)
    return bundled.vqa(model) if name == "vqa" else bundled.classifier(model)


def explain_one(
    name: ModelName, task: Task, scene: Scene, picture: NDArray[np.uint8]
) -> tuple[Explanation, tuple[tuple[int, tuple[int, ...]], ...]]:
    """The explanation, and for each target that is about some object its number and those objects."""
    if name == "vqa":
        flat = len(scene.objects) == 1
        question = None if flat else next((one for one in scene.questions(6) if one.unique), None)
        text = f"what colour is the {scene.objects[0].shape}" if question is None else question.text
        found = vlcam.explain(task, picture, question=text)
        return found, ((0, (0,) if question is None else question.decides),)
    found = vlcam.explain(task, picture)
    if name == "classifier":
        pairs = [" ".join(one.pair) for one in scene.objects]
        about = [(view.index, tuple(n for n, one in enumerate(pairs) if one == view.label)) for view in found]
    else:
        try:
            words = find_word_objects(scene, found.text.split())
        except ValueError:  # an untrained captioner speaks no grammar
            words = ((),) * len(found)
        about = [(view.index, words[n]) for n, view in enumerate(found) if view.target.kind == "word"]
    return found, tuple((index, objects) for index, objects in about if objects)


def compare_one(
    found: Explanation, subject: PhotoSubject, index: int, heat: Tensor | None, regions: int, seed: int
) -> RegionComparison | None:
    """One target with its own map, or with another that is given."""
    if heat is not None:
        found = replace(found, maps=heat.float().expand(len(found), *heat.shape), relu=True)
    return compare_regions(found, subject, regions, seed=seed, only=(index,))[index]


@dataclass
class Table:
    """Rows of p-values by name, printed as they come."""

    title: str
    rows: dict[tuple[str, ...], list[RegionComparison]] = field(default_factory=dict)

    def add(self, name: tuple[str, ...], one: RegionComparison | None) -> None:
        """Add a comparison; those with nothing to test are left out."""
        if one is not None:
            self.rows.setdefault(name, []).append(one)

    def show(self) -> None:
        """Print a line for each row."""
        print(f"\n{self.title}", flush=True)
        for name, found in sorted(self.rows.items()):
            p = np.array([one.p for one in found])
            low, high = wilson(int((p <= LEVEL).sum()), len(p))
            uniform = kstest(p, "uniform")
            shares = "  ".join(f"<= {level} {np.mean(p <= level):.2f}" for level in (0.1, 0.25, 0.5, 0.75))
            learnt, odd = np.mean([one.learnt for one in found]), np.mean([disagree(one.fills) for one in found])
            print(
                f"  {' / '.join(name):<42} n {len(p):>4}  p <= .05: {np.mean(p <= LEVEL):.3f} [{low:.3f}, {high:.3f}]  {shares}  "
                f"KS D {uniform.statistic:.3f} (p {uniform.pvalue:.3f})  learnt {learnt:.2f}  fills disagree {odd:.2f}",
                flush=True,
            )


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    found = binomtest(hits, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def run_flat(count: int, first: int, regions: int, split: Split, names: Sequence[ModelName]) -> None:
    """One object on a flat ground, trained models: its exact mask and a random map."""
    table = Table(f"One object on a flat ground, {count} pictures of each model, {regions} regions")
    for name in names:
        task = make_task(name)
        for seed in range(first, first + count):
            scene, picture, mask = make_flat(seed, split)
            found, about = explain_one(name, task, scene, picture)
            subject = rebuild_subject(found, task)
            chosen = {found[index].label: index for index, _ in reversed(about)}
            if name == "captioner":
                chosen = {
                    kind: chosen[word]
                    for kind, word in zip(("colour", "shape"), scene.objects[0].pair, strict=True)
                    if word in chosen
                }
            else:
                chosen = {"target": about[0][0]} if about else {}
            for kind, index in chosen.items():
                table.add((name, kind, "exact mask"), compare_one(found, subject, index, mask, regions, seed))
            for kind, index in list(chosen.items())[:1]:
                heat = make_random_map(seed)
                table.add((name, kind, "random map"), compare_one(found, subject, index, heat, regions, seed))
            if seed % 10 == 9:
                table.show()
    table.show()


def run_untrained(count: int, first: int, regions: int, split: Split, names: Sequence[ModelName]) -> None:
    """Models with random weights: p is to be uniform."""
    table = Table(f"Untrained models, {count} of each kind, {regions} regions")
    for name in names:
        for seed in range(first, first + count):
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(seed)
                task = make_task(name, create_model(name))
            if seed % 2:
                scene = make(seed, split)
                picture = scene.image()
            else:
                scene, picture, _ = make_flat(seed, split)
            found, _ = explain_one(name, task, scene, picture)
            subject = rebuild_subject(found, task)
            lying = subject.activations[0].abs().mean(0)
            for kind, heat in (("gradcam", None), ("random map", make_random_map(seed)), ("|activations|", lying)):
                one = compare_one(found, subject, 0, heat, regions, seed)
                table.add(("all", kind), one)
                table.add((name, kind), one)
                table.add(("flat" if seed % 2 == 0 else "scene", kind), one)
            if seed % 10 == 9:
                table.show()
    table.show()


def run_trained(
    count: int, first: int, regions: int, split: Split, names: Sequence[ModelName], methods: Sequence[str]
) -> None:
    """Whole scenes, trained models: the power of maps."""
    table = Table(f"Trained models on {count} scenes each, {regions} regions")
    for name in names:
        task = make_task(name)
        for seed in range(first, first + count):
            scene = make(seed, split)
            found, about = explain_one(name, task, scene, scene.image())
            subject = rebuild_subject(found, task)
            masks = torch.tensor(scene.masks())
            maps = {method: make_maps(get_method(method), subject) for method in methods}
            about = about[:: max(1, len(about) // 3)][:3]  # three targets of a caption
            for index, objects in about:
                heats = {"exact mask": masks[list(objects)].any(0), "random map": make_random_map(1000 * seed + index)}
                heats |= {method: heat[index].clamp_min(0) for method, heat in maps.items()}
                for kind, heat in heats.items():
                    table.add((name, kind), compare_one(found, subject, index, heat, regions, seed))
            if seed % 10 == 9:
                table.show()
    table.show()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (
        ("flat", 100),
        ("untrained", 34),
        ("scenes", 30),
        ("regions", 99),
        ("threads", 2),
        ("first", 0),
    ):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--split", default="test", choices=("val", "test", "unseen"))
    parser.add_argument("--models", nargs="+", default=list(MODEL_NAMES), choices=MODEL_NAMES)
    parser.add_argument("--methods", nargs="+", default=["occlusion", "layercam", "gradcam"])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for count, function in ((asked.flat, run_flat), (asked.untrained, run_untrained)):
        if count:
            function(count, asked.first, asked.regions, asked.split, asked.models)
    if asked.scenes:
        run_trained(asked.scenes, asked.first, asked.regions, asked.split, asked.models, asked.methods)


if __name__ == "__main__":
    main()
