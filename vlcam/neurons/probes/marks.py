"""Which concepts each picture of a probe shows, and where: kept as bits, counted against where units fire.

Labels are partial and sparse: a picture shows a few of a thousand concepts. So every picture keeps only the masks of what it shows,
and the counts of Network Dissection (arXiv 1704.05796, section 2.2) are made picture by picture, at the positions where units fire.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, embedding_bag

from vlcam.contracts import InputError
from vlcam.engine.chunks import count_chunk
from vlcam.neurons.probes.probe import Concept, GridLabels, list_categories
from vlcam.neurons.scoring.fired import Firings

_DRAWS: Final = 2**26  # counts in memory at a time: 256 MB
_EXACT: Final = 2**24  # float32 counts exactly up to this


@final
@dataclass(frozen=True)
class _PictureMarks:
    """What one picture shows.

    ``columns``: the concepts that cover a part of it, then (number of concepts + category) of the categories that are labelled in a
    part; ``bits``: where. ``whole``: the columns of what covers, or is labelled in, all of it: they need no counting cell by cell.
    """

    columns: NDArray[np.int64]
    bits: NDArray[np.uint8]
    whole: NDArray[np.int64]


@final
@dataclass(frozen=True)
class Marks:
    """The labels of all pictures on one ``grid`` (rows, columns), for C ``concepts`` of G categories.

    Tables of counts have C + G columns: one a concept, then one a category, for the cells where that category is labelled.
    """

    concepts: tuple[Concept, ...]
    grid: tuple[int, int]
    pictures: list[_PictureMarks] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def cells(self) -> int:
        """Cells of the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def category(self) -> Int64[np.ndarray, " concepts"]:
        """The number of each concept's category."""
        names = list_categories(self.concepts)
        return np.array([names.index(category) for _, category in self.concepts], np.int64)

    @property
    def width(self) -> int:
        """Columns of a table of counts."""
        return len(self.concepts) + len(list_categories(self.concepts))

    def add(self, found: GridLabels) -> None:
        """Take in the next picture's labels."""
        if found.masks.shape[1:] != self.grid and found.masks.size:
            raise InputError(
                f"a picture's masks are {found.masks.shape[1:]} cells; expected {self.grid}, as the others'"
            )
        rows = np.concatenate([found.masks.reshape(-1, self.cells), found.valid.reshape(-1, self.cells)])
        columns = np.concatenate([found.concepts, len(self.concepts) + found.categories]).astype(np.int64)
        whole = rows.all(axis=1)
        self.pictures.append(_PictureMarks(columns[~whole], np.packbits(rows[~whole], axis=-1), columns[whole]))

    def unpack_masks(self, image: int) -> Bool[np.ndarray, "columns cells"]:
        """The masks of one picture's columns (see ``columns_of``)."""
        return np.unpackbits(self.pictures[image].bits, axis=-1, count=self.cells).astype(np.bool_)

    def get_columns(self, image: int) -> Int64[np.ndarray, " columns"]:
        """What the rows of ``masks`` are: columns of a table of counts."""
        return self.pictures[image].columns

    def measure_sizes(self) -> Int64[np.ndarray, " columns"]:
        """Cells of every column over all pictures: ``|L_c|``, and how many cells each category is labelled in."""
        out = np.zeros(self.width, np.int64)
        for one in self.pictures:
            out[one.columns] += np.bitwise_count(one.bits).sum(axis=1, dtype=np.int64)
            out[one.whole] += self.cells
        return out

    def count_images(self) -> Int64[np.ndarray, " concepts"]:
        """In how many pictures each concept is."""
        out = np.zeros(self.width, np.int64)
        for one in self.pictures:
            out[one.columns] += 1
            out[one.whole] += 1
        return out[: len(self.concepts)]

    def find_constant(self) -> Bool[np.ndarray, " concepts"]:
        """Which concepts have the same mask in every picture (regions such as "upper left")."""
        out = np.zeros(len(self.concepts), np.bool_)
        if len(self) < 2:
            return out
        first = {
            int(c): bits.tobytes() for c, bits in zip(self.pictures[0].columns, self.pictures[0].bits, strict=True)
        }
        for one in self.pictures[1:]:
            here = dict(zip(one.columns.tolist(), one.bits, strict=True))
            first = {c: bits for c, bits in first.items() if c in here and here[c].tobytes() == bits}
            if not first:
                return out
        out[[c for c in first if c < len(self.concepts)]] = True
        return out

    def make_table(self, image: int) -> Float[Tensor, "cells columns"]:
        """0 or 1 for each cell and column of one picture."""
        return torch.from_numpy(self.unpack_masks(image).T.astype(np.float32))

    def count(self, fired: Firings, order: Sequence[int] | None = None) -> Int64[np.ndarray, "units columns"]:
        """``|M_k & L_c|`` of all units and columns; with ``order``, of picture i's firing and picture ``order[i]``'s labels."""
        pairs = np.arange(len(self))[None] if order is None else np.asarray(order)[None]
        found: NDArray[np.int64] = self.count_orders(fired, pairs)[0]
        return found

    def count_orders(
        self, fired: Firings, orders: Int64[np.ndarray, "draws images"]
    ) -> Int64[np.ndarray, "draws units columns"]:
        """``count`` for several orders at once: each picture's masks are unpacked once."""
        exact = torch.float32 if len(fired.unit) < _EXACT else torch.float64
        out = torch.zeros(len(orders) * fired.units, self.width, dtype=exact, device="cpu")
        inverse = np.argsort(orders, axis=1)
        for image, one in enumerate(self.pictures):
            table, columns = self.make_table(image).to(exact), torch.from_numpy(one.columns)
            whole = torch.from_numpy(one.whole)
            units, draws, starts, places = fired.get_pictures(inverse[:, image])
            if not len(units):
                continue
            rows = draws * fired.units + units
            found = embedding_bag(places, table, starts, mode="sum") if len(columns) else table.new_zeros(len(rows), 0)
            if len(whole):
                many = torch.diff(starts, append=torch.tensor([len(places)], device="cpu")).to(exact)
                found = torch.cat([found, many[:, None].expand(-1, len(whole))], 1)
            # Each pair of draw and unit comes once, so nothing is added twice at the same place.
            every = torch.cat([columns, whole])
            flat = (rows[:, None] * self.width + every).flatten()
            out.view(-1).index_add_(0, flat, found.flatten())
        return out.view(len(orders), fired.units, self.width).long().numpy()

    def count_picture(
        self, fired: Firings, image: int
    ) -> tuple[Int64[np.ndarray, " here"], Int64[np.ndarray, " columns"], Int64[np.ndarray, "here columns"]]:
        """The counts of one picture: the units that fire in it, its columns, and ``|M & L|`` of both."""
        one = self.pictures[image]
        units, starts, places = fired.get_picture(image)
        columns = np.concatenate([one.columns, one.whole])
        if not len(units):
            return units.numpy(), columns, np.zeros((0, len(columns)), np.int64)
        found = torch.zeros(len(units), 0, device="cpu")
        if len(one.columns):
            found = embedding_bag(places, self.make_table(image), starts, mode="sum")
        many = fired.count_positions(image)[:, None].expand(-1, len(one.whole))
        return units.numpy(), columns, torch.cat([found.long(), many], 1).numpy()

    def measure_areas(self) -> Int64[np.ndarray, "images columns"]:
        """``sizes`` picture by picture."""
        out = np.zeros((len(self), self.width), np.int64)
        for image, one in enumerate(self.pictures):
            out[image, one.columns] = np.bitwise_count(one.bits).sum(axis=1, dtype=np.int64)
            out[image, one.whole] = self.cells
        return out

    def choose_batch_size(self, units: int) -> int:
        """How many draws of ``counts`` fit into memory."""
        return count_chunk(_DRAWS, units * self.width)

    def iou(
        self, inter: Int64[np.ndarray, "*draws units columns"], sizes: Int64[np.ndarray, " columns"]
    ) -> Float[np.ndarray, "*draws units concepts"]:
        """IoU from the counts: ``|M & L| / (|M| + |L| - |M & L|)``, ``|M|`` where the concept's category is labelled; 0 if empty."""
        known = len(self.concepts)
        both = inter[..., :known]
        union = inter[..., known + self.category] + sizes[:known] - both
        ratio: NDArray[np.float64] = both / np.maximum(union, 1)
        return ratio

    def measure_coverage(
        self, image: int, grid: tuple[int, int]
    ) -> tuple[NDArray[np.int64], Float[Tensor, "columns cells"]]:
        """How much of each cell of a coarser ``grid`` every column covers, 0 to 1; the columns and their shares."""
        one = self.pictures[image]
        fine = torch.from_numpy(self.unpack_masks(image).astype(np.float32)).view(-1, *self.grid)
        shares = (
            adaptive_avg_pool2d(fine, grid).flatten(1) if len(fine) else torch.zeros(0, grid[0] * grid[1], device="cpu")
        )
        whole = torch.ones(len(one.whole), grid[0] * grid[1], device="cpu")
        return np.concatenate([one.columns, one.whole]), torch.cat([shares, whole])


def from_dense(concepts: Sequence[Concept], masks: Bool[np.ndarray, "images concepts rows columns"]) -> Marks:
    """Marks of pictures that are labelled for every concept everywhere."""
    marks = Marks(tuple(concepts), (masks.shape[2], masks.shape[3]))
    every = np.arange(len(list_categories(marks.concepts)))
    valid = np.ones((len(every), *marks.grid), np.bool_)
    for one in masks:
        there = np.flatnonzero(one.any(axis=(1, 2)))
        marks.add(GridLabels(there, one[there], every, valid))
    return marks
