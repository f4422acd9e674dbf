"""What an explanation costs, in bare forward passes of the same input in the same process.

    python tests/benchmarks/speed.py [--rounds 7] [--threads 2] [--short] [--no-memory] [--json FILE]

Every round times the bare ``inference_mode`` forward and each contender once, one after the other, so that a noisy machine hurts all
alike; printed is the median over rounds of contender / bare. grad-cam, torchcam and captum (``pip install '.[bench]'``) do the same work
where they can: the same classes of the same images, raw maps at the layer's resolution.
"""

import argparse
import importlib
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vlcam

Work = Callable[[], Any]
CONTENDERS = ("vlcam", "torchcam", "captum", "grad-cam")


@dataclass
class Case:
    """One row: the bare forward, what vlcam does, what peers do, and the most that vlcam may cost."""

    title: str
    bare: Work
    vlcam: Work
    at_most: float
    peers: dict[str, Work] = field(default_factory=dict)


def _peer(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def classifier_case(title: str, model: nn.Module, layer: str, classes: int, at_most: float, size: int) -> Case:
    """K classes of a batch of four images."""
    model = model.eval()
    images = torch.rand(4, 3, size, size)
    wanted = [[(7 * image + k) % 10 for k in range(classes)] for image in range(4)]
    module = model.get_submodule(layer)

    def bare() -> Tensor:
        with torch.inference_mode():
            out: Tensor = model(images)
            return out

    case = Case(title, bare, lambda: vlcam.attribute(model, images, targets=wanted, layer=layer).maps, at_most)
    if grad_cam := _peer("pytorch_grad_cam"):
        outputs = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget

        def theirs() -> Any:
            with grad_cam.GradCAM(model, [module]) as cam:
                return [cam(images, [outputs(row[k]) for row in wanted]) for k in range(classes)]

        case.peers["grad-cam"] = theirs
    if torchcam := _peer("torchcam.methods"):

        def torchcams() -> Any:
            with torchcam.GradCAM(model, layer) as cam:
                scores = model(images)
                return [
                    cam([row[k] for row in wanted], scores, retain_graph=True, normalized=False) for k in range(classes)
                ]

        case.peers["torchcam"] = torchcams
    if captum := _peer("captum.attr"):

        def captums() -> Any:
            cam = captum.LayerGradCam(model, module)
            return [
                cam.attribute(images, target=[row[k] for row in wanted], relu_attributions=True) for k in range(classes)
            ]

        case.peers["captum"] = captums
    return case


def blip_case(short: bool) -> Case:
    """All eleven words of a caption, from a captioner of BLIP-base's size with random weights."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    tiny: dict[str, Any] = {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
    }
    size = 64 if short else 384
    config = BlipConfig(
        text_config={**(tiny if short else {}), "encoder_hidden_size": 32 if short else 768},
        vision_config={**(tiny if short else {}), "image_size": size, "initializer_range": 0.02},
    )
    model = BlipForConditionalGeneration(config).eval()
    pixels, ids = torch.rand(1, 3, size, size), torch.randint(1000, 20000, (1, 12))

    def bare() -> Any:
        with torch.inference_mode():
            return model(pixel_values=pixels, input_ids=ids).logits

    def ours() -> Any:
        with vlcam.record(model, "vision_model.post_layernorm") as recording:
            logs = model(pixel_values=pixels, input_ids=ids).logits[0, :-1].log_softmax(-1)
        words = logs[range(11), ids[0, 1:]]
        gradients = vlcam.gradients(words, recording.resolve(words))[:, 0, 1:]  # 11 x cells x channels, no class token
        return torch.einsum("tc,nc->tn", gradients.mean(1), recording.activations[0, 1:])

    return Case("BLIP-base size, 384 px, 11 words", bare, ours, 3.0)


def bundled_case() -> Case:
    """The bundled captioner: to say its caption against saying it and explaining every word."""
    from vlcam.contracts import Request
    from vlcam.explanation.evidence import make_layer_maps
    from vlcam.image.photo import open_photo
    from vlcam.methods import get_one_run_method
    from vlcam.tasks import bundled

    task = bundled.captioner()
    photo, _ = open_photo(vlcam.scenes.make(7).image())
    prepared = task.prepare(photo, Request())

    def bare() -> Any:
        with torch.inference_mode():
            encoded = task.encode(task.model, prepared.inputs)
            return task.generate(task.model, encoded)

    def ours() -> Any:
        with vlcam.record(task.model, task.layer) as recording:
            spoken = task.run(prepared, Request())
        return make_layer_maps(spoken.scores, recording, get_one_run_method("gradcam"))

    return Case("bundled captioner, all words", bare, ours, 2.0)


def cases(short: bool) -> list[Callable[[], Case]]:
    """The cases, built one at a time."""
    from torchvision import models

    size = 64 if short else 224

    def classifier(
        title: str, build: Callable[[], nn.Module], layer: str, classes: int, at_most: float
    ) -> Callable[[], Case]:
        return lambda: classifier_case(
            f"{title} {layer}, batch 4, {classes} classes", build(), layer, classes, at_most, size
        )

    small = [classifier("MobileNetV2", models.mobilenet_v2, "features.18", 5, 1.5)]
    large = [
        classifier("ResNet-50", models.resnet50, "layer4", 1, 1.10),
        classifier("ResNet-50", models.resnet50, "layer4", 5, 1.15),
        classifier("VGG-16", models.vgg16, "features.29", 5, 1.20),
    ]
    return [*([] if short else large), *small, lambda: blip_case(short), bundled_case]


def measure(case: Case, rounds: int) -> dict[str, float]:
    """Median ratio to the bare forward, of vlcam and of each peer; ``bare`` is the bare forward's median in seconds."""
    works = {"bare": case.bare, "vlcam": case.vlcam, **case.peers}
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        case.bare()  # the peers' memory was just given back; the bare forward that is timed is not to pay for that
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    ratios = {
        name: statistics.median(mine / bare for mine, bare in zip(times[name], times["bare"], strict=True))
        for name in works
        if name != "bare"
    }
    return {"bare": statistics.median(times["bare"]), **ratios}


def _read_status(name: str) -> int:
    """A line of Linux's ``/proc/self/status``, in KiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {name}; peak memory is measured on Linux only: give --no-memory")
    return int(found[1])


def _peak(number: int, short: bool, name: str, threads: int) -> float:
    """What one call adds to the memory in use.

    ``ru_maxrss`` would not do: a process that was started inherits the peak of the one that started it, and imports peak as well.
    """
    torch.set_num_threads(threads)
    case = cases(short)[number]()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = _read_status("VmRSS")
    {"bare": case.bare, "vlcam": case.vlcam, **case.peers}[name]()
    return (_read_status("VmHWM") - before) / 1024


def peak_memory(number: int, short: bool, names: list[str], threads: int) -> dict[str, float]:
    """Growth of the process's peak memory in MiB through one call, each in a fresh process."""
    found = {}
    for name in names:
        with get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(_peak, (number, short, name, threads))
    return found


def main(given: list[str]) -> int:
    """Print the table; the exit code is 1 if a row costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="small models and pictures: that it runs, not how fast")
    parser.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="also the growth of peak memory"
    )
    parser.add_argument("--json", type=Path, help="a file for the table, which the documentation shows")
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    slow = False
    rows = []
    for number, build in enumerate(cases(options.short)):
        case = build()
        found = measure(case, options.rounds)
        slow |= found["vlcam"] > case.at_most
        ratios = [f"{found[name]:.2f}" if name in found else "" for name in CONTENDERS]
        rows.append([case.title, f"{found['bare'] * 1e3:.0f} ms", *ratios[:1], f"{case.at_most:.2f}", *ratios[1:]])
        peers = "  ".join(f"{name} {found[name]:.2f}" for name in case.peers)
        print(
            f"{case.title:52} bare {found['bare'] * 1e3:8.1f} ms  vlcam {found['vlcam']:.2f} (at most {case.at_most})  {peers}"
        )
        if options.memory:
            peaks = peak_memory(number, options.short, ["bare", "vlcam", *case.peers], options.threads)
            print(f"{'':52} peak memory in MiB: " + "  ".join(f"{name} {peak:.0f}" for name, peak in peaks.items()))
    if options.json is not None:
        document = {
            "command": f"python tests/benchmarks/speed.py --rounds {options.rounds} --threads {options.threads}",
            "versions": {"vlcam": vlcam.__version__, "torch": torch.__version__},
            "head": ["work", "bare forward", "vlcam", "aim: at most", *CONTENDERS[1:]],
            "rows": rows,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(slow and not options.short)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
