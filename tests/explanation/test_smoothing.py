"""Principal components of what is summed over channels, and means over changed images."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vlcam
from tests.support.tiny import Cnn, lively
from vlcam.contracts import InputError
from vlcam.explanation.pytorch_grad_cam import GradCAM
from vlcam.explanation.smoothing import AUGMENTATIONS, Augmentation, check_transforms, list_terms, project_terms
from vlcam.methods.registry import get_one_run_method


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["gradcam", "counterfactual", "hirescam", "layercam", "gradcam++", "xgradcam"])
def test_terms_add_up_to_the_map(name: str) -> None:
    method, activations, gradients = get_one_run_method(name), draw(2, 5, 3, 4).relu(), draw(2, 5, 4, 3).mT
    terms = list_terms(method, activations, gradients)
    assert terms.shape == (2, 5, 3, 4)
    torch.testing.assert_close(terms.sum(1), method.function(activations, gradients))


def test_terms_of_gradcam_are_its_weighted_channels() -> None:
    activations, gradients = draw(1, 5, 3, 4), draw(2, 5, 3, 4) + 1
    terms = list_terms(get_one_run_method("gradcam"), activations, gradients)
    torch.testing.assert_close(terms, gradients.mean((2, 3), keepdim=True) * activations)


def test_eigencam_takes_the_activations_themselves() -> None:
    activations, gradients = draw(2, 5, 3, 4), draw(2, 5, 3, 4)
    assert list_terms(get_one_run_method("eigen-cam"), activations, gradients).equal(activations)


def test_a_method_that_is_no_sum_over_channels_is_refused() -> None:
    method = vlcam.Method(
        "loudest", lambda activations, gradients: (activations * gradients).amax(1), "Loudest", "none", "max"
    )
    with pytest.raises(
        InputError, match="eigen_smooth=True was given, but the maps of the method 'loudest' aren't sums"
    ):
        list_terms(method, draw(2, 5, 3, 4), draw(2, 5, 3, 4))


def test_the_component_is_the_one_of_most_variance_and_goes_along_with_the_sum() -> None:
    terms = draw(3, 5, 6, 4).double() + 2
    found = project_terms(terms).flatten(1)
    for one, matrix in zip(found, terms.flatten(2).mT, strict=True):
        centred = matrix - matrix.mean(0)
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        torch.testing.assert_close(one.abs(), (centred @ vectors[:, -1]).abs())
        torch.testing.assert_close((one**2).sum(), values[-1])
        assert one @ centred.sum(1) > 0
    torch.testing.assert_close(project_terms(-terms).flatten(1), -found)


def test_what_is_not_finite_stays_so() -> None:
    terms = draw(2, 5, 3, 4)
    terms[1, 0, 0, 0] = torch.nan
    found = project_terms(terms)
    assert found[0].isfinite().all() and found[1].isnan().all()


def test_augmentations_are_put_back() -> None:
    assert [(one.flip, one.factor) for one in AUGMENTATIONS] == [
        (flip, by) for flip in (False, True) for by in (0.9, 1, 1.1)
    ]
    images = draw(2, 3, 4, 5)
    mirrored = Augmentation(True, 1.1)
    torch.testing.assert_close(mirrored.augment_image(images), images.flip(3) * 1.1)
    assert mirrored.deaugment_mask(images.flip(3)).equal(images)
    assert check_transforms(None) == AUGMENTATIONS and check_transforms([mirrored]) == (mirrored,)


def test_the_mean_over_changed_images_is_not_scaled_again() -> None:
    torch.manual_seed(0)
    model, pixels = lively(Cnn()).eval(), draw(2, 3, 12, 16)
    targets: list[Any] = [lambda row: row[4]] * 2
    cam = GradCAM(model, [model.block])
    parts = [cam((pixels.flip(3) if flip else pixels) * by, targets) for flip in (False, True) for by in (0.9, 1, 1.1)]
    parts = [one[:, :, ::-1] if number > 2 else one for number, one in enumerate(parts)]
    np.testing.assert_allclose(cam(pixels, targets, aug_smooth=True), np.mean(parts, 0), atol=1e-6)
    only = GradCAM(model, [model.block], tta_transforms=[Augmentation(False, 1.0)])
    assert np.array_equal(only(pixels, targets, aug_smooth=True), cam(pixels, targets))


def test_both_at_once_and_several_layers() -> None:
    torch.manual_seed(0)
    model, pixels = lively(Cnn()).eval(), draw(2, 3, 12, 16)
    cam = GradCAM(model, [model.block, model.stem], method="layercam")
    smooth = cam(pixels, aug_smooth=True, eigen_smooth=True)
    assert smooth.shape == (2, 12, 16) and smooth.dtype == np.float32
    assert np.abs(smooth - cam(pixels, aug_smooth=True)).max() > 0.05
    assert all(one.grad is None for one in model.parameters())
