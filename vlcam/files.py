"""Whole files or none: the one place of every atomic write, of reading with a reason, of limits on sizes, and of records as JSON."""

import json
import math
import os
import re
import shutil
import stat
import tempfile
import types
import typing
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal

from vlcam.errors import InputError

MAX_SAVED_BYTES: Final = 512 * 2**20
"""Of a file that vlcam saves and loads; an explanation of 100 words takes a few megabytes."""
MAX_TEXT_BYTES: Final = 2 * 2**30
"""Of a text or JSON file; the instances of COCO's training photos take 450 MB."""
MAX_PIXELS: Final = 50_000_000
"""Of a photo, unless the caller says otherwise."""

_LONGEST_SHOWN: Final = 300
_LONGEST_REASON: Final = 200
_LONGEST_SLUG: Final = 60
_MOST_SLUG_BYTES: Final = 180
_NONFINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def describe_error(error: BaseException) -> str:
    """An exception in one short line: the system's own words, the text, or else the class."""
    text = " ".join(str(error.strerror if isinstance(error, OSError) and error.strerror else error).split())
    return (text or type(error).__name__)[:_LONGEST_REASON]


def show_path(path: str | Path) -> str:
    """A path in quotes, as errors show it; what is longer than any path is cut."""
    return repr(str(path)[:_LONGEST_SHOWN])


# --- reading ------------------------------------------------------------------------------------------------------------


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
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > most else file.read(most + 1)  # a pipe doesn't tell its size
    except (OSError, ValueError, MemoryError) as error:
        raise InputError(f"{show_path(path)} can't be read: {describe_error(error)}; expected {what}") from error
    if (have := max(size, len(data))) > most:
        raise InputError(f"{show_path(path)} has {have:,} bytes; expected at most {most:,} for {what}")
    return data


