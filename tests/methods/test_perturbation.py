"""Occlusion, RISE, Score-CAM, Ablation-CAM and Eigen-CAM against slow versions of their formulas, and on the bundled models."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import vlcam
from vlcam.contracts import InputError, Kind, Measure, PerturbationMethod, Request, Subject, Target
from vlcam.engine.chunks import MOST_ROWS
from vlcam.methods.channels import EIGENCAM, eigencam, make_ablationcam
from vlcam.methods.masks import draw_grids, make_rise, make_scorecam, make_smooth_masks
from vlcam.methods.occlusion import make_occlusion, occlusion_robustness


class StandIn:
    """A subject made of two modules: what comes before the layer, and what comes after; the first outputs are the targets."""

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        image: Tensor,
        targets: int = 1,
        *,
        kind: Kind = "class",
        measure: Measure = "logit",
    ) -> None:
        self.before, self.after, self.image = features, head, image
        self.model = nn.Sequential(features, head).requires_grad_(False)
        self.targets = [Target(f"t{number}", kind, measure=measure) for number in range(targets)]
        self.layer = "features"
        self.sizes: list[int] = []
        self.reports: list[tuple[int, int]] = []

    @property
    def activations(self) -> Tensor:
        with torch.no_grad():
            return self.before(self.image).clone()  # type: ignore[no-any-return]

    @property
    def gradients(self) -> Tensor:
        scores, leaf = self.rerun("layer")
        return torch.cat([torch.autograd.grad(score, leaf, retain_graph=True)[0] for score in scores])

    def scores(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        with torch.no_grad():
            return self.after(self.before(images))[:, : len(self.targets)]  # type: ignore[no-any-return]

    def scores_with(self, masks: Tensor) -> Tensor:
        self.sizes.append(len(masks))
        with torch.no_grad():
            return self.after(self.activations * masks[:, :, None, None])[:, : len(self.targets)]  # type: ignore[no-any-return]

    def rerun(self, leaf: Any, within: Any = None) -> tuple[Tensor, Tensor]:
        assert leaf == "layer"
        values = self.activations.requires_grad_()
        with within or nullcontext():
            return self.after(values.clone())[0, : len(self.targets)], values

    def to_maps(self, tensor: Tensor) -> Tensor:
        return tensor

    def report(self, done: int, total: int) -> None:
        self.reports.append((done, total))


def linear(height: int, width: int, targets: int = 2, channels: int = 3) -> StandIn:
    """A subject whose scores are linear in the pixels, in float64."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, targets))
    return StandIn(nn.Identity(), head.double(), torch.randn(1, channels, height, width, dtype=torch.float64), targets)


def weights_of(subject: StandIn) -> Tensor:
    head: Any = subject.after
    return head[1].weight.detach().view(-1, *subject.image.shape[1:])  # type: ignore[no-any-return]


def small(channels: int = 5, targets: int = 3, **options: Any) -> StandIn:
    """A small convolutional net in float64."""
    before = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU())
    after = nn.Sequential(
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(channels * 4, 6), nn.Tanh(), nn.Linear(6, targets)
    )
    image = torch.randn(1, 3, 12, 10, dtype=torch.float64)
    return StandIn(before.double(), after.double(), image, targets, **options)


@cache
def _bundled(kind: str) -> tuple[Any, Any, tuple[tuple[str, Any], ...]]:
    from vlcam.scenes.sample import make
    from vlcam.tasks import bundled

    scene = make(0, "test")
    if kind == "classification":
        return bundled.classifier(), scene.image(), ()
    if kind == "captioning":
        return bundled.captioner(), scene.image(), (("caption", " ".join(scene.captions()[0].words[:5])),)
    return bundled.vqa(), scene.image(), (("question", scene.questions()[0].text),)


def bundled_case(kind: str) -> tuple[Any, Any, dict[str, Any]]:
    """A bundled task, a picture, and what to ask."""
    task, image, options = _bundled(kind)
    return task, image, dict(options)


def test_the_stand_in_is_a_subject() -> None:
    assert isinstance(small(), Subject)


