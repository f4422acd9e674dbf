"""Sanity checks: does a map change when the model forgets what it learnt?

Adebayo et al. 2018 (Sanity checks for saliency maps, arXiv 1810.03292, section 3): a model's layers are given random parameters, from the
top down and adding up (*cascading*) or each alone (*independent*), and the map of each such model is compared with the true one. A map
that stays the same shows the image (its edges, say) and not the model. The paper finds that gradients and Grad-CAM react, and that guided
backpropagation and Guided Grad-CAM don't to their upper layers.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, show_record
from vlcam.engine.draws import PrivateDraws
from vlcam.metrics.map_similarity import MapSimilarity, similarity

Draw = Literal["reset", "redraw", "permute"]


@final
@dataclass(frozen=True, eq=False)
class Randomised:
    """One step: ``model`` is a copy in which ``layer``, and all of ``layers``, have random parameters. Use it before the next step."""

    layer: str
    layers: tuple[str, ...]
    model: nn.Module

    __repr__ = show_record


def randomised(
    model: nn.Module,
    *,
    order: Literal["cascading", "independent"] = "cascading",
    draw: Draw = "reset",
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> Iterator[Randomised]:
    """Copies of the model with ever more layers (or each layer alone) randomised, beginning at the top; the model is untouched.

    ``layers`` are dotted names of modules, the top first: all that is in a module is randomised at that step. By default they are all
    modules with parameters of their own, last to first as they were registered, which is from the output to the input for most models.
    A parameter that several modules share changes with the first of them, and a module that has nothing new to randomise is not a step.

    ``draw``: ``reset`` calls a module's ``reset_parameters`` as at its birth (running statistics too), and draws the parameters of others
    from a normal distribution with their own mean and standard deviation; ``redraw`` does that with all; ``permute`` shuffles each
    parameter's values, so that activations keep their size. Random numbers come from ``seed``; the global generators are left as they were.

    There is one copy of the model in memory, the one that is yielded, and for ``independent`` its true values. Raises LayerError for a name
    that the model doesn't have, InputError for a model without parameters, or layers that add nothing.

    >>> [step.layer for step in randomised(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['2', '0']
    """
    modules = dict(model.named_modules())
    unknown = [name for name in layers or () if name not in modules]
    if unknown:
        raise LayerError(f"the model has no layer {unknown[0]!r}; expected names as in model.named_modules()")
    if layers is None:
        layers = [name for name, module in modules.items() if list(module.parameters(recurse=False))][::-1]
        parts = {name: [name] for name in layers}
    else:
        parts = {name: [n for n in modules if not name or n == name or n.startswith(f"{name}.")] for name in layers}
    twin = copy.deepcopy(model)
    steps = _list_steps(parts, dict(twin.named_modules()))
    if not steps:
        raise InputError(
            "no layer with parameters was found to randomise; expected a model (or layers) with floating-point parameters"
        )
    return _randomise_in_steps(twin, steps, order, draw, seed)


def randomisation_test(
    explain: Callable[[nn.Module], Float[Tensor, "*targets height width"]],
    model: nn.Module,
    *,
    order: Literal["cascading", "independent"] = "cascading",
    draw: Draw = "reset",
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> list[tuple[str, MapSimilarity]]:
    """The similarity of each randomised model's maps to the true model's, layer by layer from the top (see :func:`randomised`).

    ``explain(model)`` gives maps ``(*targets, height, width)`` of the same targets for whatever model it gets, on the image's pixels. A
    randomised model whose map is constant has nothing to compare: NaN.
    """
    true = explain(model)
    steps = randomised(model, order=order, draw=draw, layers=layers, seed=seed)
    return [(step.layer, similarity(true, explain(step.model))) for step in steps]


_Step = tuple[str, list[nn.Module], list[nn.Parameter]]


def _randomise_in_steps(
    twin: nn.Module, steps: list[_Step], order: Literal["cascading", "independent"], draw: Draw, seed: int
) -> Iterator[Randomised]:
    true = {key: value.clone() for key, value in _collect_values(twin).items()} if order == "independent" else {}
    here = _collect_values(twin)
    done: tuple[str, ...] = ()
    for number, (name, parts, fresh) in enumerate(steps):
        done = (*done, name) if order == "cascading" else (name,)
        with PrivateDraws(seed + number), torch.no_grad():
            _randomise(parts, fresh, draw)
        yield Randomised(name, done, twin)
        with torch.no_grad():
            for key, value in true.items():
                here[key].copy_(value)


def _list_steps(parts: dict[str, list[str]], modules: dict[str, nn.Module]) -> list[_Step]:
    """Each layer with its modules and those parameters that no layer before it has; layers without any are left out."""
    known: set[int] = set()
    steps = []
    for name, inside in parts.items():
        own = [p for part in inside for p in modules[part].parameters(recurse=False) if p.is_floating_point()]
        fresh = list({id(p): p for p in own if id(p) not in known}.values())
        known.update(map(id, fresh))
        if fresh:
            steps.append((name, [modules[part] for part in inside], fresh))
    return steps


def _randomise(parts: list[nn.Module], fresh: list[nn.Parameter], draw: Draw) -> None:
    left = {id(parameter): parameter for parameter in fresh}
    for part in parts:
        own = [p for p in part.parameters(recurse=False) if id(p) in left]
        reset: Any = getattr(part, "reset_parameters", None)
        if draw == "reset" and own and callable(reset):
            reset()
            for parameter in own:
                left.pop(id(parameter), None)
    for parameter in left.values():
        values = parameter.flatten()
        if draw == "permute":
            values = values[torch.randperm(len(values), device=values.device)]
        else:
            wide = values.float()
            values = wide.mean() + wide.std(correction=0) * torch.randn_like(wide)
        parameter.copy_(values.view_as(parameter))


def _collect_values(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
