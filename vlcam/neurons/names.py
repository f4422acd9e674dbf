"""The names of a layer's channels: frozen records, and how they are written and read (JSON, CSV)."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, cast, final

from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Target
from vlcam.explanation import NeuronText

FLAGS: Final = {
    "polysemantic": "fires for another, unrelated concept as well",
    "unstable": "another name wins on many bootstrap samples of the probe",
    "ambiguous": "the next best name matches nearly as well",
    "few": "the concept is in few pictures of the probe",
    "target": "the name is also something that the model predicts, so it explains nothing",
}
"""Warnings about a name, and what they mean."""

State = Literal["named", "unnamed", "dead"]
Alternative = tuple[str, str | None, float]

FORMAT: Final = "vlcam neuron names"
VERSION: Final = 2
_MEASURES: Final = ("iou", "auprc", "correlation", "stability", "margin")
_STATES: Final = ("named", "unnamed", "dead")
_COLUMNS: Final = ("unit", "name", "score", "state", "category", "ceiling", "p", "threshold")


@final
@dataclass(frozen=True)
class NeuronName:
    """What one channel of a layer stands for.

    ``unit`` counts from 0. ``state``: ``named``; ``unnamed`` (fires, but no name passed the tests); ``dead`` (never fires on
    the probe). ``score`` is that of the name, or of the best concept that did not pass, by the scorer of the names; ``ceiling``
    the highest IoU that concept could reach, ``min(p, q) / max(p, q)`` of the two areas; ``p`` the p-value of the permutation test
    (None: not tested); ``threshold`` is T_k of Network Dissection: the unit counts as active above it. ``alternatives``: the next
    best (name, category, score).

    Of the same name, where the probe has masks: ``iou``, ``auprc`` (average precision over positions) and ``correlation``
    (Pearson's, of activation and covered area). ``stability`` is the share of bootstrap samples of the pictures in which the same
    name wins; ``margin`` (first - second) / first score. ``also`` are further names that hold of the unit, too. ``formula`` joins up to
    three concepts where that matches better than one ("(red OR orange) AND NOT star"), with its IoU. ``flags``: words of warning
    (see :data:`FLAGS`).
    """

    unit: int
    state: State
    name: str | None = None
    category: str | None = None
    score: float = 0.0
    ceiling: float = 1.0
    p: float | None = None
    threshold: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    iou: float | None = None
    auprc: float | None = None
    correlation: float | None = None
    stability: float | None = None
    margin: float | None = None
    also: tuple[str, ...] = ()
    formula: tuple[str, float] | None = None
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class NeuronNames:
    """The names of all channels of one layer of one model.

    ``probe`` says how they were made: command, split, number of images, quantile, permutations, seed, ... (any JSON values).
    Satisfies :class:`vlcam.contracts.Names`.
    """

    model: str
    layer: str
    weights_sha256: str | None
    probe: Mapping[str, Any] = field(hash=False)
    units: tuple[NeuronName, ...]

    def __post_init__(self) -> None:
        for place, unit in enumerate(self.units):
            if unit.unit != place:
                raise InputError(
                    f"unit {unit.unit} stands at place {place} of the names; expected every unit of the layer once, in order, "
                    "counted from 0; add the missing ones (state 'unnamed'), or drop the double ones"
                )
            _check(unit)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def coverage(self) -> float:
        """The share of units that have a name, 0 to 1."""
        return sum(unit.state == "named" for unit in self.units) / len(self.units) if self.units else 0.0

    @property
    def concepts(self) -> tuple[str, ...]:
        """The different names in use, sorted: their number is the layer's score in Network Dissection."""
        return tuple(sorted({unit.name for unit in self.units if unit.name is not None}))

    def describe(
        self,
        target: Target,
        alpha: Float[Tensor, " channels"],
        contributions: Float[Tensor, " channels"],
        activity: Float[Tensor, " channels"],
        *,
        ranking: str = "contribution",
    ) -> NeuronText:
        """The text of one target (see :func:`vlcam.neurons.describe.describe`)."""
        from vlcam.neurons.describe import describe

        return describe(self, target, alpha, contributions, activity, ranking=ranking)

    def to_json(self) -> str:
        """As JSON text, the same for the same names; :meth:`from_json` reads it back."""
        head = {"format": FORMAT, "version": VERSION, "model": self.model, "layer": self.layer}
        head |= {"weights_sha256": self.weights_sha256, "probe": dict(self.probe)}
        start = json.dumps(head, indent=1, allow_nan=False, ensure_ascii=False)[:-2]
        rows = ",\n  ".join(json.dumps(asdict(unit), allow_nan=False, ensure_ascii=False) for unit in self.units)
        return f'{start},\n "units": [\n  {rows}\n ]\n}}'

    @classmethod
    def from_json(cls, source: str | Path) -> "NeuronNames":
        """From a file's path, or from the text that :meth:`to_json` made (a string that begins with ``{``).

        Raises InputError if the file is missing or is not such a text.
        """
        text, where = _read(source, "{")
        try:
            found = json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            raise InputError(f"{where} is no JSON ({error}); expected what NeuronNames.to_json() wrote") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise InputError(
                f'{where} holds no neuron names; expected JSON with "format": "{FORMAT}", as to_json() writes it'
            )
        if found.get("version") != VERSION:
            version = found.get("version")
            raise InputError(
                f"{where} has version {version!r}; this vlcam reads version {VERSION}: name the units again"
            )
        try:
            return cls(
                model=_text(found["model"]),
                layer=_text(found["layer"]),
                weights_sha256=None if found["weights_sha256"] is None else _text(found["weights_sha256"]),
                probe=dict(found["probe"]),
                units=tuple(_unit(row) for row in found["units"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise InputError(f"{where}: {error}") from error
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"{where} is not what NeuronNames.to_json() wrote: {what}; name the units again"
            ) from error

    def to_csv(self) -> str:
        """As CSV text with a header line; one row a unit; ``score`` is the IoU. Alternatives and probe are left out."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for u in self.units:
            p = "" if u.p is None else u.p
            writer.writerow((u.unit, u.name or "", u.score, u.state, u.category or "", u.ceiling, p, u.threshold))
        return out.getvalue()

    @classmethod
    def from_csv(cls, source: str | Path, *, model: str, layer: str, min_score: float = 0.0) -> "NeuronNames":
        """From a CSV file's path, or CSV text (a string with a line break), with columns ``unit,name,score`` and a header.

        Units count from 0 and may come in any order; an empty name or a score under ``min_score`` is unnamed. The other columns
        of :meth:`to_csv` are read where they are there. Without thresholds a unit counts as active above 0.
        """
        text, where = _read(source, None)
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
        have = tuple(reader.fieldnames or ())
        if not {"unit", "name", "score"} <= set(have):
            raise InputError(
                f"{where} has the columns {', '.join(have) or '(none)'}; expected a header with unit,name,score"
            )
        units = []
        for row in reader:
            try:
                units.append(_from_row(row, min_score))
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"{where}, line {reader.line_num}: {error}; expected unit,name,score as in 3,red,0.21"
                ) from error
        units.sort(key=lambda unit: unit.unit)
        return cls(model=model, layer=layer, weights_sha256=None, probe={"source": where}, units=tuple(units))


def _check(unit: NeuronName) -> None:
    numbers = (unit.score, unit.ceiling, unit.threshold, 0.0 if unit.p is None else unit.p)
    if (unit.state == "named") != bool(unit.name):
        raise InputError(
            f"unit {unit.unit} is {unit.state!r} with name {unit.name!r}; expected a name if, and only if, it is 'named'"
        )
    if not all(isfinite(number) for number in numbers):
        raise InputError(
            f"unit {unit.unit} has a number that is not finite; expected finite iou, ceiling, p and threshold"
        )


def _unit(row: Any) -> NeuronName:
    """A record from its JSON object; TypeError, KeyError or ValueError if it is none."""
    if not isinstance(row, dict):
        raise TypeError(f"a unit is {row!r}, not an object")
    number = row["unit"]
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"a unit's number is {number!r}")
    if row["state"] not in _STATES:
        raise InputError(f"unit {number} has state {row['state']!r}; expected one of {', '.join(_STATES)}")
    return NeuronName(
        unit=number,
        state=cast(State, row["state"]),
        name=None if row["name"] is None else _text(row["name"]),
        category=None if row["category"] is None else _text(row["category"]),
        score=_number(row["score"]),
        ceiling=_number(row["ceiling"]),
        p=None if row["p"] is None else _number(row["p"]),
        threshold=_number(row["threshold"]),
        alternatives=tuple(
            (_text(name), None if category is None else _text(category), _number(iou))
            for name, category, iou in row["alternatives"]
        ),
        **{name: None if row[name] is None else _number(row[name]) for name in _MEASURES},
        also=tuple(map(_text, row["also"])),
        formula=None if row["formula"] is None else (_text(row["formula"][0]), _number(row["formula"][1])),
        flags=tuple(map(_text, row["flags"])),
    )


def _from_row(row: Mapping[str | Any, str | Any], min_score: float) -> NeuronName:
    if row["name"] is None or row["score"] is None:
        raise ValueError("a cell is missing")
    name, score = row["name"].strip(), float(row["score"] or 0.0)
    named = bool(name) and score >= min_score
    state = row.get("state") or "unnamed"
    return NeuronName(
        unit=int(row["unit"]),
        state="named" if named else "dead" if state == "dead" else "unnamed",
        name=name if named else None,
        category=(row.get("category") or None) if named else None,
        score=score,
        ceiling=float(row.get("ceiling") or 1.0),
        p=float(row["p"]) if row.get("p") else None,
        threshold=float(row.get("threshold") or 0.0),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} stands where a text is expected")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} stands where a number is expected")
    return float(value)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _read(source: str | Path, mark: str | None) -> tuple[str, str]:
    """The text, and what to call it in errors. A string is text if it begins with the mark (or, without one, has a line break)."""
    if isinstance(source, str) and ("\n" in source if mark is None else source.lstrip().startswith(mark)):
        return source, "the text"
    try:
        return Path(source).read_text("utf-8"), str(source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} can't be read as a file of neuron names ({error}); give the path of one") from error
