"""What the pieces promise each other: targets, tasks and methods.

The engine, the methods and the tasks meet only through the types of this module.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, final, runtime_checkable

from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.errors import InputError as InputError
from vlcam.errors import LayerError as LayerError
from vlcam.errors import TargetError as TargetError
from vlcam.errors import VlcamError as VlcamError
from vlcam.errors import find_name as find_name
from vlcam.errors import shorten as shorten

Activations = Float[Tensor, "one_or_targets channels rows columns"]
Gradients = Float[Tensor, "targets channels rows columns"]
Maps = Float[Tensor, "targets rows columns"]

Kind = Literal["class", "word", "caption", "answer", "contrast"]
Measure = Literal["logit", "log-probability", "similarity", "score"]
Gain = Literal["blank", "blur"]


_LONGEST_REPR = 298
_PLAIN = (str, int, float, bool, tuple, type(None))


def show_record(record: Any) -> str:
    """The ``repr`` of a record, under 300 characters: its fields that aren't at their defaults, tensors and lists by their size only.

    >>> Request(labels=("red", "blue"), question="What colour?")
    Request(labels=<2 items>, question='What colour?')
    """
    shown = []
    for one in fields(record):
        value = getattr(record, one.name)
        usual = value is one.default or (
            isinstance(value, _PLAIN) and isinstance(one.default, _PLAIN) and value == one.default
        )
        if one.repr and not usual:
            shown.append(f"{one.name}={show_value(value)}")
    return shorten(f"{type(record).__name__}({', '.join(shown)}", _LONGEST_REPR) + ")"


def show_value(value: Any) -> str:
    """One value in a few words: numbers and short texts as they are, of all else its size or type."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return f"'{shorten(value)}'"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else f"<int of {value.bit_length()} bits>"
    if isinstance(value, float):
        return f"{float(value):.4g}"
    if isinstance(value, tuple) and 0 < len(value) <= 4 and all(isinstance(one, (int, float)) for one in value):
        return f"({', '.join(map(show_value, value))})"
    kind = shorten(str(getattr(value, "__name__", type(value).__name__)))
    if isinstance(value, Tensor) and value.numel() <= 4 and value.device.type != "meta":
        return f"<{kind} {' '.join(map(show_value, value.flatten().tolist()))}>"
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return f"<{kind} {'x'.join(map(str, shape))}>"
    return f"<{len(value)} items>" if isinstance(value, (Sequence, Mapping, Set)) else f"<{kind}>"


@final
@dataclass(frozen=True)
class Geometry:
    """Where a model's input lies on the photo: an axis-aligned affine map, kept exactly.

    A point ``(x, y)`` of the photo (pixel ``i`` covers ``[i, i + 1)``) lies at ``(x * scale[0] + offset[0], y * scale[1] + offset[1])``
    of the model's input. Sizes are ``(width, height)`` in pixels. What to do with it is in :mod:`vlcam.image.geometry`.
    """

    photo_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]


@final
@dataclass(frozen=True)
class Target:
    """Something the model said (or might have said): a class, a word of a caption, a whole caption, an answer, a contrast.

    ``score`` is the differentiated scalar (logit or log-probability); ``probability`` is what the model gives it, if it has one.
    ``span`` is the half-open character range in the explanation's text that the target stands for. ``measure`` says what the score
    is. ``gain`` is the visual information gain in nats: the log-probability with the image less that without it, if it was asked for.
    ``reading`` has the signed importance of each word of the question, in the order of the explanation's ``question_words``.
    """

    label: str
    kind: Kind
    score: float = float("nan")
    probability: float | None = None
    token_ids: tuple[int, ...] = ()
    span: tuple[int, int] | None = None
    measure: Measure = "score"
    gain: float | None = None
    reading: tuple[float, ...] = ()

    def __repr__(self) -> str:
        likely = "" if self.probability is None else f", p {self.probability:.3g}"
        return f"Target({shorten(self.kind, 12)} '{shorten(self.label)}': {shorten(self.measure, 24)} {self.score:.4g}{likely})"


@final
@dataclass(frozen=True)
class Request:
    """What a person asks of a task. Empty fields let the model speak for itself.

    ``labels``: classes or answers to explain; ``caption``: the caption to explain instead of the model's own; ``question``: for
    VQA; ``top_k``: how many classes or answers the model names by itself; ``contrasts``: pairs (this, rather than that);
    ``prompt``: what a generative model is told before it speaks; ``measure``: what the scores of words are; ``ids``: the token ids
    of the text to score, where they are known already (the same text can be written with other tokens).
    """

    labels: tuple[str | int, ...] = ()
    caption: str | None = None
    question: str | None = None
    top_k: int = 3
    contrasts: tuple[tuple[str | int, str | int], ...] = ()
    prompt: str | None = None
    measure: Literal["log-probability", "logit"] = "log-probability"
    ids: tuple[int, ...] | None = None

    __repr__ = show_record


