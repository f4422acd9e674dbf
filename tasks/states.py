"""State dicts: read from a file without running code, and put into a model or refused with a reason."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlcam.contracts import InputError
from vlcam.files import MAX_CLASSES, describe_error, is_there, refuse_broken
from vlcam.tasks.checkpoints import read_tensors

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a checkpoint of ``torch.save`` that holds nothing but plain data.

    Checkpoints are read with ``weights_only=True``, so that no code in them runs. Wrappers (``{"state_dict": ...}``) and the prefixes of
    parallel and compiled models are removed; whatever else a trainer saved beside the state dict (Lightning's hyperparameters) is skipped
    without being unpickled (see :mod:`vlcam.tasks.checkpoints`).

    Raises:
        InputError: the file is missing, damaged, holds code, or holds no state dict.
    """
    if not is_there(path):
        raise InputError(f"there is no file {path}; expected a state dict ({', '.join(SUFFIXES)})")
    try:
        loaded = _read(path)
    except Exception as error:  # torch and safetensors raise many kinds of errors for damaged files
        if type(error).__name__ == "UnpicklingError":
            raise InputError(
                f"{path} holds more than tensors, and loading it could run code; save it again with "
                "torch.save(model.state_dict(), path), or as safetensors"
            ) from error
        raise InputError(f"{path} can't be read as a state dict: {describe_error(error)}") from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(one, Tensor) for one in loaded.values()):
        raise InputError(f"{path} holds no state dict; expected a mapping of parameter names to tensors")
    for name, tensor in loaded.items():
        if tensor.is_meta or tensor.layout is not torch.strided or tensor.is_quantized:
            raise InputError(
                f"{path} holds {str(name)[:80]!r} as a {'meta' if tensor.is_meta else 'sparse or quantised'} tensor; expected dense ones "
                "with values: save tensor.to_dense() or tensor.dequantize()"
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(
                f"{path} holds {str(name)[:80]!r} of shape {tuple(tensor.shape)} but stores fewer numbers; expected every number to be "
                "stored: save tensor.contiguous()"
            )
    return {_strip_prefixes(str(name)): tensor for name, tensor in loaded.items()}


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        found = read_tensors(path)  # a trainer's checkpoint, whose settings are objects
        if not any(isinstance(found, Mapping) and isinstance(found.get(one), Mapping) for one in _WRAPPERS):
            raise
        return found


def _strip_prefixes(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def count_classes(state: Mapping[str, Tensor], build: Callable[[], nn.Module]) -> int | None:
    """How many classes the classifier of a state dict has, which is the length of the last parameter of a model of its kind.

    ``build`` makes such a model; it is called so that the model takes no memory. None if the state dict has no such parameter. Raises
    InputError for more than :data:`vlcam.files.limits.MAX_CLASSES`.
    """
    with torch.device("meta"):
        last = list(build().state_dict())[-1]
    found = len(state[last]) if last in state and state[last].ndim else None
    if found is not None and found > MAX_CLASSES:
        raise InputError(f"the state dict has {found:,} classes in {last!r}; expected at most {MAX_CLASSES:,}")
    return found


def fill_weights(model: nn.Module, state: Mapping[str, Tensor], name: str) -> nn.Module:
    """``model`` with the weights of ``state``. Raises InputError if they are those of another model."""
    wrong = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(have.shape)}"
        for key, have in model.state_dict().items()
        if key in state and state[key].shape != have.shape
    ]
    missing, unexpected = [], []
    if not wrong:
        with refuse_broken("the state dict", f"numbers that fit the parameters of {name}"):
            missing, unexpected = model.load_state_dict(dict(state), strict=False)
        missing = [key for key in missing if not key.endswith("num_batches_tracked") and "aux" not in key.lower()]
        unexpected = [key for key in unexpected if "aux" not in key.lower()]
    if wrong or missing or unexpected:
        odd = [
            f"{what} {_list_some(names)}"
            for what, names in (("lacks", missing), ("has the unknown", unexpected))
            if names
        ]
        why = wrong[0] if wrong else f"it {' and '.join(odd)}"
        raise InputError(f"the state dict is not that of {name}: {why}; give the arch= that it was trained with")
    return model


def _list_some(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
