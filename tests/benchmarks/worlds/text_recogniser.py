"""A world for measuring maps: a real text recogniser, made and trained by others, reading texts that are rendered here.

    pip download ddddocr --no-deps            # any version that holds common.onnx; nothing of it is installed or run
    python tests/benchmarks/worlds/text_recogniser.py ddddocr-1.6.1-py3-none-any.whl [--texts 100] [--first 0]

The wheel of ddddocr (MIT licence) holds ``common.onnx``: 21 convolutions with SiLU and shortcuts, a bidirectional LSTM over the columns,
a linear layer to 8,210 characters, trained with CTC. Its weights are read here by a few lines of protobuf, and its characters from the
source text beside it, which is parsed and never executed. The model is built in torch with the same numbers. A target is the
log-probability of one character in its column of the output. Where the character is, is known, since the text was rendered here: the peak
of its map should lie in the character's columns, and in its box.

``build_recogniser`` gives the model, ``make_task`` a :class:`vlcam.tasks.custom.Custom` with a target for every character of a text, and
``draw_texts`` texts with a box for every character. The last conv layer (``features``) has 8 rows, ``middle`` has 16.
"""

import argparse
import ast
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

import vlcam
from vlcam.image.geometry import make_resize_geometry
from vlcam.metrics.statistics import summarise
from vlcam.tasks.custom import Custom

ONNX = "ddddocr/common.onnx"
CHARACTERS = "ddddocr/models/charset_manager.py"
HEIGHT = 64
LETTERS = "abcdefghkmnpqrstuvwxyz23456789ABCDEFGHKLMNPQRSTUVWXYZ"
"""Without the ones that look like another (o, 0; i, l, 1, j)."""


# --- the weights --------------------------------------------------------------------------------------------------------


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A protobuf varint, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _read_fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: numbers, and bytes of what has a length or a fixed size."""
    at = 0
    while at < len(data):
        key, at = _read_number(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_number(data, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, at = _read_number(data, at)
        yield key >> 3, data[at : at + size]
        at += size


def _read_tensor(data: bytes) -> tuple[str, Tensor | None]:
    """An ONNX TensorProto's name and, of float32 ones, its numbers (dims: 1, data type: 2, name: 8, raw data: 9)."""
    sizes: list[int] = []
    name, kind, raw = "", 0, b""
    for field, value in _read_fields(data):
        if field == 1:
            if isinstance(value, bytes):
                at = 0
                while at < len(value):
                    size, at = _read_number(value, at)
                    sizes.append(size)
            else:
                sizes.append(value)
        elif field == 2:
            kind = value
        elif field == 8:
            name = value.decode()
        elif field == 9:
            raw = value
    return name, torch.from_numpy(np.frombuffer(raw, "<f4").copy()).view(sizes) if kind == 1 else None


def read_onnx(data: bytes) -> tuple[list[tuple[str, list[str]]], dict[str, Tensor]]:
    """An ONNX model's nodes (operator and inputs), in order, and its float32 constants by name."""
    graph = next(value for field, value in _read_fields(data) if field == 7)
    nodes, constants = [], {}
    for field, value in _read_fields(graph):
        if field == 1:
            parts = list(_read_fields(value))
            operator = next(part.decode() for number, part in parts if number == 4)
            nodes.append((operator, [part.decode() for number, part in parts if number == 1]))
        elif field == 5:
            name, tensor = _read_tensor(value)
            if tensor is not None:
                constants[name] = tensor
    return nodes, constants


def read_characters(source: str) -> list[str]:
    """The model's characters: the list that ``_get_beta_charset`` returns, found in the source without running it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "_get_beta_charset":
            returned = next(one for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None)
            return list(ast.literal_eval(cast(ast.expr, returned.value)))
    raise ValueError("no list of characters was found; expected a wheel of ddddocr that has common.onnx (1.4 or later)")


# --- the model ----------------------------------------------------------------------------------------------------------


@final
class Block(nn.Module):
    """A 3 x 3 convolution with SiLU, then a 1 x 1 convolution; with the input added where nothing changes in size."""

    def __init__(self, channels: int, inside: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, inside, 3, stride=stride, padding=1)
        self.narrow = nn.Conv2d(inside, out, 1)
        self.shortcut = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Same rows and columns, or half."""
        out = self.narrow(nn.functional.silu(self.wide(x)))
        return x + out if self.shortcut else cast(Tensor, out)