def check_question(name: str, question: Any) -> None:
    """Raise InputError, which says how to give it, unless there is a question for the question answerer of that name."""
    if question is not None and not isinstance(question, str):
        raise InputError(f"question={show_value(question)} was given; expected a string")
    if question is None or not question.strip():
        raise InputError(
            f"no question was given, and {name} answers questions; give question=, such as question='what colour is the star' "
            "(--question on the command line)"
        )


@final
@dataclass(frozen=True)
class Prepared:
    """A photo (and text) made ready for one model: whatever ``Task.run`` needs, and where the model's input lies on the photo."""

    inputs: Any
    geometry: Geometry

    __repr__ = show_record


@runtime_checkable
class Layout(Protocol):
    """How a layer's output lies on the model's input.

    See :class:`vlcam.engine.layers.Grid` and :class:`vlcam.engine.layers.TokenLayout`.
    """

    def to_maps(self, tensor: Tensor) -> Float[Tensor, "batch channels rows columns"]:
        """The layer's output, or its gradient, with channels first. Raises LayerError if it is laid out differently."""
        ...

    def place(self, maps: Float[Tensor, "targets ..."]) -> Maps:
        """Maps of what ``to_maps`` gave, with every cell where it lies on the model's input."""
        ...


@final
@dataclass(frozen=True)
class QuestionEmbeddings:
    """A question as the model read it: for its words, the character ranges and the positions of their tokens.

    ``leaf`` ``(1, tokens, width)`` are the embeddings of its tokens, a tensor that the scores depend on; of photos that were run
    together it is one tensor with a row for each.
    """

    leaf: Float[Tensor, "photos tokens width"]
    words: tuple[tuple[tuple[int, int], tuple[int, ...]], ...]

    __repr__ = show_record


@final
@dataclass(frozen=True)
class LeftOutWords:
    """A question whose words are weighed by leaving each of them out.

    ``spans`` are the character ranges of its words. ``weigh()`` runs the model once with the whole question and once without each word,
    and returns how much the scores fall; it raises InputError if the model can't read what is left of the question.
    """

    spans: tuple[tuple[int, int], ...]
    weigh: Callable[[], Float[Tensor, "targets words"]]

    __repr__ = show_record


@final
@dataclass(frozen=True)
class Spoken:
    """What the model said in its one differentiable run.

    ``scores`` are ``(targets,)`` differentiable scalars in the order of ``targets``. ``text`` is what the spans of the targets
    refer to: the caption, the answer, or the top class. ``layout`` says how the layer's output lies on the model's input, or is a
    function of that output that does; by default it lies as the maps of a CNN. ``asked`` is the question, if its words are to be
    weighed; ``notes`` are sentences that belong to the result, such as that the layer was guessed.
    """

    scores: Float[Tensor, " targets"]
    targets: Sequence[Target]
    text: str
    layout: Layout | Callable[[Tensor], Layout] | None = None
    asked: QuestionEmbeddings | LeftOutWords | None = None
    notes: tuple[str, ...] = ()

    __repr__ = show_record


@runtime_checkable
class Names(Protocol):
    """Names of the channels of one layer, able to say in words what a target rests on (see :mod:`vlcam.neurons`)."""

    @property
    def layer(self) -> str: ...  # noqa: D102

    def text(self, target: Target, alpha: Tensor, contributions: Tensor, activity: Tensor, *, ranking: str) -> Any:
        """The :class:`vlcam.explanation.record.NeuronText` of one target; the tensors are ``(channels,)``."""
        ...


@runtime_checkable
class Task(Protocol):
    """One model, seen as something that speaks about photos.

    ``kind`` is ``classification``, ``captioning`` or ``vqa``; ``name`` identifies the model in results. ``layer`` is the layer to
    explain: a dotted name, a module, or None to let vlcam find the last spatial layer. ``names`` are the names of that layer's
    channels, if it has any. A task may also have ``defaults``: the ``layer`` and the ``method`` that :func:`vlcam.explain` takes where it
    is given none, such as those of a recipe.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def model(self) -> nn.Module: ...  # noqa: D102
    @property
    def layer(self) -> str | nn.Module | None: ...  # noqa: D102
    @property
    def names(self) -> Names | None: ...  # noqa: D102

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the request and make the inputs. Raises InputError or TargetError for what the model can't take."""
        ...

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """Run the model once, differentiably. Called inside :func:`vlcam.engine.recording.record`."""
        ...


