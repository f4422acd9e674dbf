"""The original CAM: against its equation, in every head it is defined for, refused elsewhere; and the helper that makes such heads."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import vlcam
from tests.methods.test_pixels import StandIn, classes
from tests.support.tiny import Cnn, lively, snapshot
from vlcam.contracts import InputError, LayerError, Target
from vlcam.methods import get_one_run_method
from vlcam.methods.cam import BUILT_IN, cam, find_heads
from vlcam.methods.cam_head import CamNetwork, build_cam_network
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

gradcam = get_one_run_method("gradcam").function


def pooled(*after: nn.Module, channels: int = 6, outputs: int = 4) -> nn.Sequential:
    """Conv features (module 1), whatever comes after them, global average pooling, linear."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU(), *after, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)
    ).double()  # fmt: skip


def convolved(*between: nn.Module, channels: int = 6) -> nn.Sequential:
    """As SqueezeNet: a 1 x 1 convolution for the classes, then pooling."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU(), nn.Dropout(), nn.Conv2d(channels, 4, 1), *between,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).double()  # fmt: skip


def subject_of(net: nn.Module, targets: Sequence[Target] = (), layer: str = "1", pick: Any = None) -> StandIn:
    image = torch.randn(1, 3, 14, 10, dtype=torch.float64)
    return StandIn(net, layer, image, targets or classes(0, 3, 1), pick)


def twin(weights: Any, features: Any, target: int) -> list[list[float]]:
    """Zhou et al. 2016, eq. 2: M_c(x, y) = sum_k w_k^c f_k(x, y)."""
    rows, columns = len(features[0]), len(features[0][0])
    plane = [[0.0] * columns for _ in range(rows)]
    for k, channel in enumerate(features):
        for x in range(rows):
            for y in range(columns):
                plane[x][y] += weights[target][k] * channel[x][y]
    return plane


@pytest.mark.parametrize("form", ["linear", "no bias", "conv", "conv + relu", "relu after the layer", "per place"])
def test_equals_its_equation(form: str) -> None:
    layer = "1"
    if form.startswith("conv"):
        net = convolved(*[nn.ReLU()] * (form == "conv + relu"))
        head: Any = net[3]
    elif form == "per place":

        class PerPlace(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.features, self.head = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), nn.Linear(6, 4)
                self.double()

            def forward(self, pixels: Tensor) -> Tensor:
                scores: Tensor = self.head(self.features(pixels).permute(0, 2, 3, 1)).mean((1, 2))
                return scores

        net, layer = PerPlace(), "features"  # type: ignore[assignment]
        head = net.head
    else:
        net = pooled()
        head = net[4]
        if form == "no bias":
            net[4] = head = nn.Linear(6, 4, bias=False).double()
        layer = "0" if form.startswith("relu") else "1"
    subject = subject_of(net, layer=layer)
    features = subject.activations[0].relu().tolist()  # but for one form, they are behind a ReLU already
    weights = head.weight.detach().flatten(1).tolist()
    expected = torch.tensor([twin(weights, features, target) for target in (0, 3, 1)], dtype=torch.float64)
    found = cam(subject)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert float(found.min()) < 0 < float(found.max())
    if form != "conv + relu":
        bias = 0 if head.bias is None else head.bias.detach()[[0, 3, 1]]
        total = found.mean((1, 2)) + bias
        torch.testing.assert_close(total, torch.tensor([one.score for one in subject.targets], dtype=torch.float64))


@pytest.mark.parametrize("net", [pooled(), pooled(nn.Dropout()), convolved()])
def test_is_gradcam_times_the_places(net: nn.Sequential) -> None:
    """Grad-CAM paper, section 3.1: on such nets the two are the same but for the factor 1/Z."""
    subject = subject_of(net)
    torch.testing.assert_close(
        cam(subject), gradcam(subject.activations, subject.gradients) * 7 * 5, rtol=1e-9, atol=1e-12
    )


def test_a_contrast_is_the_difference_of_two_maps() -> None:
    net = pooled()
    target = Target("this rather than that", "contrast", token_ids=(2, 0))
    subject = subject_of(net, [target], pick=lambda logits: logits[:, 2:3] - logits[:, 0:1])
    head: Any = net[4]
    weights = head.weight.detach()
    expected = torch.einsum("k,kij->ij", weights[2] - weights[0], subject.activations[0])
    torch.testing.assert_close(cam(subject)[0], expected)
    torch.testing.assert_close(cam(subject), gradcam(subject.activations, subject.gradients) * 35)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_logit_stands_for_two_classes(sign: int) -> None:
    net = pooled(outputs=1)
    subject = subject_of(net, classes(0, 1), pick=lambda logits: torch.cat([sign * logits, -sign * logits], 1))
    found = cam(subject)
    torch.testing.assert_close(found, gradcam(subject.activations, subject.gradients) * 35)
    torch.testing.assert_close(found[0], -found[1])


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 35, 4)), "no such layer"),
        (nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 4)), "4 on its 6"),
        (pooled(nn.BatchNorm2d(6)), "5 on its 6 channels doesn't"),
        (nn.Sequential(*pooled(outputs=6), nn.Linear(6, 4).double()), "5, 4 on its 6 channels don't"),
        (nn.Sequential(*pooled(outputs=9), nn.ReLU(), nn.Linear(9, 4).double()), "4 on its 6 channels doesn't"),
        (nn.Sequential(*pooled(outputs=2), nn.Linear(2, 4).double()), "4 on its 6 channels doesn't"),
    ],
)  # fmt: skip
def test_other_networks_are_refused(net: nn.Module, names: str) -> None:
    subject = subject_of(lively(net).double())
    with pytest.raises(
        LayerError, match=rf"^CAM needs .* isn't one after '1' .*{names}.*'gradcam'.*vlcam.methods.cam_head"
    ):
        cam(subject)


def test_the_right_score_with_the_wrong_gradient_is_not_enough() -> None:
    """Max pooling of constant maps gives the same score as average pooling."""
    net: Any = pooled()
    net[2] = nn.AdaptiveMaxPool2d(1)
    net[0].weight.data.zero_()
    net[0].bias.data.fill_(1.0)
    with pytest.raises(LayerError, match=r"^CAM needs"):
        cam(subject_of(net))


@pytest.mark.parametrize("kind", ["word", "caption", "answer"])
def test_only_classes_have_a_cam(kind: Any) -> None:
    subject = subject_of(pooled(), [Target("dog", kind, token_ids=(1,))])
    with pytest.raises(InputError, match="'dog' is an? " + kind):
        cam(subject)


def test_scores_that_are_not_known_are_run_for() -> None:
    subject = subject_of(pooled())
    expected = cam(subject)
    assert subject.runs == 0
    subject._targets = classes(0, 3, 1)
    torch.testing.assert_close(cam(subject), expected)
    assert subject.runs == 1


def test_half_precision() -> None:
    net = pooled().bfloat16()
    subject = StandIn(net, "1", torch.randn(1, 3, 14, 10, dtype=torch.bfloat16), classes(0, 3, 1))
    found = cam(subject)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, gradcam(subject.activations, subject.gradients) * 35, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("name", "layer", "equal"),
    [("resnet18", "layer4", True), ("squeezenet1_1", "features", False), ("DenseNet", "features", False),
     ("googlenet", "inception5b", True), ("mobilenet_v2", "features", True)],
)  # fmt: skip
def test_torchvision_models(name: str, layer: str, equal: bool) -> None:  # peers 8.5 #59
    more: dict[str, dict[str, Any]] = {
        "googlenet": {"init_weights": False, "aux_logits": False},
        "DenseNet": {"growth_rate": 8, "block_config": (2, 2, 2), "num_init_features": 16},
    }
    net = getattr(torchvision.models, name)(num_classes=7, **more.get(name, {}))
    subject = StandIn(net, layer, torch.randn(1, 3, 64, 96), classes(2, 5))
    found, other = cam(subject), gradcam(subject.activations, subject.gradients)
    assert found.shape == other.shape
    if equal:
        torch.testing.assert_close(found, other * found[0].numel(), rtol=1e-3, atol=1e-4 * float(found.abs().max()))


def test_heads_are_found_behind_wrappers() -> None:
    assert [one.name for one in find_heads(nn.DataParallel(pooled()), 6)] == ["4"] * 4


def test_on_the_bundled_classifier_it_is_refused() -> None:
    with pytest.raises(LayerError, match=r"CAM needs.*SceneClassifier isn't one after 'features'.*'gradcam'"):
        vlcam.explain(bundled.classifier(), make(0, "test").image(), method=BUILT_IN[0])


# --- cam_head -------------------------------------------------------------------------------------------------------------------


def trained(network: CamNetwork, images: Tensor, steps: int = 3) -> list[float]:
    """A few steps of gradient descent on the head; the losses."""
    optimiser = torch.optim.Adam([one for one in network.parameters() if one.requires_grad], lr=1e-3)
    losses = []
    labels = torch.arange(len(images)) % network.classifier.out_features
    for _ in range(steps):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def vgg16() -> nn.Module:
    """torchvision's VGG-16, whose 120 million dense weights are never touched (nor filled)."""
    with torch.device("meta"):
        net = torchvision.models.vgg16(init_weights=False)
    net.to_empty(device="cpu")
    for module in net.features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    assert isinstance(net, nn.Module)
    return net


