"""What an experiment runs on: pictures, and what is known to be in them.

A :class:`World` is a data set seen as a list of :class:`LabelledPhoto`. Boxes are ``(left, top, right, bottom)`` in pixels of the
photo as the sample gives it, pixel ``i`` covers ``[i, i + 1)``: a box of one pixel has area 1. Data sets that count pixels from 1, or
that name the last pixel of a box, are converted by their readers. Masks and attention maps are decoded each time they are asked for
and then belong to the caller, so that a walk through a large data set holds one photo's masks at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from vlcam.contracts import InputError, show_record
from vlcam.image.geometry import Box

Has = Literal["boxes", "masks", "captions", "questions", "attention"]
HAS: Final[tuple[Has, ...]] = ("boxes", "masks", "captions", "questions", "attention")
"""What a data set may know about its photos."""

Mask = Bool[np.ndarray, "height width"]
_SHUFFLE: Final = 0
"""Seed of the fixed order from which the first n photos of a data set are taken."""


@final
@dataclass(frozen=True, eq=False)
class PhotoObject:
    """One object in a photo.

    ``label`` is its class as the data set calls it, ``index`` the place of that class in the world's labels (names may occur there twice).
    ``difficult`` are objects that Pascal VOC doesn't count; a ``crowd`` is a group that COCO outlines as one.
    """

    label: str
    box: Box
    index: int
    difficult: bool = False
    crowd: bool = False
    outline: Callable[[], Mask] | None = field(default=None, repr=False)

    __repr__ = show_record

    @property
    def mask(self) -> Mask | None:
        """Its visible pixels, as large as the photo; decoded now. None if nobody drew them. Raises InputError for broken files."""
        return None if self.outline is None else self.outline()


@final
@dataclass(frozen=True)
class PhotoCaption:
    """A caption that people, or the generator, gave the picture.

    ``about`` has for each word (words are split at blanks) the objects it is about, as indices into the sample's objects; None where
    the data set doesn't say.
    """

    text: str
    about: tuple[tuple[int, ...], ...] | None = None

    __repr__ = show_record

    @property
    def words(self) -> tuple[str, ...]:
        """The words, split at blanks."""
        return tuple(self.text.split())


@final
@dataclass(frozen=True, eq=False)
class PhotoQuestion:
    """A question about the picture and its answer.

    ``answers`` are those of several people (VQA asks ten), ``answer`` the one that most of them gave. ``decides`` are the objects that
    the answer turns on, as indices into the sample's objects; None where the data set doesn't say. ``number`` is the question's id.
    """

    question: str
    answer: str
    answers: tuple[str, ...] = ()
    decides: tuple[int, ...] | None = None
    kind: str = ""
    number: int | None = None
    looked: tuple[Callable[[], Float[np.ndarray, "height width"]], ...] = field(default=(), repr=False)

    __repr__ = show_record

    @property
    def attention(self) -> list[Float[np.ndarray, "height width"]] | None:
        """Where each of several people looked to answer it, 0 to 1, over the whole photo; decoded now. None if nobody was asked."""
        return [one() for one in self.looked] or None


@final
@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """One picture and what is known about it.

    ``image`` is whatever ``vlcam.explain`` takes; ``size`` is its width and height in pixels as the model's task will see it, the frame of
    boxes and masks. ``scene`` is the :class:`vlcam.scenes.scene.Scene` of a generated picture.
    """

    name: str
    image: Any
    size: tuple[int, int]
    objects: tuple[PhotoObject, ...] = ()
    captions: tuple[PhotoCaption, ...] = ()
    questions: tuple[PhotoQuestion, ...] = ()
    scene: Any = None
    unlabelled: Callable[[], Mask] | None = field(default=None, repr=False)

    __repr__ = show_record

    @property
    def void(self) -> Mask | None:
        """The pixels that nobody labelled (the borders of Pascal VOC), to be left out of every count; None if there are none."""
        return None if self.unlabelled is None else self.unlabelled()

    @property
    def present(self) -> tuple[int, ...]:
        """The classes that are in the picture, as indices into the world's labels, ascending."""
        return tuple(sorted({obj.index for obj in self.objects}))

    def find_objects(self, index: int) -> tuple[PhotoObject, ...]:
        """The objects of one class."""
        return tuple(obj for obj in self.objects if obj.index == index)

    def get_mask(self, index: int) -> Mask | None:
        """All pixels of one class, including crowds and difficult ones; None if there is none of it, or one of them has no mask."""
        return unite_masks([obj.mask for obj in self.find_objects(index)])


@runtime_checkable
class World(Protocol):
    """A data set.

    ``name`` is short and goes with every number, ``title`` describes it in words. ``labels`` are the names of its classes; ``indexed`` says
    that they are ILSVRC's thousand in the order of their synset ids, the order of most models. ``size`` is the number of samples, None if
    it has no end.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def indexed(self) -> bool: ...  # noqa: D102
    @property
    def has(self) -> frozenset[Has]: ...  # noqa: D102
    @property
    def size(self) -> int | None: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102
    def iterate_samples(self, n: int | None = None) -> Iterator[LabelledPhoto]:
        """``n`` samples (fewer if there are fewer), always the same ones, including those of a smaller ``n``; all by default."""
        ...


@final
@dataclass(frozen=True, eq=False)
class NumberedWorld:
    """Any data set whose samples have numbers. Satisfies :class:`World`.

    ``at`` reads the sample of a number from 0. ``facts`` say where it comes from: any JSON values. Of a data set with an end,
    ``iterate_samples(n)`` takes the first n of a fixed random order, in the order of the data set; of one without, the numbers 0 to n - 1.
    """

    name: str
    title: str
    labels: Sequence[str]
    has: frozenset[Has]
    size: int | None
    at: Callable[[int], LabelledPhoto] = field(repr=False)
    indexed: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = show_record

    def iterate_samples(self, n: int | None = None) -> Iterator[LabelledPhoto]:
        """See :meth:`World.iterate_samples`. Raises InputError for n below 1, or no n where there is no end."""
        if n is not None and n < 1:
            raise InputError(f"n={n} samples were asked for; expected 1 or more")
        if self.size is None and n is None:
            raise InputError(f"all samples of {self.name} were asked for, which has no end; give n")
        return map(self.at, _choose_numbers(self.size, n))


def unite_masks(masks: Sequence[Mask | None]) -> Mask | None:
    """The pixels of any mask; None for no masks, or if one of them isn't known.

    >>> unite_masks([np.array([[True, False]]), np.array([[False, False]])]).tolist()
    [[True, False]]
    """
    known = [mask for mask in masks if mask is not None]
    if not known or len(known) < len(masks):
        return None
    found: Mask = np.logical_or.reduce(known)
    return found


def _choose_numbers(size: int | None, n: int | None) -> Sequence[int]:
    if size is None:
        return range(n or 0)
    if n is None or n >= size:
        return range(size)
    order = np.random.Generator(np.random.PCG64(_SHUFFLE)).permutation(size)
    found: list[int] = np.sort(order[:n]).tolist()
    return found
