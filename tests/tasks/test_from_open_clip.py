"""open_clip's models: their own logits, preprocessing and texts, on small models with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlcam
from tests.tasks.test_load import photo
from vlcam.tasks.from_open_clip import embed_photo, make_preprocess
from vlcam.tasks.similarity import Similarity

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]

TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
    "pooled": {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "pool_type": "avg"},
}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
TEXTS = ["a red star", "a dog on a sofa", "two boats"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Architectures of our own that open_clip knows from now on, and a checkpoint of each; one judges every text on its own."""
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    folder, found = tmp_path_factory.mktemp("open_clip"), {}
    for kind, vision in {**TOWERS, "sigmoid": TOWERS["vit"]}.items():
        config: dict[str, Any] = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}
        if kind == "sigmoid":
            config |= {"init_logit_bias": -2.0, "custom_text": True}
        place = folder / f"tiny-{kind}.json"
        place.write_text(json.dumps(config))
        open_clip.add_model_config(place)
        torch.manual_seed(1)
        model = open_clip.create_model(place.stem)
        for parameter in model.parameters():
            if parameter.ndim > 1 and float(parameter.detach().abs().max()) == 0:
                torch.nn.init.normal_(parameter, std=0.1)
        found[kind] = folder / f"{kind}.safetensors"
        save_file(model.state_dict(), found[kind])
    return found


@pytest.mark.parametrize("kind", [*TOWERS, "sigmoid"])
def test_scores_and_probabilities_are_open_clips_own(kind: str, checkpoints: dict[str, Path]) -> None:
    import open_clip

    task = vlcam.load(f"open_clip/tiny-{kind}:{checkpoints[kind]}", labels=TEXTS)
    found = vlcam.explain(task, photo(), targets=TEXTS, method="gradcam")
    model, _, prepare = open_clip.create_model_and_transforms(f"tiny-{kind}")
    open_clip.load_checkpoint(model, str(checkpoints[kind]))
    with torch.no_grad():
        seen = model.eval().encode_image(prepare(photo())[None], normalize=True)
        read = model.encode_text(open_clip.get_tokenizer(f"tiny-{kind}")(TEXTS), normalize=True)
        logits = (model.logit_scale.exp() * seen @ read.T)[0]
        logits = logits if model.logit_bias is None else logits + model.logit_bias
    likely = logits.sigmoid() if kind == "sigmoid" else logits.softmax(0)
    assert [target.score for target in found.targets] == pytest.approx(logits.tolist(), abs=2e-4)
    assert [target.probability for target in found.targets] == pytest.approx(likely.tolist(), abs=2e-4)
    assert found.maps.shape[1:] == ((2, 2) if kind == "resnet" else (4, 4))
    assert found.layer.startswith("visual.") and any(view.flag == "ok" for view in found)
    assert task.name == f"open_clip/tiny-{kind}:{checkpoints[kind]}"


def test_a_contrast_and_texts_without_labels(checkpoints: dict[str, Path]) -> None:
    task = vlcam.load(f"open_clip/tiny-vit:{checkpoints['vit']}")
    found = vlcam.explain(task, photo(), contrast=[(TEXTS[0], TEXTS[1])], targets=TEXTS[:1])
    assert found.targets[-1].kind == "contrast" and found.targets[0].measure == "similarity"
    with pytest.raises(vlcam.InputError, match="has no classes of its own"):
        vlcam.explain(task, photo())
    with pytest.raises(vlcam.InputError, match=r"has \d+ tokens, but the model reads at most 16: shorten it"):
        vlcam.explain(
            task,
            photo(),
            targets="one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
        )


def test_similarity_to_reference_photos(checkpoints: dict[str, Path]) -> None:
    task: Any = vlcam.load(f"open_clip/tiny-resnet:{checkpoints['resnet']}")
    other = Image.fromarray(np.random.default_rng(5).integers(0, 256, (50, 70, 3), np.uint8))
    similar = Similarity(task.model, {"other": other}, task.preprocess, embed=embed_photo, layer=task.layer)
    found = vlcam.explain(similar, photo(), method="gradcam")
    assert -1 <= found.targets[0].score <= 1 and bool(found.maps.any())


def test_a_model_in_memory_needs_its_tokenizer(checkpoints: dict[str, Path]) -> None:
    import open_clip

    model = open_clip.create_model("tiny-vit", pretrained=str(checkpoints["vit"]))
    task = vlcam.load(model, processor=open_clip.get_tokenizer("tiny-vit"), labels=TEXTS)
    by_name = vlcam.load(f"open_clip/tiny-vit:{checkpoints['vit']}", labels=TEXTS)
    one, other = (vlcam.explain(each, photo(), method="gradcam") for each in (task, by_name))
    torch.testing.assert_close(one.maps, other.maps)
    with pytest.raises(vlcam.InputError, match="without its tokenizer; give processor="):
        vlcam.load(model)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(90, 60), (41, 77)])
def test_photos_are_prepared_as_open_clip_does(mode: str, size: tuple[int, int]) -> None:
    pytest.importorskip("open_clip")
    from open_clip.transform import PreprocessCfg, image_transform_v2

    own = PreprocessCfg(size=48, resize_mode=mode, interpolation="bicubic", fill_color=127)
    mine, _ = make_preprocess({**own.__dict__})(photo(*size))
    theirs = image_transform_v2(own, is_train=False)(photo(*size))[None]
    away = (mine - theirs).abs()
    assert float(away.max()) < (1e-5 if mode != "longest" else 0.6) and float(away.mean()) < 0.05


def test_what_open_clip_does_not_have_is_said(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(vlcam.InputError, match=r"open_clip has no model 'ViT-B-33'; the nearest it has: .*ViT-B-32"):
        vlcam.load("open_clip/ViT-B-33:openai")
    with pytest.raises(vlcam.InputError, match=r"ViT-B-32 has no weights 'opena'; its tags are openai, "):
        vlcam.load("open_clip/ViT-B-32:opena")
    with pytest.raises(vlcam.InputError, match="has no published weights; give the path"):
        vlcam.load("open_clip/tiny-vit")
    with pytest.raises(vlcam.InputError, match=r"there is no file 'no\.safetensors'"):
        vlcam.load("open_clip/tiny-vit:no.safetensors")
    with pytest.raises(vlcam.InputError, match="doesn't fit open_clip/tiny-vit"):
        vlcam.load(f"open_clip/tiny-vit:{checkpoints['resnet']}")
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(vlcam.InputError, match="can't be read as a state dict"):
        vlcam.load(f"open_clip/tiny-vit:{tmp_path / 'broken.safetensors'}")
    with pytest.raises(vlcam.InputError, match=r"takes no weights="):
        vlcam.load("open_clip/ViT-B-32:openai", weights="openai")


def test_weights_that_are_not_here_are_named_with_the_way_to_fetch_them() -> None:
    pytest.importorskip("open_clip")
    wanted = "the weights of open_clip/RN50:openai are not on this machine and can't be downloaded"
    with pytest.raises(vlcam.InputError, match=wanted) as caught:
        vlcam.load("open_clip/RN50:openai")
    assert "open_clip.create_model('RN50', 'openai')" in str(caught.value)
