"""A classifier run over a data set: for each photo what it predicts, what is there, and the maps of both.

Classes are numbers of the *model's* labels throughout. A photo's targets are the model's best classes and those of its objects that the
model knows. Some experiments need photos that aren't scored, to choose a threshold on: :func:`split_held_out`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from vlcam.contracts import InputError, Maps, Request, Task
from vlcam.engine.recording import pause_recording
from vlcam.engine.restore import preserve_model
from vlcam.experiments.data.matching import match
from vlcam.experiments.data.samples import LabelledPhoto, PhotoObject, World
from vlcam.experiments.data.scenes_world import open_scenes
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.maps import MethodLike, MethodMaps, make_every_map
from vlcam.experiments.shared.workable import find_workable
from vlcam.image.geometry import Box, to_photo
from vlcam.image.photo import open_photo

TOP: Final = 5
SMOOTHED: Final = ("gradient", "guided-backprop", "deconvnet")
"""Methods with a value for every pixel and much noise; TorchRay's benchmark smooths them as well."""
SMOOTHING: Final = 0.02
"""The deviation of the Gaussian, as a part of the longer side: that of TorchRay's benchmark (Fong et al. 2019, arXiv 1910.08485)."""
FRAME: Final = 224
"""Boxes are looked for on the photo at no more than this many pixels per side; maps are smooth, and have 14 cells per side or fewer."""


