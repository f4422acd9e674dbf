"""Measures of faithfulness beside those of other packages, number by number, on a bundled model.

    python tests/benchmarks/faithfulness_peers.py [--photos 3] [--threads 2]

scipy, torchcam, grad-cam and captum (``pip install '.[bench]'``) measure the same maps of the bundled classifier on generated pictures;
those that are not installed are left out. Each line has our number, theirs and the difference. What is not alike, and why:

- torchcam deletes and inserts in reading order where the map has equal values, and starts insertion from the same picture that deletion
  ends in: asked of vlcam with ``ties="reading"`` and ``baseline=0.0``. vlcam breaks ties at random and starts from RISE's blur by itself.
  torchcam's steps are rounded up to whole pixels, so the last is shorter; they are the same where the steps divide the pixels (here).
- torchcam's metrics make the map themselves, of the probability if that is what is looked at; vlcam takes any map.
- torchcam scales a map on the layer's grid and not on the image's pixels, so its masks don't reach 1 (asked of vlcam with
  ``scale=False``); and it adds 1e-7 to the score by which it divides the average drop.
- grad-cam's drop in confidence isn't divided by the score: it is vlcam's drop times the score of the whole image.
- grad-cam's ROAD draws its noise anew for each fraction; vlcam draws it once. Without noise both fill in the same values.
- captum's largest sensitivity of a map that is zero is the length of the change; vlcam's is NaN.

Ends with status 1 if a number that should be the same is not, and with 2 if no peer is installed.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import Request
from vlcam.metrics import blurred, confidence, deletion, impute, insertion, road_combined, spearman, stability
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

STEPS = 24
"""Steps of the curves; they divide 96 x 96 pixels."""
TEMPERATURE = 20.0
"""Logits are divided by it before the softmax: the bundled model is so certain that most probabilities would be 0 or 1."""
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)

Line = tuple[str, float, float, float]
"""What was measured, ours, theirs, and how far apart they may be."""


def peer(name: str) -> Any:
    """The module, or None if it isn't installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def with_scipy(image: Tensor, heat: Tensor) -> Iterator[Line]:
    """Ranks with many ties, and RISE's blur as RISE makes it."""
    stats, filters = peer("scipy.stats"), peer("scipy.ndimage")
    if stats is None or filters is None:
        return
    coarse, other = (heat * 5).round(), image[0].mean(0)
    want = stats.spearmanr(coarse.flatten().numpy(), other.flatten().numpy()).statistic
    yield "scipy     rank correlation, ties", float(spearman(coarse, other)), float(want), 1e-9
    lit = np.zeros((11, 11))
    lit[5, 5] = 1
    kernel = torch.from_numpy(filters.gaussian_filter(lit, 5)).to(image).expand(3, 1, 11, 11)
    want = F.conv2d(image, kernel, padding=5, groups=3)
    yield "scipy     RISE's blur, last pixel", float(blurred(image)[0, 0, -1, -1]), float(want[0, 0, -1, -1]), 1e-5
    yield "scipy     RISE's blur, largest gap", float((blurred(image) - want).abs().max()), 0.0, 1e-5


