"""What the commands write: folders and files that are either whole or not there, and one JSON document."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlcam._version import __version__
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.json_document import SCHEMA as SCHEMA
from vlcam.explanation.json_document import describe_explanation
from vlcam.files import replace_surrogates


def to_json(
    done: Sequence[tuple[str, Explanation | Mapping[str, Any]]],
    failed: Sequence[tuple[str, str]] = (),
    files: Sequence[Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """The document that ``--json`` prints. Numbers are finite or null; ``files`` says what was written for each result.

    Args:
        done: each image as it was given, and its explanation, or what ``describe_explanation`` says of it.
        failed: each image that could not be explained, and why.
        files: for each of ``done`` the paths of its picture and saved explanation.
    """
    results = [
        {"source": replace_surrogates(source), **(one if isinstance(one, Mapping) else describe_explanation(one))}
        for source, one in done
    ]
    if files is not None:
        results = [{**result, "files": dict(paths)} for result, paths in zip(results, files, strict=True)]
    return {
        "schema": SCHEMA,
        "vlcam": __version__,
        "results": results,
        "errors": [{"source": replace_surrogates(source), "error": replace_surrogates(why)} for source, why in failed],
    }