@final
@dataclass(frozen=True, eq=False)
class ClassifiedPhoto:
    """One photo, looked at by a classifier.

    ``number`` is its place in the walk, the cluster of everything measured on it. ``predicted`` are the model's classes, best first,
    ``present`` those of the photo's objects that the model knows. ``theirs`` gives a class's number in the data set.
    """

    number: int
    sample: LabelledPhoto
    predicted: tuple[int, ...]
    present: tuple[int, ...]
    theirs: Mapping[int, int]
    mapped: MethodMaps

    @property
    def counted(self) -> tuple[int, ...]:
        """The present classes of which at least one object isn't difficult (Pascal VOC's games leave the others out)."""
        return tuple(one for one in self.present if not all(obj.difficult for obj in self.get_objects(one)))

    def find_place(self, index: int) -> int:
        """Where a class stands among the targets, and so in all maps. Raises InputError for a class that is not a target."""
        for place, target in enumerate(self.mapped.targets):
            if target.token_ids == (index,):
                return place
        raise InputError(f"class {index} was asked for; it is neither predicted nor in {self.sample.name}")

    def get_label(self, index: int) -> str:
        """What the model calls a class that is a target."""
        return self.mapped.targets[self.find_place(index)].label

    def get_objects(self, index: int) -> tuple[PhotoObject, ...]:
        """The objects of a class; none if it isn't in the photo, or not in the data set."""
        return self.sample.find_objects(self.theirs[index]) if index in self.theirs else ()

    def get_region(self, index: int) -> Bool[Tensor, "height width"] | None:
        """The pixels of a class: its masks, or its boxes where there are no masks; None if it isn't in the photo."""
        return find_region(self.get_objects(index), self.sample.size)

    def get_heat(self, name: str, size: tuple[int, int] | None = None) -> Float[Tensor, "targets height width"]:
        """A method's maps on the photo, or on a copy of another ``size`` (width, height); those of :data:`SMOOTHED` are smooth."""
        maps = self.mapped.get_maps(name)
        return to_photo(smooth(maps) if name in SMOOTHED else maps, self.mapped.geometry, size=size)

    @property
    def frame(self) -> tuple[int, int]:
        """Width and height of the copy on which boxes are looked for."""
        width, height = self.sample.size
        scale = min(1.0, FRAME / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def get_boxes(self, index: int) -> list[Box]:
        """The boxes of a class's objects in the :attr:`frame`."""
        across, down = (new / old for new, old in zip(self.frame, self.sample.size, strict=True))
        return [
            (left * across, top * down, right * across, bottom * down)
            for left, top, right, bottom in (obj.box for obj in self.get_objects(index))
        ]


def walk(
    task: Task,
    samples: Iterable[LabelledPhoto],
    of: Mapping[int, int],
    methods: Sequence[MethodLike],
    *,
    top: int = TOP,
) -> Iterator[ClassifiedPhoto]:
    """Look at each sample in which there is a class that the model knows: its ``top`` best classes, and all that are there.

    ``of`` maps the data set's classes to the model's (:func:`vlcam.experiments.data.matching.match`).
    """
    theirs = {ours: their for their, ours in of.items()}
    for number, sample in enumerate(samples):
        present = tuple(sorted(of[one] for one in sample.present if one in of))
        if not present:
            continue
        best = predict_classes(task, sample, top)
        request = Request(labels=tuple(dict.fromkeys((*best, *present))))
        yield ClassifiedPhoto(
            number, sample, best, present, theirs, make_every_map(task, sample.image, request, methods)
        )


def predict_classes(task: Task, sample: LabelledPhoto, top: int = TOP) -> tuple[int, ...]:
    """The model's classes for a photo with the highest logits, best first."""
    picture, _ = open_photo(sample.image)
    request = Request(top_k=top)
    with preserve_model(task.model), pause_recording():
        spoken = task.run(task.prepare(picture, request), request)
    return tuple(target.token_ids[0] for target in spoken.targets)


def match_classes(task: Task, world: World) -> Mapping[int, int]:
    """The data set's classes that the model knows, with the model's numbers. Raises InputError if there are none."""
    labels = getattr(task, "labels", None)
    if not labels:
        raise InputError(f"{task.name} has no classes with names; give a classifier, such as torchvision/resnet50")
    return match(world, labels).of


def find_usable(task: Task, world: World, methods: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods that are defined for the model's network, and for each other one a sentence that says why it isn't."""
    sample = next(iter(world.iterate_samples(1)))
    return find_workable(task, sample.image, Request(labels=predict_classes(task, sample, 1)), methods)


def split_held_out(setting: Setting, world: World, n: int) -> tuple[Iterator[LabelledPhoto], Iterator[LabelledPhoto]]:
    """Samples to choose on and samples to score, at most ``n`` of each: two splits of the bundled world, or every other photo."""
    if setting.data is None:
        return open_scenes("val").iterate_samples(n), world.iterate_samples(n)
    return islice(world.iterate_samples(2 * n), 1, None, 2), islice(world.iterate_samples(2 * n), 0, None, 2)


def check_held_out(held: Sequence[Any], scored: Sequence[Any], world: World) -> None:
    """Raise InputError unless there is something to choose on, and something to score."""
    if not held or not scored:
        raise InputError(
            f"{world.name} has {len(held) + len(scored)} usable photos, too few to choose a threshold on some and score others; give a "
            "data set with more photos of classes that the model knows"
        )


def find_region(objects: Sequence[PhotoObject], size: tuple[int, int]) -> Bool[Tensor, "height width"] | None:
    """The pixels of some objects: their masks, or boxes where there are no masks; None for no objects. ``size`` is (width, height)."""
    if not objects:
        return None
    found = torch.zeros(size[1], size[0], dtype=torch.bool, device="cpu")
    for obj in objects:
        mask = obj.mask
        if mask is not None:
            found |= torch.from_numpy(mask)
        else:
            left, top, right, bottom = (round(one) for one in obj.box)
            found[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return found if bool(found.any()) else None


def smooth(maps: Maps, part: float = SMOOTHING) -> Maps:
    """Maps under a Gaussian with a deviation of ``part`` of the longer side, cut at three deviations; border values continue outside."""
    sigma = part * max(maps.shape[1:])
    reach = int(3 * sigma + 0.5)
    if reach < 1:
        return maps
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=maps.dtype, device="cpu") / sigma) ** 2)
    line = (weights / weights.sum()).to(maps.device)
    wide = functional.pad(maps[:, None], (reach, reach, reach, reach), "replicate")
    down = functional.conv2d(wide, line[None, None, :, None])
    found: Tensor = functional.conv2d(down, line[None, None, None])[:, 0]
    return found
