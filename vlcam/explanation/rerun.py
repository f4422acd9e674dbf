"""One photo and its targets, to be run again with changes: what perturbation methods and significance tests are made of.

A recording answers what the gradients say. Some questions need more runs: what if this patch were grey, this channel silent, this
ReLU's gradient another? Here the targets are settled (the same classes, the same answer, the same token ids, whatever the model would say
about the changed image), so that only the image, a layer or a gradient rule differs from the run that was explained.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import (
    Gradients,
    InputError,
    LayerError,
    Prepared,
    Request,
    ScoringTask,
    Spoken,
    Target,
    TargetError,
    Task,
    show_record,
)
from vlcam.engine.backward import check_differentiable
from vlcam.engine.chunks import count_rows
from vlcam.engine.layers import Grid
from vlcam.engine.modules import find_first_tensor, find_module, find_tensors, has_independent_rows, replace_tensor
from vlcam.engine.recording import pause_recording, record
from vlcam.engine.restore import preserve_model, undo_afterwards
from vlcam.explanation.evidence import LayerEvidence
from vlcam.explanation.head import PhotoHead, open_head
from vlcam.files import describe_error

_log = logging.getLogger(__name__)

_EVERY = 2**31
"""More classes than any model has."""


def fix_targets(request: Request, targets: Sequence[Target]) -> Request:
    """The request that leaves nothing open: whatever the image, it is these targets that are scored."""
    whole = next((one for one in targets if one.kind == "caption"), None)
    if whole is not None:
        return replace(request, ids=whole.token_ids)
    if any(one.kind == "word" for one in targets) or request.ids is not None:  # an answer in words
        answers = [one for one in targets if one.kind == "answer"]
        return replace(request, ids=answers[0].token_ids) if len(answers) == 1 and not request.labels else request
    # Texts stay texts: a model that writes its answers has no numbers for them.
    chosen = [one for one in targets if one.kind in ("class", "answer")]
    numbered = all(len(one.token_ids) == 1 and one.measure in ("logit", "score") for one in chosen)
    labels = tuple(one.token_ids[0] if numbered else one.label for one in chosen)
    return replace(request, labels=labels) if labels else request


def match_targets(wanted: Sequence[Target], found: Sequence[Target], task: str) -> list[int]:
    """Where another run has each of the targets: the places in ``found``, in the order of ``wanted``.

    Targets are the same if they agree in kind, label and token ids. Raises TargetError if one isn't there.
    """
    left = {place: (one.kind, one.label, one.token_ids) for place, one in enumerate(found)}
    order = []
    for target in wanted:
        names = target.kind, target.label, target.token_ids
        place = next((place for place, one in left.items() if one == names), None)
        if place is None:
            raise TargetError(
                f"{task} didn't score {target.label!r} again on another run; its task must score the labels and Request.ids that it is "
                "given"
            )
        del left[place]
        order.append(place)
    return order


@final
@dataclass(frozen=True, eq=False)
class PhotoSubject:
    """A photo prepared for a task, the targets that were explained, and what the explained layer gave: a :class:`vlcam.contracts.Subject`.

    ``request`` is settled (see :func:`fix_targets`). ``progress`` is called with (done, all) by methods that take long.
    """

    task: Task
    prepared: Prepared
    request: Request
    targets: tuple[Target, ...]
    evidence: LayerEvidence
    progress: Callable[[int, int], Any] | None = None
    _logged: list[str] = field(default_factory=list)

    __repr__ = show_record

    @property
    def model(self) -> nn.Module:
        """The task's model."""
        return self.task.model

    @property
    def layer(self) -> str:
        """The name of the explained layer."""
        return self.evidence.layer

    @property
    def activations(self) -> Float[Tensor, "1 channels rows columns"]:
        """The layer's activations, detached, each cell in its place on the model's input."""
        return self._place(self.evidence.activations)

    @property
    def gradients(self) -> Gradients:
        """The gradients of the T scores at the layer, detached, placed as the activations are."""
        return self._place(self.evidence.slopes)

    @property
    def image(self) -> Float[Tensor, "1 channels height width"]:
        """The image as the model takes it, detached.

        Raises InputError if the model's input isn't one image of the size that the geometry says: tiles, or patches in a row.
        """
        return self._find_image().detach()

    def report(self, done: int, total: int) -> None:
        """Report progress: ``done`` of ``total`` runs."""
        if self.progress is not None:
            self.progress(done, total)

    def scores(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch targets"]:
        """The scores of B changed images, without autograd, in chunks of bounded memory; on the device of ``images``."""
        like = self.image
        if images.shape[1:] != like.shape[1:]:
            raise InputError(
                f"images of shape {tuple(images.shape)} were given; expected (batch, {', '.join(map(str, like.shape[1:]))})"
            )
        rows = count_rows(like.numel())
        with self._stop_autograd():
            # Channels last: convolutions on a CPU are quicker then, and nothing else changes.
            found = [
                self._score_chunk(part.to(like.device, like.dtype).contiguous(memory_format=torch.channels_last))
                for part in images.split(rows)
            ]
        return torch.cat(found).to(images.device) if found else images.new_zeros(0, len(self.targets))

    def scores_with(self, masks: Float[Tensor, "batch layer_channels"]) -> Float[Tensor, "batch targets"]:
        """The scores with the layer's channels multiplied by each of B masks, without autograd.

        Raises LayerError if the masks aren't as wide as the layer.
        """
        channels = self.activations.shape[1]
        if masks.shape[1] != channels:
            raise LayerError(f"masks for {masks.shape[1]} channels were given; layer {self.layer!r} has {channels}")
        cells = self.activations[0, 0].numel()
        rows = count_rows(channels * cells)
        with self._stop_autograd():
            found = [self._score_mask_chunk(part.to(self.activations.device)) for part in masks.split(rows)]
        return torch.cat(found).to(masks.device) if found else masks.new_zeros(0, len(self.targets))

    def rerun(
        self, leaf: Literal["image", "layer"], within: AbstractContextManager[Any] | None = None
    ) -> tuple[Float[Tensor, " targets"], Tensor]:
        """Run once more, differentiably and inside ``within``: the T scores, and the leaf that they depend on.

        Raises:
            InputError: for the image of a model that doesn't take one image.
            LayerError: the scores don't depend on the leaf.
        """
        inside = nullcontext() if within is None else within
        if leaf == "layer":
            with record(self.model, self.layer) as recording, inside:
                scores = self.order_scores(self.task.run(self.prepared, self.request))
            return scores, recording.resolve(scores)
        with preserve_model(self.model):
            image = self.image.clone().requires_grad_()
            with inside:
                # A copy of the leaf: a model may begin with an operation in place.
                scores = self.order_scores(self.task.run(self._replace_image(image.clone()), self.request))
        check_differentiable(scores)
        return scores, image

    @property
    def cells(self) -> Float[Tensor, "1 channels ..."]:
        """The layer's activations as the head takes them: tokens in their own order."""
        return self.evidence.activations

    @property
    def cell_gradients(self) -> Float[Tensor, "targets channels ..."]:
        """The gradients of the T scores at ``cells``."""
        return self.evidence.slopes

    def open_head(self) -> AbstractContextManager[PhotoHead]:
        """What follows the layer, ready to be run without the layers before (see :func:`vlcam.explanation.head.open_head`)."""
        return open_head(
            self.evidence,
            self.task,
            lambda: self.order_scores(self.task.run(self.prepared, self.request)),
            self._score_rows_of_head,
            lambda: self.task.run(self.prepared, replace(self.request, labels=(), contrasts=(), top_k=_EVERY)),
            self.report,
        )

    def _score_rows_of_head(self) -> Tensor:
        assert isinstance(self.task, ScoringTask)
        return self.task.score_batch(self.prepared, self.request)

    def place(self, maps: Float[Tensor, "targets ..."]) -> Float[Tensor, "targets rows columns"]:
        """Maps of the head's cells, with every cell where it lies on the model's input."""
        placed: Tensor = self.evidence.grid.place(maps)
        return placed

    def to_maps(self, tensor: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch layer_channels rows columns"]:
        """The layer's output, or its gradient, with channels first."""
        return self._place(self.evidence.grid.to_maps(tensor))

    def _place(
        self, maps: Float[Tensor, "batch layer_channels ..."]
    ) -> Float[Tensor, "batch layer_channels rows columns"]:
        """Maps of every channel with the cells where they lie: tokens may come in any order."""
        placed: Tensor = self.evidence.grid.place(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        return placed

    @contextmanager
    def _stop_autograd(self) -> Iterator[None]:
        with preserve_model(self.model), pause_recording():
            yield

    def _replace_image(self, image: Tensor) -> Prepared:
        """The inputs with another image, or a batch of them, in the place of the photo's."""
        return replace(self.prepared, inputs=replace_tensor(self.prepared.inputs, self._find_image(), image))

    def _find_image(self) -> Tensor:
        """The tensor among the inputs that is the image, itself."""
        width, height = self.prepared.geometry.input_size
        images = [
            one
            for one in find_tensors(self.prepared.inputs)
            if one.is_floating_point() and one.ndim == 4 and len(one) == 1 and tuple(one.shape[2:]) == (height, width)
        ]
        if len(images) != 1:
            shapes = ", ".join(str(tuple(one.shape)) for one in find_tensors(self.prepared.inputs))
            raise InputError(
                f"{self.task.name} takes its photo as {shapes or 'no tensor'}, not as one image (1, channels, {height}, {width}), so "
                "pixels can't be changed or followed back; explain with a method of one run, such as gradcam"
            )
        return images[0]

    def _score_chunk(self, images: Tensor) -> Tensor:
        batched = self._score_rows(self._replace_image(images), len(images))
        if batched is not None:
            return batched
        return torch.stack(
            [
                self.order_scores(self.task.run(self._replace_image(image[None]), self.request)).detach()
                for image in images
            ]
        )

    def _score_mask_chunk(self, masks: Tensor) -> Tensor:
        """The scores with each mask: all in one pass where the layer is a grid and the task can, or one by one."""
        _, module = find_module(self.model, self.layer)
        if isinstance(self.evidence.grid, Grid):
            with _scale_channels(module, masks, self.evidence.grid.layout):
                batched = self._score_rows(self.prepared, len(masks))
            if batched is not None:
                return batched
        found = []
        layout = self.evidence.grid.layout if isinstance(self.evidence.grid, Grid) else "BNC"
        for mask in masks:
            with _scale_channels(module, mask[None], layout):
                found.append(self.order_scores(self.task.run(self.prepared, self.request)).detach())
        return torch.stack(found)

    def _score_rows(self, prepared: Prepared, rows: int) -> Tensor | None:
        """The scores of all rows at once, if the task can do that for its model."""
        if not isinstance(self.task, ScoringTask) or not has_independent_rows(self.model):
            return None
        try:
            scores = self.task.score_batch(prepared, self.request)
        except Exception as error:  # whatever it is, it shows again row by row
            if not self._logged:
                self._logged.append(describe_error(error))
                _log.debug("%s scores changed photos one by one: %s", self.task.name, self._logged[0])
            return None
        return scores.detach() if scores.shape == (rows, len(self.targets)) else None

    def order_scores(self, spoken: Spoken) -> Tensor:
        """The scores in the order of the targets: answers that a model writes are ranked anew on every run."""
        return spoken.scores[match_targets(self.targets, spoken.targets, self.task.name)]


@contextmanager
def _scale_channels(module: nn.Module, masks: Tensor, layout: Literal["BCHW", "BHWC", "BNC"]) -> Iterator[None]:
    """Inside, each row of the layer's output has its channels multiplied by a row of ``masks``; one row is meant for all."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        found = find_first_tensor(output)
        if found is None:
            return None
        shape = (len(masks), -1, 1, 1) if layout == "BCHW" else (len(masks), *(1,) * (found.ndim - 2), -1)
        return replace_tensor(output, found, found * masks.to(found.dtype).reshape(shape))

    with undo_afterwards() as undo:
        undo.add_hook(module.register_forward_hook, hook)
        yield
