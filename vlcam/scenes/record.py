"""The records of the bundled world: what is in a picture, and what is said about it.

A :class:`Scene` is the exact ground truth. Coordinates are fractions of the picture's side, x to the right and y down, so a
scene can be drawn at any size. The order of ``objects`` is the drawing order: later objects lie in front of earlier ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped")
BACKGROUNDS = ("linen", "wood", "stone", "sand", "tiles")
PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
UNSEEN_PAIRS = (("blue", "star"), ("green", "heart"), ("yellow", "cross"), ("purple", "triangle"))
"""Colour-shape pairs that occur in the ``unseen`` split only."""

PIXELS = 96
"""Side of a picture as the bundled models see it, in pixels."""

Split = Literal["train", "val", "test", "unseen"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "unseen")


@final
@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    ``x`` and ``y`` are the centre and ``radius`` the half extent, as fractions of the picture's side; ``angle`` turns the shape
    and ``stripe_angle`` its stripes, in radians.
    """

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float
    radius: float
    angle: float
    stripe_angle: float
    tint: tuple[float, float, float]  # the base colour after a small jitter, sRGB in 0..1

    def __repr__(self) -> str:
        return f"SceneObject({_shorten(self.words)} at {self.x:.2f}, {self.y:.2f})"

    @property
    def pair(self) -> tuple[str, str]:
        """Colour and shape."""
        return (self.colour, self.shape)

    @property
    def words(self) -> tuple[str, str, str, str]:
        """Size, texture, colour and shape: the four attribute words that are true of the object."""
        return (self.size, self.texture, self.colour, self.shape)


@final
@dataclass(frozen=True)
class Caption:
    """A caption and, for each word, the indices of the objects that it is about (empty: none)."""

    words: tuple[str, ...]
    about: tuple[tuple[int, ...], ...]

    def __repr__(self) -> str:
        return f"Caption({_shorten(self.words, 200)})"

    @property
    def text(self) -> str:
        """The words joined by blanks."""
        return " ".join(self.words)


@final
@dataclass(frozen=True)
class Question:
    """A question, its answer and the objects that decide it.

    ``unique`` holds the object (rarely objects) that the answer is read off, ``involved`` every object that the question needs:
    the two ground truths of CLEVR-XAI (Arras, Osman and Samek 2022). A question whose answer is "no" or "0" has both empty.
    """

    kind: str
    text: str
    answer: str
    unique: tuple[int, ...]
    involved: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Question({_shorten([self.text], 160)} -> {_shorten([self.answer])})"

    @property
    def decides(self) -> tuple[int, ...]:
        """The objects that the answer turns on: both of a comparison (moving either changes it), else ``unique``."""
        return self.involved if self.kind in ("left", "above") else self.unique


@dataclass(frozen=True, repr=False)
class AbstractScene:
    """The data of one generated picture; :class:`vlcam.scenes.Scene` draws it and describes it."""

    split: Split
    seed: int
    objects: tuple[SceneObject, ...]
    background: str
    background_seed: int
    light: float  # direction that the light comes from, radians, 0 = from the right, pi/2 = from the top

    def __repr__(self) -> str:
        objects = _shorten([", ".join(" ".join(one.words) for one in self.objects[:6])], 180)
        place = f"{_shorten([self.split], 12)} {_shorten([str(self.seed)], 20)}"
        return f"{type(self).__name__}({place}: {objects} on {_shorten([self.background], 20)})"


def _shorten(words: Sequence[str], length: int = 60) -> str:
    """Words in one line of at most that many characters, for a ``repr``; control characters become escapes."""
    line = repr(" ".join(words)[: length + 1])[1:-1]
    return line if len(line) <= length else line[: length - 1] + "…"
