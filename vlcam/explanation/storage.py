"""Save an explanation to one safetensors file, and load it back: no pickle, checked on the way in and on the way out.

The file holds the tensors ``maps``, ``alpha``, ``contributions``, ``activity`` and ``pixels``, and two texts in its metadata:
``vlcam``, a JSON object with everything else, and ``sha256`` over that text and the tensors. The checksum shows damage; it is no
signature.
"""

import hashlib
import json
import math
import os
import secrets
import stat
import types
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from vlcam._version import __version__
from vlcam.contracts import Geometry, InputError, Target
from vlcam.explanation.record import AbstractExplanation, NeuronText
from vlcam.image.photo import Photo

Made = TypeVar("Made", bound=AbstractExplanation)
"""The class of explanation that a reader is told to make."""

SCHEMA = 5
"""Goes up when a record of an explanation changes."""

_RENAMED = {4: {"proofs": "significance"}}
"""What fields were called in files of earlier schemas that are still read."""

MAX_BYTES = 512 * 1024 * 1024
"""Larger files are neither written nor read; an explanation of 100 words takes a few megabytes."""

_TENSORS = ("maps", "alpha", "contributions", "activity")
_TEXTS = (
    "task", "model", "layer", "method", "relu", "text", "question", "geometry", "targets", "neurons", "question_words", "notes",
    "significance",
)  # fmt: skip
_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class _ContentError(Exception):
    """What is wrong with a file's content, in words."""


def save(explanation: AbstractExplanation, path: str | Path) -> Path:
    """Write an explanation to a file, whole or not at all: an existing file is replaced only when the new one is complete.

    Returns:
        The path.

    Raises:
        InputError: the folder is missing or can't be written to, the path is a folder, or the explanation contradicts itself
            (such as maps and targets that differ in number).
    """
    target = Path(path)
    _check_place(target)
    data = _to_bytes(explanation)
    try:
        if len(data) > MAX_BYTES:
            raise _ContentError(f"it takes {len(data):,} bytes; at most {MAX_BYTES:,} can be loaded again")
        _parse(data, type(explanation))
    except _ContentError as error:
        raise InputError(f"this explanation can't be saved: {error}") from error
    part = target.parent / f".vlcam-{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} can't be written: {_describe_error(error)}") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def load(path: str | Path, *, make: type[Made]) -> Made:
    """Read back what :func:`save` wrote: equal bit for bit, on the CPU.

    Raises:
        InputError: whatever is wrong: no such file, no safetensors file, one of something else, a damaged or cut-off file, a file
            of another schema version, contents that contradict each other, or more than 512 MiB.
    """
    shown = repr(str(path))
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{shown} is a folder or no regular file; expected a file that vlcam saved")
        if found.st_size > MAX_BYTES:
            raise InputError(
                f"{shown} has {found.st_size:,} bytes; expected at most {MAX_BYTES:,}, as no explanation is larger"
            )
        data = Path(path).read_bytes()
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no file {shown}; check the path") from error
    except (OSError, ValueError, MemoryError) as error:
        raise InputError(f"{shown} can't be read: {_describe_error(error)}") from error
    try:
        return _parse(data, make)
    except _ContentError as error:
        raise InputError(f"{shown} is not a whole explanation: {error}") from error


def _check_place(target: Path) -> None:
    try:
        if target.is_dir():
            raise InputError(
                f"{str(target)!r} is a folder; give a file in it, such as {str(target / 'result.safetensors')!r}"
            )
        if not target.parent.is_dir():
            raise InputError(f"there is no folder {str(target.parent)!r} to save {target.name!r} in; make it first")
    except OSError as error:
        raise InputError(f"{str(target)!r} can't be written: {_describe_error(error)}") from error


def _to_bytes(explanation: AbstractExplanation) -> bytes:
    photo = explanation.photo
    meta = {"schema": SCHEMA, "vlcam": __version__}
    meta |= {name: _to_json(getattr(explanation, name)) for name in _TEXTS}
    meta["photo"] = {one.name: _to_json(getattr(photo, one.name)) for one in fields(photo) if one.name != "pixels"}
    tensors = {name: getattr(explanation, name).detach().cpu().contiguous().clone() for name in _TENSORS}
    tensors["pixels"] = torch.tensor(photo.pixels)
    text = json.dumps(meta, allow_nan=False)
    return safetensors.torch.save(tensors, {"vlcam": text, "sha256": _compute_digest(text, tensors)})


