"""What methods that run only what follows the layer are given, and what they return."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import Gradients, Maps, Target, show_record


@runtime_checkable
class HeadRunner(Protocol):
    """What follows the explained layer, to be run with B outputs of the layer in its place (see :mod:`vlcam.explanation.head`).

    T targets; activations have C channels and h x w cells, as the layer has them: tokens in any order are one column of cells.
    """

    activations: Float[Tensor, "1 channels rows columns"]

    def score(self, points: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch targets"]:
        """The scores with each of B activations, without autograd, in chunks of bounded memory."""
        ...

    def average_gradients(self, points: Float[Tensor, "batch channels rows columns"]) -> Gradients:
        """The gradients of the T scores at each of B activations, averaged over these, in chunks of bounded memory."""
        ...

    def differentiate(
        self, points: Float[Tensor, "batch channels rows columns"]
    ) -> tuple[Float[Tensor, "batch targets"], Float[Tensor, "batch channels rows columns"]]:
        """The differentiable scores with each of B activations, in one pass, and the leaf that they depend on."""
        ...

    def differentiate_classes(
        self,
    ) -> tuple[Float[Tensor, " classes"], tuple[int, ...], Float[Tensor, "1 channels rows columns"]]:
        """The differentiable scores of all classes (or answers) at the own activations, their numbers, and the leaf they depend on.

        Raises InputError for a model that has no classes.
        """
        ...


@runtime_checkable
class HeadSubject(Protocol):
    """One photo and its targets, of which what follows the layer can be run by itself; T targets, a layer of C channels.

    Unlike a :class:`vlcam.contracts.Subject` it needs no image: the model may take its photo as tiles or packed patches.
    """

    @property
    def targets(self) -> Sequence[Target]:
        """The T targets, in the order of all scores."""
        ...

    @property
    def model(self) -> nn.Module: ...  # noqa: D102
    @property
    def layer(self) -> str:
        """The name of the explained layer."""
        ...

    @property
    def cells(self) -> Float[Tensor, "1 channels ..."]:
        """The layer's activations as :class:`HeadRunner` takes them: tokens in their own order."""
        ...

    @property
    def cell_gradients(self) -> Float[Tensor, "targets channels ..."]:
        """The gradients of the T scores at ``cells``."""
        ...

    def open_head(self) -> AbstractContextManager[HeadRunner]:
        """What follows the layer, ready to be run without the layers before. Raises LayerError where that can't be done."""
        ...

    def place(self, maps: Float[Tensor, "targets ..."]) -> Maps:
        """Maps of the head's cells, with every cell where it lies on the model's input."""
        ...


@final
@dataclass(frozen=True)
class FoundMaps:
    """What a perturbation method found, if that is more than maps.

    ``maps`` are *signed* and raw, ``(targets, rows, columns)``; ``contributions`` ``(targets, channels)`` is what each channel of the layer
    adds to the sum of the map, and ``alpha`` its mean gradient, if the method has its own; ``steps`` are the display steps
    (:mod:`vlcam.image.display`) that the maps are drawn with. ``method`` is the name of the method that was taken in the end, ``relu`` its,
    and ``choice`` says why, if the method chooses among others. ``saturation`` is how far the gradient at the activations is from the
    averaged one, if the method has one (:func:`vlcam.methods.diagnose.measure_saturation`).
    """

    maps: Maps
    alpha: Float[Tensor, "targets channels"] | None = None
    contributions: Float[Tensor, "targets channels"] | None = None
    steps: tuple[str, ...] = ()
    method: str | None = None
    relu: bool | None = None
    choice: str | None = None
    saturation: float | None = None

    __repr__ = show_record
