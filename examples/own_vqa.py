"""Your own CNN+LSTM question-answering model, explained. The model here is untrained: put yours in its place."""

import torch
from torch import Tensor, nn

import vlcam
from vlcam.tasks.vqa import VQA

WORDS = ["is", "there", "a", "dog", "cat", "what", "colour", "the"]
ANSWERS = ["yes", "no", "black", "white"]


class MyVQA(nn.Module):
    """Photo and question as vectors, multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(32 * 14 * 14, 64)
        self.embed = nn.Embedding(len(WORDS), 32)
        self.lstm = nn.LSTM(32, 64, batch_first=True)
        self.out = nn.Linear(64, len(ANSWERS))

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        _, (question, _) = self.lstm(self.embed(words))
        out: Tensor = self.out(self.fc(self.cnn(images).flatten(1)) * question[-1])
        return out


# The task: what vlcam needs to know about the model.
def read(question: str) -> Tensor:
    unknown = [word for word in question.split() if word not in WORDS]
    if unknown:
        raise vlcam.InputError(f"the model doesn't know the word {unknown[0]!r}; it knows: {', '.join(WORDS)}")
    return torch.tensor([[WORDS.index(word) for word in question.split()]])


def main() -> None:
    torch.manual_seed(0)
    task = VQA(
        MyVQA().eval(),
        answers=ANSWERS,
        preprocess=vlcam.Preprocess(size=(112, 112), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        read=read,
        logits=lambda model, images, question: model(images, question),
        layer="cnn",
    )
    photo = vlcam.scenes.make(7).image(224)
    explanation = vlcam.explain(task, photo, question="is there a dog", contrast=[("yes", "no")])
    for answer in explanation:
        print(f"{answer.label:20} score = {answer.target.score:7.3f}  map maximum = {float(answer.map.max()):.4f}")


if __name__ == "__main__":
    main()
