"""What the exports have in common: photos with their maps, from explanations, outcomes or a run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vlcam.contracts import Geometry, InputError, Kind, Measure, Target, show_record
from vlcam.explanation.batches import Outcome
from vlcam.explanation.record import AbstractExplanation, Flag, TargetView
from vlcam.image.geometry import to_photo
from vlcam.runs import Run, RunPhoto, RunRow

Source: TypeAlias = Any
"""An explanation, an outcome of :func:`vlcam.explain_batches`, an iterable of either, or a run (:func:`vlcam.open_run`)."""

_EXPECTED: Final = "expected an explanation, an iterable of explanations, the outcomes of vlcam.explain_batches, or a run (vlcam.open_run)"


@final
@dataclass(frozen=True, eq=False)
class ExportedMap:
    """One target with its map ``(rows, columns)`` as it is drawn, in the target's units; ``geometry`` lays it on the photo."""

    target: Target
    flag: Flag
    heat: Float[Tensor, "rows columns"]
    geometry: Geometry
    relu: bool
    p: float | None = None
    sentence: str | None = None

    __repr__ = show_record

    def draw(self, longest: int) -> Float[Tensor, "height width"]:
        """The map on a copy of the photo whose longer side has at most ``longest`` pixels; NaN where the model did not see it."""
        width, height = self.geometry.photo_size
        factor = min(1.0, longest / max(width, height))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return to_photo(self.heat[None].float().cpu(), self.geometry, size=size)[0]

    def find_limit(self) -> float:
        """The largest absolute value of the map; 0 for a map that shows nothing."""
        return float(self.heat.abs().max()) if self.flag == "ok" else 0.0


@final
@dataclass(frozen=True, eq=False)
class ExportedPhoto:
    """A photo with what was explained about it.

    ``key`` tells photos apart; ``path`` is the file, if it is known; ``size`` is ``(width, height)`` in pixels. ``label`` is what the model
    said (class, caption or answer), ``truth`` what is true, if that is known. ``pixels`` may be smaller than the photo.
    """

    key: str
    name: str
    path: Path | None
    size: tuple[int, int]
    task: str
    label: str
    question: str | None
    truth: str | None
    pixels: UInt8[np.ndarray, "height width 3"] | None
    maps: tuple[ExportedMap, ...]
    model: str = ""
    layer: str = ""
    method: str = ""

    __repr__ = show_record


def iterate_photos(source: Source) -> Iterator[ExportedPhoto]:
    """The photos of a source one by one. Photos that failed are left out.

    Raises:
        InputError: the source, or something in it, is none of what can be exported.
    """
    if isinstance(source, Run):
        yield from _iterate_run(source)
        return
    if isinstance(source, (AbstractExplanation, Outcome)):
        source = [source]
    if isinstance(source, (str, bytes, Path)) or not isinstance(source, Iterable):
        raise InputError(f"a {type(source).__name__} was given; {_EXPECTED}")
    for one in source:
        if isinstance(one, AbstractExplanation):
            yield _read_explanation(one, None)
        elif not isinstance(one, Outcome):
            raise InputError(f"a {type(one).__name__} was given among the explanations; {_EXPECTED}")
        elif one.explanation is not None:
            truth = one.label_name if one.label_name is not None else one.label
            yield _read_explanation(one.explanation, None if truth is None else str(truth))


def _read_explanation(one: AbstractExplanation, truth: str | None) -> ExportedPhoto:
    photo = one.photo
    return ExportedPhoto(
        key=f"{photo.name} {photo.sha256}",
        name=photo.name,
        path=None,
        size=(photo.width, photo.height),
        task=one.task,
        label=one.text,
        question=one.question,
        truth=truth,
        pixels=photo.pixels,
        maps=tuple(_read_view(view) for view in one),
        model=one.model,
        layer=one.layer,
        method=one.method,
    )


def _read_view(view: TargetView) -> ExportedMap:
    test, neurons = view.significance, view.neurons
    heat = view.map if view.flag != "nonfinite" else torch.full_like(view.signed_map, float("nan"))
    return ExportedMap(
        target=view.target,
        flag=view.flag,
        heat=heat,
        geometry=view.explanation.geometry,
        relu=view.explanation.relu,
        p=None if test is None else test.p,
        sentence=None if neurons is None else neurons.get_text(),
    )


def _iterate_run(run: Run) -> Iterator[ExportedPhoto]:
    """The photos of the rows of a run, which may be filtered; rows and photos come in the same order."""
    photos = iter(run.photos)
    for index, rows in groupby(run, key=lambda row: row["photo_index"]):
        known = [row for row in rows if row["target"] is not None]
        photo = next((one for one in photos if one["photo_index"] == index), None)
        if known:
            yield _read_rows(known, photo)


def _read_rows(rows: list[RunRow], photo: RunPhoto | None) -> ExportedPhoto:
    first = rows[0]
    path = None if photo is None or photo["path"] is None else Path(photo["path"])
    picture = None if photo is None else photo.picture
    return ExportedPhoto(
        key=first["photo"],
        name=Path(first["photo"]).name if path is None else path.name,
        path=path,
        size=first.geometry.photo_size,
        task=first["task"],
        label=first["label"],
        question=first["question"],
        truth=first["truth"],
        pixels=None if picture is None else np.asarray(picture.convert("RGB")),
        maps=tuple(_read_row(row) for row in rows),
        model=first["model"] or "",
        layer=first["layer"] or "",
        method=first["method"] or "",
    )


def _read_row(row: RunRow) -> ExportedMap:
    target = Target(
        row["target"],
        cast(Kind, row["kind"]),
        float("nan") if row["score"] is None else row["score"],
        row["probability"],
        measure=cast(Measure, row["measure"] or "score"),
    )
    return ExportedMap(target, row["flag"], row.map, row.geometry, row["relu"], row["p"], row["sentence"])
