"""Whether a layer's output has places on the photo, and how it is laid out: found by its shape, proven by moving a patch.

A shape alone says little: ``(1, 7, 7, 16)`` may be 7 channels or 7 rows, 100 tokens may be a grid of 10 x 10 or learnt queries, and a
position embedding looks like a feature map. So each quarter of the image is changed in turn and the model runs again: every quarter
of the map must respond most to its own quarter of the image. Layers of convolutions are believed without that, as their layout is
known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import LayerError, show_record
from vlcam.engine.layers import Grid, VolumeGrid
from vlcam.engine.modules import find_first_tensor, find_module, find_tensors, replace_tensor, unwrap_model
from vlcam.engine.restore import preserve_model
from vlcam.engine.run_once import pause_recording

MOST_PREFIX = 16
"""How many class, distillation and register tokens may stand before the patches."""
AT_ONCE = 8
"""How many layers are tried with the same runs."""
_MARGIN = 1.05
_QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))

Place: TypeAlias = Grid | VolumeGrid
Key: TypeAlias = tuple[str, int]
"""A layer's dotted name and which of its runs is meant."""

_CONVOLUTIONS = nn.modules.conv._ConvNd
_NORMS = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm
# What was found for a model: (layer, call, shapes of output and image) -> its layout, or why it has none and with which weights.
_known: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], tuple[Place | str, int]]] = WeakKeyDictionary()


@final
@dataclass(frozen=True)
class Trial:
    """How to run a model again on a changed image: ``run(inputs)`` with inputs like ``inputs``; ``input_size`` is (width, height)."""

    model: nn.Module
    inputs: Any
    run: Callable[[Any], Any]
    input_size: tuple[int, int] | None = None

    __repr__ = show_record

    def find_image(self) -> Tensor | None:
        """The tensor among the inputs that is the image (the last two axes are its rows and columns), or None."""
        found = [
            one
            for one in find_tensors(self.inputs)
            if one.is_floating_point() and one.ndim >= 3 and self._is_sized(one)
        ]
        return max(found, key=lambda one: (one.ndim == 4, one.numel()), default=None)

    def _is_sized(self, tensor: Tensor) -> bool:
        rows, columns = tensor.shape[-2:]
        return rows > 1 and columns > 1 if self.input_size is None else (columns, rows) == self.input_size

    def get_size(self) -> tuple[int, int] | None:
        """The image's (width, height), or None if there is no image among the inputs."""
        image = self.find_image()
        if self.input_size is not None or image is None:
            return self.input_size
        return image.shape[-1], image.shape[-2]


