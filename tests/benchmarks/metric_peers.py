"""The metrics that compare maps with masks, against other packages that define the same ones.

    python tests/benchmarks/metric_peers.py [--scenes 60] [--short]

Maps are those of the bundled classifier for its answer to generated scenes, masks those of one of their objects. Where a peer defines a
metric as vlcam does, the two have to agree to 1e-6 on every map, and the program ends with 1 if they don't. Where it doesn't (what a zero
map, a tie or an empty mask counts for), both numbers are printed with the reason. Peers that aren't installed are named and passed
over: Quantus, scikit-learn, scikit-image, SciPy, TorchMetrics. captum defines infidelity and sensitivity, torchcam average drop and
increase, deletion and insertion, and grad-cam ROAD: none of them scores a map against a mask.
"""

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

import vlcam
from vlcam import metrics
from vlcam.image.geometry import to_photo
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

SAME = 1e-6
"""How far apart two implementations of one formula may be."""

Metric: TypeAlias = Callable[[Tensor, Tensor], float]


class Row(NamedTuple):
    """One metric of one peer; ``why`` says why the numbers may differ, and is empty where they must not."""

    name: str
    peer: str
    ours: Metric
    theirs: Metric
    why: str = ""


def cases(scenes: int) -> list[tuple[Tensor, Tensor]]:
    """Maps of the bundled classifier at the pictures' size, each with the mask of one of the scene's objects."""
    task, found = bundled.classifier(), []
    for number in range(scenes):
        scene = make(number, "test")
        explanation = vlcam.explain(task, scene.image(), targets=1)
        heat = to_photo(explanation[0].map[None].float(), explanation.geometry)[0]
        mask = torch.from_numpy(scene.masks()[number % len(scene.masks())])
        if bool((heat > 0).any()) and bool(mask.any()):
            found.append((heat, mask))
    return found


def whole(heat: Tensor) -> Tensor:
    """The map rounded to 256 levels: on these all ways to Otsu's threshold are one."""
    return (heat / heat.max() * 255).floor()


