"""Small finished explanations to draw: a painted photo, soft blobs as maps, and everything that can be odd about them."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from vlcam.contracts import Geometry, Kind, Target
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import Evidence, NeuronText
from vlcam.image.photo import Photo
from vlcam.neurons import NeuronName, NeuronNames

CAPTION = "A red kite above a red barn, beside the dog."
GRID = 14


@cache
def paint(width: int = 640, height: int = 448) -> np.ndarray:
    """A small landscape: a kite upper right, a barn lower left, a dog lower right. It can't be written to."""
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        part = y / height
        draw.line([(0, y), (width, y)], fill=(int(150 + 80 * part), int(190 + 35 * part), int(225 - 5 * part)))

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return left * width, top * height, right * width, bottom * height

    draw.ellipse(box(-0.3, 0.62, 0.8, 1.6), fill=(126, 158, 96))
    draw.ellipse(box(0.35, 0.68, 1.4, 1.6), fill=(104, 141, 84))
    draw.rectangle(box(0.10, 0.50, 0.36, 0.80), fill=(158, 52, 44))
    draw.polygon(
        [(0.07 * width, 0.51 * height), (0.23 * width, 0.36 * height), (0.39 * width, 0.51 * height)], fill=(92, 44, 40)
    )
    draw.rectangle(box(0.19, 0.62, 0.27, 0.80), fill=(236, 226, 206))
    draw.polygon(
        [(width * x, height * y) for x, y in ((0.78, 0.10), (0.86, 0.20), (0.78, 0.38), (0.70, 0.20))],
        fill=(206, 58, 50),
    )
    draw.line([(0.78 * width, 0.38 * height), (0.70 * width, 0.60 * height)], fill=(90, 90, 90), width=2)
    draw.ellipse(box(0.66, 0.72, 0.82, 0.84), fill=(116, 82, 52))
    draw.ellipse(box(0.79, 0.66, 0.87, 0.76), fill=(126, 90, 58))
    for x in (0.69, 0.74, 0.79):
        draw.rectangle(box(x, 0.80, x + 0.015, 0.90), fill=(100, 70, 44))
    soft = picture.filter(ImageFilter.GaussianBlur(1.2))
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 1))
    pixels = np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def blob(x: float, y: float, size: float = 0.12, strength: float = 1.0, grid: int = GRID) -> Tensor:
    """A soft spot around a point of the model's input (0 to 1)."""
    places = (torch.arange(grid) + 0.5) / grid
    return strength * torch.exp(-((places[None, :] - x) ** 2 + (places[:, None] - y) ** 2) / (2 * size**2))


def photo(name: str = "meadow.jpg", pixels: np.ndarray | None = None) -> Photo:
    """The record of a painted photo."""
    pixels = paint() if pixels is None else pixels
    return Photo(name, pixels.shape[1], pixels.shape[0], hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)


def stretched(width: int = 640, height: int = 448, side: int = 224) -> Geometry:
    """The whole photo squeezed into a square input."""
    return Geometry((width, height), (side, side), (side / width, side / height), (0.0, 0.0))


def cropped(width: int = 640, height: int = 448, side: int = 224) -> Geometry:
    """The shorter side resized to the input, the middle of the longer side cut out."""
    scale = side / min(width, height)
    return Geometry(
        (width, height), (side, side), (scale, scale), ((side - width * scale) / 2, (side - height * scale) / 2)
    )


def neurons(label: str, *, silent: bool = True) -> NeuronText:
    """Five channels for and five against."""
    names = (
        "red stripe",
        "roof edge",
        "triangle in the sky",
        None,
        "warm wall",
        "grass",
        "fur",
        "cloud",
        "blue sky",
        "white door",
    )
    shares = (0.34, 0.21, 0.12, 0.07, 0.03, -0.31, -0.18, -0.11, -0.04, -0.01)
    every = tuple(
        Evidence(
            17 + 31 * n,
            name,
            share / 40,
            3 * share,
            share,
            not (silent and n == 4),
            None if name is None else 0.31 - 0.02 * n,
        )
        for n, (name, share) in enumerate(zip(names, shares, strict=True))
    )
    sentence = (
        f"“{label}” rests mostly on red stripe (34 % of the evidence for it), roof edge and triangle in the sky; "
        "grass and fur speak against it."
    )
    return NeuronText(sentence, every[:5], every[5:], 0.77)