def read_text(path: str | Path, what: str, *, keep_line_ends: bool = False) -> str:
    r"""The text of a file, without a byte order mark. Raises InputError that says what was expected there.

    Line ends become ``\n``, unless they are kept, for tables whose cells may have some.
    """
    try:
        text = read_bytes(path, what, most=MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{show_path(path)} can't be read: it is not UTF-8 text; expected {what}") from error
    return text if keep_line_ends or "\r" not in text else text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | Path, what: str, *, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What a JSON file holds. Raises InputError that says what was expected there.

    ``hook`` replaces each object as it is read, so that large files need not be held whole.
    """
    return parse_json(read_text(path, what), show_path(path), what, hook=hook)


def parse_json(
    text: str, where: str, what: str, *, hook: Callable[[dict[str, Any]], Any] | None = None, strict: bool = False
) -> Any:
    """What a JSON text holds; ``strict`` refuses NaN and Infinity, which are not JSON. Raises InputError as :func:`read_json` does."""
    try:
        return json.loads(text, object_hook=hook, parse_constant=_refuse_constant if strict else None)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({describe_error(error)}); expected {what}") from error


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


# --- writing ------------------------------------------------------------------------------------------------------------


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """A scratch path to write a file to, which takes the place of ``path`` at the end of the block, and is removed if the block fails.

    Readers see the old file or the new one, never a part, also after a power cut. The scratch path is in the same folder and has the
    same ending.
    """
    target = Path(path)
    part = target.with_name(f".vlcam-{token_hex(8)}{target.suffix[:16]}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file as :func:`replace_file` does."""
    with replace_file(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str, *, errors: Literal["strict", "replace"] = "strict") -> None:
    """Write a UTF-8 file as :func:`replace_file` does; ``errors`` says what becomes of lone surrogates, which UTF-8 doesn't have."""
    write_bytes(path, text.encode("utf-8", errors))


def write_json(path: str | Path, document: Any, *, indent: int | None = 1) -> None:
    """Write a JSON file as :func:`replace_file` does; see :func:`dump_json`."""
    write_text(path, dump_json(document, indent=indent) + "\n")


@contextmanager
def name_unwritable(path: str | Path) -> Iterator[None]:
    """Turn the system's errors about writing ``path`` into InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{show_path(path)} can't be written: {describe_error(error)}; give another place") from error


def check_folder(out: Path) -> None:
    """Refuse a folder that can't be written to. Nothing is made yet, so that a command that fails later leaves nothing.

    Raises:
        InputError: ``out`` or one of its parents is a file, or may not be written to.
    """
    shown = show_path(out)
    try:
        below = next((one for one in (out, *out.parents) if one.exists() or one.is_symlink()), None)
        if below is not None and not below.is_dir():
            what = "is a file" if below.is_file() else "is not a folder"
            raise InputError(f"can't write into {shown}: {show_path(below)} {what}; give another folder")
        if below is not None and not os.access(below, os.W_OK | os.X_OK):
            raise InputError(
                f"can't write into {shown}: no permission to write to {show_path(below)}; give another folder"
            )
        if below is not None:  # some systems say so only when something is made
            Path(tempfile.mkdtemp(prefix=".vlcam-", dir=below)).rmdir()
        if (out / "report.html").is_dir():
            raise InputError(
                f"can't write into {shown}: {show_path(out / 'report.html')} is a folder; give another folder"
            )
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name that the system doesn't take: too long, or with a zero in it
        raise InputError(f"can't write into {shown}: {describe_error(error)}; give another folder") from error


def make_folder(out: Path) -> Path:
    """Make a folder and its parents (or use the one that is there); InputError if that can't be."""
    check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't make the folder {show_path(out)}: {describe_error(error)}; give another") from error
    return out


@contextmanager
def stage_files(out: Path) -> Iterator[Path]:
    """A scratch folder whose files move into ``out`` at the end of the block, all of them; none if the block fails."""
    with _remove_empty_folders(out, *out.parents):
        make_folder(out)
        scratch = Path(tempfile.mkdtemp(prefix=".vlcam-", dir=out))
        try:
            yield scratch
            files = sorted(scratch.iterdir())
            taken = next((out / file.name for file in files if (out / file.name).is_dir()), None)
            if taken is not None:
                raise InputError(f"can't write {show_path(taken)}: it is a folder; give another folder")
            for file in files:
                file.replace(out / file.name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def stage_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes ``folder`` at the end of the block, or vanishes if the block fails.

    Raises:
        InputError: ``folder`` is a file, has something in it, or can't be made.
    """
    shown = show_path(folder)
    try:
        there = folder.exists() or folder.is_symlink()
        if there and not folder.is_dir():
            raise InputError(f"{shown} is a file; give a folder that doesn't exist yet, or an empty one")
        if there and any(folder.iterdir()):
            raise InputError(f"the folder {shown} is not empty; give one that doesn't exist yet, or an empty one")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"can't write to {shown}: {describe_error(error)}") from error
    with _remove_empty_folders(*folder.parents):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = (folder if there else folder.parent) / f".vlcam-{token_hex(8)}"
            scratch.mkdir()
        except OSError as error:
            raise InputError(f"can't write to {shown}: {describe_error(error)}") from error
        try:
            yield scratch
            if there:
                for entry in sorted(scratch.iterdir()):
                    entry.rename(folder / entry.name)
            else:
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _remove_empty_folders(*folders: Path) -> Iterator[None]:
    """Afterwards those of the folders, deepest first, that weren't there before are gone again if nothing is in them."""
    made = [one for one in folders if not one.exists()]
    try:
        yield
    finally:
        for one in made:
            try:
                one.rmdir()
            except OSError:  # it has something in it, or was never made
                break


def make_slug(name: str) -> str:
    """A short file name that is safe on every system: letters, digits and signs of any script, ``-`` and ``_``, and dots inside.

    >>> make_slug("scene:7"), make_slug("../../etc/passwd"), make_slug("<b>.png"), make_slug("..."), make_slug("猫 & café")
    ('scene-7', 'etc-passwd', 'b-.png', 'image', '猫-café')
    """
    known = "".join(one if _is_safe(one) else " " for one in unicodedata.normalize("NFC", name))
    safe = re.sub(r" +|\.{2,}", "-", known)[:_LONGEST_SLUG]
    while len(safe.encode()) > _MOST_SLUG_BYTES:
        safe = safe[:-1]
    return safe.strip("-._") or "image"


def _is_safe(character: str) -> bool:
    """Whether every file system takes a character, and no terminal obeys it."""
    if character.isascii():
        return character.isalnum() or character in "._-"
    signs = unicodedata.category(character) in ("So", "Sk") and character != "\ufffd"  # emoji and their skin tones
    return signs or character == "\u200d" or unicodedata.category(character)[0] in "LMN"


def replace_surrogates(text: str) -> str:
    """The text with bytes that aren't UTF-8 (in a file name, as Python keeps them) shown as a replacement character."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# --- JSON ---------------------------------------------------------------------------------------------------------------


def dump_json(document: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII; a number that is not finite is null."""
    return json.dumps(replace_nonfinite(document), indent=indent, allow_nan=False)


def replace_nonfinite(value: Any) -> Any:
    """The value with numbers that are not finite, at any depth, as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_nonfinite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_nonfinite(one) for one in value]
    return value


class RecordError(ValueError):
    """What is wrong with the JSON of a record, in words."""


def encode_record(value: Any, *, nonfinite: Literal["text", "null"]) -> Any:
    """A record (and the records, lists and mappings in it) as JSON values; what is not finite becomes nan, inf, -inf, or null."""
    if is_dataclass(value):
        return {one.name: encode_record(getattr(value, one.name), nonfinite=nonfinite) for one in fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode_record(one, nonfinite=nonfinite) for one in value]
    if isinstance(value, Mapping):
        return {key: encode_record(one, nonfinite=nonfinite) for key, one in value.items()}
    plain = value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value  # a number of numpy or torch
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain) if nonfinite == "text" else None
    return plain


def decode_record(kind: Any, value: Any, where: str, *, null_is_nan: bool = False) -> Any:
    """JSON values as the type that an annotation asks for: a frozen record, or whatever may stand in one.

    Every field has to be there, and no other; a number may also be nan, inf or -inf, or null if ``null_is_nan``. What else is wrong
    with its values a record says itself. Raises RecordError that tells where which value stands, and what was expected.
    """
    if type(value) in _list_plain_types(kind):
        return value
    read = partial(decode_record, null_is_nan=null_is_nan)
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # always "something or None" in the records
        return read(next(one for one in options if one is not types.NoneType), value, where)
    if origin is tuple and isinstance(value, list) and (options[-1] is Ellipsis or len(value) == len(options)):
        kinds = options[:1] * len(value) if options[-1] is Ellipsis else options
        return tuple(
            one if type(one) in _list_plain_types(kinds[n]) else read(kinds[n], one, f"{where}[{n}]")
            for n, one in enumerate(value)
        )
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_field_types(typing.cast(type, kind))
        check_names(value, hints, where)
        made = dict(value)
        for name, one in hints.items():
            if type(value[name]) not in _list_plain_types(one):
                made[name] = read(one, value[name], f"{where}.{name}")
        return kind(**made)  # type: ignore[operator]
    if kind is float and (number := _read_number(value, null_is_nan)) is not None:
        return number
    named = origin is Literal and isinstance(value, str) and value in options
    if named or (origin is Mapping and isinstance(value, dict)):
        return value
    raise RecordError(f"{where} is {value!r:.60}; expected {_describe_kind(kind)}")


@lru_cache(maxsize=256)
def _list_plain_types(kind: Any) -> frozenset[type]:
    """The types whose values are what the annotation asks for, as they are."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    absent = {types.NoneType} if types.NoneType in options else set()
    return frozenset(absent | {one for one in options if one in (str, int, float, bool)})


@lru_cache(maxsize=64)
def get_field_types(kind: type) -> Mapping[str, Any]:
    """The annotations of a record's fields, by name."""
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def check_names(found: Mapping[str, Any], expected: Iterable[str], where: str) -> None:
    """Raise RecordError unless an object has exactly the expected names."""
    if missing := set(expected) - set(found):
        raise RecordError(f"{where} lacks {', '.join(sorted(missing))}")
    if extra := set(found) - set(expected):
        raise RecordError(f"{where} has the unknown {', '.join(map(repr, sorted(extra)))[:200]}")


def _read_number(value: Any, null_is_nan: bool) -> float | None:
    if isinstance(value, str) or value is None:
        return _NONFINITE.get(value) if value is not None else math.nan if null_is_nan else None
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:
        return None


def _describe_kind(kind: Any) -> str:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(options)}"
    if origin is tuple:
        return "a list" if options[-1] is Ellipsis else f"a list of {len(options)}"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "an object")