# --- occlusion ------------------------------------------------------------------------------------------------------------------


def slow_occlusion(subject: StandIn, cover: Tensor, patch: int, stride: int) -> Tensor:
    """For a linear score: the drop is ``sum w (x - cover)`` over the square; pixel by pixel, then averaged over equal cells."""
    image, weights = subject.image[0], weights_of(subject)
    height, width = image.shape[1:]
    evidence = (weights * (image - cover)).sum(1)
    tops = [*range(0, height - patch, stride), height - patch]
    lefts = [*range(0, width - patch, stride), width - patch]
    total, count = torch.zeros_like(evidence), torch.zeros_like(evidence)
    for top in tops:
        for left in lefts:
            square = slice(top, top + patch), slice(left, left + patch)
            total[:, *square] += evidence[:, *square].sum((1, 2), keepdim=True)
            count[:, *square] += 1
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    fine = (total / count).repeat_interleave(rows, 1).repeat_interleave(columns, 2)
    return fine.view(len(fine), rows, height, columns, width).mean((2, 4))


@pytest.mark.parametrize(
    ("height", "width", "patch", "stride"), [(12, 12, 4, 2), (11, 14, 4, 3), (9, 7, 3, 3), (6, 6, 6, 6)]
)
@pytest.mark.parametrize("fill", ["mean", "grey", 0.7])
def test_occlusion_of_a_linear_model_is_known(height: int, width: int, patch: int, stride: int, fill: Any) -> None:
    subject = linear(height, width)
    cover = (
        subject.image[0].mean((1, 2), keepdim=True) if fill == "mean" else torch.tensor(0.0 if fill == "grey" else fill)
    )
    maps = make_occlusion(patch, stride, fill).function(subject)
    torch.testing.assert_close(maps, slow_occlusion(subject, cover, patch, stride), check_dtype=False)
    assert maps.min() < 0 or patch == 6  # drops keep their sign


def test_the_default_patch_is_a_sixth_of_the_shorter_side() -> None:
    subject = linear(24, 36, channels=1)
    torch.testing.assert_close(make_occlusion().function(subject), make_occlusion(4, 2).function(subject))
    assert make_occlusion().function(subject).shape == (2, 12, 18)
    assert make_occlusion(fill="grey").function(linear(3, 4)).shape == (2, 3, 4)


def test_occlusion_makes_its_images_chunk_by_chunk() -> None:
    subject = linear(12, 12)
    whole = make_occlusion(4, 2).function(subject)
    assert subject.sizes == [1, 25]
    subject.sizes.clear()
    subject.reports.clear()
    torch.testing.assert_close(make_occlusion(4, 2, batch=7).function(subject), whole)
    assert subject.sizes == [1, 7, 7, 7, 4]
    assert subject.reports == [(7, 25), (14, 25), (21, 25), (25, 25)]
    subject.sizes.clear()
    make_occlusion(2, 1).function(subject)
    assert max(subject.sizes) == MOST_ROWS


def test_the_picture_itself_is_left_as_it_is() -> None:
    subject = linear(8, 8)
    before = subject.image.clone()
    make_occlusion(3, 2, "blur").function(subject)
    assert torch.equal(subject.image, before)


