"""One generated picture with its exact ground truth, and everything that is made from it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from vlcam.scenes import captions, draw, questions
from vlcam.scenes.record import PIXELS, AbstractScene, Caption, Question, SceneObject


@final
@dataclass(frozen=True, repr=False)
class Scene(AbstractScene):
    """One generated picture with its exact ground truth. Made by :func:`vlcam.scenes.make`."""

    @property
    def things(self) -> tuple[SceneObject, ...]:
        """The old name of ``objects``."""
        warnings.warn("Scene.things is deprecated; use Scene.objects", DeprecationWarning, stacklevel=2)
        return self.objects

    def image(self, size: int = PIXELS) -> NDArray[np.uint8]:
        """The picture, ``(size, size, 3)``, RGB."""
        return draw.draw_image(self, size)

    def masks(self, size: int = PIXELS) -> NDArray[np.bool_]:
        """The visible part of each object, ``(objects, size, size)``; a pixel belongs to the object in front that covers its centre."""
        return draw.draw_masks(self, size)

    def boxes(self, size: int = PIXELS) -> NDArray[np.int64]:
        """The tight box around each visible mask, ``(objects, 4)``: x0, y0, x1, y1 in pixels, the last two exclusive."""
        return draw.find_boxes(self, size)

    def captions(self, n: int = 5, *, seed: int = 0) -> tuple[Caption, ...]:
        """``n`` different true captions (fewer if the scene has fewer), the same for the same seed."""
        return captions.make_captions(self, n, seed=seed)

    def questions(self, n: int = 8, *, seed: int = 0) -> tuple[Question, ...]:
        """``n`` different questions with their answers (fewer if the scene has fewer), the same for the same seed."""
        return questions.make_questions(self, n, seed=seed)

    def true_words(self, caption: str | Sequence[str]) -> tuple[bool, ...]:
        """Whether each word of a caption is true of this scene (see :func:`vlcam.scenes.captions.check_words`)."""
        return captions.check_words(self, caption)
