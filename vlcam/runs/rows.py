"""One photo's explanation, or its error, as the rows of the two tables of a run."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, final

import numpy as np
import torch
from PIL import Image

from vlcam._version import __version__
from vlcam.contracts import Kind, VlcamError, shorten
from vlcam.explanation.document import make_document
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import TargetView
from vlcam.explanation.wording import find_peak, find_shared_peaks
from vlcam.files import describe_error, dump_json
from vlcam.image.geometry import point_to_photo, to_photo
from vlcam.image.photo import Photo

THUMBNAIL: Final = 256
"""The longer side of a thumbnail, in pixels."""

_QUALITY: Final = 80
_COARSE: Final = 128
_LONGEST_ERROR: Final = 2000


@final
@dataclass(frozen=True)
class RowContext:
    """What is known of a photo of a run beside its explanation: its place in the job, its key, and what is true of it."""

    index: int
    key: str
    path: str | None = None
    name: str = ""
    question: str | None = None
    truth: str | None = None
    correct: bool | None = None
    notes: tuple[str, ...] = ()
    task: str = ""
    model: str = ""
    revision: str | None = None


def make_rows(
    about: RowContext, found: Explanation | Exception, photo: Photo | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a photo's targets (one with the error, if it failed), and the row of the photo itself."""
    row = {
        "photo_index": about.index,
        "photo": _keep(about.key),
        "name": _keep(about.name),
        "path": _keep(about.path),
        "error": None,
    }
    if photo is not None:
        row |= {"sha256": photo.sha256, "width": photo.width, "height": photo.height}
        row["thumbnail"] = encode_thumbnail(photo)
    if isinstance(found, Exception):
        row["error"] = describe_failure(found)
        return [make_error_row(about, found, photo)], row
    row["document"] = dump_json(make_document(found, picture=False))
    return make_target_rows(about, found), row


def make_error_row(about: RowContext, error: Exception, photo: Photo | None = None) -> dict[str, Any]:
    """The one row of a photo that failed."""
    size = {} if photo is None else {"photo_width": photo.width, "photo_height": photo.height}
    return {
        "id": f"{about.index}:error",
        **_describe_photo(about),
        **size,
        "correct": None,
        "error": describe_failure(error),
        "notes": list(about.notes),
    }


def make_target_rows(about: RowContext, explanation: Explanation) -> list[dict[str, Any]]:
    """One row for each target of an explanation."""
    geometry = explanation.geometry
    peaks = find_shared_peaks(explanation)
    shared = {
        **_describe_photo(about),
        "correct": about.correct,
        "label": _keep(explanation.text),
        "question": _keep(explanation.question),
        "rows": int(explanation.maps.shape[1]),
        "columns": int(explanation.maps.shape[2]),
        "relu": explanation.relu,
        "steps": ",".join(explanation.steps),
        "photo_width": geometry.photo_size[0],
        "photo_height": geometry.photo_size[1],
        "input_width": geometry.input_size[0],
        "input_height": geometry.input_size[1],
        "scale_x": geometry.scale[0],
        "scale_y": geometry.scale[1],
        "offset_x": geometry.offset[0],
        "offset_y": geometry.offset[1],
        "notes": [_keep(one) for one in (*about.notes, *explanation.notes)],
        "task": explanation.task,
        "model": _keep(explanation.model),
        "layer": _keep(explanation.layer),
        "method": explanation.method,
        "choice": explanation.choice,
    }
    return [{"id": f"{about.index}:{view.index}", **shared, **_describe_target(view, peaks)} for view in explanation]


def _describe_photo(about: RowContext) -> dict[str, Any]:
    return {
        "photo_index": about.index,
        "photo": _keep(about.key),
        "question": _keep(about.question),
        "truth": _keep(about.truth),
        "task": about.task,
        "model": _keep(about.model),
        "revision": about.revision,
        "vlcam": __version__,
    }


def _describe_target(view: TargetView, peaks: dict[Kind, float]) -> dict[str, Any]:
    target, test, text = view.target, view.significance, view.neurons
    span = target.span or (None, None)
    flag, peak = view.flag, find_peak(view)
    values, unit = pack_map(view)
    place = find_peak_place(view) if flag == "ok" else None
    return {
        "target_index": view.index,
        "target": _keep(target.label),
        "kind": target.kind,
        "score": target.score,
        "measure": target.measure,
        "probability": target.probability,
        "span_start": span[0],
        "span_end": span[1],
        "gain": target.gain,
        "p": None if test is None else test.p,
        "p_corrected": None if test is None else test.corrected,
        "flag": flag,
        "map": values,
        "map_unit": unit,
        "faintness": peaks[target.kind] / peak if peak > 0 else None,
        "peak_x": None if place is None else place[0],
        "peak_y": None if place is None else place[1],
        "sentence": None if text is None else _keep(text.get_text("short")),
        "sentence_full": None if text is None else _keep(text.sentence),
        "neurons": None if text is None else list(dict.fromkeys(_keep(one.name) for one in text.named)),
    }


def pack_map(view: TargetView) -> tuple[np.ndarray | None, float | None]:
    """The signed map, row by row, as parts of its largest absolute value, in 16 bits; and that value. None for a map that isn't finite."""
    if view.flag == "nonfinite":
        return None, None
    signed = view.signed_map.detach().double().cpu().numpy()
    unit = float(np.abs(signed).max(initial=0.0))
    parts = signed / unit if unit > 0 else signed
    return parts.astype(np.float16).reshape(-1), unit


def find_peak_place(view: TargetView) -> tuple[float, float] | None:
    """Where on the photo the map as drawn is largest (its size, if signed), in pixels; None if that part of the photo was not seen."""
    drawn, geometry = view.map.detach().abs(), view.explanation.geometry
    rows, columns = drawn.shape
    row, column = divmod(int(drawn.argmax()), columns)
    place = point_to_photo(
        geometry,
        (column + 0.5) * geometry.input_size[0] / columns,
        (row + 0.5) * geometry.input_size[1] / rows,
    )
    if all(0 <= at <= side for at, side in zip(place, geometry.photo_size, strict=True)):
        return place
    # The middle of that cell lies outside the photo, which ends or is cut there.
    width, height = (min(side, _COARSE) for side in geometry.photo_size)
    heat = torch.nan_to_num(to_photo(view.map[None], geometry, size=(width, height))[0].abs(), nan=-1.0)
    y, x = divmod(int(heat.argmax()), width)
    if not heat[y, x] > 0:
        return None
    return (x + 0.5) * geometry.photo_size[0] / width, (y + 0.5) * geometry.photo_size[1] / height


def encode_thumbnail(photo: Photo) -> bytes:
    """The photo as a JPEG whose longer side has at most 256 pixels."""
    picture = Image.fromarray(np.ascontiguousarray(photo.pixels))
    if max(picture.size) > THUMBNAIL:
        width, height = (max(1, round(side * THUMBNAIL / max(picture.size))) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    data = BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def describe_failure(error: Exception) -> str:
    """An error in words; of one that isn't vlcam's own its class as well."""
    text = str(error) if isinstance(error, VlcamError) else f"{type(error).__name__}: {describe_error(error)}"
    return shorten(_keep(text), _LONGEST_ERROR)


def _keep(text: Any) -> Any:
    """A text as Parquet takes it: what UTF-8 doesn't have, such as bytes of odd file names, is shown as a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) and not text.isascii() else text
