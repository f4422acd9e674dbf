"""An explanation in words and plain numbers, for figures and pages: notices, scales, where a map lies, how numbers are written."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from vlcam.contracts import Geometry, Kind, Target
from vlcam.explanation.record import AbstractExplanation, Evidence, Flag, Standing, TargetView
from vlcam.image.preprocess import PreprocessSettings
from vlcam.render.blending import grow_region

AGAINST = frozenset({"counterfactual"})
"""The methods whose maps show evidence against a target, so that everything said about them is the other way round."""

FAINT = 20
"""A map on its own scale that is this many times fainter than the strongest gets a notice that says so."""

NOTICE: dict[Flag, str] = {
    "ok": "",
    "zero": "no evidence",
    "negative": "only evidence against",
    "nonfinite": "not a number: no map",
}
NOTICE_LONG: dict[Flag, str] = {
    "ok": "",
    "zero": "No evidence: the map is zero everywhere, so the photo is shown as it is.",
    "negative": "Only evidence against: nothing in the photo speaks for this, so the photo is shown as it is.",
    "nonfinite": "The map holds values that are not numbers, so it is not drawn.",
}
_NOTICE_AGAINST = "only evidence for"
_NOTICE_AGAINST_LONG = "Only evidence for: nothing in the photo speaks against this, so the photo is shown as it is."
LEFT_OUT = (
    "The importance of a word of the question is how much the score falls when the model is asked without it (leave-one-out), not gradient "
    "times embedding."
)
"""The note on a result whose question's words were weighed by leaving each out."""
NEARLY_CERTAIN = "nearly certain"
_NEARLY_CERTAIN_LONG = (
    "Nearly certain: its log-probability hardly changes. "
    "Explain the logit instead: measure='logit', --measure\u00a0logit."
)
KIND: dict[Kind, str] = {
    "class": "class",
    "word": "word",
    "caption": "whole caption",
    "answer": "answer",
    "contrast": "contrast",
}
STANDING: dict[Standing, tuple[str, str]] = {
    "claimable": ("●", ""),
    "weak": ("◐", "fires too weakly to say"),
    "background": ("○", "background: doesn't fire"),
    "unnamed": ("–", "no name"),
}
"""What a text may say of a channel: a sign that is legible without colours, and words; of a claimable one, what it sees."""
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "middle", "right")
_SPREAD = 0.24
"""Of the photo's side: a hot part as wide as this (an even map has 0.29) in both directions has no place."""
_NARROWEST = 1 / 16


def shows_against(explanation: AbstractExplanation) -> bool:
    """Whether the maps show evidence against their targets instead of for them."""
    return explanation.method in AGAINST


def describe_input(settings: PreprocessSettings | None) -> str:
    """What was done to the photo before the model saw it, in one line; empty where that isn't known.

    >>> describe_input(PreprocessSettings((225, 225), "crop", 256, (0.5,) * 3, (0.5,) * 3, "bilinear"))
    '225 × 225, the middle of the photo resized to 256 (bilinear), mean 0.5, std 0.5'
    """
    if settings is None:
        return ""
    shown = {"resize": "all of the photo, stretched or shrunk to it", "letterbox": "all of the photo, with margins"}
    part = shown.get(settings.mode, "the middle of the photo" if settings.mode == "crop" else settings.mode)
    if settings.resize_shorter is not None:
        part += f" resized to {settings.resize_shorter}"
    if settings.interpolation is not None:
        part += f" ({settings.interpolation})"
    parts = [f"{settings.size[0]} × {settings.size[1]}", part]
    for name, values in (("mean", settings.mean), ("std", settings.std)):
        if values is not None:
            parts.append(f"{name} {' '.join(f'{one:.3g}' for one in (values if len(set(values)) > 1 else values[:1]))}")
    return ", ".join(parts)


def get_notice(view: TargetView) -> str:
    """Why a target's map shows nothing, in a few words; empty if it shows something."""
    reversed_ = view.flag == "negative" and shows_against(view.explanation)
    return _NOTICE_AGAINST if reversed_ else NOTICE[view.flag]


def describe_standing(evidence: Evidence) -> tuple[str, str]:
    """The sign and the words for what a text may say of a channel here; files of earlier versions know only whether it fires.

    >>> describe_standing(Evidence(3, "red star", 1.0, 1.0, 0.5, True, None, "claimable", ("star",)))
    ('●', 'sees: star')
    """
    if evidence.standing is None:
        return ("", "") if evidence.active else ("○", "silent here")
    sign, words = STANDING[evidence.standing]
    words_of = [set(name.split()) for name in evidence.says]
    told = [
        name for name, own in zip(evidence.says, words_of, strict=True) if not any(own < other for other in words_of)
    ]
    return sign, f"sees: {', '.join(told)}" if told else words


