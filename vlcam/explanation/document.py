"""An explanation as the small JSON document that the page draws from: every number and text of the page is decided here."""

import base64
import math
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from vlcam.contracts import Target
from vlcam.explanation.record import AbstractExplanation, Evidence, NeuronText, Proof, TargetView
from vlcam.explanation.wording import (
    KIND,
    NEARLY_CERTAIN,
    certainty_long,
    drawn_ratio,
    fainter,
    nats,
    notice,
    notice_long,
    number,
    peak,
    percent,
    place,
    seen,
    shared_peaks,
    shows_against,
    times,
    weight,
)
from vlcam.image.photo import Photo
from vlcam.render.colour import default_colours, table

_LONGEST_SIDE = 960
_SMALL = 256
_STEPS = 32767
_EVIDENCE = 5
TASKS = {"classification": "Classification", "captioning": "Caption", "vqa": "Visual question answering"}


def document(explanation: AbstractExplanation) -> dict[str, Any]:
    """Everything the page shows about one explanation; plain JSON types, no number that JSON doesn't have."""
    geometry = explanation.geometry
    peaks = shared_peaks(explanation)
    return {
        "task": TASKS.get(explanation.task, explanation.task),
        "question": explanation.question,
        "asked": _asked(explanation),
        "text": explanation.text,
        "pieces": _pieces(explanation),
        "photo": {
            "name": explanation.photo.name,
            "size": [explanation.photo.width, explanation.photo.height],
            "ratio": round(drawn_ratio(explanation.photo.width, explanation.photo.height), 6),
            "sha256": explanation.photo.sha256,
            "uri": photo_uri(explanation.photo),
        },
        "seen": [round(part, 6) for part in seen(geometry)],
        # Photo (0 to 1) -> model's input (0 to 1): u = x * scale + offset, for each axis.
        "toInput": [
            [geometry.scale[axis] * geometry.photo_size[axis] / geometry.input_size[axis] for axis in (0, 1)],
            [geometry.offset[axis] / geometry.input_size[axis] for axis in (0, 1)],
        ],
        "grid": [int(explanation.maps.shape[1]), int(explanation.maps.shape[2])],
        "signed": not explanation.relu,
        "against": shows_against(explanation),
        "colours": default_colours(relu=explanation.relu),
        "targets": [_target(view, peaks[view.target.kind]) for view in explanation],
        "notes": list(explanation.notes),
        "facts": {"model": explanation.model, "layer": explanation.layer, "method": explanation.method},
    }


def colours_uri(name: str) -> str:
    """A colour table's 768 bytes in base64."""
    return base64.b64encode(table(name).tobytes()).decode("ascii")


def photo_uri(photo: Photo) -> str:
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


def _target(view: TargetView, shared: float) -> dict[str, Any]:
    target = view.target
    return {
        "label": target.label,
        "kind": target.kind,
        "kindText": KIND.get(target.kind, target.kind),
        "score": number(target.score),
        "scoreName": _score_name(target),
        "probability": _finite(target.probability),
        "percent": percent(target.probability),
        "certain": NEARLY_CERTAIN if view.nearly_certain else "",
        "gain": nats(target.gain),
        "proof": "" if view.proof is None else _proof(view.proof),
        "chance": "" if view.proof is None or view.proof.p is None else f"p = {view.proof.p:.2g}",
        "reading": [{"weight": _finite(value) or 0.0, "text": weight(value)} for _, value in view.reading],
        "flag": view.flag,
        "notice": notice(view),
        "noticeLong": " ".join(filter(None, (notice_long(view), certainty_long(view)))),
        "place": place(view),
        "peak": peak(view),
        "shared": shared,
        "fainter": times(ratio) if (ratio := fainter(view, shared)) else "",
        "map": _quantised(view) if view.flag == "ok" else None,
        "neurons": None if view.neurons is None else _neurons(view.neurons),
    }


def _proof(proof: Proof) -> str:
    """The verdict, and how the map agrees with two others."""
    ranked = [
        f"{rank:.2f} with {what}".replace("-", "−")
        for rank, what in ((proof.occlusion, "an occlusion map"), (proof.untrained, "the map of the untrained model"))
        if rank is not None
    ]
    return " ".join([proof.verdict, *([f"Rank correlation: {', '.join(ranked)}."] if ranked else [])])


def _quantised(view: TargetView) -> str:
    """The map as little-endian int16 parts of its own peak, in base64: an error of at most 1.6e-5 of the peak."""
    parts = view.map.double().cpu().numpy() / peak(view)
    return base64.b64encode(np.rint(parts * _STEPS).astype("<i2").tobytes()).decode("ascii")


def _asked(explanation: AbstractExplanation) -> list[str | list[str]]:
    """The question cut at its words, if they were weighed: plain text, and each word in a list of its own."""
    question, pieces, end = explanation.question or "", list[str | list[str]](), 0
    for start, stop in explanation.question_words:
        if start > end:
            pieces.append(question[end:start])
        pieces.append([question[start:stop]])
        end = stop
    return [*pieces, question[end:]] if pieces and end < len(question) else pieces


def _pieces(explanation: AbstractExplanation) -> list[str | int]:
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


def _neurons(text: NeuronText) -> dict[str, Any]:
    return {
        "sentence": text.sentence,
        "top": [_evidence(evidence) for evidence in text.top[:_EVIDENCE]],
        "bottom": [_evidence(evidence) for evidence in text.bottom[:_EVIDENCE]],
        "coverage": percent(text.coverage),
        "ranking": text.ranking,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    value = evidence.alpha if evidence.contribution == 0 else evidence.contribution
    share = _finite(abs(evidence.share)) or 0.0
    return {
        "unit": evidence.unit,
        "name": evidence.name,
        "match": "" if evidence.match is None else f"{evidence.match:.2f}",
        "share": min(share, 1.0),
        "shareText": ("−" if value < 0 else "+") + (percent(share) or "0\u00a0%"),
        "against": value < 0,
        "active": evidence.active,
    }


def _score_name(target: Target) -> str:
    return "difference" if target.kind == "contrast" else target.measure


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
