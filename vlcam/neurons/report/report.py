"""A layer's names as one HTML file that loads nothing: how far to trust them, what they cover, and a card for every unit.

Every number and text is decided here; the script only lays them out, sorts and filters. It is as safe as the page of explanations
(:mod:`vlcam.explanation.page`): data in escaped JSON, text set as text only, and a policy that allows exactly this script and style.

Each name gets one word of confidence that fits what a text may say of the unit, by fixed rules, the first that holds:

- *circular*: flagged as something that the model itself predicts, so the name explains nothing;
- *ambiguous*: flagged as ambiguous or polysemantic, or (where no margin was measured) an unrelated alternative has 90 % of its score;
- *weak*: a text may say nothing of the unit (its claims were calibrated, and none is left);
- *strong*: ``p <= 0.01``, flagged neither as unstable nor as few, the same name in at least 80 % of the bootstrap samples,
  and at least a quarter of the IoU that could be reached; what was not measured does not count, except p; and a text may say the name;
- *broad*: the same, but a text may only say something more general ("star" of a red star);
- *weak*: every other name.
"""

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, Final, Literal

import numpy as np

from vlcam._version import __version__
from vlcam.contracts import InputError
from vlcam.files import describe_error, show_path, stage_files, write_text
from vlcam.neurons.names.names import NeuronNames
from vlcam.neurons.names.record import FLAGS, NameGroup, NeuronName
from vlcam.neurons.report.cards import Card, Exemplar
from vlcam.neurons.report.effects import Effect, Effects
from vlcam.render.html import embed, make_policy, read_template

Confidence = Literal["strong", "broad", "weak", "ambiguous", "circular"]

STRONG_P: Final = 0.01
STABLE: Final = 0.8
REACHED: Final = 0.25  # of the ceiling of IoU
RIVAL: Final = 0.9  # of the score
FILES: Final = ("report.html", "names.csv", "names.json")
_BINS: Final = 48
_LONGEST: Final = 240
_SCORERS: Final = {
    "iou": "IoU",
    "auprc": "AUPRC",
    "correlation": "Correlation",
    "soft-wpmi": "Soft-WPMI",
    "www": "WWW similarity",
}
_FACTS: Final = {
    "method": "Method",
    "scorer": "Scorer",
    "kind": "Probe",
    "path": "Path",
    "split": "Split",
    "images": "Pictures",
    "concepts": "Concepts",
    "words": "Words",
    "encoder": "Encoder",
    "transform": "Transform",
    "quantile": "Quantile of T_k",
    "mask_size": "Grid of masks",
    "min_iou": "Least IoU",
    "min_score": "Least score",
    "permutations": "Permutations",
    "bootstrap": "Bootstrap samples",
    "length": "Longest formula",
    "seed": "Seed",
    "seconds": "Runtime",
    "vlcam": "vlcam",
    "command": "Command",
}
_NO_FACTS: Final = frozenset({"notes", "null"})


def report(
    names: NeuronNames,
    cards: Sequence[Card] | None = None,
    *,
    effects: Effects | None = None,
    title: str | None = None,
) -> str:
    """The names of a layer as one self-contained HTML document.

    Args:
        names: of the layer's units; ``names.probe`` says how they were made. Whatever is missing there is left out.
        cards: what :func:`vlcam.neurons.report.cards.collect` found of the units; without them there are no pictures.
        effects: what :func:`vlcam.neurons.report.effects.effects` found: which classes or words each unit helps and hurts.
        title: of the page; by default model and layer.

    Raises:
        InputError: cards or effects are those of another layer.
    """
    return _render_page(names, cards, effects, title, beside=False)


def write_report(
    folder: str | Path,
    names: NeuronNames,
    cards: Sequence[Card] | None = None,
    *,
    effects: Effects | None = None,
    title: str | None = None,
) -> list[Path]:
    """Write report.html, names.csv and names.json into a folder, which is made if need be; all of them, or none.

    Returns:
        The paths of the three files.
    """
    folder = Path(folder)
    texts = (_render_page(names, cards, effects, title, beside=True), names.to_csv(), names.to_json())
    try:
        with stage_files(folder) as scratch:
            for name, text in zip(FILES, texts, strict=True):
                write_text(scratch / name, text, errors="replace")
    except OSError as error:
        raise InputError(
            f"can't write a report into {show_path(folder)} ({describe_error(error)}); give another folder"
        ) from error
    return [folder / name for name in FILES]


