"""Many images, from anything that has them: one by one in order, batch by batch through the model, bounded in memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from operator import index
from pathlib import Path
from traceback import format_exception
from typing import Any, Unpack, final

import numpy as np
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from vlcam.contracts import InputError, TargetError, Task, VlcamError, check_question, shorten
from vlcam.explanation.explain import BATCH, PreparedPhoto, explain_one, explain_together, get_defaults, prepare_photo
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.notebook import make_grid
from vlcam.explanation.options import CheckedOptions, Options, check_options
from vlcam.explanation.targets import Label, read_labels
from vlcam.image.photo import list_photos
from vlcam.render.progress import open_bar

_DEFAULTED = ("method", "layer")
"""Options that a task may have defaults for."""


@final
@dataclass(frozen=True)
class Outcome:
    """What came of one image: its explanation, or the error that it ended in.

    ``index`` counts the images from 0; ``name`` is the file's name, or ``image 3`` for what has none. An error has no traceback,
    which would keep the pictures and tensors of its batch alive; unless it is vlcam's own, its text is in a note
    (``error.__notes__``). ``label`` is the label of ``(image, label)`` as it was given, ``label_name`` what its ``classes``
    call it, or the label itself if that is a text.
    """

    index: int
    name: str
    explanation: Explanation | None = None
    error: Exception | None = None
    label: Any = None
    label_name: str | None = None

    def __repr__(self) -> str:
        if self.error is None:
            return f"Outcome({self.index}: {self.explanation!r})"
        return (
            f"Outcome({self.index} {shorten(self.name)}: {type(self.error).__name__}: {shorten(str(self.error), 160)})"
        )

    def _repr_html_(self) -> str:
        return make_grid([_choose_shown(self)], 1) if self.explanation is None else self.explanation._repr_html_()


@final
class Outcomes(list[Outcome]):
    """A list of outcomes that a notebook shows as a grid of small pictures: ``Outcomes(vlcam.explain_batches(...))``."""

    def __repr__(self) -> str:
        failed = sum(one.error is not None for one in self)
        return f"Outcomes({len(self)} images, {failed} failed)"

    def _repr_html_(self) -> str:
        return make_grid(map(_choose_shown, self), len(self))


def _choose_shown(outcome: Outcome) -> Explanation | tuple[str, str]:
    """What a grid shows of an image."""
    if outcome.explanation is not None:
        return outcome.explanation
    return outcome.name, shorten(f"{type(outcome.error).__name__}: {outcome.error}", 160)


@final
@dataclass(frozen=True)
class _Item:
    index: int
    name: str
    load: Callable[[], tuple[Any, Any]]
    """The image and its label; None for an image without one."""


def explain_batches(
    task: Task,
    images: Any,
    *,
    batch_size: int = BATCH,
    progress: bool | None = None,
    explain_labels: bool = False,
    **options: Unpack[Options],
) -> Generator[Outcome, None, None]:
    """Explain many images, each as :func:`vlcam.explain` does; tasks that can run several photos in one forward pass do so.

    No more than a batch of images is in memory at any time, and an image that fails stops none of the others. Between two outcomes,
    and when the generator is closed, the model is as it was.

    Args:
        task: the model and how to talk to it.
        images: a folder, of which the image files are taken in the order of their names; a map-style or iterable dataset of torch,
            or any iterable. Its items are what ``explain`` takes, or ``(image, label)``, or a dictionary with ``image`` and perhaps
            ``label``; the label is kept in the outcome.
        batch_size: how many images are prepared, and if possible run, together. Photos whose inputs differ in size run one by one.
        progress: whether there is a progress bar; by default in a notebook, and on stderr if that is a terminal.
        explain_labels: explain the label of every image, in the place of ``targets``: by the name that the data set's ``classes`` have for
            it, if it has any, since its numbers needn't be those of the model; else as it is.
        **options: the options of :func:`vlcam.explain`, the same for every image; but a list of ``targets`` has one entry for every
            image, as there.

    Yields:
        An outcome for every image, in order.

    Raises:
        InputError: at once, for options that make no sense, a question answerer that is asked nothing, a folder without image files, or
            images that can't be iterated over.
        TargetError: at once, for targets that can't be used, or not one entry for every image.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size={batch_size!r} was given; expected a whole number from 1")
    if explain_labels and options.get("targets") not in (None, ()):
        raise InputError("targets= and explain_labels= were both given; give one of them")
    given: Any = {
        **get_defaults(task),
        **{name: value for name, value in options.items() if name not in _DEFAULTED or value is not None},
    }
    check_options(**given, several=True)  # before the images are looked at
    if task.kind == "vqa":
        check_question(task.name, given.get("question"))
    items, total = _iterate_items(images)
    order = check_options(**given, several=True, photos=total)
    return _explain_items(task, items, total, batch_size, progress, explain_labels, order)


