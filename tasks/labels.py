"""Finding classes and answers by name: exact, or an error that names the nearest ones."""

from collections.abc import Sequence
from difflib import get_close_matches

from torch import Tensor

from vlcam.contracts import Measure, Request, Target, TargetError

_PLURALS = {"class": "classes"}


def list_nearest(name: str, known: Sequence[str], n: int = 3) -> str:
    """The ``n`` known names most like ``name``, as a readable list."""
    near = get_close_matches(name.lower(), [one.lower() for one in known], n=n, cutoff=0.3)
    original = {one.lower(): one for one in known}
    return ", ".join(repr(original[one]) for one in near) or ", ".join(repr(one) for one in known[:n])


def find_position(wanted: str | int, labels: Sequence[str], what: str) -> int:
    """Where ``wanted`` (a label or an index) stands in ``labels``; ``what`` is "class" or "answer", for the error."""
    if isinstance(wanted, int):
        if not 0 <= wanted < len(labels):
            raise TargetError(
                f"{what} {wanted} was asked for; the model has {len(labels)}, numbered from 0 to {len(labels) - 1}"
            )
        return wanted
    found = [index for index, label in enumerate(labels) if label == wanted]
    if not found:
        found = [index for index, label in enumerate(labels) if label.lower() == wanted.strip().lower()]
    if not found:
        raise TargetError(f"the model has no {what} {wanted!r}; the nearest it has: {list_nearest(wanted, labels)}")
    if len(found) > 1:
        raise TargetError(
            f"{len(found)} {_PLURALS.get(what, what + 's')} are called {wanted!r}; give a number instead, one of {found}"
        )
    return found[0]


def choose(
    logits: Tensor,
    probabilities: Tensor | None,
    labels: Sequence[str],
    wanted: Sequence[str | int],
    top_k: int,
    what: str,
    measure: Measure = "logit",
) -> list[tuple[int, Target]]:
    """The wanted labels, or else the ``top_k`` with the highest logits, each with its index and its target record.

    ``logits`` and ``probabilities`` are ``(labels,)``.
    """
    if len(labels) != len(logits):
        raise TargetError(
            f"the model returns {len(logits)} scores, but {len(labels)} labels were given; give one label for each score, in order"
        )
    if wanted:
        indices = [find_position(one, labels, what) for one in wanted]
    else:
        if top_k < 1:
            raise TargetError(f"top_k must be at least 1, got {top_k}")
        indices = logits.detach().topk(min(top_k, len(labels))).indices.tolist()
    kind = "answer" if what == "answer" else "class"
    return [
        (
            index,
            Target(
                label=labels[index],
                kind=kind,  # type: ignore[arg-type]
                score=float(logits[index].detach()),
                probability=None if probabilities is None else float(probabilities[index].detach()),
                token_ids=(index,),
                measure=measure,
            ),
        )
        for index in indices
    ]


def contrast(
    logits: Tensor,
    labels: Sequence[str],
    pairs: Sequence[tuple[str | int, str | int]],
    what: str,
    measure: Measure = "logit",
) -> list[tuple[Tensor, Target]]:
    """Score differences ``logits[a] - logits[b]``, "a rather than b", with their target records."""
    out = []
    for this, that in pairs:
        one, other = find_position(this, labels, what), find_position(that, labels, what)
        score = logits[one] - logits[other]
        out.append(
            (score, make_contrast_target(labels[one], labels[other], float(score.detach()), (one, other), measure))
        )
    return out


def make_contrast_target(
    this: str, that: str, score: float, ids: tuple[int, ...] = (), measure: Measure = "logit"
) -> Target:
    """The record of "this rather than that"; ``measure`` is that of both."""
    return Target(label=f"{this} rather than {that}", kind="contrast", score=score, token_ids=ids, measure=measure)


def get_text_contrasts(request: Request) -> tuple[tuple[str, str], ...]:
    """The contrasts of a request to a model that writes texts, which has no numbers for them. Raises TargetError for numbers."""
    pairs = []
    for this, that in request.contrasts:
        if not isinstance(this, str) or not isinstance(that, str):
            raise TargetError(f"contrast=({this!r}, {that!r}) was given; this model writes texts: give two texts")
        pairs.append((this, that))
    return tuple(pairs)
