"""Between a task and its model: inputs moved to where the model is, logits found in what it returns, and what they say."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError
from vlcam.engine.precision import widen


def to_model(inputs: Any, model: nn.Module) -> Any:
    """Every tensor in ``inputs`` (also inside tuples, lists and dicts) on the model's device.

    Floating tensors take the dtype of the model's first floating parameter; anything that is not a tensor stays as it is.
    """
    like = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    if like is None:
        return inputs
    if isinstance(inputs, Tensor):
        return inputs.to(like.device, like.dtype) if inputs.is_floating_point() else inputs.to(like.device)
    if isinstance(inputs, dict):
        return {key: to_model(value, model) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)) and type(inputs) in (tuple, list):
        return type(inputs)(to_model(value, model) for value in inputs)
    return inputs


def find_logits(output: Any) -> Tensor:
    """The logits in a model's output: the tensor itself, ``output.logits`` or ``output["logits"]``, or else the first item.

    Of a tuple, list or dict the first tensor with a batch counts, so a loss before the logits is passed over.
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    items = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    first = next((item for item in items if isinstance(item, Tensor) and item.ndim), None)
    if first is not None:
        return first
    raise InputError(
        f"the model returned a {type(output).__name__} in which no logits were found; "
        "give logits=..., a function (model, inputs) that returns a (1, classes) tensor"
    )


def log_probability(logits: Float[Tensor, "places vocabulary"], ids: Sequence[int]) -> Float[Tensor, " places"]:
    """``log softmax(logits[t])[ids[t]]`` in nats, whose gradient stays exact however certain the model is.

    The gradient of ``log_softmax`` at the word itself is ``1 - p``, which rounds to 0 long before ``p`` is 1, so that what is left
    of a certain word's map is its rivals' part alone. As ``-softplus(logsumexp(rivals) - z)`` nothing is lost: the map becomes
    faint, not wrong. Half precision is widened to float32.
    """
    wide = widen(logits)
    index = torch.tensor(ids, dtype=torch.long, device=wide.device)[:, None]
    own = wide.gather(1, index)[:, 0]
    # The lowest finite number, not -inf: a row in which all rivals are ruled out keeps a gradient of zero instead of NaN.
    rivals = wide.scatter(1, index, torch.finfo(wide.dtype).min).logsumexp(1)
    return -F.softplus(rivals - own)


def pick_logits(logits: Float[Tensor, "places vocabulary"], ids: Sequence[int]) -> Float[Tensor, " places"]:
    """``logits[t, ids[t]]``; half precision is widened to float32, as for log-probabilities."""
    wide = widen(logits)
    return wide[range(len(ids)), list(ids)]
