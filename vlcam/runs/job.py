"""The job of a run: which photos in which order, how each is explained, and the fingerprint by which the folder is known again."""

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

from torch import nn

from vlcam._version import __version__
from vlcam.contracts import InputError, Method, PerturbationMethod, Task, check_question, show_record
from vlcam.engine.modules import find_module
from vlcam.explanation.explain import get_defaults
from vlcam.explanation.options import CheckedOptions, check_options
from vlcam.methods.registry import REGISTRY
from vlcam.neurons.scoring.cache import hash_weights
from vlcam.runs.photo_list import PhotoList, get_text

SHARD_SIZE: Final = 128
"""How many photos a shard has by default: what is at most done again after a crash."""

_DEFAULTED: Final = ("method", "layer")


@final
@dataclass(frozen=True, eq=False)
class Job:
    """What is to be done, the same for all who work on it.

    ``order`` has the places in ``photos`` of the photos that are explained, in the order of the job; shard k has those from
    ``k * shard_size`` on. ``verify`` is with how many random regions each map is tested, or None; ``contrast_truth`` says whether wrong
    photos also get the contrast of what was said and what is true.
    """

    photos: PhotoList
    order: Sequence[int]
    shard_size: int
    batch_size: int
    options: CheckedOptions
    verify: int | None
    contrast_truth: bool
    revision: str | None
    about: Mapping[str, Any]

    __repr__ = show_record

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-len(self.order) // self.shard_size)

    def get_shard(self, number: int) -> range:
        """The places in the job's order that a shard has."""
        return range(number * self.shard_size, min((number + 1) * self.shard_size, len(self.order)))

    def get_options(self, index: int) -> CheckedOptions:
        """How the photo at a place of the job's order is explained: with its own targets, question and caption."""
        place = self.order[index]
        own = self.options.get_for(place)
        question, caption = get_text(self.photos.questions, place), get_text(self.photos.captions, place)
        changes = {"question": question, "caption": caption}
        given: dict[str, Any] = {name: text for name, text in changes.items() if text is not None}
        return replace(own, request=replace(own.request, **given)) if given else own


def make_job(
    task: Task,
    photos: PhotoList,
    *,
    batch_size: int,
    shard_size: int,
    limit: int | None,
    shuffle: int | None,
    verify: int | None,
    contrast_truth: bool,
    options: Mapping[str, Any],
) -> Job:
    """Check the options of a run, and put its photos in order. Raises InputError, TargetError or LayerError."""
    for name, value, least in (("batch_size", batch_size, 1), ("shard_size", shard_size, 1), ("limit", limit, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"{name}={value!r} was given; expected a whole number from {least}")
    if shuffle is not None and (isinstance(shuffle, bool) or not isinstance(shuffle, int)):
        raise InputError(f"shuffle={shuffle!r} was given; expected a whole number, the seed")
    given: dict[str, Any] = {
        **get_defaults(task),
        **{name: value for name, value in options.items() if name not in _DEFAULTED or value is not None},
    }
    checked = check_options(**given, several=True, photos=len(photos))
    if task.kind == "vqa" and photos.questions is None:
        check_question(task.name, given.get("question"))
    order = order_photos(len(photos), limit, shuffle)
    weights = hash_weights(task.model)
    about = {
        "vlcam": __version__,
        "task": task.kind,
        "model": task.name,
        "weights": f"sha256:{weights}",
        "layer": describe_layer(task, checked.layer),
        "method": describe_method(checked.method),
        "options": describe_options(task, checked, given, verify, contrast_truth),
        "photos": photos.describe(order),
        "shard_size": shard_size,
    }
    revision = find_revision(task.model) or f"sha256:{weights[:16]}"
    return Job(photos, order, shard_size, batch_size, checked, verify, contrast_truth, revision, about)


def order_photos(count: int, limit: int | None, shuffle: int | None) -> Sequence[int]:
    """The places of the photos in the order in which they are explained."""
    places: Sequence[int] = range(count)
    if shuffle is not None:
        mixed = list(places)
        random.Random(shuffle).shuffle(mixed)
        places = mixed
    return places if limit is None else places[:limit]


def describe_layer(task: Task, layer: str | nn.Module | None) -> str | None:
    """The layer that is explained, by its name in the model; None where vlcam finds it."""
    wanted = task.layer if layer is None else layer
    return find_module(task.model, wanted)[0] if isinstance(wanted, nn.Module) else wanted


def describe_method(method: Method | PerturbationMethod) -> str:
    """The method's name, with its function's if it isn't the registered one of that name."""
    if REGISTRY.get(method.name) is method:
        return method.name
    function = method.function
    return f"{method.name} ({getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)})"


def describe_options(
    task: Task, checked: CheckedOptions, given: Mapping[str, Any], verify: int | None, contrast_truth: bool
) -> dict[str, Any]:
    """What else changes the results, as JSON values."""
    request = checked.request
    names = task.names if checked.names is None else checked.names
    to_json = getattr(names, "to_json", None)
    known = to_json() if callable(to_json) else repr(names)
    preprocess = getattr(task, "preprocess", None) or getattr(task, "ask", None)
    return {
        "targets": list(request.labels) if checked.each is None else [list(one) for one in checked.each],
        "caption": request.caption,
        "question": request.question,
        "contrast": [list(pair) for pair in request.contrasts],
        "top_k": request.top_k,
        "prompt": request.prompt,
        "measure": request.measure,
        "gain": checked.gain,
        "ranking": checked.ranking,
        "names": None if names is None else f"sha256:{hashlib.sha256(known.encode()).hexdigest()}",
        "preprocessing": re.sub(r" at 0x[0-9a-f]+", "", repr(preprocess)),
        "verify": verify,
        "contrast_truth": contrast_truth,
    }


def find_revision(model: nn.Module) -> str | None:
    """The commit of a model from a hub, where it says so."""
    found = getattr(getattr(model, "config", None), "_commit_hash", None)
    return found if isinstance(found, str) else None
