"""The methods against their textbook twins, and the properties that follow from their formulas."""

import re
from dataclasses import replace
from inspect import unwrap

import pytest
import torch
from torch import Tensor

import vlcam
from tests import reference
from vlcam.contracts import InputError, Method, PerturbationMethod
from vlcam.methods import alpha, contributions, get_one_run_method, list_methods, register, registry

# Eigen-CAM looks at no gradient; its tests are in test_perturbation.py.
OF_TARGETS = [name for name in list_methods("one-run") if name != "eigen-cam"]
EACH = pytest.mark.parametrize("name", OF_TARGETS)


def _pair(targets: int = 3, channels: int = 4, rows: int = 2, columns: int = 5) -> tuple[Tensor, Tensor]:
    activations = torch.randn(1, channels, rows, columns, dtype=torch.float64)
    gradients = torch.randn(targets, channels, rows, columns, dtype=torch.float64)
    activations[:, 1] = 0  # a silent channel: sums and denominators of zero
    gradients[:, 2, 0] = 0
    return activations, gradients


def _twin(name: str, activations: Tensor, gradients: Tensor) -> Tensor:
    twin = reference.METHODS[name]
    return torch.tensor(
        [twin(activations[0].tolist(), gradient.tolist()) for gradient in gradients], dtype=torch.float64
    )


@EACH
def test_equals_its_textbook_twin(name: str) -> None:
    activations, gradients = _pair()
    maps = get_one_run_method(name).function(activations, gradients)
    torch.testing.assert_close(maps, _twin(name, activations, gradients), rtol=1e-10, atol=1e-12)
    assert maps.abs().amax((1, 2)).min() > 0


def test_weights_equal_their_textbook_twins() -> None:
    activations, gradients = _pair()
    for target, gradient in enumerate(gradients):
        stack = activations[0].tolist(), gradient.tolist()
        torch.testing.assert_close(
            alpha(gradients)[target].tolist(), reference.alphas(stack[1]), rtol=1e-10, atol=1e-12
        )
        found = contributions(activations, gradients)[target].tolist()
        torch.testing.assert_close(found, reference.contributions(*stack), rtol=1e-10, atol=1e-12)


def test_contributions_add_up_to_the_map() -> None:
    activations, gradients = _pair()
    total = get_one_run_method("gradcam").function(activations, gradients).sum((1, 2))
    torch.testing.assert_close(contributions(activations, gradients).sum(1), total, rtol=1e-10, atol=1e-12)


def test_counterfactual_is_gradcam_of_the_negated_gradient() -> None:  # peers 8.3 #41
    activations, gradients = _pair()
    assert (
        get_one_run_method("counterfactual")
        .function(activations, gradients)
        .equal(get_one_run_method("gradcam").function(activations, -gradients))
    )


def test_gradcam_has_its_relu_on_the_sum_not_on_the_gradient() -> None:  # peers 8.4 #51
    activations = torch.ones(1, 2, 1, 1)
    gradients = torch.tensor([1.0, -3.0]).reshape(1, 2, 1, 1)
    assert (
        get_one_run_method("gradcam").function(activations, gradients).item() == -2
    )  # signed; relu(G) * A would give 1
    assert get_one_run_method("gradcam").relu


def test_a_constant_positive_map_stays_constant_and_a_zero_map_zero() -> None:  # peers 8.4 #45, #46
    activations, gradients = torch.full((1, 2, 3, 3), 0.5), torch.full((1, 2, 3, 3), 2.0)
    assert get_one_run_method("gradcam").function(activations, gradients).equal(torch.full((1, 3, 3), 2.0))
    for entry in map(get_one_run_method, OF_TARGETS):
        assert entry.function(activations, torch.zeros_like(gradients)).equal(torch.zeros(1, 3, 3)), entry.name
        assert entry.function(torch.zeros_like(activations), gradients).equal(torch.zeros(1, 3, 3)), entry.name


@pytest.mark.parametrize("name", ["gradcam", "counterfactual", "hirescam", "layercam", "xgradcam"])
def test_scales_with_the_target(name: str) -> None:  # peers 8.4 #47, #48
    activations, gradients = _pair()
    function = get_one_run_method(name).function
    torch.testing.assert_close(function(activations, 0.001 * gradients), 0.001 * function(activations, gradients))


