"""A picture of one scene's words under each of the four targets: one row per target, one column per word, each map on its own scale."""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from vlcam.contracts import Request
from vlcam.experiments.shared.maps import make_every_map
from vlcam.experiments.shared.word_grounding import WRONG, judge_caption
from vlcam.experiments.shared.word_targets import TARGETS, WordTargets
from vlcam.image.geometry import to_photo
from vlcam.render.blending import overlay
from vlcam.render.lettering import Lettering
from vlcam.render.png import save_png
from vlcam.scenes.scene import Scene
from vlcam.tasks.captioning import Captioning

SIDE: Final = 144
_GAP, _HEAD, _LEFT, _TEXT = 6, 30, 210, 20
_PAPER, _INK, _RED = (255, 255, 255), (28, 27, 25), (176, 32, 32)


def draw_words(scene: Scene, captioner: Captioning, path: Path) -> bool:
    """Write the picture; wrong words are red and starred. False for a caption outside the grammar, which nobody can judge.

    Raises InputError if the file can't be written.
    """
    spoken = judge_caption(scene, captioner)
    if spoken is None:
        return False
    many = len(spoken.words)
    mapped = make_every_map(WordTargets(captioner), scene.image(), Request(ids=spoken.ids), ["gradcam"])
    heat = to_photo(mapped.get_maps("gradcam"), mapped.geometry, size=(SIDE, SIDE))
    photo = scene.image(SIDE)
    letters = Lettering([*spoken.words, *TARGETS, "*"])
    font = letters.get_font(_TEXT)
    step = SIDE + _GAP
    out = Image.new("RGB", (_LEFT + step * (many + 1), _HEAD + step * len(TARGETS)), _PAPER)
    pen = ImageDraw.Draw(out)
    for place, word in enumerate(spoken.words):
        wrong = spoken.kinds[place] == WRONG
        text = letters.fit(word + ("*" if wrong else ""), _TEXT, SIDE)
        pen.text((_LEFT + step * (place + 1), _HEAD / 2), text, _RED if wrong else _INK, font, "lm")
    for row, target in enumerate(TARGETS):
        top = _HEAD + step * row
        pen.text((_GAP, top + SIDE / 2), letters.fit(target, _TEXT, _LEFT - 2 * _GAP), _INK, font, "lm")
        out.paste(Image.fromarray(photo), (_LEFT, top))
        own = heat[row * many : (row + 1) * many].numpy()
        for place in range(many):
            shown = overlay(photo, own[place].astype(np.float32))
            out.paste(Image.fromarray(shown), (_LEFT + step * (place + 1), top))
    save_png(out, path)
    return True
