"""The maps of many methods for the same photo and targets: the model runs once for all methods of one run.

Experiments compare methods, so for each photo all of them see the same targets and the same activations; only perturbation methods, which
need changed runs of the model, run it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import Geometry, Maps, Method, PerturbationMethod, Prepared, Request, Target, Task, show_record
from vlcam.engine.restore import allow_autograd, detach_tensors
from vlcam.explanation.rerun import PhotoSubject, fix_targets
from vlcam.explanation.run import find_maps, run_and_record
from vlcam.image.display import apply_steps
from vlcam.image.geometry import find_cell_box, to_photo
from vlcam.image.photo import open_photo
from vlcam.methods import get_method

MethodLike = str | Method | PerturbationMethod


@final
@dataclass(frozen=True, eq=False)
class MethodMaps:
    """One photo, T targets, and the maps of several methods by name, signed and on each method's own grid.

    ``text`` is what the model said; ``subject`` runs it again, changed. ``steps`` are the display steps of the methods that have some.
    """

    subject: PhotoSubject
    text: str
    signed: dict[str, Maps]
    methods: dict[str, Method | PerturbationMethod]
    steps: dict[str, tuple[str, ...]] = field(default_factory=dict)

    __repr__ = show_record

    @property
    def targets(self) -> Sequence[Target]:
        """The targets, in the order of every method's maps."""
        return self.subject.targets

    @property
    def geometry(self) -> Geometry:
        """Where the model's input lies on the photo."""
        return self.subject.prepared.geometry

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the explained layer, the finest that a map of one run can be."""
        rows, columns = self.subject.activations.shape[2:]
        return rows, columns

    def get_maps(self, name: str) -> Maps:
        """The maps as they are drawn: after the method's ReLU and display steps, if it has any, ``(T, rows, columns)``."""
        signed = self.signed[name]
        return apply_steps(signed.clamp_min(0) if self.methods[name].relu else signed, self.steps.get(name, ()))

    def get_heat(self, name: str) -> Float[Tensor, "targets height width"]:
        """The maps on the photo's pixels; NaN where the model didn't see the photo."""
        return to_photo(self.get_maps(name), self.geometry)

    def draw(self, maps: Maps) -> Float[Tensor, "targets height width"]:
        """Any other maps on the photo's pixels: controls, say."""
        return to_photo(maps, self.geometry)


def make_every_map(
    task: Task, image: Any, request: Request, methods: Sequence[MethodLike], *, layer: str | None = None
) -> MethodMaps:
    """Run the task once on a photo, and make the maps of every method. Raises what :func:`vlcam.explain` raises."""
    picture, _ = open_photo(image)
    with allow_autograd():
        prepared = task.prepare(picture, request)
    prepared = Prepared(detach_tensors(prepared.inputs), prepared.geometry)
    spoken, evidence = run_and_record(task, prepared, request, task.layer if layer is None else layer)
    targets = tuple(spoken.targets)
    subject = PhotoSubject(task, prepared, fix_targets(request, targets), targets, evidence)
    chosen = [get_method(one) if isinstance(one, str) else one for one in methods]
    found = {one.name: find_maps(one, subject) for one in chosen}
    return MethodMaps(
        subject,
        spoken.text,
        {name: one.maps.detach() for name, one in found.items()},
        {one.name: one for one in chosen},
        {name: one.steps for name, one in found.items()},
    )


def make_random_map(grid: tuple[int, int], rng: np.random.Generator) -> Float[Tensor, "1 rows columns"]:
    """A control: independent uniform numbers on the grid of the layer."""
    return torch.from_numpy(rng.random((1, *grid), np.float32))


def make_centre_map(grid: tuple[int, int]) -> Float[Tensor, "1 rows columns"]:
    """A control: a Gaussian in the middle, its deviation a quarter of each side (the centre bias of photographs)."""
    y, x = (torch.linspace(-2, 2, side, device="cpu") if side > 1 else torch.zeros(1, device="cpu") for side in grid)
    found: Tensor = torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2)[None]
    return found


def make_edge_map(image: Float[Tensor, "1 channels height width"]) -> Float[Tensor, "1 height width"]:
    """A control: the strength of the picture's edges (Sobel), which needs no model (Adebayo et al. 2018, arXiv 1810.03292)."""
    grey = image.mean(1, keepdim=True)
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device="cpu").to(grey)
    kernels = torch.stack([across, across.T])[:, None]
    edges = torch.nn.functional.conv2d(torch.nn.functional.pad(grey, (1, 1, 1, 1), "replicate"), kernels)
    found: Tensor = edges.pow(2).sum(1).sqrt()
    return found


def make_ceiling_map(
    mask: Bool[np.ndarray, "height width"], geometry: Geometry, grid: tuple[int, int]
) -> Float[Tensor, "1 rows columns"]:
    """A control: the true mask at the resolution of the layer, the best that a map on that grid can be; 0 where the model saw no photo."""
    height, width = mask.shape
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = mask.cumsum(0).cumsum(1)
    out = torch.zeros(1, *grid, device="cpu")
    for row in range(grid[0]):
        for column in range(grid[1]):
            left, top, right, bottom = find_cell_box(geometry, row, column, grid)
            x0, x1 = (min(max(round(one), 0), width) for one in (left, right))
            y0, y1 = (min(max(round(one), 0), height) for one in (top, bottom))
            inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
            out[0, row, column] = inside / max(1.0, (right - left) * (bottom - top))
    return out
