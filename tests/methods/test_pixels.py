"""Maps on the model's pixels: what the pictures are made of, how colours become one number, what they cost, and on every bundled task."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.contracts import InputError, LayerError, Maps, PerturbationMethod, Subject, Target
from vlcam.engine import backward, chunks
from vlcam.engine.relu_rules import apply_relu_rule
from vlcam.methods import get_one_run_method
from vlcam.methods.pixels import BUILT_IN, make_guided_picture, upsample
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

EACH = pytest.mark.parametrize("procedure", BUILT_IN, ids=lambda one: one.name)
Pick = Callable[[Tensor], Tensor]


class StandIn:
    """A subject of plain torch: logits ``(B, classes)`` of a model, ``pick`` of which ``(B, T)`` are the scores."""

    def __init__(
        self, model: nn.Module, layer: str, image: Tensor, targets: Sequence[Target], pick: Pick | None = None
    ) -> None:
        self._model, self._layer, self._image = model.eval(), layer, image
        self.pick: Pick = pick or (lambda logits: logits[:, [one.token_ids[0] for one in targets]])
        self.runs = 0
        scores, leaf = self.rerun("layer")
        self._activations, self._gradients = leaf.detach(), backward.gradients(scores, leaf)[:, 0]
        self._targets = [
            Target(one.label, one.kind, score=float(score), token_ids=one.token_ids)
            for one, score in zip(targets, scores.detach(), strict=True)
        ]
        self.runs = 0

    @property
    def targets(self) -> Sequence[Target]:
        return self._targets

    @property
    def image(self) -> Tensor:
        return self._image

    @property
    def model(self) -> nn.Module:
        return self._model

    @property
    def layer(self) -> str:
        return self._layer

    @property
    def activations(self) -> Tensor:
        return self._activations

    @property
    def gradients(self) -> Tensor:
        return self._gradients

    def scores(self, images: Tensor) -> Tensor:
        self.runs += 1
        with torch.no_grad():
            return self.pick(self._model(images))

    def scores_with(self, masks: Tensor) -> Tensor:
        return torch.stack([self.rerun("layer", _scaled(self, mask))[0].detach() for mask in masks])

    def rerun(
        self, leaf: Literal["image", "layer"], within: AbstractContextManager[Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        self.runs += 1
        image = self._image.clone().requires_grad_()
        kept: list[Tensor] = []
        module = self._model.get_submodule(self._layer)

        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            kept.append(output.detach().clone().requires_grad_())
            return kept[0].clone()

        handle = module.register_forward_hook(hook) if leaf == "layer" else None
        try:
            with within or nullcontext():
                scores = self.pick(self._model(image.clone()))[0]
        finally:
            if handle is not None:
                handle.remove()
        return scores, image if leaf == "image" else kept[0]

    def to_maps(self, tensor: Tensor) -> Tensor:
        return tensor

    def report(self, done: int, total: int) -> None:
        assert done <= total


class _scaled(AbstractContextManager[None]):  # noqa: N801
    def __init__(self, subject: StandIn, mask: Tensor) -> None:
        self.module, self.mask = subject.model.get_submodule(subject.layer), mask

    def __enter__(self) -> None:
        self.handle = self.module.register_forward_hook(lambda module, inputs, out: out * self.mask[:, None, None])

    def __exit__(self, *error: object) -> None:
        self.handle.remove()


def classes(*indices: int) -> list[Target]:
    return [Target(f"class {index}", "class", token_ids=(index,)) for index in indices]


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(8 * 4 * 3, 10), nn.ReLU(inplace=True), nn.Linear(10, 5),
    ).double().eval()  # fmt: skip


def small(targets: Sequence[Target] = (), net: nn.Sequential | None = None) -> StandIn:
    image = torch.randn(1, 3, 16, 12, dtype=torch.float64)
    return StandIn(net or small_net(), "4", image, targets or classes(0, 3, 1, 4))


def _upsampled(plane: list[list[float]], rows: int, columns: int) -> list[list[float]]:
    """Bilinear with half-pixel centres, one pixel at a time."""
    out = []
    for i in range(rows):
        line = []
        for j in range(columns):
            y = min(max((i + 0.5) * len(plane) / rows - 0.5, 0), len(plane) - 1)
            x = min(max((j + 0.5) * len(plane[0]) / columns - 0.5, 0), len(plane[0]) - 1)
            top, left = int(y), int(x)
            low, right = min(top + 1, len(plane) - 1), min(left + 1, len(plane[0]) - 1)
            dy, dx = y - top, x - left
            line.append(
                (1 - dy) * ((1 - dx) * plane[top][left] + dx * plane[top][right])
                + dy * ((1 - dx) * plane[low][left] + dx * plane[low][right])
            )
        out.append(line)
    return out


def test_the_stand_in_is_a_subject() -> None:
    assert isinstance(small(), Subject)


@EACH
def test_equals_the_formula_one_target_at_a_time(procedure: PerturbationMethod) -> None:
    """Each target alone, with autograd's own backward pass; the rules themselves have their twin in test_relu_rules."""
    subject = small()
    rule = {"gradient": "plain", "guided-backprop": "guided", "guided-gradcam": "guided"}.get(procedure.name, "deconv")
    maps, pictures = procedure.function(subject), make_guided_picture(subject, procedure.name)
    assert maps.shape == (4, 16, 12) and pictures.shape == (4, 3, 16, 12)
    for index in range(4):
        with apply_relu_rule(rule):  # type: ignore[arg-type]
            leaf = subject.image.clone().requires_grad_()
            score = subject.pick(subject.model(leaf))[0, index]
        (expected,) = torch.autograd.grad(score, leaf)
        if procedure.name.endswith("gradcam"):
            weights = subject.gradients[index].mean((1, 2))
            cam = (weights[:, None, None] * subject.activations[0]).sum(0).relu()
            assert float(cam.max()) > 0
            expected = expected * torch.tensor(_upsampled(cam.tolist(), 16, 12), dtype=torch.float64)
        torch.testing.assert_close(pictures[index], expected[0], rtol=1e-10, atol=1e-14)
        largest = [[max(abs(float(expected[0, c, i, j])) for c in range(3)) for j in range(12)] for i in range(16)]
        torch.testing.assert_close(maps[index], torch.tensor(largest, dtype=torch.float64), rtol=1e-10, atol=1e-14)
        assert float(maps[index].min()) >= 0 < float(maps[index].max())


