"""Visual gain: how much more probable a word is with the image than without it."""

from PIL.Image import Image

from vlcam.contracts import Gain, Request, Task
from vlcam.explanation import Explanation


def with_gain(explanation: Explanation, task: Task, photo: Image, request: Request, without: Gain) -> Explanation:
    """The explanation, with the visual gain of each target."""
    raise NotImplementedError
