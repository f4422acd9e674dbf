"""What an experiment found, as a record: rows of numbers with their intervals beside the paper's, and controls.

A :class:`Result` goes to JSON and back unchanged, to lists of cells for a table on the console, and to Markdown. The chart of it is in
:mod:`vlcam.experiments.results.chart`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, cast, final

from vlcam.contracts import InputError, shorten
from vlcam.experiments.results.published import find_published
from vlcam.files import RecordError, decode_record, encode_record, name_unwritable, read_json, write_text

SCHEMA: Final = 1
"""Version of the JSON; files of another version are refused."""

_NONE: Final = "–"
_SHORT: Final = 36  # characters of a model's name in an overview


@final
@dataclass(frozen=True)
class ResultRow:
    """One number: ours with its 95 % interval, over ``n`` samples, and the paper's.

    ``undefined`` samples had no answer (a map that is zero everywhere) and are not in ``n``, or count as the experiment's protocol says.
    ``column`` is the measure, in experiments that have several; rows with the same ``name`` then share a line. NaN: no number.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    undefined: int = 0
    paper: float | None = None
    note: str = ""
    column: str = ""
    source: str = ""

    def __repr__(self) -> str:
        column = f" / {shorten(self.column)}" if self.column else ""
        return f"ResultRow({shorten(self.name, 60)}{column}: {self.value:.4g} [{self.low:.4g}, {self.high:.4g}], n {self.n})"


@final
@dataclass(frozen=True)
class Result:
    """One experiment, run once.

    ``rows`` are the methods (or whatever is compared), ``controls`` what shows whether a number means anything: chance, centre, random
    maps, an untrained model, the ceiling. ``columns`` is the order of the measures, by default that of the rows. ``unit`` goes with every
    number (``%``: 0 to 100), ``better`` says which way is good. ``headline`` is the name of the row that an overview shows
    (``row / column`` for one of its columns), by default the first. ``figures`` are file names.
    """

    number: int
    key: str
    title: str
    question: str
    protocol: str
    world: str
    model: str
    rows: tuple[ResultRow, ...]
    controls: tuple[ResultRow, ...] = ()
    columns: tuple[str, ...] = ()
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    headline: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    figures: tuple[str, ...] = ()

    def __repr__(self) -> str:
        count = f"{len(self.rows)} rows, {len(self.controls)} controls"
        return f"Result({self.number} {shorten(self.key)}: {count}, {shorten(self.model, 60)} on {shorten(self.world, 60)})"

    def __post_init__(self) -> None:
        found = dict.fromkeys(row.column for row in (*self.rows, *self.controls))
        lost = [column for column in found if self.columns and column not in self.columns]
        if lost:
            raise InputError(
                f"a row of {self.key} has the column {lost[0]!r}; expected one of {', '.join(self.columns)}"
            )
        taken = [(row.name, row.column) for row in (*self.rows, *self.controls)]
        twice = next((one for one in taken if taken.count(one) > 1), None)
        if twice:
            raise InputError(
                f"{self.key} has the row {' / '.join(filter(None, twice))!r} twice; give each its own name"
            )

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns in their order; the empty name stands for an only measure."""
        return self.columns or tuple(dict.fromkeys(row.column for row in (*self.rows, *self.controls)))

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the paper's numbers of this result were read, each once."""
        return tuple(dict.fromkeys(row.source for row in (*self.rows, *self.controls) if row.source))


def make_row(
    key: str,
    name: str,
    value: float,
    low: float = math.nan,
    high: float = math.nan,
    n: int = 0,
    *,
    column: str = "",
    undefined: int = 0,
    note: str = "",
    published_as: str | None = None,
) -> ResultRow:
    """A row with the paper's number of that experiment, row and column, where there is one.

    ``published_as`` is the paper's column, where it has another name than ours.
    """
    paper = find_published(key, name, column if published_as is None else published_as)
    plain = ResultRow(name, float(value), float(low), float(high), n, undefined, note=note, column=column)
    return plain if paper is None else replace(plain, paper=paper.value, source=f"{paper.source}; {paper.model}")


# --- JSON -------------------------------------------------------------------------------------------------------------


def to_json(result: Result) -> dict[str, Any]:
    """The result as plain JSON types; NaN and infinity, which JSON doesn't have, become null."""
    return {"schema": SCHEMA, **encode_record(result, nonfinite="null")}


def save(result: Result, path: str | Path) -> None:
    """Write the result as a JSON file. Raises InputError if the file can't be written."""
    text = json.dumps(to_json(result), indent=1, ensure_ascii=False, allow_nan=False)
    with name_unwritable(path):
        write_text(path, text + "\n")


def from_json(found: Any, what: str = "the JSON") -> Result:
    """The result that :func:`to_json` made. Raises InputError for anything else, or another version."""
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        version = found.get("schema") if isinstance(found, dict) else None
        raise InputError(
            f"{what} holds a result of schema {version}; expected {SCHEMA}: run the experiment again with this version of vlcam"
        )
    fields = {name: value for name, value in found.items() if name != "schema"}
    try:
        return cast(Result, decode_record(Result, fields, "the result", null_is_nan=True))
    except RecordError as error:
        raise InputError(f"{what} is not a result that vlcam wrote: {error}") from error


