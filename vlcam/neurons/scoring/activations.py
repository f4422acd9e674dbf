"""The maps of one layer on all pictures of a probe: run once, on disk if they are large, and reused while nothing changed."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vlcam.contracts import (
    BatchTask,
    Geometry,
    InputError,
    LayerError,
    Layout,
    Prepared,
    Request,
    Spoken,
    Task,
    show_record,
)
from vlcam.engine.layers import Grid, find
from vlcam.engine.modules import find_first_tensor, named_modules
from vlcam.engine.outputs import to_model
from vlcam.engine.recording import record
from vlcam.engine.restore import allow_autograd, detach_tensors, preserve_model
from vlcam.image.photo import open_photo
from vlcam.neurons.scoring.cache import Cache, hash_inputs, hash_weights
from vlcam.neurons.scoring.fired import split_chunks

Progress = Callable[[int, int], None]

IN_MEMORY: Final = 2**30
"""Maps of more bytes than this are kept in a temporary file."""


@final
@dataclass(frozen=True, eq=False)
class Activations:
    """What a layer of K channels shows of N pictures.

    ``maps`` ``(N, K, h, w)`` lie as the model's input does (tokens and tiles are put in their places already); float32, and possibly a
    memory map of a file. ``geometries`` say where each picture's input lies on its photo. ``names`` are those of the pictures.
    ``held`` keeps the temporary folder of a memory map for as long as it is needed.
    """

    model: str
    layer: str
    weights_sha256: str | None
    maps: Float[np.ndarray, "images channels rows columns"]
    geometries: tuple[Geometry, ...]
    names: tuple[str, ...]
    reused: int = 0
    held: Any = None

    __repr__ = show_record


@final
@dataclass(frozen=True)
class ModuleTask:
    """A bare module and its preprocessing, with as much of a task as naming needs."""

    model: nn.Module
    preprocess: Callable[[Any], tuple[Any, Geometry]]
    layer: str | nn.Module | None = None
    kind: str = "module"
    names: None = None

    @property
    def name(self) -> str:
        """The class of the module."""
        return type(self.model).__name__

    def prepare(self, photo: Any, request: Request) -> Prepared:
        """The input of one photo."""
        inputs, geometry = self.preprocess(photo)
        return Prepared(to_model(inputs, self.model), geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward; the score is the sum of the first output, which is only there to find the layer by."""
        found = find_first_tensor(self.model(prepared.inputs))
        if found is None:
            raise InputError(f"{self.name} returned no tensor; wrap the model in a task, or name the layer")
        return Spoken(found.sum()[None], (), "")

    def run_batch(self, prepared: Sequence[Prepared], request: Request) -> Sequence[Spoken]:
        """One forward for several photos."""
        self.model(torch.cat([one.inputs for one in prepared]))
        return ()


