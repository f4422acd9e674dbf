"""What is shown to whom: the items of both studies, made so that nothing but the pictures can give an answer away.

Class discrimination (Selvaraju et al., arXiv 1610.02391, section 5.1): pictures with exactly two annotated categories; one visualisation
of one of them; people say which of the two it shows. Trust (section 5.2): two models that both predict the same right category, their
visualisations side by side.

Ours, where the paper says nothing: which category is visualised, the order of the two answers and the sides of the two models are
random and balanced within each method. A rater sees a picture with one method only (the methods go round the booklets as in a Latin
square), so that no method is helped by what another showed of the same picture.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal, final

import numpy as np

from vlcam._version import __version__
from vlcam.contracts import InputError, Method, PerturbationMethod, Request, TargetError, Task, show_record
from vlcam.explanation.explain import explain
from vlcam.image.photo import open_photo
from vlcam.methods import get_method, list_methods
from vlcam.study.drawing import to_data_uri, visualise
from vlcam.study.pictures import Picture

Kind = Literal["discrimination", "trust"]
KINDS: Final[tuple[Kind, ...]] = ("discrimination", "trust")
SCHEMA: Final = 1
"""Version of the key; it changes when a field is renamed, removed or means something else."""

STRONGER, WEAKER = "stronger", "weaker"
RATINGS: Final = 9
"""How many ratings each item had in the paper."""


_PREFERRED: Final = ("gradcam", "guided-backprop", "guided-gradcam", "deconvnet", "deconv-gradcam")
_TRIES_PER_PICTURE: Final = 50

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False)
class Item:
    """One question of a study.

    ``about`` is the category that is visualised, which both models predict in the trust study. ``choices`` are, in the order shown, the
    two categories or the two models. ``images`` are data URIs: the visualisation, or the photo and what lies left and right. ``empty``
    says whether a visualisation shows nothing; the question is asked nevertheless, as such a method has failed there.
    """

    id: str
    picture: str
    method: str
    about: str
    choices: tuple[str, str]
    booklet: int
    empty: bool
    images: tuple[str, ...]

    __repr__ = show_record

    def to_key_entry(self) -> dict[str, Any]:
        """What the key says of it: everything but the pictures, which it knows by their hashes."""
        return {
            "id": self.id,
            "picture": self.picture,
            "method": self.method,
            "about": self.about,
            "choices": list(self.choices),
            "booklet": self.booklet,
            "empty": self.empty,
            "images": [hashlib.sha256(one.encode("ascii")).hexdigest()[:16] for one in self.images],
        }


@final
@dataclass(frozen=True, eq=False)
class Part:
    """One study: a page for raters, and what its items are. ``facts`` are JSON values that say how it was made."""

    kind: Kind
    items: tuple[Item, ...]
    facts: Mapping[str, Any]

    __repr__ = show_record

    @property
    def booklets(self) -> int:
        """Into how many booklets the items are dealt; a rater fills in one."""
        return 1 + max(item.booklet for item in self.items)

    @property
    def study(self) -> str:
        """The study's id: a hash of everything in its key."""
        return compute_study_id(self._make_content())

    def to_key_entry(self) -> dict[str, Any]:
        """The part as the key holds it."""
        return {"study": self.study, **self._make_content()}

    def _make_content(self) -> dict[str, Any]:
        items = [item.to_key_entry() for item in self.items]
        return {"kind": self.kind, "booklets": self.booklets, "facts": dict(self.facts), "items": items}


def compute_study_id(content: Mapping[str, Any]) -> str:
    """The id of what a key says about one study (without the id itself)."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def make_key(parts: Iterable[Part]) -> dict[str, Any]:
    """What the experimenter keeps: what each item is. Raters must not see it."""
    return {"schema": SCHEMA, "vlcam": __version__, "parts": {part.kind: part.to_key_entry() for part in parts}}


def list_default_methods() -> tuple[str, ...]:
    """The paper's four visualisations and Grad-CAM, as far as they are in the registry."""
    return tuple(name for name in _PREFERRED if name in list_methods())


def make_discrimination_study(
    task: Task,
    pictures: Iterable[Picture],
    *,
    methods: Sequence[str | Method | PerturbationMethod] | None = None,
    n: int = 90,
    seed: int = 0,
    rotate: bool = True,
    progress: Progress | None = None,
) -> Part:
    """The study of class discrimination: which of two categories does a visualisation show?

    Args:
        task: a classifier that knows the categories; a picture with one that it doesn't know is left out.
        pictures: only those with exactly two categories are used, one of the two of each.
        methods: names of methods, or methods; by default :func:`list_default_methods`.
        n: how many pictures, each shown with every method; the paper had 90 image-category pairs.
        seed: the same seed and pictures give the same study.
        rotate: deal the items into as many booklets as there are methods, so that nobody sees a picture twice.
        progress: called with (done, all).

    Raises:
        InputError: there is no such method, the task is no classifier, or no picture is of use.
    """
    chosen = _check_methods((task,), methods, n)
    rng = np.random.default_rng([seed, 0])
    found: list[Picture] = []
    looked = 0
    for picture in islice(pictures, _TRIES_PER_PICTURE * n):
        looked += 1
        if len(picture.categories) == 2 and _knows(task, picture):
            found.append(picture)
        if len(found) == n:
            break
    if not found:
        raise InputError(
            f"none of {looked} pictures has exactly two annotated categories that {task.name} knows; give others, or a model "
            "with these classes"
        )
    which = _draw_halves(rng, len(found))
    sides = [_draw_halves(rng, len(found)) for _ in chosen]
    ids = _draw_ids(rng, len(found) * len(chosen))
    items = []
    for place, picture in enumerate(found):
        about, other = picture.categories if which[place] == 0 else picture.categories[::-1]
        for turn, one in enumerate(chosen):
            seen = visualise(task, picture.image, about, one)
            choices = (about, other) if sides[turn][place] == 0 else (other, about)
            booklet = (place + turn) % len(chosen) if rotate else 0
            images = (to_data_uri(seen.drawn),)
            items.append(Item(next(ids), picture.name, one.name, about, choices, booklet, seen.empty, images))
        if progress is not None:
            progress(place + 1, len(found))
    facts = {
        "model": task.name,
        "methods": [one.name for one in chosen],
        "seed": seed,
        "pictures": len(found),
        "looked_at": looked,
    }
    return Part("discrimination", tuple(sorted(items, key=lambda item: item.id)), facts)


