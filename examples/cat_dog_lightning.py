"""A classifier explained while it learns, with Lightning: see cat_dog.py for what is learnt and for the options.

It needs ``pip install 'vlcam[lightning]'``. The callback writes to the trainer's own loggers, here TensorBoard's, and to its writers.
"""

import logging
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from cat_dog import accuracy, parsed, prepare, writers
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from vlcam.integrations import Heatmaps, TensorBoardWriter, lightning_callback


def module(model: nn.Module) -> Any:
    """The LightningModule. Here its class is made when it is needed, so that this file can be read without Lightning."""

    def training_step(self: Any, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return binary_cross_entropy_with_logits(self.net(batch[0]), batch[1])

    def validation_step(self: Any, batch: tuple[Tensor, Tensor], index: int) -> None:
        right = ((self.net(batch[0]) > 0) == batch[1].bool()).float().mean()
        self.log("accuracy", right, batch_size=len(batch[1]))

    def configure_optimizers(self: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.head.parameters(), lr=0.02)

    own = import_module("lightning.pytorch").LightningModule
    steps = (training_step, validation_step, configure_optimizers)
    made = type("CatDogModule", (own,), {step.__name__: step for step in steps})()
    made.net = model
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    if find_spec("lightning") is None:
        print("Lightning is not installed: pip install 'vlcam[lightning]'")
        return
    lightning = import_module("lightning.pytorch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for usual in ("does not have many workers", "in eval mode at the start"):  # pictures in memory, a frozen backbone
        warnings.filterwarnings("ignore", f".*{usual}")
    options = parsed(arguments, __doc__)
    data = prepare(options)
    logger: Any = False
    if find_spec("tensorboard") is not None:
        logger = import_module("lightning.pytorch.loggers").TensorBoardLogger(str(options.out), name="tensorboard")
    others = [one for one in writers(options.out) if not isinstance(one, TensorBoardWriter)]  # the logger is one
    heatmaps = Heatmaps(data.task, data.photos, others, targets=data.task.labels)
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        callbacks=[lightning_callback(heatmaps)],
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loaders = DataLoader(data.train, batch_size=16, shuffle=True), DataLoader(data.test, batch_size=16)
    trainer.fit(module(data.task.model), *loaders)
    print(
        f"{trainer.global_step} steps, accuracy {accuracy(data.task.model.cpu(), data.test):.2f}; wrote {options.out}"
    )


if __name__ == "__main__":
    main()