@pytest.mark.parametrize("name", ["gradcam", "counterfactual", "hirescam", "xgradcam"])
def test_is_linear_in_the_target(name: str) -> None:
    activations, gradients = _pair(2)
    function = get_one_run_method(name).function
    both = function(activations, gradients[:1] - 2 * gradients[1:])
    one, two = function(activations, gradients)
    torch.testing.assert_close(both[0], one - 2 * two)


@EACH
def test_targets_are_independent_and_nan_stays_in_its_map(name: str) -> None:  # peers 8.4 #44
    activations, gradients = _pair()
    clean = get_one_run_method(name).function(activations, gradients)
    gradients[1, 0, 0, 0] = float("nan")
    maps = get_one_run_method(name).function(activations, gradients)
    assert maps[[0, 2]].equal(clean[[0, 2]]) and maps[1].isnan().any()


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:  # peers 8.4 #42, #43
    activations, gradients = (value.to(dtype) for value in _pair())
    maps = get_one_run_method(name).function(activations, gradients)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, get_one_run_method(name).function(activations.float(), gradients.float()))


@EACH
def test_small_gradients_do_not_vanish_in_float32(name: str) -> None:
    activations, gradients = _pair()
    maps = get_one_run_method(name).function(activations.float(), 1e-20 * gradients.float())
    assert maps.isfinite().all() and (maps != 0).any()


@EACH
def test_one_stack_of_activations_for_all_targets_or_one_each(name: str) -> None:
    activations, gradients = _pair()
    each = get_one_run_method(name).function(activations.repeat(3, 1, 1, 1), gradients)
    torch.testing.assert_close(each, get_one_run_method(name).function(activations, gradients), rtol=1e-12, atol=1e-13)


@EACH
def test_inputs_are_left_alone(name: str) -> None:  # peers 8.4 #50: nothing is normalised in place
    activations, gradients = _pair()
    before = activations.clone(), gradients.clone()
    get_one_run_method(name).function(activations, gradients)
    assert activations.equal(before[0]) and gradients.equal(before[1])


def test_an_unknown_name_gets_the_closest() -> None:
    assert get_one_run_method("gradcam") is get_one_run_method("GradCAM") is get_one_run_method("gradcam")
    with pytest.raises(
        InputError, match=r"no method 'gradcam\+'; did you mean gradcam\+\+ or gradcam\? \(the methods are gradcam, "
    ):
        get_one_run_method("gradcam+")
    with pytest.raises(InputError, match=r"no method 'zzz'; \(the methods are gradcam, "):
        get_one_run_method("zzz")


def test_register_adds_and_never_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(get_one_run_method("gradcam"), name="mine")
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    assert register(mine) is mine is get_one_run_method("mine") is register(mine)
    with pytest.raises(InputError, match=r"there is a method 'gradcam' already \(Grad-CAM\)"):
        register(replace(mine, name="gradcam"))


def test_one_registry_has_both_kinds_with_their_facts() -> None:
    every = list_methods()
    assert every == vlcam.list_methods() and len(every) == len(set(every)) == 32
    assert sorted(every) == sorted([*list_methods("one-run"), *list_methods("perturbation")])
    for name in every:
        one = vlcam.get_method(name)
        kind = Method if name in list_methods("one-run") else PerturbationMethod
        assert isinstance(one, kind) and one.name == name
        assert one.cost and one.title and len(one.equation) > 5
        assert re.search(r"\d{4}", one.paper), f"{name} names no year"
    with pytest.raises(InputError, match="kind='slow' was given; expected one-run, perturbation or None"):
        unwrap(list_methods)("slow")
    with pytest.raises(InputError, match="'rise' takes 2000 runs, and here there is one run only"):
        get_one_run_method("rise")


def test_a_name_is_found_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    mine = register(replace(get_one_run_method("gradcam"), name="MyCAM"))
    assert vlcam.get_method("MyCAM") is mine
    assert vlcam.get_method(" GradCAM ").name == "gradcam"
    with pytest.raises(InputError, match="no method 'grad-cam'; did you mean gradcam or xgradcam"):
        vlcam.get_method("grad-cam")


def test_a_registered_method_of_either_kind_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    register(replace(get_one_run_method("gradcam"), name="mine"))
    register(
        PerturbationMethod(
            "covered",
            lambda subject: subject.activations.sum(1).expand(len(subject.targets), -1, -1),
            "t",
            "2026",
            "eq. 1",
        )
    )
    scene = vlcam.scenes.make(7).image()
    for name in ("mine", "covered"):
        found = vlcam.explain(vlcam.tasks.bundled.classifier(), scene, method=name)
        assert found.method == name and found.maps.shape[0] == 3
