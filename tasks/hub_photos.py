"""Image processors of transformers: what they make of a photo, and where that lies on it."""

from dataclasses import dataclass, field
from typing import Any, final

from PIL.Image import Image

from vlcam.contracts import Geometry, InputError, show_record
from vlcam.files import refuse_broken
from vlcam.image.geometry import compute_resized_size, make_resize_geometry
from vlcam.image.photo import as_rgb
from vlcam.tasks.hub_places import measure_tiles


@final
@dataclass(frozen=True)
class HubPreprocess:
    """A photo through an image processor of transformers, with the geometry that leads back.

    Where the processor's settings don't tell, the place is measured, once for each size of photo.
    """

    processor: Any
    known: dict[tuple[int, int], Geometry] = field(default_factory=dict, compare=False, repr=False)

    __repr__ = show_record

    def __call__(self, image: Image) -> tuple[Any, Geometry]:
        """``pixel_values`` ``(1, 3, height, width)`` and where they lie on the photo.

        Raises:
            InputError: the processor makes something else of a photo (tiles, patches), or turns or bends it.
        """
        pixels = self._make_pixels(image)
        if pixels.ndim != 4 or len(pixels) != 1:
            raise InputError(
                f"{type(self.processor).__name__} makes {tuple(pixels.shape)} of a photo; expected (1, 3, height, width): "
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

    def _make_pixels(self, image: Image) -> Any:
        with refuse_broken(
            f"a photo of {image.width} x {image.height} pixels",
            "settings of the image processor that fit the model",
            fault=f"can't be prepared by {type(self.processor).__name__}: {{}}",
        ):
            return self.processor(images=as_rgb(image), return_tensors="pt")["pixel_values"]


def compute_geometry(processor: Any, photo_size: tuple[int, int], input_size: tuple[int, int]) -> Geometry:
    """Where an input of ``(width, height)`` lies on the photo, from the processor's settings.

    Raises InputError for settings that are not known here.
    """
    if getattr(processor, "size", None) is None:
        raise InputError(f"{type(processor).__name__} doesn't say in its settings how it places photos")
    size, crop = _read_sizes(getattr(processor, "size", None)), _read_sizes(getattr(processor, "crop_size", None))
    shortest = size.get("shortest_edge")
    if any(getattr(processor, name, False) for name in ("do_pad", "do_thumbnail", "do_align_long_axis")):
        raise InputError(f"{type(processor).__name__} turns or pads photos in a way that its settings don't tell")
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