def rows() -> tuple[list[Row], list[str]]:
    """What can be compared here, and the peers that are missing."""
    found: list[Row] = []
    missing: list[str] = []
    for name, package, make_rows in (
        ("Quantus", "quantus", of_quantus),
        ("scikit-learn", "sklearn.metrics", of_sklearn),
        ("scikit-image", "skimage.filters", of_skimage),
        ("SciPy", "scipy.ndimage", of_scipy),
        ("TorchMetrics", "torchmetrics.classification", of_torchmetrics),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = import_module(package)
        except ImportError:
            missing.append(name)
            continue
        found += make_rows(module, name)
    return found, missing


def of_quantus(module: ModuleType, name: str) -> list[Row]:
    """Its scores of one map, without its normalisation, which would only change what isn't compared."""

    def score(metric: str, **options: bool) -> Metric:
        scorer = getattr(module, metric)(
            abs=False, normalise=False, disable_warnings=True, display_progressbar=False, **options
        )

        def one(heat: Tensor, mask: Tensor) -> float:
            batch = {"a_batch": heat[None, None].double().numpy(), "s_batch": mask[None, None].numpy()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return float(np.asarray(scorer.evaluate_batch(**batch, x_batch=batch["a_batch"]))[0])

        return one

    ranks = "the zeros of a map tie, and Quantus takes them as argsort leaves them: luck; vlcam gives the mean over all choices"
    return [
        Row(
            "pointing game, any tie", name, lambda h, m: metrics.pointing_game(h, m, ties="any"), score("PointingGame")
        ),
        Row("relevance mass", name, metrics.relevance_mass, score("RelevanceMassAccuracy")),
        Row("rank accuracy, no ties", name, untied(metrics.rank_accuracy), untied(score("RelevanceRankAccuracy"))),
        Row("rank accuracy", name, metrics.rank_accuracy, score("RelevanceRankAccuracy"), ranks),
        Row("AUC", name, metrics.auc, score("AUC")),
        Row(
            "pointing game, zero map",
            name,
            lambda h, m: metrics.pointing_game(h * 0, m),
            lambda h, m: score("PointingGame")(h * 0, m),
            "in a zero map all pixels tie at the maximum, which Quantus counts as a hit; vlcam counts a miss",
        ),
        Row(
            "pointing game, empty mask",
            name,
            lambda h, m: refused(lambda: metrics.pointing_game(h, m & False)),
            lambda h, m: score("PointingGame")(h, m & False),
            "Quantus writes NaN into truth values, where it becomes a hit; vlcam raises InputError (nan here)",
        ),
        Row(
            "relevance mass, zero map",
            name,
            lambda h, m: metrics.relevance_mass(h * 0, m),
            lambda h, m: score("RelevanceMassAccuracy")(h * 0, m),
            "both give nan: nothing can be divided",
        ),
        Row(
            "relevance mass, signed map",
            name,
            lambda h, m: metrics.relevance_mass(h - h.mean() / 2, m),
            lambda h, m: score("RelevanceMassAccuracy")(h - h.mean() / 2, m),
            "Quantus leaves negative values, so that the share may lie outside 0 to 1; vlcam puts them at 0 unless asked",
        ),
        Row(
            "relevance mass, signed as asked",
            name,
            lambda h, m: metrics.relevance_mass(h.double() - 0.1, m, sign="signed"),
            lambda h, m: score("RelevanceMassAccuracy")(h.double() - 0.1, m),
        ),
    ]


def of_sklearn(module: ModuleType, name: str) -> list[Row]:
    """Ranking scores of all pixels."""

    def pixels(metric: str) -> Metric:
        return lambda h, m: float(getattr(module, metric)(m.flatten().numpy(), h.flatten().double().numpy()))

    def levels(heat: Tensor) -> Tensor:
        return (heat.double() / heat.double().max() * metrics.LEVELS).floor()

    return [
        Row("AUC", name, metrics.auc, pixels("roc_auc_score")),
        Row(
            "PxAP of one photo",
            name,
            lambda h, m: metrics.pxap(metrics.pixel_counts(h, m, levels=metrics.LEVELS)),
            lambda h, m: pixels("average_precision_score")(levels(h), m),
        ),
    ]


def of_skimage(module: ModuleType, name: str) -> list[Row]:
    """Otsu's threshold."""
    return [
        Row(
            "Otsu's mask: its area",
            name,
            lambda h, m: float(metrics.otsu_mask(whole(h)).double().mean()),
            lambda h, m: float((whole(h).numpy() > module.threshold_otsu(whole(h).numpy().astype(np.uint8))).mean()),
        ),
        Row(
            "Otsu's mask of raw values",
            name,
            lambda h, m: float(metrics.otsu_mask(h).double().mean()),
            lambda h, m: float((h.numpy() > module.threshold_otsu(h.numpy())).mean()),
            "scikit-image puts raw values into 256 bins and returns a bin's middle; vlcam splits between the values themselves",
        ),
    ]


def of_scipy(module: ModuleType, name: str) -> list[Row]:
    """The box of the largest part, by labelling and counting."""

    def box(heat: Tensor, mask: Tensor) -> float:
        labels, count = module.label(heat.numpy() >= float(0.15 * heat.max()), structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        down, along = module.find_objects(labels, count)[int(sizes.argmax())]
        found = (float(along.start), float(down.start), float(along.stop), float(down.stop))
        return metrics.iou(found, around(mask))

    def ours(heat: Tensor, mask: Tensor) -> float:
        found = metrics.box_from_map(heat)
        return 0.0 if found is None else metrics.iou(found, around(mask))

    return [Row("IoU of the box at 15 %", name, ours, box)]


def of_torchmetrics(module: ModuleType, name: str) -> list[Row]:
    """IoU of a seed."""
    jaccard = module.BinaryJaccardIndex()
    return [
        Row(
            "seed IoU at 15 %",
            name,
            lambda h, m: metrics.overlap(metrics.seed_mask(h), m).iou,
            lambda h, m: float(jaccard((h >= 0.15 * h.max()).int(), m.int())),
        )
    ]


def around(mask: Tensor) -> tuple[float, float, float, float]:
    """The tight box of a mask."""
    places = mask.nonzero()
    (top, left), (bottom, right) = places.min(0).values.tolist(), places.max(0).values.tolist()
    return float(left), float(top), float(right + 1), float(bottom + 1)


def untied(metric: Metric) -> Metric:
    """The metric of the map after a tiny slope has put all of its values in a strict order."""

    def one(heat: Tensor, mask: Tensor) -> float:
        slope = torch.linspace(0, 1e-9, heat.numel(), dtype=torch.float64).view_as(heat)
        return metric(heat.double() / heat.max() + slope, mask)

    return one


def refused(call: Callable[[], float]) -> float:
    """NaN where the call refuses its input."""
    try:
        return call()
    except vlcam.InputError:
        return math.nan


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison; 1 if two implementations of one formula differ."""
    parser = argparse.ArgumentParser(description="Metrics of maps against masks, compared with other packages.")
    parser.add_argument("--scenes", type=int, default=60, help="how many scenes' maps are scored")
    parser.add_argument("--short", action="store_true", help="six scenes, to see that it runs")
    options = parser.parse_args(arguments)
    pairs = cases(6 if options.short else options.scenes)
    compared, missing = rows()
    print(f"{len(pairs)} maps of the bundled classifier; not installed: {', '.join(missing) or 'none'}")
    failed = False
    for row in compared:
        numbers = np.array([(row.ours(heat, mask), row.theirs(heat, mask)) for heat, mask in pairs])
        blank = np.isnan(numbers)
        apart = np.where(blank.all(1), 0.0, np.abs(numbers[:, 0] - numbers[:, 1]))
        worst = math.inf if np.isnan(apart).any() else float(apart.max())
        ours, theirs = ("nan" if blank[:, i].all() else f"{np.nanmean(numbers[:, i]):.6f}" for i in (0, 1))
        print(f"{row.name:32} vlcam {ours:>9}  {row.peer:12} {theirs:>9}  largest difference {worst:.1e}")
        if row.why:
            print(f"    {row.why}")
        elif worst > SAME:
            failed = True
            print("    differs: one of the two is wrong")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
