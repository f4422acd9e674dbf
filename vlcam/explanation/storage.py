"""Save an explanation to one safetensors file, and load it back: no pickle, checked on the way in and on the way out.

The file holds the tensors ``maps``, ``alpha``, ``contributions``, ``activity`` and ``pixels``, and two texts in its metadata:
``vlcam``, a JSON object with everything else, and ``sha256`` over that text and the tensors. The checksum shows damage; it is no
signature.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from vlcam._version import __version__
from vlcam.contracts import Geometry, InputError, Target
from vlcam.explanation.record import AbstractExplanation, NeuronText
from vlcam.files import (
    MAX_COORDINATE,
    MAX_SAVED_BYTES,
    MAX_SAVED_PIXELS,
    RecordError,
    check_file,
    check_names,
    check_size,
    decode_record,
    describe_error,
    encode_record,
    get_field_types,
    name_unwritable,
    parse_json,
    read_bytes,
    refuse_broken,
    show_path,
    write_bytes,
)
from vlcam.image.photo import Photo

Made = TypeVar("Made", bound=AbstractExplanation)
"""The class of explanation that a reader is told to make."""

SCHEMA = 7
"""Goes up when a record of an explanation changes."""

_RENAMED: dict[int, dict[str, str]] = {4: {"proofs": "significance"}, 5: {}, 6: {}}
"""What fields were called in files of earlier schemas that are still read."""

_ADDED: dict[str, Any] = {"preprocessing": None, "steps": [], "diagnostic": None, "choice": None}
"""What files of earlier schemas don't tell, if they don't."""
_DROPPED = frozenset({"kept", "kept_as_much"})
_NOT_TESTED: dict[str, Any] = {"models": 0, "untrained_as_much": 0, "fills": [], "corrected": None}
"""What a significance test of earlier schemas had besides, and what it didn't have."""

_PHOTO = {name: hint for name, hint in get_field_types(Photo).items() if name != "pixels"}
_TENSORS = ("maps", "alpha", "contributions", "activity")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SCALES = (1e-6, 1e6)
"""Of the model's input to the photo, in pixels; further away, the way from one to the other is lost in rounding."""
_TEXTS = (
    "task", "model", "layer", "method", "relu", "text", "question", "geometry", "targets", "neurons", "question_words", "notes",
    "significance", "preprocessing", "steps", "diagnostic", "choice",
)  # fmt: skip


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
        if len(data) > MAX_SAVED_BYTES:
            raise RecordError(f"it takes {len(data):,} bytes; at most {MAX_SAVED_BYTES:,} can be loaded again")
        _parse(data, type(explanation))
    except RecordError as error:
        raise InputError(f"this explanation can't be saved: {error}") from error
    with name_unwritable(path):
        write_bytes(target, data)
    return target


def load(path: str | Path, *, make: type[Made]) -> Made:
    """Read back what :func:`save` wrote: equal bit for bit, on the CPU.

    Raises:
        InputError: whatever is wrong: no such file, not a safetensors file, one of something else, a damaged or cut-off file, a file
            of another schema version, contents that contradict each other, or more than 512 MiB.
    """
    what = "a file that vlcam saved"
    check_file(path, what)
    data = read_bytes(path, what)
    try:
        with refuse_broken(show_path(path), what):
            return _parse(data, make)
    except RecordError as error:
        raise InputError(f"{show_path(path)} is not a whole explanation: {error}") from error


def _check_place(target: Path) -> None:
    with name_unwritable(target):
        if target.is_dir():
            raise InputError(
                f"{show_path(target)} is a folder; give a file in it, such as {show_path(target / 'result.safetensors')}"
            )
        if not target.parent.is_dir():
            raise InputError(
                f"the folder {show_path(target.parent)} doesn't exist, so {show_path(target.name)} can't be saved in it; create it first"
            )


def _to_bytes(explanation: AbstractExplanation) -> bytes:
    photo = explanation.photo
    meta = {"schema": SCHEMA, "vlcam": __version__}
    meta |= {name: encode_record(getattr(explanation, name), nonfinite="text") for name in _TEXTS}
    meta["photo"] = {name: encode_record(getattr(photo, name), nonfinite="text") for name in _PHOTO}
    tensors = {name: getattr(explanation, name).detach().cpu().contiguous().clone() for name in _TENSORS}
    tensors["pixels"] = torch.tensor(photo.pixels, device="cpu")
    text = json.dumps(meta, allow_nan=False)
    return safetensors.torch.save(tensors, {"vlcam": text, "sha256": _compute_digest(text, tensors)})


