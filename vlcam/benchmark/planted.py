"""Units whose meaning is known, because they are made by hand: is the naming right about them, and silent where it should be?

After the synthetic neurons of MAIA (Rott Shaham et al. 2024, arXiv 2404.14394), but on generated scenes, where every concept has an exact
mask. With ``c`` the share of a cell of the layer's grid that shows the concept, slightly blurred, ``g`` between 0.5 and 1.5 for each
picture (no unit responds equally to all pictures), and ``e`` smooth noise of deviation 1:

============  ==================================================  ===========================================================
kind          map (after ReLU)                                    what is right
============  ==================================================  ===========================================================
detector      ``g c + 0.25 e`` of one concept                     that concept's name
either        the same of the larger of two unrelated pairs       either name; better with a warning that it is not alone
noise         ``e``; half of them not smooth                      no name
dead          0, or the same value everywhere                     no name
inverted      ``g (1 - c) + 0.25 e``: where the concept isn't     no name
placed        ``g + 0.25 e`` on a line of the picture             no name: it shows where, not what
============  ==================================================  ===========================================================

A line runs between two regions (and on to the others beside them), so that no region's name would be right.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from vlcam.contracts import InputError
from vlcam.neurons.names.record import NeuronName
from vlcam.neurons.probes.probe import Concept
from vlcam.neurons.probes.scenes import CONCEPTS, MASK_SIZE, make_concept_masks
from vlcam.neurons.scoring.dissect import Batch, dissect, to_batches
from vlcam.scenes.models.nets import GRID
from vlcam.scenes.record import PAIRS, Split
from vlcam.scenes.sample import make

Kind = Literal["detector", "either", "noise", "dead", "inverted", "placed"]
NAMELESS: Final[tuple[Kind, ...]] = ("noise", "dead", "inverted", "placed")

Namer = Callable[[Iterable[Batch], Sequence[Concept]], Sequence[NeuronName]]
"""Names units from batches of (maps, masks), such as :func:`vlcam.neurons.scoring.dissect`."""

MIN_SCENES: Final = 10
"""A detector's concept is in at least this many pictures."""

NOISE: Final = 0.25
_EACH: Final = 20
_LINES: Final = 4


