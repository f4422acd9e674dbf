"""Maps that show whether a number means anything: what comes out without the model, with an untrained one, and with the true masks.

- ``centre``: a Gaussian in the middle, for the centre bias of photographs;
- ``random``: independent numbers on the grid of the layer, different for each class;
- ``Sobel edges``: what needs no model (Adebayo et al. 2018, arXiv 1810.03292);
- ``untrained model``: Grad-CAM of the same network before its training;
- ``ceiling``: the true pixels of the class at the resolution of the layer; nothing for a class that isn't there.
"""

import copy
from dataclasses import is_dataclass, replace
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Task
from vlcam.engine.modules import find_module
from vlcam.engine.weights import randomise_weights
from vlcam.experiments.shared.classes import ClassifiedPhoto
from vlcam.experiments.shared.maps import (
    make_ceiling_map,
    make_centre_map,
    make_edge_map,
    make_every_map,
    make_random_map,
)
from vlcam.image.geometry import to_photo

CONTROLS: Final = ("centre", "random", "Sobel edges", "untrained model", "ceiling")


@final
class Controls:
    """The control maps of one classifier; its untrained twin is made once."""

    def __init__(self, task: Task, seed: int) -> None:
        self.blind = make_untrained_task(task, seed)
        self._rng = np.random.default_rng(seed)

    def make_heats(
        self, look: ClassifiedPhoto, size: tuple[int, int] | None = None
    ) -> dict[str, Float[Tensor, "targets height width"]]:
        """A photo's control maps in the order of :data:`CONTROLS`, one for each of its targets, on the photo or a copy of that size."""
        mapped = look.mapped
        count, grid, geometry = len(mapped.targets), mapped.grid, mapped.geometry
        blind = make_every_map(self.blind, look.sample.image, mapped.subject.request, ["gradcam"])
        truth = torch.zeros(count, *grid, device="cpu")
        for index in look.present:
            region = look.get_region(index)
            if region is not None:
                truth[look.find_place(index)] = make_ceiling_map(region.numpy(), geometry, grid)[0]
        every = {
            "centre": make_centre_map(grid).expand(count, -1, -1),
            "random": torch.cat([make_random_map(grid, self._rng) for _ in range(count)]),
            "Sobel edges": make_edge_map(mapped.subject.image.cpu().float()).expand(count, -1, -1),
            "untrained model": blind.get_maps("gradcam"),
            "ceiling": truth,
        }
        return {name: to_photo(maps, geometry, size=size) for name, maps in every.items()}


def make_untrained_task(task: Task, seed: int) -> Task:
    """A copy of a task whose model is as before its training; the task itself stays as it is.

    See :func:`vlcam.engine.weights.randomise_weights`.

    Raises InputError for a task that is not a dataclass with a model, so that it can't be copied.
    """
    if not is_dataclass(task):
        raise InputError(
            f"{task.name} is a {type(task).__name__}; expected a dataclass such as vlcam.tasks.Classification, so that it can be copied "
            "untrained"
        )
    model = copy.deepcopy(task.model)
    with randomise_weights(model, seed):
        kept = {name: values.clone() for name, values in model.state_dict().items()}
    model.load_state_dict(kept)
    model.train(task.model.training)
    layer = task.layer if task.layer is None or isinstance(task.layer, str) else find_module(task.model, task.layer)[0]
    changed: dict[str, Any] = {"model": model, "layer": layer, "names": None}
    found: Task = replace(task, **changed)
    return found
