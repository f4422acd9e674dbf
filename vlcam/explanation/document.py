"""An explanation as the small JSON document that the page draws from: every number and text of the page is decided here."""

import base64
import math
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from vlcam.explanation.matrix import NameMatrix, make_matrix
from vlcam.explanation.numbers import format_factor, format_nats, format_number, format_percent, format_weight
from vlcam.explanation.record import AbstractExplanation, Evidence, NeuronText, SignificanceTest, TargetView
from vlcam.explanation.wording import (
    KIND,
    NEARLY_CERTAIN,
    compute_faintness,
    describe_input,
    describe_place,
    describe_standing,
    find_peak,
    find_seen_part,
    find_shared_peaks,
    get_certainty_notice,
    get_long_notice,
    get_notice,
    limit_ratio,
    name_score,
    shows_against,
)
from vlcam.image.photo import Photo
from vlcam.render.colour import choose_colours, get_colour_table

_LONGEST_SIDE = 960
_SMALL = 256
_STEPS = 32767
_EVIDENCE = 5
TASKS = {"classification": "Classification", "captioning": "Caption", "vqa": "Visual question answering"}


def make_document(explanation: AbstractExplanation, *, picture: bool = True) -> dict[str, Any]:
    """Everything the page shows about one explanation; plain JSON types, no number that JSON doesn't have.

    Without its ``picture``, for whoever keeps photos apart, the photo's ``uri`` is empty.
    """
    geometry = explanation.geometry
    peaks = find_shared_peaks(explanation)
    return {
        "task": TASKS.get(explanation.task, explanation.task),
        "question": explanation.question,
        "asked": _split_question(explanation),
        "text": explanation.text,
        "pieces": _split_text(explanation),
        "photo": {
            "name": explanation.photo.name,
            "size": [explanation.photo.width, explanation.photo.height],
            "ratio": round(limit_ratio(explanation.photo.width, explanation.photo.height), 6),
            "sha256": explanation.photo.sha256,
            "uri": encode_photo(explanation.photo) if picture else "",
        },
        "seen": [round(part, 6) for part in find_seen_part(geometry)],
        # Photo (0 to 1) -> model's input (0 to 1): u = x * scale + offset, for each axis.
        "toInput": [
            [geometry.scale[axis] * geometry.photo_size[axis] / geometry.input_size[axis] for axis in (0, 1)],
            [geometry.offset[axis] / geometry.input_size[axis] for axis in (0, 1)],
        ],
        "grid": [int(explanation.maps.shape[1]), int(explanation.maps.shape[2])],
        "signed": not explanation.relu,
        "against": shows_against(explanation),
        "colours": choose_colours(relu=explanation.relu),
        "targets": [_describe_target(view, peaks[view.target.kind]) for view in explanation],
        "matrix": _describe_matrix(make_matrix(explanation), explanation),
        "notes": list(explanation.notes),
        "facts": {
            "model": explanation.model,
            "layer": explanation.layer,
            "method": explanation.method,
            "more": _list_more_facts(explanation),
            "input": describe_input(explanation.preprocessing),
        },
    }


def _list_more_facts(explanation: AbstractExplanation) -> dict[str, str]:
    """How the method was chosen and its maps are drawn, as far as there is something to say."""
    kept = None if explanation.diagnostic is None else explanation.diagnostic.kept
    choice = explanation.choice or ""
    facts = {
        "Why this method": choice[:1].upper() + choice[1:],
        "Drawn with": ", ".join(explanation.steps),
        "Gradient kept by Grad-CAM's average": format_percent(kept),
    }
    return {name: text for name, text in facts.items() if text}


def encode_colours(name: str) -> str:
    """A colour table's 768 bytes in base64."""
    return base64.b64encode(get_colour_table(name).tobytes()).decode("ascii")


