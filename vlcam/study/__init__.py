"""The human studies of the Grad-CAM paper as pages that work offline: class discrimination and trust.

Selvaraju et al. (arXiv 1610.02391, sections 5.1 and 5.2) asked people two objects. Which of two categories does a visualisation show?
And which of two models with the same right prediction looks more reliable? :func:`discrimination` and :func:`trust` make such studies
of any model and methods, :func:`page` writes one as a single HTML file, and :func:`score` scores the answers with intervals.
"""

from vlcam.engine.weights import weaken_model
from vlcam.study.page import page
from vlcam.study.pictures import Picture, photos, scenes
from vlcam.study.plan import Part, default_methods, discrimination, key, trust
from vlcam.study.score import Scores, read_answers, read_key, score

__all__ = [
    "Part",
    "Picture",
    "Scores",
    "default_methods",
    "discrimination",
    "key",
    "page",
    "photos",
    "read_answers",
    "read_key",
    "scenes",
    "score",
    "trust",
    "weaken_model",
]
