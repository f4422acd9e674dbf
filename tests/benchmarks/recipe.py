"""All words of a caption against the recipe that people write by hand: one full forward and backward for every word.

    python tests/benchmarks/recipe.py [--rounds 11] [--threads 2] [--short] [--json FILE]

The captioner has the size of BLIP-base (random weights, a photo of 384 x 384 pixels, 11 words). Three ways to the same maps:

- plain: for every word a forward with hooks on the layer, as the model comes (all parameters ask for gradients), ``.backward()`` from
  the word's log-probability, and Grad-CAM from what the hooks kept;
- careful: the same with a frozen model, so that the backward pass stops at the layer;
- vlcam: one recorded forward, and the gradients of all words at once.

Every round times one word of each recipe and all words of vlcam, one after the other, so that a noisy machine hurts all alike; printed
are the medians over rounds of 11 times a word's time by vlcam's. All maps that were timed are compared as well.
"""

import argparse
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vlcam

AT_LEAST = 9.0
"""How many times faster than the plain recipe vlcam has to be."""
SAME = 1e-4
"""How far apart the maps of a word may be, by its map's maximum: float32, summed in different orders."""
LAYER = "vision_model.post_layernorm"
WORDS = 11


def captioner(short: bool) -> tuple[nn.Module, dict[str, Tensor]]:
    """A captioner with random weights, as it comes (all parameters ask for gradients), and its inputs."""
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
    model: nn.Module = BlipForConditionalGeneration(config).eval()
    ids = torch.randint(1000, 20000, (1, WORDS + 1))
    return model, {"pixel_values": torch.rand(1, 3, size, size), "input_ids": ids}


def log_probabilities(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """``(words,)``, each word's log-probability after the words before it."""
    logits: Tensor = model(**inputs).logits
    return logits[0, :-1].log_softmax(-1)[range(WORDS), inputs["input_ids"][0, 1:]]


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """``(cells,)`` from ``(1 + cells, channels)``: Grad-CAM before its ReLU, without the class token."""
    return activations[1:] @ gradients[1:].mean(0)


def plain(model: nn.Module, inputs: dict[str, Tensor], word: int) -> Tensor:
    """One word's map by a forward and a full backward."""
    kept: list[tuple[Tensor, list[Tensor]]] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        slopes: list[Tensor] = []
        output.register_hook(slopes.append)
        kept.append((output.detach(), slopes))

    handle = model.get_submodule(LAYER).register_forward_hook(keep)
    model.zero_grad()
    log_probabilities(model, inputs)[word].backward()
    handle.remove()
    activations, (slopes,) = kept[0]  # the layer runs once more, for the class token alone
    return grad_cam(activations[0], slopes[0])


def careful(model: nn.Module, inputs: dict[str, Tensor], word: int) -> Tensor:
    """One word's map by a forward of the frozen model and a backward that stops at the layer."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        kept.append(output.requires_grad_())
        return output

    handle = model.get_submodule(LAYER).register_forward_hook(keep)
    model.requires_grad_(False)
    (slopes,) = torch.autograd.grad(log_probabilities(model, inputs)[word], kept[:1])
    model.requires_grad_(True)
    handle.remove()
    return grad_cam(kept[0].detach()[0], slopes[0])


def at_once(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """One forward, and the gradients of all words."""
    with vlcam.record(model, LAYER) as recording:
        words = log_probabilities(model, inputs)
    gradients = vlcam.gradients(words, recording.resolve(words))[:, 0, 1:]  # words x cells x channels
    return torch.einsum("tc,nc->tn", gradients.mean(1), recording.activations[0, 1:])


def bare(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """The forward pass alone."""
    with torch.inference_mode():
        return log_probabilities(model, inputs)


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of two maps of a word, by the other's largest value."""
    return float((one - other).abs().max() / other.abs().max())


def main(given: list[str]) -> int:
    """Print the differences and the ratios; the exit code is 1 if the maps differ or vlcam is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=WORDS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="a small model and photo: that it runs, not how fast")
    parser.add_argument("--json", type=Path, help="a file for the table, which the documentation shows")
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model, inputs = captioner(options.short)
    times: dict[str, list[float]] = {"plain": [], "careful": [], "vlcam": [], "bare forward": []}
    differences: dict[str, list[float]] = {"plain": [], "careful": []}
    for number in range(options.rounds + 1):
        word = number % WORDS
        ways = {
            "plain": partial(plain, model, inputs, word),
            "careful": partial(careful, model, inputs, word),
            "vlcam": partial(at_once, model, inputs),
            "bare forward": partial(bare, model, inputs),
        }
        found = {}
        for name, way in ways.items():
            began = time.perf_counter()
            found[name] = way()
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - began)
        for name, every in differences.items():
            every.append(apart(found["vlcam"][word], found[name]))
    worst = {name: max(every) for name, every in differences.items()}
    print("largest difference of vlcam's maps: " + ", ".join(f"{one:.1e} to {name}'s" for name, one in worst.items()))
    ratios = {
        name: statistics.median(
            one * (WORDS if name in differences else 1) / ours
            for one, ours in zip(seconds, times["vlcam"], strict=True)
        )
        for name, seconds in times.items()
    }
    for name, seconds in times.items():
        what = "a word" if name in differences else "in all"
        print(f"{name:12} {statistics.median(seconds):7.2f} s {what}, {ratios[name]:6.2f} x vlcam for all words")
    print(f"vlcam is {ratios['plain']:.1f} times faster than the plain recipe (at least {AT_LEAST:.0f}), ", end="")
    print(f"{ratios['careful']:.1f} times faster than the careful one")
    if options.json is not None:
        document = {
            "command": f"python tests/benchmarks/recipe.py --rounds {options.rounds} --threads {options.threads}",
            "versions": {"vlcam": vlcam.__version__, "torch": torch.__version__},
            "head": ["way to the maps of all 11 words", "time by vlcam's"],
            "rows": [[name, f"{ratio:.2f}"] for name, ratio in ratios.items()],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    wrong = max(worst.values()) > SAME
    return int(wrong or (ratios["plain"] < AT_LEAST and not options.short))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
