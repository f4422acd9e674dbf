"""Explain the same photos again and again while a model learns.

A heatmap per epoch shows what a number can't: when a classifier begins to look at the object, or that it never does. The pictures are
Grad-CAM's (arXiv 1610.02391, eq. 1 and 2) or those of any other method, laid over the photo.

Training goes on as if nothing had happened: :func:`vlcam.explain` gives back the model bit for bit (training flags, gradients, buffers,
random numbers), only the first process of a distributed run explains, and an error is reported once and then kept quiet.
"""

import hashlib
import random
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Unpack, final, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import distributed, nn

from vlcam.contracts import InputError, Target, Task, check_question, show_record
from vlcam.engine.draws import PrivateDraws
from vlcam.errors import import_extra as import_extra
from vlcam.explanation.explain import explain
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.numbers import format_number, format_percent
from vlcam.explanation.options import Options, check_options
from vlcam.explanation.record import TargetView
from vlcam.explanation.wording import get_notice
from vlcam.files import make_folder
from vlcam.image.geometry import to_photo
from vlcam.image.photo import open_photo
from vlcam.render.blending import overlay
from vlcam.render.colour import choose_colours
from vlcam.render.png import save_png
from vlcam.tasks.class_outputs import Activation
from vlcam.tasks.classification import Classification, Preprocessing

OPACITY = 0.4
"""Of the heat where it is strongest: the photo stays visible under it."""
PREFIX = "heatmaps"
"""The prefix of the tags in loggers."""
_FIXED = ("targets", "caption", "contrast")


@final
@dataclass(frozen=True, eq=False)
class HeatmapPicture:
    """One target of one photo after one epoch.

    ``photo`` is its name and ``place`` the target's label (or its rank, where the model speaks for itself): the same at every epoch.
    ``pixels`` are RGB ``(height, 2 * width, 3)``: the photo, and beside it the photo under its heatmap. ``peak`` is the map's maximum
    in the target's own units, since every map is drawn up to its own unless a ``scale`` was given; ``caption`` says all this in words.
    """

    photo: str
    place: str
    epoch: int
    step: int
    target: Target
    peak: float
    caption: str
    pixels: UInt8[np.ndarray, "height twice_width 3"]

    __repr__ = show_record

    @property
    def tag(self) -> str:
        """``photo/place``, what loggers file it under."""
        return f"{self.photo}/{self.place}"

    @property
    def value(self) -> tuple[str, float]:
        """What the model gives the target: ``probability`` if it has one, or else its ``score``."""
        target = self.target
        return ("score", target.score) if target.probability is None else ("probability", target.probability)


@runtime_checkable
class Writer(Protocol):
    """Where pictures go. Nothing is opened before the first picture, so that only the process that logs opens anything."""

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        """Write the pictures of one epoch."""
        ...

    def close(self) -> None:
        """Finish what this writer opened itself; another picture opens it again."""
        ...


@final
@dataclass(frozen=True)
class FolderWriter:
    """PNG files ``folder/photo/label/epoch-0003.png``, with the caption in the file's ``Description``."""

    folder: str | Path

    __repr__ = show_record

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        """Write one file for each picture."""
        for picture in pictures:
            folder = Path(self.folder).joinpath(_make_file_name(picture.photo), _make_file_name(picture.place))
            name = f"epoch-{picture.epoch:04}" + (f"-step-{picture.step:07}" if picture.step != picture.epoch else "")
            place = make_folder(folder) / f"{name}.png"
            save_png(Image.fromarray(picture.pixels), place, description=picture.caption)

    def close(self) -> None:
        """Nothing is open."""