def _compute_digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{len(text)} {text}".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parse(data: bytes, make: type[Made]) -> Made:
    """The explanation in a file's bytes, all checks passed; raises only RecordError."""
    text, digest, tensors = _unpack(data)
    if set(tensors) != {*_TENSORS, "pixels"}:
        raise RecordError(f"it holds the tensors {', '.join(sorted(tensors))}, not {', '.join((*_TENSORS, 'pixels'))}")
    meta = _parse_json(text)
    schema = meta.pop("schema", None)
    if isinstance(schema, bool) or schema not in (*_RENAMED, SCHEMA):
        readable = f"{', '.join(map(str, _RENAMED))} and {SCHEMA}"
        raise RecordError(f"it has schema version {schema!r}, and this vlcam {__version__} reads versions {readable}")
    if _compute_digest(text, tensors) != digest:
        raise RecordError("its checksum doesn't match, so it was damaged or changed after it was saved")
    if not isinstance(meta.pop("vlcam", None), str):
        raise RecordError("it doesn't say which vlcam wrote it")
    renamed = _RENAMED.get(schema, {})
    added = {} if schema == SCHEMA else _ADDED
    meta = {**added, **{renamed.get(name, name): value for name, value in meta.items()}}
    if schema != SCHEMA:
        meta["significance"] = _update_tests(meta.get("significance"))
        meta["neurons"] = _complete_texts(meta.get("neurons"))
    return _build_explanation(meta, tensors, make)


def _update_tests(tests: Any) -> Any:
    """Significance tests as earlier schemas have them, in the fields of this one; whatever else is found stays for the check."""
    if not isinstance(tests, list):
        return tests
    return [
        {**{name: value for name, value in one.items() if name not in _DROPPED}, **_NOT_TESTED}
        if isinstance(one, dict) and set(one) >= _DROPPED
        else one
        for one in tests
    ]


def _complete_texts(texts: Any) -> Any:
    """The neuron texts of schema 6 and before, with what they don't tell: their short forms, and what may be said of each channel."""
    if not isinstance(texts, list) or not all(isinstance(text, dict) for text in texts):
        return texts
    new = {"short": "", "paper": "", "accounted": None}
    return [
        {**new, **text, **{side: _complete_evidence(text[side]) for side in ("top", "bottom") if side in text}}
        for text in texts
    ]


def _complete_evidence(records: Any) -> Any:
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        return records
    return [{"standing": None, "says": [], **one} for one in records]


def _unpack(data: bytes) -> tuple[str, str, dict[str, Tensor]]:
    """The text, the checksum and the tensors."""
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    except Exception as error:  # the parser's own error, or whatever odd dtypes and shapes make torch raise
        raise RecordError(f"it is not a safetensors file, or it is cut off ({describe_error(error)})") from error
    text, digest = (metadata.get(name) if isinstance(metadata, dict) else None for name in ("vlcam", "sha256"))
    if not (isinstance(text, str) and isinstance(digest, str)):
        raise RecordError("it is a safetensors file, but not one that vlcam's save wrote")
    return text, digest, tensors


def _parse_json(text: str) -> dict[str, Any]:
    try:
        meta = parse_json(text, "its metadata", "the records of an explanation", strict=True)
    except InputError as error:
        raise RecordError(str(error)) from error
    if not isinstance(meta, dict):
        raise RecordError("its metadata is not a JSON object")
    return meta


def _build_explanation(meta: dict[str, Any], tensors: dict[str, Tensor], make: type[Made]) -> Made:
    hints = get_field_types(AbstractExplanation)
    check_names(meta, {*_TEXTS, "photo"}, "explanation")
    known: dict[str, Any] = {name: decode_record(hints[name], meta[name], name) for name in _TEXTS}
    known |= {name: tensors[name] for name in _TENSORS}
    _check_tensors(tensors, len(known["targets"]))
    explanation = make(photo=_build_photo(meta["photo"], tensors["pixels"]), **known)
    _check_records(explanation)
    return explanation


