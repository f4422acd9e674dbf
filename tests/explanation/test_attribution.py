"""attribute and maps_from: batches, targets and their errors, one forward, and the model left as it was."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import Captioner, Cnn, Lambda, SideBranch, Twice, lively, snapshot
from vlcam.contracts import InputError, LayerError, TargetError
from vlcam.engine.layers import Grid
from vlcam.engine.recording import record
from vlcam.explanation.attribution import attribute
from vlcam.explanation.evidence import make_layer_maps
from vlcam.methods import get_one_run_method, list_methods

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}


def cnn() -> Cnn:
    return lively(Cnn())


def photo(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 12, 16, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", list_methods("one-run"))
def test_a_batch_equals_its_images_one_by_one(name: str) -> None:  # peers 8.3 #35, #36
    model, targets = cnn(), [[0, 3], [4, 4], [1, 0]]
    together = attribute(model, photo(3), targets=targets, method=name)
    assert model.forwards == 1 and together.layer == "block" and together.method == name
    assert together.maps.shape == (3, 2, 6, 8) and together.alpha.shape == together.contributions.shape == (3, 2, 12)
    for row, pair in enumerate(targets):
        for column, target in enumerate(pair):
            alone = attribute(model, photo(3)[row : row + 1], targets=target, method=name)
            for field in ("maps", "alpha", "contributions", "scores"):
                torch.testing.assert_close(getattr(together, field)[row, column], getattr(alone, field)[0, 0], **CLOSE)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_grad_mode_does_not_matter(mode: Any) -> None:  # peers 8.1 #3, #4
    model = cnn()
    expected = attribute(model, photo(), targets=[[0, 1], [2, 3]]).maps
    with mode():
        found = attribute(model, photo(), targets=[[0, 1], [2, 3]])
    assert found.maps.equal(expected) and not found.maps.is_inference() and not found.alpha.is_inference()


def test_permuting_the_batch_permutes_the_maps() -> None:
    model, order = cnn(), torch.tensor([2, 0, 1])
    maps = attribute(model, photo(3), targets=1).maps
    torch.testing.assert_close(attribute(model, photo(3)[order], targets=1).maps, maps[order], **CLOSE)


@pytest.mark.parametrize("name", list_methods("one-run"))
def test_the_default_is_every_rows_top_class(name: str) -> None:  # peers 8.3 #37
    model = cnn()
    found = attribute(model, photo(4), method=name)
    top = model.eval()(photo(4)).argmax(1)
    assert found.targets == tuple((int(index),) for index in top)
    torch.testing.assert_close(found.maps, attribute(model, photo(4), targets=top, method=name).maps)


def test_targets_in_all_their_forms() -> None:
    model = cnn()
    targets: Any
    both = attribute(model, photo(), targets=[[1, 2], [1, 2]])
    for targets in (
        torch.tensor([[1, 2], [1, 2]]),
        [lambda out: out[:, 1], lambda out: out[:, 2]],
        lambda out: out[:, 1:3],
    ):
        torch.testing.assert_close(attribute(model, photo(), targets=targets).maps, both.maps)
    for targets in (
        1,
        (1,),
        [1, 1],
        [(1,), (1,)],
        torch.tensor([1, 1]),
        lambda out: out[:, 1],
        lambda out: out[:, 1].sum(),
    ):
        torch.testing.assert_close(attribute(model, photo(), targets=targets).maps, both.maps[:, :1])
    one = attribute(model, photo(1), targets=lambda out: out[0, 1:3])
    torch.testing.assert_close(one.maps, both.maps[:1], **CLOSE)
    assert one.targets == (("<lambda>[0]", "<lambda>[1]"),)


def test_outputs_with_steps_and_words() -> None:  # peers 8.3 #38, #39; 8.5 #64
    model, words = Captioner(), torch.arange(8).reshape(2, 4)
    found = attribute(
        model,
        photo()[..., :12].repeat(1, 1, 2, 2)[..., :16, :16],
        words=words,
        targets=[[(1, 3), (2, 5)], [(0, 3), (2, 5)]],
    )
    assert found.maps.shape == (2, 2, 4, 4) and found.targets[1] == ((0, 3), (2, 5)) and found.layer == "encoder"
    assert not found.alpha[:, 0].equal(found.alpha[:, 1])
    with pytest.raises(
        TargetError, match=r"output is \(2, 3, 20\)|output is \(2, 4, 20\), not \(batch, classes\): give targets="
    ):
        attribute(model, torch.randn(2, 3, 16, 16), words)
    with pytest.raises(
        TargetError, match=r"target 3 was given, but the output for one input is \(4, 20\): expected 2 indices"
    ):
        attribute(model, torch.randn(2, 3, 16, 16), words, targets=3)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1], "1 targets were given for a batch of 2; expected one for every input"),  # peers 8.3 #32
        ([1, 2, 3], "3 targets were given for a batch of 2"),  # peers 8.3 #33
        (torch.tensor([1]), "1 targets were given for a batch of 2"),
        (5, r"target 5 was given, but the output for one input is \(5,\): expected 0 to 4"),  # peers 8.3 #34
        (-1, "target -1 was given, .*: expected 0 to 4"),
        ([[1, 2], [3]], "every input needs equally many targets; got 2, 1"),
        ([[], []], "no targets were given"),
        ("cat", "target 'cat' was given; expected a class index, a tuple of indices, or a function"),
        (True, "target True was given; expected a class index"),
        (torch.tensor([1.0, 2.0]), r"targets of torch.float32 \(2,\) were given; expected class indices"),
        (lambda out: out[:1, 0], r"target function 0 returned \(1,\) for a batch of 2; expected \(batch,\)"),
        (lambda out: 3, r"target function 0 returned int; expected a tensor"),
        (lambda out: out.detach()[:, 0], "the scores carry no gradient"),
    ],
)
def test_targets_that_do_not_fit(targets: Any, message: str) -> None:
    model = cnn()
    before = snapshot(model)
    with pytest.raises(TargetError, match=message):
        attribute(model, photo(), targets=targets)
    assert snapshot(model) == before


def test_signed_maps_and_the_relu() -> None:  # peers 8.4 #46, #51
    model = cnn()
    signed, maps = (attribute(model, photo(), targets=0, signed=signed).maps for signed in (True, False))
    assert (signed < 0).any() and maps.equal(signed.relu())
    against = attribute(model, photo(), targets=0, method="counterfactual", signed=True).maps
    assert against.equal(-signed)


def test_the_raw_scale_follows_the_target() -> None:  # peers 8.4 #47
    model = cnn()
    maps = [attribute(model, photo(), targets=lambda out, k=k: k * out[:, 0]).maps for k in (1, 0.001)]
    torch.testing.assert_close(maps[1], 0.001 * maps[0])


def test_a_nan_stays_in_its_own_map() -> None:  # peers 8.4 #44
    model, pixels = cnn(), photo()
    clean = attribute(model, pixels, targets=0).maps
    pixels[1, 0, 0, 0] = float("nan")
    maps = attribute(model, pixels, targets=0).maps
    assert maps[1].isnan().any() and maps[0].equal(clean[0])


def test_a_layer_by_name_by_module_and_a_wrong_one() -> None:
    model = cnn()
    assert attribute(model, photo(), layer=model.block).maps.equal(attribute(model, photo(), layer="block").maps)
    with pytest.raises(LayerError, match=r"no layer 'block.2'; the closest names, .*, are block.1 \(2, 12, 6, 8\)"):
        attribute(model, photo(), layer="block.2")
    with pytest.raises(LayerError, match=r"output is \(2, 5\), not BCHW"):
        attribute(model, photo(), layer="fc")
    with pytest.raises(InputError, match="no method 'gradcm'; did you mean gradcam"):
        attribute(model, photo(), method="gradcm")


def test_a_remembered_layer_that_does_not_fit_is_looked_for_again() -> None:
    model = SideBranch()
    layers = [
        attribute(model, photo(), targets=lambda out, key=key: out[key][:, 0]).layer
        for key in ("logits", "aux", "logits")
    ]
    assert layers == ["main", "side", "main"]


def test_tokens_with_a_grid() -> None:  # peers 8.5 #62
    def forward(self: Any, pixels: Tensor) -> Any:
        tokens = self.patch(pixels).flatten(2).transpose(1, 2)
        return self.fc(self.norm(torch.cat([tokens.mean(1, keepdim=True), tokens], 1)).tanh().mean(1))

    model = Lambda(forward, patch=nn.Conv2d(3, 6, 4, 4), norm=nn.LayerNorm(6), fc=nn.Linear(6, 5))
    found = attribute(
        model, photo(), layer="norm", grid=Grid("BNC", rows=3, columns=4, prefix=1), targets=[[0, 1], [2, 3]]
    )
    assert found.maps.shape == (2, 2, 3, 4) and found.alpha.shape == (2, 2, 6)


def test_a_layer_that_runs_twice() -> None:
    maps = [attribute(Twice(), photo(), layer="conv", call=call, targets=0).maps for call in (0, 1)]
    assert not maps[0].equal(maps[1])
    with pytest.raises(LayerError, match="'conv' ran 2 times"):
        attribute(Twice(), photo(), layer="conv")


def test_a_layer_that_sees_another_batch() -> None:
    model = Lambda(
        lambda self, x: self.fc(self.conv(x).mean((2, 3)).unflatten(0, (2, 2)).mean(1)),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(4, 5),
    )
    with pytest.raises(LayerError, match="layer 'conv' ran on a batch of 4, but there are scores for 2 inputs"):
        attribute(model, photo(4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_and_device(dtype: torch.dtype) -> None:  # peers 8.4 #42, #43; 8.7 #75
    model = cnn()
    expected = attribute(model, photo(), targets=1, signed=True).maps
    found = attribute(model.to(dtype), photo().to(dtype), targets=1, signed=True)
    assert found.maps.dtype == found.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.maps.device == next(model.parameters()).device
    assert torch.cosine_similarity(found.maps.flatten().float(), expected.flatten(), 0) > 0.98


@pytest.mark.parametrize("name", list_methods("one-run"))
def test_maps_of_one_photo_equal_those_of_the_batch_path(name: str) -> None:  # peers 8.7 #81
    model = cnn()
    with torch.no_grad(), record(model) as recording:
        scores = model(photo(1))[0]
    found = make_layer_maps(scores, recording, get_one_run_method(name))
    expected = attribute(model, photo(1), targets=[list(range(5))], method=name, signed=True)
    assert model.forwards == 2 and found.layer == expected.layer == "block"
    torch.testing.assert_close(found.maps, expected.maps[0], **CLOSE)
    torch.testing.assert_close(found.alpha, expected.alpha[0], **CLOSE)
    torch.testing.assert_close(found.contributions, expected.contributions[0], **CLOSE)
    assert found.activity.equal(recording.activations.amax((2, 3))[0])
    assert not any(value.requires_grad for value in (found.maps, found.alpha, found.contributions, found.activity))


def test_maps_of_one_photo_need_a_batch_of_one() -> None:
    model = cnn()
    with record(model) as recording:
        scores = model(photo())[0]
    with pytest.raises(LayerError, match="layer 'block' ran on a batch of 2, but one photo is explained at a time"):
        make_layer_maps(scores, recording, get_one_run_method("gradcam"))


def test_no_model_or_image_library_is_imported() -> None:  # peers 8.7 #83
    import subprocess
    import sys

    names = "{'matplotlib', 'sklearn', 'scipy', 'cv2', 'torchvision', 'transformers'}"
    code = f"import sys, vlcam.explanation.attribution; print(sorted({names} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
