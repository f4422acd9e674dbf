"""How names were made and what limits them, in words."""

from collections.abc import Sequence
from typing import Final

from vlcam.neurons.scoring.choose import FEW, NamedUnits
from vlcam.neurons.scoring.settings import LEVEL, Settings

METHODS: Final = {
    "iou": "Network Dissection with a permutation null",
    "auprc": "average precision of positions with a permutation null",
    "correlation": "correlation of activation and covered area with a permutation null",
    "soft-wpmi": "CLIP-Dissect (soft-WPMI) with a permutation null",
    "www": "WWW (adaptive similarity) with a permutation null",
}

SMALL: Final = 500
"""Probes of fewer pictures support few names."""

_POSITIONS: Final = 50


def list_limits(
    images: int, positions: int, settings: Settings, found: NamedUnits, categories: Sequence[str] = ()
) -> list[str]:
    """What a reader of these names should know, in sentences.

    ``positions`` are a unit's activations on all pictures together; ``categories`` those of the probe's concepts.
    """
    notes = []
    if images < SMALL:
        notes.append(
            f"The probe has only {images} pictures. So small a probe supports few names: take {SMALL} or more."
        )
    if settings.scorer == "iou" and positions * settings.quantile < _POSITIONS:
        notes.append(
            f"Each unit's threshold rests on {int(positions * settings.quantile)} activations, where {_POSITIONS} or more would be "
            "needed: take more pictures or a larger quantile."
        )
    named = [unit for unit in found.units if unit.state == "named"]
    if named:
        wrong = max(1, round(LEVEL * len(named)))
        notes.append(
            f"{len(named)} names passed a test at a false discovery rate of {LEVEL:.0%}, so about {wrong} of them may be due to "
            "chance alone; the measures beside them are not further tests.".replace("%", " %")
        )
    else:
        notes.append("No unit has a reliable name: no concept of this probe fits better than it would by chance.")
    rare = sum("few" in unit.flags for unit in named)
    if rare:
        notes.append(f"{rare} of the names are concepts that occur in fewer than {FEW} pictures of the probe.")
    if list(categories) == ["class"]:
        notes.append(
            "The labels are of whole pictures, so a name says in which pictures a unit fires, not what it fires for in them."
        )
    return notes
