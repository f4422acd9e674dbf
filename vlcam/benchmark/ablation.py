"""Do channels matter for what they are named after? They are set to 0 at ``features``, and the rest of the model runs.

For each concept that was said ("red", "star", "red star"), the channels of that name and of names that imply it are silenced. The fall of
the score is compared with the fall without the same number of other channels, drawn at random; without others of equal activity in this
picture (a channel that is silent anyway costs nothing); and with what happens to other objects that were said.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator
from torch import Tensor, nn

from vlcam.benchmark.claims import RESAMPLES, TextCase, export_summary, extract_content_words
from vlcam.engine.restore import undo_afterwards
from vlcam.metrics.statistics import Seed, summarise_effect
from vlcam.neurons import NeuronNames
from vlcam.scenes.models.data import CAPTION_VOCABULARY, QUESTION_VOCABULARY
from vlcam.scenes.models.nets import SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.models.vocabulary import Vocabulary
from vlcam.scenes.models.zoo import to_input
from vlcam.scenes.questions import ANSWERS
from vlcam.scenes.record import PAIRS
from vlcam.scenes.scene import Scene

DRAWS: Final = 5
"""How many sets of control channels there are of each of the two kinds."""
_NEAREST: Final = 3
_LABELS: Final = tuple(" ".join(pair) for pair in PAIRS)


@contextmanager
def mask_channels(model: nn.Module, masks: Float[Tensor, "sets channels"]) -> Iterator[None]:
    """Within this context, each of a batch of equal photos has its own set of channels of ``features``, which runs once."""

    def first(module: nn.Module, inputs: Any) -> Any:
        return (inputs[0][:1],)

    def each(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * masks[:, :, None, None]

    features = model.get_submodule("features")
    with undo_afterwards() as undo:
        undo.add_hook(features.register_forward_pre_hook, first)
        undo.add_hook(features.register_forward_hook, each)
        yield


def score_cases(
    model: nn.Module, scene: Scene, cases: Sequence[TextCase], masks: Float[Tensor, "sets channels"]
) -> Float[np.ndarray, "cases sets"]:
    """The score of each case of one model with each set of channels: logits, or log-probabilities for words."""
    sets = len(masks)
    image = to_input(torch.from_numpy(scene.image()[None])).expand(sets, -1, -1, -1)
    with torch.no_grad(), mask_channels(model, masks):
        if isinstance(model, SceneClassifier):
            logits = model(image)
            found = [logits[:, _LABELS.index(case.view.label)] for case in cases]
        elif isinstance(model, SceneVQA):
            photo = model.encode(image)
            asked = [
                model.read(torch.tensor([QUESTION_VOCABULARY.encode(case.question or "")], device="cpu"))
                for case in cases
            ]
            answers = [model.answer(photo, one.expand(sets, -1)) for one in asked]
            found = [one[:, ANSWERS.index(case.view.label)] for one, case in zip(answers, cases, strict=True)]
        else:
            speaker = cast(SceneCaptioner, model)
            ids = CAPTION_VOCABULARY.encode(cases[0].view.explanation.text)
            before = torch.tensor([[Vocabulary.START, *ids[:-1]]], device="cpu").expand(sets, -1)
            spoken = speaker.decode(speaker.encode(image), before).log_softmax(-1)
            places = [_find_place(case) for case in cases]
            found = [spoken[:, place, ids[place]] for place in places]
        table: np.ndarray = torch.stack(found).double().numpy()
    return table


def _find_place(case: TextCase) -> int:
    """Which word of its caption a case is."""
    words = [view.index for view in case.view.explanation if view.target.kind == "word"]
    return words.index(case.view.index)


def ablate_concepts(
    model: nn.Module, names: NeuronNames, found: Sequence[TextCase], scene: Scene, rng: Generator
) -> Iterator[dict[str, Any]]:
    """For every concept that one model said: how far the scores fall without the channels of names that imply it."""
    cases = [case for case in found if extract_content_words(case.view.label)]
    with torch.no_grad():
        maps = model.get_submodule("features")(to_input(torch.from_numpy(scene.image()[None])))
    activity = maps[0].sum((1, 2)).double().numpy()
    for concept in sorted({extract_content_words(case.view.label) for case in cases}, key=sorted):
        chosen = [
            unit.unit for unit in names.units if unit.name is not None and concept <= extract_content_words(unit.name)
        ]
        if not chosen or not activity[chosen].sum() > 0:
            continue
        sets = [[], chosen, *draw_controls(chosen, names, activity, rng)]
        masks = torch.ones(len(sets), len(names.units), device="cpu")
        for row, units in enumerate(sets):
            masks[row, units] = 0.0
        said = score_cases(model, scene, cases, masks)
        for case, drop in zip(cases, said[:, :1] - said, strict=True):
            words = extract_content_words(case.view.label)
            if words == concept or not words & concept:
                yield {
                    "scene": case.scene,
                    "kind": case.kind,
                    "related": words == concept,
                    "drop": float(drop[1]),
                    "number": float(drop[2 : 2 + DRAWS].mean()),
                    "activity": float(drop[2 + DRAWS :].mean()),
                }


def draw_controls(
    chosen: Sequence[int], names: NeuronNames, activity: Float[np.ndarray, " channels"], rng: Generator
) -> list[list[int]]:
    """Sets of other living channels: ``DRAWS`` of equal number, then ``DRAWS`` whose activities are as close as possible."""
    others = np.array([unit.unit for unit in names.units if unit.state != "dead" and unit.unit not in set(chosen)], int)
    out = [rng.permutation(others)[: len(chosen)].tolist() for _ in range(DRAWS)]
    for _ in range(DRAWS):
        left, taken = others, []
        for unit in rng.permutation(list(chosen)).tolist():
            if not len(left):
                break
            near = left[np.argsort(np.abs(activity[left] - activity[unit]), kind="stable")[:_NEAREST]]
            taken.append(int(rng.choice(near)))
            left = left[left != taken[-1]]
        out.append(taken)
    return out


def summarise_ablations(found: Sequence[Mapping[str, Any]], n: int, seed: Seed) -> dict[str, Any]:
    """Mean drops, how far that of the concept's channels exceeds that of the controls, and what happens to other targets.

    ``n`` scenes were used. Each number has its interval over scenes and its standardised effect size; None where there are fewer than two.
    """

    def of(related: bool, value: Callable[[Mapping[str, Any]], float]) -> dict[str, Any]:
        these = [row for row in found if row["related"] == related]
        values, scenes = [value(row) for row in these], [row["scene"] for row in these]
        mean, size = summarise_effect(
            np.array(values, np.float64), np.array(scenes, np.int64), n, seed=seed, resamples=RESAMPLES
        )
        return {
            **export_summary(mean, "mean", "interval"),
            **export_summary(size, "size", "size_interval"),
            "n": mean.n,
        }

    return {
        "drop": of(True, lambda row: row["drop"]),
        "beyond as many channels": of(True, lambda row: row["drop"] - row["number"]),
        "beyond as active channels": of(True, lambda row: row["drop"] - row["activity"]),
        "drop of other targets": of(False, lambda row: row["drop"]),
    }
