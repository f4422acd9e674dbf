"""Your own CNN+LSTM captioner, explained word by word. The model here is untrained: put yours in its place."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import vlcam
from vlcam.tasks.captioning import Captioning

WORDS = ["<start>", "<end>", "a", "dog", "cat", "on", "the", "grass", "sofa"]


class MyCaptioner(nn.Module):
    """Any CNN and any LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(32 * 14 * 14, 64)
        self.embed = nn.Embedding(len(WORDS), 64)
        self.lstm = nn.LSTM(64, 64, batch_first=True)
        self.out = nn.Linear(64, len(WORDS))

    def encode(self, images: Tensor) -> Tensor:
        out: Tensor = self.fc(self.cnn(images).flatten(1))
        return out

    def decode(self, photo: Tensor, words: Tensor) -> Tensor:
        states, _ = self.lstm(torch.cat([photo[:, None], self.embed(words)], dim=1))
        out: Tensor = self.out(states[:, 1:])
        return out


# The task: what vlcam needs to know about the model.
class Words:
    def encode(self, text: str) -> list[int]:
        return [WORDS.index(word) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(WORDS[token] for token in ids)


def logits(model: MyCaptioner, photo: Tensor, ids: Sequence[int]) -> Tensor:
    """Row t scores the word at position t, given the photo and the words before it."""
    return model.decode(photo, torch.tensor([[0, *ids[:-1]]]))[0]


def generate(model: MyCaptioner, photo: Tensor) -> list[int]:
    ids: list[int] = []
    while len(ids) < 8:
        token = int(logits(model, photo, [*ids, 0])[-1].argmax())
        if token == WORDS.index("<end>"):
            break
        ids.append(token)
    return ids


def main() -> None:
    torch.manual_seed(0)
    task = Captioning(
        MyCaptioner().eval(),
        tokens=Words(),
        preprocess=vlcam.Preprocess(size=(112, 112), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        encode=MyCaptioner.encode,
        generate=generate,
        logits=logits,
        layer="cnn",
    )
    photo = vlcam.scenes.make(7).image(224)
    explanation = vlcam.explain(task, photo, caption="a dog on the grass")
    for word in explanation:
        print(f"{word.label:20} log p = {word.target.score:7.3f}  map maximum = {float(word.map.max()):.4f}")


if __name__ == "__main__":
    main()
