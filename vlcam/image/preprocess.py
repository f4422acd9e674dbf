"""How a photo becomes a model's input, with the geometry that leads back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Geometry, InputError, show_record
from vlcam.image.geometry import (
    compute_resized_size,
    fit_size,
    make_crop_geometry,
    make_letterbox_geometry,
    make_resize_geometry,
)
from vlcam.image.photo import as_rgb, as_rgba, get_bands

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["resize", "crop", "letterbox"]
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MODES = ("resize", "crop", "letterbox")
_RESAMPLES = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_HARDLY = 0.75
"""A pixel of the input, less what rounding may do: so much of the photo is cut off, or margin."""
_MOST_PIXELS = 200_000_000
"""A photo of 1 x 50 000 pixels, its shorter side resized to 224, would fill the memory."""


@final
@dataclass(frozen=True)
class PreprocessSettings:
    """What was done to a photo before the model saw it, as far as that is known.

    ``size`` is ``(width, height)`` of the model's input for this photo. ``mode`` says what that shows of it: all (``resize``), the middle
    (``crop``), or all with margins (``letterbox``). ``mean`` and ``std`` normalised values of 0..1.
    """

    size: tuple[int, int]
    mode: str
    resize_shorter: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None

    __repr__ = show_record


def describe_preprocessing(preprocess: Any, geometry: Geometry) -> PreprocessSettings:
    """The settings of a preprocessing that can tell them by a method ``describe``; of any other what the geometry shows."""
    describe = getattr(getattr(preprocess, "__self__", preprocess), "describe", None)
    known: Mapping[str, Any] = describe() if callable(describe) else {}
    return PreprocessSettings(**{"size": geometry.input_size, "mode": _infer_mode(geometry), **known})


def make_remarks(preprocess: Any, image: "Image") -> tuple[str, ...]:
    """What a preprocessing has to say about a photo; see :class:`Preprocess`."""
    remark = getattr(getattr(preprocess, "__self__", preprocess), "remark", None)
    return tuple(remark(image)) if callable(remark) else ()


def _infer_mode(geometry: Geometry) -> Mode:
    """What the input shows of the photo, from where it lies on it, give or take a pixel."""
    sides = zip(geometry.photo_size, geometry.input_size, geometry.scale, geometry.offset, strict=True)
    over = [max(-offset, side * scale + offset - size) for side, size, scale, offset in sides]
    if max(over) > _HARDLY:
        return "crop"
    return "letterbox" if min(over) < -_HARDLY else "resize"


@final
@dataclass(frozen=True)
class Preprocess:
    """Resize a photo, scale its values to 0..1 and normalise them, as torchvision does with PIL images.

    ``size`` is the model's input, a side or ``(width, height)``. ``mode`` is ``resize`` (all of the photo, stretched), ``crop``
    (the shorter side to ``resize_shorter``, then the middle; by default the longer side of ``size``) or ``letterbox`` (all of the
    photo, not stretched, with margins). ``fill`` is the RGB of margins, 0 to 255. Resizing is PIL's, so with antialias.

    ``channels`` is what the model takes: 3 for RGB; 1 for grey, which is the luma of ITU-R 601-2 as in torchvision's ``Grayscale``;
    4 for RGBA, where a photo without transparency is opaque. :class:`vlcam.image.photo.Bands` have any number, which are resized as they
    are (margins are 0). ``mean`` and ``std`` have one number per channel, for values of 0..1; by default ImageNet's for RGB, and 0
    and 1 for anything else.

    ``remark(photo)`` may give sentences about a photo that isn't one of those that the model was made for; they stand first in the
    explanation's ``notes``.

    ``Preprocess(224, mode="crop", resize_shorter=256, ...)`` gives the very numbers of
    ``Compose([Resize(256), CenterCrop(224), ToTensor(), Normalize(...)])``.
    """

    size: int | tuple[int, int]
    mode: Mode = "resize"
    resize_shorter: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resample: Resample = "bilinear"
    fill: tuple[int, int, int] = (0, 0, 0)
    channels: int = 3
    remark: Callable[["Image"], tuple[str, ...]] | None = field(default=None, repr=False, compare=False)

    __repr__ = show_record

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise InputError(
                f"channels={self.channels} was given; expected 1 (grey), 3 (RGB), 4 (RGBA) or the number of bands"
            )
        for name, usual, other in (("mean", _MEAN, 0.0), ("std", _STD, 1.0)):
            if not getattr(self, name):
                object.__setattr__(self, name, usual if self.channels == 3 else (other,) * self.channels)
        if min(self.input_size) < 1:
            raise InputError(f"size={self.size} was given; expected a positive side or (width, height) in pixels")
        if self.mode not in _MODES:
            raise InputError(f"mode={self.mode!r} was given; expected one of {', '.join(_MODES)}")
        if self.resample not in _RESAMPLES:
            raise InputError(f"resample={self.resample!r} was given; expected one of {', '.join(_RESAMPLES)}")
        if self.resize_shorter is not None and (self.mode != "crop" or self.resize_shorter < 1):
            raise InputError(
                f"resize_shorter={self.resize_shorter} was given with mode={self.mode!r}; it is a positive number of pixels, "
                "and for mode='crop' only"
            )
        if not len(self.mean) == len(self.std) == self.channels or not all(one > 0 for one in self.std):
            count = "three numbers" if self.channels == 3 else f"{self.channels} number{'s' * (self.channels > 1)}"
            raise InputError(
                f"mean={self.mean} and std={self.std} were given; expected {count} each, those of std positive"
            )
        if not all(0 <= one <= 255 for one in self.fill):
            raise InputError(f"fill={self.fill} was given; expected red, green and blue from 0 to 255")

    @property
    def input_size(self) -> tuple[int, int]:
        """``(width, height)`` of the model's input."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def describe(self) -> dict[str, Any]:
        """The settings that hold for every photo, for :class:`PreprocessSettings`."""
        return {
            "mode": self.mode,
            "resize_shorter": self._shorter if self.mode == "crop" else None,
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.resample,
        }

    def geometry(self, photo_size: tuple[int, int]) -> Geometry:
        """Where the input lies on a photo of a ``(width, height)``."""
        if self.mode == "resize":
            return make_resize_geometry(photo_size, self.input_size)
        if self.mode == "letterbox":
            return make_letterbox_geometry(photo_size, self.input_size)
        return make_crop_geometry(photo_size, self._shorter, self.input_size)

    def __call__(self, image: "Image") -> tuple[Float[Tensor, "1 channels height width"], Geometry]:
        """The input of one photo and where it lies on it.

        The photo must be upright already: :func:`vlcam.image.photo.open_photo` applies the EXIF orientation.

        Raises:
            InputError: for a photo so long and narrow that resizing its shorter side would need more than 200 million pixels, or one
                whose bands aren't the model's channels.
        """
        geometry = self.geometry(image.size)
        new = self._compute_size(image.size)
        if new[0] * new[1] > _MOST_PIXELS:
            raise InputError(
                f"a photo of {image.width} x {image.height} pixels was given, {new[0]} x {new[1]} after resizing its shorter side; "
                "it is too long and narrow for mode='crop': cut it, or use mode='letterbox'"
            )
        at = int(geometry.offset[0]), int(geometry.offset[1])
        values = np.concatenate([self._place(one, fill, new, at) for one, fill in self._split_channels(image)], 2)
        found = torch.from_numpy(values).permute(2, 0, 1).contiguous().to(torch.float32)
        if values.dtype == np.uint8:
            found = found.div(255)
        mean, std = (
            torch.tensor(one, dtype=torch.float32, device="cpu")[:, None, None] for one in (self.mean, self.std)
        )
        return found.sub(mean).div(std)[None], geometry

    def _split_channels(self, image: "Image") -> "list[tuple[Image, Any]]":
        """The photo as the pictures that together have the model's channels, each with the colour of its margins."""
        from PIL import Image as Images

        bands = get_bands(image)
        if bands is not None and bands.dtype != np.uint8:
            if bands.shape[2] != self.channels:
                raise InputError(
                    f"a photo of {bands.shape[2]} bands was given, but the model's input has {self.channels} channels; give "
                    "vlcam.Preprocess(channels=...) of a model that takes them, or choose bands"
                )
            return [(Images.fromarray(np.ascontiguousarray(band)), 0.0) for band in np.moveaxis(bands, 2, 0)]
        if self.channels == 3:
            return [(as_rgb(image), self.fill)]
        if self.channels == 4:
            return [(as_rgba(image), (*self.fill, 255))]
        if self.channels == 1:
            return [(as_rgb(image).convert("L"), Images.new("RGB", (1, 1), self.fill).convert("L").getpixel((0, 0)))]
        raise InputError(
            f"an RGB photo was given, but the model's input has {self.channels} channels; give the photo as "
            f"vlcam.image.photo.Bands with {self.channels} bands"
        )

    def _place(self, picture: "Image", fill: Any, new: tuple[int, int], at: tuple[int, int]) -> np.ndarray:
        """A picture resized and put on the model's input: ``(height, width, channels)``, of uint8 or float32."""
        from PIL import Image as Images

        small = picture.resize(new, Images.Resampling[self.resample.upper()])
        if self.mode != "resize":
            canvas = Images.new(small.mode, self.input_size, fill)
            canvas.paste(small, at)
            small = canvas
        values = np.array(small)
        return values if values.ndim == 3 else values[:, :, None]

    @property
    def _shorter(self) -> int:
        return max(self.input_size) if self.resize_shorter is None else self.resize_shorter

    def _compute_size(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        if self.mode == "resize":
            return self.input_size
        if self.mode == "letterbox":
            return fit_size(photo_size, self.input_size)
        return compute_resized_size(photo_size, self._shorter)
