"""Generated pictures as photos of a run: ``scene:7``, ``scene:unseen:0-999``."""

import re
from dataclasses import dataclass
from typing import Any, Final, final

from PIL import Image

from vlcam.contracts import InputError
from vlcam.files import MAX_DIGITS
from vlcam.runs.photo_list import SEVERAL, PhotoList
from vlcam.scenes.record import SPLITS, Split
from vlcam.scenes.sample import make

PREFIX: Final = "scene:"
PICTURE: Final = 384
"""Side of a generated picture that is shown to a person, in pixels."""

_EXPECTED: Final = "expected scene:SEED or scene:SEED-SEED, such as scene:0-999, or scene:unseen:7"


def list_scenes(source: str, kind: str) -> PhotoList:
    """The generated pictures of a seed, or of seeds from one to another; for classifiers with what is in them. Raises InputError."""
    found = re.fullmatch(rf"scene:(?:(\w+):)?(\d{{1,{MAX_DIGITS}}})(?:-(\d{{1,{MAX_DIGITS}}}))?", source)
    if found is None:
        raise InputError(f"{source!r} was given; {_EXPECTED}")
    split = next((one for one in SPLITS if one == (found[1] or "test")), None)
    if split is None:
        raise InputError(f"split {found[1]!r} was given; expected one of {', '.join(SPLITS)}")
    first, last = int(found[2]), int(found[3] or found[2])
    if not first <= last < first + 1_000_000:
        raise InputError(f"{source!r} was given; expected seeds from a smaller to a larger one, at most a million")
    before = PREFIX if found[1] is None else f"{PREFIX}{split}:"
    seeds = range(first, last + 1)
    truths = [_name_objects(seed, split) for seed in seeds] if kind == "classification" else None
    return PhotoList([f"{before}{seed}" for seed in seeds], LoadScene(first, split), truths=truths)


def _name_objects(seed: int, split: Split) -> str | None:
    return SEVERAL.join(dict.fromkeys(f"{one.colour} {one.shape}" for one in make(seed, split).objects)) or None


@final
@dataclass(frozen=True)
class LoadScene:
    """Draws a generated picture."""

    first: int
    split: Split

    def __call__(self, place: int) -> Any:
        """The picture of a seed."""
        return Image.fromarray(make(self.first + place, self.split).image(PICTURE))
