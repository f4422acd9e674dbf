"""All the numbers of the bundled models' card: quality and grounding, on test scenes and on unseen pairs."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from vlcam.benchmark.grounding import play_pointing_game
from vlcam.engine.draws import PrivateDraws
from vlcam.scenes.models.data import draw
from vlcam.scenes.models.nets import SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.models.quality import evaluate_models
from vlcam.scenes.models.zoo import create_model, get_weights_folder, load, read_checksums
from vlcam.scenes.questions import ANSWERS
from vlcam.scenes.record import Split
from vlcam.tasks import bundled

MEASURED_SPLITS: tuple[Split, ...] = ("test", "unseen")
CHECK_SCENES = 60
Progress = Callable[[int, int], Any]


def make_untrained_models(seed: int = 0) -> tuple[SceneCaptioner, SceneVQA]:
    """A captioner and a VQA model of the same build with random weights, the same for the same seed."""
    with PrivateDraws(seed):
        return cast(SceneCaptioner, create_model("captioner")), cast(SceneVQA, create_model("vqa"))


def measure_quality(
    split: Split, n: int, *, folder: Path | None = None, progress: Progress | None = None
) -> dict[str, float]:
    """Quality of the models in ``folder`` (by default the packaged ones) on scenes ``0..n-1`` of a split."""
    classifier = cast(SceneClassifier, load("classifier", folder))
    captioner = cast(SceneCaptioner, load("captioner", folder))
    vqa = cast(SceneVQA, load("vqa", folder))
    with TemporaryDirectory() as scratch:
        return evaluate_models(classifier, captioner, vqa, draw(Path(scratch), split, n, progress=progress), split)


def measure_grounding(
    split: Split, n: int, *, folder: Path | None = None, method: str = "gradcam", progress: Progress | None = None
) -> dict[str, dict[str, Any]]:
    """The pointing game on scenes ``0..n-1``: per kind of target its number, every column's mean, and the maps' 95 % interval."""
    blind_captioner, blind_vqa = make_untrained_models()
    tallies = play_pointing_game(
        bundled.captioner(load("captioner", folder)),
        bundled.vqa(load("vqa", folder)),
        bundled.captioner(blind_captioner),
        bundled.vqa(blind_vqa),
        ANSWERS,
        split=split,
        n=n,
        method=method,
        progress=progress,
    )
    return {
        kind: {"n": len(tally.rows), **tally.compute_means(), "interval": tally.compute_interval()}
        for kind, tally in tallies.items()
    }


def measure(
    folder: Path | None = None,
    *,
    n: int = 2000,
    grounded: int = 500,
    method: str = "gradcam",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Everything on the card: per split ``quality`` on ``n`` scenes and ``grounding`` on ``grounded`` scenes.

    ``weights_sha256`` says which weights were measured. ``grounding_check`` is the pointing game on the first few test scenes, for a quick
    test that the weights still give it.
    """
    check = min(CHECK_SCENES, grounded)
    total = len(MEASURED_SPLITS) * (n + grounded) + check
    done = 0

    def step(now: int, _: int) -> None:
        if progress is not None:
            progress(done + now, total)

    out: dict[str, Any] = {"method": method, "splits": {}}
    for split in MEASURED_SPLITS:
        numbers = measure_quality(split, n, folder=folder, progress=step)
        done += n
        rows = measure_grounding(split, grounded, folder=folder, method=method, progress=step) if grounded else {}
        done += grounded
        out["splits"][split] = {"scenes": n, "quality": numbers, "grounded_scenes": grounded, "grounding": rows}
    if check:
        rows = measure_grounding("test", check, folder=folder, method=method, progress=step)
        out["grounding_check"] = {"scenes": check, "rows": rows}
    out["weights_sha256"] = read_checksums(get_weights_folder() if folder is None else folder)
    return out
