"""The walk-through of the Grad-CAM paper's readers: predict, explain class 386 "African elephant", lay the heatmap over the photo.

    python examples/elephant.py                                    # torchvision's ResNet-50, which is downloaded; the bundled photo
    python examples/elephant.py --photo elephant.jpg [--model torchvision/vgg16]
    python examples/elephant.py --photo elephant.jpg --weights squeezenet1_0.pth --arch torchvision/squeezenet1_0 --size 227

Without weights and a photo it takes the bundled classifier and a generated picture instead, and says so.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from PIL import Image

import vlcam
from vlcam.render import overlay
from vlcam.tasks import bundled

ELEPHANT = 386
OPACITY = 0.4


def opened(options: argparse.Namespace) -> tuple[vlcam.Task, Any, str | int]:
    """The model, the photo and the class to explain."""
    if options.photo is None:
        reason = "no photo was given (--photo FILE)"
    else:
        try:
            if options.weights is not None:
                middle = vlcam.Preprocess(options.size, mode="crop", resize_shorter=256)
                task = vlcam.load(options.weights, arch=options.arch, preprocess=middle)
            else:
                task = vlcam.load(options.model)
            return task, options.photo, ELEPHANT if options.target is None else options.target
        except vlcam.InputError as error:
            reason = str(error)
    print(f"{reason};\nso this is the bundled classifier and a generated picture")
    scene = vlcam.scenes.make(12)
    return bundled.classifier(), scene.image(384), " ".join(scene.objects[0].pair)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="a photo of an African elephant")
    parser.add_argument("--model", default="torchvision/resnet50", help="a classifier of ImageNet's 1000 classes")
    parser.add_argument("--weights", type=Path, help="a file with its weights, if they are here already")
    parser.add_argument("--arch", default="torchvision/squeezenet1_0", help="whose weights the file has")
    parser.add_argument("--size", type=int, default=224, help="the side of its input in pixels")
    parser.add_argument("--target", help="explain this class instead")
    parser.add_argument("--out", type=Path, help="where the pictures go; by default a new folder")
    options = parser.parse_args(arguments)
    out = options.out or Path(mkdtemp(prefix="vlcam-"))
    out.mkdir(parents=True, exist_ok=True)
    task, photo, target = opened(options)

    # 1. Predict.
    for one in vlcam.explain(task, photo, top_k=3):
        print(f"{one.label}: {one.target.probability:.4f}")

    # 2. Explain the elephant: the heatmap at the photo's own size, in units of the class's logit.
    explanation = vlcam.explain(task, photo, targets=target)
    elephant = explanation[0]
    number = elephant.target.token_ids[0]
    print(f"explained: class {number}, {elephant.label}, layer {explanation.layer}, grid {tuple(elephant.map.shape)}")

    # 3. Lay it over the photo at 0.4.
    size = explanation.photo.width, explanation.photo.height
    pixels = np.asarray(Image.fromarray(explanation.photo.pixels).resize(size))
    picture = overlay(pixels, elephant.heatmap().numpy(), opacity=OPACITY)
    Image.fromarray(picture).save(out / "overlay.png")
    explanation.figure().save(out / "figure.png")
    print(f"wrote {out / 'overlay.png'} and {out / 'figure.png'}")


if __name__ == "__main__":
    main()
