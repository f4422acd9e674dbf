"""The layers of a model: found by name, listed with their shapes, and read as maps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, Maps, show_record
from vlcam.engine.modules import find_first_tensor, find_module, is_map, named_modules, unwrap_model
from vlcam.engine.restore import detach_tensors, preserve_model


def find(
    model: nn.Module, layer: str | nn.Module, *, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[str, nn.Module]:
    """The layer's dotted name in the model, and the module.

    Args:
        model: any module; compiled and parallel ones too.
        layer: one of the model's modules, or its name, with or without the prefixes ``_orig_mod.`` and ``module.``.
        shapes: output shapes by name, if known, for the text of the error.

    Raises:
        LayerError: there is no such layer; the text has the closest names.
    """
    try:
        return find_module(model, layer)
    except LayerError as error:
        if shapes is None or not isinstance(layer, str):
            raise
        close = get_close_matches(layer, shapes, n=5, cutoff=0.4)
        listed = ", ".join(f"{name} {shapes[name]}" for name in close or list(shapes)[-5:])
        raise LayerError(
            f"the model ({type(unwrap_model(model)).__name__}) has no layer {layer!r}; "
            f"{'the closest names' if close else 'its last layers'}, with the shapes of their outputs, are {listed}"
        ) from error


@final
@dataclass(frozen=True)
class Layer:
    """One layer as it ran: dotted name, type, shape of its (first) output, and the rows and columns of its maps, if any."""

    name: str
    type: str
    shape: tuple[int, ...]
    grid: tuple[int, int] | None

    __repr__ = show_record


def list_layers(model: nn.Module, *inputs: Any, **options: Any) -> list[Layer]:
    """All layers in the order in which they finish in ``model(*inputs, **options)``; one that runs twice is there twice.

    The model is left as it was.
    """
    return trace_layers(model, lambda: model(*detach_tensors(inputs), **detach_tensors(options)))


def trace_layers(model: nn.Module, run: Callable[[], Any]) -> list[Layer]:
    """As :func:`list_layers`, of whatever ``run()`` does with the model."""
    layers: list[Layer] = []
    with preserve_model(model) as stack:
        for name, module in named_modules(model).items():
            if name:
                stack.add_hook(module.register_forward_hook, _make_tracing_hook(layers, name))
        run()
    return layers


def _make_tracing_hook(layers: list[Layer], name: str) -> Callable[[nn.Module, Any, Any], None]:
    return lambda module, inputs, output: _note_layer(layers, name, module, output)


def _note_layer(layers: list[Layer], name: str, module: nn.Module, output: Any) -> None:
    found = find_first_tensor(output)
    if found is not None:
        shape = tuple(found.shape)
        layers.append(Layer(name, type(module).__name__, shape, (shape[-2], shape[-1]) if is_map(found) else None))


@final
@dataclass(frozen=True)
class Grid:
    """How a layer's output is laid out, so that it can be read as maps ``(batch, channels, rows, columns)``.

    ``BCHW`` are the maps of a CNN; ``BHWC`` have the channels last (Swin); ``BNC`` are tokens, ``prefix`` of them (class token,
    registers) before ``rows * columns`` in row-major order. Rows and columns needn't be equal.

    >>> import torch
    >>> Grid("BNC", rows=2, columns=3, prefix=1).to_maps(torch.zeros(5, 7, 16)).shape
    torch.Size([5, 16, 2, 3])
    """

    layout: Literal["BCHW", "BHWC", "BNC"] = "BCHW"
    rows: int | None = None
    columns: int | None = None
    prefix: int = 0

    __repr__ = show_record

    def __post_init__(self) -> None:
        if self.layout == "BNC" and (self.rows is None or self.columns is None):
            raise InputError("a grid of tokens needs its rows and columns: Grid('BNC', rows=14, columns=14, prefix=1)")
        if self.layout != "BNC" and self.prefix:
            raise InputError(f"prefix={self.prefix} was given for {self.layout}; only tokens ('BNC') have a prefix")

    def to_maps(self, tensor: Shaped[Tensor, "batch ..."]) -> Shaped[Tensor, "batch channels rows columns"]:
        """The layer's output, or its gradient, as maps. Raises LayerError if it doesn't have this layout."""
        shape = tuple(tensor.shape)
        if self.layout == "BNC":
            rows, columns = self.rows or 0, self.columns or 0
            if len(shape) != 3 or shape[1] != self.prefix + rows * columns:
                raise LayerError(
                    f"the layer's output is {shape}; a grid of {rows} x {columns} tokens after {self.prefix} others needs "
                    f"(batch, {self.prefix + rows * columns}, channels)"
                )
            tokens: Tensor = tensor[:, self.prefix :].transpose(1, 2).unflatten(2, (rows, columns))
            return tokens
        if len(shape) != 4:
            raise LayerError(
                f"the layer's output is {shape}, not {self.layout}; for tokens (batch, tokens, channels) give "
                "grid=Grid('BNC', rows=..., columns=..., prefix=...), else name a layer that has rows and columns"
            )
        maps: Tensor = tensor if self.layout == "BCHW" else tensor.permute(0, 3, 1, 2)
        if (self.rows or maps.shape[2], self.columns or maps.shape[3]) != tuple(maps.shape[2:]):
            raise LayerError(f"the layer's output is {shape}; expected {self.rows} x {self.columns} as {self.layout}")
        return maps

    def place(self, maps: Maps) -> Maps:
        """The maps as they are: their cells lie row by row on the model's input."""
        return maps


