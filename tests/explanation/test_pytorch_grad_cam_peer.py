"""pytorch-grad-cam itself beside the drop-in: the same numbers, or else by which formula other ones. It comes with the extra ``bench``."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models import SwinTransformer, VisionTransformer

import vlcam
from tests.methods.test_perturbation import StandIn
from tests.support.tiny import Cnn, InPlaceAfter, Lambda, lively, snapshot
from vlcam.contracts import LayerError, TargetError
from vlcam.explanation.pytorch_grad_cam import GradCAM
from vlcam.methods import make_ablationcam, make_scorecam

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of its own imports
    theirs: Any = pytest.importorskip("pytorch_grad_cam", exc_type=ImportError)
    goals: Any = pytest.importorskip("pytorch_grad_cam.utils.model_targets", exc_type=ImportError)

SAME = {"gradcam": "GradCAM", "hirescam": "HiResCAM", "layercam": "LayerCAM", "xgradcam": "XGradCAM"}
"""vlcam's names of the methods whose numbers are the same, and that package's."""
COMPONENTS = {**SAME, "eigen-cam": "EigenCAM"}
"""Those whose first principal component is the same but for its sign."""
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 2e-5}
CLASSES = [4, 0, 2]


def cnn() -> Cnn:
    torch.manual_seed(0)
    return lively(Cnn()).eval()


def photos(batch: int = 3, *sides: int) -> Tensor:
    return torch.randn(batch, 3, *(sides or (12, 16)), generator=torch.Generator().manual_seed(5))


def pick(*classes: int) -> list[Any]:
    return [goals.ClassifierOutputTarget(one) for one in classes or CLASSES]


def run_theirs(
    name: str, model: nn.Module, layers: Any, pixels: Tensor, targets: Any, reshape: Any = None, **options: Any
) -> np.ndarray:
    with getattr(theirs, name)(model=model, target_layers=layers, reshape_transform=reshape) as cam:
        found: np.ndarray = cam(input_tensor=pixels, targets=targets, **options)
    model.zero_grad()
    return found


def scale(maps: np.ndarray) -> np.ndarray:
    low = maps - maps.reshape(len(maps), -1).min(1).reshape(-1, *[1] * (maps.ndim - 1))
    return low / (1e-7 + low.reshape(len(maps), -1).max(1).reshape(-1, *[1] * (maps.ndim - 1)))  # type: ignore[no-any-return]


def finish(signed: Tensor | np.ndarray, pixels: Tensor) -> np.ndarray:
    """What both packages make of signed maps ``(B, h, w)``."""
    maps = torch.from_numpy(scale(np.maximum(np.asarray(signed, np.float32), 0)))
    return scale(F.interpolate(maps[:, None], pixels.shape[2:], mode="bilinear")[:, 0].numpy())


def run(model: nn.Module, layer: str | nn.Module, pixels: Tensor, targets: Any = None) -> tuple[Tensor, Tensor]:
    """The layer's activations and their gradients."""
    with vlcam.record(model, layer) as recording:
        outputs = model(pixels)
        score = sum(target(one) for target, one in zip(targets or pick(), outputs, strict=True))
    leaf = recording.resolve(score)
    return leaf.detach(), vlcam.gradients(score.reshape(1), leaf)[0]


# The same numbers


@pytest.mark.parametrize("method", SAME)
@pytest.mark.parametrize("classes", [None, CLASSES])
@pytest.mark.parametrize("names", [["block"], ["block.1", "block.0", "stem"], ["block.1.conv"]])
@pytest.mark.parametrize("aug_smooth", [False, True])
def test_a_cnn_has_their_maps(method: str, classes: Any, names: list[str], aug_smooth: bool) -> None:
    model = cnn()
    layers, targets = [model.get_submodule(name) for name in names], classes and pick(*classes)
    expected = run_theirs(SAME[method], model, layers, photos(), targets, aug_smooth=aug_smooth)
    before = snapshot(model)
    with GradCAM(model=model, target_layers=layers, method=method) as cam:
        found = cam(input_tensor=photos(), targets=targets, aug_smooth=aug_smooth)
    assert snapshot(model) == before
    assert found.shape == expected.shape and found.dtype == expected.dtype and expected.max() > 0.5
    np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("method", SAME)