def rate_confidence(unit: NeuronName, together: Sequence[NameGroup] = ()) -> Confidence | None:
    """How far a name can be trusted, in a word, by the rules above; None for a unit without a name.

    ``together``: what units of one name may claim together.

    >>> rate_confidence(NeuronName(0, "named", "red", "colour", 0.31, p=0.001, iou=0.31))
    'strong'
    """
    if unit.state != "named":
        return None
    if "target" in unit.flags:
        return "circular"
    if {"ambiguous", "polysemantic"} & set(unit.flags) or _has_rival(unit):
        return "ambiguous"
    said = {name for name, _, _ in unit.claims or ()}
    said |= {name for group in together if unit.unit in group.units for name, _, _ in group.claims}
    if unit.claims is not None and not said:
        return "weak"
    sure = unit.p is not None and unit.p <= STRONG_P
    firm = not {"unstable", "few"} & set(unit.flags) and (unit.stability is None or unit.stability >= STABLE)
    if not (sure and firm and (unit.iou is None or unit.iou >= REACHED * unit.ceiling)):
        return "weak"
    return "strong" if unit.claims is None or unit.name in said else "broad"


def make_document(
    names: NeuronNames, cards: Sequence[Card] | None = None, effects: Effects | None = None
) -> dict[str, Any]:
    """Everything the page shows; plain JSON types, no number that JSON doesn't have."""
    _check(names, cards, effects)
    facts = names.probe
    named = [unit for unit in names.units if unit.state == "named"]
    groups: dict[tuple[str, str], list[int]] = {}
    for unit in named:
        groups.setdefault((unit.name or "", unit.category or ""), []).append(unit.unit)
    order = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    categories = sorted({category for _, category in groups})
    return {
        "model": names.model,
        "layer": names.layer,
        "scorer": _get_scorer_title(facts),
        "facts": _list_facts(names),
        "counts": {
            "named": len(named),
            "unnamed": sum(unit.state == "unnamed" for unit in names.units),
            "dead": sum(unit.state == "dead" for unit in names.units),
            "flagged": sum(bool(unit.flags) for unit in names.units),
            "concepts": len(groups),
            "coverage": names.coverage,
            "units": len(names),
        },
        "notes": _list_notes(facts, len(named)),
        "null": _bin_null_scores(facts.get("null")),
        "categories": categories,
        "concepts": [{"name": name, "category": kind, "units": units} for (name, kind), units in order],
        "flags": {
            flag: FLAGS.get(flag, flag) for flag in sorted({flag for unit in names.units for flag in unit.flags})
        },
        "effects": None if effects is None else {"photos": effects.photos, "measure": effects.measure},
        "units": [
            _convert_unit(unit, names, None if cards is None else cards[unit.unit], effects, categories)
            for unit in names.units
        ],
    }


def _render_page(
    names: NeuronNames,
    cards: Sequence[Card] | None,
    effects: Effects | None,
    title: str | None,
    *,
    beside: bool,
) -> str:
    content = make_document(names, cards, effects) | {"files": list(FILES[1:]) if beside else []}
    style, script = (
        read_template("vlcam.neurons.report", "report.css"),
        read_template("vlcam.neurons.report", "report.js"),
    )
    title = f"{names.model}: neurons of {names.layer}" if title is None else title
    return Template(read_template("vlcam.neurons.report", "report.html")).substitute(
        policy=make_policy(script, style),
        title=html.escape(title.encode("utf-8", "replace").decode("utf-8")),
        version=html.escape(__version__),
        p=f"{STRONG_P:g}",
        stable=f"{100 * STABLE:.0f}\u00a0%",
        reached=f"{100 * REACHED:.0f}\u00a0%",
        rival=f"{100 * RIVAL:.0f}\u00a0%",
        style=style,
        script=script,
        data=embed(content),
    )


def _convert_unit(
    unit: NeuronName, names: NeuronNames, card: Card | None, effects: Effects | None, categories: Sequence[str]
) -> dict[str, Any]:
    legacy = unit.iou is None and _get_scorer_title(names.probe) == "IoU" and unit.state != "dead"
    out: dict[str, Any] = {
        "unit": unit.unit,
        "state": unit.state,
        "name": unit.name,
        "category": unit.category,
        "colour": categories.index(unit.category or "") if unit.state == "named" else None,
        "trust": rate_confidence(unit, names.together),
        "score": None if unit.state == "dead" else _round_finite(unit.score),
        "iou": _round_finite(unit.score if legacy else unit.iou),
        "ceiling": _round_finite(unit.ceiling),
        "threshold": _round_finite(unit.threshold),
        "alternatives": [[name, category, _round_finite(score)] for name, category, score in unit.alternatives],
        "also": list(unit.also),
        "formula": None if unit.formula is None else [unit.formula[0], _round_finite(unit.formula[1])],
        "claims": None if unit.claims is None else [[name, _round_finite(level)] for name, _, level in unit.claims],
        "together": [
            [[one for one in group.units if one != unit.unit], [name for name, _, _ in group.claims]]
            for group in names.together
            if unit.unit in group.units
        ],
        "flags": list(unit.flags),
        "helps": [] if effects is None else [_convert_effect(one) for one in effects.list_helped(unit.unit)],
        "hurts": [] if effects is None else [_convert_effect(one) for one in effects.list_hurt(unit.unit)],
        "card": None if card is None else _convert_card(card),
    }
    dead = unit.state == "dead"  # whatever was measured of a unit that never fires says nothing
    measures = ("p", "auprc", "correlation", "stability", "margin")
    return out | {key: None if dead else _round_finite(getattr(unit, key)) for key in measures}


