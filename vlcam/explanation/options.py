"""The options of an explanation, as given and as checked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypedDict, final

from torch import nn

from vlcam.contracts import (
    Gain,
    InputError,
    LayerError,
    Method,
    Names,
    PerturbationMethod,
    Request,
    TargetError,
    show_record,
)
from vlcam.engine.modules import describe_wrong_layer
from vlcam.explanation.targets import Label, read_contrasts, read_labels, read_labels_of_each
from vlcam.methods import get_method

Ranking: TypeAlias = Literal["contribution", "paper"]

RANKINGS: tuple[Ranking, ...] = ("contribution", "paper")


class Options(TypedDict, total=False):
    """The options of :func:`explain` and :func:`vlcam.explanation.batches.explain_batches`; see there."""

    targets: Any
    caption: str | None
    question: str | None
    contrast: Any
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
    each: tuple[tuple[Label, ...], ...] | None = None
    """The targets of every photo, where they differ; ``request.labels`` are then empty."""

    __repr__ = show_record

    def get_for(self, photo: int) -> "CheckedOptions":
        """The options for one of several photos. Raises TargetError if no targets were given for it."""
        if self.each is None:
            return self
        if photo >= len(self.each):
            raise TargetError(
                f"targets were given for {len(self.each)} photos, but there are more; expected one entry for every photo"
            )
        return self.replace_labels(self.each[photo])

    def replace_labels(self, labels: tuple[Label, ...]) -> "CheckedOptions":
        """The same options with other targets."""
        return replace(self, request=replace(self.request, labels=labels), each=None)


def check_options(
    *,
    targets: Any = (),
    caption: Any = None,
    question: Any = None,
    contrast: Any = (),
    top_k: Any = 3,
    method: Any = None,
    layer: Any = None,
    names: Names | None = None,
    ranking: Any = "contribution",
    prompt: Any = None,
    measure: Any = "log-probability",
    gain: Any = None,
    progress: Callable[[int, int], Any] | None = None,
    several: bool = False,
    photos: int | None = None,
) -> CheckedOptions:
    """The options of :func:`explain`, checked as far as that goes without the task.

    ``several`` says that they are for several photos, ``photos`` for how many, if that is known.

    Raises InputError, TargetError or LayerError.
    """
    if question is not None and not isinstance(question, str):
        raise InputError(f"question={question!r} was given; expected a string")
    if ranking not in RANKINGS:
        raise InputError(f"ranking {ranking!r} was given; expected one of {', '.join(RANKINGS)}")
    if measure not in ("log-probability", "logit"):
        raise InputError(f"measure={measure!r} was given; expected log-probability or logit")
    if gain not in (None, "blank", "blur"):
        raise InputError(f"gain={gain!r} was given; expected blank, blur or None")
    if layer is not None and not isinstance(layer, (str, nn.Module)):
        raise LayerError(describe_wrong_layer(layer))
    check_count(top_k)
    for option, text in {"caption": caption, "prompt": prompt}.items():
        if text is not None and not isinstance(text, str):
            raise InputError(f"{option}={text!r} was given; expected a string")
    method = "gradcam" if method is None else method
    if not isinstance(method, (str, Method, PerturbationMethod)):
        raise InputError(f"method={method!r} was given; expected a name from vlcam.list_methods(), or a method")
    chosen = get_method(method) if isinstance(method, str) else method
    each = read_labels_of_each(targets, photos) if several else None
    request = Request(
        labels=read_labels(targets) if each is None else (),
        caption=caption,
        question=question,
        top_k=top_k,
        contrasts=read_contrasts(contrast),
        prompt=prompt,
        measure=measure,
    )
    return CheckedOptions(request, chosen, layer, names, ranking, gain, progress, each)


def check_count(top_k: Any) -> None:
    """Raise InputError unless ``top_k`` is a whole number."""
    if isinstance(top_k, bool) or not isinstance(top_k, int):
        raise InputError(f"top_k={top_k!r} was given; expected a whole number from 1")