@final
class Heatmaps:
    """The pictures of a few fixed photos, made anew whenever :meth:`log` is called.

    Args:
        task: the task whose model is trained; or a classifier, with ``labels`` and ``preprocess`` (see
            :class:`vlcam.tasks.classification.Classification`, also for ``activation``).
        photos: paths, pictures, arrays or tensors, opened once, now; a mapping gives them names of your own.
        writers: where the pictures go; a writer, several, or none (``log`` returns the pictures in any case).
        labels: the class names of a classifier given as a module: one for each logit, or for a single logit one or two.
        preprocess: how a photo becomes the input of a classifier given as a module.
        activation: what turns its logits into probabilities.
        every: log epochs whose number is divisible by this.
        opacity: of the heatmap where it is strongest.
        scale: the raw value of the strongest colour, the same for all epochs, so that colours can be compared; by default every map
            has its own maximum, which the caption tells.
        colours: a colour table; by default the one that suits the method.
        side: the longer side of a drawn photo in pixels.
        strict: raise errors instead of reporting the first one as a warning.
        **options: those of :func:`vlcam.explain`. Give ``targets``, ``contrast`` or a ``caption`` to follow the same targets through
            all epochs; without them each epoch shows what the model says by itself, numbered by rank.

    Raises:
        InputError: no photos, a photo that can't be opened, or an option that makes no sense: all before training starts.

    A model sharded over processes (FSDP, DeepSpeed's ZeRO 3) can't be explained by one of them alone; one inside
    DistributedDataParallel can: give the task the model inside it.
    """

    def __init__(
        self,
        task: Task | nn.Module,
        photos: Mapping[str, Any] | Sequence[Any],
        writers: Writer | Sequence[Writer] = (),
        *,
        labels: Sequence[str] | None = None,
        preprocess: Preprocessing | None = None,
        activation: Activation = "softmax",
        every: int = 1,
        opacity: float = OPACITY,
        scale: float | None = None,
        colours: str | None = None,
        side: int = 320,
        strict: bool = False,
        **options: Unpack[Options],
    ) -> None:
        if every < 1 or side < 1:
            raise InputError(f"every={every} and side={side} were given; expected whole numbers from 1")
        check_options(**options)
        self.task = _make_task(task, labels, preprocess, activation)
        if self.task.kind == "vqa":
            check_question(self.task.name, options.get("question"))
        self.photos = _open_photos(photos)
        self.writers = tuple(writers) if isinstance(writers, Sequence) else (writers,)
        if isinstance(targets := options.get("targets"), list):
            options["targets"] = tuple(targets)  # the same for every photo, as they are followed through training
        self.every, self.strict, self.options = every, strict, options
        self._opacity, self._scale, self._colours, self._side = opacity, scale, colours, side
        self._reported = False

    def log(self, epoch: int, *, step: int | None = None, also: Sequence[Writer] = ()) -> tuple[HeatmapPicture, ...]:
        """Explain the photos and write the pictures, if it is this epoch's turn.

        Args:
            epoch: the number of the epoch, from 0 or 1 as you like.
            step: where on the writers' axis the pictures lie; by default at the epoch.
            also: further writers, for this time.

        Returns:
            The pictures; none if it wasn't this epoch's turn, this isn't the first process, or explaining failed.
        """
        if epoch % self.every or not _is_first_process():
            return ()
        try:
            pictures = self.pictures(epoch, step=step)
        except Exception as error:
            self._report(error, f"explaining the photos after epoch {epoch}")
            return ()
        for writer in (*self.writers, *also):
            try:
                writer.write(pictures)
            except Exception as error:
                self._report(error, f"writing to {type(writer).__name__} after epoch {epoch}")
        return pictures

    def pictures(self, epoch: int, *, step: int | None = None) -> tuple[HeatmapPicture, ...]:
        """The pictures of all photos and targets as the model is now, written nowhere. Raises what :func:`vlcam.explain` raises."""
        return tuple(
            picture
            for name, one in zip(self.photos, self.explain(), strict=True)
            for picture in self._draw(name, one, epoch, epoch if step is None else step)
        )

    def explain(self) -> list[Explanation]:
        """The explanations of all photos as the model is now, in their order. Raises what :func:`vlcam.explain` raises."""
        with _keep_random_state():
            return explain(self.task, list(self.photos.values()), **self.options)

    def close(self) -> None:
        """Close the writers. Errors are reported as those of :meth:`log`."""
        if not _is_first_process():
            return
        for writer in self.writers:
            try:
                writer.close()
            except Exception as error:
                self._report(error, f"closing {type(writer).__name__}")

    def _report(self, error: Exception, what: str) -> None:
        if self.strict:
            raise error
        if not self._reported:
            self._reported = True
            warnings.warn(
                f"{what} failed ({type(error).__name__}: {error}); training goes on, and further failures are not reported; "
                "Heatmaps(strict=True) raises them",
                RuntimeWarning,
                stacklevel=3,
            )

    def _draw(self, name: str, explanation: Explanation, epoch: int, step: int) -> list[HeatmapPicture]:
        photo = explanation.photo
        factor = min(1.0, self._side / max(photo.width, photo.height))
        size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
        pixels = np.asarray(Image.fromarray(photo.pixels).resize(size, Image.Resampling.LANCZOS))
        fixed = any(self.options.get(option) not in (None, "", (), []) for option in _FIXED)
        seen: Counter[str] = Counter()
        found = []
        for rank, view in enumerate(explanation, 1):
            seen[view.label] += 1
            own = view.label if seen[view.label] == 1 else f"{view.label} ({seen[view.label]})"
            drawn = np.concatenate([pixels, self._overlay(pixels, view)], axis=1)
            peak, caption = float(view.map.max()), _write_caption(view, epoch)
            found.append(
                HeatmapPicture(name, own if fixed else str(rank), epoch, step, view.target, peak, caption, drawn)
            )
        return found

    def _overlay(
        self, pixels: UInt8[np.ndarray, "height width 3"], view: TargetView
    ) -> UInt8[np.ndarray, "height width 3"]:
        if view.flag != "ok":
            return pixels
        size = pixels.shape[1], pixels.shape[0]
        heat = to_photo(view.map[None], view.explanation.geometry, size=size)[0].float().cpu().numpy()
        colours = choose_colours(relu=view.explanation.relu) if self._colours is None else self._colours
        return overlay(pixels, heat, scale=self._scale, colours=colours, opacity=self._opacity)


