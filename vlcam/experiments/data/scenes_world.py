"""The bundled world as a data set: generated scenes of the split ``test``, with everything known exactly and nothing to download."""

from functools import partial
from typing import Final, final

import numpy as np
from jaxtyping import Bool

from vlcam.experiments.data.samples import LabelledPhoto, NumberedWorld, PhotoCaption, PhotoObject, PhotoQuestion
from vlcam.scenes.record import PAIRS, PIXELS, Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene

LABELS: Final = tuple(f"{colour} {shape}" for colour, shape in PAIRS)
"""The classes: colour and shape, as the bundled classifier calls them."""

CAPTIONS: Final = 5
QUESTIONS: Final = 8


def open_scenes(split: Split = "test") -> NumberedWorld:
    """The scenes of a split, from seed 0 on, without end.

    A scene's objects are in its drawing order; captions say which objects each word is about, questions which objects decide them
    (none where the answer is "no" or "0"). ``LabelledPhoto.scene`` is the scene itself, to be redrawn or to judge other captions with.
    """

    def at(number: int) -> LabelledPhoto:
        return convert_scene(make(number, split))

    return NumberedWorld(
        f"scenes {split}",
        f"generated scenes ({split} split) with exact masks",
        LABELS,
        frozenset({"boxes", "masks", "captions", "questions"}),
        None,
        at,
        facts={"kind": "scenes", "split": split, "pixels": PIXELS},
    )


def convert_scene(scene: Scene) -> LabelledPhoto:
    """Any scene as a sample."""
    drawn = _SceneMasks(scene)
    objects = tuple(
        PhotoObject(
            label := " ".join(obj.pair),
            (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            LABELS.index(label),
            outline=partial(drawn.get_mask, place),
        )
        for place, (obj, box) in enumerate(zip(scene.objects, scene.boxes(), strict=True))
    )
    return LabelledPhoto(
        f"{scene.split} {scene.seed}",
        scene.image(),
        (PIXELS, PIXELS),
        objects,
        tuple(PhotoCaption(one.text, one.about) for one in scene.captions(CAPTIONS)),
        tuple(
            PhotoQuestion(one.text, one.answer, decides=one.decides, kind=one.kind, number=number)
            for number, one in enumerate(scene.questions(QUESTIONS))
        ),
        scene=scene,
    )


@final
class _SceneMasks:
    """The masks of a scene, drawn when the first one is asked for."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._masks: Bool[np.ndarray, "objects height width"] | None = None

    def get_mask(self, place: int) -> Bool[np.ndarray, "height width"]:
        if self._masks is None:
            self._masks = self._scene.masks()
        found: Bool[np.ndarray, "height width"] = self._masks[place].copy()
        return found
