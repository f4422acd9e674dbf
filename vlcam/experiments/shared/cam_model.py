"""The net that CAM needs, for the bundled world: the classifier's convolutional part, frozen, under a new linear head.

CAM is not defined for the bundled classifier, whose fully connected layers see places. As in Zhou et al. 2016 (arXiv 1512.04150), and as
the Grad-CAM paper does with VGG-16 for its Table 1, the dense layers give way to global average pooling and one linear layer
(:func:`vlcam.methods.cam_head.build_cam_network`), trained on scenes of the ``train`` split. What that costs in classification is
part of the experiments.
"""

from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlcam.contracts import InputError, Task
from vlcam.experiments.data.samples import LabelledPhoto
from vlcam.experiments.data.scenes_world import open_scenes
from vlcam.experiments.setting import Setting
from vlcam.image.photo import open_photo
from vlcam.methods.cam_head import CamNetwork, build_cam_network
from vlcam.tasks.classification import Classification

QUICK: Final = 300
FULL: Final = 2000
"""How many scenes the head is trained on."""
DECAY: Final = 1e-3
"""The factor of the squared weights, on features of variance 1. With it (and with 1e-4), all classes that are in 150 scenes of the ``val``
split rank above those that aren't."""
_STEPS: Final = 500
_KEY: Final = "classification, with CAM's head"


def make_cam_task(setting: Setting) -> Classification | None:
    """The bundled classifier with CAM's head, trained once in a run; None on real data, where there is nothing to train a head on."""
    if setting.data is not None or setting.model is not None:
        return None
    key = f"{_KEY} of {setting.count(QUICK, FULL)} scenes"
    if key not in setting.opened:
        task = setting.load_task("classification")
        assert isinstance(task, Classification)
        setting.opened[key] = train_cam_head(task, setting.count(QUICK, FULL))
    found: Task = setting.opened[key]
    assert isinstance(found, Classification)
    return found


def train_cam_head(task: Classification, n: int) -> Classification:
    """The bundled classifier with CAM's head instead of its dense layers, trained on the first ``n`` scenes of the ``train`` split.

    Logistic regression of each class on the mean of every channel. Raises InputError for n below 1.
    """
    if n < 1:
        raise InputError(f"n={n} scenes were given to train CAM's head on; expected at least one")
    features, truths = [], []
    network = None
    for sample in open_scenes("train").iterate_samples(n):
        image = _prepare_input(task, sample)
        if network is None:
            network = build_cam_network(task.model, task.labels, layer=task.layer, sample=image).eval()
        with torch.no_grad():
            features.append(network.pool(network.features(image)).flatten(1))
        truths.append(functional.one_hot(torch.tensor(sample.present, device="cpu"), len(task.labels)).sum(0))
    assert network is not None
    _fit(network, torch.cat(features), torch.stack(truths).float())
    return replace(task, model=network, layer="features", name=f"{task.name} with CAM's head", names=None)


def _prepare_input(task: Classification, sample: LabelledPhoto) -> Tensor:
    image, _ = task.preprocess(open_photo(sample.image)[0])
    assert isinstance(image, Tensor)
    return image


def _fit(
    network: CamNetwork, features: Float[Tensor, "scenes channels"], truths: Float[Tensor, "scenes classes"]
) -> None:
    """Logistic regression in features of mean 0 and variance 1, written back as weights on the features as they are.

    By Nesterov's accelerated gradient steps, as long as the greatest curvature allows: the same weights on every machine, except for
    rounding.
    """
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-6)
    scaled = torch.cat([(features - mean) / spread, torch.ones(len(features), 1, device="cpu")], 1)
    decay = torch.full((scaled.shape[1], 1), 2 * DECAY, device="cpu")
    decay[-1] = 0  # not for the bias
    steepest = float(torch.linalg.matrix_norm(scaled, 2)) ** 2 / (4 * len(scaled)) + 2 * DECAY
    weights = previous = torch.zeros(scaled.shape[1], truths.shape[1], device="cpu")
    for step in range(_STEPS):
        ahead = weights + step / (step + 3) * (weights - previous)
        slope = scaled.T @ ((scaled @ ahead).sigmoid() - truths) / len(scaled) + decay * ahead
        previous, weights = weights, ahead - slope / steepest
    plain = weights[:-1].T / spread
    with torch.no_grad():
        network.classifier.weight.copy_(plain)
        network.classifier.bias.copy_(weights[-1] - plain @ mean)
