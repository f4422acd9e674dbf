"""What the commands write: folders and files that are either whole or not there, and one JSON document."""

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from typing import Any

from vlcam import __version__
from vlcam.contracts import InputError
from vlcam.explanation import Explanation, TargetView
from vlcam.neurons.describe import to_dict
from vlcam.render.reading import place

SCHEMA = 1
"""Version of the JSON document; it changes when a field is renamed, removed or means something else."""

_LONGEST_NAME = 60


def check_folder(out: Path) -> None:
    """Refuse a folder that can't be written to. Nothing is made yet, so that a command that fails later leaves nothing.

    Raises:
        InputError: ``out`` or one of its parents is a file, or may not be written to.
    """
    try:
        below = next((one for one in (out, *out.parents) if one.exists() or one.is_symlink()), None)
        if below is not None and not below.is_dir():
            what = "is a file" if below.is_file() else "is no folder"
            raise InputError(f"can't write into {str(out)!r}: {str(below)!r} {what}; give a folder with --out")
        if below is not None and not os.access(below, os.W_OK | os.X_OK):
            raise InputError(
                f"can't write into {str(out)!r}: no permission to write to {str(below)!r}; give another folder"
            )
        if (out / "report.html").is_dir():
            raise InputError(
                f"can't write into {str(out)!r}: {str(out / 'report.html')!r} is a folder; give another folder with --out"
            )
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name that the system doesn't take: too long, or with a zero in it
        raise InputError(f"can't write into {str(out)!r}: {_why(error)}; give another folder") from error


def make_folder(out: Path) -> Path:
    """Make a folder and its parents (or use the one that is there); InputError if that can't be."""
    check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't make the folder {str(out)!r}: {_why(error)}; give another folder") from error
    return out


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A scratch folder whose files move into ``out`` at the end of the block, all of them; none if the block fails."""
    made = [one for one in (out, *out.parents) if not one.exists()]
    make_folder(out)
    scratch = Path(tempfile.mkdtemp(prefix=".vlcam-", dir=out))
    try:
        yield scratch
        files = sorted(scratch.iterdir())
        taken = next((out / file.name for file in files if (out / file.name).is_dir()), None)
        if taken is not None:
            raise InputError(f"can't write {str(taken)!r}: it is a folder; give another folder with --out")
        for file in files:
            file.replace(out / file.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for one in made:  # deepest first; a folder with something in it stays
            try:
                one.rmdir()
            except OSError:
                break


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file at once: readers see the old file or the new one, never a part."""
    part = path.with_name(f".vlcam-{token_hex(8)}")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def slug(name: str) -> str:
    """A short file name that is safe on every system: letters, digits, ``-`` and ``_``, and dots inside.

    >>> slug("scene:7"), slug("../../etc/passwd"), slug("<b>.png"), slug("...")
    ('scene-7', 'etc-passwd', 'b-.png', 'image')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", name)
    return safe[:_LONGEST_NAME].strip("-._ ") or "image"


def without_surrogates(text: str) -> str:
    """The text with bytes that are no UTF-8 (in a file name, as Python keeps them) shown as a replacement character."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


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
    results = [{"source": without_surrogates(source), **_result(explanation)} for source, explanation in done]
    if files is not None:
        results = [{**result, "files": dict(paths)} for result, paths in zip(results, files, strict=True)]
    return {
        "schema": SCHEMA,
        "vlcam": __version__,
        "results": results,
        "errors": [{"source": without_surrogates(source), "error": without_surrogates(why)} for source, why in failed],
    }


def dumps(document: Any) -> str:
    """JSON in ASCII; a number that is not finite is null."""
    return json.dumps(finite(document), allow_nan=False)


def _result(explanation: Explanation) -> dict[str, Any]:
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
        "targets": [_target(view) for view in explanation],
    }


def _target(view: TargetView) -> dict[str, Any]:
    target = view.target
    return {
        "label": target.label,
        "kind": target.kind,
        "score": finite(target.score),
        "measure": target.measure,
        "probability": finite(target.probability),
        "nearly_certain": view.nearly_certain,
        "gain": finite(target.gain),
        "span": None if target.span is None else list(target.span),
        "token_ids": list(target.token_ids),
        "reading": finite(target.reading),
        "proof": None if view.proof is None else finite(asdict(view.proof)),
        "flag": view.flag,
        "where": place(view) or None,
        "neurons": None if view.neurons is None else finite(to_dict(view.neurons)),
    }


def finite(value: Any) -> Any:
    """The value with numbers that are not finite, at any depth, as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
