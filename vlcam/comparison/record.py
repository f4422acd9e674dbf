"""What a comparison of methods and layers found: one row for each candidate, and what follows from them.

A candidate is a method at a layer. Its numbers are means over photos with 95 % intervals; whole photos are drawn
(:mod:`vlcam.metrics.statistics`). Candidates saw the same photos, so how far one lies behind the best is an interval of its own, and
narrower than the two intervals suggest.
"""

from dataclasses import dataclass
from typing import Any, Final, final

from vlcam._version import JSON_SCHEMA, __version__
from vlcam.contracts import InputError, show_record
from vlcam.files import dump_json, encode_record
from vlcam.metrics.statistics import LEVEL, Summary

CONTROL: Final = "random map"
"""What every candidate should beat: independent random numbers on the layer's grid."""

FEWEST: Final = 6
"""Photos that a verdict needs: with fewer, even the same order on every photo could be luck (1 in 32 or more)."""


@final
@dataclass(frozen=True)
class Candidate:
    """One method at one layer, and how well its maps say what the model uses.

    ``insertion`` and ``deletion`` are shares of the target's score (0: as without the photo, 1: as with all of it) with only the map's
    top pixels shown, and with them taken away; ``faithfulness`` is the first less the second, so -1 to 1, higher is better.
    ``correlation`` is Spearman's, of the map's mass in random squares with what covering them does. ``agreement`` is the mean rank
    correlation with the other candidates' maps. ``behind`` is how much more faithful the best candidate is, with an interval that holds
    for all candidates together. ``cost`` is the time that a photo's maps take, in forward passes of the whole model.
    """

    method: str
    layer: str
    faithfulness: Summary
    deletion: Summary
    insertion: Summary
    correlation: Summary
    agreement: Summary
    behind: Summary
    cost: float

    def __repr__(self) -> str:
        one = self.faithfulness
        return f"Candidate({self.name[:120]}: faithfulness {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}], {self.cost:.1f} forwards)"

    @property
    def name(self) -> str:
        """The method and the layer, such as ``gradcam at features``."""
        return f"{self.method} at {self.layer}" if self.layer else self.method

    @property
    def tied(self) -> bool:
        """Whether it can't be told apart from the best candidate."""
        return not self.behind.low > 0


@dataclass(frozen=True, repr=False)
class AbstractComparison:
    """Candidates of one model, the most faithful first, and a random map for comparison.

    ``photos`` are the names of the photos that count, and ``targets`` how many words, classes or answers on them were judged.
    ``left_out`` are candidates and photos that could not be measured, each with the reason.
    """

    model: str
    task: str
    photos: tuple[str, ...]
    targets: int
    candidates: tuple[Candidate, ...]
    control: Candidate
    left_out: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return show_record(self)

    @property
    def best(self) -> Candidate:
        """The most faithful candidate on these photos, whether or not it can be told apart from others."""
        return self.candidates[0]

    @property
    def tied(self) -> tuple[Candidate, ...]:
        """The best candidate and those that can't be told apart from it; all of them with fewer than six photos."""
        if len(self.photos) < FEWEST:
            return self.candidates
        return tuple(one for one in self.candidates if one is self.best or one.tied)

    @property
    def useful(self) -> bool:
        """Whether the best candidate can be told apart from a random map."""
        return len(self.photos) >= FEWEST and not self.control.tied

    @property
    def recommended(self) -> Candidate | None:
        """The best candidate if it can be told apart from a random map and from every other candidate."""
        return self.best if self.useful and len(self.tied) == 1 else None

    @property
    def choice(self) -> Candidate:
        """What to take: the best candidate, or another that can't be told apart from it if that costs half as much or less.

        Raises InputError if no candidate can be told apart from a random map, since no choice then rests on anything.
        """
        if not self.useful:
            raise InputError(
                f"{self.verdict}, so there is nothing to choose; give more photos, or photos of what the model knows"
            )
        chosen = self.best
        for one in self.tied:  # the most faithful first
            if 2 * one.cost <= chosen.cost:
                chosen = one
        return chosen

    @property
    def verdict(self) -> str:
        """What the comparison says, in a sentence without its full stop."""
        if len(self.photos) < FEWEST:
            return f"These {len(self.candidates)} candidates can't be told apart on {len(self.photos)} photos; it takes {FEWEST} or more"
        if not self.useful:
            return f"No candidate can be told apart from a random map on these {len(self.photos)} photos"
        if len(self.tied) == 1:
            return f"{self.best.name} is the most faithful of {len(self.candidates)} candidates on {len(self.photos)} photos"
        rest = len(self.candidates) - len(self.tied)
        less = (
            f"; the other {rest} are less faithful" if rest > 1 else "; the other one is less faithful" if rest else ""
        )
        names = ", ".join(one.name for one in self.tied)
        why = "the most faithful in the mean" if self.choice is self.best else "which costs much less than the best"
        return (
            f"These can't be told apart on {len(self.photos)} photos: {names}{less}. Taken is {self.choice.name}, {why}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values; a number that isn't known is None."""
        rows = []
        for one in (*self.candidates, self.control):
            row = encode_record(one, nonfinite="null")
            rows.append({**row, "name": one.name, "tied": any(one is other for other in self.tied)})
        choice = self.choice if self.useful else None
        return {
            "schema": JSON_SCHEMA,
            "vlcam": __version__,
            "model": self.model,
            "task": self.task,
            "photos": list(self.photos),
            "targets": self.targets,
            "interval": LEVEL,
            "candidates": rows[:-1],
            "control": rows[-1],
            "verdict": self.verdict,
            "recommended": self.recommended is not None,
            "choice": None if choice is None else {"method": choice.method, "layer": choice.layer},
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return dump_json(self.to_dict(), indent=2)
