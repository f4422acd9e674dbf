"""Heatmaps as a callback of transformers' Trainer."""

from functools import cache
from typing import Any

from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.integrations.heatmaps import Heatmaps


def trainer_callback(heatmaps: Heatmaps, *, when: str = "epoch") -> Any:
    """A ``transformers.TrainerCallback`` that logs after every epoch, or after every evaluation, at ``state.global_step``.

    The Trainer keeps its TensorBoard writer to itself, so give ``heatmaps`` writers; a :class:`vlcam.integrations.WandbWriter` finds
    the run of ``report_to="wandb"`` by itself.

    Args:
        heatmaps: the photos and the task of the model that the Trainer gets; ``every`` there is counted in epochs, from 1.
        when: after which event, ``epoch`` or ``evaluation``.

    Raises:
        InputError: no such event, or no writers.
    """
    if when not in ("epoch", "evaluation"):
        raise InputError(f"when={when!r} was given; expected epoch or evaluation")
    if not heatmaps.writers:
        raise InputError(
            "heatmaps without writers were given; the Trainer has none to lend: give Heatmaps(writers=...) one"
        )
    return _make_callback_class()(heatmaps, when)


@cache
def _make_callback_class() -> type:
    return type("HeatmapCallback", (_TrainerHooks, import_extra("transformers", "trainer").TrainerCallback), {})


def _rebuild_callback(heatmaps: Heatmaps, when: str) -> Any:
    return trainer_callback(heatmaps, when=when)


class _TrainerHooks:
    """What happens when."""

    def __init__(self, heatmaps: Heatmaps, when: str) -> None:
        self.heatmaps, self.when = heatmaps, when

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_callback, (self.heatmaps, self.when)  # the class has no name of its own to be pickled by

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.when == "epoch":
            self._log(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.when == "evaluation":
            self._log(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.heatmaps.close()

    def _log(self, state: Any) -> None:
        if state.is_world_process_zero:
            self.heatmaps.log(round(state.epoch or 0), step=state.global_step)