def _convert_card(card: Card) -> dict[str, Any]:
    return {
        "pictures": card.pictures,
        "fires": card.fires,
        "low": _round_finite(card.low),
        "high": _round_finite(card.high),
        "zeros": _round_finite(card.zeros),
        "counts": list(card.counts),
        "precision": _round_finite(card.precision),
        "recall": _round_finite(card.recall),
        "classes": [[name, _round_finite(value)] for name, value in card.classes],
        **{row: [_convert_exemplar(one) for one in getattr(card, row)] for row in ("top", "middle", "missed", "wrong")},
    }


def _convert_exemplar(one: Exemplar) -> dict[str, Any]:
    return {
        "picture": one.picture,
        "value": _round_finite(one.value),
        "group": one.group,
        "photo": base64.b64encode(one.photo).decode("ascii"),
        "crop": None if one.crop is None else base64.b64encode(one.crop).decode("ascii"),
    }


def _convert_effect(one: Effect) -> list[Any]:
    return [one.label, _round_finite(one.contribution), one.count]


def _list_facts(names: NeuronNames) -> list[list[str]]:
    """What is known of how the names were made: known facts in their order, then all others."""
    probe = names.probe
    out = [["Model", names.model], ["Layer", names.layer], ["Units", str(len(names))]]
    if names.weights_sha256:
        out.append(["Weights (SHA-256)", names.weights_sha256])
    keys = [key for key in _FACTS if key in probe] + [
        key for key in probe if key not in _FACTS and key not in _NO_FACTS
    ]
    for key in keys:
        if probe[key] is not None and probe[key] != "":
            out.append([_FACTS.get(key) or str(key).replace("_", " ").capitalize(), _format_fact(key, probe[key])])
    return out


def _format_fact(key: str, value: Any) -> str:
    if key == "scorer":
        return _SCORERS.get(str(value), str(value))
    if key == "seconds" and isinstance(value, int | float):
        return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"
    if key == "mask_size":
        return " × ".join(map(str, value)) if isinstance(value, list | tuple) else f"{value} × {value}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _list_notes(facts: Mapping[str, Any], named: int) -> list[str]:
    """Warnings of the probe; an empty layer is said to be one even if they don't."""
    notes = facts.get("notes") or []
    found = [str(note) for note in (notes if isinstance(notes, list | tuple) else [notes])]
    if not named and not any("reliable name" in note for note in found):
        found.append("No unit has a reliable name.")
    return found


def _bin_null_scores(found: Any) -> dict[str, Any] | None:
    """The shares of best scores in equal bins, observed and by chance; None if they were not kept, or are not numbers."""
    try:
        observed, chance = (np.sort(np.asarray(found[key], np.float64)) for key in ("observed", "null"))
        limit = float(found["limit95"])
    except (KeyError, TypeError, ValueError):
        return None
    if observed.ndim != 1 or not observed.size or chance.ndim != 1 or not chance.size:
        return None
    every = np.concatenate([observed, chance, [limit]])
    if not np.isfinite(every).all():
        return None
    low, high = min(0.0, float(every.min())), float(every.max())
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, _BINS + 1)
    below = np.interp(edges, chance, np.linspace(0, 1, len(chance))) if len(chance) > 1 else (edges >= chance[0]) * 1.0
    below[0], below[-1] = 0.0, 1.0
    return {
        "low": low,
        "high": high,
        "limit": limit,
        "observed": (np.histogram(observed, edges)[0] / len(observed)).round(6).tolist(),
        "chance": np.diff(below).clip(0).round(6).tolist(),
        "above": int((observed > limit).sum()),
        "units": len(observed),
    }


def _has_rival(unit: NeuronName) -> bool:
    """Whether an alternative that shares no word with the name scores nearly as high, where no margin was measured."""
    if unit.margin is not None or unit.stability is not None or unit.score <= 0:
        return False
    words = set((unit.name or "").split())
    return any(score >= RIVAL * unit.score for name, _, score in unit.alternatives if not words & set(name.split()))


def _get_scorer_title(facts: Mapping[str, Any]) -> str:
    """What the scores are: IoU unless the names say something else."""
    scorer = str(facts.get("scorer") or "iou")
    return _SCORERS.get(scorer, scorer)


def _round_finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _check(names: NeuronNames, cards: Sequence[Card] | None, effects: Effects | None) -> None:
    if cards is not None and [card.unit for card in cards] != list(range(len(names))):
        raise InputError(
            f"there are {len(cards)} cards for names of {len(names)} units; give what collect() made with these names"
        )
    if effects is not None and (effects.layer != names.layer or effects.alpha.shape[1] != len(names)):
        raise InputError(
            f"the effects are of {effects.alpha.shape[1]} units of layer {effects.layer!r}, but the names of {len(names)} units of layer "
            f"{names.layer!r}; give effects(..., layer={names.layer!r})"
        )
