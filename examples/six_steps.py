"""Grad-CAM written out by hand in six steps (arXiv 1610.02391, eq. 1 and 2), compared with vlcam: the same to a millionth.

The steps are run on torchvision's ResNet-18 with random weights (ImageNet's would do as well, but need a download) and on the bundled
classifier. What vlcam adds is everything around them: the model stays untouched, many targets take one forward pass, and the map lies
right on the photo also when it was cropped.
"""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

import vlcam
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification


def six_steps(model: nn.Module, layer: nn.Module, image: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The map on the layer's grid, and on the pixels of the model's input. ``image`` is ``(1, 3, height, width)``."""
    kept: dict[str, Tensor] = {}

    # 1. Hook the last conv layer, to keep what it puts out.
    hook = layer.register_forward_hook(lambda module, inputs, output: kept.update(activations=output))
    try:
        # 2. Forward.
        logits = model(image)
    finally:
        hook.remove()
    activations = kept["activations"]

    # 3. Backward from the score of the class, before softmax, to that layer; no weight gets a gradient.
    (gradients,) = torch.autograd.grad(logits[0, number], activations)

    # 4. The weight of a channel is the mean of its gradients (eq. 1).
    alpha = gradients.mean((2, 3), keepdim=True)

    # 5. The weighted sum of the channels, and its positive part (eq. 2).
    cam = functional.relu((alpha * activations).sum(1, keepdim=True)).detach()

    # 6. Enlarged to the picture.
    large = functional.interpolate(cam, image.shape[2:], mode="bilinear", align_corners=False)
    return cam[0, 0], large[0, 0]


def compare(task: Classification, layer: nn.Module, photo: Tensor) -> None:
    image = task.preprocess(torchvision.transforms.functional.to_pil_image(photo))[0].double()
    number = int(task.model(image).argmax())
    cam, large = six_steps(task.model, layer, image, number)
    ours = vlcam.explain(task, photo, targets=number, layer=layer, method="gradcam")[0]
    scale = float(cam.max())
    on_grid = float((ours.map - cam).abs().max()) / scale
    on_pixels = float((ours.heatmap() - large).abs().max()) / scale
    print(f"{task.name}: class {number}, grid {tuple(cam.shape)}, maximum {scale:.3g}")
    print(f"  largest difference, by the maximum: {on_grid:.1e} on the grid, {on_pixels:.1e} on the pixels")
    if not max(on_grid, on_pixels) <= 1e-6:
        raise SystemExit("the maps differ")


def main() -> None:
    torch.manual_seed(0)
    photo = torch.from_numpy(vlcam.scenes.make(7).image(224)).permute(2, 0, 1)
    resnet = torchvision.models.resnet18(weights=None).double().eval()  # in double precision, rounding is no excuse
    labels = [f"class {number}" for number in range(1000)]
    compare(Classification(resnet, labels, vlcam.Preprocess(224), name="resnet18"), resnet.layer4, photo)
    classifier = bundled.classifier()
    classifier.model.double()
    small = torch.from_numpy(vlcam.scenes.make(7).image()).permute(2, 0, 1)
    compare(classifier, classifier.model.get_submodule("features"), small)


if __name__ == "__main__":
    main()
