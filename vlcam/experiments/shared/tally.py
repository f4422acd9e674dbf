"""Counts that experiments share."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

from vlcam.experiments.results.result import ResultRow
from vlcam.experiments.shared.two_classes import find_paper_number
from vlcam.metrics.statistics import Summary, summarise


@final
@dataclass(frozen=True, eq=False)
class Tally:
    """Values by row and column, each with the number of its photo; ``empty`` counts those that an empty map gave."""

    values: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)
    empty: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, name: str, column: str, photo: int, value: float, *, empty: bool = False) -> None:
        """One more value; NaN is no answer."""
        self.values.setdefault((name, column), []).append((photo, float(value)))
        self.empty[name, column] = self.empty.get((name, column), 0) + empty

    def summarise(self, name: str, column: str, seed: int = 0) -> Summary:
        """The mean with its interval over photos."""
        pairs = self.values.get((name, column), [])
        return summarise([value for _, value in pairs], seed=seed, clusters=[photo for photo, _ in pairs])

    def compare(self, name: str, other: str, column: str, seed: int = 0) -> Summary:
        """The mean of the differences between two rows, value by value, with its interval over photos."""
        pairs = zip(self.values[name, column], self.values[other, column], strict=True)
        both = [(photo, one - two) for (photo, one), (_, two) in pairs]
        return summarise([value for _, value in both], seed=seed, clusters=[photo for photo, _ in both])

    def make_rows(
        self, key: str, names: Sequence[str], seed: int = 0, *, paper: str | None = None
    ) -> tuple[ResultRow, ...]:
        """The rows of some names, column by column; the paper's numbers of the experiment go with the column ``paper``."""
        return tuple(
            self._make_row(key, name, column, seed, column == paper)
            for name in names
            for known, column in self.values
            if known == name
        )

    def _make_row(self, key: str, name: str, column: str, seed: int, with_paper: bool) -> ResultRow:
        one = self.summarise(name, column, seed)
        found = ResultRow(
            name, one.mean, one.low, one.high, one.n, one.undefined + self.empty[name, column], column=column
        )
        paper = find_paper_number(key, name) if with_paper else None
        if paper is None:
            return found
        return replace(found, paper=paper.value, source=f"{paper.source}; {paper.model}")
