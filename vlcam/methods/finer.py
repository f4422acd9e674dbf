"""Finer-CAM: what tells a class from those that are most like it.

Zhang et al. 2025 (arXiv 2501.11309) take Grad-CAM's gradient not of the class's score but of its lead over the most similar classes,
those whose scores are closest: ``sum_d p_d (y - a y_d) / sum_d p_d`` over three classes d with probabilities p_d and a = 1.
"""

import torch

from vlcam.contracts import InputError, PerturbationMethod
from vlcam.engine.precision import widen
from vlcam.engine.recording import gradients
from vlcam.engine.restore import allow_autograd
from vlcam.methods.head import FoundMaps, HeadSubject

RIVALS = 3
"""How many similar classes a class is compared with, as in the paper."""


def make_finercam(rivals: int = RIVALS, strength: float = 1.0) -> PerturbationMethod:
    """Finer-CAM of classes and of answers from a list.

    Args:
        rivals: how many of the most similar classes are taken.
        strength: the paper's a, how much of their scores is subtracted; at 0 the map is Grad-CAM's.

    Raises:
        InputError: no rivals are asked for; and when maps are made, a target isn't a class, or there is no other class.
    """
    if isinstance(rivals, bool) or rivals < 1:
        raise InputError(f"rivals={rivals} was given; expected a whole number from 1")

    def function(subject: HeadSubject) -> FoundMaps:
        return compare_classes(subject, rivals, strength)

    return PerturbationMethod(
        "finer-cam",
        function,
        "Finer-CAM",
        "Zhang et al. 2025, arXiv 2501.11309",
        "Grad-CAM of sum_d p_d (y - y_d) / sum_d p_d, d the 3 classes with the closest scores",
        cost="one run, and one more of what follows the layer",
    )


def compare_classes(subject: HeadSubject, rivals: int, strength: float) -> FoundMaps:
    """The signed maps ``(T, h, w)`` of :func:`make_finercam`."""
    wrong = next(
        (one for one in subject.targets if one.kind not in ("class", "answer") or len(one.token_ids) != 1), None
    )
    if wrong is not None:
        raise InputError(
            f"Finer-CAM compares a class with other classes, but the target {wrong.label!r} is "
            f"{'a ' + wrong.kind if wrong.kind != 'answer' else 'an answer in words'}; use the method 'gradcam' instead"
        )
    with subject.open_head() as head, allow_autograd():
        scores, numbers, leaf = head.differentiate_classes()
        if len(numbers) < 2:
            raise InputError("Finer-CAM compares a class with other classes, and this model has only one")
        plain, likely = scores.detach(), scores.detach().softmax(0)
        leads = []
        for target in subject.targets:
            own = numbers.index(target.token_ids[0])
            order = (plain - plain[own]).abs().argsort(stable=True).tolist()
            others = torch.tensor([one for one in order if one != own][:rivals], device=scores.device)
            weights = likely[others] + torch.finfo(likely.dtype).tiny
            leads.append((weights * (scores[own] - strength * scores[others])).sum() / weights.sum())
        slopes = widen(gradients(torch.stack(leads), leaf)[:, 0])
    alpha, activations = slopes.mean((2, 3)), widen(head.activations)[0]
    maps = torch.einsum("tk,kij->tij", alpha, activations)
    return FoundMaps(subject.place(maps), alpha=alpha, contributions=alpha * activations.sum((1, 2)))


BUILT_IN = (make_finercam(),)