def watch(
    task: Task | ModuleTask,
    photos: Sequence[Any] | Callable[[int], tuple[str, Any]],
    *,
    images: int | None = None,
    layer: str | nn.Module | None = None,
    request: Request | None = None,
    batch_size: int = 16,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Activations:
    """Run a model over pictures and keep one layer's maps.

    After the first picture the model runs no further than the layer, in batches where the task can.

    Args:
        task: the model and how to prepare photos for it.
        photos: photos, or a function of a number from 0 to ``images - 1`` that gives a picture's name and photo.
        images: how many pictures, if ``photos`` is a function.
        layer: the layer; by default the task's, or else the last spatial one that leads to what the model says.
        request: what the task is asked, such as a question for VQA (the layer must not depend on it).
        batch_size: pictures in one forward pass.
        cache: a folder to keep maps in; a picture's are reused as long as the weights, the model's code, the layer and the picture's
            prepared input are the same to the bit.
        progress: called with (pictures done, all).

    Raises:
        LayerError: there is no such layer, it has no grid, or it doesn't run.
        InputError: a picture can't be opened, or inputs don't fit the model.
    """
    asked = Request() if request is None else request
    count = len(photos) if images is None and not callable(photos) else images
    if not count or count < 1:
        raise InputError("no pictures were given to watch the units on; give at least 2, and better 500 or more")

    def picture(number: int) -> tuple[str, Any]:
        return photos(number) if callable(photos) else (f"{number}", photos[number])

    def prepared(number: int) -> tuple[str, Prepared]:
        name, source = picture(number)
        image, photo = open_photo(source)
        with allow_autograd():
            ready = task.prepare(image, asked)
        return name or photo.name, Prepared(detach_tensors(ready.inputs), ready.geometry)

    name, first = prepared(0)
    tap, sample = _LayerReader.from_run(task, first, asked, layer)
    sha256 = hash_weights(task.model)
    kept = None if cache is None else Cache.open(Path(cache), task.model, sha256, tap.layer, tuple(sample.shape[1:]))
    shape = (count, *sample.shape[1:])
    held = None
    if 4 * int(np.prod(shape)) > IN_MEMORY:
        held = _Folder()
        maps: Any = np.lib.format.open_memmap(held.path / "maps.npy", mode="w+", dtype=np.float32, shape=shape)
    else:
        maps = np.empty(shape, np.float32)
    names, geometries, reused = [], [], 0
    waiting: list[tuple[int, Prepared]] = []
    digests: list[str] = []

    def run() -> None:
        if waiting:
            found = tap.read_maps([one for _, one in waiting], like=sample)
            for (number, _), one in zip(waiting, found, strict=True):
                maps[number] = one.numpy()
            waiting.clear()

    for number in range(count):
        name, ready = (name, first) if number == 0 else prepared(number)
        names.append(name)
        geometries.append(ready.geometry)
        if kept is not None:
            digests.append(hash_inputs(ready.inputs))
            known = kept.get(digests[-1])
            if known is not None:
                maps[number] = known
                reused += 1
                continue
        if number == 0:
            maps[0] = sample[0].numpy()
            continue
        waiting.append((number, ready))
        if len(waiting) == batch_size:
            run()
        if progress is not None:
            progress(number + 1, count)
    run()
    if progress is not None:
        progress(count, count)
    if kept is not None and reused < count:
        kept.put(digests, maps)
    if not all(bool(torch.isfinite(some).all()) for _, some in split_chunks(maps)):
        raise InputError("some activations are not finite; expected finite ones: check the model and its images")
    return Activations(task.name, tap.layer, sha256, maps, tuple(geometries), tuple(names), reused, held)


@final
class _Folder:
    """A temporary folder that is there as long as this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="vlcam-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class _ReachedError(Exception):
    """Not an error: the layer has its output, and the rest of the model needn't run."""

    def __init__(self, output: Tensor) -> None:
        super().__init__("the layer was reached")
        self.output = output


@final
@dataclass(frozen=True)
class _LayerReader:
    """How to get the maps of one layer."""

    task: Task | ModuleTask
    request: Request
    layer: str
    module: nn.Module
    layout: Layout | None
    """None: each picture has its own, so the model must run to its end."""

    @classmethod
    def from_run(
        cls, task: Task | ModuleTask, first: Prepared, request: Request, layer: str | nn.Module | None
    ) -> tuple["_LayerReader", Float[Tensor, "one channels rows columns"]]:
        """From one full run: the layer and how its output is laid out, and the picture's maps."""
        layer = getattr(task, "defaults", {}).get("layer") if layer is None else layer
        wanted = task.layer if layer is None else layer
        with record(task.model, wanted) as recording:
            spoken = task.run(first, request)
        leaf = recording.resolve(spoken.scores)
        name = recording.layer_name
        layout = spoken.layout
        if layer is not None and task.layer is not None and name != find(task.model, task.layer)[0]:
            layout = None  # the task's layout is that of its own layer
            if leaf.ndim != 4:
                raise LayerError(
                    f"layer {name!r} returns {tuple(leaf.shape)}, which has no rows and columns; name one that returns maps, or the "
                    "default layer of the task"
                )
        whole = name == type(task.model).__name__ and name not in named_modules(task.model)
        module = task.model if whole else find(task.model, name)[1]
        if layout is None or isinstance(layout, Grid):
            fixed = Grid() if layout is None else layout
            return cls(task, request, name, module, fixed), fixed.to_maps(leaf.detach()).float().cpu()
        return cls(task, request, name, module, None), _place_maps(layout, leaf)

    def read_maps(
        self, prepared: Sequence[Prepared], like: Float[Tensor, "one channels rows columns"] | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        """The maps of some pictures, of the size of ``like``."""
        if self.layout is None:
            found = [self._run_fully(one) for one in prepared]
        elif len(prepared) > 1 and isinstance(self.task, (BatchTask, ModuleTask)) and _has_equal_shapes(prepared):
            together = self._run_to_layer(lambda: self.task.run_batch(prepared, self.request))  # type: ignore[union-attr]
            found = list(self.layout.to_maps(together).split(1))
        else:
            found = [
                self.layout.to_maps(self._run_to_layer(partial(self.task.run, one, self.request))) for one in prepared
            ]
        out = [one.detach().float().cpu() for one in found]
        if like is not None:
            out = [self._fit_size(one, like) for one in out]
        return torch.cat(out)

    def _fit_size(self, maps: Tensor, like: Tensor) -> Tensor:
        if maps.shape[1] != like.shape[1]:
            raise LayerError(
                f"layer {self.layer!r} returned {maps.shape[1]} channels for one picture and {like.shape[1]} for another; "
                "expected as many for all"
            )
        return maps if maps.shape == like.shape else adaptive_avg_pool2d(maps, (like.shape[2], like.shape[3]))

    def _run_to_layer(self, run: Callable[[], object]) -> Tensor:
        """The layer's output; the model stops there."""

        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found = find_first_tensor(output)
            if found is not None:
                raise _ReachedError(found.detach().clone())

        with preserve_model(self.task.model) as stack, torch.no_grad():
            stack.add_hook(self.module.register_forward_hook, hook, prepend=True)
            try:
                run()
            except _ReachedError as reached:
                return reached.output
        raise LayerError(f"layer {self.layer!r} did not run on this picture; name a layer that always does")

    def _run_fully(self, one: Prepared) -> Tensor:
        """From a full run, whose layout is the picture's own."""
        with record(self.task.model, self.module) as recording:
            spoken = self.task.run(one, self.request)
        return _place_maps(spoken.layout, recording.resolve(spoken.scores))


def _place_maps(
    layout: Layout | Callable[[Tensor], Layout] | None, leaf: Tensor
) -> Float[Tensor, "one channels rows columns"]:
    """The maps of one picture, their cells in their places."""
    with torch.no_grad():
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(leaf.detach())
        chosen = Grid() if layout is None else layout
        return chosen.place(chosen.to_maps(leaf.detach())[0].float())[None].cpu()


def _has_equal_shapes(prepared: Sequence[Prepared]) -> bool:
    """Whether the inputs are tensors of one shape (or the like in a dict), so that they fit into one batch."""
    shapes = {tuple(_list_shapes(one.inputs)) for one in prepared}
    return len(shapes) == 1


def _list_shapes(inputs: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(inputs, Tensor):
        yield tuple(inputs.shape)
    elif isinstance(inputs, dict):
        for value in inputs.values():
            yield from _list_shapes(value)
    elif isinstance(inputs, (tuple, list)):
        for value in inputs:
            yield from _list_shapes(value)