@runtime_checkable
class BatchTask(Task, Protocol):
    """A task that can also run several photos in one forward pass, in eval mode independent of each other."""

    def run_batch(self, prepared: Sequence[Prepared], request: Request) -> Sequence[Spoken]:
        """What ``run`` says of each photo. Called inside :func:`vlcam.engine.recording.record`.

        Raises InputError for inputs that don't fit together; they are then run one by one.
        """
        ...


@runtime_checkable
class ScoringTask(Task, Protocol):
    """A task that can score the same targets for several inputs in one forward pass."""

    def score_batch(self, prepared: Prepared, request: Request) -> Float[Tensor, "batch targets"]:
        """The scores that ``run`` gives, of every row: the image in ``prepared.inputs``, or what a layer returned, may be B of them.

        The request leaves nothing open: classes and answers are given, and of texts the token ids. Whatever goes with the image (a
        question) is there once and is meant for every row. Differentiable.
        """
        ...


@runtime_checkable
class Subject(Protocol):
    """One photo and its targets as something that can be run again, changed (see :class:`vlcam.explanation.rerun.PhotoSubject`).

    T targets, an image of c channels and H x W pixels, a layer of C channels and an h x w grid. All runs are in eval mode, leave the
    model as it was, and are unseen by recordings.
    """

    @property
    def targets(self) -> Sequence[Target]:
        """The T targets, in the order of all scores."""
        ...

    @property
    def image(self) -> Float[Tensor, "1 channels height width"]:
        """The image as the model takes it (normalised), detached. Raises InputError if the model's input isn't one image."""
        ...

    @property
    def model(self) -> nn.Module: ...  # noqa: D102
    @property
    def layer(self) -> str:
        """The name of the explained layer."""
        ...

    @property
    def activations(self) -> Float[Tensor, "1 channels rows columns"]:
        """The layer's activations, detached."""
        ...

    @property
    def gradients(self) -> Gradients:
        """The gradients of the T scores at the layer, detached."""
        ...

    def scores(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch targets"]:
        """The scores of B changed images, without autograd, in chunks of bounded memory; on the device of ``images``."""
        ...

    def scores_with(self, masks: Float[Tensor, "batch layer_channels"]) -> Float[Tensor, "batch targets"]:
        """The scores with the layer's channels multiplied by each of B masks, without autograd; only what comes after runs B times."""
        ...

    def rerun(
        self, leaf: Literal["image", "layer"], within: AbstractContextManager[Any] | None = None
    ) -> tuple[Float[Tensor, " targets"], Tensor]:
        """Run once more, differentiably and inside ``within``: the T scores, and the leaf that they depend on.

        The leaf is the image ``(1, c, H, W)``, or the layer's output as the layer gives it (``to_maps`` reads it).
        """
        ...

    def to_maps(self, tensor: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch layer_channels rows columns"]:
        """The layer's output, or its gradient, with channels first."""
        ...

    def report(self, done: int, total: int) -> None:
        """Report progress: ``done`` runs of ``total``."""
        ...


@final
@dataclass(frozen=True)
class PerturbationMethod:
    """A perturbation method: it takes more than the activations and gradients of one run, and runs the model again.

    ``function(subject)`` returns *signed* raw maps ``(targets, rows, columns)`` that cover the model's input evenly, on any grid (of
    pixels, say), or :class:`vlcam.methods.head.FoundMaps`; ``relu`` as in :class:`Method`. ``cost`` says in words how many runs that
    takes; ``quick`` says that it runs only what follows the layer, a few times, so that no progress bar is shown.
    """

    name: str
    function: Callable[[Any], Any]
    title: str
    paper: str
    equation: str
    relu: bool = True
    cost: str = "one more run"
    quick: bool = False

    __repr__ = show_record


@final
@dataclass(frozen=True)
class Method:
    """A way to turn activations and gradients into maps.

    ``function(activations, gradients)`` returns *signed* raw maps ``(targets, rows, columns)``: no normalising, no resizing, and
    not the final ReLU, which the caller applies when ``relu`` is true and signed maps were not asked for.
    """

    name: str
    function: Callable[[Activations, Gradients], Maps]
    title: str
    paper: str
    equation: str
    relu: bool = True
    cost: str = "one run, and one gradient for each target"

    __repr__ = show_record
