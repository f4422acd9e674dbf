"""The one parser of targets: what people give as classes, answers and contrasts, for one photo, for several, and for a batch.

However they are given (Python, numpy, torch or pandas), these mean the same for :func:`vlcam.explain`,
:func:`vlcam.explanation.batches.explain_batches` and :func:`vlcam.attribute`:

- a label or a whole number: that target, of every photo;
- for several photos a list, or an array: one entry for every photo, in order; an entry that is a list holds several targets.

For one photo a list holds its targets. A mask of truth values, a dictionary, a set or a fraction is refused, not guessed at.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from operator import index
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from vlcam.contracts import InputError, TargetError, shorten

Label: TypeAlias = str | int

_EXPECTED = "expected class indices or labels"


def read_plain(targets: Any) -> Any:
    """``targets`` as plain Python: texts, whole numbers and functions as they are, arrays and iterables as lists, tuples as tuples.

    Raises:
        TargetError: truth values, fractions, dictionaries, sets, bytes, or what is no target at all.
    """
    if isinstance(targets, str) or callable(targets):
        return targets
    if isinstance(targets, (Tensor, np.ndarray, np.generic)):
        return _read_array(targets)
    if isinstance(targets, bool):
        raise TargetError(f"target {targets} was given; expected a class index or a label")
    if hasattr(targets, "__index__"):
        return index(targets)
    if isinstance(targets, Mapping):
        raise TargetError(
            f"targets={shorten(repr(targets), 80)} were given, a dictionary; {_EXPECTED}, such as list(...) of its keys"
        )
    if isinstance(targets, (bytes, bytearray, memoryview)):
        raise TargetError(f"targets={shorten(repr(targets), 80)} were given, bytes; {_EXPECTED}")
    if isinstance(targets, Set):
        raise TargetError(
            f"targets={shorten(repr(targets), 80)} were given, which have no order; {_EXPECTED} in a list"
        )
    if hasattr(targets, "to_numpy"):  # a column of a table
        return _read_array(targets.to_numpy())
    if isinstance(targets, Iterable):
        items = (read_plain(one) for one in targets)
        return tuple(items) if isinstance(targets, tuple) else list(items)
    raise TargetError(f"targets={shorten(repr(targets), 80)} was given; {_EXPECTED}")


def _read_array(array: Any) -> Any:
    kind, shape = str(array.dtype), tuple(array.shape)
    if kind.endswith("bool"):
        raise TargetError(
            f"targets of {kind} {shape} were given, a mask of truth values; {_EXPECTED}: numpy.flatnonzero(mask) gives those that "
            "are true"
        )
    text = not isinstance(array, Tensor) and array.dtype.kind in "OU"
    if not text and (len(shape) > 2 or not kind.removeprefix("torch.").startswith(("int", "uint"))):
        raise TargetError(f"targets of {kind} {shape} were given; {_EXPECTED}, (photos,) or (photos, targets)")
    return read_plain(array.tolist()) if text else array.tolist()


def read_labels(targets: Any) -> tuple[Label, ...]:
    """The targets of one photo, or of every photo alike. Raises TargetError."""
    plain = read_plain(() if targets is None else targets)
    several = plain if isinstance(plain, (tuple, list)) else [plain]
    wrong = next((one for one in several if not isinstance(one, (str, int))), None)
    if wrong is not None:
        hint = ": a list within the list is for several photos" if isinstance(wrong, (tuple, list)) else ""
        raise TargetError(f"targets={shorten(repr(targets), 80)} were given; {_EXPECTED}{hint}")
    return tuple(several)


def read_labels_of_each(targets: Any, photos: int | None) -> tuple[tuple[Label, ...], ...] | None:
    """The targets of each of several photos; None if they are the same for all, as :func:`read_labels` gives them.

    Args:
        targets: a list or an array has one entry for every photo; a single target, or a tuple of them, is meant for every photo.
        photos: how many there are, if that is known.

    Raises:
        TargetError: entries that can't be used, or not one for every photo.
    """
    plain = read_plain(() if targets is None else targets)
    if not isinstance(plain, list) or not plain:
        return None
    if photos is not None and len(plain) != photos:
        raise TargetError(
            f"{len(plain)} targets were given for {photos} photos; expected a list with one entry for every photo (a list of several, "
            f"if need be), or a tuple of targets for all of them: targets={shorten(repr(tuple(plain)), 60)}"
        )
    return tuple(read_labels(one) for one in plain)


def read_contrasts(contrast: Any) -> tuple[tuple[Label, Label], ...]:
    """Contrasts as pairs (this, rather than that) of labels or numbers; a single pair may stand on its own. Raises InputError."""
    try:
        plain = read_plain(() if contrast is None else contrast)
        if isinstance(plain, (tuple, list)) and len(plain) == 2 and all(isinstance(one, (str, int)) for one in plain):
            plain = [plain]
        pairs = tuple(_read_pair(pair) for pair in plain)
    except (TargetError, TypeError) as error:
        raise InputError(
            f"contrast={shorten(repr(contrast), 80)} was given; expected pairs (this, rather than that) of labels"
        ) from error
    return pairs


def _read_pair(pair: Any) -> tuple[Label, Label]:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise TargetError(f"{pair!r} is no pair")
    this, that = read_labels(pair)
    return this, that
