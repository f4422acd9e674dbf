"""What a channel means: names from any probe and how far to trust them, reports about them, and sentences made of them.

>>> from vlcam.neurons import NeuronName, NeuronNames
>>> names = NeuronNames("my-model", "features", None, {}, (NeuronName(0, "named", "red", "colour", 0.31),))
>>> names.coverage, names.concepts
(1.0, ('red',))

:func:`name` names the units of a model, :func:`open_probe` opens what they are named with, :func:`read_names` reads names that
others found, and :func:`write_report` writes a page about all units.
"""

from vlcam.neurons.name_layer import name
from vlcam.neurons.names.names import NeuronNames, read_names
from vlcam.neurons.names.record import NeuronName
from vlcam.neurons.probes.broden import Broden
from vlcam.neurons.probes.datasets import CocoInstances, VocSegmentation
from vlcam.neurons.probes.encoders import EncodedWords, Encoder
from vlcam.neurons.probes.folders import ClassFolders, LabelMaps
from vlcam.neurons.probes.open_probe import open_probe
from vlcam.neurons.probes.probe import Concept, LabelMap, Probe, Sample, WordProbe
from vlcam.neurons.report.cards import collect
from vlcam.neurons.report.effects import effects
from vlcam.neurons.report.report import write_report
from vlcam.neurons.scoring.dissect import dissect
from vlcam.neurons.text.describe import describe, evidence
from vlcam.neurons.text.wording import phrase
from vlcam.neurons.thesaurus.synonyms import Thesaurus

__all__ = [
    "Broden",
    "ClassFolders",
    "CocoInstances",
    "Concept",
    "EncodedWords",
    "Encoder",
    "LabelMap",
    "LabelMaps",
    "NeuronName",
    "NeuronNames",
    "Probe",
    "Sample",
    "Thesaurus",
    "VocSegmentation",
    "WordProbe",
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