def encode_photo(photo: Photo) -> str:
    """The photo as a data URI: PNG for a small photo, which JPEG would blur visibly, else JPEG of quality 90."""
    picture = Image.fromarray(np.ascontiguousarray(photo.pixels))
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    data = BytesIO()
    if max(picture.size) <= _SMALL:
        kind = "png"
        picture.save(data, "PNG")
    else:
        kind = "jpeg"
        picture.save(data, "JPEG", quality=90, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def _describe_target(view: TargetView, shared: float) -> dict[str, Any]:
    target = view.target
    return {
        "label": target.label,
        "kind": target.kind,
        "kindText": KIND.get(target.kind, target.kind),
        "score": format_number(target.score),
        "scoreName": name_score(target),
        "probability": _keep_finite(target.probability),
        "percent": format_percent(target.probability),
        "certain": NEARLY_CERTAIN if view.nearly_certain else "",
        "gain": format_nats(target.gain),
        "significance": "" if view.significance is None else _describe_significance(view.significance),
        "chance": "" if view.significance is None else _format_chance(view.significance),
        "reading": [{"weight": _keep_finite(value) or 0.0, "text": format_weight(value)} for _, value in view.reading],
        "flag": view.flag,
        "notice": get_notice(view),
        "noticeLong": " ".join(filter(None, (get_long_notice(view), get_certainty_notice(view)))),
        "place": describe_place(view),
        "peak": find_peak(view),
        "shared": shared,
        "fainter": format_factor(ratio) if (ratio := compute_faintness(view, shared)) else "",
        "map": _quantise(view) if view.flag == "ok" else None,
        "neurons": None if view.neurons is None else _describe_neurons(view.neurons),
    }


def _format_chance(test: SignificanceTest) -> str:
    """The p-value, and the corrected one where the correction changed it."""
    if test.p is None:
        return ""
    raw = f"p = {test.p:.2g}"
    return raw if test.corrected is None or test.corrected == test.p else f"{raw} (corrected {test.corrected:.2g})"


def _describe_significance(proof: SignificanceTest) -> str:
    """The verdict, and how the map agrees with two others."""
    ranked = [
        f"{rank:.2f} with {what}".replace("-", "−")
        for rank, what in ((proof.occlusion, "an occlusion map"), (proof.untrained, "the map of the untrained model"))
        if rank is not None
    ]
    return " ".join([proof.verdict, *([f"Rank correlation: {', '.join(ranked)}."] if ranked else [])])


def _quantise(view: TargetView) -> str:
    """The map as little-endian int16 parts of its own peak, in base64: an error of at most 1.6e-5 of the peak."""
    parts = view.map.double().cpu().numpy() / find_peak(view)
    return base64.b64encode(np.rint(parts * _STEPS).astype("<i2").tobytes()).decode("ascii")


def _split_question(explanation: AbstractExplanation) -> list[str | list[str]]:
    """The question cut at its words, if they were weighed: plain text, and each word in a list of its own."""
    question, pieces, end = explanation.question or "", list[str | list[str]](), 0
    for start, stop in explanation.question_words:
        if start > end:
            pieces.append(question[end:start])
        pieces.append([question[start:stop]])
        end = stop
    return [*pieces, question[end:]] if pieces and end < len(question) else pieces


def _split_text(explanation: AbstractExplanation) -> list[str | int]:
    """The text cut at the spans of its word targets: plain text, and the numbers of the targets that stand between."""
    if explanation.task != "captioning":
        return []
    words = [(view.target.span, view.index) for view in explanation if view.target.kind == "word"]
    placed = sorted((span, index) for span, index in words if span is not None)
    pieces: list[str | int] = []
    end = 0
    for (start, stop), index in placed:
        if start > end:
            pieces.append(explanation.text[end:start])
        pieces.append(index)
        end = max(end, stop)
    if placed:
        pieces.append(explanation.text[end:])
    pieces.extend(index for span, index in words if span is None)
    return [piece for piece in pieces if piece != ""]


def _describe_neurons(text: NeuronText) -> dict[str, Any]:
    return {
        "sentence": text.get_text("short"),
        "full": [one for one in dict.fromkeys((text.sentence, text.paper)) if one not in ("", text.get_text("short"))],
        "top": [_describe_evidence(evidence) for evidence in text.top[:_EVIDENCE]],
        "bottom": [_describe_evidence(evidence) for evidence in text.bottom[:_EVIDENCE]],
        "coverage": format_percent(text.coverage),
        "ranking": text.ranking,
    }


def _describe_evidence(evidence: Evidence) -> dict[str, Any]:
    value = evidence.alpha if evidence.contribution == 0 else evidence.contribution
    share = _keep_finite(abs(evidence.share)) or 0.0
    sign, words = describe_standing(evidence)
    return {
        "unit": evidence.unit,
        "name": evidence.name,
        "match": "" if evidence.match is None else f"{evidence.match:.2f}",
        "share": min(share, 1.0),
        "shareText": ("−" if value < 0 else "+") + (format_percent(share) or "0\u00a0%"),
        "against": value < 0,
        "standing": evidence.standing or ("" if evidence.active else "background"),
        "sign": sign,
        "says": words,
    }


def _describe_matrix(matrix: NameMatrix | None, explanation: AbstractExplanation) -> dict[str, Any] | None:
    """The words by named neurons: of each cell its text, its tint, and its classes, which say whether the word's own text tells it."""
    if matrix is None:
        return None
    most = max(float(np.abs(matrix.shares).max()), 1e-12)
    return {
        "heads": [["", ""], *([name, "end"] for name, _ in matrix.names)],
        "about": _MATRIX,
        "rows": [
            [
                explanation.targets[target].label,
                [
                    [_format_share(share), _tint(share / most), "end told" if said else "end"]
                    for share, said in zip(shares.tolist(), told.tolist(), strict=True)
                ],
            ]
            for target, shares, told in zip(matrix.targets, matrix.shares, matrix.told, strict=True)
        ],
    }


_MATRIX = (
    "Share of the evidence for a word (+) or against it (−) in units that may be said to see the name; a unit may count for several. "
    "Framed: the word's own text says so."
)


def _tint(part: float) -> str:
    """The style sheet's colour for or against, the stronger the larger the part of the strongest share."""
    return f"color-mix(in srgb, var(--{'against' if part < 0 else 'for'}) {38 * abs(part):.0f}%, transparent)"


def _format_share(share: float) -> str:
    """A share in whole per cent with its sign; empty below one half."""
    return f"{'+' if share > 0 else '−'}{abs(share):.0%}".replace("%", "\u00a0%") if abs(share) >= 0.005 else ""


def _keep_finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
