"""Ways to turn activations and gradients into maps: pure functions in a registry.

>>> method("gradcam").equation
'eq. 1 and 2: relu(sum_k mean(G_k) A_k)'
>>> method("grad-cam")
Traceback (most recent call last):
vlcam.contracts.InputError: no method 'grad-cam'; did you mean gradcam or xgradcam? ...
"""

from difflib import get_close_matches

from vlcam.contracts import InputError, Method
from vlcam.methods import gradient as _gradient
from vlcam.methods.gradient import alpha as alpha
from vlcam.methods.gradient import contributions as contributions

METHODS: dict[str, Method] = {}
"""The methods by name."""


def register(method: Method) -> Method:
    """Make a method known by its name, here and on the command line.

    Raises InputError if the name is taken by another method.
    """
    if METHODS.setdefault(method.name, method) is not method:
        raise InputError(
            f"there is a method {method.name!r} already ({METHODS[method.name].title}); give yours another name"
        )
    return method


def method(name: str) -> Method:
    """The method of that name. Raises InputError with the closest names if there is none."""
    if name.strip().lower() in METHODS:
        return METHODS[name.strip().lower()]
    close = get_close_matches(name, METHODS, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? (" if close else "("
    raise InputError(f"no method {name!r}; {hint}the methods are {', '.join(METHODS)})")


for _method in _gradient.BUILT_IN:
    register(_method)
