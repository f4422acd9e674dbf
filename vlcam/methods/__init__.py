"""Methods, by name: pure functions of one run's activations and gradients, and perturbation methods, which run the model again.

>>> get_method("gradcam").equation
'eq. 1 and 2: relu(sum_k mean(G_k) A_k)'
>>> get_method("occlusion").cost
'one run for each position of the patch (121 by default on a square input)'
>>> get_method("grad-cam")
Traceback (most recent call last):
vlcam.errors.InputError: no method 'grad-cam'; did you mean gradcam or xgradcam? ...
"""

import warnings

from vlcam.contracts import Activations, Gradients, Maps, Subject
from vlcam.methods import auto as _auto
from vlcam.methods import cam as _cam
from vlcam.methods import cells as _cells
from vlcam.methods import channels as _channels
from vlcam.methods import excitation as _excitation
from vlcam.methods import finer as _finer
from vlcam.methods import gradient as _gradient
from vlcam.methods import masks as _masks
from vlcam.methods import occlusion as _occlusion
from vlcam.methods import path_gradients as _path_gradients
from vlcam.methods import pixels as _pixels
from vlcam.methods import second_order as _second_order
from vlcam.methods.cam_head import build_cam_network
from vlcam.methods.channels import make_ablationcam
from vlcam.methods.diagnose import measure_kept, measure_saturation
from vlcam.methods.gradient import alpha, contributions
from vlcam.methods.masks import make_rise, make_scorecam
from vlcam.methods.occlusion import make_occlusion, occlusion_robustness
from vlcam.methods.path_gradients import make_halfway_gradient, make_layer_integrated_gradients, make_masked_gradients
from vlcam.methods.registry import get_method, get_one_run_method, list_methods, register

__all__ = [
    "Activations",
    "Gradients",
    "Maps",
    "Subject",
    "alpha",
    "build_cam_network",
    "contributions",
    "get_method",
    "get_one_run_method",
    "list_methods",
    "make_ablationcam",
    "make_halfway_gradient",
    "make_layer_integrated_gradients",
    "make_masked_gradients",
    "make_occlusion",
    "make_rise",
    "make_scorecam",
    "measure_kept",
    "measure_saturation",
    "occlusion_robustness",
    "register",
]

for _family in (
    _gradient,
    _cam,
    _excitation,
    _pixels,
    _occlusion,
    _masks,
    _channels,
    _path_gradients,
    _cells,
    _second_order,
    _finer,
    _auto,
):
    for _one in _family.BUILT_IN:
        register(_one)


def __getattr__(name: str) -> object:
    kinds = {"METHODS": "one-run", "PROCEDURES": "perturbation"}
    if name not in kinds:
        raise AttributeError(f"module 'vlcam.methods' has no attribute {name!r}", name=name)
    warnings.warn(
        f"{name} is deprecated; use vlcam.list_methods and vlcam.get_method", DeprecationWarning, stacklevel=2
    )
    return {one: get_method(one) for one in list_methods(kinds[name])}  # type: ignore[arg-type]
