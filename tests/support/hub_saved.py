"""All tiny models of transformers' generative families: each is built once in a run of the tests, and copied where a test wants it."""

import shutil
from pathlib import Path
from typing import Any

import torch

from tests.support import hub_captioners, hub_chat, hub_matching, hub_models, hub_zero_shot
from tests.support.stored import made_once

BUILDERS = {**hub_models.BUILDERS, **hub_captioners.BUILDERS, **hub_chat.BUILDERS}
_ALL = {
    **BUILDERS,
    **hub_zero_shot.BUILDERS,
    **{f"{name} that matches": build for name, build in hub_matching.BUILDERS.items()},
}


def built(family: str) -> tuple[Any, Any]:
    """The family's model and its processor (or parts of one), made anew."""
    torch.manual_seed(0)
    model, processor = _ALL[family]()
    return hub_models.alive(model), processor


def saved(family: str, folder: Path) -> None:
    """The family's model and processor in a folder of the test's own, as ``save_pretrained`` leaves them."""

    def save(scratch: Path) -> None:
        model, processor = built(family)
        model.save_pretrained(scratch)
        for part in processor if isinstance(processor, tuple) else (processor,):
            part.save_pretrained(scratch)

    shutil.copytree(made_once(family, save), folder, dirs_exist_ok=True)
