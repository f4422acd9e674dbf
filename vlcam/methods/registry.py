"""The one registry of methods: those that take one run, and those that change the photo and run the model again."""

from typing import Literal, TypeAlias

from vlcam.contracts import InputError, Method, PerturbationMethod, find_name

AnyMethod: TypeAlias = Method | PerturbationMethod

REGISTRY: dict[str, AnyMethod] = {}
"""Every method by its name, in the order in which they became known."""


def register(method: AnyMethod) -> AnyMethod:
    """Make a method known by its name, in Python and on the command line.

    Returns:
        The method.

    Raises:
        InputError: another method has that name.
    """
    taken = REGISTRY.get(method.name)
    if taken is not None and taken is not method:
        raise InputError(f"there is a method {method.name!r} already ({taken.title}); give yours another name")
    REGISTRY[method.name] = method
    return method


def list_methods(kind: Literal["one-run", "perturbation"] | None = None) -> list[str]:
    """The names of the methods, in the order in which they became known.

    Args:
        kind: ``one-run`` (maps from the activations and gradients of a single run) or ``perturbation`` (the model runs again);
            by default both.

    Raises:
        InputError: there is no such kind.
    """
    kinds = {None: (Method, PerturbationMethod), "one-run": (Method,), "perturbation": (PerturbationMethod,)}
    if kind not in kinds:
        raise InputError(f"kind={kind!r} was given; expected one-run, perturbation or None")
    return [name for name, method in REGISTRY.items() if isinstance(method, kinds[kind])]


def get_method(name: str) -> AnyMethod:
    """The method of that name, with its title, paper, equation and cost.

    Raises:
        InputError: there is none; the text has the closest names.
    """
    return REGISTRY[find_name(name, REGISTRY, "method")]


def get_one_run_method(name: str) -> Method:
    """The method of that name, if it takes one run and no more.

    Raises:
        InputError: there is none, or it runs the model again.
    """
    found = get_method(name)
    if isinstance(found, Method):
        return found
    raise InputError(
        f"{found.name!r} takes {found.cost}, and here there is one run only: use vlcam.explain, or one of "
        f"{', '.join(list_methods('one-run'))}"
    )
