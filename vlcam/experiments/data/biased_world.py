"""A generated world with a shortcut: the doctor and nurse study of Grad-CAM, with exact ground truth.

Selvaraju et al. 2017 (arXiv 1610.02391, on identifying bias in a data set) trained a network on pictures that an image search found
for "doctor" and "nurse". 78 % of the doctors were men and 93 % of the nurses were women, and the network looked at faces and
hair instead of coats and stethoscopes.

Here each picture has a small *badge* and a large *face* apart from each other, among one or two bystanders:

- a doctor's badge is a star and a nurse's a heart: the true cause, and the only one;
- the face is a circle; it is blue or red, and this is the spurious attribute. In a biased collection it is blue in 78 % of the
  doctors' pictures and red in 93 % of the nurses'; in a balanced one each is half of each class.

Nothing else is red, blue, a circle, a star or a heart. So whatever a map or a text about neurons points at is either the cause, the
shortcut or neither, and the picture can be drawn again with only one of the two changed. What makes the shortcut pay is that the badge is
hard to see: its radius is :data:`BADGE_RADII`, three quarters of that of the smallest objects that the bundled models were trained on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.random import PCG64, Generator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError
from vlcam.engine.draws import PrivateDraws
from vlcam.scenes.models.nets import SceneClassifier
from vlcam.scenes.models.zoo import to_input
from vlcam.scenes.record import BACKGROUNDS, TEXTURES, UNSEEN_PAIRS, SceneObject
from vlcam.scenes.sample import HUES, hsv_to_rgb
from vlcam.scenes.scene import Scene
from vlcam.scenes.shapes import EXTENTS

CLASSES: Final = ("doctor", "nurse")
BADGES: Final = ("star", "heart")
"""The true cause: the shape of the badge, by class."""

FACES: Final = ("blue", "red")
"""The spurious attribute: the colour of the face that is usual for each class in a biased collection."""

FACE_SHAPE: Final = "circle"
BYSTANDERS: Final = ("square", "triangle", "cross")
USUAL: Final = (0.78, 0.93)
"""Share of each class's pictures with the usual face: men among the doctors and women among the nurses of the paper."""

BALANCED: Final = (0.5, 0.5)
BADGE_RADII: Final = (0.073, 0.083)

TRAIN: Final = 200
VAL: Final = 50
"""Pictures of each class to train on and to choose the epoch by: 250 together, as in the paper."""

TEST: Final = 600
EPOCHS: Final = 30
BATCH: Final = 50
RATE: Final = 1e-3
DECAY: Final = 1e-2

_FACE_RADII: Final = (0.167, 0.190)
_OTHER_RADII: Final = (0.098, 0.113)
_OTHER_PAIRS: Final = tuple(
    (colour, shape)
    for colour in ("orange", "yellow", "green", "purple")
    for shape in BYSTANDERS
    if (colour, shape) not in UNSEEN_PAIRS
)
_BADGE_COLOURS: Final = ("orange", "yellow", "purple")
_MARGIN: Final = 0.02
_GAP: Final = 0.04  # at least this much of the picture's side lies between two objects
_TRIES: Final = 60

Role = Literal["badge", "face"]


@final
@dataclass(frozen=True)
class Person:
    """One picture: object 0 of the scene is the face, object 1 the badge, the rest are bystanders.

    ``label`` is the class (0 doctor, 1 nurse); ``usual`` says whether the face has the colour that is usual for the class.
    """

    scene: Scene
    label: int
    usual: bool

    def draw_mask(self, role: Role, size: int = 96) -> Bool[np.ndarray, "size size"]:
        """Where the badge (the cause) or the face (the shortcut) is visible."""
        found: Bool[np.ndarray, "size size"] = self.scene.masks(size)[_ROLES.index(role)]
        return found

    def change(self, role: Role) -> "Person":
        """The same picture with the other badge (then it is one of the other class) or the other face, and nothing else changed."""
        face, badge, *others = self.scene.objects
        if role == "badge":
            other = 1 - self.label
            turned = replace(badge, shape=BADGES[other])
            return Person(replace(self.scene, objects=(face, turned, *others)), other, not self.usual)
        colour = FACES[1 - FACES.index(face.colour)]
        tinted = replace(face, colour=colour, tint=hsv_to_rgb(*HUES[colour]))
        return Person(replace(self.scene, objects=(tinted, badge, *others)), self.label, not self.usual)


_ROLES: Final[tuple[Role, ...]] = ("face", "badge")


