"""Captions and answers of several photos from one run: the same as one by one, whatever their lengths."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vlcam
from vlcam.contracts import InputError, Task
from vlcam.explanation.explain import BATCH
from vlcam.explanation.explanation import Explanation
from vlcam.image.photo import open_photo
from vlcam.tasks import bundled

SCENES = [vlcam.scenes.make(seed).image(96) for seed in (3, 4, 10, 19)]


def count_runs(model: nn.Module) -> list[int]:
    """The batch sizes that the last conv layer sees from now on."""
    found: list[int] = []
    layer: Any = model.features
    layer.register_forward_hook(lambda module, args, output: found.append(len(output)))
    return found


def explain_both(task: Task, **options: Any) -> tuple[list[Explanation], list[Explanation], list[int]]:
    alone = [vlcam.explain(task, one, **options) for one in SCENES]
    sizes = count_runs(task.model)
    return alone, vlcam.explain(task, list(SCENES), **options), sizes


def check_same(alone: list[Explanation], together: list[Explanation]) -> None:
    for one, other in zip(alone, together, strict=True):
        assert (one.text, one.layer, one.notes, one.method) == (other.text, other.layer, other.notes, other.method)
        assert [target.label for target in one.targets] == [target.label for target in other.targets]
        for view, same in zip(one, other, strict=True):
            assert same.target.score == pytest.approx(view.target.score, abs=1e-4)
            assert same.target.reading == pytest.approx(view.target.reading, abs=1e-4)
            assert same.target.span == view.target.span and same.target.token_ids == view.target.token_ids
            peak = float(view.signed_map.abs().max())
            torch.testing.assert_close(same.signed_map, view.signed_map, rtol=0, atol=3e-5 * peak + 1e-12)
        torch.testing.assert_close(other.alpha, one.alpha, rtol=1e-3, atol=3e-5 * float(one.alpha.abs().max()))
        assert other.diagnostic is not None and one.diagnostic is not None
        assert other.diagnostic.kept == pytest.approx(one.diagnostic.kept, abs=1e-4)
        assert other.neurons is not None and one.neurons is not None
        assert [text.short for text in other.neurons] == [text.short for text in one.neurons]


@pytest.mark.parametrize(
    "options",
    [{"method": "gradcam"}, {"method": "auto"}, {"method": "gradcam", "measure": "logit", "caption": "a red star"}],
    ids=["gradcam", "auto", "logits of a given caption"],
)
def test_captions_of_several_photos(options: dict[str, Any]) -> None:
    alone, together, sizes = explain_both(bundled.captioner(), **options)
    check_same(alone, together)
    assert sizes.count(4) == 1 and BATCH >= 4
    if "caption" not in options:
        assert len({len(one) for one in alone}) > 1  # captions of different lengths


def test_captions_by_beams() -> None:
    alone, together, sizes = explain_both(bundled.captioner(beams=2), method="gradcam")
    check_same(alone, together)
    assert sizes == [4]


@pytest.mark.parametrize("method", ["gradcam", "auto"])
def test_answers_of_several_photos(method: str) -> None:
    options = {"question": "what colour is the star", "method": method, "contrast": ("red", "blue")}
    alone, together, sizes = explain_both(bundled.vqa(), **options)
    check_same(alone, together)
    assert sizes.count(4) == 1
    assert all(any(target.reading) for one in together for target in one.targets)


def test_what_cannot_be_run_together_is_run_one_by_one() -> None:
    task = bundled.captioner()
    plain = replace(task, generate_each=None)
    alone, together, sizes = explain_both(plain, method="gradcam")
    check_same(alone, together)
    assert set(sizes) == {1}
    alone, together, sizes = explain_both(task, method="gradcam", caption="a red star", contrast=("red", "blue"))
    check_same(alone, together)
    assert set(sizes) == {1}


def test_logits_of_a_wrong_shape() -> None:
    def score(model: Any, encoded: Any, each: Any) -> torch.Tensor:
        return torch.zeros(len(each), 1, 30)

    task = replace(bundled.captioner(), logits_of_each=score)
    prepared = [task.prepare(open_photo(np.asarray(one))[0], vlcam.Request()) for one in SCENES]
    with pytest.raises(
        InputError,
        match=r"logits_of_each\(...\) must return \(4, \d+, vocabulary\) for as many captions, but it returned",
    ):
        task.run_batch(prepared, vlcam.Request())
