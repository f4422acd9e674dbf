"""Image-text matching as a task: does a text fit a photo, for models that read both together (BLIP, arXiv 2201.12086, section 3.2).

Any text can be explained. Its score is the model's own logit of a match (with two outputs, "match" minus "no match"), so that its sigmoid
is the probability that the model gives to a match. ViLT (arXiv 2102.03334, section 4.1) has one output, which was trained to rank texts:
its probability is the softmax over all texts that the photo was compared with.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

import torch
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
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
from vlcam.engine.draws import PrivateDraws
from vlcam.engine.find_layer import propose
from vlcam.engine.layers import TokenLayout
from vlcam.engine.modules import find_module
from vlcam.engine.outputs import to_model
from vlcam.engine.precision import widen
from vlcam.engine.recording import pause_recording, run_once
from vlcam.engine.restore import detach_tensors
from vlcam.tasks.classification import Preprocessing
from vlcam.tasks.from_vilt import ViltPreprocess, find_vilt_layer, lay_out_vilt
from vlcam.tasks.hub_places import follow_input
from vlcam.tasks.labels import make_contrast_target
from vlcam.tasks.texts import check_text_request, check_texts, find_text, list_texts
from vlcam.tasks.zero_shot import FixedSizePreprocess, make_noise

LayoutOfPhoto = Callable[[Any, Any], Any]


@final
@dataclass(frozen=True)
class TextMatching:
    """A model that reads a photo and a text together and says whether they match, and how to use it.

    ``preprocess`` turns a photo into the model's input and the geometry; ``read(text)`` makes the input of a text; ``match(model, inputs,
    text)`` gives the logit of a match, one number. ``labels`` and ``template`` are those of
    :class:`vlcam.tasks.zero_shot.ZeroShotClassification`. ``once`` are the dotted names of the modules that see only the photo: they run
    once for all texts. Without any, photo and text go through the model in one stream, every layer's output depends on the text, and one
    text is explained at a time. ``layout`` says how the layer's output lies on the input, or is a function of the photo's and the text's
    inputs that says so. ``activation``: the ``sigmoid`` of the logit is the probability of a match, or the ``softmax`` over all texts is
    that of a text.
    """

    kind: ClassVar[str] = "classification"

    model: nn.Module
    preprocess: Preprocessing
    read: Callable[[str], Any]
    match: Callable[[Any, Any, Any], Tensor]
    labels: Sequence[str] = ()
    template: str = "{}"
    once: tuple[str, ...] = ()
    layer: str | nn.Module | None = None
    name: str = "text matcher"
    activation: Literal["softmax", "sigmoid"] = "sigmoid"
    names: Names | None = None
    layout: Layout | LayoutOfPhoto | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    __repr__ = show_record

    def __post_init__(self) -> None:
        check_texts(self.labels, self.template)

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the texts asked for, read them, and make the input."""
        check_text_request(self.name, request)
        texts = list_texts(self.name, self.labels, request)
        asked = dict.fromkeys(find_text(one, self.labels) for one in request.labels)
        if not self.once and (len(asked) > 1 or request.contrasts):
            raise InputError(
                f"{self.name} reads photo and text in one stream, so the output of its layers depends on the text; explain one text at a "
                "time, without a contrast"
            )
        if request.top_k < 1:
            raise TargetError(f"top_k must be at least 1, got {request.top_k}")
        read = tuple(to_model(self.read(self.template.replace("{}", text)), self.model) for text in texts)
        inputs, geometry = self.preprocess(photo)
        return Prepared({"photo": to_model(inputs, self.model), "texts": read}, geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One pass over the photo, and one run of the rest for each text: the texts asked for, or the ``top_k`` best labels."""
        texts = list_texts(self.name, self.labels, request)
        photo, read = prepared.inputs["photo"], prepared.inputs["texts"]
        chosen = [texts.index(find_text(one, self.labels)) for one in request.labels]
        pairs = [tuple(texts.index(find_text(one, self.labels)) for one in pair) for pair in request.contrasts]
        known: dict[int, Tensor] = {}
        notes: tuple[str, ...] = ()
        with self._look_once():
            if not chosen:
                count = len(dict.fromkeys(self.labels)) or len(texts)
                known = self._compare(photo, read, range(count))
                order = sorted(known, key=lambda one: -float(known[one]))
                chosen = order[: request.top_k if self.once else 1]
                if len(chosen) < min(request.top_k, count):
                    notes = (
                        "Only the best text is explained: photo and text go through the model in one stream, one text at a time.",
                    )
            explained = dict.fromkeys([*chosen, *(one for pair in pairs for one in pair)])
            scores = {one: self._match(photo, read[one]) for one in explained}
            known |= self._compare(photo, read, [one for one in range(len(texts)) if one not in {**known, **scores}])
        known |= {one: score.detach() for one, score in scores.items()}
        found = torch.stack([known[one].float() for one in range(len(texts))])
        values = [*(scores[one] for one in chosen), *(scores[this] - scores[that] for this, that in pairs)]
        probabilities: list[float | None] = [None] * len(texts)
        if self.activation == "sigmoid":
            probabilities = found.sigmoid().tolist()
        elif len(texts) > 1:
            probabilities = found.softmax(0).tolist()
        targets = [
            Target(texts[one], "class", float(found[one]), probabilities[one], measure="logit") for one in chosen
        ]
        targets += [
            make_contrast_target(texts[this], texts[that], float(found[this] - found[that])) for this, that in pairs
        ]
        layout: Any = self.layout
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(photo, read[chosen[0]])
        return Spoken(torch.stack(values), targets, texts[int(found.argmax())], layout, notes=notes)

    @contextmanager
    def _look_once(self) -> Iterator[None]:
        """Within this context, the modules that see only the photo run once."""
        with ExitStack() as stack:
            for name in self.once:
                stack.enter_context(run_once(find_module(self.model, name)[1], []))
            yield

    def _compare(self, photo: Any, read: Sequence[Any], wanted: Sequence[int]) -> dict[int, Tensor]:
        """The logits of some texts that are not explained."""
        with pause_recording():
            return {one: self._match(photo, read[one]).detach() for one in wanted}

    def _match(self, photo: Any, text: Any) -> Tensor:
        found = self.match(self.model, photo, text)
        if found.numel() != 1:
            raise InputError(f"match(...) returned {tuple(found.shape)}; expected one number, the logit of a match")
        return found.reshape(())


def wrap_matching(
    model: Any, processor: Any, name: str, *, labels: Sequence[str] | None = None, template: str = "{}"
) -> TextMatching:
    """A matching head of transformers in memory as a task: BLIP, BLIP-2, ViLT, BridgeTower.

    The last block of the vision tower is explained (for BLIP and BLIP-2 it is found by a trial run on noise that checks its positions). For
    ViLT it is the input of the last block's attention, whose patches come in a random order that is kept the same in every run.

    Args:
        model: the model with its head.
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
    read = _make_reader(model, tokenizer)
    preprocess: Preprocessing = FixedSizePreprocess(photos)
    once: tuple[str, ...] = ("vision_model",)
    layout: Layout | LayoutOfPhoto
    kind = model.config.model_type
    if kind == "vilt":
        preprocess, once, layer = ViltPreprocess(photos), (), find_vilt_layer(model, name)
        layout = lambda photo, text: lay_out_vilt(model, photo, text)  # noqa: E731
    elif kind == "bridgetower":
        tower = "bridgetower.vision_model.visual"
        blocks: Any = find_module(model, f"{tower}.transformer.resblocks")[1]
        once = (f"{tower}.embeddings", *(f"{tower}.transformer.resblocks.{n}" for n in range(len(blocks))))
        layer, side = once[-1], int(model.config.vision_config.patch_size)
        layout = lambda photo, text: _lay_out_after_class(photo, side)  # noqa: E731
    else:
        layer, layout = _find_layer(model, preprocess, read, name)
    return TextMatching(
        model,
        preprocess=preprocess,
        read=read,
        match=score_match,
        labels=tuple(labels or ()),
        template=template,
        once=once,
        layer=layer,
        layout=layout,
        activation="softmax" if kind == "vilt" else "sigmoid",
        name=name,
    )


def score_match(model: Any, photo: Any, text: Any) -> Tensor:
    """The logit of a match by one of transformers' heads: its only output, or "match" minus "no match"."""
    options = {"use_image_text_matching_head": True} if model.config.model_type == "blip-2" else {}
    with PrivateDraws(0):  # ViLT draws the order of its patches
        output = model(**photo, **text, **options)
    outputs = (getattr(output, field, None) for field in ("itm_score", "logits", "logits_per_image"))
    found = widen(next(one for one in outputs if one is not None)[0])
    return found[1] - found[0] if len(found) == 2 else found[0]


def _find_layer(
    model: Any, preprocess: Preprocessing, read: Callable[[str], Any], name: str
) -> tuple[str, Layout | LayoutOfPhoto]:
    """The last layer of the vision tower with positions on the photo, from trial runs on noise, and how it lies on the photo."""
    inputs, geometry = preprocess(make_noise())
    inputs, text = detach_tensors(to_model(inputs, model)), detach_tensors(to_model(read("a photo"), model))
    try:
        best = propose(
            model, lambda photo: score_match(model, photo, text), inputs, geometry.input_size, within="vision_model"
        )[0]
    except LayerError as error:
        raise InputError(f"a trial run found no layer of {name} to explain: {error}") from error
    layout = follow_input(best.layout, preprocess)
    return best.layer, layout if isinstance(layout, Layout) else lambda photo, text: layout(photo)


def _lay_out_after_class(photo: Any, side: int) -> TokenLayout:
    """Patches row by row after a class token, whatever axis the tokens are on."""
    rows, columns = (int(size) // side for size in photo["pixel_values"].shape[-2:])
    return TokenLayout(torch.arange(1, rows * columns + 1, device="cpu").view(1, rows, columns))


@final
@dataclass(frozen=True)
class _TokenReader:
    """A text through a tokenizer, after the tokens that stand for the photo, if there are any."""

    tokenizer: Any
    most: int
    before: tuple[int, ...] = ()

    __repr__ = show_record

    def __call__(self, text: str) -> dict[str, Tensor]:
        ids = list(self.tokenizer(text)["input_ids"])
        if len(ids) > self.most:
            raise InputError(
                f"the text {text[:60]!r}... has {len(ids)} tokens, but the model reads at most {self.most}: shorten it"
            )
        row = torch.tensor([[*self.before, *ids]], dtype=torch.long, device="cpu")
        return {"input_ids": row, "attention_mask": torch.ones_like(row)}


def _make_reader(model: Any, tokenizer: Any) -> _TokenReader:
    config, kind = model.config, model.config.model_type
    text = {"blip-2": "qformer_config", "vilt": None}.get(kind, "text_config")
    text = config if text is None else getattr(config, text)
    most = int(text.max_position_embeddings)
    if kind == "bridgetower":
        most -= int(text.pad_token_id) + 1  # RoBERTa counts positions from after the padding's
    before: tuple[int, ...] = ()
    if kind == "blip-2" and config.image_token_index is not None:
        before = (int(config.image_token_index),) * int(config.num_query_tokens)
    return _TokenReader(tokenizer, min(most, int(tokenizer.model_max_length)), before)