def make_person(seed: Sequence[int], label: int, *, usual: bool, radii: tuple[float, float] = BADGE_RADII) -> Person:
    """The picture of this seed with this class and this face, always the same one; the seed is whole numbers of 0 or more.

    ``radii``: the smallest and the largest radius of the badge, as fractions of the picture's side.
    """
    rng = Generator(PCG64(list(seed)))
    face = _make_object(rng, FACE_SHAPE, FACES[label if usual else 1 - label], "large", _FACE_RADII)
    badge = _make_object(rng, BADGES[label], _pick(rng, _BADGE_COLOURS), "small", radii)
    others = [
        _make_object(rng, shape, colour, "small", _OTHER_RADII)
        for colour, shape in (_OTHER_PAIRS[i] for i in rng.permutation(len(_OTHER_PAIRS))[: int(rng.integers(1, 3))])
    ]
    objects = _place_apart(rng, [face, badge, *others])
    scene = Scene(
        split="test",
        seed=int(seed[-1]),
        objects=objects,
        background=_pick(rng, BACKGROUNDS),
        background_seed=int(rng.integers(2**31)),
        light=math.radians(float(rng.uniform(35.0, 145.0))),
    )
    return Person(scene, label, usual)


def make_people(
    seed: Sequence[int],
    each: int,
    usual: tuple[float, float],
    *,
    radii: tuple[float, float] = BADGE_RADII,
) -> list[Person]:
    """``each`` pictures of every class, of which the shares ``usual`` (to the nearest picture) have the class's usual face.

    Two collections of one seed hold the same pictures except for the faces: rebalancing recolours the surplus faces, so the
    class counts stay the same, as they did in the paper.

    Raises InputError for fewer than 2 pictures of a class or shares outside 0 to 1.
    """
    if each < 2 or not all(0 <= share <= 1 for share in usual):
        raise InputError(
            f"each={each} and usual={usual} were given; expected 2 or more pictures and shares from 0 to 1"
        )
    return [
        make_person((*seed, label, number), label, usual=number < round(usual[label] * each), radii=radii)
        for label in range(len(CLASSES))
        for number in range(each)
    ]


def draw_pictures(people: Sequence[Person]) -> UInt8[Tensor, "people 96 96 3"]:
    """The drawings, RGB."""
    return torch.from_numpy(np.stack([one.scene.image() for one in people]))


def draw_regions(people: Sequence[Person]) -> Float[Tensor, "people 2 96 96"]:
    """The masks (0 or 1) of the face and of the badge, in this order."""
    return torch.from_numpy(np.stack([one.scene.masks()[:2] for one in people])).float()


def compute_features(model: SceneClassifier, people: Sequence[Person]) -> Float[Tensor, "people channels rows columns"]:
    """The last conv layer on drawings of these people, detached."""
    images = draw_pictures(people)
    with torch.no_grad():
        return torch.cat([model.features(to_input(part)) for part in images.split(BATCH)])


def fine_tune(
    base: SceneClassifier,
    train: tuple[Float[Tensor, "people channels rows columns"], Int[Tensor, " people"]],
    val: tuple[Float[Tensor, "others channels rows columns"], Int[Tensor, " others"]],
    *,
    seed: int,
    epochs: int = EPOCHS,
) -> SceneClassifier:
    """A two-class model with the convolutions of ``base``, as they are, and its fully connected layer, fine-tuned with a new last one.

    ``train`` and ``val`` are the last conv layer's outputs and the classes. AdamW and cross-entropy; the epoch with the
    lowest loss on ``val`` is kept. Seeded; torch's own random state is left as it was.
    """
    with PrivateDraws(seed):
        model = SceneClassifier(len(CLASSES)).eval()
        model.features.load_state_dict(base.features.state_dict())
        model.head.load_state_dict(base.head.state_dict())
        dense = nn.Sequential(*list(model.head)[2:], model.classifier)  # the ends are shared with the model
        with torch.no_grad():
            (x, y), (x_val, y_val) = ((model.head[:2](maps), labels) for maps, labels in (train, val))
        optimiser = torch.optim.AdamW(dense.parameters(), lr=RATE, weight_decay=DECAY)
        best, kept = float("inf"), dense.state_dict()
        for _ in range(epochs):
            for rows in torch.randperm(len(x), device="cpu").split(BATCH):
                optimiser.zero_grad()
                # Training is the one place where parameters need their .grad filled.
                torch.autograd.backward(F.cross_entropy(dense(x[rows]), y[rows]))
                optimiser.step()
            with torch.no_grad():
                loss = float(F.cross_entropy(dense(x_val), y_val))
            if loss < best:
                best, kept = loss, {name: value.clone() for name, value in dense.state_dict().items()}
        dense.load_state_dict(kept)
    return model.requires_grad_(False)


