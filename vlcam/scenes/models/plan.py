"""The settings of a training run, and how they change along it."""

from dataclasses import dataclass
from typing import final

AVERAGE_FROM = 100
"""The step from which the trunk's weights are averaged."""
OBJECTS_FROM = 3000
PHOTO_OBJECTS_FROM = 4000


@final
@dataclass(frozen=True)
class TrainingPlan:
    """The settings of a run.

    ``steps`` are taken of a learning-rate schedule made for ``schedule`` steps, then ``head_steps`` with the trunk fixed, then
    ``caption_steps`` of the captioner's head alone, as whole captions are the last to become right. With the trunk fixed, words and answers
    are label-smoothed by ``smoothing`` (Szegedy et al. 2016, section 7).
    """

    scenes: int = 80_000
    steps: int = 6_000
    schedule: int = 8_500
    batch: int = 64
    peak: float = 2e-3
    decay: float = 0.02
    average: float = 0.998
    sparse: float = 3.0
    head_steps: int = 6_000
    head_batch: int = 256
    head_peak: float = 1.5e-3
    caption_steps: int = 1_000
    caption_peak: float = 1e-3
    smoothing: float = 0.1
    seed: int = 0

    def get_rate(self, step: int) -> float:
        """Learning rate: linear warm-up over 300 steps, flat, then falling over the schedule's last half."""
        warm = min(1.0, (step + 1) / 300)
        cool = min(1.0, (self.schedule - step) / (0.5 * self.schedule))
        return self.peak * warm * cool

    def get_head_rate(self, step: int) -> float:
        """Learning rate with the trunk fixed: warm-up over 200 steps, flat, then a straight line to zero over the last 60 %."""
        return (
            self.head_peak * min(1.0, (step + 1) / 200) * min(1.0, (self.head_steps - step) / (0.6 * self.head_steps))
        )

    def get_caption_rate(self, step: int) -> float:
        """Learning rate of the captioner's head alone: warm-up over 100 steps, then a straight line to zero over the last 80 %."""
        left = min(1.0, (self.caption_steps - step) / (0.8 * self.caption_steps))
        return self.caption_peak * min(1.0, (step + 1) / 100) * left

    def get_object_weight(self, step: int) -> float:
        """Weight of the loss on whole objects, predicted from the last conv layer: 0 at first, then 1."""
        return float(step >= OBJECTS_FROM)

    def get_photo_object_weight(self, step: int) -> float:
        """Weight of the losses on whole objects, predicted from the photo vectors: 0 at first, then 1."""
        return float(step >= PHOTO_OBJECTS_FROM)

    def get_sparse_weight(self, step: int) -> float:
        """Weight of the sparseness loss: from 0 to ``sparse`` over the first 1000 steps."""
        return self.sparse * min(1.0, step / 1000)

    def get_cell_weight(self, step: int) -> float:
        """Weight of the loss per cell: from 1 to 0 over the first half."""
        return max(0.0, 1.0 - step / (0.5 * self.schedule))
