"""A recipe: one TOML file that says which model is opened and how, for ``vlcam.load("model.toml")`` and ``--recipe model.toml``.

Nothing heavy is imported here, so that a mistake in a recipe or a file of labels is reported before any model is opened.
"""

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, final

from vlcam.errors import InputError, find_name
from vlcam.files import (
    MAX_CLASSES,
    MAX_DIGITS,
    MAX_NUMBER,
    check_file,
    is_there,
    parse_json,
    read_text,
    refuse_broken,
    show_path,
)

ENDING: Final = ".toml"
STATE_ENDINGS: Final = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
"""How the names of state dicts end."""
TASKS: Final = ("classification", "captioning", "vqa")
PRECISIONS: Final = ("float32", "float16", "bfloat16")
MODES: Final = ("resize", "crop", "letterbox")
INTERPOLATIONS: Final = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_LONGEST_SIDE: Final = 20_000


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe says; None where it says nothing. The fields are its keys.

    ``model``, ``arch``, ``weights``, ``revision``, ``labels``, ``task``, ``beams``, ``length``, ``device`` and ``dtype`` are those of
    :func:`vlcam.load`; ``layer`` and ``method`` those of :func:`vlcam.explain`, where it is given none. ``preprocess`` changes the model's
    own preprocessing, with the keys of :data:`CHANGES`.
    """

    model: str | None = None
    arch: str | None = None
    weights: str | None = None
    revision: str | None = None
    labels: tuple[str, ...] | None = None
    task: str | None = None
    beams: int | None = None
    length: int | None = None
    device: str | None = None
    dtype: str | None = None
    layer: str | None = None
    method: str | None = None
    preprocess: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        given = [one.name for one in fields(self) if getattr(self, one.name) is not None]
        return f"Recipe({str(self.model)[:60]!r}: {', '.join(given)})"


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file. Paths in it are relative to its folder.

    Raises:
        InputError: the file doesn't exist or isn't TOML, a key is unknown, or a value isn't what its key takes.
    """
    what = "a recipe (TOML)"
    check_file(path, what)
    where, folder = show_path(path), Path(path).parent
    text = read_text(path, what)
    with refuse_broken(where, what, fault="is not TOML ({})"):
        found = tomllib.loads(text)
    values = _read_table(found, _KEYS, where)
    if values.get("model") is not None:
        values["model"] = _place_model(values["model"], folder)
    if isinstance(values.get("labels"), str):
        values["labels"] = read_labels(folder / values["labels"])
    if values.get("preprocess") is not None:
        values["preprocess"] = read_changes(values["preprocess"], f"{where}, [preprocess]")
    return Recipe(**values)


def read_labels(path: str | Path) -> tuple[str, ...]:
    """The class names in a file, in order: one per line; or JSON, a list of them or an object with their numbers.

    In a JSON list or object, a name may also be the second item of a pair such as ``["n01440764", "tench"]``.

    Raises:
        InputError: the file doesn't exist, or holds something else.
    """
    what = "class names: one per line, or a JSON list or {number: name}"
    check_file(path, what)
    text, where = read_text(path, what), show_path(path)
    if Path(path).suffix.lower() != ".json" and text.lstrip()[:1] not in ("[", "{"):
        names = [line.strip() for line in text.rstrip().split("\n")]
    else:
        with refuse_broken(where, what):
            names = _list_names(parse_json(text, where, what), where)
    if len(names) > MAX_CLASSES:
        raise InputError(f"{where} has {len(names):,} class names; expected at most {MAX_CLASSES:,}")
    for number, name in enumerate(names):
        if not name:
            raise InputError(f"{where} has no name for class {number}; expected {what}")
    return tuple(names)


def _list_names(found: Any, where: str) -> list[str]:
    """The names in a JSON list or object, in order."""
    if isinstance(found, Mapping):
        found = _sort_by_number(found, where)
    if not isinstance(found, list) or not found:
        raise InputError(f"{where} holds no JSON list or object of class names")
    names = [one[1] if isinstance(one, list) and len(one) == 2 else one for one in found]
    odd = next((number for number, one in enumerate(names) if not isinstance(one, str)), None)
    if odd is not None:
        raise InputError(f"{where}: the name of class {odd} is {names[odd]!r:.60}; expected a text")
    return [" ".join(one.split()) for one in names]


def _sort_by_number(found: Mapping[str, Any], where: str) -> list[Any]:
    """The values of {number: name}, or the keys of {name: number}, by their numbers, none of which may be missing."""
    turned = all(type(one) is int for one in found.values())
    pairs = [(value, key) for key, value in found.items()] if turned else list(found.items())
    numbered = {int(key): value for key, value in pairs if _is_number(str(key))}
    if len(numbered) != len(pairs) or sorted(numbered) != list(range(len(pairs))):
        shown = ", ".join(str(key) for key, _ in pairs[:3])
        raise InputError(
            f"{where} numbers its {len(pairs)} classes by {shown:.60}...; expected every number from 0 to {len(pairs) - 1} once"
        )
    return [numbered[number] for number in range(len(pairs))]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS


def _place_model(model: str, folder: Path) -> str:
    """A model's name, or the path that it is, as seen from the folder of the recipe."""
    arch, _, source = model.partition(":")
    if arch.startswith("open_clip/"):  # its weights may be a file
        return f"{arch}:{_place_model(source, folder)}" if source.endswith(STATE_ENDINGS) else model
    place = folder / model
    is_path = model.endswith(STATE_ENDINGS) or model.startswith(("./", "../")) or is_there(place, folders=True)
    return str(place) if is_path else model


