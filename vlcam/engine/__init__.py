"""Run a model once with one leaf, and take the gradients of many scalars at it: no task, no image library, no model zoo."""

from vlcam.engine.backward import gradients as gradients
from vlcam.engine.recording import record as record

__all__ = ["gradients", "record"]
