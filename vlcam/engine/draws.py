"""Random numbers that are vlcam's own: the generators of the process, which other threads draw from, are neither read ahead nor set back.

PyTorch's generators are the process's, so whoever seeds one, or puts its state back, gives other threads numbers that they have had
already. :class:`PrivateDraws` hands a generator of its own to whatever draws in this thread instead. The numbers are those that the
process's generator would have given from the same seed.
"""

from typing import Any, Final, final

import torch
from torch import Tensor

from vlcam.engine.modes import AbstractSwitchedMode

_TAKE_GENERATOR: Final = frozenset({
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
    *("uniform_", "normal_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_"),
    *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "trunc_normal_", "orthogonal_", "sparse_"),
})  # fmt: skip
"""Functions of torch, methods of tensors and initialisers that have an argument ``generator``."""

_LIKE: Final = {"rand_like": torch.rand, "randn_like": torch.randn}


@final
class PrivateDraws(AbstractSwitchedMode):
    """A context manager: in it, this thread draws from generators that nobody else has; those of the process stay as they are.

    What draws inside a scripted or fused kernel (the dropout within ``scaled_dot_product_attention``, or between the layers of an
    LSTM in train mode) can't be given a generator and still takes the process's.

    Args:
        seed: where the numbers begin; None: where the process's generators stand now.

    >>> before = torch.get_rng_state()
    >>> with PrivateDraws(7):
    ...     mine = torch.rand(3)
    >>> torch.equal(mine, torch.rand(3, generator=torch.Generator().manual_seed(7))), torch.equal(torch.get_rng_state(), before)
    (True, True)
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator | None] = {}

    def handle(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Draw from a generator of this mode, if ``func`` draws."""
        name = getattr(func, "__name__", "")
        if name in _TAKE_GENERATOR:
            if kwargs.get("generator") is None and (own := self._find_generator(args, kwargs)) is not None:
                kwargs = {**kwargs, "generator": own}
        elif name in _LIKE:
            own = self._find_generator(args, kwargs)
            if own is not None and "memory_format" not in kwargs:
                like, options = args[0], {key: one for key, one in kwargs.items() if one is not None}
                options = {"dtype": like.dtype, "device": like.device, **options}
                return _LIKE[name](like.shape, generator=own, **options)
        elif name == "dropout" and (found := self._drop(*args, **kwargs)) is not None:
            return found
        return func(*args, **kwargs)

    def _drop(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, train: bool | None = None
    ) -> Tensor | None:
        """Dropout as PyTorch computes it on a CPU; None where nothing is drawn, or it has to happen in place."""
        own = self._find_generator((input,), {})
        if own is None or inplace or not (training if train is None else train) or not 0 < p < 1:
            return None
        return input * torch.empty_like(input).bernoulli_(1 - p, generator=own).div_(1 - p)

    def _find_generator(self, args: Any, kwargs: Any) -> torch.Generator | None:
        """That of the device on which is drawn; None for one without."""
        tensor = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
        device = torch.device(kwargs.get("device") or torch.get_default_device()) if tensor is None else tensor.device
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._generators:
            self._generators[device] = self._make_generator(device)
        return self._generators[device]

    def _make_generator(self, device: torch.device) -> torch.Generator | None:
        if device.type not in ("cpu", "cuda"):
            return None
        made = torch.Generator(device)
        if self._seed is not None:
            return made.manual_seed(self._seed)
        made.set_state(torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device))
        return made
