"""Zero-shot classification as a task: how well a text fits a photo, for models that embed both (CLIP, arXiv 2103.00020).

The score of a text is the model's own logit of photo and text, ``factor * cos(photo, text) + bias``; any text can be explained. CLIP
and its relatives choose one of several texts, so a probability is the softmax over all texts that the photo was compared with; SigLIP
(arXiv 2303.15343, section 3.2) judges every text on its own, with a sigmoid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
    Geometry,
    InputError,
    LayerError,
    Layout,
    Names,
    Prepared,
    Request,
    Spoken,
    Target,
    TargetError,
    show_record,
)
from vlcam.engine.find_layer import propose
from vlcam.engine.layers import TokenLayout
from vlcam.engine.outputs import to_model
from vlcam.engine.restore import detach_tensors, preserve_model
from vlcam.image.geometry import make_resize_geometry
from vlcam.image.photo import as_rgb
from vlcam.tasks.classification import Preprocessing
from vlcam.tasks.hub_families import ZERO_SHOT_TOWERS
from vlcam.tasks.hub_photos import HubPreprocess, describe_processor
from vlcam.tasks.labels import make_contrast_target
from vlcam.tasks.similarity import EmbeddingCache, compute_cosines
from vlcam.tasks.texts import check_text_request, check_texts, find_text, list_texts

_AT_ONCE = 64
"""How many texts are embedded in one run."""


@final
@dataclass(frozen=True)
class ZeroShotClassification:
    """A model that embeds photos and texts, and how to use it.

    ``preprocess`` turns a photo into the model's input and the geometry; ``see(model, inputs)`` embeds it, ``(1, width)``; ``read(model,
    texts)`` embeds texts, ``(texts, width)``, once for as long as the weights stay the same. ``scale(model)`` gives the factor and the bias
    of the logits; without it a score is the cosine. ``labels`` are the texts to choose from if none are asked for, and further texts for a
    probability to compare with; they may be left out. ``template`` is what every text is put into before it is read: ``a photo of a {}``.
    ``layout`` says how the layer's output lies on the input, or is a function of the input that says so.
    """

    kind: ClassVar[str] = "classification"

    model: nn.Module
    preprocess: Preprocessing
    see: Callable[[Any, Any], Tensor]
    read: Callable[[Any, list[str]], Tensor]
    labels: Sequence[str] = ()
    template: str = "{}"
    scale: Callable[[Any], tuple[Any, Any]] | None = None
    layer: str | nn.Module | None = None
    name: str = "zero-shot classifier"
    activation: Literal["softmax", "sigmoid"] = "softmax"
    names: Names | None = None
    layout: Layout | Callable[[Any], Layout] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _shelf: EmbeddingCache = field(init=False, default_factory=EmbeddingCache, repr=False, compare=False)

    __repr__ = show_record

    def __post_init__(self) -> None:
        if self.activation not in ("softmax", "sigmoid"):
            raise InputError(f"activation={self.activation!r} was given; expected softmax or sigmoid")
        check_texts(self.labels, self.template)

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the texts asked for, embed those that have not been embedded yet, and make the input."""
        check_text_request(self.name, request)
        texts = list_texts(self.name, self.labels, request)
        read = self._shelf.get_embeddings(self.model, texts, self._read)
        inputs, geometry = self.preprocess(photo)
        return Prepared({"photo": to_model(inputs, self.model), "texts": read}, geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One pass over the photo; the logits of the texts asked for, or of the ``top_k`` labels that fit best."""
        texts, inputs = list_texts(self.name, self.labels, request), prepared.inputs
        factor, bias = (1.0, 0.0) if self.scale is None else self.scale(self.model)
        scores = compute_cosines(self.see(self.model, inputs["photo"]), inputs["texts"]) * factor + bias
        found = scores.detach()
        if self.activation == "sigmoid":
            probabilities: list[float | None] = found.sigmoid().tolist()
        else:
            probabilities = found.softmax(0).tolist() if len(texts) > 1 else [None]
        if request.labels:
            chosen = [texts.index(find_text(one, self.labels)) for one in request.labels]
        elif request.top_k < 1:
            raise TargetError(f"top_k must be at least 1, got {request.top_k}")
        else:
            known = len(dict.fromkeys(self.labels)) or len(texts)
            chosen = found[:known].topk(min(request.top_k, known)).indices.tolist()
        pairs = [
            (texts.index(find_text(this, self.labels)), texts.index(find_text(that, self.labels)))
            for this, that in request.contrasts
        ]
        values = [*(scores[one] for one in chosen), *(scores[this] - scores[that] for this, that in pairs)]
        targets = [
            Target(texts[one], "class", float(found[one]), probabilities[one], measure="similarity") for one in chosen
        ]
        targets += [
            make_contrast_target(texts[this], texts[that], float(found[this] - found[that]), measure="similarity")
            for this, that in pairs
        ]
        layout = (
            self.layout(inputs["photo"])
            if self.layout is not None and not isinstance(self.layout, Layout)
            else self.layout
        )
        return Spoken(torch.stack(values), targets, texts[int(found.argmax())], layout)

    def _read(self, texts: list[str]) -> Tensor:
        whole = [self.template.replace("{}", text) for text in texts]
        return torch.cat(
            [self.read(self.model, whole[start : start + _AT_ONCE]) for start in range(0, len(whole), _AT_ONCE)]
        )


def wrap_zero_shot(
    model: Any, processor: Any, name: str, *, labels: Sequence[str] | None = None, template: str = "{}"
) -> ZeroShotClassification:
    """CLIP, SigLIP, SigLIP 2, ChineseCLIP or ALIGN of transformers in memory as a task.

    The layer to explain is found by a trial run on noise. CLIP's image embedding is read from the class token, so the last block's
    output has no gradient on the patches and the input of that block's attention is explained.

    Args:
        model: the model with both of its towers.
        processor: its processor, with an ``image_processor`` and a ``tokenizer``.
        name: what to call it.
        labels: the texts to choose from; by default none, and texts are given with every photo instead.
        template: what every text is put into, such as ``a photo of a {}``; by default texts are read as they are.

    Raises:
        InputError: the processor lacks a part, or no layer to explain is found.
    """
    photos, tokenizer = getattr(processor, "image_processor", None), getattr(processor, "tokenizer", None)
    if photos is None or tokenizer is None:
        raise InputError(
            f"the processor of {name} is a {type(processor).__name__} without an image processor or a tokenizer; give the model's own"
        )
    sigmoid = type(model).__name__.startswith("Siglip")
    naflex = type(model).__name__ == "Siglip2Model"
    preprocess: Preprocessing = PatchPreprocess(photos) if naflex else FixedSizePreprocess(photos)
    read = _TextReader(tokenizer, fill=sigmoid)
    layer: str | None = "vision_model.post_layernorm"
    layout: Any = lay_out_patches
    if not naflex:
        inputs, geometry = preprocess(make_noise())
        inputs = detach_tensors(to_model(inputs, model))
        with preserve_model(model):
            texts = detach_tensors(read(model, ["a photo"]).detach())
        try:
            best = propose(
                model,
                lambda inputs: compute_cosines(_embed_photo(model, inputs), texts),
                inputs,
                geometry.input_size,
                within="vision_model",
                prove=model.config.model_type not in ZERO_SHOT_TOWERS,
            )[0]
        except LayerError as error:
            raise InputError(f"a trial run found no layer of {name} to explain: {error}") from error
        layer, layout = best.layer, best.layout
    return ZeroShotClassification(
        model,
        preprocess=preprocess,
        see=_embed_photo,
        read=read,
        labels=tuple(labels or ()),
        template=template,
        scale=_read_scale,
        layer=layer,
        layout=layout,
        activation="sigmoid" if sigmoid else "softmax",
        name=name,
    )


@final
@dataclass(frozen=True)
class FixedSizePreprocess:
    """A photo as ``pixel_values`` of one size."""

    processor: Any

    __repr__ = show_record

    def __call__(self, image: Image) -> tuple[dict[str, Tensor], Geometry]:
        """The pixels, and where they lie on the photo."""
        pixels, geometry = HubPreprocess(self.processor)(image)
        return {"pixel_values": pixels}, geometry

    def describe(self) -> dict[str, Any]:
        """What the processor's settings say."""
        return describe_processor(self.processor)


@final
@dataclass(frozen=True)
class PatchPreprocess:
    """A photo as SigLIP 2 takes it at its own proportions: a row of patches, padded, whose grid is in ``spatial_shapes``."""

    processor: Any

    __repr__ = show_record

    def __call__(self, image: Image) -> tuple[dict[str, Tensor], Geometry]:
        """The patches, and where they lie on the photo."""
        made = dict(self.processor(images=as_rgb(image), return_tensors="pt"))
        rows, columns = made["spatial_shapes"][0].tolist()
        side = self.processor.patch_size
        return made, make_resize_geometry(image.size, (columns * side, rows * side))

    def describe(self) -> dict[str, Any]:
        """What the processor's settings say."""
        return describe_processor(self.processor)


@final
@dataclass(frozen=True)
class _TextReader:
    """Texts through a tokenizer and the text tower; ``fill`` pads to the longest text that the model reads, as SigLIP was trained."""

    tokenizer: Any
    fill: bool

    def __call__(self, model: Any, texts: list[str]) -> Float[Tensor, "texts width"]:
        most = min(model.config.text_config.max_position_embeddings, self.tokenizer.model_max_length)
        for text in texts:
            count = len(self.tokenizer(text)["input_ids"])
            if count > most:
                raise InputError(
                    f"the text {text[:60]!r}... has {count} tokens, but the model reads at most {most}: shorten it"
                )
        made = self.tokenizer(
            texts,
            padding="max_length" if self.fill else True,
            max_length=most if self.fill else None,
            return_tensors="pt",
        )
        return _extract_pooled(model.get_text_features(**to_model(dict(made), model)))


def _embed_photo(model: Any, inputs: Any) -> Float[Tensor, "1 width"]:
    return _extract_pooled(model.get_image_features(**inputs))


def _extract_pooled(output: Any) -> Tensor:
    """The embedding, also where (from transformers 5 on) it comes with the tower's other outputs."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found


def _read_scale(model: Any) -> tuple[Any, Any]:
    """What the model makes of a cosine: a factor (ALIGN: one over its temperature) and a bias (SigLIP only)."""
    if getattr(model, "logit_scale", None) is None:
        return 1 / model.temperature.detach(), 0.0
    bias = getattr(model, "logit_bias", None)
    return model.logit_scale.detach().exp(), 0.0 if bias is None else bias.detach()


def lay_out_patches(inputs: Any) -> TokenLayout:
    """How SigLIP 2's patches lie on a photo: row by row, as ``spatial_shapes`` says."""
    rows, columns = inputs["spatial_shapes"][0].tolist()
    return TokenLayout(torch.arange(rows * columns, device="cpu").view(1, rows, columns))


def make_noise() -> Image:
    """A picture of noise, for trial runs."""
    from PIL import Image as Pictures

    noise = torch.randint(256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8, device="cpu")
    return Pictures.fromarray(noise.numpy())
