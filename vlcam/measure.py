"""All the numbers of the bundled models' card, measured in one go: quality and grounding, on test scenes and on unseen pairs."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from vlcam.scenes.data import draw
from vlcam.scenes.evaluate import quality
from vlcam.scenes.grounding import grounding
from vlcam.scenes.models import SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.questions import ANSWERS
from vlcam.scenes.record import Split
from vlcam.scenes.zoo import load, new
from vlcam.tasks import bundled

MEASURED_SPLITS: tuple[Split, ...] = ("test", "unseen")


def untrained(seed: int = 0) -> tuple[SceneCaptioner, SceneVQA]:
    """A captioner and a VQA model of the same build with random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return cast(SceneCaptioner, new("captioner")), cast(SceneVQA, new("vqa"))


def measure(
    folder: Path | None = None,
    *,
    n: int = 2000,
    grounded: int = 500,
    method: str = "gradcam",
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, Any]:
    """Measure the models in ``folder`` (by default the packaged ones).

    Returns, per split: ``quality`` (see :func:`vlcam.scenes.evaluate.quality`) on ``n`` scenes and ``grounding`` on ``grounded``
    scenes: per kind of target the number scored, the mean of every column, and a 95 % bootstrap interval of the maps'.
    """
    classifier = cast(SceneClassifier, load("classifier", folder))
    captioner = cast(SceneCaptioner, load("captioner", folder))
    vqa = cast(SceneVQA, load("vqa", folder))
    blind_captioner, blind_vqa = untrained()
    total = len(MEASURED_SPLITS) * (n + grounded)
    done = 0

    def step(now: int, _: int) -> None:
        if progress is not None:
            progress(done + now, total)

    out: dict[str, Any] = {"method": method, "splits": {}}
    for split in MEASURED_SPLITS:
        with TemporaryDirectory() as scratch:
            numbers = quality(classifier, captioner, vqa, draw(Path(scratch), split, n, progress=step), split)
        done += n
        tallies = grounding(
            bundled.captioner(captioner),
            bundled.vqa(vqa),
            bundled.captioner(blind_captioner),
            bundled.vqa(blind_vqa),
            ANSWERS,
            split=split,
            n=grounded,
            method=method,
            progress=step,
        )
        done += grounded
        out["splits"][split] = {
            "scenes": n,
            "quality": numbers,
            "grounded_scenes": grounded,
            "grounding": {
                kind: {"n": len(tally.rows), **tally.means(), "interval": tally.interval()} for kind, tally in tallies.items()
            },
        }
    return out