def read_changes(values: Any, where: str) -> dict[str, Any]:
    """Changes to a preprocessing, checked: those of :data:`CHANGES` that are given."""
    found = _read_table(values, CHANGES, where)
    if found.get("resize_shorter") is not None and found.get("mode", "crop") != "crop":
        raise InputError(f"{where}: resize_shorter goes with mode crop, not with {found['mode']}")
    return {name: value for name, value in found.items() if value is not None}


# --- values -------------------------------------------------------------------------------------------------------------


def _read_table(values: Any, known: Mapping[str, Callable[[Any], Any]], where: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r:.60}; expected a table of {', '.join(known)}")
    found = {}
    for name, value in values.items():
        try:
            key = find_name(name, known, "key") if name not in known else name
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        try:
            found[key] = known[key](value)
        except ValueError as error:
            raise InputError(f"{where}: {key} is {value!r:.80}; expected {error}") from error
    return found


def _read_string(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value


def _read_labels_key(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, list) and value and all(isinstance(one, str) and one.strip() for one in value):
        return tuple(value)
    raise ValueError("a list of class names, or the path of a file of them")


def _read_whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return read


def _read_choice(*known: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return str(value)

    return read


def _read_size(value: Any) -> int | tuple[int, int]:
    sides = value if isinstance(value, list | tuple) else [value]
    if len(sides) not in (1, 2) or not all(type(one) is int and 1 <= one <= _LONGEST_SIDE for one in sides):
        raise ValueError(f"a side or [width, height] in pixels, from 1 to {_LONGEST_SIDE}")
    return (sides[0], sides[1]) if len(sides) == 2 else sides[0]


def _read_numbers(low: float) -> Callable[[Any], tuple[float, ...]]:
    def read(value: Any) -> tuple[float, ...]:
        several: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
        plain = all(type(one) in (int, float) and abs(one) <= MAX_NUMBER for one in several)
        if not several or not plain or not all(one > low for one in several):
            above = "" if low == -math.inf else f" above {low:g}"
            raise ValueError(f"a number{above} for values of 0 to 1, or one for each channel")
        return tuple(float(one) for one in several)

    return read


def _read_fill(value: Any) -> tuple[int, int, int]:
    if (
        not isinstance(value, list | tuple)
        or len(value) != 3
        or not all(type(one) is int and 0 <= one <= 255 for one in value)
    ):
        raise ValueError("red, green and blue from 0 to 255")
    return (value[0], value[1], value[2])


CHANGES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "size": _read_size,
    "mode": _read_choice(*MODES),
    "resize_shorter": _read_whole(1, _LONGEST_SIDE),
    "mean": _read_numbers(-math.inf),
    "std": _read_numbers(0.0),
    "interpolation": _read_choice(*INTERPOLATIONS),
    "fill": _read_fill,
    "channels": _read_whole(1, 1000),
}
"""What a recipe may change in a preprocessing: the fields of :class:`vlcam.Preprocess`, whose ``resample`` is called ``interpolation``."""

_KEYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "model": _read_string,
    "arch": _read_string,
    "weights": _read_string,
    "revision": _read_string,
    "labels": _read_labels_key,
    "task": _read_choice(*TASKS),
    "beams": _read_whole(1, 64),
    "length": _read_whole(1, 1000),
    "device": _read_string,
    "dtype": _read_choice(*PRECISIONS),
    "layer": _read_string,
    "method": _read_string,
    "preprocess": lambda value: value,
}

KEY_MEANINGS: Final[Mapping[str, str]] = {
    "model": "torchvision/NAME, timm/NAME, a folder or hub id of transformers, the path of a state dict, or a bundled model",
    "arch": "the architecture of a state dict: torchvision/NAME or timm/NAME",
    "weights": "which of torchvision's weights, such as IMAGENET1K_V1",
    "revision": "a branch, tag or commit of a hub model",
    "labels": "the class names in order: a list, or the path of a file with one per line, a JSON list, or {number: name}",
    "task": "classification, captioning or vqa, for a model that can do more than one",
    "beams": "how many beams a model that writes text searches with",
    "length": "the most tokens that a model that writes text may write",
    "device": "where the model runs, such as cuda",
    "dtype": "float32, float16 or bfloat16",
    "layer": "the dotted name of the layer that is explained unless another is asked for",
    "method": "the method that is used unless another is asked for",
    "preprocess": "a table of changes to the model's own preprocessing",
}
"""What each key says, for the documentation."""

CHANGE_MEANINGS: Final[Mapping[str, str]] = {
    "size": "the model's input in pixels: a side, or [width, height]",
    "mode": "resize (all of the photo), crop (its middle) or letterbox (all, with margins)",
    "resize_shorter": "the length of the photo's shorter side before its middle is cut out",
    "mean": "for values of 0 to 1: one number, or one for each channel",
    "std": "as mean",
    "interpolation": "nearest, box, bilinear, hamming, bicubic or lanczos; the resample of vlcam.Preprocess",
    "fill": "red, green and blue of margins, from 0 to 255",
    "channels": "1 for grey, 3 for RGB, 4 for RGBA",
}
"""What each key of the table ``preprocess`` says, for the documentation."""
