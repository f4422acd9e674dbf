"""What a report shows of each unit besides its name: pictures, errors of the name, and how the unit's activations are spread.

The pictures that excite a unit most are the oldest evidence for what it stands for (Network Dissection, arXiv 1704.05796, figure 4), but
the top of the range is a small part of what a unit does. So there are pictures of the middle of the range as well, and those where the name
fails: its concept is there and the unit silent, or the unit fires without it. Of a name and all pictures that are labelled for it,

``precision = |fires & there| / |fires|,  recall = |fires & there| / |there|``,

where a unit fires in a picture if its map's maximum is above T_k, and a concept is there if the labels show it where the model looks.

Maps are read twice, from start to end; labels once a picture; of the photos, only those that are shown are opened, once each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from vlcam.contracts import InputError, show_record
from vlcam.image.photo import open_photo
from vlcam.neurons.names.names import NeuronNames
from vlcam.neurons.names.record import NeuronName
from vlcam.neurons.probes.probe import Concept, GridLabels, Probe, Sample, WordProbe
from vlcam.neurons.probes.rasters import rasterise
from vlcam.neurons.report.drawings import crop, draw_outline, make_thumbnail, place_on_photo
from vlcam.neurons.scoring.activations import Activations
from vlcam.neurons.scoring.survey import Survey, average_by_class, survey

Progress = Callable[[int, int], None]

EXEMPLARS: Final = 8
MIDDLE: Final = 2
ERRORS: Final = 2
GRID: Final = (24, 24)  # cells on which it is decided whether a concept is there
_QUANTILES: Final = (0.7, 0.9)
_OF_PICTURES: Final = frozenset({"class", "scene"})


@final
@dataclass(frozen=True)
class Exemplar:
    """One picture on a unit's card: ``value`` is the unit's maximum there, ``group`` the picture's class, if it has one.

    ``photo`` and ``crop`` are JPEG files: the thumbnail with a line around what is above T_k, and that part alone.
    """

    picture: str
    value: float
    group: str | None
    photo: bytes
    crop: bytes | None

    __repr__ = show_record


@final
@dataclass(frozen=True)
class Card:
    """What is known of one unit.

    ``top``: the pictures with the highest maxima, at most one of each class as long as there are others; ``middle``: pictures of
    the 70-90 % range; ``missed``: the name's concept is there and the unit silent (a line around the concept); ``wrong``: it fires
    and the concept is not there. ``fires`` of ``pictures``; ``precision`` and ``recall`` of the name over pictures, None without
    labels. ``counts`` are those of all activations in equal bins from ``low`` to ``high``; ``zeros`` the share that is exactly 0.
    ``classes``: mean activation in the pictures of a class, the highest five.
    """

    unit: int
    pictures: int
    fires: int
    low: float
    high: float
    zeros: float
    counts: tuple[int, ...]
    top: tuple[Exemplar, ...] = ()
    middle: tuple[Exemplar, ...] = ()
    missed: tuple[Exemplar, ...] = ()
    wrong: tuple[Exemplar, ...] = ()
    precision: float | None = None
    recall: float | None = None
    classes: tuple[tuple[str, float], ...] = ()

    __repr__ = show_record


@final
@dataclass(frozen=True)
class CardPlan:
    """How many pictures a card has, and their longer sides in pixels; 0: none."""

    exemplars: int
    middle: int
    errors: int
    side: int
    crop: int


PLANS: Final = (
    (256, CardPlan(EXEMPLARS, MIDDLE, ERRORS, 112, 80)),
    (768, CardPlan(6, MIDDLE, ERRORS, 96, 64)),
    (1536, CardPlan(5, 1, 1, 80, 0)),
)
"""Up to how many units which plan holds, so that a report stays below some 40 MB."""
_LAST: Final = CardPlan(3, 0, 0, 64, 0)


def choose_plan(units: int, exemplars: int = EXEMPLARS) -> CardPlan:
    """Fewer and smaller pictures for layers of many units.

    >>> choose_plan(192).side, choose_plan(512).exemplars, choose_plan(512, 4).exemplars
    (112, 6, 4)
    """
    plan = next((plan for most, plan in PLANS if units <= most), _LAST)
    return CardPlan(min(plan.exemplars, exemplars), plan.middle, plan.errors, plan.side, plan.crop)


Members = tuple[int, ...]
"""Indices of the probe's concepts that are one concept for the names."""

Joined = Mapping[Concept, Members]