def test_a_blur_hides_details_and_keeps_flat_colour() -> None:
    subject = linear(12, 12)
    subject.image = torch.full_like(subject.image, 0.3)
    torch.testing.assert_close(
        make_occlusion(4, 2, "blur").function(subject), torch.zeros(2, 6, 6, dtype=torch.float64), atol=1e-5, rtol=0
    )
    subject.image[..., ::2] = -0.3
    mean, blur = (make_occlusion(4, 2, fill).function(subject) for fill in ("mean", "blur"))
    assert (mean - blur).abs().mean() < 0.25 * mean.abs().mean()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch": 9}, "patch=9 was given for an input of 8 x 8; expected 1 to 8 pixels"),
        ({"patch": 3, "stride": 4}, "stride=4 was given with a patch of 3; expected 1 to 3 pixels"),
        ({"fill": math.nan}, "fill=nan was given"),
        ({"batch": 0}, "batch=0 was given"),
    ],
)
def test_what_occlusion_refuses(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_occlusion(**options).function(linear(8, 8))


# --- robustness to occlusion ----------------------------------------------------------------------------------------------------


def brighter_half(images: Tensor) -> Tensor:
    """Which half is brighter: 0 left, 1 right, 2 neither."""
    halves = torch.stack([images[..., :8].mean((1, 2, 3)), images[..., 8:].mean((1, 2, 3))], 1)
    return torch.where(halves[:, 0] == halves[:, 1], 2, halves.argmax(1))


def test_a_prediction_survives_patches_that_miss_what_it_rests_on() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[..., 4, 4] = 1  # the one pixel that decides
    found = occlusion_robustness(brighter_half, image, shares=(0.25, 0.5, 1.0), samples=200, fill="grey")
    assert found.prediction == 0
    assert found.patches == (4, 8, 16)
    # A square of side s has 17 - s places in each direction; it covers pixel 4 from min(s, 17 - s, 5) of them.
    expected = [1 - (4 / 13) ** 2, 1 - (5 / 9) ** 2, 0.0]
    assert list(found.survived) == pytest.approx(expected, abs=0.09)
    assert found.survived[0] > found.survived[1] > found.survived[2]


def test_robustness_depends_on_the_seed_alone() -> None:
    image = torch.rand(1, 3, 16, 16)
    one = occlusion_robustness(brighter_half, image, samples=50)
    assert one == occlusion_robustness(brighter_half, image, samples=50, batch=7)
    assert one != occlusion_robustness(brighter_half, image, samples=50, seed=1)


def test_robustness_of_words_and_of_subjects() -> None:
    def words(images: Tensor) -> Sequence[str]:
        return ["left" if which == 0 else "right" for which in brighter_half(images).tolist()]

    image = torch.rand(1, 3, 16, 16)
    said = occlusion_robustness(words, image, samples=20)
    assert said.prediction in ("left", "right")
    subject = small()
    found = occlusion_robustness(subject, samples=20)
    assert found.prediction == f"t{int(subject.scores(subject.image).argmax())}"
    assert all(0 <= share <= 1 for share in found.survived)


def test_what_robustness_refuses() -> None:
    with pytest.raises(InputError, match="no image was given"):
        occlusion_robustness(brighter_half)
    with pytest.raises(InputError, match="t0 leave no prediction to survive"):
        occlusion_robustness(small(targets=1))
    with pytest.raises(InputError, match="t0, t1, t2 leave no prediction"):
        occlusion_robustness(small(kind="word"))
    with pytest.raises(InputError, match=r"samples=0 and shares=\(0.1,\) were given"):
        occlusion_robustness(brighter_half, torch.rand(1, 3, 16, 16), samples=0, shares=(0.1,))


# --- RISE -----------------------------------------------------------------------------------------------------------------------


def slow_mask(grid: Tensor, down: int, right: int, height: int, width: int) -> Tensor:
    """Bilinear between cell centres of a picture one cell larger than the image, cut out; pixel by pixel."""
    cells = len(grid)
    tall, wide = (cells + 1) * math.ceil(height / cells), (cells + 1) * math.ceil(width / cells)

    def at(place: int, side: int) -> tuple[int, int, float]:
        centre = min(max((place + 0.5) * cells / side - 0.5, 0), cells - 1)
        low = min(int(centre), cells - 1)
        return low, min(low + 1, cells - 1), centre - low

    mask = torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            above, below, v = at(i + down, tall)
            left, right_, h = at(j + right, wide)
            upper = grid[above, left] * (1 - h) + grid[above, right_] * h
            lower = grid[below, left] * (1 - h) + grid[below, right_] * h
            mask[i, j] = upper * (1 - v) + lower * v
    return mask


def slow_rise(subject: StandIn, masks: Tensor, keep: float) -> Tensor:
    """Eq. 6, mask by mask."""
    scores = torch.cat([subject.scores(subject.image * mask) for mask in masks])
    spoken = subject.targets[0].measure == "log-probability" and subject.targets[0].kind != "contrast"
    weights = scores.exp() if spoken else scores - scores.mean(0)
    total = torch.zeros(scores.shape[1], *masks.shape[1:], dtype=torch.float64)
    for weight, mask in zip(weights, masks, strict=True):
        total += weight[:, None, None] * mask
    return total / (keep * len(masks))


@pytest.mark.parametrize(
    ("kind", "measure"), [("class", "logit"), ("word", "log-probability"), ("contrast", "log-probability")]
)
def test_rise_is_eq_6(kind: Kind, measure: Measure) -> None:
    subject = small(kind=kind, measure=measure)
    grids, shifts = draw_grids(12, 10, 9, 4, 0.3, seed=3)
    masks = torch.stack(
        [slow_mask(grid, int(shift[0]), int(shift[1]), 12, 10) for grid, shift in zip(grids, shifts, strict=True)]
    )
    torch.testing.assert_close(make_smooth_masks(grids, shifts, 12, 10), masks)
    maps = make_rise(9, 4, 0.3, seed=3, batch=4).function(subject)
    assert max(subject.sizes) == 4
    torch.testing.assert_close(maps, slow_rise(subject, masks, 0.3), check_dtype=False, atol=1e-5, rtol=1e-4)


def test_masks_show_every_pixel_equally_often() -> None:
    masks = make_smooth_masks(*draw_grids(20, 30, 4000, 5, 0.4, seed=0), 20, 30)
    assert masks.min() >= 0
    assert masks.max() <= 1
    torch.testing.assert_close(masks.mean(0), torch.full((20, 30), 0.4), atol=0.04, rtol=0)


def test_shifts_reach_every_pixel_of_a_cell() -> None:
    _, shifts = draw_grids(21, 30, 2000, 4, 0.5, seed=0)
    assert sorted(set(shifts[:, 0].tolist())) == list(range(6))
    assert sorted(set(shifts[:, 1].tolist())) == list(range(8))


def test_rise_finds_the_pixel_that_decides() -> None:
    """The score is one pixel: the map is Cov(M(pixel), M(i, j)) / keep, largest there, where it tends to Var(M) / keep."""
    subject = linear(14, 14, targets=1, channels=1)
    head: Any = subject.after
    head[1].weight.zero_()
    head[1].weight[0, 5 * 14 + 9] = 1
    subject.image = torch.ones_like(subject.image)
    maps = make_rise(3000, seed=1).function(subject)
    masks = make_smooth_masks(*draw_grids(14, 14, 3000, 7, 0.5, seed=1), 14, 14)
    place = divmod(int(maps[0].argmax()), 14)
    assert abs(place[0] - 5) <= 1
    assert abs(place[1] - 9) <= 1
    assert float(maps[0, 5, 9]) == pytest.approx(float(masks[:, 5, 9].var(correction=0)) / 0.5, rel=1e-3)


def test_a_number_added_to_all_logits_changes_nothing() -> None:
    subject = linear(14, 14)
    before = make_rise(50).function(subject)
    head: Any = subject.after
    head[1].bias.add_(7)
    torch.testing.assert_close(make_rise(50).function(subject), before, atol=1e-4, rtol=0)


def test_rise_is_the_same_for_every_batch_and_another_for_another_seed() -> None:
    subject = small()
    maps = make_rise(20).function(subject)
    torch.testing.assert_close(make_rise(20, batch=3).function(subject), maps)
    assert not torch.allclose(make_rise(20, seed=1).function(subject), maps)


def test_what_rise_refuses() -> None:
    with pytest.raises(InputError, match=r"keep=1\.0 were given; expected positive numbers and a probability"):
        make_rise(keep=1.0)
    with pytest.raises(InputError, match="cells=13 was given for an input of 12 x 10"):
        make_rise(cells=13).function(small())


# --- Score-CAM ------------------------------------------------------------------------------------------------------------------


def slow_scorecam(subject: StandIn) -> Tensor:
    """Algorithm 1, target by target and channel by channel."""
    image, activations = subject.image, subject.activations[0]
    maps = []
    for target in range(len(subject.targets)):
        alive, contributions = [], []
        base = float(subject.scores(torch.zeros_like(image))[0, target])
        for channel in activations:
            if float(channel.max()) == float(channel.min()):
                continue
            large = functional.interpolate(channel[None, None], tuple(image.shape[2:]), mode="bilinear")[0, 0]
            mask = (large - large.min()) / (large.max() - large.min())
            contributions.append(float(subject.scores(image * mask)[0, target]) - base)
            alive.append(channel)
        total = sum(math.exp(one) for one in contributions)
        maps.append(
            sum((math.exp(one) / total * a for one, a in zip(contributions, alive, strict=True)), torch.zeros(()))
        )
    return torch.stack(maps)


def test_scorecam_is_algorithm_1() -> None:
    subject = small(channels=7)
    silence(subject, 2)
    torch.testing.assert_close(make_scorecam(batch=3).function(subject), slow_scorecam(subject))


def silence(subject: StandIn, channel: int) -> None:
    """Make a channel zero everywhere."""
    conv: Any = subject.before
    conv[0].weight[channel] = 0
    conv[0].bias[channel] = -1


def test_scorecam_runs_what_is_alive_once_for_all_targets() -> None:
    subject = small(channels=7)
    silence(subject, 2)
    silence(subject, 5)
    make_scorecam(batch=3).function(subject)
    assert subject.sizes == [1, 3, 2]
    assert subject.reports == [(3, 5), (5, 5)]


def test_a_silent_layer_gives_an_empty_map() -> None:
    subject = small(channels=2)
    silence(subject, 0)
    silence(subject, 1)
    for procedure in (make_scorecam(), make_ablationcam()):
        maps = procedure.function(subject)
        assert maps.shape == (3, 6, 5)
        assert not maps.any()


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device: a number or a list of places read from a tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.equal.default,
        ):
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "procedure", [make_scorecam(), make_ablationcam(), make_rise(60), make_occlusion()], ids=lambda one: one.name
)
def test_no_procedure_waits_for_the_device_channel_by_channel(procedure: PerturbationMethod) -> None:
    subject = small(channels=48)
    with Waits() as waits:
        procedure.function(subject)
    assert waits.count <= 1


