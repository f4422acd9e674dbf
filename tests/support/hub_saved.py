"""All tiny models of transformers' generative families, built once and saved where a test wants them."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tests.support import hub_captioners, hub_chat, hub_models, hub_zero_shot

BUILDERS = {**hub_models.BUILDERS, **hub_captioners.BUILDERS, **hub_chat.BUILDERS}
_ALL = {**BUILDERS, **hub_zero_shot.BUILDERS}


@lru_cache(maxsize=1)
def _made(family: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model, processor = _ALL[family]()
    return hub_models.alive(model), processor


def saved(family: str, folder: Path) -> Any:
    """The family's model, saved to the folder with its processor."""
    model, processor = _made(family)
    model.save_pretrained(folder)
    for part in processor if isinstance(processor, tuple) else (processor,):
        part.save_pretrained(folder)
    return model
