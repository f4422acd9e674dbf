"""Reading with a reason: files that aren't there, are too large, or hold something else become one InputError."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vlcam.errors import InputError, VlcamError
from vlcam.files.limits import MAX_SAVED_BYTES, MAX_TEXT_BYTES
from vlcam.files.records import RecordError

_LONGEST_SHOWN: Final = 300
_LONGEST_REASON: Final = 200


def describe_error(error: BaseException) -> str:
    """An exception in one short line: the system's own words, the text, or else the class."""
    text = " ".join(str(error.strerror if isinstance(error, OSError) and error.strerror else error).split())
    return (text or type(error).__name__)[:_LONGEST_REASON]


def show_path(path: str | Path) -> str:
    """A path in quotes, as errors show it; what is longer than any path is cut."""
    return repr(str(path)[:_LONGEST_SHOWN])


_STEP = 2**16


@contextmanager
def refuse_broken(where: str, expected: str, *, fault: str = "can't be read: {}") -> Iterator[None]:
    """The guard around every parser: whatever a broken file makes it raise becomes one InputError. Errors of vlcam's own pass.

    Parsers raise nearly anything: OverflowError for a number, RecursionError for lists in lists, MemoryError for a size, and their own
    (of csv, zlib, struct, XML, PyTorch). So inside there should be parsing and nothing else.

    Args:
        where: the file, or the place in it.
        expected: what should be there.
        fault: what is wrong with it, with ``{}`` for the error.

    >>> with refuse_broken("'a.json'", "a list"):
    ...     float(10**400)
    Traceback (most recent call last):
    vlcam.errors.InputError: 'a.json' can't be read: int too large to convert to float; expected a list
    """
    try:
        yield
    except (VlcamError, RecordError):
        raise
    except Exception as error:
        raise InputError(f"{where} {fault.format(describe_error(error))}; expected {expected}") from error


def is_there(path: str | Path, *, folders: bool = False) -> bool:
    """Whether there is such a file, or folder if those count, also for names that the system doesn't take, which files may hold."""
    try:
        return Path(path).exists() if folders else Path(path).is_file()
    except (OSError, ValueError):
        return False


def check_file(path: str | Path, what: str) -> int:
    """The size of a regular file that may be read. Raises InputError that says what is wrong, and what was expected there."""
    shown = show_path(path)
    try:
        found = Path(path).stat()
        if stat.S_ISREG(found.st_mode):
            Path(path).open("rb").close()
    except FileNotFoundError as error:
        raise InputError(f"there is no file {shown} (looked from {Path.cwd()}); check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"the file {shown} can't be read: {describe_error(error)}; expected {what}") from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{shown} is a folder; expected {what}: give the path of one file in it")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{shown} is not a regular file; expected {what}")
    return found.st_size


def read_bytes(path: str | Path, what: str, *, most: int = MAX_SAVED_BYTES) -> bytes:
    """The bytes of a file. Raises InputError that says what was expected there, also for more than ``most`` bytes."""
    parts: list[bytes] = []
    have = 0
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # As much as the file has, and not room for all that it might have; a pipe doesn't tell its size.
            while (
                size <= most and have <= most and (part := file.read(min(max(size - have, 0) + _STEP, most + 1 - have)))
            ):
                parts.append(part)
                have += len(part)
    except (OSError, ValueError, MemoryError) as error:
        raise InputError(f"{show_path(path)} can't be read: {describe_error(error)}; expected {what}") from error
    if (found := max(size, have)) > most:
        raise InputError(f"{show_path(path)} has {found:,} bytes; expected at most {most:,} for {what}")
    return b"".join(parts)


def read_text(path: str | Path, what: str, *, keep_line_ends: bool = False) -> str:
    r"""The text of a file, without a byte order mark. Raises InputError that says what was expected there.

    Line ends become ``\n``, unless they are kept, for tables whose cells may have some.
    """
    data = read_bytes(path, what, most=MAX_TEXT_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{show_path(path)} can't be read: it is not UTF-8 text; expected {what}") from error
    return text if keep_line_ends or "\r" not in text else text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(
    path: str | Path, what: str, *, hook: Callable[[dict[str, Any]], Any] | None = None, strict: bool = False
) -> Any:
    """What a JSON file holds. Raises InputError that says what was expected there.

    ``hook`` replaces each object as it is read, so that large files need not be held whole; ``strict`` is that of :func:`parse_json`.
    """
    return parse_json(read_text(path, what), show_path(path), what, hook=hook, strict=strict)


def parse_json(
    text: str, where: str, what: str, *, hook: Callable[[dict[str, Any]], Any] | None = None, strict: bool = False
) -> Any:
    """What a JSON text holds; ``strict`` refuses NaN and Infinity, which are not JSON. Raises InputError as :func:`read_json` does."""
    with refuse_broken(where, what, fault="is not JSON ({})"):
        return json.loads(text, object_hook=hook, parse_constant=_refuse_constant if strict else None)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def list_subfolders(root: Path) -> list[Path]:
    """The folders in a folder, without hidden ones, in the order of their names. Raises InputError if there is no such folder."""
    if not root.is_dir():
        raise InputError(f"{show_path(root)} is not a folder (looked from {Path.cwd()}); check the path")
    try:
        return sorted(one for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        raise InputError(f"the folder {show_path(root)} can't be read: {describe_error(error)}") from error