def get_labels(people: Sequence[Person]) -> Int[Tensor, " people"]:
    """The classes."""
    return torch.tensor([one.label for one in people], device="cpu")


def train_pair(
    base: SceneClassifier, seed: tuple[int, int], *, each: tuple[int, int] = (TRAIN, VAL), epochs: int = EPOCHS
) -> tuple[SceneClassifier, SceneClassifier]:
    """The model trained on biased data, and the one trained on the same data rebalanced. The same seed gives the same models."""
    data: list[list[tuple[Tensor, Tensor]]] = [[], []]
    for part, many in enumerate(each):
        before: tuple[list[Person], Tensor] | None = None
        for kind, usual in enumerate((USUAL, BALANCED)):
            people = make_people((*seed, part), many, usual)
            if before is None:
                maps = compute_features(base, people)
            else:  # only what was recoloured is drawn and encoded again
                new = [i for i, (one, old) in enumerate(zip(people, before[0], strict=True)) if one.usual != old.usual]
                maps = before[1].clone()
                maps[new] = compute_features(base, [people[i] for i in new])
            before = people, maps
            data[kind].append((maps, get_labels(people)))
    start = int(np.random.SeedSequence(seed).generate_state(1)[0])
    biased, balanced = (fine_tune(base, train, val, seed=start, epochs=epochs) for train, val in data)
    return biased, balanced


@final
@dataclass(frozen=True, eq=False)
class BalancedSet:
    """The balanced test set: people, their last conv layer as drawn, with the other face and with the other badge, and the regions."""

    people: tuple[Person, ...]
    maps: Float[Tensor, "people channels rows columns"]
    other_face: Float[Tensor, "people channels rows columns"]
    other_badge: Float[Tensor, "people channels rows columns"]
    regions: Float[Tensor, "people 3 height width"]

    @property
    def labels(self) -> Int[Tensor, " people"]:
        """The true classes."""
        return get_labels(self.people)

    @property
    def usual(self) -> np.ndarray:
        """Whether each face is the one usual for the class in biased data."""
        return np.array([one.usual for one in self.people])


def make_balanced_set(base: SceneClassifier, n: int, seed: int) -> BalancedSet:
    """``n`` people (a multiple of 4): the same number of each class with each face. Raises InputError for another n."""
    if n < 4 or n % 4:
        raise InputError(f"n={n} test pictures were asked for; expected a multiple of 4, such as {TEST}")
    people = tuple(make_people((seed, 2), n // 2, BALANCED))
    others = [[one.change(role) for one in people] for role in ("face", "badge")]
    masks = draw_regions(people)
    masks = torch.cat([masks, 1 - masks.sum(1, keepdim=True)], 1)
    return BalancedSet(
        people,
        compute_features(base, people),
        compute_features(base, others[0]),
        compute_features(base, others[1]),
        masks,
    )


def _pick(rng: Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _make_object(rng: Generator, shape: str, colour: str, size: str, radii: tuple[float, float]) -> SceneObject:
    """An object at the centre still; its colour varies a little."""
    hue, saturation, value = HUES[colour]
    jitter = rng.uniform(-1.0, 1.0, 3).tolist()
    return SceneObject(
        shape=shape,
        colour=colour,
        size=size,
        texture=_pick(rng, TEXTURES),
        x=0.5,
        y=0.5,
        radius=float(rng.uniform(*radii)),
        angle=float(rng.uniform(-0.35, 0.35)),
        stripe_angle=float(rng.uniform(0.0, math.pi)),
        tint=hsv_to_rgb(hue + 4.0 * jitter[0], saturation + 0.05 * jitter[1], value + 0.03 * jitter[2]),
    )


def _place_apart(rng: Generator, wanted: Sequence[SceneObject]) -> tuple[SceneObject, ...]:
    """Put the objects in places clear of each other; bystanders that find no room are left out.

    The reach that is kept clear is that of the larger badge, so that the class has no influence on the places.
    """
    placed: list[tuple[SceneObject, float]] = []
    for obj in wanted:
        stretch = max(EXTENTS[shape] for shape in BADGES) if obj.shape in BADGES else EXTENTS[obj.shape]
        reach = obj.radius * stretch
        low = _MARGIN + reach
        for x, y in (low + (1.0 - 2.0 * low) * rng.random((_TRIES, 2))).tolist():
            if all(math.hypot(x - one.x, y - one.y) > reach + far + _GAP for one, far in placed):
                placed.append((replace(obj, x=x, y=y), reach))
                break
    return tuple(one for one, _ in placed)
