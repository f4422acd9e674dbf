"""``auto``: the method for this model, decided from the one run that is explained.

Where nothing but global average pooling and a linear layer follow (the form for which CAM is defined, which is tested), or where
Grad-CAM's average over the picture keeps nearly all of the gradient (``kept``, see :mod:`vlcam.methods.diagnose`), Grad-CAM says what there
is to say, and nothing else is run. Elsewhere masked gradients, averaged over the way from an empty map to the layer's own, point better
on the models that were measured. Where what follows the layer can't be run by itself, LayerCAM is taken, the best of one run there.
"""

import logging
from dataclasses import replace
from typing import Final

from vlcam.contracts import LayerError, Maps, PerturbationMethod, TargetError
from vlcam.image.display import FEWEST, apply_steps
from vlcam.methods.cam import has_pooled_head
from vlcam.methods.diagnose import measure_kept
from vlcam.methods.head import FoundMaps, HeadSubject
from vlcam.methods.registry import get_method, get_one_run_method

_log = logging.getLogger(__name__)

KEPT: Final = 0.97
"""From this share of the gradient's energy up, Grad-CAM's average is taken to lose nothing."""

TRUSTED: Final = 0.3
"""Below this share Grad-CAM's average is taken to destroy the place, and the result says so."""

PLAIN: Final = "gradcam"
BALANCED: Final = "masked-gradients-balanced"
POSITIVE: Final = "masked-gradients-positive"
ONE_RUN: Final = "layercam"
COMPACT: Final = 0.2
"""Up to this share of cells above half of the peak, a map is taken to be of something small, which a power draws more clearly."""


def choose_method(kept: float) -> str:
    """The method for a layer whose gradients keep that share of their energy; NaN (no gradient at all) leaves Grad-CAM."""
    if not kept < KEPT:
        return PLAIN
    return POSITIVE if kept < TRUSTED else BALANCED


def explain_automatically(subject: HeadSubject) -> FoundMaps:
    """The maps of the method that suits the model; ``method`` names it, ``choice`` says why."""
    kept = float(measure_kept(subject.cell_gradients).nanmedian())
    pooled = kept < KEPT and has_pooled_head(subject)
    name = PLAIN if pooled else choose_method(kept)
    if name != PLAIN:
        try:
            return _take_masked(subject, name, kept)
        except (LayerError, TargetError) as error:
            _log.debug("auto takes %s: %s", ONE_RUN, error)
            name = ONE_RUN
    method = get_one_run_method(name)
    maps = subject.place(method.function(subject.cells, subject.cell_gradients))
    return FoundMaps(maps, method=name, relu=method.relu, choice=describe_choice(name, kept, pooled=pooled))


def choose_steps(maps: Maps) -> tuple[str, ...]:
    """The display steps for positive maps: none on short sides, and no power where they mark large parts of the picture."""
    if min(maps.shape[1:]) < FEWEST:
        return ()
    drawn = apply_steps(maps, ["box3"])
    above = (drawn >= drawn.amax((1, 2), keepdim=True) / 2).float().mean((1, 2))
    return ("box3", "cube") if float(above.median()) <= COMPACT else ("box3",)


def describe_choice(name: str, kept: float, *, pooled: bool = False) -> str:
    """Why ``auto`` took a method, in one sentence."""
    if pooled:
        return "Grad-CAM, as only global average pooling and a linear layer follow the explained layer"
    if name == PLAIN:
        return f"Grad-CAM, as its average over the picture keeps {_percent(kept)} of the gradient here, so that little or nothing is lost"
    lost = f"as Grad-CAM's average over the picture keeps only {_percent(kept)} of the gradient here"
    if name == ONE_RUN:
        return f"LayerCAM, {lost}, and what follows the layer can't be run by itself"
    return f"masked gradients ({'positive parts' if name == POSITIVE else 'balanced'}), {lost}"


def describe_loss(kept: float) -> str:
    """What a result says of Grad-CAM where its average destroys the place."""
    return (
        f"Grad-CAM averages the gradient over the picture, and here that keeps only {_percent(kept)} of it, so the map may point at the "
        f"wrong place; explain with method={POSITIVE!r}, or 'auto'."
    )


def _take_masked(subject: HeadSubject, name: str, kept: float) -> FoundMaps:
    method = get_method(name)
    assert isinstance(method, PerturbationMethod)
    found = method.function(subject)
    assert isinstance(found, FoundMaps)
    steps = choose_steps(found.maps)
    return replace(found, method=name, relu=True, steps=steps, choice=describe_choice(name, kept))


def _percent(share: float) -> str:
    return "all" if share > 0.995 else "less than 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


BUILT_IN = (
    PerturbationMethod(
        "auto",
        explain_automatically,
        "The method for this model",
        "vlcam 2026",
        f"{PLAIN} where the head only pools or its average keeps {KEPT:.0%} of the gradient; {POSITIVE} where it keeps less than "
        f"{TRUSTED:.0%}; else {BALANCED}",
        cost="one run, and up to 16 more of what follows the layer",
        quick=True,
    ),
)