def list_layouts(shape: Sequence[int], input_size: tuple[int, int]) -> list[Place]:
    """The ways in which an output of that shape may lie on an input of ``(width, height)``, those with its proportions first."""
    width, height = input_size
    if len(shape) == 4:
        first, last = (shape[2], shape[3]), (shape[1], shape[2])
        ways = [("BCHW", first), ("BHWC", last)]
        ways.sort(key=lambda way: not fits(way[1][0], way[1][1], width, height))
        return [Grid(layout) for layout, sides in ways if min(sides) > 1 or (layout == "BCHW" and max(sides) > 1)]  # type: ignore[arg-type]
    if len(shape) == 5:
        return [VolumeGrid(shape[2])] if min(shape[-2:]) > 1 else []
    if len(shape) != 3:
        return []
    found: list[Place] = []
    for prefix in range(min(MOST_PREFIX + 1, max(shape[1] - 3, 0))):
        count = shape[1] - prefix
        rows = round((count * height / width) ** 0.5)
        if rows > 1 and count % rows == 0 and fits(rows, count // rows, width, height):
            found.append(Grid("BNC", rows=rows, columns=count // rows, prefix=prefix))
    return found


def fits(rows: int, columns: int, width: int, height: int) -> bool:
    """Whether cells of that grid are square to within one row or column, and several pixels wide."""
    if rows < 2 or columns < 2 or rows > height or columns > width:
        return False
    return abs(rows - columns * height / width) < 1 or abs(columns - rows * width / height) < 1


def find_layouts(trial: Trial, outputs: Mapping[Key, Tensor], *, first: bool = False) -> dict[Key, Place | str]:
    """How the outputs of several layers lie on the image, or in words why they don't.

    Args:
        trial: runs the model again.
        outputs: the layers' outputs for the image as it is; the most wanted layer first.
        first: stop at the first layer that lies on the image.

    Returns:
        A layout or a reason for every layer that was looked at.
    """
    size = trial.get_size()
    image = trial.find_image()
    known = _known.setdefault(trial.model, {})
    found: dict[Key, Place | str] = {}
    left = list(outputs.items())
    while left:
        part, left = left[:AT_ONCE], left[AT_ONCE:]
        keys = {key: (*key, tuple(output.shape[1:]), size) for key, output in part}
        doubtful: dict[Key, Tensor] = {}
        for key, output in part:
            answer = _recall(trial.model, known.get(keys[key])) or _believe(trial.model, key[0], output, size)
            if answer is None and image is None:
                answer = _guess(output, size)
            if answer is None:
                doubtful[key] = output
            else:
                found[key] = answer
                known[keys[key]] = answer, _count_changes(trial.model) if isinstance(answer, str) else 0
            if first and not isinstance(answer, (str, type(None))) and not doubtful:
                return found
        if doubtful and image is not None and size is not None:
            proven = _prove(trial, image, size, doubtful)
            found |= proven
            changes = _count_changes(trial.model)
            known |= {keys[key]: (answer, changes) for key, answer in proven.items()}
        if first and any(not isinstance(found.get(key, ""), str) for key, _ in part):
            break
    return found


def _recall(model: nn.Module, answer: tuple[Place | str, int] | None) -> Place | str | None:
    """What was found before. That a layer has no places holds for the weights that it was found with: training may give it some."""
    if answer is None or (isinstance(answer[0], str) and answer[1] != _count_changes(model)):
        return None
    return answer[0]


def _count_changes(model: nn.Module) -> int:
    """A number that is another one after the weights were changed in place."""
    return sum(one._version for one in model.parameters() if not one.is_inference())


def _believe(model: nn.Module, name: str, output: Tensor, size: tuple[int, int] | None) -> Place | str | None:
    """The layout that needs no proof: of a convolution, or of a block of them whose output can't have its channels last."""
    if output.ndim not in (3, 4, 5):
        return f"its output is {tuple(output.shape)}, which has no rows and columns"
    if output.ndim > 3 and output.shape[-2] * output.shape[-1] == 1:
        return f"its output is {tuple(output.shape)}, pooled over all places"
    if output.ndim == 3:
        return None
    module = _find(model, name)
    if module is None:
        return None
    plain: Place = Grid() if output.ndim == 4 else VolumeGrid(output.shape[2])
    if isinstance(module, (_CONVOLUTIONS, *_NORMS)) or _follows_convolution(model, name, module):
        return plain
    whole = any(isinstance(one, _CONVOLUTIONS) for one in module.modules())
    last = size is not None and output.ndim == 4 and fits(output.shape[1], output.shape[2], size[0], size[1])
    return plain if whole and not last else None


def _follows_convolution(model: nn.Module, name: str, module: nn.Module) -> bool:
    """Whether a module is an activation right behind a convolution or its norm, in a row of modules (VGG's ReLUs)."""
    above, _, place = name.rpartition(".")
    row = _find(model, above) if above else unwrap_model(model)
    if type(module).__module__ != nn.ReLU.__module__ or not isinstance(row, nn.Sequential) or not place.isdecimal():
        return False
    return int(place) > 0 and isinstance(row[int(place) - 1], (_CONVOLUTIONS, *_NORMS))


def _find(model: nn.Module, name: str) -> nn.Module | None:
    """The module of that name; the model itself goes by the name of its class."""
    try:
        return find_module(model, name)[1]
    except LayerError:
        whole = unwrap_model(model)
        return whole if name == type(whole).__name__ else None


def _guess(output: Tensor, size: tuple[int, int] | None) -> Place | str:
    """The layout by shape alone, for a model whose inputs hold no image."""
    if size is None:
        return (
            Grid()
            if output.ndim == 4
            else f"its output is {tuple(output.shape)}, and the inputs hold no image to lay it on"
        )
    ways = list_layouts(output.shape, size)
    return (
        ways[0]
        if ways
        else f"its output is {tuple(output.shape)}, which doesn't lie as a grid over the {size[0]} x {size[1]} input"
    )


def _prove(trial: Trial, image: Tensor, size: tuple[int, int], outputs: Mapping[Key, Tensor]) -> dict[Key, Place | str]:
    """The layouts that four runs prove, each with another quarter of the image changed."""
    changes = [_run_changed(trial, image, quarter, outputs) for quarter in _QUARTERS]
    answers: dict[Key, Place | str] = {}
    for key, output in outputs.items():
        shape = tuple(output.shape)
        responses = [change.get(key) for change in changes]
        if any(one is None or one.shape != output.shape for one in responses):
            answers[key] = f"its output is {shape}, and it has another shape, or doesn't run, when the photo changes"
            continue
        deltas = [one for one in responses if one is not None]
        if not any(bool(one.any()) for one in deltas):
            answers[key] = f"its output is {shape}, the same for every photo"
            continue
        ways = list_layouts(shape, size)
        proven = next((way for way in ways if _has_places(way, deltas)), None)
        answers[key] = proven or (
            f"its output is {shape}, whose cells don't respond to their own places on the photo"
            if ways
            else f"its output is {shape}, which doesn't lie as a grid over the {size[0]} x {size[1]} input"
        )
    return answers


def _run_changed(
    trial: Trial, image: Tensor, quarter: tuple[int, int], outputs: Mapping[Key, Tensor]
) -> dict[Key, Tensor]:
    """How much each layer's output changes, summed over nothing, when a quarter of the image is other."""
    changed = _change_quarter(image, quarter)
    wanted = {name for name, _ in outputs}
    runs: dict[str, int] = {}
    seen: dict[Key, Tensor] = {}

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            runs[name] = runs.get(name, -1) + 1
            key = (name, runs[name])
            found = find_first_tensor(output)
            if found is not None and key in outputs and found.shape == outputs[key].shape:
                seen[key] = (found.detach() - outputs[key].detach()).abs().float()

        return hook

    with preserve_model(trial.model) as stack, pause_recording():
        for name in wanted:
            module = _find(trial.model, name)
            if module is not None:
                stack.add_hook(module.register_forward_hook, hook_for(name))
        trial.run(replace_tensor(trial.inputs, image, changed))
    return seen


def _change_quarter(image: Tensor, quarter: tuple[int, int]) -> Tensor:
    """A copy of the image with one quarter of other content: random squares, as light and dark as the image is."""
    rows, columns = image.shape[-2:]
    top, left = (rows // 2 * quarter[0], columns // 2 * quarter[1])
    height, width = (
        rows - rows // 2 if quarter[0] else rows // 2,
        columns - columns // 2 if quarter[1] else columns // 2,
    )
    plain = image.detach()
    low, high = plain.amin(), plain.amax()
    spread = (high - low).clamp_min(1)
    random = torch.rand((*image.shape[:-2], 8, 8), generator=torch.Generator("cpu").manual_seed(0), device="cpu").to(
        image
    )
    down = torch.arange(height, device=image.device) * 8 // max(height, 1)
    across = torch.arange(width, device=image.device) * 8 // max(width, 1)
    changed = plain.clone()
    changed[..., top : top + height, left : left + width] = low + spread * random[..., down, :][..., across]
    return changed


def _has_places(layout: Place, deltas: Sequence[Tensor]) -> bool:
    """Whether each quarter of the map responds most to its own quarter of the image."""
    try:
        energies = [layout.to_maps(one).sum((0, 1)) for one in deltas]
        if isinstance(layout, VolumeGrid):
            energies = [one.unflatten(0, (layout.depth, -1)).sum(0) for one in energies]
    except LayerError:
        return False
    shares = [_share_quarters(one) for one in energies]
    if shares[0].shape[0] == 1:  # a single row: halves
        shares = [one.expand(2, 2) / 2 for one in shares]
        return _respond(torch.stack([shares[0][0] + shares[2][0], shares[1][0] + shares[3][0]]))
    return _respond(torch.stack([one.flatten() for one in shares]))


def _respond(table: Float[Tensor, "changes parts"]) -> bool:
    """Whether every part has the largest share where the change was its own, by a margin."""
    own = table.diagonal()
    others = table.clone()
    others.fill_diagonal_(0)
    return bool((own > _MARGIN * others.amax(0)).all())


def _share_quarters(energy: Float[Tensor, "rows columns"]) -> Float[Tensor, "down across"]:
    """The share of the energy in each quarter ``(2, 2)``, or each half ``(1, 2)`` of a single row; a middle row counts for neither."""
    whole = energy.double() / energy.double().sum().clamp_min(torch.finfo(torch.float64).tiny)
    rows, columns = whole.shape
    left, right = whole[:, : columns // 2].sum(1), whole[:, columns - columns // 2 :].sum(1)
    sides = torch.stack([left, right], 1)
    if rows == 1:
        return sides
    return torch.stack([sides[: rows // 2].sum(0), sides[rows - rows // 2 :].sum(0)])