def test_waits_are_counted() -> None:
    with Waits() as waits:
        [float(one) for one in torch.rand(3)]
        torch.rand(3).nonzero()
    assert waits.count == 4


# --- Ablation-CAM and Eigen-CAM -------------------------------------------------------------------------------------------------


def test_ablationcam_silences_every_channel() -> None:
    subject = small(channels=7)
    silence(subject, 3)
    activations = subject.activations
    base = subject.after(activations)[0]
    expected = torch.zeros(3, 6, 5, dtype=torch.float64)
    for k in range(7):
        without = activations.clone()
        without[:, k] = 0
        expected += (base - subject.after(without)[0])[:, None, None] * activations[0, k]
    torch.testing.assert_close(make_ablationcam(batch=4).function(subject), expected)
    assert subject.sizes == [1, 4, 2]
    with pytest.raises(InputError, match="batch=0"):
        make_ablationcam(batch=0)


def test_ablationcam_of_a_linear_classifier_is_gradcam_times_the_mean() -> None:
    """``y = sum_k v_k mean(A_k) + b``: without channel k it is ``v_k mean(A_k)`` less, whatever the sign of y."""
    head: Any = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).double()
    values = torch.rand(1, 4, 3, 3, dtype=torch.float64)
    head[2].bias.data.sub_(50)
    maps = make_ablationcam().function(StandIn(nn.Identity(), head, values, 2))
    weights = head[2].weight * values.mean((2, 3))
    torch.testing.assert_close(maps, torch.einsum("tk,kij->tij", weights, values[0]))