def _explain_items(
    task: Task,
    items: Iterator[_Item],
    total: int | None,
    batch_size: int,
    progress: bool | None,
    explain_labels: bool,
    order: CheckedOptions,
) -> Generator[Outcome, None, None]:
    failed: Exception | None = None
    count = 0
    with open_bar("explaining", wanted=progress) as bar:
        if bar is not None:
            bar(0, total, "explaining")
        while failed is None:
            done, failed = _explain_batch(task, items, batch_size, explain_labels, order)
            if not done:
                break
            while done:
                count += 1
                if bar is not None:
                    bar(count, total, "explaining")
                yield _drop_frames(done.popleft())
    if failed is not None:  # the iterable itself, after the images that it gave
        raise failed


def _explain_batch(
    task: Task, items: Iterator[_Item], batch_size: int, explain_labels: bool, order: CheckedOptions
) -> tuple[deque[Outcome], Exception | None]:
    """The outcomes of the next images, and what the iterable raised, if it did."""
    given: list[_Item] = []
    failed = None
    try:
        given.extend(islice(items, batch_size))
    except Exception as error:
        failed = error
    ready: dict[int, tuple[PreparedPhoto, CheckedOptions]] = {}
    labels: dict[int, _Label] = {}
    found: dict[int, Explanation | Exception] = {}
    for item in given:
        try:
            own = order.get_for(item.index)
            image, label = item.load()
            labels[item.index] = _read_label(label)
            if explain_labels:
                own = own.replace_labels(labels[item.index].find_targets())
            ready[item.index] = prepare_photo(task, image, own, item.name), own
        except Exception as error:
            found[item.index] = error
    found.update(explain_prepared(task, ready))
    return deque(_make_outcome(item, found[item.index], labels.get(item.index)) for item in given), failed


def explain_prepared(
    task: Task, ready: Mapping[int, tuple[PreparedPhoto, CheckedOptions]]
) -> dict[int, Explanation | Exception]:
    """The explanation of each photo, or the error that it ended in: together those that ask the same of inputs of one size."""
    groups: dict[Any, list[int]] = {}
    for number, (one, own) in ready.items():
        groups.setdefault((own.request, one.prepared.geometry.input_size), []).append(number)
    found: dict[int, Explanation | Exception] = {}
    for numbers in groups.values():
        photos, orders = zip(*(ready[number] for number in numbers), strict=True)
        several = explain_together(task, photos, orders)
        if several is not None:
            found.update(zip(numbers, several, strict=True))
            continue
        for number in numbers:
            try:
                found[number] = explain_one(task, *ready[number])
            except Exception as error:
                found[number] = error
    return found


@final
@dataclass(frozen=True)
class _NamedLabel:
    """A label with the name that its data set has for it."""

    label: Any
    name: str


@final
@dataclass(frozen=True)
class _Label:
    label: Any
    name: str | None

    def find_targets(self) -> tuple[Label, ...]:
        """What to explain: the label by its name, or as it is. Raises TargetError for an image without a label."""
        if self.label is None:
            raise TargetError("the image has no label to explain; give (image, label), or leave explain_labels out")
        return read_labels(self.label if self.name is None else self.name)


