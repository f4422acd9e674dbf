"""Maps kept from one naming to the next, for as long as nothing that they depend on has changed.

A key made of a model's name goes stale as soon as the model is trained further. Here it is made of everything: the bytes of all weights and
buffers, the source code of the model's modules, their settings, the layer, and the versions of torch and vlcam; and each picture's maps
are found by the bytes of its *prepared* input, so other pictures, another size or another normalisation never match.
"""

import hashlib
import inspect
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vlcam.contracts import InputError
from vlcam.engine.fingerprint import describe_switches
from vlcam.files import (
    describe_error,
    name_unwritable,
    read_json,
    refuse_broken,
    replace_file,
    show_path,
    show_value,
    sweep_parts,
    write_json,
)

FORMAT: Final = 1


@final
@dataclass(frozen=True)
class Cache:
    """Maps of one layer of one model in a folder: ``maps.npy`` and the digests of the inputs they are of."""

    folder: Path
    places: dict[str, int]
    maps: NDArray[np.float32] | None

    @classmethod
    def open(cls, root: Path, model: nn.Module, weights: str, layer: str, shape: tuple[int, ...]) -> "Cache":
        """The maps that are known of this model and layer; none if there are none, or if what is there can't be read.

        Raises InputError if the folder can't be made.
        """
        from vlcam._version import __version__

        about = [FORMAT, __version__, torch.__version__, weights, hash_code(model), layer, *shape]
        folder = root / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the cache folder {show_path(root)} can't be made ({describe_error(error)}); give another"
            ) from error
        sweep_parts(folder)
        try:
            with refuse_broken(show_path(folder), "maps and their index"):
                return cls(folder, *_read(folder, shape))
        except InputError:
            return cls(folder, {}, None)

    def get(self, digest: str) -> NDArray[np.float32] | None:
        """The maps of the input with this digest."""
        place = self.places.get(digest)
        return None if place is None or self.maps is None else self.maps[place]

    def put(self, digests: Sequence[str], maps: NDArray[np.float32]) -> None:
        """Keep these maps in place of what was there: a new file, then an index that names it, so that readers see old or new."""
        file = f"maps-{secrets.token_hex(8)}.npy"
        try:
            with name_unwritable(self.folder):
                with replace_file(self.folder / file) as part:
                    np.save(part, maps)
                write_json(self.folder / "index.json", {"file": file, "digests": list(digests)}, indent=None)
        except BaseException:  # the index still names the old maps
            (self.folder / file).unlink(missing_ok=True)
            raise
        for old in self.folder.glob("maps-*.npy"):
            if old.name != file:
                old.unlink(missing_ok=True)


def _read(folder: Path, shape: tuple[int, ...]) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Where the maps of each digest are, and the maps. Raises InputError or whatever numpy does for what is no such cache."""
    index = read_json(folder / "index.json", "the index of a cache")
    name, digests = index["file"], index["digests"]
    if re.fullmatch(r"maps-[0-9a-z]+\.npy", name) is None or not all(isinstance(one, str) for one in digests):
        raise InputError(f"the index names {show_value(name)}; expected maps, and digests")
    maps: NDArray[np.float32] = np.lib.format.open_memmap(folder / name, mode="r")  # numpy's own format, and no other
    if maps.shape != (len(digests), *shape) or maps.dtype != np.float32:
        raise InputError("the index and the maps don't fit; expected maps of every digest")
    return {one: place for place, one in enumerate(digests)}, maps


def hash_weights(model: nn.Module) -> str:
    """The sha256 of all parameters and buffers, with their names, types and shapes."""
    found = hashlib.sha256()
    for name, tensor in sorted({**dict(model.named_parameters()), **dict(model.named_buffers())}.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(_to_bytes(tensor))
    return found.hexdigest()


def hash_code(model: nn.Module) -> str:
    """The sha256 of the modules' settings and switches and of the source code of their classes, as far as Python has it."""
    found = hashlib.sha256(repr(model).encode())
    found.update(repr(describe_switches(model)).encode())
    classes = {type(module) for module in model.modules()}
    for one in sorted(classes, key=lambda one: (one.__module__, one.__qualname__)):
        found.update(f"{one.__module__}.{one.__qualname__}\n".encode())
        try:
            found.update(inspect.getsource(one).encode())
        except (OSError, TypeError):  # made in a console, or in C
            found.update(b"no source")
    return found.hexdigest()


def hash_inputs(inputs: Any) -> str:
    """The sha256 of a prepared input: tensors, and tuples, lists and dicts of them."""
    found = hashlib.sha256()
    _feed(found, inputs)
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        found.update(f"{value.dtype} {tuple(value.shape)}".encode())
        found.update(_to_bytes(value))
    elif isinstance(value, dict):
        for key in sorted(value):
            found.update(f"{key}:".encode())
            _feed(found, value[key])
    elif isinstance(value, (tuple, list)):
        found.update(f"{len(value)}[".encode())
        for one in value:
            _feed(found, one)
    elif is_dataclass(value) and not isinstance(value, type):
        found.update(type(value).__qualname__.encode())
        _feed(found, {one.name: getattr(value, one.name) for one in fields(value)})
    else:
        found.update(repr(value).encode())


def _to_bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes()
