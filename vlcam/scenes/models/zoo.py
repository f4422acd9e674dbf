"""The bundled weights: where they are, how they are written, read and checked."""

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from vlcam.contracts import InputError
from vlcam.files import read_bytes, read_json, show_path, write_bytes, write_json
from vlcam.scenes.models.data import CAPTION_VOCABULARY, QUESTION_VOCABULARY
from vlcam.scenes.models.nets import SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.questions import ANSWERS
from vlcam.scenes.record import PAIRS

ModelName = Literal["classifier", "captioner", "vqa"]
MODEL_NAMES: tuple[ModelName, ...] = ("classifier", "captioner", "vqa")

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


def to_input(images: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch 3 height width"]:
    """Pictures as the bundled models take them: 0..255 to (value / 255 - 0.5) / 0.25, channels first."""
    return images.permute(0, 3, 1, 2).float().div_(255).sub_(MEAN[0]).div_(STD[0])


def create_model(which: ModelName) -> SceneClassifier | SceneCaptioner | SceneVQA:
    """An untrained model of the family, in eval mode."""
    if which == "classifier":
        return SceneClassifier(len(PAIRS)).eval()
    if which == "captioner":
        return SceneCaptioner(len(CAPTION_VOCABULARY)).eval()
    if which == "vqa":
        return SceneVQA(len(QUESTION_VOCABULARY), len(ANSWERS)).eval()
    raise InputError(f"there is no bundled model {which!r}; expected one of {', '.join(MODEL_NAMES)}")


def get_weights_folder() -> Path:
    """The folder of the packaged weights."""
    return Path(str(resources.files("vlcam.scenes.models").joinpath("weights")))


def write_weights(folder: Path, models: Mapping[str, nn.Module]) -> None:
    """Write ``<name>.safetensors`` (16-bit floats) and ``sha256.json``."""
    sums = {}
    for name, model in models.items():
        tensors = {
            key: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous().clone()
            for key, value in model.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        data = save_tensors(tensors)
        write_bytes(folder / f"{name}.safetensors", data)
        sums[name] = hashlib.sha256(data).hexdigest()
    write_json(folder / "sha256.json", sums)


def read_checksums(folder: Path) -> dict[str, str]:
    """The sha256 of each weights file, as ``sha256.json`` has them. Raises InputError for a file that is missing or something else."""
    path, what = folder / "sha256.json", "the sha256 of each weights file"
    found: Any = read_json(path, what)
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise InputError(f"{show_path(path)} is not a JSON object of texts; expected {what}")
    return found


def load(which: ModelName, folder: Path | None = None) -> SceneClassifier | SceneCaptioner | SceneVQA:
    """A trained model in eval mode, in float32, from the package or from a folder that ``vlcam scenes train`` wrote.

    Raises InputError if the file is missing or its sha256 is not the recorded one.
    """
    with torch.device("cpu"):  # whatever the default device is
        model = create_model(which)
    place = get_weights_folder() if folder is None else folder
    path = place / f"{which}.safetensors"
    try:
        data = read_bytes(path, f"the weights of the bundled {which}")
        wanted = read_checksums(place)[which]
    except (KeyError, InputError) as error:
        raise InputError(
            f"no weights of the bundled {which} in {place}: expected {which}.safetensors and sha256.json"
        ) from error
    if hashlib.sha256(data).hexdigest() != wanted:
        raise InputError(
            f"{path} is not the file that was recorded (its sha256 differs); reinstall vlcam, or train again"
        )
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in load_tensors(data).items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or any(not key.endswith("num_batches_tracked") for key in missing):
        raise InputError(
            f"{path} does not fit this version's {which}: missing {missing}, unexpected {unexpected}; train again with this version"
        )
    return model


def greedy_search(
    model: SceneCaptioner, photo: Float[Tensor, "batch hidden"], *, longest: int = 15
) -> list[tuple[str, ...]]:
    """The most probable word at each step until the end token, for each photo vector."""
    with torch.no_grad():
        state = model.begin(photo)
        word = torch.full((len(photo), 1), CAPTION_VOCABULARY.START, device=photo.device)
        ended = torch.zeros_like(word, dtype=torch.bool)
        out: list[Tensor] = []
        while len(out) < longest and not bool(ended.all()):
            logits, state = model.step(photo, word, state)
            word = logits[:, -1].argmax(-1, keepdim=True)
            ended |= word == CAPTION_VOCABULARY.END
            out.append(word)
    return [CAPTION_VOCABULARY.decode(row.tolist()) for row in torch.cat(out, 1)]


def beam_search(
    model: SceneCaptioner, photo: Float[Tensor, "1 hidden"], beams: int, *, longest: int = 15
) -> tuple[str, ...]:
    """The finished caption with the highest log-probability per token (end token counted) among ``beams`` kept at each step."""
    with torch.no_grad():
        state = model.begin(photo)
        kept: list[tuple[float, tuple[int, ...]]] = [(0.0, (CAPTION_VOCABULARY.START,))]
        done: list[tuple[float, tuple[int, ...]]] = []
        for _ in range(longest):
            last = torch.tensor([[ids[-1]] for _, ids in kept], device=photo.device)
            logits, state = model.step(photo.expand(len(kept), -1), last, state)
            total = (
                logits[:, -1].log_softmax(-1) + torch.tensor([score for score, _ in kept], device=photo.device)[:, None]
            )
            best = total.flatten().topk(min(2 * beams, total.numel()))
            grown: list[tuple[float, tuple[int, ...]]] = []
            parents: list[int] = []
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                parent, token = divmod(index, total.shape[1])
                ids = (*kept[parent][1], token)
                if token == CAPTION_VOCABULARY.END:
                    done.append((score / (len(ids) - 1), ids))
                elif len(grown) < beams:
                    grown.append((score, ids))
                    parents.append(parent)
            kept = grown
            state = (state[0][:, parents], state[1][:, parents])
            if not kept:
                break
        finished = done or [(score / len(ids), ids) for score, ids in kept]
    return CAPTION_VOCABULARY.decode(max(finished)[1])