def slow_eigencam(activations: Tensor) -> Tensor:
    """The eigenvector of ``sum_places A A^T`` with the largest eigenvalue by power iteration, then the projection."""
    channels = activations.flatten(1)
    vector = torch.ones(len(channels), dtype=torch.float64)
    for _ in range(60):
        projected = [sum(float(v) * float(a) for v, a in zip(vector, place, strict=True)) for place in channels.T]
        vector = channels @ torch.tensor(projected, dtype=torch.float64)
        vector = vector / vector.norm()
    found = torch.einsum("k,kij->ij", vector, activations.double())
    return found if float((found * activations.sum(0)).sum()) >= 0 else -found


def test_eigencam_is_the_projection_on_the_first_singular_vector() -> None:
    activations = torch.rand(1, 6, 4, 5, dtype=torch.float64)
    maps = eigencam(activations, torch.randn(3, 6, 4, 5, dtype=torch.float64))
    torch.testing.assert_close(maps, slow_eigencam(activations[0]).expand(3, 4, 5))
    assert maps.min() >= 0  # of non-negative activations
    assert torch.equal(maps[0], maps[2])  # whatever the target


@pytest.mark.parametrize("shape", [(1, 3, 6, 6), (1, 40, 2, 3), (2, 5, 3, 3)])
def test_the_sign_of_eigencam_is_that_of_the_activations(shape: tuple[int, ...]) -> None:
    activations = torch.randn(shape, dtype=torch.float64)
    maps = eigencam(activations, torch.zeros(2, *shape[1:], dtype=torch.float64))
    assert ((maps * activations.sum(1)).sum((1, 2)) > 0).all()
    torch.testing.assert_close(eigencam(-activations, torch.zeros(2, *shape[1:], dtype=torch.float64)), -maps)


