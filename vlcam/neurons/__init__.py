"""What a channel means: names found by Network Dissection, their records and files, and sentences made of them.

>>> from vlcam.neurons import NeuronName, NeuronNames
>>> names = NeuronNames("my-model", "features", None, {}, (NeuronName(0, "named", "red", "colour", 0.31),))
>>> names.coverage, names.concepts
(1.0, ('red',))
"""

from vlcam.neurons.describe import describe, evidence
from vlcam.neurons.dissect import dissect
from vlcam.neurons.probe import Concept
from vlcam.neurons.names import NeuronName, NeuronNames
from vlcam.neurons.wording import phrase

__all__ = ["Concept", "NeuronName", "NeuronNames", "describe", "dissect", "evidence", "phrase"]