def explanation(
    task: str,
    targets: Sequence[Target],
    maps: Sequence[Tensor],
    *,
    text: str,
    question: str | None = None,
    picture: Photo | None = None,
    geometry: Geometry | None = None,
    named: bool = True,
    relu: bool = True,
) -> Explanation:
    """An explanation from its targets and maps; the channels are made up."""
    picture = photo() if picture is None else picture
    channels = torch.zeros(len(targets), 8)
    return Explanation(
        task=task,
        model="scenes-captioner",
        layer="features.28",
        method="gradcam",
        relu=relu,
        text=text,
        question=question,
        photo=picture,
        geometry=stretched(picture.width, picture.height) if geometry is None else geometry,
        targets=tuple(targets),
        maps=torch.stack([one.float() for one in maps]),
        alpha=channels,
        contributions=channels,
        activity=torch.zeros(8),
        neurons=tuple(neurons(target.label) for target in targets) if named else None,
    )


def captioning(*, geometry: Geometry | None = None, named: bool = True) -> Explanation:
    """A caption with two words that occur twice, and one map of each flag; the whole caption and a contrast."""
    spots = {
        "A": blob(0.5, 0.5, 0.3, 0.04),
        "red": blob(0.78, 0.22, 0.10, 0.52),
        "kite": blob(0.78, 0.22, 0.09, 0.9),
        "above": blob(0.75, 0.45, 0.2, 0.22),
        "a": -blob(0.3, 0.5, 0.3, 0.2),
        "red2": blob(0.23, 0.62, 0.11, 0.61),
        "barn": blob(0.23, 0.58, 0.12, 1.1),
        "beside": blob(0.55, 0.75, 0.16, 0.3),
        "the": torch.zeros(GRID, GRID),
        "dog": blob(0.76, 0.77, 0.10, 0.8),
    }
    targets, maps = [], []
    for n, (match, spot) in enumerate(zip(re.finditer(r"\w+", CAPTION), spots.values(), strict=True)):
        probability = (0.62, 0.41, 0.77, 0.33, 0.84, 0.58, 0.93, 0.29, 0.9996, 0.36)[n]
        targets.append(Target(match.group(), "word", float(np.log(probability)), probability, (n,), match.span()))
        maps.append(spot)
    whole = sum(float(target.score) for target in targets)
    targets += [
        Target(CAPTION, "caption", whole, float(np.exp(whole)), (), (0, len(CAPTION))),
        Target("kite rather than bird", "contrast", 1.7),
        Target("barn rather than house", "contrast", float("nan")),
    ]
    maps += [torch.stack(maps).sum(0), blob(0.78, 0.26, 0.08, 0.4), torch.full((GRID, GRID), float("nan"))]
    return explanation("captioning", targets, maps, text=CAPTION, geometry=geometry, named=named)


TOLD_UNITS = (
    NeuronName(0, "named", "kite", "object", 0.4, threshold=1.0, claims=(("kite", "object", 2.0),)),
    NeuronName(
        1, "named", "red kite", "pair", 0.3, threshold=1.0, claims=(("red kite", "pair", 4.0), ("kite", "object", 2.0))
    ),
    NeuronName(2, "named", "red", "colour", 0.3, threshold=1.0, claims=(("red", "colour", 2.0),)),
    NeuronName(3, "named", "barn", "object", 0.3, threshold=1.0, claims=(("barn", "object", 2.0),)),
    NeuronName(4, "named", "dog", "object", 0.3, threshold=1.0, claims=()),
    NeuronName(5, "unnamed", threshold=1.0),
    NeuronName(6, "named", "grass", "background", 0.2, threshold=1.0, claims=(("grass", "background", 2.0),)),
    NeuronName(7, "named", "door", "part", 0.2, threshold=1.0, claims=(("door", "part", 2.0),)),
)
"""Units of a layer, of which 4 fires too weakly to say what it sees, 6 only adds its background, and 5 has no name."""


def told() -> Explanation:
    """A caption whose words have texts as they are made now: short and full, and what may be said of each unit."""
    found = captioning(named=False)
    parts = torch.tensor(
        [
            [0.0, 0.0, 0.1, 0.1, 0.1, 0.1, 0.3, 0.0],  # A
            [0.2, 0.3, 1.0, -0.1, 0.0, 0.1, 0.0, -0.2],  # red
            [1.0, 1.0, 0.1, -0.6, 0.2, 0.1, 0.2, 0.0],  # kite
            [0.1, 0.0, 0.0, 0.2, 0.9, 0.2, 0.1, 0.1],  # above
            [0.0] * 8,
            [-0.1, 0.2, 1.0, 0.4, 0.1, 0.0, 0.0, -0.1],  # red
            [-0.3, -0.2, 0.2, 1.0, 0.1, 0.1, 0.1, 0.4],  # barn
            [0.0, 0.1, 0.0, 0.0, 0.4, 0.3, 0.1, 0.0],  # beside
            [0.0] * 8,
            [-0.1, -0.1, 0.0, -0.1, 0.5, 0.1, 0.2, 0.0],  # dog
            [0.5] * 8,
            [0.5, 0.5, 0.0, -0.1, 0.0, 0.0, 0.0, 0.0],
            [0.0] * 8,
        ]
    )
    peaks = torch.tensor([5.0, 5.0, 5.0, 5.0, 1.5, 2.0, 0.5, 3.0])
    names = NeuronNames("scenes-captioner", "features.28", None, {}, TOLD_UNITS)
    texts = tuple(names.text(target, row, row, peaks) for target, row in zip(found.targets, parts, strict=True))
    return replace(found, alpha=parts, contributions=parts, activity=peaks, neurons=texts)


