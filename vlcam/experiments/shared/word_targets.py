"""What about a word is explained: four scalars of the same word, as one task, so that all come from the same run.

With z the logits at the word's place, given the picture and the words before it, w the word and K the *other* words of its kind (for "red"
the other five colours, for "small" only "large"):

    log-probability       log softmax(z)[w]                    what ``vlcam caption`` explains
    logit                 z[w]                                 what the Grad-CAM paper explains of classes and answers
    contrast, all others  z[w] - log sum over v in K exp z[v]  the log-odds of the word among its kind
    contrast, mean        z[w] - mean over v in K z[v]         the word against its kind's average

The gradient of the log-probability is ``1 - p`` times that of the log-odds against *all* other words, so it asks why this word and no
other, whatever its kind; a contrast asks why red rather than another colour, and ignores what speaks for any colour at all. Kinds are
those of the bundled world's grammar, the number words and the function words among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import InputError, Layout, Measure, Names, Prepared, Request, Spoken, Target
from vlcam.engine.outputs import log_probability
from vlcam.engine.precision import widen
from vlcam.scenes.grammar import NUMBERS, PLURALS
from vlcam.scenes.record import COLOURS, SHAPES, SIZES, TEXTURES
from vlcam.tasks.captioning import Captioning

TARGETS: Final = ("log-probability", "logit", "contrast, all others", "contrast, mean")
"""The scalars, in the order of :func:`score_words`."""

_MEASURES: Final[tuple[Measure, ...]] = ("log-probability", "logit", "score", "score")

FUNCTION: Final = "function words"
_FAMILIES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("colour words", COLOURS),
    ("shape words", SHAPES),
    ("shape words", tuple(PLURALS[shape] for shape in SHAPES)),
    ("size words", SIZES),
    ("texture words", TEXTURES),
    ("number words", tuple(NUMBERS)),
    ("place words", ("left", "right", "above", "below")),
    (FUNCTION, ("a", "an", "and", "of")),
)
KIND_OF: Final[Mapping[str, str]] = MappingProxyType({word: kind for kind, words in _FAMILIES for word in words})
"""The kind of every word of the grammar."""

KINDS: Final = tuple(dict.fromkeys(KIND_OF.values()))


def find_others(word: str) -> tuple[str, ...]:
    """The other words of its kind; singular and plural shapes apart.

    Raises InputError for a word that the bundled world's grammar doesn't have.

    >>> find_others("small"), find_others("two")
    (('large',), ('three', 'four'))
    """
    for _, words in _FAMILIES:
        if word in words:
            return tuple(other for other in words if other != word)
    raise InputError(f"{word!r} has no kind here; expected a word of the bundled world's grammar, such as 'red'")


def score_words(
    logits: Float[Tensor, "places vocabulary"], ids: Sequence[int], rivals: Sequence[Sequence[int]]
) -> Float[Tensor, "4 places"]:
    """The four scalars (see the module) of the words ``ids``; ``rivals`` has the other words of each one's kind.

    >>> z = torch.tensor([[0.0, 0.0, 1.0]])
    >>> score_words(z, [2], [[0, 1]])[1:, 0].tolist()  # 1; 1 - log 2; 1
    [1.0, 0.3068528175354004, 1.0]
    """
    wide = widen(logits)
    own = wide[range(len(ids)), list(ids)]
    beside = [wide[place, list(kind)] for place, kind in enumerate(rivals)]
    every = torch.stack([one.logsumexp(0) for one in beside])
    mean = torch.stack([one.mean() for one in beside])
    return torch.stack([log_probability(wide, ids), own, own - every, own - mean])


@final
@dataclass(frozen=True, eq=False)
class WordTargets:
    """A captioner as a task whose targets are the four scalars of every word of a given text (``Request.ids``): a ``ScoringTask``.

    The targets are the words by their log-probabilities, then by their logits, and so on, in the order of :data:`TARGETS`. ``captioner``
    has to know every word of the bundled world as one token.
    """

    kind: ClassVar[str] = "captioning"

    captioner: Captioning

    @property
    def name(self) -> str:  # noqa: D102
        return self.captioner.name

    @property
    def model(self) -> nn.Module:  # noqa: D102
        return self.captioner.model

    @property
    def layer(self) -> str | nn.Module | None:  # noqa: D102
        return self.captioner.layer

    @property
    def names(self) -> Names | None:  # noqa: D102
        return None

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """The captioner's own input."""
        return self.captioner.prepare(photo, request)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward pass of the image. Raises InputError if no token ids are given, or a word has no kind."""
        ids, rivals = self._find_rivals(request)
        encoded = self.captioner.encode(self.captioner.model, prepared.inputs)
        scores = score_words(self.captioner.logits(self.captioner.model, encoded, ids), ids, rivals).flatten()
        words = [self.captioner.tokens.decode([one]).strip() for one in ids]
        targets = [
            Target(
                f"{word} ({place}), {name}",
                "word" if number < 2 else "contrast",
                float(scores[number * len(ids) + place].detach()),
                token_ids=(ids[place],),
                measure=_MEASURES[number],
            )
            for number, name in enumerate(TARGETS)
            for place, word in enumerate(words)
        ]
        layout = self.captioner.layout
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(prepared.inputs)
        return Spoken(scores, targets, " ".join(words), layout)

    def score_batch(self, prepared: Prepared, request: Request) -> Float[Tensor, "batch targets"]:
        """The scores of ``run`` for every row of the image. Raises InputError if the captioner takes one image at a time."""
        several = self.captioner.logits_of_batch
        if several is None:
            raise InputError(f"{self.name} can't score several images at once: it has no logits_of_batch")
        ids, rivals = self._find_rivals(request)
        encoded = self.captioner.encode(self.captioner.model, prepared.inputs)
        rows = several(self.captioner.model, encoded, ids)
        flat = score_words(rows.flatten(0, 1), ids * len(rows), rivals * len(rows))
        return flat.view(len(TARGETS), len(rows), len(ids)).transpose(0, 1).flatten(1)

    def _find_rivals(self, request: Request) -> tuple[tuple[int, ...], list[list[int]]]:
        if not request.ids:
            raise InputError("no token ids were given; give those of the words, as four targets are made for each")
        encode, decode = self.captioner.tokens.encode, self.captioner.tokens.decode
        rivals = []
        for one in request.ids:
            codes = [encode(other) for other in find_others(decode([one]).strip())]
            if any(len(code) != 1 for code in codes):
                raise InputError(
                    f"{self.name} writes words of the bundled world with several tokens each; expected a captioner with one token per word"
                )
            rivals.append([int(code[0]) for code in codes])
        return tuple(request.ids), rivals
