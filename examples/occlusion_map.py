"""Occlusion sensitivity (Zeiler and Fergus, arXiv 1311.2901, section 4): cover the photo patch by patch, see how the score falls.

    python examples/occlusion_map.py [--photo FILE --model torchvision/resnet18] [--out FOLDER]

It asks the model itself, with no gradients at all, so it is slow (one forward pass for each place of the patch) and it is what the
paper measures Grad-CAM's faithfulness by: the rank correlation of both maps is printed. Works for classes, words and answers alike.
By default it takes the bundled classifier and a generated picture, of which there is nothing to download.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor

import vlcam
from vlcam.tasks import bundled


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's, of two heatmaps on the photo's pixels; equal values (a map has many zeros) share their mean rank."""
    ranks = []
    for heat in (one, other):
        _, place, counts = heat.flatten().unique(return_inverse=True, return_counts=True)
        ranks.append((counts.cumsum(0) - (counts - 1) / 2).double()[place])
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="a photo; by default a generated picture")
    parser.add_argument("--model", help="a classifier, such as torchvision/resnet18; by default the bundled one")
    parser.add_argument("--top-k", type=int, default=2, help="how many classes")
    parser.add_argument("--out", type=Path, help="where the pictures go; by default a new folder")
    options = parser.parse_args(arguments)
    out = options.out or Path(mkdtemp(prefix="vlcam-"))
    out.mkdir(parents=True, exist_ok=True)
    task: vlcam.Task = bundled.classifier() if options.model is None else vlcam.load(options.model)
    photo = vlcam.scenes.make(12).image() if options.photo is None else options.photo

    covered = vlcam.explain(task, photo, top_k=options.top_k, method="occlusion")
    labels = [one.label for one in covered]
    cam = vlcam.explain(task, photo, targets=labels, method="gradcam")
    for label in labels:
        drop = float(covered[label].map.max())
        alike = rank_correlation(covered[label].heatmap().nan_to_num(0), cam[label].heatmap().nan_to_num(0))
        print(f"{label}: covering it lowers its logit by up to {drop:.2f}; rank correlation with Grad-CAM {alike:.2f}")
    covered.figure().save(out / "occlusion.png")
    cam.figure().save(out / "gradcam.png")
    print(f"wrote {out / 'occlusion.png'} and {out / 'gradcam.png'}")


if __name__ == "__main__":
    main()
