"""The result of explaining one photo: frozen, self-contained records. Saving and loading is in ``vlcam.explanation.storage``."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import expm1
from operator import index
from typing import Literal, SupportsIndex, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Geometry, Target, TargetError, shorten, show_record
from vlcam.explanation.diagnostic import Diagnostic
from vlcam.explanation.numbers import format_percent
from vlcam.image.display import apply_steps, follow_edges
from vlcam.image.geometry import find_cell_box, to_photo
from vlcam.image.photo import Photo
from vlcam.image.preprocess import PreprocessSettings

Flag = Literal["ok", "zero", "negative", "nonfinite"]

NEARLY_CERTAIN = 0.01
"""From this ``1 - p`` down a log-probability is said to be nearly certain.

``d log p = (1 - p) d log(p / (1 - p))``: beside the log-odds, every gradient of a log-probability, and so its whole map, is smaller by the
factor ``1 - p``. Below 0.01 the map is at least 50 times fainter than that of a word as likely as not with the same evidence, and
nothing in the picture could raise the score by more than 0.01 nats.
"""


Standing = Literal["claimable", "weak", "background", "unnamed"]
"""What a text may say of a channel in one image.

``claimable``: it fires strongly enough for a text to say what it sees; ``weak``: it fires above its threshold T_k, but too weakly to say;
``background``: it does not fire above T_k, and adds to the evidence by its low activity alone; ``unnamed``: it has no name.
"""

TextForm = Literal["short", "full", "paper"]
"""One sentence; everything, with numbers and units; the paper's lists by alpha."""


@final
@dataclass(frozen=True)
class Evidence:
    """One channel's part in a target.

    ``alpha`` is the mean gradient (Grad-CAM eq. 1), ``contribution`` its part in the score in this image (of most methods
    ``alpha * sum(A)``), ``share`` its share of all
    positive (or, if negative, of all negative) contributions, ``active`` whether the channel fires in this image. ``match`` is the
    score of its name (IoU, or that of another scorer). ``standing`` is what a text may say of it (None in files of earlier versions),
    and ``says`` the names that it may be claimed to see, most specific first.
    """

    unit: int
    name: str | None
    alpha: float
    contribution: float
    share: float
    active: bool
    match: float | None = None
    standing: Standing | None = None
    says: tuple[str, ...] = ()

    __repr__ = show_record


@final
@dataclass(frozen=True)
class NamedEvidence:
    """Channels of one name in one of four cases.

    ``supports``: for the target and active; ``missing``: for it and silent; ``opposes``: against it and active; ``absent``: against
    it and silent, so its absence helps. ``units`` come strongest first. ``share`` is their part of all positive (``supports``) or,
    with a minus, of all negative (``opposes``) contributions in this image; silent channels have none: 0. A unit that may be claimed to
    see several of the names is in each of them, so shares do not add up (:attr:`NeuronText.accounted` counts each unit once).
    """

    case: Literal["supports", "missing", "opposes", "absent"]
    name: str
    category: str | None
    units: tuple[int, ...]
    share: float

    __repr__ = show_record


@final
@dataclass(frozen=True)
class NeuronText:
    """The named-neuron explanation of one target: a sentence, the channels it rests on and how much of the evidence is named.

    ``sentence`` is the text in the form that was asked for: ``full``, with numbers and units, unless another was. ``short`` is one sentence
    of at most 25 words without numbers, which accounts for at least half of the positive evidence or says that no short reason does;
    ``paper`` has the names by alpha, as section 7 of Grad-CAM gives them. Both are empty in files of earlier versions.
    ``named`` is what the sentence says, name by name; empty in the paper's ranking, which says nothing about the image.
    ``accounted`` is the share of the positive evidence in the units of all supporting names, each counted once (None in files of earlier
    versions). ``reliable`` is false where too little of the evidence has a name for a sentence.
    """

    sentence: str
    top: tuple[Evidence, ...]
    bottom: tuple[Evidence, ...]
    coverage: float
    ranking: Literal["contribution", "paper"] = "contribution"
    named: tuple[NamedEvidence, ...] = ()
    reliable: bool = True
    short: str = ""
    paper: str = ""
    accounted: float | None = None

    def get_text(self, form: TextForm = "short") -> str:
        """The text in a form; ``sentence`` where that form is not there."""
        return {"short": self.short, "full": self.sentence, "paper": self.paper}[form] or self.sentence

    def __repr__(self) -> str:
        rests = f"{len(self.top)} for, {len(self.bottom)} against, {_percent(self.coverage)} named"
        return f"NeuronText('{shorten(self.sentence, 160)}', {rests})"