def _make_task(
    task: Task | nn.Module,
    labels: Sequence[str] | None,
    preprocess: Preprocessing | None,
    activation: Activation,
) -> Task:
    if isinstance(task, nn.Module):
        task = task.module if isinstance(task, nn.parallel.DistributedDataParallel) else task
        if labels is None or preprocess is None:
            raise InputError(
                f"a {type(task).__name__} was given without labels= and preprocess=; a classifier needs both, and any other model "
                "a task, such as vlcam.tasks.captioning.Captioning"
            )
        return Classification(task, labels, preprocess, activation=activation)
    if labels is not None or preprocess is not None:
        raise InputError(
            f"labels= or preprocess= was given with the task {task.name}, which has its own; leave them out"
        )
    if isinstance(task.model, nn.parallel.DistributedDataParallel):
        raise InputError(
            f"the model of the task {task.name} is inside DistributedDataParallel, which the first process can't run alone; make "
            "the task of the model inside it, model.module"
        )
    return task


def _open_photos(photos: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """The photos by their names, decoded; Bands and what else has more than RGB stay what they are."""
    if isinstance(photos, str) or not len(photos):
        raise InputError(f"photos={photos!r} was given; expected at least one photo, in a list or a mapping of names")
    named = isinstance(photos, Mapping)
    found: dict[str, Any] = {}
    for place, source in enumerate(photos.values() if isinstance(photos, Mapping) else photos):
        own = Path(source).stem if isinstance(source, (str, Path)) else f"photo {place}"
        name = str(list(photos)[place]) if named else own
        picture, _ = open_photo(source, name=name)
        while name in found:  # files of one name in two folders
            name = f"{own} ({place})"
            own = name
        found[name] = picture if isinstance(source, (str, Path)) else source
    return found


def _write_caption(view: TargetView, epoch: int) -> str:
    target = view.target
    given = "" if target.probability is None else f", {format_percent(target.probability)}"
    shown = f"map maximum {format_number(float(view.map.max()))}" if view.flag == "ok" else get_notice(view)
    return f"{view.label}{given}, score {format_number(target.score)}, {shown}, epoch {epoch}"


@contextmanager
def _keep_random_state() -> Iterator[None]:
    """Afterwards the random numbers of Python, numpy and torch go on as before: a task's own code may draw some.

    Of torch it draws from a copy. Python and numpy have no generator for one thread, so theirs are set back: what other threads draw
    from them meanwhile comes again.
    """
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    with PrivateDraws():
        try:
            yield
        finally:
            np.random.set_state(numbers)  # noqa: NPY002
            random.setstate(state)


def _is_first_process() -> bool:
    """Whether this is the only process of the training, or the first one."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def _make_file_name(part: str) -> str:
    """A name that every file system takes, different for different texts."""
    safe = re.sub(r"[^\w ()+-]", "-", part).strip()[:80]
    return safe if safe == part else f"{safe}-{hashlib.sha256(part.encode()).hexdigest()[:8]}"
