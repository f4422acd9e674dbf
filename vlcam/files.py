"""Whole files or none; texts and JSON read with a reason; the one place of every atomic write."""

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from vlcam.contracts import InputError


def list_subfolders(root: Path) -> list[Path]:
    """The folders in a folder, without hidden ones, in the order of their names. Raises InputError if there is no such folder."""
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is no folder (looked from {Path.cwd()}); check the path")
    try:
        return sorted(one for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        raise InputError(f"the folder {str(root)!r} can't be read: {error.strerror}") from error


def read_text(path: str | Path, what: str) -> str:
    """The text of a file, without a byte order mark. Raises InputError that says what was expected there."""
    try:
        return Path(path).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise InputError(f"{str(path)!r} can't be read: {reason}; expected {what}") from error


def read_json(path: str | Path, what: str) -> Any:
    """What a JSON file holds. Raises InputError that says what was expected there."""
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} is no JSON ({error}); expected {what}") from error


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
        raise InputError(f"can't write into {str(out)!r}: {_describe_error(error)}; give another folder") from error


def make_folder(out: Path) -> Path:
    """Make a folder and its parents (or use the one that is there); InputError if that can't be."""
    check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"can't make the folder {str(out)!r}: {_describe_error(error)}; give another folder"
        ) from error
    return out


@contextmanager
def stage_files(out: Path) -> Iterator[Path]:
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


def make_slug(name: str) -> str:
    """A short file name that is safe on every system: letters, digits, ``-`` and ``_``, and dots inside.

    >>> make_slug("scene:7"), make_slug("../../etc/passwd"), make_slug("<b>.png"), make_slug("...")
    ('scene-7', 'etc-passwd', 'b-.png', 'image')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", name)
    return safe[:_LONGEST_NAME].strip("-._ ") or "image"


def replace_surrogates(text: str) -> str:
    """The text with bytes that are no UTF-8 (in a file name, as Python keeps them) shown as a replacement character."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def dump_json(document: Any) -> str:
    """JSON in ASCII; a number that is not finite is null."""
    return json.dumps(replace_nonfinite(document), allow_nan=False)


def replace_nonfinite(value: Any) -> Any:
    """The value with numbers that are not finite, at any depth, as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_nonfinite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_nonfinite(one) for one in value]
    return value


def _describe_error(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
