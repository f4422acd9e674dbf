"""Where people already are: heatmaps while a model is being trained, and explanations in the formats of other tools.

Training: a few fixed photos explained after every epoch, and written where you look anyway.

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

Exports: :func:`write_coco` and :func:`write_coco_results` write boxes of maps, :func:`to_fiftyone` and :func:`to_dataset` make datasets of
FiftyOne and of Hugging Face.
"""

from vlcam.integrations.coco import write_coco, write_coco_results
from vlcam.integrations.fiftyone import to_fiftyone
from vlcam.integrations.heatmaps import FolderWriter, HeatmapPicture, Heatmaps, Writer
from vlcam.integrations.hf_dataset import to_dataset
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
    "to_dataset",
    "to_fiftyone",
    "trainer_callback",
    "write_coco",
    "write_coco_results",
]