@final
class _Labels:
    """What the labels say: each picture's class, and of the names' concepts the cells that show them."""

    def __init__(
        self, names: NeuronNames, probe: Probe | WordProbe, activations: Activations, joined: Joined, tell: Progress
    ) -> None:
        self.of_unit = [
            () if isinstance(probe, WordProbe) else _find_concepts(unit, probe, joined) for unit in names.units
        ]
        self.groups: list[str | None] = [None] * len(probe)
        self.area = {members: np.zeros(len(probe), np.int32) for members in self.of_unit if members}
        self.known: dict[Members, Bool[np.ndarray, " images"]] = {}
        if isinstance(probe, WordProbe):
            return
        of_concept: dict[int, list[Members]] = {}
        for members in self.area:
            for index in members:
                of_concept.setdefault(index, []).append(members)
        labelled = {probe.concepts[members[0]][1]: np.zeros(len(probe), np.bool_) for members in self.area}
        for image, geometry in enumerate(activations.geometries):
            sample = probe[image]
            self.groups[image] = _find_class(sample, probe)
            for category in sample.categories & labelled.keys():
                labelled[category][image] = True
            if self.area:
                found = rasterise(sample, probe.concepts, geometry, GRID)
                for members in {one for index in found.concepts.tolist() for one in of_concept.get(index, ())}:
                    self.area[members][image] = int(_join_masks(found, members).sum())
            tell(image + 1, 2 * len(probe))
        self.known = {members: labelled[probe.concepts[members[0]][1]] for members in self.area}


def collect(
    names: NeuronNames,
    activations: Activations,
    probe: Probe | WordProbe,
    *,
    exemplars: int = EXEMPLARS,
    seed: int = 0,
    joined: Sequence[tuple[Concept, Members]] = (),
    progress: Progress | None = None,
) -> tuple[Card, ...]:
    """A card for every unit. The same input and seed give the same cards.

    Args:
        names: the names of the units; their thresholds say where a unit fires.
        activations: of the same layer, on the pictures of the probe.
        probe: the pictures. Without labels (a WordProbe) there are no errors of names and no classes.
        exemplars: how many of the strongest pictures; layers of more than 256 units get fewer and smaller ones.
        seed: of the choice of the middle pictures.
        joined: names that stand for several of the probe's concepts (synonyms, kinds of something), with the indices of those.
        progress: called with (steps done, all steps).

    Raises:
        InputError: names, activations and probe don't belong together, or a photo can't be opened.
    """
    if exemplars < 0:
        raise InputError(f"exemplars={exemplars} was given; expected how many pictures to show of a unit, 0 or more")
    _check(names, activations, probe)
    tell = progress or (lambda _done, _all: None)
    labels = _Labels(names, probe, activations, dict(joined), tell)
    stats = survey(activations.maps)
    plan = choose_plan(len(names), exemplars)
    thresholds = np.array([unit.threshold for unit in names.units])
    chosen = [_choose(unit.unit, stats, labels, thresholds, plan, seed) for unit in names.units]
    drawn = _draw(chosen, activations, probe, stats, labels, thresholds, plan, tell)
    classes = average_by_class(stats.means, labels.groups)
    return tuple(_make_card(unit.unit, stats, labels, thresholds, drawn[unit.unit], classes) for unit in names.units)


_Choice = dict[str, list[int]]
"""The numbers of the pictures for each of a card's rows."""


def _choose(
    unit: int, stats: Survey, labels: _Labels, thresholds: Float[np.ndarray, " units"], plan: CardPlan, seed: int
) -> _Choice:
    """Which pictures a card shows."""
    peaks = stats.peaks[:, unit]
    if stats.low[unit] == stats.high[unit]:
        return {}
    order = np.argsort(-peaks, kind="stable")
    order = order[peaks[order] > stats.low[unit]]
    first: list[int] = []
    seen: set[str] = set()
    for image in order.tolist():
        group = labels.groups[image]
        if len(first) == plan.exemplars:
            break
        if group is None or group not in seen:
            first.append(image)
            seen |= set() if group is None else {group}
    if len(first) < plan.exemplars:
        have = set(first)
        first += [image for image in order[: plan.exemplars + len(have)].tolist() if image not in have]
    top = sorted(first[: plan.exemplars], key=lambda image: (-peaks[image], image))
    low, high = (int(part * len(peaks)) for part in _QUANTILES)
    ranked = np.argsort(peaks, kind="stable")[low:high]
    pool = [image for image in ranked.tolist() if image not in top and peaks[image] > stats.low[unit]]
    rng = np.random.default_rng((seed, unit))
    middle = [pool[one] for one in rng.permutation(len(pool))[: plan.middle]]
    out = {"top": top, "middle": sorted(middle, key=lambda image: (-peaks[image], image))}
    members = labels.of_unit[unit]
    if members:
        area, known, fires = labels.area[members], labels.known[members], peaks > thresholds[unit]
        silent = np.flatnonzero(known & (area > 0) & ~fires)
        wrong = np.flatnonzero(known & (area == 0) & fires)
        out["missed"] = silent[np.argsort(-area[silent], kind="stable")][: plan.errors].tolist()
        out["wrong"] = wrong[np.argsort(-peaks[wrong], kind="stable")][: plan.errors].tolist()
    return out


