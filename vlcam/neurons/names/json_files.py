"""Names of neurons as files: vlcam's own JSON, which keeps everything, and tables (:mod:`vlcam.neurons.names.tables`).

Names that another tool found are as good as any, so its files are read as well. Network Dissection gives every unit a label; only those
with an IoU of 0.04 or more are names. Whatever the file, a unit that it leaves out has no name, and is never passed over in silence.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from vlcam.contracts import InputError
from vlcam.files import (
    RecordError,
    check_names,
    decode_record,
    encode_record,
    get_field_types,
    parse_json,
    read_text,
)
from vlcam.neurons.names.record import AbstractNeuronNames, NeuronName
from vlcam.neurons.names.tables import KINDS, read_table, read_units

Made = TypeVar("Made", bound=AbstractNeuronNames)
"""The class of names that a reader is told to make."""

FORMAT: Final = "vlcam neuron names"
VERSION: Final = 3
_READ: Final = (2, 3)  # what version 2 lacks is "together"

FORMATS: Final = ("auto", "json", *KINDS)
"""How a file of names may be laid out (for the tables see :data:`vlcam.neurons.names.tables.Kind`)."""

TALLY_MIN_IOU: Final = 0.04
"""The IoU from which Network Dissection takes a unit for a detector."""

_HEAD: Final = ("format", "version", "model", "layer", "weights_sha256", "probe", "together", "units")


def find_names_file(path: Path) -> Path:
    """The file of names: the path itself, or ``names.json`` in a folder that ``vlcam neurons`` wrote."""
    return path / "names.json" if path.is_dir() else path


def read_names(
    path: str | Path,
    *,
    model: str | None = None,
    layer: str | None = None,
    units: int | None = None,
    format: str = "auto",
    min_score: float | None = None,
    make: type[Made],
) -> Made:
    """The names in a file: vlcam's JSON or CSV, Network Dissection's tally, CLIP-Dissect's descriptions, or any unit,name,score CSV.

    Args:
        path: the file, UTF-8.
        model: the model that the names belong to. vlcam's JSON says so itself; of a CSV it is "unknown" if it isn't given.
        layer: the layer. A CSV that doesn't name it needs this; of a file with several layers it chooses one.
        units: how many channels the layer has. Those that the file leaves out become unnamed; without it, a gap is an error.
        format: one of :data:`FORMATS`; by default the file's first line tells.
        min_score: names that score less become alternatives of unnamed units. By default 0.04 for Network Dissection's tally, which
            labels every unit, and no limit for other files.
        make: the class to build.

    Raises:
        InputError: if the file can't be read, is none of these, or has bad numbers, double units or gaps.
    """
    if format not in FORMATS:
        raise InputError(f"format {format!r} was given; expected one of {', '.join(FORMATS)}")
    text, where = _read(path, None)
    if format == "json" or (format == "auto" and text.lstrip().startswith("{")):
        head, objects = _parse_json(text, where)
        for what, given in (("model", model), ("layer", layer)):
            if given not in (None, head[what]):
                raise InputError(
                    f"{where} names the {what} {head[what]!r}; {given!r} was asked for: give the file for that"
                )
        with _add_source_to_errors(where):
            names = make(**head, units=objects)
        return replace(
            names,
            units=_complete(_unname_low_scores(objects, min_score), len(objects) if units is None else units, where),
        )
    kind, rows = read_table(text, where, next((one for one in KINDS if one == format), None))
    found, chosen = read_units(rows, kind, layer, where)
    if kind == "tally" and min_score is None:
        min_score = TALLY_MIN_IOU
    if not found:
        raise InputError(f"{where} has a header and no units; expected a row for each")
    if chosen is None:
        raise InputError(
            f"{where} doesn't say which layer its units are of; give the layer's name, as in layer='layer4'"
        )
    probe = {"source": Path(where).name, "format": kind, "min_score": min_score}
    every = _complete(_unname_low_scores(found, min_score), units, where)
    with _add_source_to_errors(where):
        return make(model or "unknown", chosen, None, probe, every)


def to_json(names: AbstractNeuronNames) -> str:
    """As JSON text, one line a unit, the same for the same names."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "model": names.model,
        "layer": names.layer,
        "weights_sha256": names.weights_sha256,
        "probe": dict(names.probe),
    }
    start = json.dumps(head, indent=1, allow_nan=False, ensure_ascii=False)[:-2]
    groups = ",\n  ".join(
        json.dumps(encode_record(one, nonfinite="text"), allow_nan=False, ensure_ascii=False) for one in names.together
    )
    groups = f"[\n  {groups}\n ]" if groups else "[]"
    rows = ",\n  ".join(
        json.dumps(encode_record(unit, nonfinite="text"), allow_nan=False, ensure_ascii=False) for unit in names.units
    )
    return f'{start},\n "together": {groups},\n "units": [\n  {rows}\n ]\n}}'


