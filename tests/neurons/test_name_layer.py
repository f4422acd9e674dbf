"""Naming the units of models: watching a layer, the cache that can't be stale, and names from probes of every kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support.hub_saved import saved
from tests.support.tiny import Cnn
from vlcam.contracts import InputError, LayerError, Request, check_question
from vlcam.image.preprocess import Preprocess
from vlcam.neurons import NeuronNames, effects, name
from vlcam.neurons.name_layer import name_and_keep
from vlcam.neurons.probes.encoders import EncodedWords, Encoder
from vlcam.neurons.probes.folders import ClassFolders
from vlcam.neurons.probes.probe import Sample
from vlcam.neurons.probes.scenes import SceneProbe
from vlcam.neurons.scoring.activations import Activations, ModuleTask, watch
from vlcam.neurons.scoring.settings import Settings
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

SIZE = 32
LABELS = ("a", "b", "c", "d", "e")


def photos(count: int = 9, seed: int = 0) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (40, 48, 3), np.uint8) for _ in range(count)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.block = nn.Conv2d(12, 12, 3, 1, 1)
        self.fc = nn.Linear(12, 5)

    def forward(self, pixels: Tensor) -> Any:
        return self.fc(self.block(self.stem(pixels)).mean((2, 3)))


def classifier(model: type[nn.Module] = Net) -> Classification:
    torch.manual_seed(0)
    return Classification(model(), LABELS, Preprocess(SIZE), layer="block")


def maps_of(task: Classification, pictures: list[NDArray[np.uint8]]) -> Tensor:
    """The layer's output for each picture alone, by a plain forward pass."""
    model = task.model.eval()
    assert isinstance(model, Net)
    with torch.no_grad():
        inputs = [task.preprocess(Image.fromarray(one))[0] for one in pictures]
        return torch.cat([model.block(model.stem(one)) for one in inputs])


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_the_layer_is_watched_as_it_runs(batch: int) -> None:
    task, pictures = classifier(), photos()
    task.model.train()
    seen = watch(task, pictures, batch_size=batch)
    assert task.model.training and (seen.layer, seen.model) == ("block", "classifier")
    assert torch.from_numpy(seen.maps) == pytest.approx(maps_of(task, pictures), abs=1e-5)
    assert seen.maps.shape == (9, 12, 16, 16) and len(seen.geometries) == 9
    assert all(one.photo_size == (48, 40) for one in seen.geometries)


def test_the_model_stops_at_the_layer() -> None:
    task = classifier(Cnn)
    heads: list[int] = []
    assert isinstance(task.model, Cnn)
    task.model.fc.register_forward_hook(lambda module, inputs, output: heads.append(len(output)))
    watch(task, photos(), batch_size=4)
    assert heads == [1]  # the first picture alone, to learn how the layer is laid out
    assert task.model.forwards == 1 + 2  # then 8 more, 4 at a time


def test_a_layer_by_name_and_the_last_spatial_one() -> None:
    task, pictures = classifier(), photos(3)
    assert watch(task, pictures, layer="stem").maps.shape == (3, 12, 16, 16)
    free = Classification(task.model, LABELS, Preprocess(SIZE))
    assert watch(free, pictures).layer == "block"
    assert watch(ModuleTask(task.model, Preprocess(SIZE)), pictures, batch_size=2).maps == pytest.approx(
        watch(task, pictures).maps, abs=1e-5
    )
    with pytest.raises(LayerError, match="has no layer 'blok'"):
        watch(task, pictures, layer="blok")
    with pytest.raises(LayerError):
        watch(task, pictures, layer="fc")