@final
@dataclass(frozen=True)
class PlantedUnit:
    """What a planted unit is, and the concepts that it was made of."""

    kind: Kind
    concepts: tuple[Concept, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class PlantedLayer:
    """Planted units on scenes: maps ``(scenes, units, 12, 12)`` and the masks of CONCEPTS ``(scenes, concepts, 24, 24)``."""

    plants: tuple[PlantedUnit, ...]
    maps: Float[Tensor, "scenes units rows columns"]
    masks: Bool[np.ndarray, "scenes concepts height width"]


def plant_units(
    n: int = 500, *, seed: int = 0, split: Split = "val", each: int = _EACH, noise: float = NOISE
) -> PlantedLayer:
    """Units on scenes ``0..n-1``: a detector of every concept in ``LEAST`` scenes or more, and ``each`` units of every other kind."""
    if n < 2 * MIN_SCENES or each < 1:
        raise InputError(
            f"n={n} and each={each} were given; expected at least {2 * MIN_SCENES} scenes and 1 unit, such as 300 and 20"
        )
    rng = np.random.default_rng(seed)
    masks = np.stack([make_concept_masks(make(number, split), MASK_SIZE) for number in range(n)])
    often = masks.any(axis=(2, 3)).sum(axis=0)
    known = [c for c in range(len(CONCEPTS)) if often[c] >= MIN_SCENES]
    objects = [c for c in known if CONCEPTS[c][1] not in ("object", "background", "region")]
    plants: list[PlantedUnit] = []
    maps: list[Float[Tensor, "scenes rows columns"]] = []
    for kind, chosen, found in (
        *(("detector", (c,), _make_detector(masks, (c,), rng, noise)) for c in known),
        *(("either", both, _make_detector(masks, both, rng, noise)) for both in _draw_unrelated(known, each, rng)),
        *(("noise", (), torch.relu(_make_noise(n, rng, smooth=number % 2 == 0))) for number in range(each)),
        *(("dead", (), torch.full((n, GRID, GRID), float(number % 2), device="cpu")) for number in range(each)),
        *(("inverted", (c,), _make_inverted(masks, c, rng, noise)) for c in rng.choice(objects, each).tolist()),
        *(("placed", (), _make_placed(n, number, rng, noise)) for number in range(each)),
    ):
        plants.append(PlantedUnit(kind, tuple(CONCEPTS[c] for c in chosen)))  # type: ignore[arg-type]
        maps.append(found)
    return PlantedLayer(tuple(plants), torch.stack(maps, 1), masks)


def judge(bed: PlantedLayer, units: Sequence[NeuronName]) -> dict[str, dict[str, Any]]:
    """How often the naming is right, by kind, and over all units that should have no name.

    ``right`` is the share and ``n`` the number of units; ``wrong`` lists what was said instead. "either" is right with one of its two
    concepts; ``both`` is how often the other is also said: in ``also`` or in the formula, or by the flag "polysemantic".
    """
    if len(units) != len(bed.plants):
        raise InputError(
            f"{len(units)} names of {len(bed.plants)} planted units were given; expected one for each unit"
        )
    out: dict[str, dict[str, Any]] = {}
    for kind in ("detector", "either", *NAMELESS):
        those = [(plant, unit) for plant, unit in zip(bed.plants, units, strict=True) if plant.kind == kind]
        out[kind] = _make_row(those)
    out["nameless"] = _make_row([(p, u) for p, u in zip(bed.plants, units, strict=True) if p.kind in NAMELESS])
    either = [(p, u) for p, u in zip(bed.plants, units, strict=True) if p.kind == "either"]
    out["either"]["both"] = float(np.mean([_says_both(p, u) for p, u in either])) if either else 1.0
    return out


def evaluate(
    namer: Namer = dissect,
    *,
    n: int = 1000,
    seed: int = 0,
    split: Split = "val",
    each: int = _EACH,
    noise: float = NOISE,
) -> dict[str, dict[str, Any]]:
    """Plant units, name them and judge the names (see :func:`judge`)."""
    bed = plant_units(n, seed=seed, split=split, each=each, noise=noise)
    return judge(bed, namer(to_batches(bed.maps, bed.masks), CONCEPTS))


def make_rows(judged: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row per kind: how many units, the share that was named (or left without a name) rightly, and what was said instead."""
    return [
        [kind, str(row["n"]), f"{row['right']:.3f}", ", ".join(row["wrong"][:3]) or "-"] for kind, row in judged.items()
    ]


def _make_row(those: Sequence[tuple[PlantedUnit, NeuronName]]) -> dict[str, Any]:
    wrong = [(plant, unit) for plant, unit in those if not _is_right(plant, unit)]
    return {
        "n": len(those),
        "right": 1 - len(wrong) / max(len(those), 1),
        "wrong": [f"{' or '.join(name for name, _ in p.concepts) or p.kind}: {u.name or 'no name'}" for p, u in wrong],
    }


def _is_right(plant: PlantedUnit, unit: NeuronName) -> bool:
    if plant.kind in NAMELESS:
        return unit.name is None
    return (unit.name, unit.category) in plant.concepts


def _says_both(plant: PlantedUnit, unit: NeuronName) -> bool:
    formula = "" if unit.formula is None else unit.formula[0]
    said = {unit.name, *unit.also}
    return "polysemantic" in unit.flags or all(name in said or name in formula for name, _ in plant.concepts)


def _draw_unrelated(known: Sequence[int], each: int, rng: Generator) -> Iterator[tuple[int, int]]:
    """Two pairs of which neither colour nor shape is the same."""
    there = {CONCEPTS[c][0]: c for c in known if CONCEPTS[c][1] == "pair"}
    every = [pair for pair in PAIRS if " ".join(pair) in there]
    pairs = [pair for pair in every if any(not set(pair) & set(other) for other in every)]
    if not pairs:
        raise InputError(
            f"there are no two unrelated pairs in {MIN_SCENES} scenes each; take more scenes, such as n=500"
        )
    for _ in range(each):
        first = pairs[int(rng.integers(len(pairs)))]
        others = [pair for pair in pairs if not set(pair) & set(first)]
        second = others[int(rng.integers(len(others)))]
        yield there[" ".join(first)], there[" ".join(second)]


def _measure_cover(
    masks: Bool[np.ndarray, "scenes concepts height width"], concept: int
) -> Float[Tensor, "scenes rows columns"]:
    """The share of each cell that shows a concept, slightly blurred (a quarter of it comes from the neighbours)."""
    share = avg_pool2d(torch.from_numpy(masks[:, concept].astype(np.float32))[:, None], MASK_SIZE // GRID)
    return (0.75 * share + 0.25 * _blur(share))[:, 0]


def _blur(grid: Float[Tensor, "scenes 1 rows columns"]) -> Float[Tensor, "scenes 1 rows columns"]:
    return avg_pool2d(pad(grid, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _make_noise(scenes: int, rng: Generator, *, smooth: bool = True) -> Float[Tensor, "scenes rows columns"]:
    """Noise of deviation 1."""
    white = torch.from_numpy(rng.standard_normal((scenes, 1, GRID + 2, GRID + 2)).astype(np.float32))
    return (avg_pool2d(white, 3, stride=1) * 3 if smooth else white[:, :, 1:-1, 1:-1])[:, 0]


def _draw_gain(scenes: int, rng: Generator) -> Float[Tensor, "scenes 1 1"]:
    return torch.from_numpy(rng.uniform(0.5, 1.5, (scenes, 1, 1)).astype(np.float32))


def _make_detector(
    masks: Bool[np.ndarray, "scenes concepts height width"], concepts: Sequence[int], rng: Generator, noise: float
) -> Float[Tensor, "scenes rows columns"]:
    cover = torch.stack([_measure_cover(masks, one) for one in concepts]).amax(0)
    return torch.relu(_draw_gain(len(masks), rng) * cover + noise * _make_noise(len(masks), rng))


def _make_inverted(
    masks: Bool[np.ndarray, "scenes concepts height width"], concept: int, rng: Generator, noise: float
) -> Float[Tensor, "scenes rows columns"]:
    return torch.relu(
        _draw_gain(len(masks), rng) * (1 - _measure_cover(masks, concept)) + noise * _make_noise(len(masks), rng)
    )


def _make_placed(scenes: int, number: int, rng: Generator, noise: float) -> Float[Tensor, "scenes rows columns"]:
    """One of four lines, a third or two thirds across or down: on both sides of it equally many cells fire."""
    line = torch.zeros(GRID, GRID, device="cpu")
    at = GRID // 3 * (1 + number % 2)
    line[:, at - 1 : at + 1] = 1
    if number % _LINES >= 2:
        line = line.T
    return torch.relu(_draw_gain(scenes, rng) * line + noise * _make_noise(scenes, rng))
