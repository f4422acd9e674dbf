"""The layer that a recording is about, and how its output lies on the photo: decided in one way for every caller."""

from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import LayerError
from vlcam.engine.layers import Grid
from vlcam.engine.places import Place, Trial, find_layouts
from vlcam.engine.recording import Recording


def settle_layer(
    recording: Recording,
    scores: Float[Tensor, "*batch"],
    trial: Trial,
    *,
    batch: int | None = None,
    rows: int | None = None,
) -> tuple[Tensor, Place]:
    """The leaf that ``scores`` depend on and its layout: of the layer that was named, or else of the last one that has places.

    Args:
        recording: of the run that gave the scores.
        scores: what is to be explained.
        trial: runs the model again, if the layout has to be proven; outside the recording.
        batch: how many inputs the layer must have seen, if it is to be found.
        rows: how many of them the trial runs, the first ones; by default all.

    Raises:
        LayerError: the layer has no places on the photo, or there is none that has.
        TargetError: the scores have no autograd history.
    """
    if recording.is_named:
        leaf = recording.resolve(scores)
        if leaf.ndim not in (3, 4, 5):
            return leaf, Grid()  # whose error says what it expects
        answer = find_layouts(trial, {recording.key: leaf[:rows]})[recording.key]
        if isinstance(answer, str):
            raise LayerError(
                f"layer {recording.layer_name!r} can't be read as a map: {answer}; name another layer, or say how its output lies on the "
                "photo (grid= of vlcam.attribute, layout= of a task)"
            )
        return leaf, answer
    tried: dict[tuple[str, int], str] = {}
    while True:
        try:
            leaf = recording.resolve(scores, batch=batch, skip=tried)
        except LayerError as error:
            if not tried:
                raise
            reasons = "; ".join(f"{name!r}: {why}" for (name, _), why in list(tried.items())[:4])
            raise LayerError(
                f"no layer was found that has places on the photo ({reasons}); name the layer to explain, and say how its output lies on "
                "the photo (grid= of vlcam.attribute, layout= of a task)"
            ) from error
        answer = find_layouts(trial, {recording.key: leaf[:rows]})[recording.key]
        if not isinstance(answer, str):
            return leaf, answer
        tried[recording.key] = answer
        recording.forget()
