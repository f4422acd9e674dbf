"""Similarity to reference photos as a task: what makes this photo look like that one to a model?

The score of a reference is the cosine of the angle between two embeddings, the photo's and the reference's, from -1 to 1. For a photo
and itself it has its maximum, 1, so its gradient is 0 and its map is empty.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError, Layout, Names, Prepared, Request, Spoken, Target, TargetError, show_record
from vlcam.engine.fingerprint import Fingerprint, fingerprint_model
from vlcam.engine.outputs import to_model
from vlcam.engine.precision import widen
from vlcam.engine.recording import pause_recording
from vlcam.engine.restore import detach_tensors, preserve_model
from vlcam.image.photo import open_photo
from vlcam.tasks.classification import Preprocessing
from vlcam.tasks.labels import find_position, make_contrast_target

_MOST_KEPT = 4096


@final
@dataclass(eq=False)
class EmbeddingCache:
    """Embeddings ``(1, width)`` by key, for as long as the model that made them stays unchanged.

    See :func:`vlcam.engine.fingerprint.fingerprint_model` for what counts as a change.
    """

    _model: Fingerprint = ()
    _kept: dict[str, Tensor] = field(default_factory=dict)

    __repr__ = show_record

    def get_embeddings(
        self, model: nn.Module, keys: Sequence[str], make: Callable[[list[str]], Tensor]
    ) -> Float[Tensor, "keys width"]:
        """The embeddings of ``keys``; ``make`` embeds those that aren't there, in eval mode, without autograd or a recording."""
        now = fingerprint_model(model)
        if now != self._model or len(self._kept) > _MOST_KEPT:
            self._model = now
            self._kept.clear()
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            with preserve_model(model), pause_recording():
                self._kept.update(zip(missing, make(missing).detach().split(1), strict=True))
        return torch.cat([self._kept[key] for key in keys])


def compute_cosines(one: Float[Tensor, "1 width"], others: Float[Tensor, "n width"]) -> Float[Tensor, " n"]:
    """The cosines of the angles between one embedding and others; half precision is widened to float32."""
    cosine: Tensor = (F.normalize(widen(others), dim=-1) @ F.normalize(widen(one), dim=-1).t())[:, 0]
    return cosine


def extract_embedding(output: Any) -> Float[Tensor, "1 width"]:
    """The embedding in a model's output for one photo: a tensor ``(1, width)``, ``(1, width, 1, 1)``, or the like in a field.

    The fields are ``image_embeds`` and ``pooler_output`` of transformers. Raises InputError if there is none.
    """
    found = output
    for name in ("image_embeds", "pooler_output"):
        if not isinstance(found, Tensor) and isinstance(getattr(output, name, None), Tensor):
            found = getattr(output, name)
    given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != 1 or found.numel() != found.shape[1]:
        raise InputError(
            f"the model returned {given}; expected an embedding (1, width): give embed=, a function (model, inputs) that returns one"
        )
    return found.flatten(1)


@final
@dataclass(frozen=True)
class Similarity:
    """A model that embeds photos, and the reference photos to compare with.

    ``references`` are photos by name: whatever :func:`vlcam.explain` takes. ``preprocess`` turns a photo into the model's input and
    the geometry. ``embed(model, inputs)`` gives the embedding ``(1, width)``; by default ``model(inputs)`` does. The references are
    embedded once, for as long as the model stays unchanged. ``targets=`` and ``contrast=`` pick names: "more like A than like B".
    """

    kind: ClassVar[str] = "classification"

    model: nn.Module
    references: Mapping[str, Any]
    preprocess: Preprocessing
    embed: Callable[[Any, Any], Tensor] | None = None
    layer: str | nn.Module | None = None
    name: str = "similarity"
    names: Names | None = None
    layout: Layout | None = None
    _shelf: EmbeddingCache = field(init=False, default_factory=EmbeddingCache, repr=False, compare=False)

    __repr__ = show_record

    def __post_init__(self) -> None:
        if not self.references:
            raise InputError(
                "no references were given; give at least one photo by name: references={'mine': 'photo.jpg'}"
            )

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the names asked for, embed the references that have not been embedded yet, and make the input."""
        if request.caption is not None or request.question is not None:
            raise InputError("similarity takes neither a caption nor a question; ask for references by name instead")
        if request.prompt is not None:
            raise InputError(f"prompt={request.prompt!r} was given, but {self.name} takes no prompt; leave it out")
        known = list(self.references)
        for label in (*request.labels, *(one for pair in request.contrasts for one in pair)):
            find_position(label, known, "reference")
        marks = {f"{name} {_fingerprint_photo(self.references[name])}": name for name in known}
        others = self._shelf.get_embeddings(
            self.model, list(marks), lambda missing: self._embed_references([marks[one] for one in missing])
        )
        inputs, geometry = self.preprocess(photo)
        return Prepared({"photo": to_model(inputs, self.model), "others": others}, geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward pass; the cosines with the references asked for, or with the ``top_k`` most similar."""
        known = list(self.references)
        scores = compute_cosines(self._embed_inputs(prepared.inputs["photo"]), prepared.inputs["others"])
        if request.labels:
            chosen = [find_position(one, known, "reference") for one in request.labels]
        elif request.top_k < 1:
            raise TargetError(f"top_k must be at least 1, got {request.top_k}")
        else:
            chosen = scores.detach().topk(min(request.top_k, len(known))).indices.tolist()
        pairs = [
            (find_position(this, known, "reference"), find_position(that, known, "reference"))
            for this, that in request.contrasts
        ]
        values = [*(scores[one] for one in chosen), *(scores[this] - scores[that] for this, that in pairs)]
        targets = [Target(known[one], "class", float(scores[one].detach()), measure="similarity") for one in chosen]
        targets += [
            make_contrast_target(
                known[this], known[that], float((scores[this] - scores[that]).detach()), measure="similarity"
            )
            for this, that in pairs
        ]
        return Spoken(torch.stack(values), targets, known[int(scores.detach().argmax())], self.layout)

    def _embed_inputs(self, inputs: Any) -> Tensor:
        return extract_embedding(self.model(inputs) if self.embed is None else self.embed(self.model, inputs))

    def _embed_references(self, names: list[str]) -> Tensor:
        pictures = [open_photo(self.references[name], name=name)[0] for name in names]
        made = [detach_tensors(to_model(self.preprocess(picture)[0], self.model)) for picture in pictures]
        return torch.cat([self._embed_inputs(inputs) for inputs in made])


def _fingerprint_photo(photo: Any) -> str:
    """What distinguishes a reference from another one of the same name: a file's time and size, or a hash of the pixels."""
    if isinstance(photo, (str, Path)):
        with suppress(OSError):  # opening it will raise the error
            about = Path(photo).stat()
            return f"{photo} {about.st_mtime_ns} {about.st_size}"
        return str(photo)
    if isinstance(photo, Image):
        return f"{photo.mode} {photo.size} {hashlib.sha256(photo.tobytes()).hexdigest()}"
    plain = photo.detach().cpu().numpy() if isinstance(photo, Tensor) else photo
    if isinstance(plain, np.ndarray):
        return f"{plain.dtype} {plain.shape} {hashlib.sha256(np.ascontiguousarray(plain).tobytes()).hexdigest()}"
    return str(id(photo))