def classification(*, geometry: Geometry | None = None, relu: bool = True) -> Explanation:
    """Three classes; the model saw the middle of the photo only."""
    labels: list[tuple[str, float, float]] = [("barn", 9.1, 0.83), ("kite, flying", 6.8, 0.11), ("church", 5.2, 0.021)]
    targets = [Target(label, "class", score, probability) for label, score, probability in labels]
    targets.append(Target("barn rather than church", "contrast", 3.9))
    maps = [
        blob(0.16, 0.6, 0.15, 6.0) - 1.0 * blob(0.9, 0.25, 0.13, 3.5),
        blob(0.85, 0.2, 0.13, 3.1),
        blob(0.16, 0.45, 0.1, 1.2),
        blob(0.16, 0.68, 0.12, 4.2),
    ]
    geometry = cropped() if geometry is None else geometry
    return explanation("classification", targets, maps, text="barn", geometry=geometry, relu=relu)


def vqa(*, named: bool = True) -> Explanation:
    """A question with three answers and a contrast."""
    answers: list[tuple[str, float, float]] = [("red", 7.4, 0.71), ("brown", 6.3, 0.24), ("no", 1.2, 0.0004)]
    targets = [Target(label, "answer", score, probability) for label, score, probability in answers]
    targets.append(Target("red rather than brown", "contrast", 1.1))
    maps = [
        blob(0.23, 0.6, 0.12, 2.2),
        blob(0.74, 0.76, 0.12, 1.4),
        -blob(0.2, 0.2, 0.2, 0.3),
        blob(0.25, 0.64, 0.1, 1.3),
    ]
    return explanation("vqa", targets, maps, text="red", question="What colour is the barn?", named=named)


def weighed() -> Explanation:
    """The question and its answers, with what each word of the question did for them, and what the image did."""
    found = vqa()
    readings = ((0.02, 1.31, -0.04, 0.1, 0.9), (-0.5, 0.3, 0.0, 0.001, -1.2), (0.0,) * 5, (0.1, 0.2, -0.3, 0.4, 0.5))
    scores = (-0.34, -1.43, -7.8, 1.09)
    targets = tuple(
        replace(target, reading=reading, score=score, measure="log-probability", gain=gain)
        for target, reading, score, gain in zip(found.targets, readings, scores, (2.31, -0.71, 0.02, None), strict=True)
    )
    words = ((0, 4), (5, 11), (12, 14), (15, 18), (19, 23))
    return replace(found, targets=targets, question_words=words, notes=("The layer was guessed.", "A second note."))


def certain() -> Explanation:
    """The caption, with log-probabilities, "the" and "barn" nearly certain, and the gain of each word but one."""
    found = captioning()
    targets = [replace(target, measure="log-probability", gain=0.4 * n) for n, target in enumerate(found.targets)]
    targets[0] = replace(targets[0], gain=None)
    targets[4] = replace(targets[4], gain=-1.25)
    targets[6] = replace(targets[6], score=-0.002, probability=0.998)
    return replace(found, targets=tuple(targets), notes=("Nats from the image.",))


PAYLOADS = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\"'><svg onload=alert(3)>",
    "' onmouseover='alert(4)",
    "line\u2028and\u2029paragraph",
    "{{7*7}} ${alert(5)} $title %s",
    "<!--<script>",
    "javascript:alert(6)",
    "&lt;b&gt; &amp;",
    "\ud800 lone, \x00 nul, \u202eesrever",
)


def hostile(payload: str, kind: Kind = "word") -> Explanation:
    """The payload in every text that comes from outside."""
    picture = replace(photo(), name=payload, sha256=payload)
    text = f"{payload} again {payload}"
    spans = ((0, len(payload)), (len(payload) + 7, len(text)))
    targets = [Target(payload, kind, -0.5, 0.6, (1,), span) for span in spans]
    targets.append(Target(payload, "contrast", 0.2))
    maps = [blob(0.2, 0.2), blob(0.8, 0.8), blob(0.5, 0.5)]
    task = "captioning" if kind == "word" else payload
    found = explanation(task, targets, maps, text=text, question=payload, picture=picture)
    note = NeuronText(payload, (Evidence(1, payload, 0.1, 0.2, 0.5, True, 0.2),), (), 1.0)
    return replace(found, model=payload, layer=payload, method=payload, neurons=(note,) * 3)
