"""The outputs that one run left, and which of them the scores came by."""

from dataclasses import dataclass
from typing import Any
from weakref import ref

from torch import Tensor

from vlcam.engine.backward import gradients, trace_dependence
from vlcam.engine.restore import allow_autograd


@dataclass(eq=False)
class RecordedTap:
    """One output of a module: ``kept`` is what gradients are taken for, ``returned`` what the model goes on with.

    ``whole`` is the whole output, in which every tensor is a leaf, if that was asked for.
    """

    names: list[str]
    call: int
    kept: Tensor
    version: int
    returned: ref[Tensor]
    whole: Any = None


def select_leading(scores: Tensor, taps: list[RecordedTap]) -> list[RecordedTap]:
    """The taps that the scores depend on."""
    return [tap for tap, leads in zip(taps, trace_dependence(scores, [tap.kept for tap in taps]), strict=True) if leads]


def find_cuts(scores: Tensor, taps: list[RecordedTap]) -> list[RecordedTap]:
    """The taps that everything the scores take from earlier taps flows through: whole blocks, not one of their branches.

    A model that takes features from several depths has such taps only near its input, if any; then all taps are returned.
    """
    finest = 2 * taps[-1].kept.shape[-2], 2 * taps[-1].kept.shape[-1]
    for last in range(len(taps) - 1, -1, -1):
        around = trace_dependence(scores, [tap.kept for tap in taps[:last]], without=taps[last].kept)
        if not any(around) and not any(tap.kept.is_leaf for tap in taps[last + 1 :]):  # a later leaf: a second photo
            rows, columns = taps[last].kept.shape[-2:]
            return taps[: last + 1] if rows <= finest[0] and columns <= finest[1] else taps
    return taps


def skip_class_maps(scores: Tensor, taps: list[RecordedTap]) -> RecordedTap:
    """The last tap, unless its channels are the classes: a class then depends on one of them (a contrast: two)."""
    if len(taps) == 1:
        return taps[0]
    classes: int | None = None
    for tap in reversed(taps):
        channels = tap.kept.shape[1]
        if channels == classes:
            continue
        with allow_autograd():
            first = scores[..., :1] if scores.ndim else scores
        gradient = gradients(first, tap.kept)[0]
        active = int((gradient != 0).flatten(2).any(2).sum(1).max()) if len(gradient) else 0
        if not ((active == 1 < channels) or (active == 2 <= channels / 4)):
            return tap
        classes = channels
    return taps[-1]
