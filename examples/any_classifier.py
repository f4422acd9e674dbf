"""Grad-CAM of any PyTorch classifier, a batch at a time, several classes each, from one forward pass."""

import torch
import torchvision

import vlcam


def main() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None)  # or weights="DEFAULT", or your own
    images = torch.rand(2, 3, 96, 128)
    result = vlcam.attribute(model, images, targets=[[1, 7], [3, 5]], layer="layer4")
    print("maps:", tuple(result.maps.shape), "scores:", tuple(result.scores.shape), "layer:", result.layer)


if __name__ == "__main__":
    main()
