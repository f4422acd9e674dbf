"""What the commands write: folders and files that are either whole or not there, and one JSON document."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vlcam._version import __version__
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import TargetView
from vlcam.explanation.wording import describe_place
from vlcam.files import replace_nonfinite, replace_surrogates
from vlcam.neurons.text.describe import to_dict

SCHEMA = 2
"""Version of the JSON document; it changes when a field is renamed, removed or means something else."""


def to_json(
    done: Sequence[tuple[str, Explanation]],
    failed: Sequence[tuple[str, str]] = (),
    files: Sequence[Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """The document that ``--json`` prints. Numbers are finite or null; ``files`` says what was written for each result.

    Args:
        done: each image as it was given, and its explanation.
        failed: each image that could not be explained, and why.
        files: for each of ``done`` the paths of its picture and saved explanation.
    """
    results = [{"source": replace_surrogates(source), **_describe_result(explanation)} for source, explanation in done]
    if files is not None:
        results = [{**result, "files": dict(paths)} for result, paths in zip(results, files, strict=True)]
    return {
        "schema": SCHEMA,
        "vlcam": __version__,
        "results": results,
        "errors": [{"source": replace_surrogates(source), "error": replace_surrogates(why)} for source, why in failed],
    }


def _describe_result(explanation: Explanation) -> dict[str, Any]:
    photo = explanation.photo
    return {
        "task": explanation.task,
        "model": explanation.model,
        "layer": explanation.layer,
        "method": explanation.method,
        "question": explanation.question,
        "text": explanation.text,
        "photo": {"name": photo.name, "width": photo.width, "height": photo.height, "sha256": photo.sha256},
        "grid": {"rows": int(explanation.maps.shape[1]), "columns": int(explanation.maps.shape[2])},
        "notes": list(explanation.notes),
        "question_words": [list(span) for span in explanation.question_words],
        "targets": [_describe_target(view) for view in explanation],
    }


def _describe_target(view: TargetView) -> dict[str, Any]:
    target = view.target
    return {
        "label": target.label,
        "kind": target.kind,
        "score": replace_nonfinite(target.score),
        "measure": target.measure,
        "probability": replace_nonfinite(target.probability),
        "nearly_certain": view.nearly_certain,
        "gain": replace_nonfinite(target.gain),
        "span": None if target.span is None else list(target.span),
        "token_ids": list(target.token_ids),
        "reading": replace_nonfinite(target.reading),
        "significance": None if view.significance is None else replace_nonfinite(asdict(view.significance)),
        "flag": view.flag,
        "where": describe_place(view) or None,
        "neurons": None if view.neurons is None else replace_nonfinite(to_dict(view.neurons)),
    }