def test_the_five_methods_differ() -> None:
    subject = small()
    maps = [procedure.function(subject) for procedure in BUILT_IN]
    for index, one in enumerate(maps):
        assert not any(torch.allclose(one, other) for other in maps[:index])


def test_signed_pictures_have_both_signs() -> None:
    for procedure in BUILT_IN:
        picture = make_guided_picture(small(), procedure.name)
        assert float(picture.min()) < 0 < float(picture.max())


def test_guided_gradcam_is_nothing_where_gradcam_is_nothing() -> None:
    subject = small()
    maps = BUILT_IN[3].function(subject)
    cam = upsample(get_one_run_method("gradcam").function(subject.activations, subject.gradients).relu(), (16, 12))
    assert bool((cam == 0).any()) and bool((maps[cam == 0] == 0).all()) and bool((maps[cam > 0] > 0).any())


@EACH
def test_one_more_run_and_one_batched_backward_pass(
    procedure: PerturbationMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, passes = small(), []
    real = torch.autograd.grad

    def counted(*inputs: Any, **options: Any) -> Any:
        passes.append(options.get("is_grads_batched"))
        return real(*inputs, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    procedure.function(subject)
    assert (subject.runs, passes) == (1, [True])


def test_memory_is_bounded_by_the_widest_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, rows = small(classes(0, 1, 2, 3, 4)), []
    whole = BUILT_IN[1].function(subject)
    real = torch.autograd.grad

    def counted(scores: Tensor, leaves: Any, seeds: Tensor, **options: Any) -> Any:
        rows.append(len(seeds) if options["is_grads_batched"] else 1)
        return real(scores, leaves, seeds, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    widest = 3 * 16 * 12 * 8  # the image here is wider than the 6 x 8 x 6 and 8 x 4 x 3 of the layers
    for room, expected in ((2 * 4 * widest, [2, 2, 1]), (5 * 4 * widest, [5]), (1, [1] * 5)):
        rows.clear()
        monkeypatch.setattr(chunks, "CHUNK_BYTES", room)
        torch.testing.assert_close(BUILT_IN[1].function(subject), whole, rtol=1e-10, atol=1e-14)
        assert rows == expected


def test_the_widest_tensor_may_lie_inside_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with apply_relu_rule("plain") as watch:
        nn.Conv2d(3, 64, 3, padding=1)(torch.zeros(1, 3, 8, 8, requires_grad=True)).relu().mean()
    assert watch.widest == 64 * 8 * 8 * 4


def test_half_precision_gives_float32() -> None:
    net = small_net().bfloat16()
    subject = StandIn(net, "4", torch.randn(1, 3, 16, 12, dtype=torch.bfloat16), classes(0, 2))
    for procedure in BUILT_IN:
        maps = procedure.function(subject)
        assert maps.dtype == torch.float32 and bool(maps.isfinite().all())


def test_no_grid_and_other_numbers_of_channels() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    subject = StandIn(net, "1", torch.randn(1, 1, 7, 9), classes(1))
    assert make_guided_picture(subject, "gradient").shape == (1, 1, 7, 9)


def test_a_transformer_is_refused_but_for_its_gradient() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.GELU(), nn.Flatten(), nn.Linear(4 * 4 * 3, 5)).double()
    subject = StandIn(net, "1", torch.randn(1, 3, 16, 12, dtype=torch.float64), classes(0, 1))
    assert BUILT_IN[0].function(subject).shape == (2, 16, 12)
    for procedure in BUILT_IN[1:]:
        with pytest.raises(LayerError, match=r"activation is GELU.*'gradcam' or 'gradient'"):
            procedure.function(subject)


def test_an_unknown_picture_is_refused() -> None:
    with pytest.raises(InputError, match="guided-backprop, deconvnet, guided-gradcam"):
        make_guided_picture(small(), "gradcam")


def test_titles_say_where_the_method_comes_from() -> None:
    assert all(one.relu and "arXiv" in one.paper and "one more run" in one.cost for one in BUILT_IN)


# --- on the bundled models ------------------------------------------------------------------------------------------------------


def _asked(task: str) -> tuple[Any, dict[str, Any]]:
    if task == "vqa":
        return bundled.vqa(), {"question": make(0, "test").questions()[0].text, "top_k": 2}
    if task == "captioner":
        return bundled.captioner(), {}
    return bundled.classifier(), {"top_k": 3}


@pytest.mark.parametrize("task", ["classifier", "captioner", "vqa"])
def test_on_every_bundled_task(task: str) -> None:
    """All methods on one subject, through the public way; every target has its own map, which equals that of the target alone."""
    model, options = _asked(task)
    photo = make(0, "test").image()
    maps: dict[str, Maps] = {}

    def all_of_them(subject: Subject) -> Maps:
        maps.update({one.name: one.function(subject) for one in BUILT_IN})
        scores, image = subject.rerun("image", apply_relu_rule("guided"))
        maps["alone"] = torch.autograd.grad(scores[-1], image)[0].abs().amax(1)
        return maps["guided-gradcam"]

    found = vlcam.explain(model, photo, method=PerturbationMethod("all", all_of_them, "All", "none", "none"), **options)
    assert found.maps.shape == (len(found), 96, 96) and torch.equal(found.maps, maps["guided-gradcam"].to(found.maps))
    torch.testing.assert_close(maps["guided-backprop"][-1:], maps["alone"], rtol=1e-3, atol=1e-6)
    for name, some in maps.items():
        assert bool(some.isfinite().all()) and float(some.min()) >= 0, name
        if name != "alone":
            assert not torch.allclose(some[0], some[1]), name
        if not name.endswith("gradcam"):
            assert float(some.amax((1, 2)).min()) > 0, name


def test_by_name_through_the_public_way() -> None:
    model, options = _asked("classifier")
    photo = make(0, "test").image()
    plain, found = (vlcam.explain(model, photo, method=method, **options) for method in ("gradcam", "guided-gradcam"))
    assert found.method == "guided-gradcam" and found.maps.shape == (3, 96, 96) and found.relu
    assert [one.label for one in found.targets] == [one.label for one in plain.targets]
    torch.testing.assert_close(found.alpha, plain.alpha)
    shown = upsample(plain.maps.relu(), (96, 96))
    assert bool((found.maps[shown == 0] == 0).all()) and float(found.maps.max()) > 0