def get_long_notice(view: TargetView) -> str:
    """The same in a sentence."""
    reversed_ = view.flag == "negative" and shows_against(view.explanation)
    return _NOTICE_AGAINST_LONG if reversed_ else NOTICE_LONG[view.flag]


def get_certainty_notice(view: TargetView) -> str:
    """What to do about a target that is nearly certain, in sentences; empty for all others."""
    return _NEARLY_CERTAIN_LONG if view.nearly_certain else ""


def name_score(target: Target) -> str:
    """What a target's score, and so its map, is measured in."""
    return "difference" if target.kind == "contrast" else target.measure


def limit_ratio(width: int, height: int) -> float:
    """Width by height of a photo as it is drawn: its own, but never so thin that nothing could be seen.

    >>> limit_ratio(300, 200), limit_ratio(1, 600)
    (1.5, 0.0625)
    """
    return min(max(width / height, _NARROWEST), 1 / _NARROWEST)


def compute_faintness(view: TargetView, strongest: float) -> float:
    """How many times fainter a map is than the strongest of its kind; 0 if that isn't worth a warning."""
    ratio = strongest / own if (own := find_peak(view)) else 0.0
    return ratio if ratio >= FAINT else 0.0


def find_peak(view: TargetView) -> float:
    """The largest value of a target's map (its size, if signed), 0 if the map shows nothing."""
    return float(view.map.abs().max()) if view.flag == "ok" else 0.0


def find_shared_peaks(explanation: AbstractExplanation) -> dict[Kind, float]:
    """The largest value among all targets of a kind: the one scale of their maps.

    Kinds are kept apart because their scores are not of one size: a whole caption's score is the sum of all its words', and on its
    scale every word would look empty.
    """
    peaks: dict[Kind, float] = {}
    for view in explanation:
        peaks[view.target.kind] = max(peaks.get(view.target.kind, 0.0), find_peak(view))
    return peaks


def resize_geometry(geometry: Geometry, width: int, height: int) -> Geometry:
    """The same geometry for a copy of the photo at another size."""
    across, down = geometry.photo_size[0] / width, geometry.photo_size[1] / height
    return replace(geometry, photo_size=(width, height), scale=(geometry.scale[0] * across, geometry.scale[1] * down))


def find_seen_part(geometry: Geometry) -> tuple[float, float, float, float]:
    """The part of the photo that the model saw: left, top, right, bottom as parts (0 to 1) of the photo's sides."""
    edges: list[tuple[float, float]] = []
    for axis in (0, 1):
        at = (-geometry.offset[axis], geometry.input_size[axis] - geometry.offset[axis])
        low, high = sorted(place / geometry.scale[axis] / geometry.photo_size[axis] for place in at)
        edges.append((min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def describe_place(view: TargetView) -> str:
    """Where on the photo a map is strongest: ``upper left``, ``centre``, ``spread out``, or nothing.

    This is the middle of the connected part around the maximum that lies above half of it: a second, separate hot part
    doesn't pull it to a place between the two where there is nothing.
    """
    if view.flag != "ok":
        return ""
    weights = view.map.clamp_min(0).double().cpu().numpy()
    if not weights.max() > 0:
        return ""
    weights = np.where(_find_hot_cells(weights), weights / weights.max(), 0.0)
    weights /= weights.sum()
    geometry = view.explanation.geometry
    centres: list[float] = []
    spreads: list[float] = []
    for axis in (0, 1):
        cells = weights.shape[1 - axis]
        on_input = (np.arange(cells) + 0.5) * geometry.input_size[axis] / cells
        on_photo = (on_input - geometry.offset[axis]) / geometry.scale[axis] / geometry.photo_size[axis]
        part = weights.sum(axis=axis)
        centre = float((part * on_photo).sum())
        centres.append(centre)
        spreads.append(math.sqrt(float((part * (on_photo - centre) ** 2).sum())))
    if min(spreads) > _SPREAD:
        return "spread out"
    row, column = (min(max(int(centre * 3), 0), 2) for centre in (centres[1], centres[0]))
    if (row, column) == (1, 1):
        return "centre"
    if row == 1:
        return _COLUMNS[column]
    if column == 1:
        return ("top", "", "bottom")[row]
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def _find_hot_cells(weights: Float[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """The connected cells around the maximum that hold at least half of it."""
    half: Bool[np.ndarray, "rows columns"] = weights >= weights.max() / 2
    region: Bool[np.ndarray, "rows columns"] = np.zeros_like(half)
    region.flat[weights.argmax()] = True
    while (wider := grow_region(region) & half).sum() > region.sum():
        region = wider
    return region