@final
class Recogniser(nn.Module):
    """Log-probabilities of the characters ``(batch, columns, characters)`` of grey pictures ``(batch, 1, 64, width)`` from 0 to 1."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.early = nn.Sequential(
            nn.Conv2d(1, 24, 3, stride=2, padding=1), nn.SiLU(), Block(24, 24, 24), Block(24, 24, 24)
        )
        self.middle = nn.Sequential(Block(24, 96, 48, 2), *(Block(48, 192, 48) for _ in range(3)))
        self.features = nn.Sequential(Block(48, 192, 64, 2), *(Block(64, 256, 64) for _ in range(3)))
        self.lstm = nn.LSTM(64 * HEIGHT // 8, 512, bidirectional=True)
        self.out = nn.Linear(1024, characters)

    def forward(self, pictures: Tensor) -> Tensor:
        """Log-probabilities; the first character is CTC's blank."""
        found = self.features(self.middle(self.early(pictures)))
        columns = found.permute(3, 0, 1, 2).flatten(2)
        likely: Tensor = self.out(self.lstm(columns)[0]).log_softmax(-1)
        return likely.transpose(0, 1)


def build_recogniser(wheel: Path) -> tuple[Recogniser, list[str]]:
    """The model of a wheel of ddddocr, in eval mode, and its characters. Raises ValueError if it holds another model."""
    with zipfile.ZipFile(wheel) as packed:
        nodes, constants = read_onnx(packed.read(ONNX))
        characters = read_characters(packed.read(CHARACTERS).decode("utf-8"))
    model = Recogniser(len(characters))
    convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d)]
    given = [inputs for operator, inputs in nodes if operator == "Conv"]
    if len(given) != len(convolutions) or len(characters) != 8210:
        raise ValueError(
            f"{wheel.name} holds a model with {len(given)} convolutions and {len(characters)} characters; expected ddddocr's common.onnx "
            f"with {len(convolutions)} and 8210, as of version 1.6.1"
        )
    with torch.no_grad():
        for layer, (_, weight, bias) in zip(convolutions, given, strict=True):
            layer.weight.copy_(constants[weight])
            cast(Tensor, layer.bias).copy_(constants[bias])
        inputs = next(inputs for operator, inputs in nodes if operator == "LSTM")
        _copy_lstm(model.lstm, *(constants[name] for name in inputs[1:4]))
        _, weight, bias = next(inputs for operator, inputs in nodes if operator == "Gemm")
        model.out.weight.copy_(constants[weight])
        model.out.bias.copy_(constants[bias])
    return model.eval(), characters


def _copy_lstm(lstm: nn.LSTM, weights: Tensor, recurrent: Tensor, biases: Tensor) -> None:
    """ONNX has the gates as input, output, forget, cell; torch as input, forget, cell, output."""

    def sort(rows: Tensor) -> Tensor:
        first, output, forget, cell = rows.chunk(4)
        return torch.cat([first, forget, cell, output])

    for number, ending in enumerate(("", "_reverse")):
        before, after = biases[number].chunk(2)
        for name, rows in (
            ("weight_ih", weights[number]),
            ("weight_hh", recurrent[number]),
            ("bias_ih", before),
            ("bias_hh", after),
        ):
            getattr(lstm, f"{name}_l0{ending}").copy_(sort(rows))


# --- the texts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RenderedText:
    """A picture of a text, RGB and 64 pixels high, and the box of every character's ink: left, top, right, bottom, in pixels."""

    picture: Image.Image
    text: str
    boxes: tuple[tuple[float, float, float, float], ...]


def draw_text(number: int) -> RenderedText:
    """A text of 3 to 7 letters and digits in one colour on a slightly noisy ground; always the same one for a number."""
    rng = np.random.Generator(np.random.PCG64([13, number]))
    text = "".join(LETTERS[int(at)] for at in rng.integers(0, len(LETTERS), int(rng.integers(3, 8))))
    font = ImageFont.load_default(int(rng.integers(30, 45)))
    gap = int(rng.integers(2, 9))
    ink = tuple(int(one) for one in rng.integers(0, 110, 3))
    ground = rng.integers(190, 256, 3)
    left = float(rng.integers(8, 25))
    places, boxes = [], []
    for letter in text:
        top = float(rng.integers(4, 12))
        box = font.getbbox(letter)
        boxes.append((left + box[0], top + box[1], left + box[2], top + box[3]))
        places.append((left, top, letter))
        left += box[2] + gap
    width = int(left + rng.integers(8, 25))
    noisy = ground + rng.normal(0, 6, (HEIGHT, width, 3))
    picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for x, y, letter in places:
        pen.text((x, y), letter, fill=ink, font=font)
    return RenderedText(picture, text, tuple(boxes))


