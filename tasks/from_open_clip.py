"""open_clip's models as zero-shot classifiers: preprocessing, texts and weights as open_clip itself has them.

open_clip is an extra: ``pip install 'vlcam[open-clip]'``.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, VlcamError, show_record
from vlcam.engine.find_layer import propose
from vlcam.engine.outputs import to_model
from vlcam.engine.restore import detach_tensors, preserve_model
from vlcam.errors import import_extra
from vlcam.files import describe_error, is_there
from vlcam.image.preprocess import Preprocess
from vlcam.tasks.classification import Preprocessing
from vlcam.tasks.hub_places import follow_input
from vlcam.tasks.labels import list_nearest
from vlcam.tasks.similarity import compute_cosines
from vlcam.tasks.states import SUFFIXES, read_state
from vlcam.tasks.zero_shot import ZeroShotClassification, make_noise

HOME: Final = "open_clip"
SCHEMAS: Final = ("hf-hub:", "local-dir:")
"""Of names that open_clip resolves itself: a repository of the hub, or a folder, with ``open_clip_config.json`` and weights."""


def open_open_clip(
    name: str, *, labels: Sequence[str] | None = None, preprocess: Preprocessing | None = None
) -> ZeroShotClassification:
    """One of open_clip's models, such as ``ViT-B-32:laion2b_s34b_b79k`` or ``RN50:weights.safetensors``.

    Args:
        name: an architecture as ``open_clip.list_models()`` has it, a colon, and the tag of its weights or the path of a checkpoint;
            without them the first of the tags. Or ``hf-hub:OWNER/NAME`` or ``local-dir:FOLDER``.
        labels: the texts to choose from; by default none, and texts are given with every photo instead.
        preprocess: by default that of the weights.

    Raises:
        InputError: open_clip isn't installed or has no such model or weights, the weights aren't on this machine and can't be downloaded,
            or the checkpoint is that of another model.
    """
    library = import_extra("open_clip", "open-clip")
    if name.startswith(SCHEMAS):
        arch, source = name, None
        model = _create(library, name, arch, None, {"require_pretrained": True})
    else:
        arch, source = _choose_weights(library, name)
        own = library.get_pretrained_cfg(arch, source)
        if own:  # the weights decide which GELU it is, whatever the architecture says
            model = _create(library, name, arch, source, {"force_quick_gelu": bool(own.get("quick_gelu"))})
        else:
            model = _create(library, name, arch, None, {})
            _fill(library, model, Path(source), name)
    try:
        tokenizer = library.get_tokenizer(arch)
    except Exception as error:  # a tokenizer of the hub that isn't here
        raise InputError(
            f"the tokenizer of {HOME}/{arch} is not on this machine and can't be downloaded ({_describe(error)}); fetch it on a machine "
            f'with network access (python -c "import open_clip; open_clip.get_tokenizer({arch!r})") and copy its cache '
            "(~/.cache/huggingface, or HF_HOME)"
        ) from error
    label = name if source is None or ":" in name else f"{name}:{source}"
    return wrap_open_clip(model.eval(), tokenizer, f"{HOME}/{label}", labels=labels, preprocess=preprocess)


def wrap_open_clip(
    model: Any,
    tokenizer: Any,
    name: str,
    *,
    labels: Sequence[str] | None = None,
    template: str = "{}",
    preprocess: Preprocessing | None = None,
) -> ZeroShotClassification:
    """A model of open_clip in memory as a task. The layer to explain is found by a trial run on noise.

    Args:
        model: with an image tower ``visual``, ``encode_image`` and ``encode_text``.
        tokenizer: what ``open_clip.get_tokenizer`` gives for it.
        name: what to call it.
        labels: the texts to choose from; by default none, and texts are given with every photo instead.
        template: what every text is put into, such as ``a photo of a {}``; by default texts are read as they are.
        preprocess: by default what the model's own configuration says.

    Raises:
        InputError: a part is missing, or no layer to explain is found.
    """
    if not callable(tokenizer):
        raise InputError(
            f"{name} was given without its tokenizer; give processor=open_clip.get_tokenizer(ARCHITECTURE)"
        )
    own = getattr(getattr(model, "visual", None), "preprocess_cfg", None)
    if preprocess is None and not isinstance(own, Mapping):
        raise InputError(f"{name} doesn't say how its photos are prepared; give preprocess=vlcam.Preprocess(...)")
    prepare = make_preprocess(own or {}) if preprocess is None else preprocess
    read = _Reader(tokenizer)
    layer, layout = _find_layer(model, prepare, read, name)
    return ZeroShotClassification(
        model,
        preprocess=prepare,
        see=embed_photo,
        read=read,
        labels=tuple(labels or ()),
        template=template,
        scale=_read_scale,
        layer=layer,
        layout=layout,
        activation="softmax" if getattr(model, "logit_bias", None) is None else "sigmoid",
        name=name,
    )


def make_preprocess(settings: Mapping[str, Any]) -> Preprocess:
    """What open_clip's own transform for evaluation does, with the geometry that leads back to the photo."""
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    resize = settings.get("resize_mode", "shortest")
    fill = settings.get("fill_color", 0)
    kept = settings.get("interpolation", "bicubic")
    return Preprocess(
        size=(width, height),
        mode="resize" if resize == "squash" else "letterbox" if resize == "longest" else "crop",
        resize_shorter=None if resize in ("squash", "longest") else min(width, height),
        mean=tuple(map(float, settings["mean"])),
        std=tuple(map(float, settings["std"])),
        resample="bicubic" if kept == "random" else kept,
        fill=(fill, fill, fill) if isinstance(fill, int) else (int(fill[0]), int(fill[1]), int(fill[2])),
    )


