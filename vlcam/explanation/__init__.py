"""An explanation: how it is made, what it holds, and how it is tested, saved and shown."""

from vlcam.explanation.batches import Outcome
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import (
    AbstractExplanation,
    Evidence,
    NamedEvidence,
    NeuronText,
    SignificanceTest,
    TargetView,
)

__all__ = [
    "AbstractExplanation",
    "Evidence",
    "Explanation",
    "NamedEvidence",
    "NeuronText",
    "Outcome",
    "SignificanceTest",
    "TargetView",
]
