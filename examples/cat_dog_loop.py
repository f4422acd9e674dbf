"""A classifier explained while it learns, in a plain PyTorch loop: see cat_dog.py for what is learnt and for the options."""

from collections.abc import Sequence

import torch
from cat_dog import accuracy, parsed, prepare, writers
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from vlcam.integrations import Heatmaps


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments, __doc__)
    data = prepare(options)
    model = data.task.model
    heatmaps = Heatmaps(data.task, data.photos, writers(options.out), targets=data.task.labels)
    optimiser = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=0.02)
    heatmaps.log(0)  # as it is before training
    for epoch in range(1, options.epochs + 1):
        model.train()
        for images, labels in DataLoader(data.train, batch_size=16, shuffle=True):
            optimiser.zero_grad()
            binary_cross_entropy_with_logits(model(images), labels).backward()
            optimiser.step()
        print(f"epoch {epoch}: accuracy {accuracy(model, data.test):.2f}")
        for picture in heatmaps.log(epoch):
            print(f"  {picture.tag}: {picture.caption}")
    heatmaps.close()
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
