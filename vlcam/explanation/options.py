"""The options of an explanation, as given and as checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Literal, TypeAlias, TypedDict, final

import numpy as np
from torch import Tensor, nn

from vlcam.contracts import Gain, InputError, Method, Names, PerturbationMethod, Request, TargetError, show_record
from vlcam.methods import get_method

Ranking: TypeAlias = Literal["contribution", "paper"]

RANKINGS: tuple[Ranking, ...] = ("contribution", "paper")


class Options(TypedDict, total=False):
    """The options of :func:`explain` and :func:`vlcam.explanation.batches.explain_batches`; see there."""

    targets: Any
    caption: str | None
    question: str | None
    contrast: Sequence[tuple[str, str]] | tuple[str, str]
    top_k: int
    method: str | Method | PerturbationMethod | None
    layer: str | nn.Module | None
    names: Names | None
    ranking: Ranking
    prompt: str | None
    measure: Literal["log-probability", "logit"]
    gain: Gain | None


@final
@dataclass(frozen=True)
class CheckedOptions:
    """The options of :func:`explain`, checked."""

    request: Request
    method: Method | PerturbationMethod
    layer: str | nn.Module | None
    names: Names | None
    ranking: Ranking
    gain: Gain | None
    progress: Callable[[int, int], Any] | None = None

    __repr__ = show_record


def check_options(
    *,
    targets: Any = (),
    caption: str | None = None,
    question: Any = None,
    contrast: Any = (),
    top_k: int = 3,
    method: str | Method | PerturbationMethod | None = None,
    layer: str | nn.Module | None = None,
    names: Names | None = None,
    ranking: Any = "contribution",
    prompt: str | None = None,
    measure: Any = "log-probability",
    gain: Any = None,
    progress: Callable[[int, int], Any] | None = None,
) -> CheckedOptions:
    """The options of :func:`explain`, checked as far as that goes without the task. Raises InputError or TargetError."""
    if question is not None and not isinstance(question, str):
        raise InputError(f"question={question!r} was given; expected a string")
    if ranking not in RANKINGS:
        raise InputError(f"ranking {ranking!r} was given; expected one of {', '.join(RANKINGS)}")
    if measure not in ("log-probability", "logit"):
        raise InputError(f"measure={measure!r} was given; expected log-probability or logit")
    if gain not in (None, "blank", "blur"):
        raise InputError(f"gain={gain!r} was given; expected blank, blur or None")
    chosen = (
        method
        if isinstance(method, (Method, PerturbationMethod))
        else get_method("gradcam" if method is None else method)
    )
    request = Request(
        labels=_read_labels(targets),
        caption=caption,
        question=question,
        top_k=top_k,
        contrasts=_read_pairs(contrast),
        prompt=prompt,
        measure=measure,
    )
    return CheckedOptions(request, chosen, layer, names, ranking, gain, progress)


def _read_labels(targets: Any) -> tuple[str | int, ...]:
    """Classes or answers, one or several, as a tuple."""
    if targets is None:
        return ()
    given = targets.tolist() if isinstance(targets, (Tensor, np.ndarray)) else targets
    several = [given] if isinstance(given, str) or hasattr(given, "__index__") else given
    try:
        return tuple(one if isinstance(one, str) else index(one) for one in several)
    except TypeError as error:
        raise TargetError(f"targets={targets!r} was given; expected labels or whole numbers") from error


def _read_pairs(contrast: Any) -> tuple[tuple[str, str], ...]:
    """Contrasts as pairs; a single pair may stand on its own."""
    pairs = [contrast] if len(contrast) == 2 and all(isinstance(one, str) for one in contrast) else contrast
    if any(isinstance(pair, str) or len(pair) != 2 for pair in pairs):
        raise InputError(f"contrast={contrast!r} was given; expected pairs (this, rather than that)")
    return tuple((this, that) for this, that in pairs)