def _draw(
    chosen: Sequence[_Choice],
    activations: Activations,
    probe: Probe | WordProbe,
    stats: Survey,
    labels: _Labels,
    thresholds: Float[np.ndarray, " units"],
    plan: CardPlan,
    tell: Progress,
) -> list[dict[str, list[Exemplar]]]:
    """The pictures of all cards, photo by photo."""
    wanted: dict[int, list[tuple[int, str, int]]] = {}
    for unit, rows in enumerate(chosen):
        for row, images in rows.items():
            for place, image in enumerate(images):
                wanted.setdefault(image, []).append((unit, row, place))
    found: list[dict[str, dict[int, Exemplar]]] = [{row: {} for row in rows} for rows in chosen]
    for done, (image, places) in enumerate(sorted(wanted.items()), 1):
        sample = None if isinstance(probe, WordProbe) else probe[image]
        photo, _ = open_photo(probe.photo(image) if isinstance(probe, WordProbe) else sample.photo)  # type: ignore[union-attr]
        small, geometry = make_thumbnail(photo, plan.side), activations.geometries[image]
        units = sorted({unit for unit, row, _ in places if row != "missed"})
        heats = (
            dict(zip(units, place_on_photo(activations.maps[image][units], geometry, small), strict=True))
            if units
            else {}
        )
        truth: GridLabels | None = None
        for unit, row, place in places:
            parts: tuple[bytes, bytes | None]
            if row == "missed" and sample is not None and not isinstance(probe, WordProbe):
                truth = truth or rasterise(sample, probe.concepts, geometry, GRID)
                mask = _join_masks(truth, labels.of_unit[unit])[None].astype(np.float32)
                parts = draw_outline(small, place_on_photo(mask, geometry, small)[0], 0.5, dim=False), None
            else:
                parts = _draw_exemplar(photo, small, heats[unit], float(thresholds[unit]), plan)
            name, group = activations.names[image], labels.groups[image]
            found[unit][row][place] = Exemplar(name, float(stats.peaks[image, unit]), group, *parts)
        tell(len(probe) + done * len(probe) // len(wanted), 2 * len(probe))
    return [{row: [one for _, one in sorted(by.items())] for row, by in rows.items()} for rows in found]


def _draw_exemplar(
    photo: Image.Image,
    small: np.ndarray,
    heat: Float[np.ndarray, "height width"],
    level: float,
    plan: CardPlan,
) -> tuple[bytes, bytes | None]:
    """The outlined thumbnail, and the crop where the unit fires."""
    return draw_outline(small, heat, level), crop(photo, heat, level, plan.crop) if plan.crop else None


def _make_card(
    unit: int,
    stats: Survey,
    labels: _Labels,
    thresholds: Float[np.ndarray, " units"],
    rows: dict[str, list[Exemplar]],
    classes: Sequence[tuple[tuple[str, float], ...]],
) -> Card:
    fires = stats.peaks[:, unit] > thresholds[unit]
    members = labels.of_unit[unit]
    precision = recall = None
    if members:
        known, there = labels.known[members], labels.area[members] > 0
        both, firing, having = (int(which.sum()) for which in (fires & there & known, fires & known, there & known))
        precision, recall = both / firing if firing else None, both / having if having else None
    return Card(
        unit=unit,
        pictures=len(fires),
        fires=int(fires.sum()),
        low=float(stats.low[unit]),
        high=float(stats.high[unit]),
        zeros=float(stats.zeros[unit]),
        counts=tuple(stats.counts[unit].tolist()),
        precision=precision,
        recall=recall,
        classes=classes[unit] if stats.low[unit] < stats.high[unit] else (),
        **{row: tuple(found) for row, found in rows.items()},
    )


def _find_class(sample: Sample, probe: Probe) -> str | None:
    """The picture's class: what it is labelled with as a whole, if that is one class."""
    whole = [index for index in sample.whole if probe.concepts[index][1] in _OF_PICTURES] or list(sample.whole)
    return probe.concepts[whole[0]][0] if len(whole) == 1 else None


def _find_concepts(unit: NeuronName, probe: Probe, joined: Joined) -> Members:
    """Which concepts of the probe a unit's name is: those joined under it, or else that of this name (and category, if one has it)."""
    if unit.name is None:
        return ()
    if unit.category is not None and (unit.name, unit.category) in joined:
        return tuple(joined[unit.name, unit.category])
    places = [index for index, (name, _) in enumerate(probe.concepts) if name == unit.name]
    exact = [index for index in places if probe.concepts[index][1] == unit.category]
    return tuple((exact or places)[:1])


def _join_masks(found: GridLabels, members: Members) -> Bool[np.ndarray, "rows columns"]:
    """Where a picture shows any of some concepts."""
    shown: Bool[np.ndarray, "rows columns"] = np.logical_or.reduce(
        found.masks[np.isin(found.concepts, members)], axis=0
    )
    return shown


def _check(names: NeuronNames, activations: Activations, probe: Probe | WordProbe) -> None:
    """Raise InputError unless the three are of the same units and pictures."""
    images, units = activations.maps.shape[:2]
    if len(names) != units or names.layer != activations.layer:
        raise InputError(
            f"there are names of {len(names)} units of layer {names.layer!r}, but activations of {units} units of layer "
            f"{activations.layer!r}; give those of the same layer"
        )
    if not images == len(probe) == len(activations.geometries) == len(activations.names) or not images:
        raise InputError(
            f"there are activations of {images} pictures with {len(activations.geometries)} geometries and {len(activations.names)} "
            f"names, but the probe has {len(probe)} pictures; run the model on this probe"
        )
