"""Names of neurons as comma-separated tables: vlcam's own, any with the columns unit and name, and those of two other tools.

The columns of the header tell which it is. ``tally.csv`` of Network Dissection (arXiv 1704.05796, its light version) counts units from 1
and has the best label of each category with its pixel counts. ``descriptions.csv`` of CLIP-Dissect (arXiv 2204.10965) counts from 0,
may hold several layers, and scores with soft-WPMI, whose values compare only within one run.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isfinite, nan
from typing import Final, Literal, cast, final

from vlcam.contracts import InputError
from vlcam.files import escape_cell, refuse_broken, unescape_cell
from vlcam.neurons.names.record import STATES, AbstractNeuronNames, Alternative, NeuronName, State

Kind = Literal["csv", "tally", "clip-dissect"]
"""``csv`` is vlcam's own table and any other with the columns unit, name and perhaps score."""

KINDS: Final[tuple[Kind, ...]] = ("csv", "tally", "clip-dissect")

_MEASURES: Final = ("iou", "auprc", "correlation", "stability", "margin")
_COLUMNS: Final = (
    *("unit", "name", "score", "state", "category", "ceiling", "p", "threshold"),
    *(*_MEASURES, "also", "formula", "formula_iou", "flags"),
)
_BETWEEN: Final = "; "
_HEADERS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "tally": ("unit", "category", "label", "score"),
    "clip-dissect": ("layer", "unit", "description", "similarity"),
    "csv": ("unit", "name"),
}
_EXPECTED: Final = {
    "tally": "a unit from 1, a category, a label and numbers, as in 1,object,sky,0.21",
    "clip-dissect": "a layer, a unit from 0, a description and a number, as in layer4,0,sky,0.21",
    "csv": "unit,name,score as in 3,red,0.21",
}
_LAYOUTS: Final = (
    "unit,name,score (score may be left out), Network Dissection's unit,category,label,score or CLIP-Dissect's "
    "layer,unit,description,similarity"
)


@final
@dataclass(frozen=True)
class TableRow:
    """One row of a table: its cells by column, and where it stands, for errors."""

    cells: Mapping[str, str]
    line: int

    def read_text(self, column: str) -> str:
        """What a cell holds; nothing if there is no such column."""
        return unescape_cell(self.cells.get(column, "").strip())

    def read_number(self, column: str, otherwise: float | None = None) -> float:
        """The number of a cell; ``otherwise`` if it is empty or there is no such column."""
        cell = self.read_text(column)
        if not cell and otherwise is not None:
            return otherwise
        try:
            value = float(cell)
        except ValueError:
            value = nan
        if not isfinite(value):
            raise ValueError(f"{column} is {cell!r}, which is not a finite number")
        return value

    def read_whole_number(self, column: str) -> int:
        """The whole number of a cell."""
        cell = self.read_text(column)
        if not re.fullmatch(r"[0-9]{1,9}", cell):
            raise ValueError(f"{column} is {cell!r}, which is not a whole number from 0")
        return int(cell)

    def read_measure(self, column: str) -> float | None:
        """The number of a cell, None if it is empty."""
        return self.read_number(column) if self.read_text(column) else None


