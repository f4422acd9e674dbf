"""What a channel means: names from any probe and how far to trust them, reports about them, and sentences made of them.

>>> from vlcam.neurons import NeuronName, NeuronNames
>>> names = NeuronNames("my-model", "features", None, {}, (NeuronName(0, "named", "red", "colour", 0.31),))
>>> names.coverage, names.concepts
(1.0, ('red',))

:func:`name` names the units of a model, :func:`open_probe` opens what they are named with, :func:`read_names` reads names that
others found, and :func:`write_report` writes a page about all units.
"""

from vlcam.neurons.broden import Broden
from vlcam.neurons.cards import collect
from vlcam.neurons.datasets import CocoInstances, VocSegmentation
from vlcam.neurons.describe import describe, evidence
from vlcam.neurons.dissect import dissect
from vlcam.neurons.effects import effects
from vlcam.neurons.encoders import EncodedWords, Encoder
from vlcam.neurons.folders import ClassFolders, LabelMaps
from vlcam.neurons.models import name
from vlcam.neurons.name_files import read_names
from vlcam.neurons.names import NeuronName, NeuronNames
from vlcam.neurons.opening import open_probe
from vlcam.neurons.probe import Concept
from vlcam.neurons.report import write_report
from vlcam.neurons.synonyms import Thesaurus
from vlcam.neurons.wording import phrase

__all__ = [
    "Broden",
    "ClassFolders",
    "CocoInstances",
    "Concept",
    "EncodedWords",
    "Encoder",
    "LabelMaps",
    "NeuronName",
    "NeuronNames",
    "Thesaurus",
    "VocSegmentation",
    "collect",
    "describe",
    "dissect",
    "effects",
    "evidence",
    "name",
    "open_probe",
    "phrase",
    "read_names",
    "write_report",
]
