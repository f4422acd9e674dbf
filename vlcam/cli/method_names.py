"""The names of the built-in methods, for help and for checks before torch is imported. A test compares them with the registry."""

from typing import Final

METHODS: Final = (
    "gradcam",
    "counterfactual",
    "hirescam",
    "layercam",
    "gradcam++",
    "xgradcam",
    "cam",
    "c-mwp",
    "mwp",
    "gradient",
    "guided-backprop",
    "deconvnet",
    "guided-gradcam",
    "deconv-gradcam",
    "occlusion",
    "rise",
    "score-cam",
    "ablation-cam",
    "eigen-cam",
)
