"""Image processors of transformers: what they turn a photo into, and where that lies on it."""

from dataclasses import dataclass, field
from typing import Any, final

from PIL.Image import Image, Resampling

from vlcam.contracts import Geometry, InputError, show_record
from vlcam.files import refuse_broken
from vlcam.image.geometry import compute_resized_size, make_resize_geometry
from vlcam.image.photo import as_rgb
from vlcam.tasks.hub_places import measure_tiles


@final
@dataclass(frozen=True)
class HubPreprocess:
    """A photo through an image processor of transformers, with the geometry that leads back.

    Where the processor's settings don't say, the position is measured, once for each size of photo. ``channels`` is 3 for RGB, 1 for grey.
    """

    processor: Any
    channels: int = 3
    known: dict[tuple[int, int], Geometry] = field(default_factory=dict, compare=False, repr=False)

    __repr__ = show_record

    def __call__(self, image: Image) -> tuple[Any, Geometry]:
        """``pixel_values`` ``(1, 3, height, width)`` and where they lie on the photo.

        Raises:
            InputError: the processor turns a photo into something else (tiles, patches), or rotates, mirrors or warps it.
        """
        pixels = self._make_pixels(image)
        if pixels.ndim != 4 or len(pixels) != 1:
            raise InputError(
                f"{type(self.processor).__name__} turns a photo into {tuple(pixels.shape)}; expected (1, 3, height, width): "
                "give preprocess=, a function that returns the input and its vlcam.Geometry"
            )
        try:
            return pixels, compute_geometry(self.processor, image.size, (pixels.shape[3], pixels.shape[2]))
        except InputError:
            if image.size not in self.known:
                (found,) = measure_tiles(self._make_pixels, image.size)
                if found is None:
                    raise
                self.known[image.size] = found
            return pixels, self.known[image.size]

    def describe(self) -> dict[str, Any]:
        """What the processor's settings say, for :class:`vlcam.image.preprocess.PreprocessSettings`."""
        return describe_processor(self.processor)

    def _make_pixels(self, image: Image) -> Any:
        shown = as_rgb(image) if self.channels == 3 else as_rgb(image).convert("L")
        with refuse_broken(
            f"a photo of {image.width} x {image.height} pixels",
            "settings of the image processor that fit the model, or preprocess=, such as vlcam.Preprocess(size, channels=1)",
            fault=f"can't be turned into an input of {self.channels} channel(s) by {type(self.processor).__name__}: {{}}",
        ):
            made = self.processor(images=shown, return_tensors="pt")
        if "pixel_values" not in made:
            raise InputError(
                f"{type(self.processor).__name__} turns a photo into {', '.join(map(str, made)) or 'nothing'}; expected pixel_values, "
                "(1, channels, height, width): give preprocess=, a function that returns the input and its vlcam.Geometry"
            )
        pixels = made["pixel_values"]
        if pixels.ndim == 4 and pixels.shape[1] != self.channels:
            raise InputError(
                f"{type(self.processor).__name__} turns a photo into {pixels.shape[1]} channels, but the model takes {self.channels}; give "
                f"preprocess=vlcam.Preprocess(..., channels={self.channels})"
            )
        return pixels


def make_hub_preprocess(model: Any, processor: Any) -> HubPreprocess:
    """How a classifier of transformers takes its photos. Raises InputError for one that takes neither RGB nor grey."""
    config = model.config
    channels = (
        getattr(config, "num_channels", None)
        or getattr(getattr(config, "vision_config", None), "num_channels", None)
        or 3
    )
    if channels not in (1, 3):
        raise InputError(
            f"the model takes photos of {channels} channels, which its processor can't make; give "
            f"preprocess=vlcam.Preprocess(..., channels={channels})"
        )
    return HubPreprocess(processor, channels)


def describe_processor(processor: Any) -> dict[str, Any]:
    """How an image processor resizes and normalises, as far as its settings say."""
    photos = getattr(processor, "image_processor", None) or processor
    size = _read_sizes(getattr(photos, "size", None)) if getattr(photos, "do_resize", True) else {}
    shorter = size.get("shortest_edge") if len(size) == 1 else None  # with another, it may be a number of pixels
    found: dict[str, Any] = {"resize_shorter": shorter, "interpolation": _name_filter(photos)}
    if getattr(photos, "do_normalize", True):
        for name in ("mean", "std"):
            values = getattr(photos, f"image_{name}", None)
            several = tuple(map(float, values)) if isinstance(values, (tuple, list)) else None
            found[name] = several if several is not None or values is None else (float(values),) * 3
    return found


def _name_filter(processor: Any) -> str | None:
    """PIL's name of the filter that resizes photos, in lower case."""
    wanted = getattr(processor, "resample", None)
    try:
        return None if wanted is None else Resampling(int(wanted)).name.lower()
    except (TypeError, ValueError):
        name = getattr(wanted, "name", None)
        return name.lower() if isinstance(name, str) else None


def compute_geometry(processor: Any, photo_size: tuple[int, int], input_size: tuple[int, int]) -> Geometry:
    """Where an input of ``(width, height)`` lies on the photo, from the processor's settings.

    Raises InputError for settings that are not known here.
    """
    if getattr(processor, "size", None) is None:
        raise InputError(f"{type(processor).__name__} doesn't say in its settings how it places photos")
    size, crop = _read_sizes(getattr(processor, "size", None)), _read_sizes(getattr(processor, "crop_size", None))
    shortest = size.get("shortest_edge")
    if any(getattr(processor, name, False) for name in ("do_pad", "do_thumbnail", "do_align_long_axis")):
        raise InputError(f"{type(processor).__name__} rotates or pads photos in a way that its settings don't describe")
    if not getattr(processor, "do_resize", True):
        shortest, size = min(photo_size), {}
    percent = getattr(processor, "crop_pct", None)
    if percent is not None and shortest is not None:
        if shortest >= 384 and type(processor).__name__.startswith("ConvNext"):
            return make_resize_geometry(photo_size, input_size)
        return _compute_crop_geometry(photo_size, compute_resized_size(photo_size, int(shortest / percent)), input_size)
    if getattr(processor, "do_center_crop", False) and crop:
        if "height" in size:
            return _compute_crop_geometry(photo_size, (size["width"], size["height"]), input_size)
        if type(processor).__name__.startswith("Levit") and shortest is not None:
            shortest = int(256 / 224 * shortest)
        return _compute_crop_geometry(
            photo_size, compute_resized_size(photo_size, shortest or min(photo_size)), input_size
        )
    return make_resize_geometry(photo_size, input_size)


def _compute_crop_geometry(
    photo_size: tuple[int, int], middle: tuple[int, int], input_size: tuple[int, int]
) -> Geometry:
    """Resized to ``middle``, then the middle of that cut out, rounded as transformers does."""
    (left, top) = (
        float(-int((have - want) / 2)) if have >= want else float((want - have) // 2)
        for have, want in zip(middle, input_size, strict=True)
    )
    scale = (middle[0] / photo_size[0], middle[1] / photo_size[1])
    return Geometry(photo_size, input_size, scale, (left, top))


def _read_sizes(size: Any) -> dict[str, int]:
    if size is None:
        return {}
    items = size.items() if hasattr(size, "items") else vars(size).items()
    return {str(name): int(value) for name, value in items if value is not None}