def _read_label(label: Any) -> _Label:
    if isinstance(label, _NamedLabel):
        return _Label(label.label, label.name)
    return _Label(label, label if isinstance(label, str) else None)


def _make_outcome(item: _Item, found: Explanation | Exception, label: _Label | None) -> Outcome:
    known = {} if label is None else {"label": label.label, "label_name": label.name}
    if isinstance(found, Explanation):
        return Outcome(item.index, item.name, explanation=found, **known)
    return Outcome(item.index, item.name, error=found, **known)


def _drop_frames(outcome: Outcome) -> Outcome:
    """The outcome with nothing in its error that keeps frames, and all that is in them, alive."""
    error: BaseException | None = outcome.error
    if error is not None and not isinstance(error, VlcamError):
        error.add_note("".join(format_exception(error)))
    left = [error]
    while left:
        error = left.pop()
        if error is not None and error.__traceback__ is not None:
            error.__traceback__ = None
            left += [error.__cause__, error.__context__]
    return outcome


def _iterate_items(images: Any) -> tuple[Iterator[_Item], int | None]:
    """Every image with its name, made when it is asked for, and how many there are, if that is known.

    These are ``map`` objects, since a generator, ``enumerate`` or ``zip`` would hold the last image while the next batch runs.
    """
    if isinstance(images, (str, Path)):
        images = list_photos(images)
    total = len(images) if isinstance(images, Sized) and not isinstance(images, IterableDataset) else None
    if isinstance(images, Dataset) and not isinstance(images, IterableDataset):
        if total is None:
            raise InputError(f"a {type(images).__name__} without a length was given; expected a dataset with __len__")
        return map(partial(_make_dataset_item, images), range(total)), total
    single = isinstance(images, Image) or (isinstance(images, (Tensor, np.ndarray)) and images.ndim in (2, 3))
    if single or not isinstance(images, Iterable):
        raise InputError(
            f"a {type(images).__name__} was given as images; expected a folder, a dataset or an iterable of images "
            "(for a single one there is vlcam.explain)"
        )
    return map(_make_item, count(), images), total


def _make_dataset_item(dataset: Any, number: int) -> _Item:
    """An item that is loaded later, so that its error is its own; files are known to ``ImageFolder`` and the like."""
    known = getattr(dataset, "samples", None)
    entry = known[number] if isinstance(known, list) and number < len(known) else None
    file = entry[0] if isinstance(entry, tuple) and entry else None

    def load() -> tuple[Any, Any]:
        image, label = _split_item(dataset[number])
        classes = getattr(dataset, "classes", None)
        if isinstance(label, Tensor) and label.numel() == 1:
            label = label.item()
        return image, label if isinstance(label, bool) else _name_label(label, classes)

    return _Item(number, _find_name(file, number), load)


def _name_label(label: Any, classes: Any) -> Any:
    """The label with its name among the data set's classes; as it is if they don't name it."""
    if not isinstance(classes, (list, tuple)) or not hasattr(label, "__index__"):
        return label
    place = index(label)
    known = 0 <= place < len(classes) and isinstance(classes[place], str)
    return _NamedLabel(place, classes[place]) if known else label


def _make_item(number: int, item: Any) -> _Item:
    pair = _split_item(item)
    return _Item(number, _find_name(pair[0], number), lambda: pair)


def _split_item(item: Any) -> tuple[Any, Any]:
    """The image and the label of ``(image, label)`` or of a dictionary that has both; the label is None if there is none."""
    if isinstance(item, Mapping) and "image" in item:
        return item["image"], item.get("label")
    if isinstance(item, (tuple, list)) and item:
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _find_name(image: Any, index: int) -> str:
    file = image if isinstance(image, (str, Path)) else getattr(image, "filename", "")
    return (Path(file).name if isinstance(file, (str, Path)) else "") or f"image {index}"
