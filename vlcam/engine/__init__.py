"""Run a model once with one leaf, and take the gradients of many scalars at it: no task, no image library, no model zoo."""

from vlcam.engine.backward import gradients
from vlcam.engine.layers import Grid, Layer, TokenLayout, list_layers
from vlcam.engine.recording import Recording, record

__all__ = ["Grid", "Layer", "Recording", "TokenLayout", "gradients", "list_layers", "record"]