def _compute_digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{len(text)} {text}".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _to_json(value: Any) -> Any:
    """A record as JSON values; numbers that JSON can't write become the texts nan, inf and -inf."""
    if is_dataclass(value):
        return {one.name: _to_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_to_json(one) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return value


def _parse(data: bytes, make: type[Made]) -> Made:
    """The explanation in a file's bytes, all checks passed; raises only _ContentError."""
    text, digest, tensors = _unpack(data)
    if set(tensors) != {*_TENSORS, "pixels"}:
        raise _ContentError(
            f"it holds the tensors {', '.join(sorted(tensors))}, not {', '.join((*_TENSORS, 'pixels'))}"
        )
    meta = _parse_json(text)
    schema = meta.pop("schema", None)
    if isinstance(schema, bool) or schema not in (*_RENAMED, SCHEMA):
        readable = " and ".join(map(str, (*_RENAMED, SCHEMA)))
        raise _ContentError(f"it has schema version {schema!r}, and this vlcam {__version__} reads versions {readable}")
    if _compute_digest(text, tensors) != digest:
        raise _ContentError("its checksum doesn't match, so it was damaged or changed after it was saved")
    if not isinstance(meta.pop("vlcam", None), str):
        raise _ContentError("it doesn't say which vlcam wrote it")
    renamed = _RENAMED.get(schema, {})
    return _build_explanation({renamed.get(name, name): value for name, value in meta.items()}, tensors, make)


def _unpack(data: bytes) -> tuple[str, str, dict[str, Tensor]]:
    """The text, the checksum and the tensors."""
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    except Exception as error:  # the parser's own error, or whatever odd dtypes and shapes make torch raise
        raise _ContentError(f"it is no safetensors file, or cut off ({_describe_error(error)})") from error
    text, digest = (metadata.get(name) if isinstance(metadata, dict) else None for name in ("vlcam", "sha256"))
    if not (isinstance(text, str) and isinstance(digest, str)):
        raise _ContentError("it is a safetensors file, but not one that vlcam's save wrote")
    return text, digest, tensors


def _parse_json(text: str) -> dict[str, Any]:
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _ContentError(f"its metadata is no JSON ({_describe_error(error)})") from error
    if not isinstance(meta, dict):
        raise _ContentError("its metadata is no JSON object")
    return meta


def _build_explanation(meta: dict[str, Any], tensors: dict[str, Tensor], make: type[Made]) -> Made:
    hints = typing.get_type_hints(AbstractExplanation)
    _check_names("explanation", meta, {*_TEXTS, "photo"})
    known: dict[str, Any] = {name: _read(meta[name], hints[name], name) for name in _TEXTS}
    known |= {name: tensors[name] for name in _TENSORS}
    _check_tensors(tensors, len(known["targets"]))
    explanation = make(photo=_build_photo(meta["photo"], tensors["pixels"]), **known)
    _check_records(explanation)
    return explanation


def _build_photo(record: Any, pixels: Tensor) -> Photo:
    hints = {name: hint for name, hint in typing.get_type_hints(Photo).items() if name != "pixels"}
    if not isinstance(record, dict):
        raise _ContentError(f"photo is {record!r:.60}; expected a record")
    _check_names("photo", record, set(hints))
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise _ContentError(f"pixels is {pixels.dtype} {tuple(pixels.shape)}; expected uint8 (height, width, 3)")
    return Photo(
        pixels=pixels.numpy(), **{name: _read(record[name], hint, f"photo.{name}") for name, hint in hints.items()}
    )


def _read(value: Any, hint: Any, where: str) -> Any:
    """A JSON value as the type that a record's annotation asks for."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # always "something or None" in the records
        return None if value is None else _read(value, next(one for one in options if one is not types.NoneType), where)
    if origin is tuple and isinstance(value, list):
        if options[-1] is Ellipsis:
            return tuple(_read(one, options[0], f"{where}[{n}]") for n, one in enumerate(value))
        if len(value) == len(options):
            return tuple(_read(one, option, where) for one, option in zip(value, options, strict=True))
    elif origin is typing.Literal and isinstance(value, str) and value in options:
        return value
    elif is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        hints = typing.get_type_hints(hint)
        _check_names(where, value, set(hints))
        return hint(**{name: _read(value[name], one, f"{where}.{name}") for name, one in hints.items()})
    elif hint is float and (number := _read_number(value)) is not None:
        return number
    elif hint in (str, int, bool) and type(value) is hint:
        return value
    expected = hint.__name__ if isinstance(hint, type) and origin is None else hint
    raise _ContentError(f"{where} is {value!r:.60}; expected {expected}")


def _read_number(value: Any) -> float | None:
    if isinstance(value, str):
        return _NUMBERS.get(value)
    if type(value) not in (int, float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _check_names(where: str, record: dict[str, Any], expected: set[str]) -> None:
    if missing := expected - set(record):
        raise _ContentError(f"{where} lacks {', '.join(sorted(missing))}")
    if extra := set(record) - expected:
        raise _ContentError(f"{where} has the unknown {', '.join(map(repr, sorted(extra)))[:200]}")


def _check_tensors(tensors: dict[str, Tensor], targets: int) -> None:
    """Raise _ContentError for tensors that fit neither their records nor each other."""
    for name, axes in zip(_TENSORS, (3, 2, 2, 1), strict=True):
        tensor = tensors[name]
        if tensor.ndim != axes or not tensor.is_floating_point():
            raise _ContentError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}; expected floats with {axes} axes")
    (maps, rows, columns), alpha, contributions, activity = (tuple(tensors[name].shape) for name in _TENSORS)
    if not targets == maps == alpha[0] == contributions[0]:
        raise _ContentError(
            f"it has {targets} targets, {maps} maps, {alpha[0]} rows of alpha and {contributions[0]} of contributions; "
            "expected one of each for every target"
        )
    if min(rows, columns) < 1:
        raise _ContentError(f"its maps are {rows} x {columns} cells; expected at least one")
    if not alpha[1] == contributions[1] == activity[0]:
        raise _ContentError(
            f"alpha, contributions, activity are of {alpha[1]}, {contributions[1]}, {activity[0]} channels"
        )


def _check_records(explanation: AbstractExplanation) -> None:
    """Raise _ContentError where the records of an explanation contradict each other."""
    if explanation.neurons is not None and len(explanation.neurons) != len(explanation):
        raise _ContentError(f"it has {len(explanation)} targets and {len(explanation.neurons)} neuron texts")
    if explanation.significance is not None and len(explanation.significance) != len(explanation):
        raise _ContentError(f"it has {len(explanation)} targets and {len(explanation.significance)} proofs")
    for target in explanation.targets:
        _check_span(target, len(explanation.text))
        if target.reading and len(target.reading) != len(explanation.question_words):
            raise _ContentError(
                f"target {target.label!r:.60} weighs {len(target.reading)} words of a question of "
                f"{len(explanation.question_words)}"
            )
    for start, end in explanation.question_words:
        if not 0 <= start <= end <= len(explanation.question or ""):
            raise _ContentError(f"the word at {(start, end)} is outside the question")
    for text in explanation.neurons or ():
        _check_units(text)
    _check_photo(explanation.photo, explanation.geometry)


def _check_span(target: Target, length: int) -> None:
    if target.span is not None and not 0 <= target.span[0] <= target.span[1] <= length:
        raise _ContentError(
            f"the span {target.span} of target {target.label!r:.60} is outside the text of {length} characters"
        )


def _check_units(text: NeuronText) -> None:
    units = [one.unit for one in (*text.top, *text.bottom)] + [unit for one in text.named for unit in one.units]
    if any(unit < 0 for unit in units):
        raise _ContentError("a channel has a negative number")


def _check_photo(photo: Photo, geometry: Geometry) -> None:
    height, width = photo.pixels.shape[:2]
    if not (1 <= width <= photo.width and 1 <= height <= photo.height):
        raise _ContentError(
            f"the photo is {photo.width} x {photo.height}, yet {width} x {height} pixels of it were kept"
        )
    if geometry.photo_size != (photo.width, photo.height):
        raise _ContentError(
            f"the photo is {photo.width} x {photo.height} and the geometry is of one of {geometry.photo_size}"
        )
    if min(geometry.input_size) < 1:
        raise _ContentError(f"the model's input is {geometry.input_size}; expected a positive width and height")
    if not all(math.isfinite(one) for one in (*geometry.scale, *geometry.offset)) or 0 in geometry.scale:
        raise _ContentError(
            f"the geometry has scale {geometry.scale} and offset {geometry.offset}; expected finite, not 0"
        )


def _describe_error(error: BaseException) -> str:
    """An exception in one short line."""
    text = " ".join(str(error.strerror if isinstance(error, OSError) and error.strerror else error).split())
    return (text or type(error).__name__)[:200]
