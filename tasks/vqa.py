"""Visual question answering as a task: the score of each answer in a closed list is a target.

Targets are answer logits, as in the paper's VQA experiments (arXiv 1610.02391, section 8.2).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
    Geometry,
    InputError,
    Layout,
    LeftOutWords,
    Measure,
    Names,
    Prepared,
    QuestionEmbeddings,
    Request,
    Spoken,
    show_record,
)
from vlcam.engine.output_kind import ClassOutput
from vlcam.engine.outputs import to_model
from vlcam.engine.recording import pause_recording
from vlcam.engine.restore import preserve_model
from vlcam.tasks.class_outputs import (
    Activation,
    check_activation,
    compute_probabilities,
    describe_output,
    run_with_activation,
)
from vlcam.tasks.joining import join_inputs
from vlcam.tasks.labels import choose, contrast, find_position
from vlcam.tasks.reading import (
    Reading,
    capture_question_vectors,
    check_words,
    find_question_spans,
    read_question,
    read_without,
)


@final
@dataclass(frozen=True)
class VQA:
    """A model that answers questions from a list of answers, and how to use it.

    ``read(question)`` makes the question's input (token ids, say) and raises InputError for words that the model doesn't know.
    ``logits(model, inputs, question)`` returns ``(1, answers)`` or ``(answers,)``; if it returns ``(B, answers)`` for B images and the one
    question, methods that run many changed images are faster. ``activation`` is how the model was trained: ``softmax`` over the answers, or
    a ``sigmoid`` each (then probabilities don't sum to one); see :class:`vlcam.tasks.classification.Classification`. ``layout`` (which may
    be a function of inputs and question) says how the layer's output lies on the input, if it isn't that of a CNN; ``reading(question
    input, question)`` says where the question's words are, so that they can be weighed; ``notes`` are added to every result.

    ``words="leave-one-out"`` weighs the words of a question without gradients, for models that read it as a bag of words, say: how much the
    score falls when the question is asked without the word, with each occurrence left out on its own. That takes one forward pass for each
    word and one more. A function instead of ``"leave-one-out"`` gives the character ranges of a question's words. ``words`` takes
    precedence over ``reading``.
    """

    kind: ClassVar[str] = "vqa"

    model: nn.Module
    answers: Sequence[str]
    preprocess: Callable[[Image], tuple[Any, Geometry]]
    read: Callable[[str], Any]
    logits: Callable[[Any, Any, Any], Tensor]
    layer: str | nn.Module | None = None
    name: str = "vqa"
    activation: Activation = "softmax"
    names: Names | None = None
    layout: Layout | Callable[[Any, Any], Layout] | None = None
    reading: Callable[[Any, str], Reading | None] | None = None
    notes: tuple[str, ...] = ()
    words: Literal["leave-one-out"] | Callable[[str], Sequence[tuple[int, int]]] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    __repr__ = show_record

    def __post_init__(self) -> None:
        check_activation(self.activation)
        check_words(self.words)

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the question and the answers asked for, and make the inputs."""
        question = read_question(self.name, request)
        if request.prompt is not None:
            raise InputError(f"prompt={request.prompt!r} was given, but {self.name} takes no prompt; leave it out")
        if request.caption is not None:
            raise InputError("a question-answering model takes no caption; ask for answers instead")
        for answer in (*request.labels, *(one for pair in request.contrasts for one in pair)):
            find_position(answer, self.answers, "answer")
        read = to_model(self.read(question), self.model)
        inputs, geometry = self.preprocess(photo)
        return Prepared((to_model(inputs, self.model), read), geometry)

    def score_batch(self, prepared: Prepared, request: Request) -> Float[Tensor, "batch targets"]:
        """The logits of the answers asked for, and of contrasts, for every row of the image (see ``ScoringTask``)."""
        logits = self._run_model(prepared.inputs, None).scores
        wanted = [logits[:, find_position(one, self.answers, "answer")] for one in request.labels]
        for this, that in request.contrasts:
            one, other = find_position(this, self.answers, "answer"), find_position(that, self.answers, "answer")
            wanted.append(logits[:, one] - logits[:, other])
        return torch.stack(wanted, 1)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward pass; the logits of the answers asked for, or of the ``top_k`` best."""
        return self._run([prepared], request)[0]

    def run_batch(self, prepared: Sequence[Prepared], request: Request) -> list[Spoken]:
        """One forward pass for B photos with inputs of the same size and the one question.

        Raises:
            InputError: the inputs differ in size, or the model doesn't return ``(B, answers)`` logits for them.
        """
        return self._run(prepared, request)

    def _run(self, prepared: Sequence[Prepared], request: Request) -> list[Spoken]:
        asked, question = request.question or "", prepared[0].inputs[1]
        reading = self.reading(question, asked) if self.reading is not None and self.words is None else None
        count = len(prepared)
        joined = prepared[0].inputs if count == 1 else join_inputs([one.inputs for one in prepared])
        with capture_question_vectors(reading) as leaf:
            output = self._run_model(joined, count)
        if len(output.scores) != count:
            raise InputError(
                f"{self.name} returned {len(output.scores)} rows for {count} photos; expected one for each"
            )
        likely = compute_probabilities(output, self.activation)
        notes = (*self.notes, *describe_output(output, self.activation))
        words = None if reading is None or not leaf else QuestionEmbeddings(leaf[0], reading.words)
        if words is not None and len(words.leaf) != count:
            raise InputError(f"{self.name} reads {len(words.leaf)} questions for {count} photos; expected one for each")
        return [
            self._make_spoken(one, request, output.scores[row], None if likely is None else likely[row], words, notes)
            for row, one in enumerate(prepared)
        ]

    def _make_spoken(
        self,
        prepared: Prepared,
        request: Request,
        logits: Float[Tensor, " answers"],
        probabilities: Float[Tensor, " answers"] | None,
        words: QuestionEmbeddings | None,
        notes: tuple[str, ...],
    ) -> Spoken:
        """What one photo's outputs say."""
        asked = request.question or ""
        layout = self.layout
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(*prepared.inputs)
        measure: Measure = "score" if probabilities is None else "logit"
        chosen = choose(logits, probabilities, self.answers, request.labels, request.top_k, "answer", measure)
        contrasts = contrast(logits, self.answers, request.contrasts, "answer", measure)
        indices = [index for index, _ in chosen]
        weighed: QuestionEmbeddings | LeftOutWords | None = words
        if self.words is not None:
            spans = find_question_spans(asked, None if isinstance(self.words, str) else self.words)
            weighed = LeftOutWords(spans, partial(self._leave_words_out, prepared, request, indices, spans))
        return Spoken(
            torch.stack([logits[index] for index in indices] + [score for score, _ in contrasts]),
            (*(target for _, target in chosen), *(target for _, target in contrasts)),
            self.answers[int(logits.detach().argmax())],
            layout,
            weighed,
            notes,
        )

    def _leave_words_out(
        self, prepared: Prepared, request: Request, indices: Sequence[int], spans: Sequence[tuple[int, int]]
    ) -> Float[Tensor, "targets words"]:
        """How much the scores of the chosen answers and of the contrasts fall without each word. Raises InputError."""
        inputs, whole = prepared.inputs
        rows = []
        with preserve_model(self.model), pause_recording():
            asked = [to_model(one, self.model) for one in read_without(self.read, request.question or "", spans)]
            for question in (whole, *asked):
                logits = self._run_model((inputs, question), 1).scores[0]
                pairs = contrast(logits, self.answers, request.contrasts, "answer")
                rows.append(torch.stack([*logits[list(indices)], *(score for score, _ in pairs)]).float())
        return torch.stack([rows[0] - row for row in rows[1:]], 1)

    def _run_model(self, inputs: Any, rows: int | None) -> ClassOutput:
        """Run once for an image (or several) and a question, and interpret the outputs ``(rows, answers)``."""
        return run_with_activation(
            self.model, lambda: self.logits(self.model, *inputs), rows, self.activation, self.name
        )
