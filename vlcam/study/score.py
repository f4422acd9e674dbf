"""Scores of the human studies, as the paper counts them, with intervals and the raters' agreement.

Class discrimination (Selvaraju et al., arXiv 1610.02391, section 5.1): the share of right answers for each visualisation; chance is 50 %.
Trust (section 5.2): the mean of -2, -1, 0, 1, 2, where 2 is "the stronger model is clearly more reliable".

Intervals are bootstrapped over pictures and, if there are several, over raters at the same time
(:func:`vlcam.metrics.statistics.bootstrap_crossed`, which errs on the wide side). Agreement is Krippendorff's alpha, which may have gaps.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
from jaxtyping import Float

from vlcam._version import __version__
from vlcam.contracts import InputError, show_record
from vlcam.files import RecordError, decode_record, encode_record, read_json, read_text, unescape_cell
from vlcam.metrics.statistics import LEVEL, bootstrap_crossed, compute_interval
from vlcam.study.plan import SCHEMA, compute_study_id

TRUST_ANSWERS: Final = ("left clearly", "left slightly", "equal", "right slightly", "right clearly")
"""The answers of the trust study, from the left (2 for the model there) to the right."""

PAPER: Final[Mapping[str, Mapping[str, float]]] = {
    "discrimination": {
        "deconvnet": 0.5333,
        "deconv-gradcam": 0.6037,
        "guided-backprop": 0.4444,
        "guided-gradcam": 0.6123,
    },
    "trust": {"guided-backprop": 1.00, "guided-gradcam": 1.27},
}
"""The paper's numbers: VGG-16 and AlexNet on VOC 2007, raters of Amazon Mechanical Turk."""

CHANCE: Final[Mapping[str, float]] = {"discrimination": 0.5, "trust": 0.0}
_COLUMNS: Final = ("study", "rater", "item", "answer")
_FILE = "the file that the study's page downloads, whose first line begins with study,rater,item,answer"
_HEAD = f"expected {_FILE}"


@final
@dataclass(frozen=True)
class Rating:
    """One answer, and the file and line it was read from."""

    study: str
    rater: str
    item: str
    answer: str
    where: str

    __repr__ = show_record


@final
@dataclass(frozen=True)
class _KeyItem:
    """An item as a key has it (see :meth:`vlcam.study.plan.Item.to_key_entry`)."""

    id: str
    picture: str
    method: str
    about: str
    choices: tuple[str, str]
    booklet: int
    empty: bool
    images: tuple[str, ...]


@final
@dataclass(frozen=True)
class MethodScore:
    """One method's score: the share of right answers, or the mean towards the stronger model.

    ``low`` and ``high`` bound its 95 % interval (None with fewer than two pictures); ``paper`` is the paper's number, if it has one.
    """

    method: str
    value: float
    low: float | None
    high: float | None
    pictures: int
    ratings: int
    paper: float | None

    __repr__ = show_record


@final
@dataclass(frozen=True)
class Difference:
    """How much higher ``one`` scores than ``other``, over the same draws of pictures and raters."""

    one: str
    other: str
    value: float
    low: float | None
    high: float | None

    __repr__ = show_record


@final
@dataclass(frozen=True)
class Scores:
    """The scores of one study. ``answered`` is how many questions each rater answered, and of how many."""

    kind: str
    study: str
    chance: float
    methods: tuple[MethodScore, ...]
    differences: tuple[Difference, ...]
    agreement: float | None
    answered: Mapping[str, tuple[int, int]]
    facts: Mapping[str, Any]

    __repr__ = show_record

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "study": self.study,
            "chance": self.chance,
            "interval": LEVEL,
            "methods": encode_record(self.methods, nonfinite="null"),
            "differences": encode_record(self.differences, nonfinite="null"),
            "agreement": {"krippendorff_alpha": self.agreement},
            "raters": {rater: {"answered": have, "of": of} for rater, (have, of) in self.answered.items()},
            "facts": dict(self.facts),
        }


def read_key(path: str | Path) -> dict[str, Any]:
    """The key that ``vlcam study make`` wrote. Raises InputError for another file, or one that was changed."""
    found: Any = read_json(path, "the key.json of the study", strict=True)
    parts = found.get("parts") if isinstance(found, dict) else None
    if not isinstance(parts, dict) or not parts or not all(isinstance(one, dict) for one in parts.values()):
        raise InputError(f"{str(path)!r} is not the key of a study; give the key.json that vlcam study make wrote")
    if found.get("schema") != SCHEMA:
        raise InputError(f"{str(path)!r} has schema {found.get('schema')!r}; this vlcam reads schema {SCHEMA}")
    for kind, part in parts.items():
        try:
            decode_record(tuple[_KeyItem, ...], part.get("items"), f"{kind}.items")
        except RecordError as error:
            raise InputError(
                f"{str(path)!r} is not the key of a study: {error}; give the key.json that vlcam study make wrote"
            ) from error
        content = {name: value for name, value in part.items() if name != "study"}
        if part.get("study") != compute_study_id(content) or part.get("kind") != kind:
            raise InputError(
                f"{str(path)!r} was changed after it was made: its {kind} study doesn't fit its own id; give the original"
            )
    return dict(found)