def from_json(source: str | Path, *, make: type[Made]) -> Made:
    """From a file's path, or from the text that :func:`to_json` made (a string that begins with ``{``)."""
    text, where = _read(source, lambda text: text.removeprefix("\ufeff").lstrip().startswith("{"))
    head, units = _parse_json(text, where)
    with _add_source_to_errors(where):
        return make(**head, units=units)


def from_csv(source: str | Path, *, model: str, layer: str, min_score: float | None = None, make: type[Made]) -> Made:
    """From a CSV file's path, or CSV text (a string with a line break), with the columns unit, name and perhaps score."""
    text, where = _read(source, lambda text: "\n" in text)
    _, rows = read_table(text, where, "csv")
    found, _ = read_units(rows, "csv", layer, where)
    units = _complete(_unname_low_scores(found, min_score), None, where)
    with _add_source_to_errors(where):
        return make(model, layer, None, {"source": where}, units)


# --- JSON ---------------------------------------------------------------------------------------------------------------


def _parse_json(text: str, where: str) -> tuple[dict[str, Any], tuple[NeuronName, ...]]:
    """The fields of :class:`NeuronNames` but for the units, and the units."""
    found = parse_json(text, where, "what NeuronNames.to_json() wrote", strict=True)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(
            f'{where} holds no neuron names; expected JSON with "format": "{FORMAT}", as to_json() writes it'
        )
    version = found.get("version")
    if isinstance(version, bool) or version not in _READ:
        known = " and ".join(map(str, _READ))
        raise InputError(f"{where} has version {version!r}; this vlcam reads versions {known}: name the units again")
    if version < VERSION:
        found = {**found, "together": found.get("together", [])}
    try:
        check_names(found, _HEAD, "the file")
        kinds = get_field_types(AbstractNeuronNames)
        head = {name: decode_record(kinds[name], found[name], name) for name in _HEAD if name in kinds}
    except RecordError as error:
        raise InputError(f"{where} is not what NeuronNames.to_json() wrote: {error}; name the units again") from error
    return head, head.pop("units")


# --- both ---------------------------------------------------------------------------------------------------------------


def _unname_low_scores(units: Sequence[NeuronName], min_score: float | None) -> list[NeuronName]:
    """The units; a name that scores less becomes the first alternative of an unnamed one."""
    if min_score is None:
        return list(units)
    return [_drop_name(unit) if unit.state == "named" and unit.score < min_score else unit for unit in units]


def _drop_name(unit: NeuronName) -> NeuronName:
    best = () if unit.name is None else ((unit.name, unit.category, unit.score),)
    return NeuronName(
        unit.unit,
        "unnamed",
        score=unit.score,
        ceiling=unit.ceiling,
        p=unit.p,
        threshold=unit.threshold,
        alternatives=(*best, *unit.alternatives),
    )


def _complete(units: Sequence[NeuronName], count: int | None, where: str) -> tuple[NeuronName, ...]:
    """The units in order. With a count, those that aren't there are unnamed; without one, they are an error."""
    have = {unit.unit: unit for unit in units}
    most = max(have, default=-1)
    if count is not None and most >= count:
        raise InputError(
            f"{where} names unit {most} (counted from 0) but units={count} was given; expected as many as the layer has: "
            "give the names of the layer that is meant"
        )
    gaps = [] if count is not None else [unit for unit in range(len(have) + 1) if unit not in have and unit < most]
    if gaps:
        raise InputError(
            f"{where} has no unit {gaps[0]} (counted from 0) but one of number {most}; expected every unit of the layer: "
            "give units=K, the number of its channels, to leave the others unnamed"
        )
    return tuple(have.get(unit) or NeuronName(unit, "unnamed") for unit in range(most + 1 if count is None else count))


@contextmanager
def _add_source_to_errors(where: str) -> Iterator[None]:
    """Errors of the records say which file they come from."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _read(source: str | Path, is_text: Callable[[str], bool] | None) -> tuple[str, str]:
    """The text without a byte-order mark, and what to call it in errors."""
    if isinstance(source, str) and is_text is not None and is_text(source):
        return source.removeprefix("\ufeff"), "the text"
    return read_text(source, "a file of neuron names", keep_line_ends=True), str(source)