def test_captioner_and_question_answerer_are_watched() -> None:
    pictures = [vlcam.scenes.make(seed, "val").image() for seed in range(3)]
    caption = watch(bundled.captioner(), pictures)
    answer = watch(bundled.vqa(), pictures, request=Request(question="what colour is the star"))
    assert caption.maps.shape == answer.maps.shape == (3, 192, 12, 12)
    assert caption.maps == pytest.approx(answer.maps, abs=1e-4)  # the three models share a trunk
    explanation = vlcam.explain(bundled.captioner(), pictures[1])
    assert torch.from_numpy(caption.maps[1].max((1, 2))) == pytest.approx(explanation.activity, rel=1e-4)


@pytest.mark.parametrize("scenes", [True, False])
def test_a_question_answerer_must_be_asked_something(scenes: bool, tmp_path: Path) -> None:
    saved("vilt", tmp_path)
    task: Any = bundled.vqa() if scenes else vlcam.load(tmp_path)
    said = f"no question was given, and {task.name} answers questions; give question=.*--question on the command line"
    probe = SceneProbe("val", 4)
    for options in ({}, {"question": " "}, {"request": Request(top_k=1)}):
        with pytest.raises(InputError, match=said):
            name(task, None, probe, permutations=19, bootstrap=0, cache=tmp_path / "maps", **options)
    for call in (
        lambda: vlcam.explain(task, photos()[0]),
        lambda: effects(task, probe),
        lambda: watch(task, photos(2)),
    ):
        with pytest.raises(InputError, match=said):
            call()
    assert not (tmp_path / "maps").exists()
    with pytest.raises(InputError, match=r"question=3 was given; expected a string"):
        check_question(task.name, 3)


def test_the_question_is_what_the_model_is_asked(tmp_path: Path) -> None:
    """In ViLT's one stream of photo and words, another question makes other maps."""
    saved("vilt", tmp_path)
    task: Any = vlcam.load(tmp_path)
    seen = [
        name_and_keep(
            task, None, SceneProbe("val", 4), settings=Settings("iou", 0.1, None, 19, bootstrap=0), **given
        ).activations.maps
        for given in (
            {"question": "what color is the dog"},
            {"request": Request(question="what color is the dog")},
            {"question": "is the cat near the sofa"},
        )
    ]
    assert np.array_equal(seen[0], seen[1]) and not np.allclose(seen[0], seen[2], atol=1e-3)


def test_a_question_that_is_not_heard_is_refused() -> None:
    with pytest.raises(InputError, match=r"a question or a prompt was given, but Net is a bare module"):
        name(Net(), "block", SceneProbe("val", 4), preprocess=Preprocess(SIZE), question="what is it?")
    with pytest.raises(InputError, match=r"question='b' and request= with question='a' were given; give one of them"):
        name(bundled.vqa(), None, SceneProbe("val", 4), request=Request(question="a"), question="b")
    with pytest.raises(InputError, match="takes no question"):
        name(bundled.captioner(), None, SceneProbe("val", 4), question="what is it?")


def test_large_maps_go_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    task, pictures = classifier(), photos(4)
    inside = watch(task, pictures)
    monkeypatch.setattr("vlcam.neurons.scoring.activations.IN_MEMORY", 1000)
    outside = watch(task, pictures)
    assert isinstance(outside.maps, np.memmap) and not isinstance(inside.maps, np.memmap)
    assert outside.maps == pytest.approx(inside.maps)
    folder = outside.held.path
    assert (folder / "maps.npy").is_file()
    del outside
    assert not folder.exists()


def run(task: Any, pictures: list[Any], cache: Path, **options: Any) -> Activations:
    seen = watch(task, pictures, cache=cache, **options)
    assert seen.maps == pytest.approx(watch(task, pictures, **options).maps, abs=1e-6)
    return seen