NETS: dict[str, tuple[Any, str | None, int]] = {
    "vgg16": (vgg16, "features", 512),
    "resnet18": (lambda: torchvision.models.resnet18(), None, 512),
    "squeezenet1_1": (lambda: torchvision.models.squeezenet1_1(), None, 512),
    "densenet": (lambda: torchvision.models.DenseNet(8, (2, 2, 2), 16), None, 32),
    "scenes": (lambda: bundled.classifier().model, None, 192),
}


@pytest.mark.parametrize("name", list(NETS))
def test_a_head_for_cam_on_known_models(name: str) -> None:
    make_net, layer, channels = NETS[name]
    net = make_net().eval()
    images = torch.randn(2, 3, 96, 96)
    network = build_cam_network(net, ["a", "b", "c"], layer=layer, sample=images[:1])
    assert network.classifier.in_features == channels and not network.training
    losses = trained(network.train(), images)
    assert losses[-1] < losses[0]
    weights = sum(one.numel() for one in network.parameters())
    assert weights <= sum(one.numel() for one in net.parameters()) - {"vgg16": 1.2e8, "scenes": 1.5e6}.get(name, 0)
    subject = StandIn(network, "features", images[:1], classes(0, 2))
    found = cam(subject)
    places = found[0].numel()
    torch.testing.assert_close(
        found, gradcam(subject.activations, subject.gradients) * places, rtol=1e-3, atol=1e-5 * float(found.abs().max())
    )


