"""The three bundled models: a VGG-like classifier, a CNN+LSTM captioner without attention, a CNN+LSTM VQA model.

All three put fully connected layers (and an LSTM) between the last conv layer and their outputs, as the models of the Grad-CAM paper do
(arXiv 1610.02391, sections 3 and 8), so gradients really pass through them. The last conv layer is ``features``: 12 x 12 cells on a
96-pixel picture.
"""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vlcam.engine.precision import run_recurrent
from vlcam.scenes.models.vocabulary import Vocabulary

CHANNELS = 192
GRID = 12
POOLED = 4
HIDDEN = 512
FUSED = 1024


def build_conv_features(channels: int = CHANNELS) -> nn.Sequential:
    """The convolutional part: convolutions with batch norm and ReLU, halved three times; the last ReLU is the tap."""
    stem = 32
    plan: tuple[int | str, ...] = ("pool", 64, 96, "pool", channels, channels)
    layers: list[nn.Module] = [
        nn.Conv2d(3, stem, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(stem),
        nn.ReLU(inplace=True),
    ]
    have = stem
    for step in plan:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(have, step, 3, padding=1, bias=False), nn.BatchNorm2d(step), nn.ReLU(inplace=True)]
        have = step
    return nn.Sequential(*layers)


def build_conv_head(width: int, channels: int = CHANNELS) -> nn.Sequential:
    """From the last conv layer to a vector of ``width``: pooled to 4 x 4 cells, flattened, fully connected."""
    return nn.Sequential(
        nn.AvgPool2d(GRID // POOLED), nn.Flatten(), nn.Linear(channels * POOLED**2, width), nn.ReLU(inplace=True)
    )


@final
class SceneClassifier(nn.Module):
    """Multi-label: one logit per colour-shape pair, "is there at least one red star?"."""

    def __init__(self, classes: int, *, channels: int = CHANNELS, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.features = build_conv_features(channels)
        self.head = build_conv_head(hidden, channels)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "rows classes"]:
        """Logits before the sigmoid."""
        out: Tensor = self.classifier(self.head(self.features(images)))
        return out


@final
class SceneCaptioner(nn.Module):
    """The photo as one vector starts the LSTM and is read again at every step; there is no attention.

    The next word is read from the LSTM's state and its product with the photo vector (both widened), as an answer is from a question.
    """

    def __init__(self, words: int, *, channels: int = CHANNELS, hidden: int = HIDDEN, state: int = 384) -> None:
        super().__init__()
        self.features = build_conv_features(channels)
        self.head = build_conv_head(hidden, channels)
        self.start = nn.Linear(hidden, 2 * state)
        self.embed = nn.Embedding(words, 128)
        self.lstm = nn.LSTM(128 + hidden, state, batch_first=True)
        self.ask = nn.Linear(state, FUSED)
        self.look = nn.Linear(hidden, FUSED)
        self.mix = nn.Sequential(nn.Linear(FUSED, hidden), nn.ReLU(inplace=True))
        self.out = nn.Linear(state + hidden, words)

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "rows hidden"]:
        """The photo as one vector."""
        out: Tensor = self.head(self.features(images))
        return out

    def begin(self, photo: Float[Tensor, "batch hidden"]) -> tuple[Tensor, Tensor]:
        """The LSTM's first state, each ``(1, batch, state)``."""
        h, c = self.start(photo).tanh().chunk(2, dim=-1)
        return h[None].contiguous(), c[None].contiguous()

    def step(
        self,
        photo: Float[Tensor, "batch hidden"],
        words: Int[Tensor, "batch length"],
        state: tuple[Tensor, Tensor],
    ) -> tuple[Float[Tensor, "batch length words"], tuple[Tensor, Tensor]]:
        """Logits of the word after each given word, and the LSTM's new state."""
        seen = photo[:, None].expand(-1, words.shape[1], -1)
        out, state = run_recurrent(self.lstm, torch.cat([self.embed(words), seen], dim=-1), state)
        fused = self.mix(self.ask(out).tanh() * self.look(photo)[:, None])
        return self.out(torch.cat([out, fused], dim=-1)), state

    def decode(
        self, photo: Float[Tensor, "batch hidden"], words: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length words"]:
        """Teacher forcing: logits of the word after each given word."""
        return self.step(photo, words, self.begin(photo))[0]

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], words: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length words"]:
        """Logits of the word after each given word; ``words`` begins with the start token."""
        return self.decode(self.encode(images), words)


@final
class SceneVQA(nn.Module):
    """LSTM question encoder; photo and question are fused by a product, as in the VQA model of the paper; scores per answer."""

    def __init__(
        self, words: int, answers: int, *, channels: int = CHANNELS, hidden: int = HIDDEN, state: int = 256
    ) -> None:
        super().__init__()
        self.features = build_conv_features(channels)
        self.head = build_conv_head(hidden, channels)
        self.embed = nn.Embedding(words, 96, padding_idx=Vocabulary.PAD)
        self.lstm = nn.LSTM(96, state, batch_first=True)
        self.question = nn.Linear(state, FUSED)
        self.look = nn.Linear(hidden, FUSED)
        self.mix = nn.Sequential(nn.Linear(FUSED, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, answers))

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "rows hidden"]:
        """The photo as one vector."""
        out: Tensor = self.head(self.features(images))
        return out

    def read(self, words: Int[Tensor, "batch length"]) -> Float[Tensor, "batch fused"]:
        """The question as one vector; questions are padded on the right with ``Vocabulary.PAD``."""
        states, _ = run_recurrent(self.lstm, self.embed(words))
        last = (words != Vocabulary.PAD).sum(dim=1).clamp_min(1) - 1
        out: Tensor = self.question(states[torch.arange(len(words), device=words.device), last]).tanh()
        return out

    def answer(
        self, photo: Float[Tensor, "batch hidden"], question: Float[Tensor, "batch fused"]
    ) -> Float[Tensor, "batch answers"]:
        """Logits of the answers."""
        out: Tensor = self.mix(self.look(photo) * question)
        return out

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], words: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch answers"]:
        """Logits of the answers to one question per photo."""
        return self.answer(self.encode(images), self.read(words))
