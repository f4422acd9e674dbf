"""The one registry of metrics by name: what one map is worth, in one number for each target.

There are two kinds, because they ask for different things. A :class:`LocalisationMetric` compares a map with the pixels of its object, and
needs no model. A :class:`FaithfulnessMetric` shows the model changed images, and needs no annotation. Both get maps as they are, never
normalised. `examples/own_metric.py` registers one of each; ``vlcam reproduce faithfulness --metric NAME`` measures them.

Measures of many photos at once (MaxBoxAcc, mean IoU, the pointing game with recall) have no number for one map, and are functions of
:mod:`vlcam.metrics` only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError, find_name, show_record
from vlcam.metrics.drop import confidence
from vlcam.metrics.imputed_removal import road_combined
from vlcam.metrics.mass import auc, inside_outside_ratio, lift, rank_accuracy, relevance_mass
from vlcam.metrics.pointing import pointing_game
from vlcam.metrics.removal import deletion, insertion
from vlcam.metrics.scoring import Score
from vlcam.metrics.seeds import overlap, seed_mask

CompareWithMask: TypeAlias = Callable[[Float[Tensor, "height width"], Bool[Tensor, "height width"]], float]
"""A map and its object's pixels to a number."""

ScoreChangedImages: TypeAlias = Callable[
    [Score, Float[Tensor, "1 channels height width"], Float[Tensor, "targets height width"]], Float[Tensor, " targets"]
]
"""A model's score, an image and a map for each of its targets to a number for each target."""

Better: TypeAlias = Literal["higher", "lower"]


@final
@dataclass(frozen=True)
class LocalisationMetric:
    """A measure of how well a map lies on its object.

    ``function(heat, mask)`` gets one target's map on the pixels of the photo ``(height, width)``, in the target's own units, NaN where
    the model did not see the photo; and the pixels of the target's object, of the same shape, at least one of them. It returns one
    number, NaN where there is no answer (such as for a map that is zero everywhere); those are counted apart. ``better`` says which way
    is good.
    """

    name: str
    function: CompareWithMask
    title: str
    paper: str
    better: Better = "higher"

    __repr__ = show_record


@final
@dataclass(frozen=True)
class FaithfulnessMetric:
    """A measure of how well a map says what the model looks at.

    ``function(score, image, heat)`` gets the model as ``score(images)``, which takes images ``(batch, channels, height, width)`` as the
    model does (normalised) and returns scores ``(batch, targets)``, probabilities if the task has them; the image ``(1, channels,
    height, width)``; and a map for each target on the pixels of that image, ``(targets, height, width)``. It returns a number for each
    target ``(targets,)``, NaN for maps that rank nothing. ``better`` says which way is good.
    """

    name: str
    function: ScoreChangedImages
    title: str
    paper: str
    better: Better = "higher"

    __repr__ = show_record


Metric: TypeAlias = LocalisationMetric | FaithfulnessMetric

REGISTRY: Final[dict[str, Metric]] = {}
"""Every metric by its name, in the order in which they became known."""


def register(metric: Metric) -> Metric:
    """Make a metric known by its name, in Python and for ``vlcam reproduce --metric NAME``.

    Returns:
        The metric.

    Raises:
        InputError: another metric has that name.
    """
    taken = REGISTRY.get(metric.name)
    if taken is not None and taken != metric:
        raise InputError(f"there is a metric {metric.name!r} already ({taken.title}); give yours another name")
    REGISTRY[metric.name] = metric
    return metric


def list_metrics(kind: Literal["localisation", "faithfulness"] | None = None) -> list[str]:
    """The names of the metrics, in the order in which they became known.

    Args:
        kind: ``localisation`` (a map against its object's pixels) or ``faithfulness`` (a map against what the model says about changed
            images); by default both.

    Raises:
        InputError: there is no such kind.
    """
    kinds = {
        None: (LocalisationMetric, FaithfulnessMetric),
        "localisation": (LocalisationMetric,),
        "faithfulness": (FaithfulnessMetric,),
    }
    if kind not in kinds:
        raise InputError(f"kind={kind!r} was given; expected localisation, faithfulness or None")
    return [name for name, metric in REGISTRY.items() if isinstance(metric, kinds[kind])]


def get_metric(name: str) -> Metric:
    """The metric of that name, with its function, title, paper and direction.

    Raises:
        InputError: there is none; the text has the closest names.

    >>> get_metric("deletion").better
    'lower'
    """
    return REGISTRY[find_name(name, REGISTRY, "metric")]


for _one in (
    LocalisationMetric("pointing-game", pointing_game, "pointing game", "Zhang et al. 2016, arXiv 1608.00507"),
    LocalisationMetric("relevance-mass", relevance_mass, "relevance mass", "Arras et al. 2022, arXiv 2003.07258"),
    LocalisationMetric(
        "lift", lift, "mass by area", "relevance mass (Arras et al. 2022, arXiv 2003.07258) by the area of the object"
    ),
    LocalisationMetric(
        "inside-outside", inside_outside_ratio, "inside/outside ratio", "Selvaraju et al. 2017, arXiv 1610.02391"
    ),
    LocalisationMetric("rank-accuracy", rank_accuracy, "rank accuracy", "Arras et al. 2022, arXiv 2003.07258"),
    LocalisationMetric("auc", auc, "area under the ROC curve", "Mann & Whitney 1947"),
    LocalisationMetric(
        "seed-iou",
        lambda heat, mask: overlap(seed_mask(heat), mask).iou,
        "IoU of the seed",
        "Selvaraju et al. 2017, arXiv 1610.02391, on segmentation",
    ),
    FaithfulnessMetric(
        "deletion",
        lambda score, image, heat: deletion(score, image, heat).auc,
        "deletion",
        "Petsiuk et al. 2018, arXiv 1806.07421",
        "lower",
    ),
    FaithfulnessMetric(
        "insertion",
        lambda score, image, heat: insertion(score, image, heat).auc,
        "insertion",
        "Petsiuk et al. 2018, arXiv 1806.07421",
    ),
    FaithfulnessMetric("road", road_combined, "ROAD, combined", "Rong et al. 2022, arXiv 2202.00449"),
    FaithfulnessMetric(
        "average-drop",
        lambda score, image, heat: confidence(score, image, heat).drop,
        "average drop",
        "Chattopadhay et al. 2018, arXiv 1710.11063",
        "lower",
    ),
):
    register(_one)
