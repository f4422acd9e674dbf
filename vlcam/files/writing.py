"""Whole files or none: the one place of every atomic write, and of names for files."""

import hashlib
import os
import platform
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal

from vlcam.errors import InputError
from vlcam.files.reading import describe_error, show_path
from vlcam.files.records import dump_json

_LONGEST_SLUG: Final = 60
_MOST_SLUG_BYTES: Final = 180
_PART: Final = ".vlcam-"
_READY: Final = "ready"
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n]")
_DAY: Final = 24 * 60 * 60.0
_MACHINE: Final = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """A scratch path to write a file to, which takes the place of ``path`` at the end of the block, and is removed if the block fails.

    Readers see the old file or the new one, never a part, also after a power cut. The scratch path is in the same folder and has the
    same ending.
    """
    target = Path(path)
    sweep_parts(target.parent)
    part = target.with_name(f"{_make_part_name()}{target.suffix[:16]}")
    try:
        yield part
        _flush(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sweep_parts(folder: Path) -> None:
    """Finish, or clear away, what processes that were killed have left in a folder.

    Scratch files and folders go; files that had all been written, and were on their way into the folder, go there.
    """
    try:
        left = [Path(one.path) for one in os.scandir(folder) if one.name.startswith(_PART)]
    except (OSError, ValueError):  # no such folder, or none that may be looked into
        return
    for part in left:
        with suppress(OSError):
            if not _is_abandoned(part):
                continue
            if part.is_dir() and not part.is_symlink():
                for file in sorted((part / _READY).iterdir()) if (part / _READY).is_dir() else ():
                    file.replace(folder / file.name)
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def _make_part_name() -> str:
    """The name of a scratch file, which says what process on what machine it belongs to."""
    return f"{_PART}{_MACHINE}-{os.getpid()}-{token_hex(8)}"


def _is_abandoned(part: Path) -> bool:
    """Whether the process that a scratch file belongs to has ended; where that can't be known, whether it is a day old."""
    found = re.match(rf"{re.escape(_PART)}([0-9a-f]{{8}})-([0-9]{{1,9}})-", part.name)
    if found is None or found[1] != _MACHINE or os.name != "posix":
        return time.time() - part.lstat().st_mtime > _DAY
    try:
        os.kill(int(found[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's
        return False
    return False


def _flush(part: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())


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
            probe = below / _make_part_name()
            probe.mkdir()
            probe.rmdir()
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
    """A scratch folder whose files move into ``out`` at the end of the block, all of them; none if the block, or a move, fails.

    A process that is killed among the moves has left each file old or new; the next one that writes there finishes them.
    """
    with _remove_empty_folders(out, *out.parents):
        make_folder(out)
        sweep_parts(out)
        home = out / _make_part_name()
        try:
            with name_unwritable(out):
                (home / "files").mkdir(parents=True)
            yield home / "files"
            with name_unwritable(out):
                _move_all(home, out)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _move_all(home: Path, out: Path) -> None:
    """Move the files below ``home`` into ``out``; where that can't be done, those that were there are there again."""
    files = sorted((home / "files").iterdir())
    taken = next((out / file.name for file in files if (out / file.name).is_dir()), None)
    if taken is not None:
        raise InputError(f"can't write {show_path(taken)}: it is a folder; give another folder")
    kept = home / "kept"
    kept.mkdir()
    for file in files:
        _flush(file)
        if (out / file.name).exists():
            try:
                os.link(out / file.name, kept / file.name)
            except OSError:  # no hard links here
                shutil.copy2(out / file.name, kept / file.name)
    ready = home / _READY
    try:
        (home / "files").replace(ready)  # from here on, whoever sweeps up finishes the moves
        for file in files:
            (ready / file.name).replace(out / file.name)
    except BaseException:
        for file in files:
            if (kept / file.name).exists():
                (kept / file.name).replace(out / file.name)
            elif not (ready / file.name).exists() and ready.exists():
                (out / file.name).unlink(missing_ok=True)
        raise


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
        if there:
            sweep_parts(folder)
        if there and any(folder.iterdir()):
            raise InputError(f"the folder {shown} is not empty; give one that doesn't exist yet, or an empty one")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"can't write to {shown}: {describe_error(error)}") from error
    with _remove_empty_folders(*folder.parents):
        home = (folder if there else folder.parent) / _make_part_name()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            sweep_parts(folder.parent)
            (home / "files").mkdir(parents=True)
        except OSError as error:
            raise InputError(f"can't write to {shown}: {describe_error(error)}") from error
        try:
            yield home / "files"
            with name_unwritable(folder):
                if there:  # it stays the same folder, and is filled as stage_files fills one
                    entries = sorted((home / "files").iterdir())
                    (home / "files").replace(home / _READY)
                    for entry in entries:
                        (home / _READY / entry.name).replace(folder / entry.name)
                else:
                    (home / "files").replace(folder)
        finally:
            shutil.rmtree(home, ignore_errors=True)


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


def escape_cell(cell: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe in front.

    >>> escape_cell("=1+1"), escape_cell("'-a"), escape_cell("red"), unescape_cell(escape_cell("'-a"))
    ("'=1+1", "''-a", 'red', "'-a")
    """
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescape_cell(cell: str) -> str:
    """What :func:`escape_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


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