def embed_photo(model: Any, inputs: Any) -> Float[Tensor, "1 width"]:
    """The embedding of a photo; also ``embed=`` of :class:`vlcam.tasks.similarity.Similarity`."""
    found: Tensor = model.encode_image(inputs)
    return found


@final
@dataclass(frozen=True)
class _Reader:
    """Texts through open_clip's tokenizer, which cuts long ones off without a word, and the text tower."""

    tokenizer: Any

    __repr__ = show_record

    def __call__(self, model: Any, texts: list[str]) -> Float[Tensor, "texts width"]:
        most = int(getattr(model, "context_length", None) or getattr(self.tokenizer, "context_length", None) or 77)
        for text in texts:
            count = self._count(text)
            if count > most:
                raise InputError(
                    f"the text {text[:60]!r}... has {count} tokens, but the model reads at most {most}: shorten it"
                )
        ids = self.tokenizer(texts, context_length=most)
        found: Tensor = model.encode_text(to_model(ids, model))
        return found

    def _count(self, text: str) -> int:
        inner = getattr(self.tokenizer, "tokenizer", None)
        if callable(inner):  # a tokenizer of transformers, which adds its marks itself
            return len(inner(text)["input_ids"])
        return len(self.tokenizer.encode(text)) + 2  # a start and an end


def _choose_weights(library: Any, name: str) -> tuple[str, str]:
    """The architecture, and the tag or the path of its weights. Raises InputError for what open_clip doesn't have."""
    arch, colon, source = name.partition(":")
    known = library.list_models()
    if arch not in known:
        raise InputError(f"open_clip has no model {arch!r}; the nearest it has: {list_nearest(arch, known)}")
    tags = library.list_pretrained_tags_by_model(arch)
    if not colon and tags:
        return arch, str(tags[0])
    if not source:
        raise InputError(
            f"{HOME}/{arch} has no published weights; give the path of a checkpoint: {HOME}/{arch}:weights.safetensors"
        )
    if source in tags:
        return arch, source
    if is_there(source) and source.endswith(SUFFIXES):
        return arch, source
    if source.endswith(SUFFIXES):
        raise InputError(f"there is no file {source!r}; expected a checkpoint of {arch} ({', '.join(SUFFIXES)})")
    raise InputError(
        f"{arch} has no weights {source!r}; its tags are {', '.join(map(str, tags)) or 'none'}, or give a path"
    )


def _create(library: Any, name: str, arch: str, tag: str | None, options: dict[str, Any]) -> Any:
    try:
        with torch.device("cpu"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")  # compared before it is set
            base = {"pretrained_text": False, "weights_only": True}
            return library.create_model(arch, pretrained=tag, **base, **options)
    except Exception as error:  # open_clip, the hub's client and torch each have their own
        raise InputError(_describe_missing(name, error)) from error


def _fill(library: Any, model: nn.Module, file: Path, name: str) -> None:
    """Put a checkpoint into the model; nothing in it is run. Raises InputError for a damaged one, or that of another model."""
    read_state(file)  # says what is wrong with the file, where open_clip would fail somewhere
    try:
        library.load_checkpoint(model, str(file), weights_only=True)
    except Exception as error:
        if isinstance(error, VlcamError):
            raise
        raise InputError(f"{file} doesn't fit {HOME}/{name.partition(':')[0]}: {describe_error(error)}") from error


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"


def _describe_missing(name: str, error: Exception) -> str:
    arch, _, tag = name.partition(":")
    fetch = (
        f"open_clip.create_model({arch!r}, {tag!r})"
        if not name.startswith(SCHEMAS)
        else f"open_clip.create_model({name!r})"
    )
    return (
        f"the weights of {HOME}/{name} are not on this machine and can't be downloaded ({_describe(error)}); fetch them on a "
        f'machine with network access (python -c "import open_clip; {fetch}") and copy its cache (~/.cache/huggingface, or HF_HOME; '
        f"~/.cache/clip), or give the path of a checkpoint: {HOME}/ARCHITECTURE:weights.safetensors"
    )


def _read_scale(model: Any) -> tuple[Any, Any]:
    """What the model makes of a cosine: a factor, and a bias (SigLIP only)."""
    bias = getattr(model, "logit_bias", None)
    return model.logit_scale.detach().exp(), 0.0 if bias is None else bias.detach()


def _find_layer(model: Any, preprocess: Preprocessing, read: _Reader, name: str) -> tuple[str, Any]:
    """The last layer of the image tower with positions on the photo, from trial runs on noise, and how it lies on the photo."""
    inputs, geometry = preprocess(make_noise())
    inputs = detach_tensors(to_model(inputs, model))
    with preserve_model(model):
        texts = detach_tensors(read(model, ["a photo"]).detach())
    try:
        best = propose(
            model,
            lambda photo: compute_cosines(embed_photo(model, photo), texts),
            inputs,
            geometry.input_size,
            within="visual",
        )[0]
    except LayerError as error:
        raise InputError(f"a trial run found no layer of {name} to explain: {error}") from error
    return best.layer, follow_input(best.layout, preprocess)