def test_the_given_model_stays_and_the_new_one_is_its_own() -> None:
    net = lively(Cnn(channels=8))
    sample = torch.randn(1, 3, 16, 16)
    before = snapshot(net)
    network = build_cam_network(net, 3, sample=sample)
    assert {**snapshot(net), "rng": before["rng"]} == before  # the new head was drawn at random
    frozen = {name: value.clone() for name, value in network.features.state_dict().items()}
    trained(network.train(), torch.randn(6, 3, 16, 16))
    assert {**snapshot(net), "rng": before["rng"]} == before
    for name, value in network.features.state_dict().items():
        assert torch.equal(value, frozen[name]), name
    features = network.eval().features(sample)
    torch.testing.assert_close(features, net.eval().block(net.stem(sample)))


def test_frozen_or_not() -> None:
    net, sample = Cnn(channels=8).train(), torch.randn(1, 3, 16, 16)
    network = build_cam_network(net, 3, sample=sample)
    assert network.training and not network.features.training
    assert [name for name, one in network.named_parameters() if one.requires_grad] == [
        "classifier.weight",
        "classifier.bias",
    ]
    network = build_cam_network(net, 3, sample=sample, frozen=False)
    assert network.training and network.features.training and all(one.requires_grad for one in network.parameters())
    before = network.features.body.stem[0].weight.detach().clone()  # type: ignore[index, union-attr]
    trained(network, torch.randn(6, 3, 16, 16))
    assert not torch.equal(network.features.body.stem[0].weight, before)  # type: ignore[index, union-attr]


def test_cut_at_a_named_layer_or_module() -> None:
    net, sample = Cnn(channels=8), torch.randn(1, 3, 16, 16)
    named = build_cam_network(net, 2, layer="stem", sample=sample)
    given = build_cam_network(net, 2, layer=net.stem, sample=sample)
    assert torch.equal(named.eval().features(sample), given.eval().features(sample))
    assert not any("block" in name for name, _ in named.named_parameters())
    whole = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert build_cam_network(whole, 2, layer=whole, sample=sample)(sample).shape == (1, 2)


def test_explained_with_cam_through_the_public_way() -> None:
    network = build_cam_network(bundled.classifier().model, 36, sample=torch.randn(1, 3, 96, 96))
    task = vlcam.tasks.classification.Classification(
        network, bundled.PAIR_LABELS, bundled.classifier().preprocess, activation="sigmoid"
    )
    photo = make(0, "test").image()
    found = vlcam.explain(task, photo, method=BUILT_IN[0], contrast=("red star", "blue circle"))
    other = vlcam.explain(task, photo, contrast=("red star", "blue circle"))
    assert not found.relu and found.maps.shape == (4, 12, 12)
    torch.testing.assert_close(found.maps, other.maps * 144, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classes": 0}, InputError, "0 classes were given"),
        ({"layer": "stemm"}, LayerError, "closest names are stem"),
        ({"layer": "fc"}, LayerError, r"returned \(1, 5\); expected maps"),
        ({"sample": torch.zeros(1, 4, 16, 16)}, InputError, "can't take a picture of shape.*sample="),
        ({"layer": nn.ReLU()}, LayerError, "not part of the model"),
    ],
)
def test_what_cannot_be_cut_is_said(options: dict[str, Any], error: type[Exception], message: str) -> None:
    net = Cnn(channels=8)
    before = snapshot(net)
    with pytest.raises(error, match=message):
        build_cam_network(net, **{"classes": 2, "sample": torch.zeros(1, 3, 16, 16), **options})
    assert snapshot(net) == before
