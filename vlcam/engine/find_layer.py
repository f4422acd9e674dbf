"""Where to explain a model of unknown layout: a layer proposed by tracing, checked by its gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from vlcam.contracts import LayerError, Layout
from vlcam.engine.layers import Grid
from vlcam.engine.modules import find_first_tensor, find_tensors, named_modules, replace_tensor
from vlcam.engine.places import MOST_PREFIX, Trial, find_layouts, fits
from vlcam.engine.restore import preserve_model

LEAST_SHARE = 0.01
"""A layer is dead for explaining if less of its gradient than this lies on the patches."""

# What these return is a part of a layer's work, or no new evidence.
_PARTS = (
    nn.Linear, nn.Dropout, nn.Identity, nn.Softmax, nn.Flatten, nn.Unflatten, nn.Embedding,
    nn.modules.pooling._AvgPoolNd, nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd,
)  # fmt: skip


@final
@dataclass(frozen=True)
class Proposal:
    """A layer found by tracing: its name, how it lies on the input, and the share of its gradient that lies on the patches."""

    layer: str
    layout: Layout
    share: float


@dataclass(eq=False)
class _SeenOutput:
    name: str
    call: int
    output: Tensor
    returned: Tensor


def propose(
    model: nn.Module,
    run: Callable[[Any], Tensor],
    inputs: Any,
    input_size: tuple[int, int],
    *,
    within: str = "",
    prove: bool = True,
) -> list[Proposal]:
    """Layers whose outputs lie on the input as a grid and that the score depends on, best first: the last one to run.

    Args:
        model: any module; it is left as it was.
        run: runs the model on such inputs and returns one differentiable scalar, such as the highest logit.
        inputs: a picture as the model takes it.
        input_size: ``(width, height)`` of that picture; a grid must have its proportions.
        within: the dotted name of the vision tower, if only its layers may be chosen.
        prove: whether the best layer must have its places proven (see :mod:`vlcam.engine.places`), in four runs more: not for
            models whose layers are known. Nothing is proven where the inputs hold no picture, but a row of patches.

    Raises:
        LayerError: there is no such layer.
    """
    watch = _GridWatch(input_size, within)
    with preserve_model(model) as stack:
        for name, module in named_modules(model).items():
            if name:
                stack.add_hook(module.register_forward_hook, watch.make_hook(name))
        with torch.enable_grad():
            score = run(inputs)
        once = [one for one in watch.seen if watch.runs[one.name] == 0]
        if not once or not score.requires_grad:
            raise LayerError(_describe_failure(model, input_size, within))
        slopes = torch.autograd.grad(score.sum(), [one.output for one in once], allow_unused=True)
    found: list[tuple[_SeenOutput, Proposal]] = []
    for one, slope in zip(reversed(once), reversed(slopes), strict=True):
        layout = infer_layout(one.output, input_size)
        if slope is None or layout is None:
            continue
        share = _measure_share(slope, layout)
        if share >= LEAST_SHARE:
            found.append((one, Proposal(one.name, layout, share)))
    trial = Trial(model, inputs, run, input_size)
    if prove and trial.find_image() is not None:
        outputs = {(one.name, one.call): one.output for one, _ in found}
        proven: Mapping[Any, Layout | str] = find_layouts(trial, outputs, first=True)
        found = [
            (one, replace(best, layout=proof))
            for one, best in found
            if not isinstance(proof := proven.get((one.name, one.call), best.layout), str)
        ]
    if not found:
        raise LayerError(_describe_failure(model, input_size, within))
    return [best for _, best in found]


@final
class _GridWatch:
    """What the hooks of all modules saw in one run of the model."""

    def __init__(self, input_size: tuple[int, int], within: str) -> None:
        self.input_size = input_size
        self.within = within
        self.seen: list[_SeenOutput] = []
        self.runs: dict[str, int] = {}

    def make_hook(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        """What looks at the outputs of one module."""
        return lambda module, inputs, output: self.look_at(name, module, output)

    def look_at(self, name: str, module: nn.Module, output: Any) -> Any:
        """Keep an output if it lies on the input as a grid."""
        seen, runs = self.seen, self.runs
        runs[name] = runs.get(name, -1) + 1
        found = find_first_tensor(output)
        if found is None:
            return None
        if seen and seen[-1].returned is found:  # what an outer module passes on
            if name and not isinstance(module, _PARTS) and len(list(find_tensors(output))) == 1:
                seen[-1].name, seen[-1].call = name, runs[name]
            return None
        if isinstance(module, _PARTS) or not name.startswith(self.within):
            return None
        if infer_layout(found, self.input_size) is None:
            return None
        kept = found if found.requires_grad else found.detach().clone().requires_grad_()
        returned = kept.clone()  # the model may overwrite this one
        seen.append(_SeenOutput(name, runs[name], kept, returned))
        return replace_tensor(output, found, returned)


def _describe_failure(model: nn.Module, input_size: tuple[int, int], within: str) -> str:
    width, height = input_size
    return (
        f"no layer of {type(model).__name__}{f' ({within})' if within else ''} was found whose output lies as a grid over the "
        f"{width} x {height} input and leads to the score; name one, and say how its output is laid out"
    )


def _measure_share(slope: Tensor, layout: Layout) -> float:
    size = slope.abs()
    total = float(size.sum())
    return float(layout.to_maps(size).sum()) / total if total > 0 else 0.0


def infer_layout(output: Tensor, input_size: tuple[int, int]) -> Grid | None:
    """How a layer's output lies on an input of ``(width, height)``, if its shape tells.

    That is the case for maps with channels first or last, and for tokens in row-major order after a few others, if the grid has
    the input's proportions. None if the shape fits nothing of that.
    """
    width, height = input_size
    shape = tuple(output.shape)
    if shape[:1] != (1,):
        return None
    if len(shape) == 4:
        if fits(shape[2], shape[3], width, height):
            return Grid("BCHW")
        return Grid("BHWC") if fits(shape[1], shape[2], width, height) else None
    if len(shape) != 3:
        return None
    for prefix in range(min(MOST_PREFIX + 1, shape[1] - 3)):
        count = shape[1] - prefix
        rows = round((count * height / width) ** 0.5)
        if rows > 1 and count % rows == 0 and fits(rows, count // rows, width, height):
            return Grid("BNC", rows=rows, columns=count // rows, prefix=prefix)
    return None