@final
@dataclass(frozen=True)
class FillTest:
    """The effect of taking a region away with one fill (see :mod:`vlcam.explanation.fills`).

    ``removed``: how far the score falls; ``as_much`` of the ``regions`` random ones that were taken away with this fill do at least as
    much.
    """

    fill: str
    removed: float
    regions: int
    as_much: int

    __repr__ = show_record


@final
@dataclass(frozen=True)
class SignificanceTest:
    """What happened to a target's score when the map's region was removed, compared with random regions and untrained models.

    See :mod:`vlcam.explanation.verify`.

    ``area`` is the region's fraction of the picture. ``removed``: how far the score falls without the region, in the target's own units,
    the mean of two fills (``fills`` has each of four alone); ``removed_as_much`` of ``regions`` random ones and
    ``untrained_as_much`` of ``models`` untrained models do at least as much. ``p`` is the p-value of these counts, None if there was
    nothing to test; ``corrected`` is the same after Holm's correction for the number of targets that were tested together.
    ``occlusion`` and ``untrained`` are rank correlations of the map with a quick occlusion map, and with that of the same model before
    any training (None where one of them is empty, where the method is occlusion itself or isn't a registered one).
    In files of earlier versions ``models`` is 0, ``fills`` is empty and ``corrected`` is None.
    """

    area: float
    regions: int
    removed: float
    removed_as_much: int
    models: int
    untrained_as_much: int
    fills: tuple[FillTest, ...]
    p: float | None
    corrected: float | None
    occlusion: float | None
    untrained: float | None
    verdict: str

    def __repr__(self) -> str:
        chance = "nothing to test" if self.p is None else f"p {self.p:.2g}"
        if self.corrected is not None:
            chance += f", corrected {self.corrected:.2g}"
        others = f"{self.regions} random regions, {self.models} untrained models"
        return f"SignificanceTest({chance}, {others}: {shorten(self.verdict, 160)})"


