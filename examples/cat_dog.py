"""Two classes by transfer learning: what the three cat_dog_*.py scripts train, each with a heatmap per epoch.

    python examples/cat_dog_loop.py                                                   # nothing to download
    python examples/cat_dog_loop.py --data FOLDER [--weights squeezenet1_0.pth]       # FOLDER/cat/*.jpg, FOLDER/dog/*.jpg

(or cat_dog_lightning.py, cat_dog_trainer.py). The backbone is frozen and the new head has a single logit: below 0 the first class,
above 0 the second. The heatmaps go into a folder, to TensorBoard and, offline, to Weights & Biases, where these are installed.
Without a folder of photos the "cats" are hearts and the "dogs" are stars in generated pictures, and the backbone is that of the
bundled classifier, which knows such pictures. With one it is SqueezeNet with ImageNet's weights, from --weights or torchvision.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import vlcam
from vlcam.image.photo import open_photo
from vlcam.integrations import FolderWriter, TensorBoardWriter, WandbWriter, Writer
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification


class CatDog(nn.Module):
    """A frozen backbone, global average pooling, and one linear layer with one logit."""

    def __init__(self, features: nn.Module, channels: int) -> None:
        super().__init__()
        self.features = features.requires_grad_(False)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1))

    def train(self, mode: bool = True) -> "CatDog":
        super().train(mode)
        self.features.eval()  # frozen: its batch norms keep their statistics, too
        return self

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(images))[:, 0]
        return out


class Set(NamedTuple):
    train: TensorDataset
    test: TensorDataset
    task: Classification
    photos: dict[str, Any]


def parsed(arguments: Sequence[str] | None, text: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with one folder of photos for each of two classes")
    parser.add_argument("--weights", type=Path, help="SqueezeNet 1.0's weights, if they are here already")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="by default a new folder")
    options = parser.parse_args(arguments)
    options.out = options.out or Path(mkdtemp(prefix="vlcam-"))
    return options


def prepare(options: argparse.Namespace) -> Set:
    """Pictures, labels and an untrained classifier, as a task that vlcam can explain."""
    base: Any
    if options.data is None:
        print("no folder of photos was given (--data): hearts and stars in generated pictures, on the bundled backbone")
        base, names, pictures = bundled.classifier(), ["heart", "star"], generated(120)
    else:
        arch, whole = "torchvision/squeezenet1_0", vlcam.Preprocess(227)
        base = vlcam.load(options.weights or arch, arch=arch if options.weights else None, preprocess=whole)
        names = sorted(one.name for one in options.data.iterdir() if one.is_dir())
        pictures = [(open_photo(one)[0], k) for k in (0, 1) for one in sorted((options.data / names[k]).iterdir())]
    torch.manual_seed(0)
    images = torch.cat([base.preprocess(picture)[0] for picture, _ in pictures])
    labels = torch.tensor([float(label) for _, label in pictures])
    net = CatDog(base.model.features, channels=base.model.features(images[:1]).shape[1])
    task = Classification(net, names, base.preprocess, layer="features", activation="sigmoid", name="cat-dog")
    test = torch.arange(len(images)) % 4 == 0
    shown = {names[k]: next(one for one, label in pictures if label == k) for k in (0, 1)}
    return Set(TensorDataset(images[~test], labels[~test]), TensorDataset(images[test], labels[test]), task, shown)


def generated(count: int) -> list[tuple[Image.Image, int]]:
    """Pictures with either a heart or a star among other objects."""
    scenes = (vlcam.scenes.make(seed, "train") for seed in itertools.count())
    shapes = ((scene, {obj.shape for obj in scene.objects}) for scene in scenes)
    either = ((scene, "star" in have) for scene, have in shapes if ("heart" in have) != ("star" in have))
    return [(Image.fromarray(scene.image()), int(star)) for scene, star in itertools.islice(either, count)]


def writers(out: Path) -> list[Writer]:
    """A folder, and the loggers that are installed."""
    found: list[Writer] = [FolderWriter(out / "pictures")]
    for make in (lambda: TensorBoardWriter(out / "tensorboard"), lambda: WandbWriter(project="cat-dog", dir=str(out))):
        try:
            found.append(make())
        except vlcam.InputError as error:
            print(f"left out: {error}")
    return found


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorDataset) -> float:
    images, labels = data.tensors
    return float(((model.eval()(images) > 0) == labels.bool()).float().mean())


def main() -> None:
    data = prepare(parsed(None, __doc__))
    right = accuracy(data.task.model, data.test)
    print(f"{' or '.join(data.task.labels)}? untrained, it is right about {right:.0%} of {len(data.test)} pictures")


if __name__ == "__main__":
    main()
