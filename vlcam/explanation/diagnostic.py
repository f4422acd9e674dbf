"""What one run says about how far its own maps can be trusted."""

from dataclasses import dataclass
from typing import final

from vlcam.contracts import show_record


@final
@dataclass(frozen=True)
class Diagnostic:
    """Whether averaging the gradient over the picture, as Grad-CAM does, keeps what it says (see :mod:`vlcam.methods.diagnose`).

    ``kept`` is the share of the gradient's energy that its mean over the cells keeps, 0 to 1, the median over the targets;
    ``saturation`` how far the gradient at the activations is from the averaged one, 0 (the same direction) to 1, if that was computed;
    ``outside`` the share of the gradient's energy on tokens that lie nowhere on the photo.
    """

    kept: float
    saturation: float | None = None
    outside: float = 0.0

    __repr__ = show_record