def make_trust_study(
    stronger: Task,
    weaker: Task,
    pictures: Iterable[Picture],
    *,
    methods: Sequence[str | Method | PerturbationMethod] | None = None,
    n: int = 90,
    seed: int = 0,
    rotate: bool = True,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Part:
    """The study of trust: which of two models with the same right prediction looks more reliable?

    A picture is used where both models name the same category first and it is annotated. Both visualisations are of that category,
    each on its own scale. The other arguments are those of :func:`make_discrimination_study`; ``facts`` go into the key (how the weaker
    model came about, say). How often each model was right on the pictures looked at goes there as well.

    Raises:
        InputError: as there; or the models agree on no picture.
    """
    chosen = _check_methods((stronger, weaker), methods, n)
    rng = np.random.default_rng([seed, 1])
    found: list[tuple[Picture, str]] = []
    looked, right = 0, [0, 0]
    for picture in islice(pictures, _TRIES_PER_PICTURE * n):
        looked += 1
        tops = [explain(task, picture.image, top_k=1).targets[0].label for task in (stronger, weaker)]
        for place, top in enumerate(tops):
            right[place] += top in picture.categories
        if tops[0] == tops[1] and tops[0] in picture.categories:
            found.append((picture, tops[0]))
            if progress is not None:
                progress(len(found), 2 * n)
        if len(found) == n:
            break
    if not found:
        raise InputError(
            f"{stronger.name} and {weaker.name} both name the same annotated category on none of {looked} pictures; a study of trust "
            "needs pictures where both are right"
        )
    sides = [_draw_halves(rng, len(found)) for _ in chosen]
    ids = _draw_ids(rng, len(found) * len(chosen))
    items = []
    for place, (picture, about) in enumerate(found):
        for turn, one in enumerate(chosen):
            strong, weak = (visualise(task, picture.image, about, one) for task in (stronger, weaker))
            left, right_hand = (weak, strong) if sides[turn][place] else (strong, weak)
            choices = (WEAKER, STRONGER) if sides[turn][place] else (STRONGER, WEAKER)
            images = (to_data_uri(strong.photo), to_data_uri(left.drawn), to_data_uri(right_hand.drawn))
            booklet = (place + turn) % len(chosen) if rotate else 0
            empty = strong.empty or weak.empty
            items.append(Item(next(ids), picture.name, one.name, about, choices, booklet, empty, images))
        if progress is not None:
            progress(len(found) + place + 1, 2 * len(found))
    about_it = {
        STRONGER: {"model": stronger.name, "right": right[0] / looked},
        WEAKER: {"model": weaker.name, "right": right[1] / looked},
        "methods": [one.name for one in chosen],
        "seed": seed,
        "pictures": len(found),
        "looked_at": looked,
    }
    return Part("trust", tuple(sorted(items, key=lambda item: item.id)), {**about_it, **(facts or {})})


def _check_methods(
    tasks: Sequence[Task], methods: Sequence[str | Method | PerturbationMethod] | None, n: int
) -> tuple[Method | PerturbationMethod, ...]:
    """The methods, or InputError for what no picture could mend."""
    for task in tasks:
        if task.kind != "classification":
            raise InputError(f"{task.name} is a model for {task.kind}; the studies of the paper need a classifier")
    if n < 1:
        raise InputError(f"n={n} was given; expected how many pictures to show, 1 or more")
    given = list_default_methods() if methods is None else methods
    found = {one.name: one for one in (get_method(one) if isinstance(one, str) else one for one in given)}
    if not found:
        raise InputError("no method was given; expected at least one, such as gradcam")
    return tuple(found.values())


def _knows(task: Task, picture: Picture) -> bool:
    image, _ = open_photo(picture.image)
    try:
        task.prepare(image, Request(labels=picture.categories))
    except TargetError:
        return False
    return True


def _draw_halves(rng: np.random.Generator, length: int) -> list[int]:
    """As many 0 as 1 (or one more 0), in a random order."""
    found: list[int] = (rng.permutation(length) % 2).tolist()
    return found


def _draw_ids(rng: np.random.Generator, length: int) -> Iterator[str]:
    """Different ids that say nothing."""
    numbers: set[int] = set()
    while len(numbers) < length:
        numbers.add(int(rng.integers(16**8)))
    # A set of numbers has no order to speak of; neither may the ids have that of the items.
    return (f"{number:08x}" for number in rng.permutation(sorted(numbers)).tolist())