def test_the_cache_is_used_and_never_stale(tmp_path: Path) -> None:
    task, pictures = classifier(), photos()
    assert run(task, pictures, tmp_path).reused == 0
    assert run(task, pictures, tmp_path).reused == 9
    assert run(task, [*pictures[:5], *photos(4, seed=1)], tmp_path).reused == 5  # by picture
    assert run(task, pictures, tmp_path, layer="stem").reused == 0
    assert (
        run(
            Classification(task.model, LABELS, Preprocess(SIZE, mean=(0.0, 0.0, 0.0)), layer="block"),
            pictures,
            tmp_path,
        ).reused
        == 0
    )
    with torch.no_grad():
        next(task.model.parameters())[0, 0, 0, 0] += 1e-3
    assert run(task, pictures, tmp_path).reused == 0
    assert isinstance(task.model, Net)
    norm = task.model.stem[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    norm.running_mean += 0.1  # a buffer
    assert run(task, pictures, tmp_path).reused == 0
    norm.eps = 0.1  # a setting
    assert run(task, pictures, tmp_path).reused == 0


def test_code_that_changed_is_another_model(tmp_path: Path) -> None:
    """Two classes of the same name and weights whose forward differs."""

    def model(factor: float) -> nn.Module:
        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.factor = factor
                self.conv = nn.Conv2d(3, 4, 3)

            def forward(self, pixels: Tensor) -> Tensor:
                scaled: Tensor = self.conv(pixels) * self.factor
                return scaled

        torch.manual_seed(0)
        return Scaled()

    pictures = photos(3)
    one, other = (ModuleTask(model(factor), Preprocess(SIZE)) for factor in (1.0, 2.0))
    first = run(one, pictures, tmp_path)
    assert run(one, pictures, tmp_path).reused == 3
    second = run(other, pictures, tmp_path)
    assert second.reused == 0 and first.layer == second.layer == "Scaled"
    assert second.maps == pytest.approx(2 * first.maps)


@pytest.mark.parametrize("damage", ["index", "maps", "shape"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    task, pictures = classifier(), photos(3)
    run(task, pictures, tmp_path)
    (index,) = tmp_path.glob("*/index.json")
    (maps,) = tmp_path.glob("*/maps-*.npy")
    if damage == "index":
        index.write_text("{", encoding="utf-8")
    elif damage == "maps":
        maps.write_bytes(maps.read_bytes()[:200])
    else:
        np.save(maps, np.zeros((3, 1, 2, 2), np.float32))
    assert run(task, pictures, tmp_path).reused == 0
    assert run(task, pictures, tmp_path).reused == 3
    assert len(list(tmp_path.glob("*/*"))) == 2  # nothing is left over


class Colours(nn.Module):
    """Maps of 12 x 12: redness, blueness, nothing, noise; a head that averages them."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = _Maps()
        self.head = nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Any:
        return self.head(self.maps(pixels).mean((2, 3)))


class _Maps(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        rgb = torch.nn.functional.adaptive_avg_pool2d(pixels, 12)
        red = (rgb[:, 0] - rgb[:, 1:].amax(1) - 0.2).relu()
        blue = (rgb[:, 2] - rgb[:, :2].amax(1) - 0.1).relu()
        made = torch.Generator().manual_seed(0)
        noise = torch.stack(
            [torch.rand(12, 12, generator=made.manual_seed(int(1e6 * float(one.sum())))) for one in rgb]
        )
        return torch.stack((red, blue, torch.zeros_like(red), noise), 1)


PLAIN = Preprocess(96, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resample="box")


@pytest.mark.extended
def test_units_of_a_bare_module_are_named_on_scenes() -> None:
    told: list[tuple[str, int, int]] = []
    names = name(
        Colours(), "maps", SceneProbe("val", 150), preprocess=PLAIN, permutations=40, bootstrap=20, mask_size=24,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert [(unit.state, unit.name) for unit in names.units] == [
        ("named", "red"), ("named", "blue"), ("dead", None), ("unnamed", None),
    ]  # fmt: skip
    assert (names.model, names.layer, names.probe["images"], names.probe["scorer"]) == ("Colours", "maps", 150, "iou")
    assert {what for what, _, _ in told} >= {"looking", "labels", "chance"}
    assert any("only 150 pictures" in note for note in names.probe["notes"])
    red = names.units[0]
    assert (
        red.stability is not None and red.stability > 0.7 and red.margin is not None and red.margin > 0.3 and red.claims
    )
    assert red.iou == red.score and red.auprc is not None and red.auprc > 0.5 and red.correlation is not None
    curve = names.probe["null"]
    assert len(curve["observed"]) == 4 and curve["limit95"] < red.score
    again = name(
        Colours(), "maps", SceneProbe("val", 150), preprocess=PLAIN, permutations=40, bootstrap=20, mask_size=24
    )
    assert again.units == names.units
    assert NeuronNames.from_json(names.to_json()) == names


def test_classes_of_folders_are_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, colour in (("tomato", (220, 30, 30)), ("ocean", (30, 40, 220)), ("meadow", (40, 200, 40))):
        (tmp_path / label).mkdir()
        for n in range(30):
            noise = rng.integers(-25, 25, (24, 24, 3))
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(
                tmp_path / label / f"{n}.png"
            )
    task = Classification(Colours(), ("tomato", "other"), PLAIN, layer="maps")
    names = name(task, None, ClassFolders(tmp_path), quantile=0.2, permutations=40, bootstrap=10)
    assert [unit.name for unit in names.units] == ["tomato", "ocean", None, None]
    assert "target" in names.units[0].flags and "target" not in names.units[1].flags
    assert any("whole pictures" in note for note in names.probe["notes"])


def test_words_of_an_encoder_are_names() -> None:
    """An encoder that knows how red and how blue a picture is."""
    pictures = [Image.fromarray(vlcam.scenes.make(seed, "val").image()) for seed in range(60)]
    words = ["red", "blue", "green", "grey"]

    def images(some: list[Image.Image]) -> Tensor:
        rgb = torch.stack([torch.from_numpy(np.asarray(one, np.float32) / 255) for one in some])
        red = (rgb[..., 0] - rgb[..., 1:].amax(-1) - 0.2).relu().mean((1, 2))
        blue = (rgb[..., 2] - rgb[..., :2].amax(-1) - 0.1).relu().mean((1, 2))
        return torch.stack([10 * red, 10 * blue, torch.full_like(red, 0.1), torch.full_like(red, 0.2)], 1)

    encoder = Encoder(images, lambda texts: torch.eye(4)[[words.index(text.split()[-1]) if text.split()[-1] in words else 3 for text in texts]], "own")  # fmt: skip # noqa: E501
    names = name(Colours(), "maps", EncodedWords(pictures, words, encoder), preprocess=PLAIN, permutations=60)
    assert [unit.name for unit in names.units[:2]] == ["red", "blue"]
    assert names.units[2].state == "dead" and names.units[3].state == "unnamed"
    assert names.probe["scorer"] == "soft-wpmi" and names.units[0].claims is None


class Single:
    """A probe of one picture."""

    name, facts, concepts = "one", {"kind": "test"}, (("red", "colour"),)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int, /) -> Sample:
        return Sample("one", Image.new("RGB", (8, 8)), frozenset({"colour"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocess": None}, "a bare module was given without its preprocessing"),
        ({"scorer": "www"}, "needs pictures and words, and the probe has labels"),
        ({"mask_size": 6}, "mask_size=6 was given for maps of 12 x 12 cells"),
        ({"probe": Single()}, r"a probe of 1 picture\(s\) was given"),
        ({"quantile": 0.0}, "quantile 0.0 was given"),
    ],
)
def test_what_cannot_be_named(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"preprocess": PLAIN, "probe": SceneProbe("val", 3)} | options
    with pytest.raises(InputError, match=message):
        name(Colours(), "maps", given.pop("probe"), permutations=given.pop("permutations", 19), **given)


def test_a_task_brings_its_own_preprocessing() -> None:
    with pytest.raises(InputError, match="has its own; leave it out"):
        name(classifier(), None, SceneProbe("val", 3), preprocess=PLAIN)