def _build_photo(record: Any, pixels: Tensor) -> Photo:
    if not isinstance(record, dict):
        raise RecordError(f"photo is {record!r:.60}; expected an object")
    check_names(record, _PHOTO, "photo")
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise RecordError(f"pixels is {pixels.dtype} {tuple(pixels.shape)}; expected uint8 (height, width, 3)")
    known = {name: decode_record(hint, record[name], f"photo.{name}") for name, hint in _PHOTO.items()}
    return Photo(pixels=pixels.numpy(), **known)


def _check_tensors(tensors: dict[str, Tensor], targets: int) -> None:
    """Raise RecordError for tensors that fit neither their records nor each other."""
    for name, axes in zip(_TENSORS, (3, 2, 2, 1), strict=True):
        tensor = tensors[name]
        if tensor.ndim != axes or tensor.dtype not in _FLOATS:
            raise RecordError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}; expected floats with {axes} axes")
    (maps, rows, columns), alpha, contributions, activity = (tuple(tensors[name].shape) for name in _TENSORS)
    if not targets == maps == alpha[0] == contributions[0]:
        raise RecordError(
            f"it has {targets} targets, {maps} maps, {alpha[0]} rows of alpha and {contributions[0]} of contributions; "
            "expected one of each for every target"
        )
    if min(rows, columns) < 1:
        raise RecordError(f"its maps are {rows} x {columns} cells; expected at least one")
    if not alpha[1] == contributions[1] == activity[0]:
        raise RecordError(
            f"alpha, contributions, activity are of {alpha[1]}, {contributions[1]}, {activity[0]} channels"
        )


def _check_records(explanation: AbstractExplanation) -> None:
    """Raise RecordError where the records of an explanation contradict each other."""
    if explanation.neurons is not None and len(explanation.neurons) != len(explanation):
        raise RecordError(f"it has {len(explanation)} targets and {len(explanation.neurons)} neuron texts")
    if explanation.significance is not None and len(explanation.significance) != len(explanation):
        raise RecordError(f"it has {len(explanation)} targets and {len(explanation.significance)} significance tests")
    for target in explanation.targets:
        _check_span(target, len(explanation.text))
        if target.reading and len(target.reading) != len(explanation.question_words):
            raise RecordError(
                f"target {target.label!r:.60} weighs {len(target.reading)} words of a question of "
                f"{len(explanation.question_words)}"
            )
    for start, end in explanation.question_words:
        if not 0 <= start <= end <= len(explanation.question or ""):
            raise RecordError(f"the word at {(start, end)} is outside the question")
    for text in explanation.neurons or ():
        _check_units(text)
    _check_photo(explanation.photo, explanation.geometry)


def _check_span(target: Target, length: int) -> None:
    if target.span is not None and not 0 <= target.span[0] <= target.span[1] <= length:
        raise RecordError(
            f"the span {target.span} of target {target.label!r:.60} is outside the text of {length} characters"
        )


def _check_units(text: NeuronText) -> None:
    units = [one.unit for one in (*text.top, *text.bottom)] + [unit for one in text.named for unit in one.units]
    if any(unit < 0 for unit in units):
        raise RecordError("a channel has a negative number")


def _check_photo(photo: Photo, geometry: Geometry) -> None:
    height, width = photo.pixels.shape[:2]
    if not (1 <= width <= photo.width and 1 <= height <= photo.height):
        raise RecordError(f"the photo is {photo.width} x {photo.height}, yet {width} x {height} pixels of it were kept")
    if geometry.photo_size != (photo.width, photo.height):
        raise RecordError(
            f"the photo is {photo.width} x {photo.height} and the geometry is of one of {geometry.photo_size}"
        )
    try:
        check_size(photo.width, photo.height, MAX_SAVED_PIXELS)
        check_size(*geometry.input_size)
    except ValueError as error:
        raise RecordError(f"the photo or the model's input has a {error}") from error
    near = all(abs(one) <= MAX_COORDINATE for one in geometry.offset)
    if not near or not all(_SCALES[0] <= abs(one) <= _SCALES[1] for one in geometry.scale):
        raise RecordError(
            f"the geometry has scale {geometry.scale} and offset {geometry.offset}; expected finite, not 0, and within reason"
        )