def to_csv(names: AbstractNeuronNames) -> str:
    """As CSV text with a header line; several names or flags are joined by ``; ``, an unknown number is an empty cell.

    A text that a spreadsheet would take for a formula begins with an apostrophe, which :func:`read_table` takes off again.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for unit in names.units:
        formula = ("", "") if unit.formula is None else unit.formula
        cells = asdict(unit) | {"formula": formula[0], "formula_iou": formula[1]}
        cells |= {column: _BETWEEN.join(getattr(unit, column)) for column in ("also", "flags")}
        row = ("" if cells[column] is None else cells[column] for column in _COLUMNS)
        writer.writerow(escape_cell(cell) if isinstance(cell, str) else cell for cell in row)
    return out.getvalue()


def read_table(text: str, where: str, kind: Kind | None = None) -> tuple[Kind, list[TableRow]]:
    """Which of the tables it is, by its header, and its rows."""
    with refuse_broken(where, "comma-separated values with a header", fault="is not a table ({})"):
        lines = list(_split_lines(text))
    _, header = lines[0] if lines else (0, [])
    columns = [one.strip() for one in header]
    have = f"{where} has the columns {', '.join(columns[:12]) or '(none)'}{', ...' if len(columns) > 12 else ''}"
    found = kind or next((one for one, needed in _HEADERS.items() if {*needed} <= {*columns}), None)
    if found is None or not {*_HEADERS[found]} <= {*columns}:
        raise InputError(f"{have}; expected a header with {_LAYOUTS if found is None else ','.join(_HEADERS[found])}")
    double = sorted({one for one in columns if columns.count(one) > 1})
    if double:
        raise InputError(f"{have}: {', '.join(double)} more than once; expected every column once")
    rows = []
    for line, cells in lines[1:]:
        if len(cells) != len(columns):
            raise InputError(
                f"{where}, line {line}: it has {len(cells)} cells where the header has {len(columns)}; "
                f"expected {_EXPECTED[found]}"
            )
        rows.append(TableRow(dict(zip(columns, cells, strict=True)), line))
    return found, rows


def _split_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, each with its number (the last, if a quoted cell runs over several)."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def read_units(rows: list[TableRow], kind: Kind, layer: str | None, where: str) -> tuple[list[NeuronName], str | None]:
    """The records of the chosen layer as they stand in the file, no unit twice, and the layer's name if it is known."""
    if kind == "clip-dissect":
        layers = tuple(dict.fromkeys(row.read_text("layer") for row in rows))
        if layer is None and len(layers) > 1:
            raise InputError(
                f"{where} has names of the layers {', '.join(layers)}; choose one, as in layer={layers[-1]!r}"
            )
        if layer is not None and layer not in layers:
            raise InputError(
                f"{where} has no names of the layer {layer!r}; its layers are: {', '.join(layers) or '(none)'}"
            )
        layer = layer or next(iter(layers), None)
        rows = [row for row in rows if row.read_text("layer") == layer]
    read = {"tally": _from_tally, "clip-dissect": _from_description, "csv": _from_cells}[kind]
    seen: dict[int, int] = {}
    units = []
    for row in rows:
        try:
            unit = read(row)
        except ValueError as error:
            raise InputError(f"{where}, line {row.line}: {error}; expected {_EXPECTED[kind]}") from error
        if unit.unit in seen:
            raise InputError(
                f"{where}, line {row.line}: unit {row.read_text('unit')} stands in line {seen[unit.unit]} already; expected every unit once"
            )
        seen[unit.unit] = row.line
        units.append(unit)
    return units, layer


def _from_cells(row: TableRow) -> NeuronName:
    """A unit of vlcam's own CSV, or of any with at least ``unit`` and ``name``."""
    name, state = row.read_text("name") or None, row.read_text("state") or None
    if state not in (None, *STATES):
        raise ValueError(f"state is {state!r}, which is none of {', '.join(STATES)}")
    formula = row.read_text("formula")
    return NeuronName(
        unit=row.read_whole_number("unit"),
        state=cast(State, state or ("unnamed" if name is None else "named")),
        name=name,
        category=row.read_text("category") or None,
        score=row.read_number("score", 0.0),
        ceiling=row.read_number("ceiling", 1.0),
        p=row.read_measure("p"),
        threshold=row.read_number("threshold", 0.0),
        iou=row.read_measure("iou"),
        auprc=row.read_measure("auprc"),
        correlation=row.read_measure("correlation"),
        stability=row.read_measure("stability"),
        margin=row.read_measure("margin"),
        also=_split(row.read_text("also")),
        formula=(formula, row.read_number("formula_iou")) if formula else None,
        flags=_split(row.read_text("flags")),
    )


def _from_tally(row: TableRow) -> NeuronName:
    """A unit of Network Dissection: its label, and the best ones of the other categories as alternatives."""
    number, category, score = row.read_whole_number("unit"), row.read_text("category"), row.read_number("score")
    label = row.read_text("label") if score > 0 else ""  # without any overlap its label is only the first of the list
    if number < 1:
        raise ValueError("unit is 0, but units of a tally count from 1")
    others: list[Alternative] = [
        (_strip_suffix(name), other, row.read_number(f"{other}-iou"))
        for other in (column.removesuffix("-label") for column in row.cells if column.endswith("-label"))
        if other != category and (name := row.read_text(f"{other}-label"))
    ]
    truth, fired = (row.read_number(f"{category}-{what}", 0.0) for what in ("truth", "activation"))
    return NeuronName(
        unit=number - 1,
        state="named" if label else "unnamed",
        name=_strip_suffix(label) if label else None,
        category=category if label and category else None,
        score=score,
        ceiling=min(truth, fired) / max(truth, fired) if min(truth, fired) > 0 else 1.0,
        iou=score if label else None,
        alternatives=tuple(sorted((one for one in others if one[2] > 0), key=lambda one: -one[2])),
    )


def _from_description(row: TableRow) -> NeuronName:
    """A unit of CLIP-Dissect. Its scores are log-probabilities of a kind, in no fixed range."""
    name = row.read_text("description") or None
    state: State = "unnamed" if name is None else "named"
    return NeuronName(row.read_whole_number("unit"), state, name, score=row.read_number("similarity"))


def _strip_suffix(label: str) -> str:
    """A Broden label without what tells colours and scenes from objects."""
    return re.sub(r"-[cs]$", "", label)


def _split(cell: str) -> tuple[str, ...]:
    return tuple(one for one in (part.strip() for part in cell.split(_BETWEEN.strip())) if one)
