"""Ways to turn a model's run into maps, by name: pure functions of activations and gradients, and procedures that run it again.

>>> method("gradcam").equation
'eq. 1 and 2: relu(sum_k mean(G_k) A_k)'
>>> way("grad-cam")
Traceback (most recent call last):
vlcam.contracts.InputError: no method 'grad-cam'; did you mean gradcam or xgradcam? ...
"""

from difflib import get_close_matches

from vlcam.contracts import InputError, Method, Procedure
from vlcam.methods import cam as _cam
from vlcam.methods import channels as _channels
from vlcam.methods import excitation as _excitation
from vlcam.methods import gradient as _gradient
from vlcam.methods import masks as _masks
from vlcam.methods import occlusion as _occlusion
from vlcam.methods import pixels as _pixels
from vlcam.methods.gradient import alpha as alpha
from vlcam.methods.gradient import contributions as contributions

METHODS: dict[str, Method] = {}
"""The methods by name: maps from one run and one gradient for every target."""

PROCEDURES: dict[str, Procedure] = {}
"""The procedures by name: maps that take more runs."""


def register(one: Method | Procedure) -> Method | Procedure:
    """Make a method or procedure known by its name, here and on the command line.

    Raises InputError if the name is taken by another one.
    """
    taken = METHODS.get(one.name) or PROCEDURES.get(one.name)
    if taken is not None and taken is not one:
        raise InputError(f"there is a method {one.name!r} already ({taken.title}); give yours another name")
    if isinstance(one, Method):
        METHODS[one.name] = one
    else:
        PROCEDURES[one.name] = one
    return one


def way(name: str) -> Method | Procedure:
    """The method or procedure of that name. Raises InputError with the closest names if there is none."""
    wanted = name.strip().lower()
    known: dict[str, Method | Procedure] = {**METHODS, **PROCEDURES}
    if wanted in known:
        return known[wanted]
    close = get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? (" if close else "("
    raise InputError(f"no method {name!r}; {hint}the methods are {', '.join(known)})")


def method(name: str) -> Method:
    """The method of that name: one run, no more. Raises InputError for a procedure, or with the closest names."""
    found = way(name)
    if isinstance(found, Method):
        return found
    raise InputError(
        f"{found.name!r} takes {found.runs}, and here there is one run only: use vlcam.explain, or one of {', '.join(METHODS)}"
    )


for _family in (_gradient, _cam, _excitation, _pixels, _occlusion, _masks, _channels):
    for _one in _family.BUILT_IN:
        register(_one)
