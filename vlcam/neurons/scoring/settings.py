"""How names are chosen: the settings of the scorers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from vlcam.contracts import InputError
from vlcam.neurons.scoring.scorers import SCORERS

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how much of it of how much is done."""


LEVEL: Final = 0.05


LEAST: Final = {"iou": 0.04, "auprc": 0.0, "correlation": 0.1, "soft-wpmi": 0.0, "www": 0.0}
"""The least score of a name, if none is given. 0.04 is Network Dissection's."""


@final
@dataclass(frozen=True)
class Settings:
    """How units are named.

    ``scorer``: iou, auprc, correlation, soft-wpmi or www. ``quantile``: the share of positions at which a unit counts as firing.
    ``min_score``: names that score less are dropped; by default what is usual for the scorer. ``permutations``: draws of the null
    test, at least 19. ``bootstrap``: samples for the stability; 0 leaves it out. ``length``: how many concepts a formula may have;
    1 leaves formulas out. ``seed``: the same seed gives the same names.
    """

    scorer: str = "iou"
    quantile: float = 0.01
    min_score: float | None = None
    permutations: int = 200
    bootstrap: int = 100
    length: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scorer not in SCORERS:
            raise InputError(f"scorer {self.scorer!r} was given; expected one of {', '.join(SCORERS)}")
        if not 0 < self.quantile < 1:
            raise InputError(f"quantile {self.quantile} was given; expected a share between 0 and 1, such as 0.01")
        if self.min_score is not None and self.scorer == "iou" and not 0 <= self.min_score <= 1:
            raise InputError(f"a least IoU of {self.min_score} was given; expected 0 to 1, such as 0.04")
        if self.permutations < 19:
            raise InputError(
                f"{self.permutations} permutations were given; expected 19 or more (fewer give no p-value of 0.05), such as 200"
            )
        if self.bootstrap < 0 or not 1 <= self.length <= 3:
            raise InputError(
                f"bootstrap={self.bootstrap} and length={self.length} were given; expected 0 or more, and 1 to 3"
            )

    @property
    def least(self) -> float:
        """The least score of a name."""
        return LEAST[self.scorer] if self.min_score is None else self.min_score