def read_answers(path: str | Path, key: Mapping[str, Any]) -> list[Rating]:
    """The answers in one file, each checked against the key. Raises InputError that names the line."""
    items = {part["study"]: {item["id"]: item for item in part["items"]} for part in key["parts"].values()}
    kinds = {part["study"]: kind for kind, part in key["parts"].items()}
    found = []
    for where, row in _read_rows(Path(path)):
        study, rater, item, answer = (row[name] for name in _COLUMNS)
        if study not in items:
            have = ", ".join(f"{study} ({kind})" for study, kind in kinds.items())
            raise InputError(
                f"{where}: study {study!r} isn't in this key, which has {have}; give the key of that study"
            )
        if not rater:
            raise InputError(f"{where}: the rater id is missing; fill it in")
        if item not in items[study]:
            raise InputError(f"{where}: the {kinds[study]} study has no item {item!r}; was the file edited?")
        if not answer:
            raise InputError(
                f"{where}: item {item!r} has no answer; fill it in, or delete the line and score with partial answers"
            )
        allowed = TRUST_ANSWERS if kinds[study] == "trust" else tuple(items[study][item]["choices"])
        if answer not in allowed:
            raise InputError(f"{where}: {answer!r} is not an answer to item {item!r}; expected {' or '.join(allowed)}")
        found.append(Rating(study, rater.lower(), item, answer, where))
    if not found:
        raise InputError(f"{str(path)!r} holds no answers; {_HEAD}")
    return found


