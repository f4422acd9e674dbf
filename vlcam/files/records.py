"""Frozen records as JSON values, there and back."""

import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial
from typing import Any, Final, Literal

from vlcam.files.limits import MAX_NUMBER, MAX_WHOLE

_MOST: Final[Mapping[type, float]] = {int: MAX_WHOLE, float: MAX_NUMBER}
_NONFINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


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
    if _is_plain(kind, value):
        return value
    read = partial(decode_record, null_is_nan=null_is_nan)
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # always "something or None" in the records
        return read(next(one for one in options if one is not types.NoneType), value, where)
    if origin is tuple and isinstance(value, list) and (options[-1] is Ellipsis or len(value) == len(options)):
        kinds = options[:1] * len(value) if options[-1] is Ellipsis else options
        return tuple(
            one if _is_plain(kinds[n], one) else read(kinds[n], one, f"{where}[{n}]") for n, one in enumerate(value)
        )
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_field_types(typing.cast(type, kind))
        check_names(value, hints, where)
        made = dict(value)
        for name, one in hints.items():
            if not _is_plain(one, value[name]):
                made[name] = read(one, value[name], f"{where}.{name}")
        return kind(**made)  # type: ignore[operator]
    if kind is float and (number := _read_number(value, null_is_nan)) is not None:
        return number
    named = origin is Literal and isinstance(value, str) and value in options
    if named or (origin is Mapping and isinstance(value, dict)):
        return value
    raise RecordError(f"{where} is {value!r:.60}; expected {_describe_kind(kind)}")


def _is_plain(kind: Any, value: Any) -> bool:
    """Whether a value is what the annotation asks for, as it is: a text, a truth, None, or a number within bounds."""
    found = type(value)
    return found in _list_plain_types(kind) and (found not in _MOST or abs(value) <= _MOST[found])


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
    return float(value) if type(value) in (int, float) and abs(value) <= MAX_NUMBER else None


def _describe_kind(kind: Any) -> str:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(options)}"
    if origin is tuple:
        return "a list" if options[-1] is Ellipsis else f"a list of {len(options)}"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "an object")
