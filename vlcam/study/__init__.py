"""The human studies of the Grad-CAM paper as pages that work offline: class discrimination and trust.

Selvaraju et al. (arXiv 1610.02391, sections 5.1 and 5.2) asked people two questions. Which of two categories does a visualisation show?
And which of two models with the same right prediction looks more reliable? :func:`make_discrimination_study` and
:func:`make_trust_study` make such studies of any model and methods, :func:`make_study_page` writes one as a single HTML file, and
:func:`score_answers` scores the answers with intervals.
"""

import warnings

from vlcam.engine.weights import weaken_model
from vlcam.study.page import make_study_page
from vlcam.study.pictures import Picture, iterate_photos, iterate_scenes
from vlcam.study.plan import Part, list_default_methods, make_discrimination_study, make_key, make_trust_study
from vlcam.study.score import Scores, read_answers, read_key, score_answers

__all__ = [
    "Part",
    "Picture",
    "Scores",
    "iterate_photos",
    "iterate_scenes",
    "list_default_methods",
    "make_discrimination_study",
    "make_key",
    "make_study_page",
    "make_trust_study",
    "read_answers",
    "read_key",
    "score_answers",
    "weaken_model",
]

_RENAMED = {
    "default_methods": "list_default_methods",
    "discrimination": "make_discrimination_study",
    "key": "make_key",
    "photos": "iterate_photos",
    "scenes": "iterate_scenes",
    "trust": "make_trust_study",
}


def __getattr__(name: str) -> object:
    if name not in _RENAMED:
        raise AttributeError(f"module 'vlcam.study' has no attribute {name!r}", name=name)
    warnings.warn(f"vlcam.study.{name} is deprecated; use {_RENAMED[name]}", DeprecationWarning, stacklevel=2)
    return globals()[_RENAMED[name]]