def to_input(picture: Image.Image) -> Tensor:
    """``(1, 1, 64, width)``, grey, 0 to 1; as ddddocr does it."""
    return torch.from_numpy(np.asarray(picture.convert("L"), np.float32) / 255)[None, None]


def read_text(
    model: nn.Module, characters: Sequence[str], picture: Image.Image
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """What the model reads, and for every character read its column of the output and its number."""
    with torch.no_grad():
        likely = model(to_input(picture))[0]
    best = likely.argmax(-1).tolist()
    runs: list[list[int]] = []
    for column, one in enumerate(best):
        if one and (column == 0 or best[column - 1] != one):
            runs.append([column])
        elif one:
            runs[-1].append(column)
    places = tuple((max(run, key=lambda at: float(likely[at, best[at]])), best[run[0]]) for run in runs)
    return "".join(characters[one] for _, one in places), places


def make_task(model: nn.Module, text: str, places: Sequence[tuple[int, int]]) -> Custom:
    """A target for every character that was read: its log-probability in its column."""
    targets = {
        f"{letter} ({place})": partial(_score, column=column, number=number)
        for place, (letter, (column, number)) in enumerate(zip(text, places, strict=True))
    }
    return Custom(
        model,
        targets,
        lambda photo: (to_input(photo), make_resize_geometry(photo.size, photo.size)),
        layer="features",
        name="text-recogniser",
        measure="log-probability",
    )


def _score(output: Tensor, *, column: int, number: int) -> Tensor:
    return output[0, column, number]


def draw_texts(
    model: nn.Module, characters: Sequence[str], first: int, texts: int
) -> Iterator[tuple[RenderedText, tuple[tuple[int, int], ...]]]:
    """The texts, of as many drawn, that the model reads rightly, and where it read each character."""
    for number in range(first, first + texts):
        drawn = draw_text(number)
        said, places = read_text(model, characters, drawn.picture)
        if said == drawn.text:
            yield drawn, places


def find_peak(heat: Tensor) -> tuple[float, float]:
    """The middle (x, y) of the pixels with a map's highest value."""
    rows, columns = torch.nonzero(heat == heat.max(), as_tuple=True)
    return float(columns.double().mean()) + 0.5, float(rows.double().mean()) + 0.5


def judge_peak(heat: Tensor, box: Sequence[float], cell: float) -> tuple[bool, bool]:
    """Whether a map's peak lies in the character's columns (half a cell more on both sides), and in its box."""
    x, y = find_peak(heat)
    left, top, right, bottom = box
    across = left - cell / 2 <= x <= right + cell / 2
    return across, across and top - cell / 2 <= y <= bottom + cell / 2


def main(given: list[str]) -> int:
    """Print how often the peak of each method's map lies in the character's columns and box."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--layer", default="features")
    parser.add_argument("--methods", default="gradcam,hirescam,layercam")
    options = parser.parse_args(given)
    if not options.wheel.is_file():
        print(f"{options.wheel} doesn't exist; download it with: pip download ddddocr --no-deps", file=sys.stderr)
        return 2
    model, characters = build_recogniser(options.wheel)
    hits: dict[str, list[tuple[bool, bool]]] = {name: [] for name in options.methods.split(",")}
    texts: list[int] = []
    for number, (drawn, places) in enumerate(draw_texts(model, characters, options.first, options.texts)):
        texts += [number] * len(places)
        task = make_task(model, drawn.text, places)
        for name, found in hits.items():
            one = vlcam.explain(task, drawn.picture, layer=options.layer, method=name)
            cell = HEIGHT / one.maps.shape[1]
            found += [judge_peak(view.heatmap(), box, cell) for view, box in zip(one, drawn.boxes, strict=True)]
    if not texts:
        print(f"none of {options.texts} texts is read rightly")
        return 1
    print(f"{texts[-1] + 1} of {options.texts} texts are read rightly")
    for name, found in hits.items():
        cells = [summarise([one[part] for one in found], seed=0, clusters=texts) for part in (0, 1)]
        column, box = (f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in cells)
        print(f"{name:20} {len(found)} characters: peak in the columns {column}, in the box {box}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
