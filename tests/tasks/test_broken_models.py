"""Models of transformers whose settings were changed at random: each is loaded, or refused with an error of vlcam's own."""

import random
from pathlib import Path
from typing import Any

import pytest

import vlcam
from tests.support.broken_files import change_json
from vlcam.contracts import VlcamError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny vision transformer, as ``save_pretrained`` leaves it."""
    import transformers

    found: Any = tmp_path_factory.mktemp("vit")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label={0: "a", 1: "b", 2: "c"},
        label2id={"a": 0, "b": 1, "c": 2},
    )
    transformers.ViTForImageClassification(config).save_pretrained(found)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(found)
    return Path(found)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("many", [25, pytest.param(300, marks=pytest.mark.extended)])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_broken_settings_are_refused(name: str, many: int, folder: Path) -> None:
    assert len(vlcam.load(str(folder)).labels) == 3  # type: ignore[attr-defined]
    good, refused = (folder / name).read_bytes(), 0
    try:
        for number in range(many):
            (folder / name).write_bytes(change_json(good, random.Random(number)))
            try:
                vlcam.explain(vlcam.load(str(folder)), vlcam.scenes.make(1).image(32))
            except VlcamError:
                refused += 1
    finally:
        (folder / name).write_bytes(good)
    assert refused
