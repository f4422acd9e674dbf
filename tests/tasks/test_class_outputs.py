"""Outputs that aren't logits: probabilities of a model's own, quantities, scores; each said as what it is, and explained by its logits."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import vlcam
from vlcam.contracts import InputError
from vlcam.engine.output_kind import run_classifier, to_log_odds, to_word_logits
from vlcam.tasks import VQA, Classification
from vlcam.tasks.class_outputs import ACTIVATIONS, Activation

LABELS = ("cat", "dog", "cow")
PHOTO = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)

Ending = Callable[[Tensor], Tensor]


class Net(nn.Module):
    """A small CNN with an ending of its own."""

    def __init__(self, outputs: int, ending: Ending | nn.Module | None = None, bias: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, outputs)
        nn.init.constant_(self.head.bias, bias)
        self.ending = nn.Identity() if ending is None else ending

    def forward(self, photos: Tensor) -> Tensor:
        ended: Tensor = self.ending(self.head(self.trunk(photos).mean((2, 3))))
        return ended


def make_task(outputs: int, ending: Any, labels: Any = None, *, bias: float = 0.0, **options: Any) -> Classification:
    chosen = LABELS[:outputs] if labels is None else labels
    return Classification(Net(outputs, ending, bias).eval(), chosen, vlcam.Preprocess(16), **options)


class OwnSoftmax(nn.Module):
    """Made of plain operations, so nothing but the values tells."""

    def forward(self, logits: Tensor) -> Tensor:
        raised = (logits - logits.amax(1, keepdim=True)) * 1.0
        power: Tensor = torch.pow(torch.full_like(raised, 2.718281828459045), raised)
        return power / power.sum(1, keepdim=True)


EXCLUSIVE: dict[str, tuple[Any, Ending]] = {
    "softmax": (nn.Softmax(1), lambda z: z.softmax(1)),
    "F.softmax": (lambda z: F.softmax(z, dim=1), lambda z: z.softmax(1)),
    "torch.softmax": (lambda z: torch.softmax(z, -1), lambda z: z.softmax(1)),
    "method, reshaped": (lambda z: z.softmax(1).flatten(1).clone(), lambda z: z.softmax(1)),
    "exp of log_softmax": (lambda z: z.log_softmax(1).exp(), lambda z: z.softmax(1)),
    "log_softmax": (nn.LogSoftmax(1), lambda z: z.softmax(1)),
    "values alone": (OwnSoftmax(), lambda z: z.softmax(1)),
    "mean of two": (lambda z: (z.softmax(1) + z.softmax(1)) / 2, lambda z: z.softmax(1)),
}
INDEPENDENT: dict[str, tuple[Any, Ending]] = {
    "sigmoid": (nn.Sigmoid(), torch.sigmoid),
    "torch.sigmoid": (torch.sigmoid, torch.sigmoid),
    "in place": (lambda z: z.clone().sigmoid_(), torch.sigmoid),
    "log-sigmoid": (nn.LogSigmoid(), torch.sigmoid),
    "hard sigmoid": (nn.Hardsigmoid(), F.hardsigmoid),
    "turned round twice": (lambda z: 1 - torch.sigmoid(-z), torch.sigmoid),
}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "logits", "probabilities", "none", "quantities"])
@pytest.mark.parametrize("name", [*EXCLUSIVE, *INDEPENDENT])
def test_probabilities_are_the_models_own(name: str, activation: Activation) -> None:
    ending, meant = {**EXCLUSIVE, **INDEPENDENT}[name]
    if activation == "probabilities" and name.startswith("log"):
        activation = "logits"
    task = make_task(3, ending, activation=activation)
    found = vlcam.explain(task, PHOTO, targets=LABELS)
    with torch.no_grad():
        logits = Net(3)(task.preprocess(_open(PHOTO))[0])
    assert [one.target.probability for one in found] == pytest.approx(meant(logits)[0].tolist(), abs=1e-6)
    assert found.text == LABELS[int(logits.argmax())]
    assert len(found.notes) == (activation != "probabilities")
    assert all("probabilities, not logits" in note for note in found.notes)


@pytest.mark.parametrize(
    "name", ["softmax", "F.softmax", "log_softmax", "sigmoid", "in place", "hard sigmoid", "turned round twice"]
)
def test_maps_are_those_of_the_logits(name: str) -> None:
    ending, _ = {**EXCLUSIVE, **INDEPENDENT}[name]
    plain, ended = make_task(3, nn.Identity()), make_task(3, ending)
    one, other = (vlcam.explain(task, PHOTO, targets=LABELS, contrast=("cat", "cow")) for task in (plain, ended))
    assert torch.allclose(one.maps, other.maps, atol=1e-6)
    assert [view.target.score for view in one] == pytest.approx([view.target.score for view in other], abs=1e-5)


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "values alone", "turned round twice"])
def test_batches_and_changed_photos_are_read_alike(name: str) -> None:
    ending, _ = {**EXCLUSIVE, **INDEPENDENT}[name]
    task = make_task(3, ending)
    alone = vlcam.explain(task, PHOTO, targets=LABELS)
    together = vlcam.explain(task, [PHOTO, PHOTO[::-1].copy()], targets=LABELS)[0]
    assert torch.allclose(alone.maps, together.maps, atol=1e-6)
    assert [one.target.probability for one in alone] == pytest.approx([one.target.probability for one in together])
    (occluded,) = vlcam.explain(task, PHOTO, targets="cat", method="occlusion")
    (plain,) = vlcam.explain(make_task(3, nn.Identity()), PHOTO, targets="cat", method="occlusion")
    spread = float(torch.as_tensor(plain.map).abs().max())
    assert (
        torch.allclose(torch.as_tensor(occluded.map), torch.as_tensor(plain.map), atol=1e-2 * spread)
        or name == "values alone"
    )


@pytest.mark.parametrize("labels", [("ill",), ("healthy", "ill")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["sigmoid", "torch.sigmoid", "log-sigmoid"])
def test_one_probability_is_not_turned_round(name: str, activation: Activation, labels: tuple[str, ...]) -> None:
    if name == "log-sigmoid" and activation == "probabilities":
        pytest.skip("it isn't one")
    found = vlcam.explain(make_task(1, INDEPENDENT[name][0], labels, bias=-4.0, activation=activation), PHOTO)
    assert found.text == ("healthy" if len(labels) == 2 else "not ill")
    assert found[0].target.probability == pytest.approx(0.98, abs=0.01)
    assert found[1].label == "ill"


def test_the_second_of_two_softmaxes_alone_is_a_probability() -> None:
    task = make_task(2, lambda z: z.softmax(1)[:, 1], ("other", "dog"))
    plain = Net(2)(task.preprocess(_open(PHOTO))[0]).softmax(1)[0]
    found = vlcam.explain(task, PHOTO, targets=("other", "dog"))
    assert [one.target.probability for one in found] == pytest.approx(plain.tolist(), abs=1e-6)


@pytest.mark.parametrize("ending", [F.softplus, F.relu, torch.exp])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_one_number_that_is_never_negative_is_a_quantity(ending: Ending, activation: Activation) -> None:
    found = vlcam.explain(make_task(1, ending, ("age",), bias=2.0, activation=activation), PHOTO)
    assert [(one.label, one.target.probability, one.target.measure) for one in found] == [("age", None, "score")]
    assert len(found.notes) == (activation != "none")
    with pytest.raises(InputError, match="one number that isn't a logit"):
        vlcam.explain(make_task(1, ending, ("young", "old"), activation=activation), PHOTO)


def test_quantities_are_told_in_their_order_and_not_compared() -> None:
    found = vlcam.explain(make_task(3, nn.Identity(), activation="quantities"), PHOTO, top_k=2)
    assert [(one.label, one.target.probability) for one in found] == [("cat", None), ("dog", None)]
    assert found.text == ", ".join(f"{one.label} {one.target.score:.4g}" for one in found)
    (single,) = vlcam.explain(make_task(1, nn.Identity(), ("age",), activation="quantities"), PHOTO)
    assert (single.label, single.target.probability) == ("age", None)


@pytest.mark.parametrize(
    "ending", [lambda z: z**2, torch.abs, lambda z: -torch.sigmoid(z), lambda z: torch.log(torch.sigmoid(z))]
)
def test_what_was_made_of_a_number_is_no_logit(ending: Ending) -> None:
    (found,) = vlcam.explain(make_task(1, ending, ("age",), bias=2.0), PHOTO)
    assert (found.label, found.target.probability) == ("age", None)
    with pytest.raises(InputError, match="one number that isn't a logit"):
        vlcam.explain(make_task(1, ending, ("young", "old"), bias=2.0), PHOTO)


def test_percentages_are_scores_without_probabilities() -> None:
    found = vlcam.explain(make_task(3, lambda z: z.softmax(1) * 100), PHOTO)
    assert [one.target.probability for one in found] == [None] * 3
    assert "numbers made of probabilities" in found.notes[0]


def test_a_tanh_moved_to_0_and_1_is_a_probability() -> None:
    found = vlcam.explain(make_task(1, lambda z: (torch.tanh(z) + 1) / 2, ("no", "yes"), bias=-2.0), PHOTO)
    assert found.text == "no" and found[0].target.probability == pytest.approx(0.98, abs=0.02)


def test_a_tanh_has_sides_but_no_probabilities() -> None:
    found = vlcam.explain(make_task(1, nn.Tanh(), ("no", "yes"), bias=-3.0), PHOTO)
    assert found.text == "no"
    assert [one.target.probability for one in found] == [None, None]
    assert "scores without probabilities" in found.notes[0]


@pytest.mark.parametrize(("activation", "alone"), [("logits", False), ("softmax", False), ("sigmoid", True)])
def test_logits_are_logits(activation: Activation, *, alone: bool) -> None:
    task = make_task(3, nn.Identity(), activation=activation)
    found = vlcam.explain(task, PHOTO, targets=LABELS)
    logits = Net(3)(task.preprocess(_open(PHOTO))[0])[0]
    expected = logits.sigmoid() if alone else logits.softmax(0)
    assert [one.target.probability for one in found] == pytest.approx(expected.tolist(), abs=1e-6)
    assert found.notes == ()


def test_probabilities_must_be_between_0_and_1() -> None:
    with pytest.raises(InputError, match="numbers below 0 or above 1"):
        vlcam.explain(make_task(3, lambda z: z * 100 + 500, activation="probabilities"), PHOTO)
    found = vlcam.explain(make_task(2, lambda z: z * 0 + torch.tensor([0.2, 0.9]), activation="probabilities"), PHOTO)
    assert [one.target.probability for one in found] == pytest.approx([0.9, 0.2])


def test_a_gate_inside_the_model_is_no_ending() -> None:
    class Gated(Net):
        def forward(self, photos: Tensor) -> Tensor:
            seen = self.trunk(photos).mean((2, 3))
            scores: Tensor = self.head(seen * torch.sigmoid(seen))
            return scores

    found = vlcam.explain(Classification(Gated(3).eval(), LABELS, vlcam.Preprocess(16)), PHOTO, top_k=3)
    assert found.notes == ()


@pytest.mark.parametrize("ending", [nn.Softmax(1), nn.Sigmoid()])
def test_answers_are_read_as_classes_are(ending: nn.Module) -> None:
    net = Net(3, ending).eval()
    vqa = VQA(net, LABELS, vlcam.Preprocess(16), lambda question: question, lambda model, image, question: model(image))
    found = vlcam.explain(vqa, PHOTO, question="what", targets=LABELS)
    classes = vlcam.explain(Classification(net, LABELS, vlcam.Preprocess(16)), PHOTO, targets=LABELS)
    assert [one.target.probability for one in found] == [one.target.probability for one in classes]
    assert torch.equal(found.maps, classes.maps)
    assert found.notes == classes.notes
    with pytest.raises(InputError, match="activation='hardmax'"):
        VQA.__post_init__(_Wrong())  # type: ignore[arg-type]


class _Wrong:
    activation = "hardmax"


def test_words_of_a_writer_that_gives_probabilities() -> None:
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(to_word_logits(logits.softmax(1)), logits.log_softmax(1), atol=1e-5)
    assert to_word_logits(logits) is logits
    assert to_word_logits(logits.log_softmax(1)).equal(logits.log_softmax(1))


def test_log_odds_are_finite_and_exact() -> None:
    logits = torch.linspace(-12, 12, 49)
    assert torch.allclose(to_log_odds(logits.sigmoid()), logits, atol=0.1)
    assert to_log_odds(torch.tensor([0.0, 1.0])).isfinite().all()


def test_half_precision_is_believed_only_where_the_function_is_known() -> None:
    logits = torch.randn(1, 3, dtype=torch.bfloat16)
    known = run_classifier(nn.Identity(), lambda: logits.softmax(1), 1)
    assert (known.kind, known.scores.equal(logits)) == ("exclusive", True)
    assert (
        run_classifier(nn.Identity(), lambda: torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.bfloat16), 1).kind
        == "logits"
    )


def test_every_activation_is_listed() -> None:
    assert get_args(Activation) == ACTIVATIONS


def _open(photo: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(photo)
