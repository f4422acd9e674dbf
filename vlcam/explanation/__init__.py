"""An explanation: how it is made, what it holds, and how it is tested, saved and shown."""

from vlcam.explanation.attribution import Attribution
from vlcam.explanation.axes import plot
from vlcam.explanation.batches import Outcome, Outcomes
from vlcam.explanation.explanation import Explanation, Explanations
from vlcam.explanation.page import make_page
from vlcam.explanation.panels import Panels
from vlcam.explanation.pytorch_grad_cam import GradCAM
from vlcam.explanation.record import (
    AbstractExplanation,
    Evidence,
    FillTest,
    NamedEvidence,
    NeuronText,
    SignificanceTest,
    TargetView,
)

__all__ = [
    "AbstractExplanation",
    "Attribution",
    "Evidence",
    "Explanation",
    "Explanations",
    "FillTest",
    "GradCAM",
    "NamedEvidence",
    "NeuronText",
    "Outcome",
    "Outcomes",
    "Panels",
    "SignificanceTest",
    "TargetView",
    "make_page",
    "plot",
]
