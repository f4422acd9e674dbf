"""``auto`` takes Grad-CAM where nothing is lost by it, masked gradients elsewhere, and says why; Grad-CAM says where it fails."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlcam
from tests.explanation.test_batches import agree, pictures
from tests.explanation.test_head import PICTURE, _OnlyRuns, classes, open_subject, vit
from tests.methods.test_path_gradients import Bent, bent
from vlcam.engine.tower import Tower
from vlcam.methods import get_one_run_method, measure_kept
from vlcam.methods.auto import choose_steps, explain_automatically
from vlcam.methods.cam import has_pooled_head
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification


def test_kept_is_one_for_a_pooling_head_and_small_for_one_that_knows_places() -> None:
    same = torch.randn(2, 5, 1, 1).expand(2, 5, 4, 6)
    assert measure_kept(same).tolist() == pytest.approx([1, 1])
    assert measure_kept(torch.tensor([[[[1.0, -1.0]]]])).tolist() == [0]
    assert measure_kept(torch.tensor([[[[1.0, 0.0]]]])).tolist() == [0.5]
    assert bool(measure_kept(torch.zeros(1, 3, 2, 2)).isnan())


def test_a_pooling_head_gets_gradcam_to_the_bit() -> None:
    task = classes(layer="block")
    chosen, plain = vlcam.explain(task, PICTURE), vlcam.explain(task, PICTURE, method="gradcam")
    assert chosen.method == "gradcam" and chosen.choice is not None and chosen.choice.startswith("Grad-CAM, as")
    assert plain.choice is None and not plain.steps and not chosen.steps
    assert torch.equal(chosen.maps, plain.maps) and torch.equal(chosen.contributions, plain.contributions)
    assert chosen.diagnostic is not None and chosen.diagnostic.kept == pytest.approx(1)


class Squeeze(nn.Module):
    """As SqueezeNet: a ReLU between the weights and the pooling, so that the gradient isn't the same in every cell."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(6, 4, 1), nn.ReLU())

    def forward(self, pixels: Tensor) -> Any:
        return self.head(self.layer(pixels)).mean((2, 3))


def test_a_relu_before_the_pooling_is_still_a_pooling_head() -> None:
    torch.manual_seed(0)
    task = Classification(Squeeze().eval(), list("abcd"), vlcam.Preprocess((32, 24)), layer="layer")
    subject = open_subject(task)
    assert float(measure_kept(subject.gradients).nanmedian()) < 0.97 and has_pooled_head(subject)
    assert vlcam.explain(task, PICTURE).method == "gradcam"


def dense(**options: Any) -> Classification:
    torch.manual_seed(3)
    return Classification(Bent().eval(), ["a", "b", "c"], vlcam.Preprocess((16, 12)), layer="layer", **options)


def test_a_dense_head_gets_masked_gradients_and_says_why() -> None:
    found = vlcam.explain(dense(), PICTURE)
    assert found.method == "masked-gradients-positive" and found.diagnostic is not None
    assert found.choice is not None and "keeps only" in found.choice
    assert found.diagnostic.kept < 0.3 and found.diagnostic.saturation is not None
    assert not any("wrong place" in note for note in found.notes)
    by_name = vlcam.explain(dense(), PICTURE, method="masked-gradients-positive")
    assert torch.equal(found.maps, by_name.maps) and by_name.choice is None
    document = found.to_dict()
    assert document["choice"] == found.choice and document["steps"] == []
    assert document["diagnostic"]["kept"] == pytest.approx(found.diagnostic.kept)


def test_gradcam_by_name_says_that_it_loses_the_place() -> None:
    found = vlcam.explain(dense(), PICTURE, method="gradcam")
    (note,) = [one for one in found.notes if "wrong place" in one]
    assert "explain with method='masked-gradients-positive', or 'auto'" in note
    assert not any(
        "wrong place" in one for one in vlcam.explain(classes(layer="block"), PICTURE, method="gradcam").notes
    )


def test_what_cannot_be_run_again_gets_layercam() -> None:
    subject = bent(torch.float32)
    assert subject.evidence.scores is not None
    broken = replace(subject, evidence=replace(subject.evidence, scores=subject.evidence.scores + 5))
    found = explain_automatically(broken)
    assert found.method == "layercam" and found.choice is not None and "can't be run by itself" in found.choice
    expected = get_one_run_method("layercam").function(subject.cells, subject.cell_gradients)
    assert torch.equal(found.maps, expected)


def test_rows_one_by_one_are_enough() -> None:
    subject = bent(torch.float32)
    alone = explain_automatically(replace(subject, task=_OnlyRuns(subject.task)))
    torch.testing.assert_close(alone.maps, explain_automatically(subject).maps)


@pytest.mark.parametrize("build", [dense, vit, lambda: classes(layer="block")], ids=["dense", "tokens", "pooling"])
def test_several_photos_are_as_one_by_one(build: Any) -> None:
    task = build()
    for found, image in zip(vlcam.explain(task, pictures(3)), pictures(3), strict=True):
        alone = vlcam.explain(task, image)
        agree(found, alone)
        assert (found.method, found.choice, found.steps) == (alone.method, alone.choice, alone.steps)


def test_words_are_drawn_with_steps_that_are_named(tmp_path: Any) -> None:
    found = vlcam.explain(bundled.captioner(), PICTURE, caption="a red star")
    assert found.steps[:1] == ("box3",) and found.method == "masked-gradients-balanced"
    view = found["star"]
    assert torch.equal(view.raw_map, view.signed_map.clamp_min(0)) and not torch.equal(view.map, view.raw_map)
    assert float(view.map.max()) == pytest.approx(float(view.raw_map.max()))
    back = vlcam.Explanation.load(found.save(tmp_path / "found.vlcam"))
    assert (back.steps, back.choice, back.diagnostic) == (found.steps, found.choice, found.diagnostic)
    page = found.html()
    assert "Why this method" in page and found.choice is not None and "Masked gradients (balanced), as" in page


def test_steps_fit_the_grid_and_what_is_drawn() -> None:
    small = torch.zeros(1, 12, 12)
    small[0, 4, 5] = 1
    assert choose_steps(small) == ("box3", "cube")
    assert choose_steps(torch.ones(1, 12, 12)) == ("box3",)
    assert choose_steps(small[:, 3:6]) == ()


def test_only_methods_that_run_again_hold_what_ran_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tower] = []

    def watch() -> Tower:
        made.append(Tower())
        return made[-1]

    monkeypatch.setattr("vlcam.explanation.run.Tower", watch)
    vlcam.explain(dense(), PICTURE, method="gradcam")
    assert made == []
    vlcam.explain(dense(), PICTURE)
    assert len(made) == 1 and made[0].is_complete
