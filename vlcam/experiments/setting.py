"""What an experiment is given: data, models, how many pictures, and where its files go."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, final

from vlcam.contracts import InputError, Task, show_record
from vlcam.experiments.data.open_world import open_world
from vlcam.experiments.data.samples import Has, World
from vlcam.tasks.load import load

Kind = Literal["classification", "captioning", "vqa"]

BUNDLED: Final[dict[Kind, str]] = {
    "classification": "scenes/classifier",
    "captioning": "scenes/captioner",
    "vqa": "scenes/vqa",
}


@final
@dataclass(frozen=True, eq=False)
class Setting:
    """How the experiments of one call are to run.

    ``data`` is the folder of a data set (None: the bundled world), ``model`` what is explained (a name for :func:`vlcam.load`; None: the
    bundled models), ``rival`` a weaker model to compare it with. ``methods`` are names of further methods to compare, including your own
    (:func:`vlcam.methods.register`), and ``metrics`` names of further measures for experiment 6 (:func:`vlcam.metrics.register`). ``quick``
    takes fewer pictures, ``most`` no more than that many. ``out`` is where figures go (None: nowhere). ``progress`` is called with (done,
    all) in pictures. ``arch`` is the architecture of a ``model`` that is a state dict. ``opened`` keeps models from one experiment to the
    next.
    """

    data: Path | None = None
    model: str | None = None
    rival: str | None = None
    methods: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    arch: str | None = None
    quick: bool = False
    most: int | None = None
    seed: int = 0
    out: Path | None = None
    progress: Callable[[int, int], Any] | None = None
    opened: dict[str, Task] = field(default_factory=dict, repr=False)

    __repr__ = show_record

    def count(self, quick: int, full: int) -> int:
        """How many pictures: the first number in a quick run, else the second."""
        many = quick if self.quick else full
        return many if self.most is None else min(many, self.most)

    def open_world(self, needs: Collection[Has] = (), task: Task | None = None) -> World:
        """The data set, checked to have what is needed and, if a classifier is given, classes that it knows.

        Raises InputError if the data set doesn't exist, or lacks something that is needed.
        """
        labels = None if task is None else list(getattr(task, "labels", ()))
        return open_world(self.data, needs=needs, labels=labels)

    def load_task(self, kind: Kind) -> Task:
        """The model to explain. Raises InputError if the data are real and no model of that kind was named."""
        if self.model is None and self.data is not None:
            raise InputError(
                f"the data in {str(self.data)!r} were given without a model; the bundled models know generated scenes only: give "
                "--model, such as torchvision/resnet50"
            )
        return self._open(BUNDLED[kind] if self.model is None else self.model, kind)

    def load_weaker(self, kind: Kind) -> Task | None:
        """The weaker model to compare with, if one was named."""
        return None if self.rival is None else self._open(self.rival, kind)

    def replace_progress(self, progress: Callable[[int, int], Any]) -> "Setting":
        """The same setting with another progress callback; models that are open stay open."""
        return replace(self, progress=progress)

    def report_progress(self, done: int, total: int) -> None:
        """Report progress."""
        if self.progress is not None:
            self.progress(done, total)

    def _open(self, name: str, kind: Kind) -> Task:
        known = f"{kind} {name}"
        if known not in self.opened:
            self.opened[known] = load(name, task=kind, arch=self.arch if name == self.model else None)
        return self.opened[known]
