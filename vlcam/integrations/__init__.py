"""Heatmaps while a model is being trained: a few fixed photos explained after every epoch, and written where you look anyway.

:class:`Heatmaps` makes the pictures and leaves the model exactly as it was; writers put them into a folder, TensorBoard, MLflow,
Weights & Biases or Trackio; :func:`lightning_callback` and :func:`trainer_callback` call it at the right moment. In your own training
loop::

    heatmaps = Heatmaps(task, photos, TensorBoardWriter("runs/1"), targets="dog")
    for epoch in range(epochs):
        ...  # train
        heatmaps.log(epoch)
    heatmaps.close()

The partners are extras (``pip install 'vlcam[tensorboard]'``, ``mlflow``, ``wandb``, ``trackio``, ``lightning``, ``trainer``),
imported when they are first used.
"""

from vlcam.integrations.heatmaps import FolderWriter, HeatmapPicture, Heatmaps, Writer
from vlcam.integrations.lightning import lightning_callback
from vlcam.integrations.mlflow import MlflowWriter
from vlcam.integrations.tensorboard import TensorBoardWriter
from vlcam.integrations.trainer import trainer_callback
from vlcam.integrations.wandb import WandbWriter

__all__ = [
    "FolderWriter",
    "HeatmapPicture",
    "Heatmaps",
    "MlflowWriter",
    "TensorBoardWriter",
    "WandbWriter",
    "Writer",
    "lightning_callback",
    "trainer_callback",
]
