"""Pictures in TensorBoard: images by tag and step, and beside them the curve of what the model gives each target."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.integrations.heatmaps import PREFIX, HeatmapPicture


@final
class TensorBoardWriter:
    """Images ``heatmaps/photo/label`` and scalars ``heatmaps/photo/label/probability`` (or ``score``).

    Args:
        target: the folder of the event files, or a ``SummaryWriter`` of your own, which stays open.

    Raises:
        InputError: tensorboard isn't installed, or ``target`` can't take images.
    """

    def __init__(self, target: Any) -> None:
        self._folder = Path(target) if isinstance(target, (str, Path)) else None
        if self._folder is not None:
            import_extra("torch.utils.tensorboard", "tensorboard")
        elif not (hasattr(target, "add_image") and hasattr(target, "add_scalar")):
            raise InputError(f"a {type(target).__name__} was given; expected a folder or a SummaryWriter")
        self._writer = None if self._folder is not None else target

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        """Add an image and a number for each picture."""
        if self._writer is None:
            self._writer = import_extra("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(self._folder))
        for picture in pictures:
            what, value = picture.value
            tag = f"{PREFIX}/{picture.tag}"
            self._writer.add_image(tag, picture.pixels, picture.step, dataformats="HWC")
            self._writer.add_scalar(f"{tag}/{what}", value, picture.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file, if this writer opened it."""
        if self._folder is not None and self._writer is not None:
            self._writer.close()
            self._writer = None
