"""Pictures in Weights & Biases, or in Trackio, which is written to be used in its place.

A picture is a ``wandb.Image`` (``trackio.Image``) with its caption, in the run that there is or in one that stays on this machine.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from vlcam.errors import find_name, import_extra
from vlcam.integrations.heatmaps import PREFIX, HeatmapPicture

_STARTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "wandb": {"mode": "offline"},
    "trackio": {
        "project": "vlcam",
        "embed": False,
    },  # without a project it can't start; in a notebook it would open its page
}
"""How a run is started that sends nothing anywhere."""


@final
class WandbWriter:
    """Images ``heatmaps/photo/label`` and numbers ``heatmaps/photo/label/probability`` (or ``score``).

    Pictures go to ``run``, or to the run of this process if there is one: both have a step of their own, so epoch and step are logged
    beside the pictures. Otherwise a run is started with ``wandb.init(mode="offline")``, which sends nothing anywhere, or with
    ``trackio.init(project="vlcam")``, which keeps everything on this machine unless Trackio's own settings name a Space.

    Args:
        run: a run of your own, which stays open.
        package: ``wandb`` or ``trackio``.
        **init: for the package's ``init`` where a run has to be started, such as ``project``, or for wandb ``dir`` or ``mode="online"``.

    Raises:
        InputError: the package isn't installed, or it is neither of the two.
    """

    def __init__(self, run: Any = None, *, package: str = "wandb", **init: Any) -> None:
        self._package = find_name(package, tuple(_STARTS), "package")
        self._wandb = import_extra(self._package, self._package)
        self._run, self._mine, self._init = run, False, init

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        """Log all pictures of one step together."""
        if self._run is None:
            current = self._find_current()
            self._mine = current is None
            if self._mine and "dir" in self._init:
                Path(self._init["dir"]).mkdir(parents=True, exist_ok=True)  # or wandb writes to another place
            self._run = self._wandb.init(**{**_STARTS[self._package], **self._init}) if self._mine else current
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
            current = self._find_current()
            # Only Trackio's own function forgets the run that has ended, and the next picture would go there.
            (self._wandb if current is self._run and self._package == "trackio" else self._run).finish()
            self._run, self._mine = None, False

    def _find_current(self) -> Any:
        """The run of this process, or None."""
        if self._package == "trackio":  # whose ``run`` is a module
            return self._wandb.context_vars.current_run.get()
        return self._wandb.run
