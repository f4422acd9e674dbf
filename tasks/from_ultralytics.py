"""Ultralytics' classifiers as tasks, known by their attributes alone: the package is never imported.

A ``YOLO`` object holds its network in ``.model``, whose ``.names`` are the classes by number. Called in eval mode the network gives
probabilities and the logits before them, or, in older versions, probabilities only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from torch import Tensor, nn

from vlcam.contracts import InputError
from vlcam.engine.outputs import find_logits
from vlcam.image.preprocess import Preprocess
from vlcam.tasks.classification import Classification, Preprocessing

SIDE: Final = 224
"""Of the photos that Ultralytics' classifiers are trained on unless told otherwise, in pixels."""


@runtime_checkable
class WrappedNetwork(Protocol):
    """An object that holds a network, and the names of its classes by number."""

    @property
    def model(self) -> nn.Module: ...  # noqa: D102
    @property
    def names(self) -> Mapping[int, str]: ...  # noqa: D102


def find_network(model: Any) -> nn.Module | None:
    """The network with ``.names`` in an object of Ultralytics, or None if the object isn't one.

    A network has a ``.model`` as well, its layers in a row; what has the names is what is called.
    """
    inner = getattr(model, "model", None)
    if not isinstance(inner, nn.Module) or not isinstance(getattr(model, "names", None), Mapping):
        return None
    if isinstance(getattr(inner, "names", None), Mapping):
        return inner
    return model if isinstance(model, nn.Module) else inner


def wrap_ultralytics(
    model: Any,
    name: str,
    *,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
) -> Classification:
    """A classifier of Ultralytics in memory as a task.

    Args:
        model: a ``YOLO`` object, or the network in it.
        name: what to call it.
        labels: the class names; by default the model's own ``names``.
        preprocess: by default Ultralytics' own: the shorter side resized to the ``imgsz`` of the model's settings, the middle cut out, and
            values of 0..1.

    Raises:
        InputError: it isn't a classifier, or its names aren't numbered from 0.
    """
    network = find_network(model)
    if network is None:
        raise InputError(f"a {name} was given; expected an object with a network in .model and class names in .names")
    kind = next((one for one in (getattr(each, "task", None) for each in (model, network)) if isinstance(one, str)), "")
    if kind not in ("", "classify"):
        raise InputError(
            f"the {name} given is a model for {kind!r}, not for classification; name numbers of its output as targets with "
            "vlcam.tasks.custom.Custom(yolo.model, targets={...}, preprocess=...)"
        )
    names: Mapping[Any, Any] = getattr(network, "names", None) or model.names
    if labels is None:
        if set(names) != set(range(len(names))):
            raise InputError(
                f"the names of the {name} have the keys {sorted(map(str, names))[:5]}; expected 0, 1, 2, ..."
            )
        labels = tuple(str(names[number]) for number in range(len(names)))
    side = _find_side(model, network)
    own = Preprocess(side, mode="crop", resize_shorter=side, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Classification(
        network,
        labels=tuple(labels),
        preprocess=preprocess or own,
        logits=pick_logits_before_softmax,
        name=name,
    )


def pick_logits_before_softmax(model: Any, inputs: Any) -> Tensor:
    """The logits of a pair of probabilities and logits; of a single output that output, which may be probabilities."""
    output = model(inputs)
    if isinstance(output, (tuple, list)) and len(output) == 2:
        likely, logits = output
        if isinstance(likely, Tensor) and isinstance(logits, Tensor) and likely.shape == logits.shape:
            return logits
    return find_logits(output)


def _find_side(model: Any, network: nn.Module) -> int:
    """The ``imgsz`` that the model was trained with, from whichever of its settings has it."""
    settings = [getattr(network, "args", None), getattr(model, "overrides", None), getattr(model, "args", None)]
    for one in settings:
        side = one.get("imgsz") if isinstance(one, Mapping) else getattr(one, "imgsz", None)
        side = side[0] if isinstance(side, (list, tuple)) and side else side
        if isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 4096:
            return side
    return SIDE