def _read_rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Where each row is, and its cells by column; separated by commas, or by semicolons as spreadsheets may write them."""
    text = read_text(path, _FILE)
    first = text.partition("\n")[0]
    reader = csv.reader(
        text.splitlines(keepends=True), delimiter=";" if ";" in first and "," not in first else ",", strict=True
    )
    found = []
    try:
        head = [cell.strip().lower() for cell in next(reader, [])]
        if not set(_COLUMNS) <= set(head):
            raise InputError(f"{path.name}, line 1: the columns are {', '.join(head) or 'none'}; {_HEAD}")
        for row in reader:
            where = f"{path.name}, line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(head):
                raise InputError(f"{where}: {len(row)} cells under {len(head)} columns; was the file edited?")
            found.append((where, {name: unescape_cell(cell.strip()) for name, cell in zip(head, row, strict=True)}))
    except csv.Error as error:  # the line is known
        raise InputError(f"{path.name}, line {reader.line_num}: {error}; {_HEAD}") from error
    return found


def score_answers(
    key: Mapping[str, Any], ratings: Sequence[Rating], *, draws: int = 2000, seed: int = 0, partial: bool = False
) -> tuple[Scores, ...]:
    """The scores of every study in the key that has answers.

    Args:
        key: what :func:`read_key` gave.
        ratings: what :func:`read_answers` gave, of all files together.
        draws: of the bootstrap.
        seed: of the bootstrap.
        partial: whether raters may have left questions out.

    Raises:
        InputError: a rater answered an item twice or left questions out, or answered more than one booklet.
    """
    if draws < 100:
        raise InputError(f"draws={draws} was given; expected 100 or more draws of the bootstrap")
    if not ratings:
        raise InputError("no answers were given; give at least one file that the study's page downloaded")
    _check_duplicates(ratings)
    found = []
    for part in key["parts"].values():
        mine = [one for one in ratings if one.study == part["study"]]
        if mine:
            found.append(_score_part(part, mine, draws, seed, partial))
    return tuple(found)


def _check_duplicates(ratings: Sequence[Rating]) -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for one in ratings:
        before = seen.setdefault((one.study, one.rater, one.item), one.where)
        if before is not one.where:
            raise InputError(
                f"{one.where}: rater {one.rater!r} has answered item {one.item!r} already ({before}); give each file once, and each "
                "rater an id of their own"
            )


def _score_part(part: Mapping[str, Any], ratings: Sequence[Rating], draws: int, seed: int, partial: bool) -> Scores:
    items = {item["id"]: item for item in part["items"]}
    kind: str = part["kind"]
    answered = _count_answered(items, ratings, partial)
    raters, methods = list(answered), list(part["facts"]["methods"])
    pictures = sorted({item["picture"] for item in items.values()})
    shape = (len(methods), len(pictures), len(raters))
    values, counts = np.zeros(shape), np.zeros(shape)
    given = np.full((len(items), len(raters)), np.nan)
    rows = {name: number for number, name in enumerate(items)}
    for one in ratings:
        item = items[one.item]
        place = methods.index(item["method"]), pictures.index(item["picture"]), raters.index(one.rater)
        shown = TRUST_ANSWERS.index(one.answer) if kind == "trust" else item["choices"].index(one.answer)
        values[place] += _score_answer(kind, item, one.answer)
        counts[place] += 1
        given[rows[one.item], place[2]] = shown
    totals = counts.sum((1, 2))
    drawn = bootstrap_crossed(values, counts, seed=seed, resamples=draws)
    means = {name: values[place].sum() / totals[place] for place, name in enumerate(methods) if totals[place]}
    enough = {name: int(counts[place].any(axis=1).sum()) for place, name in enumerate(methods)}
    samples = {name: drawn[place] for place, name in enumerate(methods)}
    scores = tuple(
        MethodScore(
            name,
            float(mean),
            *_compute_interval(samples[name], enough[name]),
            enough[name],
            int(totals[methods.index(name)]),
            PAPER[kind].get(name),
        )
        for name, mean in means.items()
    )
    differences = tuple(
        Difference(
            one,
            other,
            float(means[one] - means[other]),
            *_compute_interval(samples[one] - samples[other], min(enough[one], enough[other])),
        )
        for one, other in combinations(sorted(means, key=lambda name: -means[name]), 2)
    )
    alpha = krippendorff(given, metric="interval" if kind == "trust" else "nominal")
    return Scores(
        kind,
        part["study"],
        CHANCE[kind],
        scores,
        differences,
        None if math.isnan(alpha) else alpha,
        answered,
        part["facts"],
    )


def _count_answered(items: Mapping[str, Any], ratings: Sequence[Rating], partial: bool) -> dict[str, tuple[int, int]]:
    """How many questions each rater answered, of how many in the booklet."""
    found: dict[str, tuple[int, int]] = {}
    for rater in dict.fromkeys(one.rater for one in ratings):
        mine = {one.item: one for one in ratings if one.rater == rater}
        booklets = sorted({items[item]["booklet"] for item in mine})
        if len(booklets) > 1:
            first = items[next(iter(mine))]["booklet"]
            wrong = next(one for item, one in mine.items() if items[item]["booklet"] != first)
            raise InputError(
                f"{wrong.where}: rater {rater!r} has answers of {len(booklets)} booklets, but a rater gets one; do two people have "
                "this id?"
            )
        wanted = [item for item, known in items.items() if known["booklet"] == booklets[0]]
        missing = [item for item in wanted if item not in mine]
        if missing and not partial:
            raise InputError(
                f"{next(iter(mine.values())).where.rpartition(',')[0]}: rater {rater!r} answered {len(mine)} of {len(wanted)} questions "
                f"(item {missing[0]!r} is missing); ask for the rest, or score what there is with --partial"
            )
        found[rater] = (len(mine), len(wanted))
    return found


def _score_answer(kind: str, item: Mapping[str, Any], answer: str) -> float:
    """What an answer counts: 1 if right, else 0; or -2 to 2 towards the stronger model."""
    if kind == "discrimination":
        return float(answer == item["about"])
    left = 2 - TRUST_ANSWERS.index(answer)
    return float(left if item["choices"][0] == "stronger" else -left)


def krippendorff(
    ratings: Float[np.ndarray, "items raters"], *, metric: Literal["nominal", "interval"] = "nominal"
) -> float:
    """Krippendorff's alpha: 1 is agreement, 0 what chance would give; NaN where nothing varies or nobody shares an item.

    ``alpha = 1 - D_o / D_e``, the mean squared difference (or, nominal, the share of different pairs) within items over that of all
    ratings; items with one rating don't count (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    >>> krippendorff(np.array([[1.0, 1.0], [2.0, 2.0], [1.0, np.nan]]))
    1.0
    """
    shared = ratings[(~np.isnan(ratings)).sum(1) >= 2]
    everything = shared[~np.isnan(shared)]
    if not everything.size:
        return math.nan
    within = sum(_sum_differences(row[~np.isnan(row)], metric) / (np.sum(~np.isnan(row)) - 1) for row in shared)
    among = _sum_differences(everything, metric) / (everything.size - 1)
    return float(1 - within / among) if among > 0 else math.nan


def _sum_differences(values: Float[np.ndarray, " ratings"], metric: str) -> float:
    """The sum of differences over all ordered pairs."""
    if metric == "interval":
        centred = values - values.mean()
        return float(2 * values.size * (centred**2).sum())
    return float(values.size**2 - (np.unique(values, return_counts=True)[1] ** 2).sum())


def _compute_interval(samples: Float[np.ndarray, " draws"], pictures: int) -> tuple[float | None, float | None]:
    low, high = compute_interval(samples, interpolate=True)
    return (None, None) if pictures < 2 or math.isnan(low) else (low, high)


def make_document(scores: Sequence[Scores]) -> dict[str, Any]:
    """What ``--out`` writes: the scores of each study as JSON values."""
    return {"schema": 1, "vlcam": __version__, "parts": {one.kind: one.to_dict() for one in scores}}