def test_eigencam_of_nothing_and_of_nan() -> None:
    empty = torch.zeros(1, 4, 2, 2)
    assert not eigencam(empty, torch.zeros(2, 4, 2, 2)).any()
    empty[0, 0, 0, 0] = math.nan
    assert eigencam(empty, torch.zeros(2, 4, 2, 2)).isnan().all()


# --- the bundled models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classification", "captioning", "vqa"])
@pytest.mark.parametrize(
    "method",
    [make_occlusion(24, 24), make_rise(40), make_scorecam(), make_ablationcam(), EIGENCAM],
    ids=lambda one: str(one.name),
)
def test_every_bundled_task(kind: str, method: Any) -> None:
    task, image, options = bundled_case(kind)
    explanation = vlcam.explain(task, image, method=method, **options)
    assert explanation.method == method.name
    assert explanation.maps.isfinite().all()
    assert (explanation.maps != 0).any((1, 2)).all()
    assert explanation.maps.shape[1:] == {"occlusion": (4, 4), "rise": (96, 96)}.get(method.name, (12, 12))


def test_occlusion_covers_the_photo_where_it_says() -> None:
    """Covering one corner of the picture by hand drops the score by what the map has there."""
    task, image, _ = bundled_case("classification")
    explanation = vlcam.explain(task, image, method=make_occlusion(32, 32, "grey"))
    labels = [target.label for target in explanation.targets]
    request = Request(labels=tuple(labels))
    prepared = task.prepare(Image.fromarray(image), request)
    with torch.no_grad():
        whole = task.run(prepared, request).scores.clone()
        prepared.inputs[:, :, 64:, 32:64] = 0
        covered = task.run(prepared, request).scores
    torch.testing.assert_close(explanation.maps[:, 2, 1], whole - covered, atol=1e-4, rtol=1e-4)


def test_ablation_on_the_bundled_classifier_is_a_silent_channel() -> None:
    task, image, _ = bundled_case("classification")
    model = task.model
    explanation = vlcam.explain(task, image, method=make_ablationcam())
    request = Request(labels=tuple(target.label for target in explanation.targets))
    prepared = task.prepare(Image.fromarray(image), request)
    with torch.no_grad():
        features = model.features(prepared.inputs)
        chosen = [target.token_ids[0] for target in explanation.targets]
        base = model.classifier(model.head(features))[0, chosen]
        expected = torch.zeros(len(chosen), *features.shape[2:])
        for k in range(features.shape[1]):
            without = features.clone()
            without[:, k] = 0
            expected += (base - model.classifier(model.head(without))[0, chosen])[:, None, None] * features[0, k]
    torch.testing.assert_close(explanation.maps, expected, atol=1e-2, rtol=1e-3)
