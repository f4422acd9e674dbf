"""Gradients of many scalars at once, in backward passes that stop at one tensor."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import LayerError, TargetError
from vlcam.engine.chunks import count_targets
from vlcam.engine.restore import allow_autograd, close_batches, undo_afterwards


def gradients(
    scores: Float[Tensor, "*targets"], leaf: Float[Tensor, "*shape"], *, chunk: int | None = None
) -> Float[Tensor, "t *shape"]:
    """The gradients of T scalars with respect to the leaf, ``(T, *leaf.shape)``, in the units of the scores per unit of activation.

    The backward passes stop at the leaf, are batched, and leave the graph intact for more targets; no ``.grad`` is touched.

    Args:
        scores: ``(T,)`` scalars; or ``(B, T)``, summed over the batch, whose rows are independent in eval mode; or one scalar.
        leaf: ``Recording.leaf``, or any tensor that the scores depend on.
        chunk: how many scalars go into one backward pass; by default as many as have room (see
            :func:`vlcam.engine.chunks.count_targets`). 1 is a loop.

    Raises:
        LayerError: the scores don't depend on the leaf.
        TargetError: the scores have no autograd history at all, or their graph was freed by the caller.
    """
    if scores.ndim > 2:
        raise TargetError(f"scores of shape {tuple(scores.shape)} were given; expected (targets,) or (batch, targets)")
    check_differentiable(scores)
    count = scores.shape[-1] if scores.ndim else 1
    if chunk is None:
        chunk = count_targets(leaf.numel() * leaf.element_size())
    with allow_autograd():
        seeds = torch.eye(count, dtype=scores.dtype, device=scores.device)
        seeds = (
            seeds[0, 0]
            if scores.ndim == 0
            else seeds[:, None, :].expand(count, scores.shape[0], count)
            if scores.ndim == 2
            else seeds
        )
        seeds = seeds.reshape(count, *scores.shape)
        if count == 0:
            return leaf.new_zeros((0, *leaf.shape))
        parts = [_run_backward(scores, leaf, part) for part in seeds.split(chunk)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _run_backward(scores: Tensor, leaf: Tensor, seeds: Tensor) -> Tensor:
    if len(seeds) > 1:
        try:
            return _call_autograd(scores, leaf, seeds, batched=True)
        except (RuntimeError, NotImplementedError):
            pass  # an operation that can't be batched, or not enough memory; a real fault also shows in the loop
    return torch.stack([_call_autograd(scores, leaf, seed, batched=False) for seed in seeds])


def _call_autograd(scores: Tensor, leaf: Tensor, seed: Tensor, *, batched: bool) -> Tensor:
    try:
        with undo_afterwards() as undo:
            if batched:
                undo.note_thread(close_batches)
            (gradient,) = torch.autograd.grad(
                scores, [leaf], seed, retain_graph=True, allow_unused=True, is_grads_batched=batched
            )
    except RuntimeError as error:
        if "a second time" not in str(error):
            raise
        raise TargetError(
            "the scores' graph was freed already (by .backward(), or autograd.grad without retain_graph=True); "
            "run the model again, or take the gradients first"
        ) from error
    if gradient is None:
        raise LayerError(
            f"the scores don't depend on the layer (its output is {tuple(leaf.shape)}): it is on a side branch, or its output "
            "isn't used for this target; explain a layer that leads to it"
        )
    return gradient


def check_differentiable(scores: Tensor) -> None:
    """Raise TargetError unless ``scores`` have an autograd history."""
    if not scores.requires_grad:
        raise TargetError(
            "the scores carry no gradient: compute them from the model's output inside `with record(...)`, and not under "
            "torch.no_grad(), .detach(), .item() or argmax; and the layer has to run before them"
        )


def trace_dependence(scores: Tensor, tensors: Sequence[Tensor], *, without: Tensor | None = None) -> list[bool]:
    """For every tensor, whether ``scores`` depend on it (not by way of ``without``): a walk through the graph, no backward pass."""
    with allow_autograd():
        seen = set() if without is None else {torch.autograd.graph.get_gradient_edge(without).node}
        left = [] if scores.grad_fn is None else [scores.grad_fn]
        while left:
            node = left.pop()
            if node not in seen:
                seen.add(node)
                left += [after for after, _ in node.next_functions if after is not None]
        return [
            tensor.requires_grad
            and tensor is not without
            and torch.autograd.graph.get_gradient_edge(tensor).node in seen
            for tensor in tensors
        ]
