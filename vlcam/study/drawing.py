"""How a visualisation is shown to raters: as in the paper, coarse maps on the photo, pictures made of single pixels alone on grey."""

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vlcam.contracts import Maps, Method, PerturbationMethod, Subject, Task
from vlcam.explanation.explain import explain
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import TargetView
from vlcam.image.geometry import to_photo
from vlcam.methods import pixels
from vlcam.render.blending import overlay
from vlcam.render.colour import choose_colours

LONGEST: Final = 384
"""The longer side of every picture on the page, in pixels."""

PIXEL_METHODS: Final = frozenset(one.name for one in pixels.BUILT_IN)
"""Methods of single pixels. The paper shows their signed pictures in colour and without the photo; so do we."""

_STRONG: Final = 0.995
_QUALITY: Final = 82


@final
@dataclass(frozen=True, eq=False)
class Visualisation:
    """A visualisation as raters see it, the photo at the same size, and whether there is nothing to be seen."""

    drawn: UInt8[np.ndarray, "height width 3"]
    photo: UInt8[np.ndarray, "height width 3"]
    empty: bool


def visualise(task: Task, image: Any, about: str, method: Method | PerturbationMethod) -> Visualisation:
    """Visualise one class on an image, on a scale of its own."""
    if method.name not in PIXEL_METHODS or isinstance(method, Method):
        (view,) = explain(task, image, targets=[about], method=method)
        photo = resize_photo(view.explanation)
        return Visualisation(_overlay_on_photo(view, photo), photo, view.flag != "ok")
    pictures: list[Float[Tensor, "targets channels height width"]] = []

    def kept(subject: Subject) -> Maps:
        pictures.append(pixels.make_guided_picture(subject, method.name))
        return pictures[0].abs().amax(1)

    capture = PerturbationMethod(
        method.name, kept, method.title, method.paper, method.equation, relu=method.relu, cost=method.cost
    )
    (view,) = explain(task, image, targets=[about], method=capture)
    photo = resize_photo(view.explanation)
    height, width = photo.shape[:2]
    signed = to_photo(pictures[0][0], view.explanation.geometry, size=(width, height)).float().cpu().numpy()
    return Visualisation(draw_relief(np.moveaxis(signed, 0, 2)), photo, view.flag != "ok")


def draw_relief(picture: Float[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width 3"]:
    """A signed picture around middle grey, which is 0; the 99.5th percentile of sizes is full colour. Unseen pixels are grey as well.

    A picture with another number of channels than three is shown by their mean.

    >>> draw_relief(np.array([[[0.0], [2.0]], [[-2.0], [np.nan]]]))[..., 0].tolist()
    [[128, 255], [1, 128]]
    """
    values = np.nan_to_num(picture, nan=0.0, posinf=0.0, neginf=0.0)
    if values.shape[2] != 3:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    sizes = np.abs(values[values != 0])
    scale = float(np.quantile(sizes, _STRONG)) if sizes.size else 1.0
    grey: UInt8[np.ndarray, "height width 3"] = np.rint(128 + 127 * np.clip(values / scale, -1, 1)).astype(np.uint8)
    return grey


def resize_photo(explanation: Explanation) -> UInt8[np.ndarray, "height width 3"]:
    """The photo as the page shows it: its longer side has 384 pixels, also if it is smaller itself."""
    picture = Image.fromarray(np.ascontiguousarray(explanation.photo.pixels))
    factor = LONGEST / max(picture.size)
    size = max(1, round(factor * picture.width)), max(1, round(factor * picture.height))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def to_data_uri(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """The picture as a data URI, a JPEG that says nothing but its pixels."""
    data = BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def _overlay_on_photo(
    view: TargetView, photo: UInt8[np.ndarray, "height width 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    height, width = photo.shape[:2]
    heat = to_photo(view.map[None], view.explanation.geometry, size=(width, height))[0].float().cpu().numpy()
    heat = np.where(np.isinf(heat), 0, heat)
    return overlay(photo, heat, colours=choose_colours(relu=view.explanation.relu))