def with_torchcam(model: Any, image: Tensor, label: int) -> Iterator[Line]:
    """Deletion, insertion and average drop of torchcam's own Grad-CAM."""
    methods, metrics = peer("torchcam.methods"), peer("torchcam.metrics")
    if methods is None or not hasattr(metrics, "DeletionInsertionMetric"):
        return
    with methods.GradCAM(model, "features") as cam:
        (map_,) = cam(label, probabilities(model(image)))  # it explains what its metrics look at
        areas = metrics.DeletionInsertionMetric(cam, probabilities, steps=STEPS)
        areas.update(image, label)
        drops = metrics.ClassificationMetric(cam, probabilities)
        drops.update(image, label)
    heat = F.interpolate(map_[None].detach(), size=image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    ask: dict[str, Any] = {"link": link(label), "steps": STEPS, "ties": "reading", "baseline": 0.0}
    theirs = areas.summary()
    yield "torchcam  deletion", float(deletion(model, image, heat, **ask).auc), theirs["deletion_auc"], 1e-4
    yield "torchcam  insertion", float(insertion(model, image, heat, **ask).auc), theirs["insertion_auc"], 1e-4
    seen, theirs = confidence(model, image, heat, link=link(label), scale=False), drops.summary()
    yield "torchcam  average drop", float(seen.drop), theirs["avg_drop"], 1e-4
    yield "torchcam  increase", float(seen.increase), theirs["conf_increase"], 0.0


def with_grad_cam(model: Any, image: Tensor, heat: Tensor, label: int) -> Iterator[Line]:
    """Imputation, ROADCombined and the drop in confidence of grad-cam."""
    road, drop = peer("pytorch_grad_cam.metrics.road"), peer("pytorch_grad_cam.metrics.cam_mult_image")
    outputs = peer("pytorch_grad_cam.utils.model_targets")
    if road is None or drop is None or outputs is None:
        return
    scaled = (heat - heat.min()) / (heat.max() - heat.min())
    scaled = scaled + 1e-6 * torch.rand(scaled.shape, generator=torch.Generator().manual_seed(0))  # no ties
    scaled = (scaled - scaled.min()) / (scaled.max() - scaled.min())
    kept = scaled < scaled.quantile(0.7)
    want = road.NoisyLinearImputer(noise=0)(image[0], kept.float())
    ours = impute(image.double(), ~kept[None], noise=0.0)[0]
    yield "grad-cam  imputed, largest gap", float((ours - want).abs().max()), 0.0, 1e-4
    targets = [outputs.ClassifierOutputTarget(label)]  # logits: probabilities near 0 and 1 would hide differences
    cams = scaled[None].numpy()
    percentiles = [round(100 * fraction) for fraction in FRACTIONS]
    theirs = road.ROADCombined(percentiles)(image, cams, targets, model).item()
    combined = partial(road_combined, model, image, scaled, fractions=FRACTIONS, link=lambda logits: logits[:, label])
    yield "grad-cam  ROADCombined, noise", float(combined()), theirs, 0.05 * abs(theirs)
    own = road.NoisyLinearImputer
    try:
        road.NoisyLinearImputer = type("Quiet", (own,), {"__init__": lambda self: own.__init__(self, noise=0)})
        theirs = road.ROADCombined(percentiles)(image, cams, targets, model).item()
    finally:
        road.NoisyLinearImputer = own
    yield "grad-cam  ROADCombined, no noise", float(combined(noise=0.0)), theirs, 1e-3
    seen = confidence(model, image, scaled, link=link(label))
    theirs = drop.DropInConfidence()(image, cams, [lambda row: probabilities(row)[label]], model).item()
    yield "grad-cam  drop times score", float(seen.drop * seen.full), theirs, 1e-5


def with_captum(model: Any, image: Tensor, label: int) -> Iterator[Line]:
    """The largest sensitivity of the gradient, with the same noise."""
    metrics = peer("captum.metrics")
    if metrics is None:
        return

    def gradients(images: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(model(leaf)[:, label].sum(), leaf)
        return slopes

    def explain(images: Any) -> tuple[Tensor]:
        return (gradients(images[0] if isinstance(images, tuple) else images),)

    def noisy(images: Any) -> Tensor:
        images = images[0] if isinstance(images, tuple) else images
        generator = torch.Generator().manual_seed(3)
        noise = [torch.rand(image.shape, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(len(images))]
        moved: Tensor = images + 0.02 * torch.cat(noise).to(images)
        return moved

    theirs = metrics.sensitivity_max(explain, image, perturb_func=noisy, n_perturb_samples=6).item()
    # captum takes the length of all channels together: one map of them side by side
    ours = stability(lambda images: gradients(images).flatten(1, 2)[0], image, radius=0.02, samples=6, seed=3)
    yield "captum    largest sensitivity", float(ours.maximum), theirs, 1e-4


def link(label: int) -> Any:
    """The probability of a class."""
    return lambda logits: probabilities(logits)[:, label]


def probabilities(logits: Tensor) -> Tensor:
    """Of the classes, at the benchmark's temperature."""
    return (logits / TEMPERATURE).softmax(-1)


def grad_cam(model: Any, image: Tensor, label: int) -> Tensor:
    """``(height, width)``, Grad-CAM before its ReLU, so that few values are equal."""
    activations = model.features(image)
    leaf = activations.detach().requires_grad_()
    handle = model.features.register_forward_hook(lambda *_: leaf)
    score = model(image)[0, label]
    handle.remove()
    (slopes,) = torch.autograd.grad(score, leaf)
    small = (slopes.mean((2, 3), keepdim=True) * leaf).sum(1, keepdim=True).detach()
    return F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]


def lines(photos: int) -> Iterator[Line]:
    """Every number of every peer that is installed."""
    task = bundled.classifier()
    model = task.model.eval()
    for number in range(photos):
        image = task.prepare(Image.fromarray(make(number, "test").image()), Request()).inputs
        with torch.no_grad():
            label = int(model(image).argmax())
        heat = grad_cam(model, image, label)
        yield from with_scipy(image, heat)
        yield from with_torchcam(model, image, label)
        yield from with_grad_cam(model, image, heat, label)
        yield from with_captum(model, image, label)


def main(arguments: list[str] | None = None) -> int:
    """Compare, and say whether all is alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    alike, seen = True, 0
    print(f"{'':36}{'vlcam':>12}{'peer':>12}{'apart':>12}")
    for name, ours, theirs, near in lines(options.photos):
        fine = abs(ours - theirs) <= near
        alike, seen = alike and fine, seen + 1
        print(f"{name:36}{ours:12.6f}{theirs:12.6f}{abs(ours - theirs):12.2e}{'' if fine else '  NOT ALIKE'}")
    if not seen:
        print("no peer is installed; pip install '.[bench]'", file=sys.stderr)
        return 2
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