def test_transforms_of_ttach_are_theirs(method: str) -> None:
    ttach = pytest.importorskip("ttach")
    model = cnn()
    transforms = ttach.Compose([ttach.VerticalFlip(), ttach.Rotate90([0, 180]), ttach.Add([0, 0.1])])
    with getattr(theirs, SAME[method])(model, [model.block]) as cam:
        cam.tta_transforms = transforms
        expected = cam(photos(), pick(), aug_smooth=True)
    found = GradCAM(model, [model.block], method=method, tta_transforms=transforms)(photos(), pick(), aug_smooth=True)
    assert expected.max() > 0.5
    np.testing.assert_allclose(found, expected, **CLOSE)


def vit() -> tuple[nn.Module, list[nn.Module], Any]:
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    nn.init.normal_(model.heads.head.weight)
    layers = [model.get_submodule(f"encoder.layers.encoder_layer_{number}.ln_1") for number in (1, 0)]
    return model, layers, lambda tokens: theirs.utils.reshape_transforms.vit_reshape_transform(tokens, 4, 4)


def swin() -> tuple[nn.Module, list[nn.Module], Any]:
    torch.manual_seed(0)
    model = SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=5).eval()
    nn.init.normal_(model.head.weight)
    return model, [model.features[-1][-1].norm1], lambda output: output.permute(0, 3, 1, 2)


@pytest.mark.parametrize("method", SAME)
@pytest.mark.parametrize("make", [vit, swin])
@pytest.mark.parametrize("aug_smooth", [False, True])
def test_transformers_have_their_maps(method: str, make: Any, aug_smooth: bool) -> None:
    model, layers, reshape = make()
    expected = run_theirs(SAME[method], model, layers, photos(3, 32, 32), pick(), reshape, aug_smooth=aug_smooth)
    found = GradCAM(model, layers, reshape, method=method)(photos(3, 32, 32), pick(), aug_smooth)
    assert expected.max() > 0.5
    np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ClassifierOutputTarget", (4,)),
        ("ClassifierOutputSoftmaxTarget", (4,)),
        ("ClassifierOutputReST", (4,)),
        ("FinerWeightedTarget", (4, [0, 1], 0.6)),
    ],
)
def test_their_targets_are_called_as_there(name: str, arguments: Any) -> None:
    model, targets = cnn(), [getattr(goals, name)(*arguments)] * 3
    expected = run_theirs("GradCAM", model, [model.block], photos(), targets)
    assert expected.max() > 0.5
    np.testing.assert_allclose(GradCAM(model, [model.block])(photos(), targets), expected, **CLOSE)


@pytest.mark.parametrize("category", [0, 1])
def test_a_single_logit_has_their_maps(category: int) -> None:
    torch.manual_seed(0)
    model, targets = lively(Cnn(classes=1)).eval(), [goals.BinaryClassifierOutputTarget(category)] * 3
    expected = run_theirs("LayerCAM", model, [model.block], photos(), targets)
    assert expected.max() > 0.5
    np.testing.assert_allclose(GradCAM(model, [model.block], method="layercam")(photos(), targets), expected, **CLOSE)


@pytest.mark.parametrize("method", SAME)
def test_regions_of_a_segmentation_have_their_maps(method: str) -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 3, 1, 1)).eval()
    masks = np.zeros((2, 6, 8), np.float32)
    masks[0, :2], masks[1, 3:, :4] = 1, 1
    targets = [goals.SemanticSegmentationTarget(2, masks[0]), goals.SemanticSegmentationTarget(3, masks[1])]
    expected = run_theirs(SAME[method], model, [model[1]], photos(2), targets)
    assert expected.max() > 0.5
    np.testing.assert_allclose(GradCAM(model, [model[1]], method=method)(photos(2), targets), expected, **CLOSE)


