"""Two metrics of your own, registered by name: how much of a map is nothing at all, and how far the score falls without its middle.

Registered metrics stand beside the built-in ones in `vlcam.metrics.list_metrics()`, and `vlcam reproduce faithfulness` measures them:

    vlcam reproduce faithfulness --quick --import examples/own_metric.py --metric outside --metric peak-drop
"""

import math

import torch
from torch import Tensor

import vlcam
from vlcam.metrics import FaithfulnessMetric, LocalisationMetric, get_metric, list_metrics, register
from vlcam.tasks import bundled


def outside(heat: Tensor, mask: Tensor) -> float:
    """The share of the map's positive evidence that lies outside its object; NaN if there is none."""
    evidence = heat.nan_to_num().clamp_min(0)
    total = float(evidence.sum())
    return float(evidence[~mask].sum()) / total if total > 0 else math.nan


def peak_drop(score: vlcam.metrics.Score, image: Tensor, heat: Tensor) -> Tensor:
    """How far each target's score falls when an eighth of the image around its map's highest point is covered."""
    side = image.shape[-1] // 8
    covered = image.repeat(len(heat), 1, 1, 1)
    for number, one in enumerate(heat):
        row, column = divmod(int(one.nan_to_num(nan=-math.inf).argmax()), one.shape[1])
        covered[number, :, max(0, row - side) : row + side, max(0, column - side) : column + side] = 0
    return (score(image)[0] - score(covered).diagonal()).detach()


register(LocalisationMetric("outside", outside, "evidence outside the object", "nobody's yet", better="lower"))
register(FaithfulnessMetric("peak-drop", peak_drop, "drop without the peak", "nobody's yet"))


def main() -> None:
    """Measure one map by every metric of localisation."""
    scene = vlcam.scenes.make(7)
    explanation = vlcam.explain(bundled.classifier(), scene.image())
    view = explanation[0]
    places = [number for number, one in enumerate(scene.objects) if view.label == " ".join(one.pair)]
    mask = torch.from_numpy(scene.masks()[places].any(0))
    print(f"{view.label}, {explanation.method}:")
    for name in list_metrics("localisation"):
        metric = get_metric(name)
        if isinstance(metric, LocalisationMetric):
            print(f"  {metric.title}: {metric.function(view.heatmap(), mask):.3f} ({metric.better} is better)")


if __name__ == "__main__":
    main()
