"""The models behind the page: opened when they are first asked, and run for one request at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, final

from PIL import Image

from vlcam.app.wishes import Wishes
from vlcam.contracts import InputError, Task, VlcamError, find_name, show_record
from vlcam.explanation.explain import explain, get_defaults
from vlcam.explanation.explanation import Explanation
from vlcam.image.photo import open_photo
from vlcam.methods import list_methods
from vlcam.scenes.sample import make
from vlcam.tasks.adapt import drop_remark
from vlcam.tasks.layer_list import list_grid_layers

MOST_TESTED = 40
"""Maps whose significance is tested at a time; each takes hundreds of runs."""
PICTURE = 384
"""Side of a generated picture that is shown to a person, in pixels; the models see it at 96."""

Progress = Callable[[int, int], Any]


class StoppedError(Exception):
    """Raised by a progress function to end what is running; the model comes back as it was."""


@final
@dataclass(frozen=True)
class OpenModel:
    """A task, the layers that can be explained, and the layer and the method that are used by default."""

    task: Task
    layers: tuple[str, ...]
    layer: str
    method: str

    __repr__ = show_record


@final
@dataclass(frozen=True)
class ShownPhoto:
    """A photo that somebody asks about; ``generated`` says that it is one of the bundled world."""

    picture: Image.Image
    name: str
    generated: bool = False

    __repr__ = show_record


@final
@dataclass(eq=False)
class Explainer:
    """Models by name, and one lock for all of them, so that two requests never run at once.

    ``openers`` are functions that open a task, by the name under which people choose it.
    """

    openers: Mapping[str, Callable[[], Task]]
    closing: bool = False
    _open: dict[str, OpenModel] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    __repr__ = show_record

    def open(self, name: str) -> OpenModel:
        """The model of that name, opened once. Raises InputError for another name, and what opening it raises."""
        find_name(name, tuple(self.openers), "model")
        if name in self._open:  # also while another request runs it
            return self._open[name]
        with self._lock:
            return self._get(name)

    def explain(self, name: str, photo: ShownPhoto, wishes: Wishes, progress: Progress | None = None) -> Explanation:
        """Explain a photo. Raises InputError, TargetError or LayerError for what can't be explained."""
        find_name(name, tuple(self.openers), "model")
        with self._lock:
            model = self._get(name)
            if wishes.layer and wishes.layer not in model.layers:
                raise InputError(f"layer {wishes.layer!r} was given; expected one of {', '.join(model.layers[-5:])}")
            task = drop_remark(model.task) if photo.generated else model.task
            options = wishes.read_options(task.kind)  # type: ignore[arg-type]
            return explain(task, photo.picture, name=photo.name, progress=self._watch(progress), **options)

    def verify(
        self, name: str, photo: ShownPhoto, explanation: Explanation, progress: Progress | None = None
    ) -> Explanation:
        """Test every map of an explanation. Raises InputError where that can't be done."""
        if len(explanation) > MOST_TESTED:
            raise InputError(
                f"this explanation has {len(explanation)} maps, and a test of each takes hundreds of runs; ask for at most {MOST_TESTED}"
            )
        with self._lock:
            return explanation.verify(self._get(name).task, photo.picture, progress=self._watch(progress))

    def close(self, seconds: float = 20.0) -> None:
        """End what is running, and wait for it: a thread that still runs a model would outlive the program's end."""
        self.closing = True
        if self._lock.acquire(timeout=seconds):
            self._lock.release()

    def _watch(self, progress: Progress | None) -> Progress:
        """The progress function, which also ends what is running once the page is closed."""

        def report(done: int, total: int) -> None:
            if self.closing:
                raise StoppedError
            if progress is not None:
                progress(done, total)

        return report

    def _get(self, name: str) -> OpenModel:
        """The model of that name; the lock is held."""
        if name not in self._open:
            task = self.openers[name]()
            layers, default, _ = list_grid_layers(task)
            self._open[name] = OpenModel(task, tuple(one["name"] for one in layers), default, _name_method(task))
        return self._open[name]


def _name_method(task: Task) -> str:
    """The method that the task is explained with by default, by the name under which people choose it."""
    method = get_defaults(task)["method"]
    name = method if isinstance(method, str) else method.name
    return name if name in list_methods() else "auto"


def open_upload(path: str | Path) -> ShownPhoto:
    """An uploaded file as a photo. Raises InputError for anything that isn't a whole photo of a size within limits."""
    name = Path(path).name
    try:
        picture, _ = open_photo(path, name=name)
    except VlcamError:
        raise
    except OSError as error:  # it has been cleared away in the meantime
        raise InputError(
            f"{name!r} can't be read ({error.strerror or type(error).__name__}); upload it again"
        ) from error
    return ShownPhoto(picture, name)


def draw_scene(seed: int) -> ShownPhoto:
    """A generated picture of the test split."""
    return ShownPhoto(Image.fromarray(make(seed, "test").image(PICTURE)), f"scene:{seed}", generated=True)