def volumes() -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv3d(1, 4, 3, 1, 1), nn.ReLU(), nn.Conv3d(4, 6, 3, 2, 1), nn.ReLU())
    model = Lambda(
        lambda self, pixels: self.fc(self.features(pixels).mean((2, 3, 4))), features=features, fc=nn.Linear(6, 5)
    )
    return model.eval(), torch.randn(3, 1, 6, 8, 10, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("method", SAME)
def test_volumes_have_their_maps_if_nothing_is_enlarged(method: str) -> None:
    model, pixels = volumes()
    expected = run_theirs(SAME[method], model, [model.features[1]], pixels, pick())
    assert expected.shape == pixels[:, 0].shape and expected.max() > 0.5
    np.testing.assert_allclose(GradCAM(model, [model.features[1]], method=method)(pixels, pick()), expected, **CLOSE)


def test_the_output_can_be_read_off() -> None:
    model = cnn()
    cam = GradCAM(model, [model.block, model.stem])
    with theirs.GradCAM(model, [model.block, model.stem]) as peer:
        for aug_smooth in (False, True):
            peer(photos(), pick(), aug_smooth=aug_smooth)
            cam(photos(), pick(), aug_smooth=aug_smooth)
            torch.testing.assert_close(cam.outputs, peer.outputs.detach())
            assert not cam.outputs.requires_grad


@pytest.mark.parametrize("method", SAME)
def test_refinecam_works_on_top(method: str) -> None:
    model = cnn()
    layers = [model.block, model.stem]
    expected = theirs.RefineCAM(model, layers, base_method=getattr(theirs, SAME[method]))(photos(), pick())
    found = theirs.RefineCAM(model, layers, base_method=GradCAM, method=method)(photos(), pick())
    assert expected.max() > 0.5
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_a_map_of_nothing_positive_is_zero_in_both() -> None:
    model: Any = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )
    model[4].weight.data.abs_().neg_()
    for targets in (pick(), [lambda row: row[0] * 0] * 3):
        assert not run_theirs("GradCAM", model, [model[1]], photos(), targets).any()
        assert not GradCAM(model, [model[1]])(photos(), targets).any()


# Other numbers, and by which formula


def find_component(terms: Tensor, centred: bool) -> np.ndarray:
    """The first principal component ``(B, h, w)``, of whichever sign."""
    found = []
    for one in terms.flatten(2).mT.numpy():
        matrix = one - one.mean(0) if centred else one
        found.append(matrix @ np.linalg.svd(matrix, full_matrices=True)[2][0])
    return np.stack(found).reshape(len(terms), *terms.shape[2:])


def check_but_for_sign(expected: np.ndarray, component: np.ndarray, pixels: Tensor) -> None:
    """Each map is made of the component or of its negative: rounding may turn the library's sign."""
    for one, *ways in zip(expected, finish(component, pixels), finish(-component, pixels), strict=True):
        off = min(float(np.abs(one - way).max()) for way in ways)
        assert off <= CLOSE["atol"]


def make_terms(method: str, activations: Tensor, gradients: Tensor) -> Tensor:
    """What each channel adds to the map, as the papers' formulas say."""
    if method == "eigen-cam":
        return activations
    if method == "gradcam":
        return gradients.mean((2, 3), keepdim=True) * activations
    if method == "xgradcam":
        weights = (gradients * activations).sum((2, 3), keepdim=True) / activations.sum((2, 3), keepdim=True)
        return weights * activations
    return (gradients.relu() if method == "layercam" else gradients) * activations


@pytest.mark.parametrize("method", COMPONENTS)
def test_a_component_has_a_sign_here_and_any_there(method: str) -> None:
    model, pixels = cnn(), photos(8)
    targets = pick(*range(5), 0, 1, 2)
    terms = make_terms(method, *run(model, "block", pixels, targets))
    component = find_component(terms, centred=True)
    expected = run_theirs(COMPONENTS[method], model, [model.block], pixels, targets, eigen_smooth=True)
    check_but_for_sign(expected, component, pixels)
    along = np.sign((component * (terms.sum(1) - terms.sum(1).mean((1, 2), keepdim=True)).numpy()).sum((1, 2)))
    found = GradCAM(model, [model.block], method=method)(pixels, targets, eigen_smooth=True)
    np.testing.assert_allclose(found, finish(along[:, None, None] * component, pixels), **CLOSE)


def test_eigen_grad_cam_is_the_component_of_hirescam() -> None:
    model, pixels = cnn(), photos(8)
    targets = pick(*range(5), 0, 1, 2)
    expected = run_theirs("EigenGradCAM", model, [model.block], pixels, targets)
    assert expected.max() > 0.5
    assert np.array_equal(expected, run_theirs("HiResCAM", model, [model.block], pixels, targets, eigen_smooth=True))


