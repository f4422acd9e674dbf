"""A probe of photos and words that an image-text encoder compares, for pictures without labels.

CLIP-Dissect (arXiv 2204.10965, section 3) needs the cosine of each photo and word. WWW (arXiv 2402.18956, section 3.2) compares
"A photo of a {word}" with the photo, less what "A photo of a" has in common with it. The photos are embedded once.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import InputError, show_record
from vlcam.files import MAX_CLASSES, read_text
from vlcam.image.photo import list_photos, open_photo
from vlcam.neurons.probes.probe import show_probe

TEMPLATE: Final = "A photo of a {}"
_BARE: Final = "A photo of a"
_TEXTS: Final = 64  # embedded in one run


@final
@dataclass(frozen=True)
class Encoder:
    """What embeds photos and texts in the same space.

    ``images`` takes RGB pictures and ``texts`` strings; both give floats ``(how many, width)``, which need not be normalised. ``name``
    is for reports.
    """

    images: Callable[[list[Image]], Tensor]
    texts: Callable[[list[str]], Tensor]
    name: str

    __repr__ = show_record

    @classmethod
    def from_transformers(
        cls, name: str | Path, *, revision: str | None = None, device: str | torch.device = "cpu"
    ) -> "Encoder":
        """CLIP, SigLIP or any other model of transformers with ``get_image_features`` and ``get_text_features``.

        Args:
            name: its name on the hub, or a folder with the files of model and processor.
            revision: of the hub's repository.
            device: where it runs.

        Raises:
            InputError: the files can't be had, or it is another kind of model.
        """
        from transformers import AutoModel, AutoProcessor

        name = str(name)
        model = _fetch(AutoModel, name, revision)
        kind = type(model).__name__
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise InputError(
                f"{name} is a {kind}, which doesn't embed photos and texts; expected one such as openai/clip-vit-base-patch32"
            )
        processor = _fetch(AutoProcessor, name, revision)
        photos, tokenizer = getattr(processor, "image_processor", None), getattr(processor, "tokenizer", None)
        if photos is None or tokenizer is None:
            raise InputError(
                f"the processor of {name} is a {type(processor).__name__} without an image processor or a tokenizer; save the model's own "
                "beside it"
            )
        model = model.eval().to(device)
        return cls(_PhotoEncoder(model, photos), _TextEncoder(model, tokenizer, fill=kind.startswith("Siglip")), name)


@final
class EncodedWords:
    """Photos, words and an encoder. Satisfies :class:`vlcam.neurons.probes.probe.WordProbe`.

    Args:
        photos: a folder, or paths and pictures.
        words: words, or the path of a text file with one a line. Empty and double ones are passed over.
        encoder: what compares them.
        batch: how many photos are embedded at once.
        path: where the photos come from, for reports; by default the folder.
    """

    def __init__(
        self,
        photos: str | Path | Sequence[str | Path | Image],
        words: Sequence[str] | str | Path,
        encoder: Encoder,
        *,
        batch: int = 16,
        path: str | Path | None = None,
    ) -> None:
        if batch < 1:
            raise InputError(f"batch={batch} was given; expected how many photos to embed at once, 1 or more")
        path = photos if path is None and isinstance(photos, str | Path) else path
        self._photos: tuple[str | Path | Image, ...] = tuple(
            list_photos(photos) if isinstance(photos, str | Path) else photos
        )
        if not self._photos:
            raise InputError("no photos were given; expected a folder, or paths and pictures")
        lines = read_text(words, "one word a line").splitlines() if isinstance(words, str | Path) else words
        if isinstance(words, str | Path) and len(lines) > MAX_CLASSES:
            raise InputError(
                f"{str(words)!r} has {len(lines):,} lines; expected one word a line, at most {MAX_CLASSES:,}"
            )
        self.words: tuple[str, ...] = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if not self.words:
            what = f"{str(words)!r} holds no words" if isinstance(words, str | Path) else "no words were given"
            raise InputError(f"{what}; expected the words that a unit may stand for, one a line")
        self._encoder = encoder
        self._batch = batch
        self._seen: Tensor | None = None
        self._kept: dict[str, Tensor] = {}
        self.name = "photos" if path is None else Path(path).resolve().name
        self.facts: Mapping[str, Any] = {
            "kind": "photos and words",
            "path": None if path is None else str(path),
            "words": str(words) if isinstance(words, str | Path) else None,
            "words_sha256": hashlib.sha256("\n".join(self.words).encode()).hexdigest(),
            "images": len(self._photos),
            "concepts": len(self.words),
            "encoder": encoder.name,
        }

    __repr__ = show_probe

    def __len__(self) -> int:
        return len(self._photos)

    def photo(self, index: int, /) -> str | Path | Image:
        """What :func:`vlcam.image.photo.open_photo` opens."""
        return self._photos[index]

    def similarity(self) -> Float[Tensor, "images words"]:
        """The cosine of each photo and word."""
        return self._compare_words("{}")

    def of_template(self) -> Float[Tensor, "images words"]:
        """The cosine of each photo and "A photo of a {word}", less that of the photo and "A photo of a"."""
        if "bare" not in self._kept:
            self._kept["bare"] = self._compare_words(TEMPLATE) - self._compare_texts(self._embed("texts", [_BARE]))
        return self._kept["bare"]

    def _compare_words(self, template: str) -> Tensor:
        if template not in self._kept:
            texts = [template.replace("{}", word) for word in self.words]
            parts = [self._embed("texts", texts[at : at + _TEXTS]) for at in range(0, len(texts), _TEXTS)]
            self._kept[template] = self._compare_texts(_join_embeddings(parts))
        return self._kept[template]

    def _compare_texts(self, texts: Float[Tensor, "texts width"]) -> Float[Tensor, "images texts"]:
        pictures = self._embed_photos()
        if pictures.shape[1] != texts.shape[1]:
            raise InputError(
                f"the encoder {self._encoder.name} gave {pictures.shape[1]} numbers a photo, but {texts.shape[1]} a text; "
                "expected the same space for both"
            )
        return pictures @ texts.T

    def _embed_photos(self) -> Tensor:
        """The embeddings of the photos, opened a batch at a time."""
        if self._seen is None:
            parts = []
            for at in range(0, len(self._photos), self._batch):
                opened = [open_photo(photo)[0] for photo in self._photos[at : at + self._batch]]
                parts.append(self._embed("images", opened))
            self._seen = _join_embeddings(parts)
        return self._seen

    def _embed(self, what: str, given: list[Any]) -> Tensor:
        """Embeddings of length 1 as float32 on the CPU."""
        with torch.no_grad():
            found = getattr(self._encoder, what)(given)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(given):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{what} of the encoder gave {shape} for {len(given)} {what}; expected a tensor ({len(given)}, width)"
            )
        plain = found.detach().float().cpu()
        if not torch.isfinite(plain).all():
            raise InputError(f"{what} of the encoder {self._encoder.name} gave numbers that are not finite")
        return nn.functional.normalize(plain, dim=1)


@final
@dataclass(frozen=True)
class _PhotoEncoder:
    """Photos through the processor and the image tower."""

    model: Any
    processor: Any

    def __call__(self, images: list[Image]) -> Tensor:
        made = self.processor(images=images, return_tensors="pt")
        return _extract_pooled(self.model.get_image_features(**_move_to_device(made, self.model)))


@final
@dataclass(frozen=True)
class _TextEncoder:
    """Texts through the tokenizer and the text tower; ``fill``: padded to the longest text there is, as SigLIP was trained."""

    model: Any
    tokenizer: Any
    fill: bool

    def __call__(self, texts: list[str]) -> Tensor:
        config = getattr(self.model.config, "text_config", self.model.config)
        most = min(getattr(config, "max_position_embeddings", 512), self.tokenizer.model_max_length)
        for text in texts:
            count = len(self.tokenizer(text)["input_ids"])
            if count > most:
                raise InputError(
                    f"the word {text[:60]!r} has {count} tokens, but the encoder reads at most {most}: shorten it"
                )
        made = self.tokenizer(
            texts,
            padding="max_length" if self.fill else True,
            max_length=most if self.fill else None,
            return_tensors="pt",
        )
        return _extract_pooled(self.model.get_text_features(**_move_to_device(made, self.model)))


def _move_to_device(made: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The inputs on the model's device."""
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in made.items()}


def _extract_pooled(output: Any) -> Tensor:
    """The embedding, also where (from transformers 5 on) it comes with the tower's other outputs."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found


def _join_embeddings(parts: list[Tensor]) -> Tensor:
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        raise InputError(f"the encoder gave embeddings of widths {sorted(widths)}; expected one width")
    return torch.cat(parts)


def _fetch(auto: Any, name: str, revision: str | None) -> Any:
    """``auto.from_pretrained``, with one error for all that may go wrong."""
    try:
        return auto.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    except Exception as error:  # the hub's client, transformers and safetensors each have their own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        hint = "" if Path(name).is_dir() else f" (fetch it once with network: hf download {name}, and copy the cache)"
        raise InputError(
            f"{auto.__name__} can't open the encoder {name!r}: {lines[0].rstrip('.')}; expected a folder that save_pretrained of the model "
            f"and of its processor wrote, or a name on the hub{hint}"
        ) from error
