"""An explanation as one JSON document: what ``explanation.to_dict()``, ``explanation.to_json()`` and the commands' ``--json`` share.

``schema.json`` beside this module is its JSON Schema (draft 2020-12). Maps are not in it: :meth:`vlcam.Explanation.save` keeps them.
"""

from typing import Any, Final

from vlcam._version import JSON_SCHEMA, __version__
from vlcam.explanation.record import AbstractExplanation, TargetView
from vlcam.explanation.wording import describe_place
from vlcam.files import encode_record

SCHEMA: Final = JSON_SCHEMA
"""Version of the JSON document; it changes when a field is renamed, removed or means something else."""


def make_json_document(explanation: AbstractExplanation) -> dict[str, Any]:
    """The explanation with the version of the schema and of vlcam; numbers are finite or None."""
    return {"schema": SCHEMA, "vlcam": __version__, **describe_explanation(explanation)}


def describe_explanation(explanation: AbstractExplanation) -> dict[str, Any]:
    """The explanation as JSON values, without versions: one of the ``results`` that ``--json`` prints."""
    photo = explanation.photo
    return {
        "task": explanation.task,
        "model": explanation.model,
        "layer": explanation.layer,
        "method": explanation.method,
        "choice": explanation.choice,
        "steps": list(explanation.steps),
        "diagnostic": encode_record(explanation.diagnostic, nonfinite="null"),
        "question": explanation.question,
        "text": explanation.text,
        "photo": {"name": photo.name, "width": photo.width, "height": photo.height, "sha256": photo.sha256},
        "preprocessing": encode_record(explanation.preprocessing, nonfinite="null"),
        "grid": {"rows": int(explanation.maps.shape[1]), "columns": int(explanation.maps.shape[2])},
        "notes": list(explanation.notes),
        "question_words": [list(span) for span in explanation.question_words],
        "targets": [_describe_target(view) for view in explanation],
    }


def _describe_target(view: TargetView) -> dict[str, Any]:
    target = view.target
    found: dict[str, Any] = encode_record(
        {
            "label": target.label,
            "kind": target.kind,
            "score": target.score,
            "measure": target.measure,
            "probability": target.probability,
            "nearly_certain": view.nearly_certain,
            "gain": target.gain,
            "span": target.span,
            "token_ids": target.token_ids,
            "reading": target.reading,
            "significance": view.significance,
            "flag": view.flag,
            "where": describe_place(view) or None,
            "neurons": view.neurons,
        },
        nonfinite="null",
    )
    return found