@dataclass(frozen=True, eq=False, repr=False)
class AbstractExplanation:
    """The data of an explanation and views of it; :class:`vlcam.Explanation` adds what draws, tests and saves it.

    Raw tensors, with T targets, C channels and an h x w grid (that of the layer, or of the perturbation method that made the maps):

    - ``maps`` ``(T, h, w)``: signed raw maps before the method's final ReLU, in the target's own units;
    - ``alpha`` ``(T, C)``: mean gradients; ``contributions`` ``(T, C)``: ``alpha * sum(A)``;
    - ``activity`` ``(C,)``: each channel's maximum over the layer's grid in this photo.

    ``question_words`` are the character ranges of the question's words that the targets' ``reading`` is about; ``notes`` are
    sentences that belong to the result, such as that the layer was guessed; those that say why the result may mean nothing come
    first. ``significance``, one test for each target, is there after :meth:`vlcam.Explanation.verify`. ``preprocessing`` is what was
    done to the photo before the model saw it (None in files of earlier versions). ``steps`` are the display steps
    (:mod:`vlcam.image.display`) that maps are drawn with, ``diagnostic`` says whether Grad-CAM can be trusted at this layer, and
    ``choice`` why ``method`` was taken, if vlcam chose it (``method="auto"``).
    """

    task: str
    model: str
    layer: str
    method: str
    relu: bool
    text: str
    question: str | None
    photo: Photo
    geometry: Geometry
    targets: tuple[Target, ...]
    maps: Float[Tensor, "targets rows columns"]
    alpha: Float[Tensor, "targets channels"]
    contributions: Float[Tensor, "targets channels"]
    activity: Float[Tensor, " channels"]
    neurons: tuple[NeuronText, ...] | None = None
    question_words: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    significance: tuple[SignificanceTest, ...] | None = None
    preprocessing: PreprocessSettings | None = None
    steps: tuple[str, ...] = ()
    diagnostic: Diagnostic | None = None
    choice: str | None = None

    def __repr__(self) -> str:
        text = shorten(self.text, 60)
        if self.task != "captioning":
            chosen = (
                one.probability for one in self.targets if one.label == self.text and one.kind in ("class", "answer")
            )
            text = " ".join(filter(None, (text, _percent(next(chosen, None)))))
        if self.question is not None:
            text = f"{shorten(self.question, 60)} -> {text}"
        maps = f"{len(self.targets)} map{'s' * (len(self.targets) != 1)} {_format_grid(self.maps)}"
        return f"{type(self).__name__}({shorten(self.photo.name)}: {text}, {maps}, {_name_place(self)})"

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator["TargetView"]:
        return (TargetView(self, index) for index in range(len(self.targets)))

    def __getitem__(self, key: SupportsIndex | str | tuple[str, int]) -> "TargetView":
        """A target by position, by label, or by ``(label, n)`` for the n-th target (from 0) with that label.

        A label that occurs twice (a repeated word) needs the last form, so that one is never taken for the other.
        """
        return TargetView(self, _find_position(self, key))


@final
@dataclass(frozen=True)
class TargetView:
    """One target of an explanation with its row of every tensor."""

    explanation: AbstractExplanation
    index: int

    def __repr__(self) -> str:
        target, likely = self.target, _percent(self.target.probability)
        score = ", ".join(filter(None, (f"{shorten(target.measure, 24)} {target.score:.3g}", likely)))
        return (
            f"TargetView({shorten(target.kind, 12)} '{shorten(target.label)}': {score}, map {_format_grid(self.signed_map)}, "
            f"{_name_place(self.explanation)} of {shorten(self.explanation.photo.name)})"
        )

    @property
    def target(self) -> Target:
        """The target itself: label, kind, score, probability."""
        return self.explanation.targets[self.index]

    @property
    def label(self) -> str:
        """The target's label."""
        return self.target.label

    @property
    def signed_map(self) -> Float[Tensor, "rows columns"]:
        """The raw map with its signs, at grid resolution, in the target's own units."""
        return self.explanation.maps[self.index]

    @property
    def raw_map(self) -> Float[Tensor, "rows columns"]:
        """The map as the method defines it (for Grad-CAM after the final ReLU), at grid resolution, never normalised."""
        signed = self.signed_map
        return signed.clamp_min(0) if self.explanation.relu else signed

    @property
    def map(self) -> Float[Tensor, "rows columns"]:
        """The map that is drawn: :attr:`raw_map` after the explanation's display steps, if it has any; the peak stays the same."""
        return apply_steps(self.raw_map[None], self.explanation.steps)[0]

    @property
    def flag(self) -> Flag:
        """``ok``; or why the map shows nothing: ``zero`` (no evidence), ``negative`` (only evidence against), ``nonfinite``."""
        return flag_map(self.signed_map, relu=self.explanation.relu)

    @property
    def nearly_certain(self) -> bool:
        """Whether the score is the log-probability of something so certain that it hardly changes; the logit still does."""
        target = self.target
        spoken = target.measure == "log-probability" and target.kind != "contrast"
        return spoken and -expm1(target.score) <= NEARLY_CERTAIN

    @property
    def reading(self) -> tuple[tuple[str, float], ...]:
        """The words of the question with their signed importance for this target, in units of its score; empty if not weighed."""
        question, words = self.explanation.question or "", self.explanation.question_words
        return tuple(
            (question[start:end], weight) for (start, end), weight in zip(words, self.target.reading, strict=False)
        )

    @property
    def alpha(self) -> Float[Tensor, " channels"]:
        """Mean gradient of every channel (Grad-CAM eq. 1)."""
        return self.explanation.alpha[self.index]

    @property
    def contributions(self) -> Float[Tensor, " channels"]:
        """``alpha * sum(A)`` of every channel."""
        return self.explanation.contributions[self.index]

    @property
    def neurons(self) -> NeuronText | None:
        """The named neurons behind the target, if the layer has names."""
        return None if self.explanation.neurons is None else self.explanation.neurons[self.index]

    @property
    def significance(self) -> SignificanceTest | None:
        """The test of the map against random regions and untrained models, if it was made."""
        return None if self.explanation.significance is None else self.explanation.significance[self.index]

    @property
    def proof(self) -> SignificanceTest | None:
        """The old name of ``significance``."""
        warnings.warn("TargetView.proof is deprecated; use TargetView.significance", DeprecationWarning, stacklevel=2)
        return self.significance

    def heatmap(self, *, guided: bool = False) -> Float[Tensor, "height width"]:
        """The map on the original photo's pixels: bilinear, half-pixel centres; NaN where the model did not see the photo.

        ``guided``: with its edges moved to those of the photo (:func:`vlcam.image.display.follow_edges`), for the eye only.
        """
        geometry = self.explanation.geometry
        heat = to_photo(self.map[None], geometry)[0]
        if not guided:
            return heat
        left, top, right, bottom = find_cell_box(geometry, 0, 0, (len(self.map), self.map.shape[1]))
        return follow_edges(heat, self.explanation.photo.pixels, (right - left, bottom - top))


