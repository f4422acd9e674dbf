"""A classifier explained while it learns, with transformers' Trainer: see cat_dog.py for what is learnt and for the options.

It needs ``pip install 'vlcam[trainer]'``, which is accelerate.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from cat_dog import CatDog, accuracy, parsed, prepare, writers
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vlcam.integrations import Heatmaps, trainer_callback


class WithLoss(nn.Module):
    """What the Trainer wants of a model: the loss comes first."""

    def __init__(self, net: CatDog) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(images)
        return {"loss": binary_cross_entropy_with_logits(logits, labels), "logits": logits}


def main(arguments: Sequence[str] | None = None) -> None:
    if find_spec("accelerate") is None:
        print("the Trainer needs accelerate, which is not installed: pip install 'vlcam[trainer]'")
        return
    from transformers import Trainer, TrainingArguments

    options = parsed(arguments, __doc__)
    data = prepare(options)
    heatmaps = Heatmaps(data.task, data.photos, writers(options.out), targets=data.task.labels)
    net = data.task.model
    assert isinstance(net, CatDog)
    rows: Any = [{"images": image, "labels": label} for image, label in zip(*data.train.tensors, strict=True)]
    trainer = Trainer(
        WithLoss(net),
        TrainingArguments(
            output_dir=str(options.out / "trainer"),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=16,
            learning_rate=0.02,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="epoch",
            dataloader_pin_memory=torch.cuda.is_available(),
        ),
        train_dataset=rows,
        callbacks=[trainer_callback(heatmaps)],
    )
    trainer.train()
    steps = trainer.state.global_step
    print(f"{steps} steps, accuracy {accuracy(net.cpu(), data.test):.2f}; wrote {options.out}")


if __name__ == "__main__":
    main()
