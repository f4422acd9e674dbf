"""Name the channels of your own classifier with your own photos, and read what a class rests on in these names.

The model here looks for red and for blue by hand, and the photos are drawn: put yours in their place.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from vlcam.neurons import ClassFolders, name
from vlcam.tasks.classification import Classification

COLOURS = {"ocean": (40, 70, 190), "tomatoes": (200, 45, 35), "meadow": (70, 160, 60)}


class MyClassifier(nn.Module):
    """One conv layer of three channels (red, blue, grey), averaged, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 5, 4, bias=False)
        self.fc = nn.Linear(3, 2)
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([[2.0, -1, -1], [-1, -1, 2], [0.3, 0.3, 0.3]])[:, :, None, None] / 25
            self.fc.weight[:] = torch.tensor([[2.0, -1, 0], [-1, 2, 0]])
            self.fc.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.conv(images).relu().mean((2, 3)))
        return logits


def photos(folder: Path) -> None:
    """A folder with a subfolder per class, as data sets for classifiers come."""
    made = torch.Generator().manual_seed(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir()
        for n in range(40):
            noise = torch.randint(-30, 30, (64, 64, 3), generator=made)
            pixels = (torch.tensor(colour) + noise).clamp(0, 255).to(torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / label / f"{n}.png")


def main() -> None:
    preprocess = vlcam.Preprocess(size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    task = Classification(MyClassifier().eval(), ["warm", "cold"], preprocess, layer="conv")
    with TemporaryDirectory() as folder:
        photos(Path(folder))
        names = name(task, None, ClassFolders(folder), quantile=0.2)
        for unit in names.units:
            print(f"unit {unit.unit}: {unit.name or '(no reliable name)'}  IoU {unit.score:.2f}  p {unit.p:.2g}")
        for note in names.probe["notes"]:
            print("note:", note)
        explanation = vlcam.explain(task, Path(folder) / "tomatoes" / "0.png", targets="warm", names=names)
    print(names.describe(explanation).sentence)


if __name__ == "__main__":
    main()