def flag_map(signed: Float[Tensor, "rows columns"], *, relu: bool) -> Flag:
    """Say whether a raw map shows anything (see :attr:`TargetView.flag`)."""
    if not bool(torch.isfinite(signed).all()):
        return "nonfinite"
    if not bool((signed != 0).any()):
        return "zero"
    if relu and not bool((signed > 0).any()):
        return "negative"
    return "ok"


def _percent(probability: float | None) -> str:
    return format_percent(probability).replace("\u00a0", " ")


def _format_grid(maps: Tensor) -> str:
    return "x".join(map(str, maps.shape[-2:]))


def _name_place(explanation: AbstractExplanation) -> str:
    return f"{shorten(explanation.method, 24)} at {shorten(explanation.layer, 48)}"


def _find_position(explanation: AbstractExplanation, key: SupportsIndex | str | tuple[str, int]) -> int:
    labels = [target.label for target in explanation.targets]
    expected = "expected a position, a label, or (label, n) for the n-th target of that label"
    if isinstance(key, (bool, np.bool_)):  # a mask of truth values is no list of positions
        raise TargetError(f"target {key} was asked for; {expected}")
    if isinstance(key, SupportsIndex):
        try:
            place = index(key)
        except TypeError as error:  # an array of several
            raise TargetError(f"target {key!r:.80} was asked for; {expected}") from error
        if not -len(labels) <= place < len(labels):
            raise TargetError(f"target {place} was asked for; there are {len(labels)}: {', '.join(labels)}")
        return place % len(labels)
    if not isinstance(key, str) and not (isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str)):
        raise TargetError(f"target {key!r:.80} was asked for; {expected}")
    label, occurrence = (key, None) if isinstance(key, str) else key
    found = [index for index, have in enumerate(labels) if have == label]
    if not found:
        raise TargetError(f"no target {label!r} in this explanation; it has: {', '.join(labels)}")
    if occurrence is None:
        if len(found) > 1:
            raise TargetError(
                f"{label!r} occurs {len(found)} times; ask for ({label!r}, 0) to ({label!r}, {len(found) - 1}), or by position"
            )
        return found[0]
    if not 0 <= occurrence < len(found):
        raise TargetError(
            f"{label!r} occurs {len(found)} time(s), so ({label!r}, {occurrence}) doesn't exist; count from 0"
        )
    return found[occurrence]