@final
@dataclass(frozen=True)
class VolumeGrid:
    """Maps of a volume, ``(batch, channels, depth, rows, columns)``, as a 3-D CNN has them: read with the slices one below the other.

    >>> import torch
    >>> grid = VolumeGrid(depth=2)
    >>> maps = grid.to_maps(torch.zeros(5, 16, 2, 3, 4))
    >>> maps.shape, grid.place(maps[:, 0]).shape
    (torch.Size([5, 16, 6, 4]), torch.Size([5, 2, 3, 4]))
    """

    depth: int

    __repr__ = show_record

    def to_maps(self, tensor: Shaped[Tensor, "batch ..."]) -> Shaped[Tensor, "batch channels depth_rows columns"]:
        """The layer's output, or its gradient, as maps. Raises LayerError if it isn't of such a volume."""
        if tensor.ndim != 5 or tensor.shape[2] != self.depth:
            raise LayerError(
                f"the layer's output is {tuple(tensor.shape)}; expected (batch, channels, {self.depth}, rows, columns)"
            )
        return tensor.flatten(2, 3)

    def place(self, maps: Float[Tensor, "targets depth_rows columns"]) -> Float[Tensor, "targets depth rows columns"]:
        """The maps with their depth."""
        placed: Tensor = maps.unflatten(-2, (self.depth, -1))
        return placed


@final
@dataclass(frozen=True, eq=False)
class TokenLayout:
    """Tokens in any order, from one sequence or from several (the tiles of one photo), each with its place on the input.

    ``cells`` ``(layers, rows, columns)`` holds, for every cell of the grid, the numbers of the tokens that lie over it: one in each
    layer, -1 for none. Tokens are counted through all sequences, so token ``n`` of tile ``t`` is ``t * length + n``. A token over
    several cells (of a thumbnail over fine tiles) spreads its value evenly, so that a map's sum stays what it was.

    >>> import torch
    >>> order = TokenLayout(torch.tensor([[[1, 0], [3, 2]]]))
    >>> order.place(order.to_maps(torch.arange(4.0)[None, :, None])[:, 0]).tolist()
    [[[1.0, 0.0], [3.0, 2.0]]]
    """

    cells: Int[Tensor, "layers rows columns"]

    __repr__ = show_record

    def to_maps(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "1 channels tokens 1"]:
        """The tokens that lie somewhere, ``(..., tokens, channels)`` given. Raises LayerError for too few of them."""
        if tensor.ndim < 2:
            raise LayerError(f"the layer's output is {tuple(tensor.shape)}; expected (..., tokens, channels)")
        flat = tensor.flatten(0, -2)
        used = self._find_used(flat.device)
        if len(used) == 0 or int(used[-1]) >= len(flat):
            raise LayerError(
                f"the layer's output is {tuple(tensor.shape)}, {len(flat)} tokens in all; the layout needs {int(self.cells.max()) + 1}"
            )
        chosen: Tensor = flat[used].t()[None, :, :, None]
        return chosen

    def place(self, maps: Float[Tensor, "targets tokens 1"]) -> Maps:
        """``(targets, tokens, 1)`` onto ``(targets, rows, columns)``."""
        used = self._find_used(maps.device)
        cells = self.cells.to(maps.device)
        at = torch.searchsorted(used, cells.clamp_min(0)).masked_fill(cells < 0, len(used))
        covered = torch.bincount(at.flatten(), minlength=len(used) + 1)[: len(used)]
        shared = torch.cat([maps[:, :, 0] / covered, maps.new_zeros(len(maps), 1)], 1)
        placed: Tensor = shared[:, at].sum(1)
        return placed

    def _find_used(self, device: torch.device) -> Tensor:
        found: Tensor = self.cells[self.cells >= 0].unique().to(device)
        return found