def test_eigencam_is_centred_there_and_as_in_the_paper_here() -> None:
    model, pixels = cnn(), photos()
    activations, _ = run(model, "block", pixels)
    plain = find_component(activations, centred=False)
    plain *= np.sign(plain.sum((1, 2), keepdims=True))
    expected = run_theirs("EigenCAM", model, [model.block], pixels, pick())
    found = GradCAM(model, [model.block], method="eigen-cam")(pixels, pick())
    check_but_for_sign(expected, find_component(activations, centred=True), pixels)
    np.testing.assert_allclose(found, finish(plain, pixels), **CLOSE)
    assert np.abs(found - expected).max() > 0.05


def gradcampp(activations: Tensor, gradients: Tensor, eps: float) -> Tensor:
    """Chattopadhay et al. 2018, with a constant in the denominator."""
    activations, gradients = activations.double(), gradients.double()
    bottom = 2 * gradients**2 + activations.sum((2, 3), keepdim=True) * gradients**3 + eps
    shares = torch.where(gradients != 0, gradients**2 / torch.where(bottom != 0, bottom, 1), 0)
    return ((shares * gradients.relu()).sum((2, 3), keepdim=True) * activations).sum(1)


def test_gradcampp_has_a_constant_there_that_counts_where_gradients_are_small() -> None:
    model, pixels = cnn(), photos()
    for factor, same in ((1e-2, False), (1e4, True)):
        targets: list[Any] = [lambda row, factor=factor, one=one: factor * row[one] for one in CLASSES]
        expected = run_theirs("GradCAMPlusPlus", model, [model.block], pixels, targets)
        found = GradCAM(model, [model.block], method="gradcam++")(pixels, targets)
        parts = run(model, "block", pixels, targets)
        np.testing.assert_allclose(expected, finish(gradcampp(*parts, 1e-6), pixels), **CLOSE)
        np.testing.assert_allclose(found, finish(gradcampp(*parts, 0), pixels), **CLOSE)
        assert np.allclose(found, expected, atol=1e-3) == same


def test_xgradcam_has_a_constant_there_that_counts_where_activations_are_small() -> None:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
    model = Lambda(
        lambda self, pixels: self.fc((self.features(pixels) ** 2 * 1e9).flatten(1)),
        features=features,
        fc=nn.Linear(288, 5),
    ).eval()
    for one in features.parameters():
        one.data *= 1e-9
    pixels = photos()
    activations, gradients = run(model, "features", pixels)
    total, top = activations.sum((2, 3), keepdim=True), (gradients * activations).sum((2, 3), keepdim=True)
    expected = run_theirs("XGradCAM", model, [model.features], pixels, pick())
    found = GradCAM(model, [model.features], method="xgradcam")(pixels, pick())
    # These raw maps are so small that the 1e-7 in the scaling would show, so the formulas are compared after scaling.
    np.testing.assert_allclose(expected, finish((top / (total + 1e-7) * activations).sum(1), pixels), **CLOSE)
    np.testing.assert_allclose(found, finish((top / total * activations).sum(1), pixels), **CLOSE)
    assert np.abs(found - expected).max() > 1e-2


@pytest.mark.parametrize("method", SAME)
def test_what_a_relu_overwrites_is_read_before_it_here(method: str) -> None:
    torch.manual_seed(0)
    model, twin = InPlaceAfter(inplace=True).eval(), InPlaceAfter(inplace=False).eval()
    twin.load_state_dict(model.state_dict())
    expected = run_theirs(SAME[method], model, [model.features], photos(), pick())
    found = GradCAM(model, [model.features], method=method)(photos(), pick())
    np.testing.assert_allclose(found, run_theirs(SAME[method], twin, [twin.features], photos(), pick()), **CLOSE)
    activations, gradients = run(twin, "features", photos())
    overwritten = make_terms(method, activations.relu(), gradients).sum(1)
    np.testing.assert_allclose(expected, finish(overwritten, photos()), **CLOSE)
    # The gradient is zero where the ReLU cuts off, so products place by place don't change.
    assert np.allclose(found, expected, atol=1e-3) == (method in ("hirescam", "layercam"))


