"""``auto``: the method for this model, decided from the one run that is explained.

What decides is ``kept`` (:mod:`vlcam.methods.diagnose`), the share of the gradient that Grad-CAM's average over the picture keeps. Where
that is nearly all of it, the head pools and little but that: Grad-CAM says what there is to say, and nothing else is run. Elsewhere masked
gradients, averaged over the way from an empty map to the layer's own, point better on the models that were measured. Where what
follows the layer can't be run by itself, LayerCAM is taken, the best of one run there.
"""

import logging
from dataclasses import replace
from typing import Final

from vlcam.contracts import FoundMaps, LayerError, PerturbationMethod, Subject
from vlcam.image.display import FEWEST
from vlcam.methods.diagnose import measure_kept
from vlcam.methods.registry import get_method, get_one_run_method

_log = logging.getLogger(__name__)

KEPT: Final = 0.97
"""From this share of the gradient's energy up, Grad-CAM's average is taken to lose nothing."""

TRUSTED: Final = 0.3
"""Below this share Grad-CAM's average is taken to destroy the place, and the result says so."""

PLAIN: Final = "gradcam"
CAREFUL: Final = "masked-gradients-positive"
ONE_RUN: Final = "layercam"
STEPS: Final = ("box3", "cube")
"""The display steps of masked gradients, where both sides of the grid are long enough for them."""


def choose_method(kept: float) -> str:
    """The method for a layer whose gradients keep that share of their energy; NaN (no gradient at all) leaves Grad-CAM."""
    return PLAIN if not kept < KEPT else CAREFUL


def explain_automatically(subject: Subject) -> FoundMaps:
    """The maps of the method that suits the model; ``method`` names it, ``choice`` says why."""
    kept = float(measure_kept(subject.gradients).nanmedian())
    name = choose_method(kept)
    if name == CAREFUL:
        try:
            return _take_careful(subject, kept)
        except LayerError as error:
            _log.debug("auto takes %s: %s", ONE_RUN, error)
            name = ONE_RUN
    method = get_one_run_method(name)
    maps = subject.place(method.function(subject.cells, subject.cell_gradients))
    return FoundMaps(maps, method=name, relu=method.relu, choice=describe_choice(name, kept))


def describe_choice(name: str, kept: float) -> str:
    """Why ``auto`` took a method, in one sentence."""
    if name == PLAIN:
        return f"Grad-CAM, as its average over the picture keeps {_percent(kept)} of the gradient here, so that little or nothing is lost"
    lost = f"as Grad-CAM's average over the picture keeps only {_percent(kept)} of the gradient here"
    if name == ONE_RUN:
        return f"LayerCAM, {lost}, and what follows the layer can't be run by itself"
    return f"masked gradients (positive parts), {lost}"


def describe_loss(kept: float) -> str:
    """What a result says of Grad-CAM where its average destroys the place."""
    return (
        f"Grad-CAM averages the gradient over the picture, and here that keeps only {_percent(kept)} of it, so the map may point at the "
        f"wrong place; explain with method={CAREFUL!r}, or 'auto'."
    )


def _take_careful(subject: Subject, kept: float) -> FoundMaps:
    method = get_method(CAREFUL)
    assert isinstance(method, PerturbationMethod)
    found = method.function(subject)
    assert isinstance(found, FoundMaps)
    steps = STEPS if min(found.maps.shape[1:]) >= FEWEST else ()
    return replace(found, method=CAREFUL, relu=True, steps=steps, choice=describe_choice(CAREFUL, kept))


def _percent(share: float) -> str:
    return "all" if share > 0.995 else "less than 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


BUILT_IN = (
    PerturbationMethod(
        "auto",
        explain_automatically,
        "The method for this model",
        "vlcam",
        f"{PLAIN} where its average keeps {KEPT:.0%} of the gradient, else {CAREFUL}",
        cost="one run, and up to 8 more of what follows the layer",
    ),
)
