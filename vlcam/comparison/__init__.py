"""Which method, at which layer, is most faithful on a model: measured on a few photos, without any mask.

:func:`compare` (also ``vlcam.compare``) measures candidates, :class:`Comparison` is what it finds.
"""

from vlcam.comparison.compare_candidates import METHODS, compare
from vlcam.comparison.comparison import Comparison
from vlcam.comparison.record import Candidate

__all__ = ["METHODS", "Candidate", "Comparison", "compare"]
