"""Does the visual gain of a word tell what was seen from what was only said? Measured on scenes with exact captions.

Two questions, each answered by the area under the ROC curve of a word's visual gain, beside that of its plain log-probability:

- Do words for what is visible in the picture (colours, shapes, sizes, textures) have a higher gain than words that are about nothing in it
  (articles, "and")? All words of one true caption per scene, scored as given.
- Does a true word have a higher gain than a false one in its place? In the same captions, each word of those kinds is swapped for another
  of its kind that makes the caption false; the true and the false words are compared, after the same words before.

Intervals are bootstrapped over scenes, as the words of one scene belong together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from vlcam.benchmark.claims import RESAMPLES
from vlcam.benchmark.grounding import WORD_KINDS
from vlcam.contracts import Request, Task
from vlcam.explanation.visual_gain import hide_content, score_targets
from vlcam.metrics.statistics import auroc, bootstrap, compute_interval
from vlcam.scenes.captions import check_words
from vlcam.scenes.grammar import PLURALS, SINGULARS
from vlcam.scenes.record import COLOURS, SHAPES, SIZES, TEXTURES, Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene

FAMILIES = (COLOURS, SHAPES, SIZES, TEXTURES, tuple(PLURALS[shape] for shape in SHAPES))
FUNCTION, OTHER, ALL = "function words", "numbers and relations", "all"
COLUMNS = ("blank", "blur", "log-probability")

Values = tuple[float, float, float]
"""Gain against a blank picture, gain against a blurred one, and the log-probability itself, in nats."""


@final
@dataclass(frozen=True)
class ScoredWord:
    """A word of a scene's true caption, and the false word that was put in its place, if there is one."""

    scene: int
    kind: str
    true: Values
    false: Values | None = None


def choose_false_words(scene: Scene, words: tuple[str, ...], rng: np.random.Generator) -> dict[int, str]:
    """For each place of a true caption with a colour, shape, size or texture: another one that is false there.

    Of a word that occurs twice, only the first place counts.
    """
    out = {}
    for place, word in enumerate(words):
        family = next((family for family in FAMILIES if word in family), ())
        false = [other for other in family if other != word and _is_false(scene, words, place, other)]
        if false and words.index(word) == place:
            out[place] = str(rng.choice(false))
    return out


def _is_false(scene: Scene, words: tuple[str, ...], place: int, other: str) -> bool:
    try:
        return not check_words(scene, (*words[:place], other, *words[place + 1 :]))[place]
    except ValueError:  # outside the grammar: "a orange"
        return False


def score_caption_words(scene: Scene, captioner: Task, rng: np.random.Generator) -> Iterator[ScoredWord]:
    """The words of one true caption of the scene, scored in their places."""
    (caption,) = scene.captions(1)
    words = caption.words
    false = choose_false_words(scene, words, rng)
    pairs = tuple((words[place], word) for place, word in false.items())
    request = Request(caption=caption.text, contrasts=pairs)
    picture = Image.fromarray(scene.image())
    runs = [
        score_targets(captioner, one, request)
        for one in (picture, hide_content(picture, "blank"), hide_content(picture, "blur"))
    ]
    seen, blank, blur = (np.array([target.score for target in run]) for run in runs)
    table = np.stack([seen - blank, seen - blur, seen], 1)
    # A contrast is the log-probability of the true word less that of the false one, so its row is the difference of their rows.
    rivals = {place: table[place] - table[len(words) + 1 + number] for number, place in enumerate(false)}
    for place, (word, objects) in enumerate(zip(words, caption.about, strict=True)):
        kind = WORD_KINDS.get(SINGULARS.get(word, word), OTHER if objects else FUNCTION)
        rival = tuple(rivals[place].tolist()) if place in rivals else None
        yield ScoredWord(scene.seed, kind, tuple(table[place].tolist()), rival)


def measure_gains(
    captioner: Task,
    *,
    split: Split = "test",
    n: int = 300,
    seed: int = 0,
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, Any]:
    """The two tables on scenes ``0..n-1``: ``{"scenes": n, "seen": rows, "true": rows}``.

    ``seen``: words of a kind against function words; ``true``: true words of a kind against false ones. A row says how many
    ``positives`` and ``negatives`` there were, and for each column the AUROC and its 95 % interval.
    """
    found: list[ScoredWord] = []
    for number in range(n):
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        found += score_caption_words(make(number, split), captioner, rng)
        if progress is not None:
            progress(number + 1, n)
    kinds = list(dict.fromkeys(WORD_KINDS.values()))
    function = [(one.scene, one.true) for one in found if one.kind == FUNCTION]
    out: dict[str, Any] = {"scenes": n, "seen": {}, "true": {}}
    for kind in (ALL, *kinds, OTHER):
        of_kind = [one for one in found if one.kind in (kinds if kind == ALL else (kind,))]
        out["seen"][kind] = _make_row([(one.scene, one.true) for one in of_kind], function, n, seed)
        swapped = [one for one in of_kind if one.false is not None]
        if swapped:
            false = [(one.scene, one.false) for one in swapped if one.false is not None]
            out["true"][kind] = _make_row([(one.scene, one.true) for one in swapped], false, n, seed)
    return out


def _make_row(
    positive: Sequence[tuple[int, Values]], negative: Sequence[tuple[int, Values]], n: int, seed: int
) -> dict[str, Any]:
    both = [*positive, *negative]
    scenes = np.array([one for one, _ in both], int)
    values = np.array([row for _, row in both], float).reshape(-1, len(COLUMNS))
    truth = np.arange(len(both)) < len(positive)
    row: dict[str, Any] = {"positives": len(positive), "negatives": len(negative)}

    def score(drawn: Int[np.ndarray, "draws scenes"]) -> Float[np.ndarray, "draws columns"]:
        times = [np.bincount(one, minlength=n)[scenes] for one in drawn]
        return np.array(
            [[auroc(np.repeat(own, count), np.repeat(truth, count)) for own in values.T] for count in times]
        )

    found = bootstrap(score, n, seed=seed, resamples=RESAMPLES)
    for own, draws, name in zip(values.T, found.T, COLUMNS, strict=True):
        row[name] = {"auroc": auroc(own, truth), "interval": compute_interval(draws, interpolate=True)}
    return row
