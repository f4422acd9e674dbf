"""Heatmaps as a callback of Lightning's Trainer.

Under ``Trainer.validate`` everything runs in torch's inference mode, where nothing can be differentiated; :func:`vlcam.explain` leaves
it for as long as it takes.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.integrations.heatmaps import PREFIX, HeatmapPicture, Heatmaps, Writer
from vlcam.integrations.tensorboard import TensorBoardWriter


def lightning_callback(heatmaps: Heatmaps) -> Any:
    """A ``lightning.pytorch.Callback`` that logs after every validation, and after training epochs without one.

    The pictures go to the writers of ``heatmaps`` and to those of the trainer's loggers that take pictures (TensorBoard, Weights &
    Biases), at ``trainer.global_step``. The sanity check before training is skipped. Works with ``pytorch_lightning`` as well, if
    that is what was imported.

    Args:
        heatmaps: the photos and the task; ``every`` there is counted in epochs.

    Raises:
        InputError: Lightning isn't installed.
    """
    alone = "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules
    return _make_callback_class("pytorch_lightning" if alone else "lightning.pytorch")(heatmaps)


@cache
def _make_callback_class(module: str) -> type:
    return type("HeatmapCallback", (_LightningHooks, import_extra(module, "lightning").Callback), {})


class _LightningHooks:
    """What happens when."""

    def __init__(self, heatmaps: Heatmaps) -> None:
        self.heatmaps = heatmaps
        self._last: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return lightning_callback, (self.heatmaps,)  # the class has no name of its own to be pickled by

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._log(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._last != trainer.current_epoch:  # there was no validation
            self._log(trainer)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._last = None
        if trainer.is_global_zero:
            self.heatmaps.close()

    def _log(self, trainer: Any) -> None:
        self._last = trainer.current_epoch
        if not trainer.is_global_zero:
            return
        takers = [one for one in trainer.loggers if _takes_pictures(one)]
        also: list[Writer] = [_LoggerWriter(one) for one in takers]
        if not also and not self.heatmaps.writers:
            also = [_MissingWriter(tuple(type(one).__name__ for one in trainer.loggers))]
        self.heatmaps.log(trainer.current_epoch, step=trainer.global_step, also=also)


@final
@dataclass(frozen=True)
class _LoggerWriter:
    """One of the trainer's loggers."""

    logger: Any

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        if not hasattr(self.logger, "log_image"):
            TensorBoardWriter(self.logger.experiment).write(pictures)
            return
        for one in pictures:
            self.logger.log_image(f"{PREFIX}/{one.tag}", [one.pixels], step=one.step, caption=[one.caption])
            self.logger.log_metrics({f"{PREFIX}/{one.tag}/{one.value[0]}": one.value[1]}, step=one.step)

    def close(self) -> None:
        """The trainer closes its loggers."""


@final
@dataclass(frozen=True)
class _MissingWriter:
    """Stands in for a missing logger: raises the error that Heatmaps then reports, since no logger takes the pictures."""

    loggers: tuple[str, ...]

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        raise InputError(
            f"the trainer has no logger that takes pictures (its loggers: {', '.join(self.loggers) or 'none'}); give "
            "Heatmaps(writers=...) one, such as FolderWriter, or the trainer a TensorBoardLogger or WandbLogger"
        )

    def close(self) -> None:
        """Nothing is open."""


def _takes_pictures(logger: Any) -> bool:
    return hasattr(logger, "log_image") or hasattr(logger.experiment, "add_image")
