"""Pictures in Weights & Biases: ``wandb.Image`` with its caption, in the run that there is or in an offline one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from vlcam.integrations.heatmaps import PREFIX, HeatmapPicture, import_extra


@final
class WandbWriter:
    """Images ``heatmaps/photo/label`` and numbers ``heatmaps/photo/label/probability`` (or ``score``).

    Pictures go to ``run``, or to the run of this process if there is one: both have a step of their own, so epoch and step are logged
    beside the pictures. Otherwise a run is started with ``wandb.init(mode="offline")``, which sends nothing anywhere.

    Args:
        run: a run of your own, which stays open.
        **init: for ``wandb.init`` where a run has to be started, such as ``project``, ``dir``, or ``mode="online"``.

    Raises:
        InputError: wandb isn't installed.
    """

    def __init__(self, run: Any = None, **init: Any) -> None:
        self._wandb = import_extra("wandb", "wandb")
        self._run, self._mine, self._init = run, False, init

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        """Log all pictures of one step together."""
        if self._run is None:
            self._mine = self._wandb.run is None
            if self._mine and "dir" in self._init:
                Path(self._init["dir"]).mkdir(parents=True, exist_ok=True)  # or wandb writes to another place
            self._run = self._wandb.init(**{"mode": "offline", **self._init}) if self._mine else self._wandb.run
        found: dict[str, Any] = {}
        for picture in pictures:
            what, value = picture.value
            tag = f"{PREFIX}/{picture.tag}"
            found |= {tag: self._wandb.Image(picture.pixels, caption=picture.caption), f"{tag}/{what}": value}
            found |= {f"{PREFIX}/epoch": picture.epoch, f"{PREFIX}/step": picture.step}
        self._run.log(found, step=pictures[0].step if self._mine and pictures else None)

    def close(self) -> None:
        """Finish the run, if this writer started it."""
        if self._mine and self._run is not None:
            self._run.finish()
            self._run, self._mine = None, False