def test_volumes_are_enlarged_by_cubic_splines_there_and_trilinearly_here() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    model, pixels = volumes()
    activations, gradients = run(model, model.features, pixels)
    maps = scale((gradients.mean((2, 3, 4), keepdim=True) * activations).sum(1).relu().numpy())
    cubic = scale(np.stack([np.maximum(ndimage.zoom(one, 2), 0) for one in maps]))
    straight = scale(F.interpolate(torch.from_numpy(maps)[:, None], pixels.shape[2:], mode="trilinear")[:, 0].numpy())
    expected = run_theirs("GradCAM", model, [model.features], pixels, pick())
    found = GradCAM(model, [model.features])(pixels, pick())
    assert found.shape == expected.shape == (3, 6, 8, 10)
    np.testing.assert_allclose(expected, cubic, **CLOSE)
    np.testing.assert_allclose(found, straight, **CLOSE)
    assert np.abs(found - expected).max() > 0.05


def test_a_map_of_one_cell_is_zero_there_and_refused_here() -> None:
    model = cnn()
    assert not run_theirs("GradCAM", model, [model.pool], photos(), pick()).any()
    with pytest.raises(LayerError, match=r"pooled over all places.*reshape_transform="):
        GradCAM(model, [model.pool])(photos(), pick())
    assert not GradCAM(model, [model.pool], lambda output: output)(photos(), pick()).any()


def test_too_few_targets_and_missing_classes_are_passed_over_there(capsys: pytest.CaptureFixture[str]) -> None:
    model = cnn()
    expected = run_theirs("GradCAM", model, [model.block], photos(), pick(4, 0))
    assert expected[:2].max() > 0.5 and not expected[2].any()
    with pytest.raises(TargetError, match="2 targets were given for a batch of 3"):
        GradCAM(model, [model.block])(photos(), pick(4, 0))
    with theirs.GradCAM(model, [model.block]) as cam:
        cam(photos(), pick(4, 0, 77))
    assert "out of bounds" in capsys.readouterr().out
    with pytest.raises(TargetError, match="doesn't fit"), GradCAM(model, [model.block]) as ours:
        ours(photos(), pick(4, 0, 77))


# What runs the model again: vlcam.explain has it


def stand_in(pixels: Tensor, index: int) -> StandIn:
    """One photo and one class of it, with what the perturbation methods ask."""
    model = cnn()
    head = Lambda(
        lambda self, features: self.fc(features.mean((2, 3)))[:, index : index + 1],
        fc=model.fc,
    )
    return StandIn(nn.Sequential(model.stem, model.block), head, pixels)


@pytest.mark.parametrize("index", range(5))
def test_ablation_cam_is_divided_by_the_score_there(index: int) -> None:
    model, pixels = cnn(), photos(1)
    subject = stand_in(pixels, index)
    signed = make_ablationcam().function(subject)
    assert float(subject.activations.min()) == 0  # else they silence a channel with -1e7
    score = float(subject.scores(pixels))
    expected = run_theirs("AblationCAM", model, [model.block], pixels, pick(index))
    np.testing.assert_allclose(expected, finish(signed / score, pixels), **CLOSE)
    same = np.allclose(expected, finish(signed, pixels), **CLOSE)
    assert same == (score > 0)  # a negative one turns the map upside down


@pytest.mark.parametrize("index", CLASSES)
def test_scorecam_has_other_corners_there(index: int) -> None:
    model, pixels = cnn(), photos(1)
    subject = stand_in(pixels, index)
    made = {}
    for corners in (True, False):
        large = F.interpolate(subject.activations, pixels.shape[2:], mode="bilinear", align_corners=corners)[0]
        low = large - large.amin((1, 2), keepdim=True)
        high = low.amax((1, 2), keepdim=True)
        alive = high[:, 0, 0] > 0
        # A channel without differences hides all there, and has no weight here; a factor doesn't show.
        scores = subject.scores(pixels * (low / (high + 1e-8))[:, None])[:, 0]
        weights = scores.softmax(0) if corners else torch.where(alive, scores, -torch.inf).softmax(0)
        made[corners] = finish((weights[:, None, None] * subject.activations[0]).sum(0)[None], pixels)
    expected = run_theirs("ScoreCAM", model, [model.block], pixels, pick(index))
    np.testing.assert_allclose(expected, made[True], **CLOSE)
    np.testing.assert_allclose(finish(make_scorecam().function(subject), pixels), made[False], **CLOSE)
    assert np.abs(made[True] - made[False]).max() > 1e-4