def load(path: str | Path) -> Result:
    """Read a result from a JSON file. Raises InputError if it can't be read or holds anything else."""
    return from_json(read_json(path, "a result that vlcam wrote"), repr(str(path)))


# --- tables -----------------------------------------------------------------------------------------------------------


def format_number(value: float | None, unit: str = "") -> str:
    """A number as tables show it: one decimal for percent, three digits after the point for small numbers.

    >>> format_number(56.512, "%"), format_number(0.2543), format_number(3.274), format_number(None)
    ('56.5', '0.254', '3.27', '–')
    """
    if value is None or not math.isfinite(value):
        return _NONE
    digits = 1 if unit == "%" else 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def make_cells(result: Result) -> list[list[str]]:
    """The table as text, its head first; controls stand below the rows, in brackets.

    With one measure, a line has ours, the 95 % interval, n, and what else there is: how many were undefined, the paper's number, a note.
    With several, a line has for each of them ours with the interval, and the paper's number where any row has one.
    """
    if len(result.measures) > 1:
        return _make_wide_cells(result)
    every = (*result.rows, *result.controls)
    unit = f" ({result.unit})" if result.unit else ""
    head = ["", f"ours{unit}", "95 % interval", "n"]
    optional = [
        ("undefined", [str(one.undefined) if one.undefined else "" for one in every]),
        ("paper", [format_number(one.paper, result.unit) if one.paper is not None else "" for one in every]),
        ("note", [one.note for one in every]),
    ]
    kept = [(name, texts) for name, texts in optional if any(texts)]
    body = [
        [
            _name_row(one, result),
            format_number(one.value, result.unit),
            _format_interval(one, result.unit),
            str(one.n) if one.n else "",
        ]
        + [texts[place] for _, texts in kept]
        for place, one in enumerate(every)
    ]
    return [head + [name for name, _ in kept], *body]


def _make_wide_cells(result: Result) -> list[list[str]]:
    every = (*result.rows, *result.controls)
    with_paper = {one.column for one in every if one.paper is not None}
    unit = f" ({result.unit})" if result.unit else ""
    head = [""]
    for column in result.measures:
        head += [column + unit] + (["paper"] if column in with_paper else [])
    lines = [[*head, "n"]]
    for name in dict.fromkeys(_name_row(one, result) for one in every):
        own = {one.column: one for one in every if _name_row(one, result) == name}
        line = [name]
        for column in result.measures:
            one = own.get(column)
            interval = _format_interval(one, result.unit) if one else ""
            line.append(f"{format_number(one.value, result.unit)} {interval}".strip() if one else "")
            if column in with_paper:
                line.append(format_number(one.paper, result.unit) if one and one.paper is not None else "")
        counts = sorted({one.n for one in own.values() if one.n})
        lines.append([*line, " to ".join(map(str, counts[:: max(1, len(counts) - 1)]))])
    return lines


def make_overview(results: Sequence[Result]) -> list[list[str]]:
    """One line per experiment: its headline row, or its first, in the first column (that the paper has); the head first."""
    lines = [["", "experiment", "measure", "ours", "95 % interval", "paper", "n", "data", "model"]]
    for result in sorted(results, key=lambda one: one.number):
        if not result.rows:
            continue
        name, _, column = result.headline.partition(" / ")
        headed = [row for row in result.rows if row.name == name and column in ("", row.column)] or list(result.rows)
        # The first column that can be compared with the paper, or else the first.
        one = min(headed, key=lambda row: (row.paper is None, result.measures.index(row.column)))
        model = result.model if len(result.model) <= _SHORT else f"{result.model[: _SHORT - 1].rstrip()}…"
        measure = " ".join(filter(None, (one.name, one.column))) + (f" ({result.unit})" if result.unit else "")
        paper = format_number(one.paper, result.unit) if one.paper is not None else ""
        ours = [format_number(one.value, result.unit), _format_interval(one, result.unit), paper, str(one.n or "")]
        lines.append([str(result.number), result.title, measure, *ours, result.world, model])
    return lines


def to_markdown(result: Result) -> str:
    """The result as a section of Markdown: what was asked and how, the table, and the sources of the paper's numbers."""
    parts = [
        f"### {result.number}. {result.title}",
        result.question,
        f"{result.protocol} Data: {result.world}. Model: {result.model}."
        + (f" {result.better.capitalize()} is better." if result.better else ""),
        make_markdown_table(make_cells(result)),
        *(
            [("Controls are in brackets. " if result.controls else "") + " ".join(result.notes)]
            if result.controls or result.notes
            else []
        ),
        *([f"The paper's numbers: {'; '.join(result.sources)}."] if result.sources else []),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def make_markdown_table(lines: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A table in Markdown from lines of cells, the head first; the first ``texts`` columns to the left, the others to the right.

    >>> print(make_markdown_table([["", "ours"], ["Grad-CAM", "0.254"]]))
    |  | ours |
    | --- | ---: |
    | Grad-CAM | 0.254 |
    """
    head, *body = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---" if place < texts else "---:" for place in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body))


def _name_row(one: ResultRow, result: Result) -> str:
    return f"({one.name})" if one in result.controls else one.name


def _format_interval(one: ResultRow, unit: str) -> str:
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return ""
    return f"[{format_number(one.low, unit)}, {format_number(one.high, unit)}]"
