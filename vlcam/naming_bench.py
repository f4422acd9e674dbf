"""Are the neuron texts of the bundled models true? The benchmark of names and texts on scenes whose content is known.

1. What the texts claim, against the scene (:mod:`vlcam.scenes.textual`): for the pairs that the classifier predicts, the words of
   the captioner's own captions, and answers. Beside it, under the same counts:

   - ``above T_k``: the same text, if presence were claimed of every channel above Network Dissection's T_k;
   - ``alpha``: the paper's ranking. The names of the 5 channels with the largest alpha are claimed to be present, those of the 5 with the
     smallest to be absent;
   - ``permuted names``: the same text, with the names shuffled over the units (with how strongly each must fire to be claimed);
   - ``random names``: as many names per case, drawn from all names;
   - ``prior names``: as many names per case, those most frequent for the same target in other scenes.

2. Ablation: the channels of a concept are set to 0 at ``features`` and the model runs on. How far do words, answers and classes of
   that concept fall, beyond what as many other channels do, drawn at random or with equal activity? Beyond what they do to
   others that were said?
3. Erasing: a thing is left out and the scene drawn again. Do names that are no longer true leave the text of the same targets, and do those
   that are still true stay?

Intervals are 95 % by bootstrap over scenes. Nothing is drawn but from seeds: the same arguments give the same numbers.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from vlcam.console import table
from vlcam.contracts import InputError, Request, Target, Task
from vlcam.explainer import explain
from vlcam.explanation import Explanation, NamedEvidence, NeuronText, TargetView
from vlcam.gain import scored
from vlcam.neurons import NeuronNames
from vlcam.neurons.probe import Concept
from vlcam.scenes.concepts import CONCEPTS
from vlcam.scenes.captions import about
from vlcam.scenes.record import Question, Scene, Split
from vlcam.scenes.sample import make
from vlcam.scenes.textual import Claim, Counts, MEASURES, claims_in, count, visible, words_of
from vlcam.scenes.zoo import WHICH, Which, load, recorded_sums
from vlcam.tasks import bundled

Progress = Callable[[int, int], Any]

RANKINGS: Final = ("contribution", "above T_k", "alpha", "permuted names", "random names", "prior names")
KINDS: Final = ("class", "word", "answer", "all")
QUESTIONS: Final = 4
DRAWS: Final = 10
"""Sets of control channels per ablation."""
_RESAMPLES: Final = 1000
_CLASSES: Final = 4
_SURE: Final = 0.5
