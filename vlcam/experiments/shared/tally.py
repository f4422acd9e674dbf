"""Counts that experiments share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from vlcam.experiments.results.lines import make_summary_row
from vlcam.experiments.results.result import ResultRow
from vlcam.metrics.statistics import Summary, summarise


@final
@dataclass(frozen=True, eq=False)
class Tally:
    """Values by row and column, each with the number of its photo.

    ``empty`` counts those that an empty map gave. ``skipped`` says for each sample that was left out why the model couldn't read it.
    """

    values: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)
    empty: dict[tuple[str, str], int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(self, name: str, column: str, photo: int, value: float, *, empty: bool = False) -> None:
        """One more value; NaN is not an answer."""
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
        self,
        key: str,
        names: Sequence[str],
        seed: int = 0,
        *,
        columns: Sequence[str] | None = None,
        paper: str | None = None,
    ) -> tuple[ResultRow, ...]:
        """The rows of some names, column by column, of what was counted.

        ``columns`` are by default all, in the order in which they were counted. The paper's numbers go with the columns of their name;
        if the paper has only one column, its numbers go with the column ``paper``.
        """
        return tuple(
            self._make_row(key, name, column, seed, paper)
            for name in names
            for column in (columns or [column for known, column in self.values if known == name])
            if (name, column) in self.values
        )

    def _make_row(self, key: str, name: str, column: str, seed: int, paper: str | None) -> ResultRow:
        one = self.summarise(name, column, seed)
        return make_summary_row(
            key,
            name,
            one,
            column=column,
            undefined=one.undefined + self.empty[name, column],
            published_as="" if column == paper else column,
        )
