"""Heatmaps during training: the right pictures in the right places, and a training that goes on as if nobody had looked."""

import importlib
import pickle
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, final

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support.tiny import Cnn
from vlcam.integrations import (
    FolderWriter,
    HeatmapPicture,
    Heatmaps,
    TensorBoardWriter,
    WandbWriter,
    lightning_callback,
    trainer_callback,
)
from vlcam.integrations.heatmaps import _keep_random_state
from vlcam.render import overlay
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

LABELS = ["ant", "bee", "cat", "dog", "eel"]
PREPROCESS = vlcam.Preprocess(24)


def photos(count: int = 2, width: int = 40, height: int = 30) -> list[np.ndarray]:
    made = np.random.Generator(np.random.PCG64(0))
    return [made.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def task(model: nn.Module | None = None) -> Classification:
    torch.manual_seed(0)
    return Classification(Cnn() if model is None else model, LABELS, PREPROCESS, layer="block")


@final
class Kept:
    """A writer that keeps what it gets."""

    def __init__(self, error: Exception | None = None) -> None:
        self.pictures: list[HeatmapPicture] = []
        self.closed = 0
        self.error = error

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        if self.error is not None:
            raise self.error
        self.pictures += pictures

    def close(self) -> None:
        self.closed += 1


def installed(name: str) -> Any:
    """A partner, or the test is skipped; what it warns about when it is imported is its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is an extra and not installed")


def board(folder: Path) -> Any:
    """What TensorBoard reads in a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    return module.EventAccumulator(str(folder)).Reload()


# --- the pictures ---------------------------------------------------------------------------------------------------------------


def test_a_picture_is_the_photo_and_the_photo_under_its_heatmap() -> None:
    one, kept = task(), Kept()
    found = Heatmaps(one, {"first": photos()[0]}, kept, targets=["cat", "eel"]).log(3, step=70)
    assert list(found) == kept.pictures and [picture.tag for picture in found] == ["first/cat", "first/eel"]
    explanation = vlcam.explain(one, photos()[0], targets=["cat", "eel"])
    assert any(view.flag == "ok" for view in explanation)
    for picture, view in zip(found, explanation, strict=True):
        assert (picture.epoch, picture.step, picture.target) == (3, 70, view.target)
        assert picture.peak == float(view.map.max())
        left, right = picture.pixels[:, :40], picture.pixels[:, 40:]
        assert (left == photos()[0]).all()
        drawn = overlay(photos()[0], view.heatmap().numpy(), opacity=0.4) if view.flag == "ok" else left
        assert (right == drawn).all()
        assert picture.caption.startswith(f"{view.label}, ") and picture.caption.endswith(", epoch 3")
        assert picture.value == ("probability", view.target.probability)


def test_large_photos_are_drawn_small_and_a_scale_of_ones_own_is_kept() -> None:
    large = [np.full((900, 1200, 3), 40, np.uint8)]
    small = Heatmaps(task(), large, targets="cat", side=80).log(0)[0]
    assert small.pixels.shape == (60, 160, 3)
    one = vlcam.explain(task(), photos()[0], targets=["cat", "eel"])
    shown = max(one, key=lambda view: float(view.map.max()))
    peak = float(shown.map.max())
    own, fixed, faint = (
        Heatmaps(task(), photos(1), targets=shown.label, scale=scale).log(0)[0] for scale in (None, peak, 50 * peak)
    )
    change = [np.abs(one.pixels[:, 40:].astype(int) - one.pixels[:, :40]).mean() for one in (own, fixed, faint)]
    assert change[1] > 5 * change[2]


def test_tags_stay_the_same_while_the_model_changes_its_mind() -> None:
    one: Any = task()
    heatmaps = Heatmaps(one, photos(), top_k=2)
    before = heatmaps.log(0)
    with torch.no_grad():
        one.model.fc.weight.neg_()
    after = heatmaps.log(1)
    assert [picture.tag for picture in before] == ["photo 0/1", "photo 0/2", "photo 1/1", "photo 1/2"]
    assert [picture.tag for picture in after] == [picture.tag for picture in before]
    assert [picture.target.label for picture in after] != [picture.target.label for picture in before]


def test_words_of_a_caption_that_occur_twice_have_tags_of_their_own() -> None:
    caption = "a red star above a blue circle"
    found = Heatmaps(bundled.captioner(), {"scene": vlcam.scenes.make(0).image()}, caption=caption).log(0)
    tags = [picture.tag.removeprefix("scene/") for picture in found]
    assert tags[:5] == ["a", "red", "star", "above", "a (2)"] and len(set(tags)) == len(tags)


def test_a_module_with_labels_and_a_preprocessing_is_a_task() -> None:
    by_parts = Heatmaps(task().model, photos(), labels=LABELS, preprocess=PREPROCESS, layer="block", targets="bee")
    assert by_parts.task == Classification(by_parts.task.model, LABELS, PREPROCESS)
    whole = Heatmaps(task(), photos(), targets="bee").log(0)
    for one, other in zip(by_parts.log(0), whole, strict=True):
        assert (one.pixels == other.pixels).all()


def test_photos_are_read_once_and_keep_their_names(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.fromarray(photos()[0]).save(tmp_path / folder / "dog.png")
    files = [tmp_path / "one" / "dog.png", tmp_path / "two" / "dog.png"]
    heatmaps = Heatmaps(task(), files, targets="cat")
    for file in files:
        file.unlink()
    assert [picture.tag for picture in heatmaps.log(0)] == ["dog/cat", "dog (1)/cat"]


# --- training goes on -----------------------------------------------------------------------------------------------------------


def trained(look: bool) -> tuple[dict[str, Tensor], Tensor, list[float]]:
    """A few steps of training with dropout and batch norms, with or without somebody looking in between."""
    torch.manual_seed(1)
    model = Cnn()
    model.get_submodule("stem").requires_grad_(False)
    heatmaps = Heatmaps(task(model), photos(), targets="cat", strict=True)
    torch.manual_seed(2)
    optimiser = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1, momentum=0.9)
    losses = []
    for epoch in range(3):
        model.train()
        model.get_submodule("block").eval()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.rand(4, 3, 24, 24)), torch.arange(4))
        loss.backward()
        if look:  # at the worst moment: gradients are there, and not used yet
            flags = [module.training for module in model.modules()]
            grads = [
                (one.requires_grad, one.grad, None if one.grad is None else one.grad.clone())
                for one in model.parameters()
            ]
            assert len(heatmaps.log(epoch)) == 2
            assert [module.training for module in model.modules()] == flags and True in flags and False in flags
            for one, (wanted, grad, copy) in zip(model.parameters(), grads, strict=True):
                assert one.requires_grad == wanted and one.grad is grad
                assert grad is None or (copy is not None and bool((grad == copy).all()))
        optimiser.step()
        losses.append(float(loss.detach()))
    return model.state_dict(), torch.get_rng_state(), losses


def test_training_is_bit_for_bit_the_same_as_without() -> None:
    (state, rng, losses), (plain_state, plain_rng, plain_losses) = trained(True), trained(False)
    assert losses == plain_losses and bool((rng == plain_rng).all())
    assert state.keys() == plain_state.keys() and all(bool((state[key] == plain_state[key]).all()) for key in state)


def test_random_numbers_go_on_as_if_the_task_had_drawn_none() -> None:
    def drawing(image: Image.Image) -> Any:
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
        return PREPROCESS(image)

    drawn: list[tuple[float, float, float]] = []
    heatmaps = Heatmaps(Classification(Cnn(), LABELS, drawing, layer="block"), photos(1), targets="cat", strict=True)
    for _ in range(2):
        before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index] # noqa: NPY002
        heatmaps.log(0)
        after = np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index] # noqa: NPY002
        assert before[0] == after[0] and bool((before[1] == after[1]).all())
    assert drawn[0][1:] == drawn[1][1:]
    # Python's own are drawn by the type checks of these tests as well, so that they are looked at closer.
    chance = random.getstate()
    with _keep_random_state():
        random.random()
        assert random.getstate() != chance
    assert random.getstate() == chance


def test_only_every_nth_epoch_is_explained() -> None:
    kept = Kept()
    heatmaps = Heatmaps(task(), photos(1), kept, targets="cat", every=3)
    shown = [bool(heatmaps.log(epoch)) for epoch in range(8)]
    assert shown == [True, False, False, True, False, False, True, False]
    assert [picture.epoch for picture in kept.pictures] == [0, 3, 6]


def test_only_the_first_process_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    heatmaps = Heatmaps(task(), photos(1), kept, targets="cat")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for rank, count in ((1, 0), (0, 1)):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        assert len(heatmaps.log(0)) == len(kept.pictures) == count
        heatmaps.close()
        assert kept.closed == count


class Failing(Cnn):
    def forward(self, pixels: Tensor) -> Any:
        if not self.training:
            raise RuntimeError("out of memory")
        return super().forward(pixels)


def test_an_error_is_reported_once_and_training_goes_on() -> None:
    kept = Kept()
    one = task(Failing())
    heatmaps = Heatmaps(one, photos(1), kept, targets="cat")
    with pytest.warns(
        RuntimeWarning, match=r"photos after epoch 0 failed \(RuntimeError: out of memory\); training goes on"
    ):
        assert heatmaps.log(0) == ()
    assert heatmaps.log(1) == () and kept.pictures == []  # a second warning would be an error here
    assert all(module.training for module in one.model.modules())
    with pytest.raises(RuntimeError, match="out of memory"):
        Heatmaps(one, photos(1), targets="cat", strict=True).log(0)


def test_a_writer_that_fails_takes_nothing_from_the_others() -> None:
    broken, kept = Kept(OSError("disk full")), Kept()
    heatmaps = Heatmaps(task(), photos(1), [broken, kept], targets="cat")
    with pytest.warns(RuntimeWarning, match=r"writing to Kept after epoch 0 failed \(OSError: disk full\)"):
        assert len(heatmaps.log(0)) == 1
    assert len(kept.pictures) == 1
    with pytest.raises(OSError, match="disk full"):
        Heatmaps(task(), photos(1), broken, targets="cat", strict=True).log(0)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((task(), []), {}, "at least one photo"),
        ((task(), "dog.png"), {}, "at least one photo"),
        ((task(), ["no such file.png"]), {}, "no such file"),
        ((Cnn(), photos()), {}, "without labels= and preprocess="),
        ((task(), photos()), {"labels": LABELS}, "leave them out"),
        ((task(), photos()), {"every": 0}, "whole numbers from 1"),
        ((task(), photos()), {"method": "gradcamm"}, "no method"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(arguments: Any, options: Any, text: str) -> None:
    with pytest.raises(vlcam.InputError, match=text):
        Heatmaps(*arguments, **options)


def test_a_question_answerer_is_asked_something_before_training() -> None:
    photos = [vlcam.scenes.make(3, "val").image()]
    with pytest.raises(
        vlcam.InputError, match="no question was given, and scenes-vqa answers questions; give question="
    ):
        Heatmaps(bundled.vqa(), photos)
    pictures = Heatmaps(bundled.vqa(), photos, question="is there a red star", top_k=1).log(0)
    assert len(pictures) == 1


def test_a_distributed_model_is_explained_without_its_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, pixels: Tensor) -> Any:
            raise AssertionError("all processes would have to take part")

    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", Wrapper)
    with pytest.raises(vlcam.InputError, match=r"model\.module"):
        Heatmaps(task(Wrapper(Cnn())), photos())
    heatmaps = Heatmaps(Wrapper(Cnn()), photos(1), labels=LABELS, preprocess=PREPROCESS, strict=True)
    assert len(heatmaps.log(0)) == 3


# --- writers --------------------------------------------------------------------------------------------------------------------


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    labels = ["a/b", "..", "a-b", "dog", "x" * 200]
    one = Classification(task().model, labels, PREPROCESS, layer="block")
    heatmaps = Heatmaps(one, {"../out": photos()[0]}, FolderWriter(tmp_path / "run"), targets=labels)
    found = {picture.target.label: picture for picture in heatmaps.log(2)}
    heatmaps.log(3, step=12)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 10 and {len(path.relative_to(tmp_path).parts) for path in files} == {4}
    assert {path.name for path in files} == {"epoch-0002.png", "epoch-0003-step-0000012.png"}
    with Image.open(next(path for path in files if path.parts[-2] == "dog")) as picture:
        assert (np.asarray(picture) == found["dog"].pixels).all()
        assert picture.info["Description"] == found["dog"].caption


def test_tensorboard_gets_images_and_curves(tmp_path: Path) -> None:
    installed("tensorboard")
    from io import BytesIO

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = TensorBoardWriter(tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing is opened before the first picture
    heatmaps = Heatmaps(task(), {"one": photos()[0]}, writer, targets=["cat", "eel"], strict=True)
    found = [heatmaps.log(epoch, step=10 * epoch) for epoch in (1, 2)]
    heatmaps.close()
    events = board(tmp_path)
    assert sorted(events.Tags()["images"]) == ["heatmaps/one/cat", "heatmaps/one/eel"]
    images = events.Images("heatmaps/one/cat")
    assert [image.step for image in images] == [10, 20]
    with Image.open(BytesIO(images[1].encoded_image_string)) as picture:
        assert (np.asarray(picture) == found[1][0].pixels).all()
    curve = events.Scalars("heatmaps/one/cat/probability")
    assert [round(point.value, 5) for point in curve] == [round(one[0].value[1], 5) for one in found]


def test_a_summary_writer_of_ones_own_stays_open() -> None:
    calls: list[Any] = []
    own = SimpleNamespace(
        add_image=lambda tag, pixels, step, dataformats: calls.append((tag, step, dataformats)),
        add_scalar=lambda tag, value, step: calls.append((tag, step)),
        flush=lambda: calls.append("flushed"),
        close=lambda: calls.append("closed"),
    )
    heatmaps = Heatmaps(task(), {"one": photos()[0]}, TensorBoardWriter(own), targets="cat", strict=True)
    heatmaps.log(4)
    heatmaps.close()
    assert calls == [("heatmaps/one/cat", 4, "HWC"), ("heatmaps/one/cat/probability", 4), "flushed"]
    with pytest.raises(vlcam.InputError, match="a folder or a SummaryWriter"):
        TensorBoardWriter(3)


@pytest.fixture
def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What is called of wandb, without its process; examples are run with the real one."""
    made: list[tuple[str, Any]] = []

    def run(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            log=lambda found, step: made.append((name, (step, found))), finish=lambda: made.append((name, "finished"))
        )

    def init(**options: Any) -> SimpleNamespace:
        made.append(("init", options))
        return run("new")

    module = SimpleNamespace(
        run=None,
        made=made,
        new=run,
        Image=lambda pixels, caption: (pixels.shape, caption),
        init=init,
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_is_offline_unless_told_otherwise(fake_wandb: SimpleNamespace) -> None:
    heatmaps = Heatmaps(task(), {"one": photos()[0]}, WandbWriter(project="p"), targets="cat", strict=True)
    assert fake_wandb.made == []
    (picture,) = heatmaps.log(1, step=8)
    heatmaps.close()
    found = {
        "heatmaps/one/cat": ((30, 80, 3), picture.caption),
        "heatmaps/one/cat/probability": picture.target.probability,
        "heatmaps/epoch": 1,
        "heatmaps/step": 8,
    }
    assert fake_wandb.made == [("init", {"mode": "offline", "project": "p"}), ("new", (8, found)), ("new", "finished")]


def test_a_run_that_is_there_is_used_at_its_own_step_and_stays_open(fake_wandb: SimpleNamespace) -> None:
    fake_wandb.run = fake_wandb.new("theirs")
    for writer in (WandbWriter(), WandbWriter(fake_wandb.new("theirs"))):
        heatmaps = Heatmaps(task(), photos(1), writer, targets="cat", strict=True)
        heatmaps.log(1, step=8)
        heatmaps.close()
    assert [(name, what[0]) for name, what in fake_wandb.made] == [("theirs", None)] * 2


def test_missing_partners_are_named_with_their_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("wandb", "torch.utils.tensorboard", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, module, None)
    makers: list[tuple[str, Any]] = [
        ("wandb", WandbWriter),
        ("tensorboard", lambda: TensorBoardWriter(tmp_path)),
        ("lightning", lambda: lightning_callback(Heatmaps(task(), photos()))),
    ]
    from vlcam.integrations.lightning import _make_callback_class

    _make_callback_class.cache_clear()
    for extra, make in makers:
        with pytest.raises(vlcam.InputError, match=rf"pip install 'vlcam\[{extra}\]'"):
            make()


# --- Lightning ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lightning() -> Iterator[Any]:
    module = installed("lightning.pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few workers, and what its own code warns of
        yield module


def fit(
    lightning: Any, root: Path, callback: Any, *, validate: bool = True, epochs: int = 2, **options: Any
) -> tuple[Any, Any]:
    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = callback.heatmaps.task.model

        def training_step(self, batch: Any, index: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            assert not torch.is_grad_enabled()
            self.net(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    data = torch.utils.data.TensorDataset(torch.rand(4, 3, 24, 24), torch.arange(4))
    loaders = [torch.utils.data.DataLoader(data, batch_size=2) for _ in range(1 + validate)]
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=root,
        callbacks=[callback],
        **{"logger": False, **quiet, **options},
    )
    module = Module()
    trainer.fit(module, *loaders)
    return trainer, module


@pytest.mark.parametrize("validate", [True, False])
def test_lightning_logs_once_an_epoch_and_not_at_the_sanity_check(
    lightning: Any, validate: bool, tmp_path: Path
) -> None:
    kept = Kept()
    callback = lightning_callback(Heatmaps(task(), photos(1), kept, targets="cat", strict=True))
    assert isinstance(callback, lightning.Callback)
    _, module = fit(lightning, tmp_path, callback, validate=validate)
    assert [(picture.epoch, picture.step) for picture in kept.pictures] == [(0, 2), (1, 4)]
    assert kept.closed == 1 and all(one.requires_grad for one in module.parameters())


def test_lightning_validates_in_inference_mode(lightning: Any, tmp_path: Path) -> None:
    kept = Kept()
    callback = lightning_callback(Heatmaps(task(), photos(1), kept, targets="cat", strict=True))
    trainer, module = fit(lightning, tmp_path, callback, epochs=1)
    seen = []
    module.on_validation_epoch_end = lambda: seen.append(torch.is_inference_mode_enabled())
    data = torch.utils.data.TensorDataset(torch.rand(2, 3, 24, 24), torch.arange(2))
    trainer.validate(module, torch.utils.data.DataLoader(data), verbose=False)
    assert seen == [True] and len(kept.pictures) == 2 and kept.pictures[1].peak >= 0


def test_lightnings_loggers_take_the_pictures(lightning: Any, tmp_path: Path) -> None:
    images: list[Any] = []
    scalars: list[Any] = []

    class Wandb(lightning.loggers.Logger):  # type: ignore[misc]
        name, version = "w", 0

        def log_image(self, key: str, images_: list[Any], step: int, caption: list[str]) -> None:
            images.append((key, step, images_[0].shape, caption[0].split(",")[0]))

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            scalars.extend((key, step) for key in metrics if key.startswith("heatmaps"))

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    installed("tensorboard")
    callback = lightning_callback(Heatmaps(task(), {"one": photos()[0]}, targets="cat", strict=True))
    own = lightning.loggers.TensorBoardLogger(str(tmp_path), name="t", version=0)
    fit(
        lightning,
        tmp_path,
        callback,
        logger=[own, Wandb(), lightning.loggers.CSVLogger(str(tmp_path))],
        log_every_n_steps=1,
    )
    events = board(Path(own.log_dir))
    assert [image.step for image in events.Images("heatmaps/one/cat")] == [2, 4]
    assert images == [("heatmaps/one/cat", step, (30, 80, 3), "cat") for step in (2, 4)]
    assert scalars == [("heatmaps/one/cat/probability", step) for step in (2, 4)]


def test_lightning_without_anything_that_takes_pictures_says_so(lightning: Any, tmp_path: Path) -> None:
    callback = lightning_callback(Heatmaps(task(), photos(1), targets="cat"))
    with pytest.warns(RuntimeWarning, match=r"no logger that takes pictures \(its loggers: none\).*FolderWriter"):
        fit(lightning, tmp_path, callback, epochs=1)


def test_lightnings_callback_can_be_pickled(lightning: Any) -> None:
    callback = pickle.loads(pickle.dumps(lightning_callback(Heatmaps(task(), photos(1), targets="cat"))))
    assert isinstance(callback, lightning.Callback) and len(callback.heatmaps.log(0)) == 1


# --- transformers' Trainer ------------------------------------------------------------------------------------------------------


class WithLoss(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("when", ["epoch", "evaluation"])
def test_the_trainer_logs_after_epochs_or_evaluations(when: Any, tmp_path: Path) -> None:
    installed("accelerate")
    from transformers import Trainer, TrainerCallback, TrainingArguments

    kept = Kept()
    one = task()
    callback = trainer_callback(Heatmaps(one, photos(1), kept, targets="cat", strict=True), when=when)
    assert isinstance(callback, TrainerCallback)
    data: Any = [{"pixels": torch.rand(3, 24, 24), "labels": torch.tensor(label)} for label in range(4)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=2, report_to=[], save_strategy="no",
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, eval_strategy="epoch",
    )  # fmt: skip
    Trainer(WithLoss(one.model), arguments, train_dataset=data, eval_dataset=data, callbacks=[callback]).train()
    assert [(picture.epoch, picture.step) for picture in kept.pictures] == [(1, 2), (2, 4)] and kept.closed == 1
    nothing: Any = None
    other: Any = SimpleNamespace(epoch=3.0, global_step=6, is_world_process_zero=False)
    for event in (callback.on_epoch_end, callback.on_evaluate, callback.on_train_end):
        event(arguments, other, nothing)
    assert len(kept.pictures) == 2 and kept.closed == 1


def test_the_trainers_callback_wants_writers_and_an_event_and_can_be_pickled() -> None:
    with pytest.raises(vlcam.InputError, match=r"give Heatmaps\(writers=\.\.\.\) one"):
        trainer_callback(Heatmaps(task(), photos()))
    heatmaps = Heatmaps(task(), photos(1), FolderWriter("out"), targets="cat")
    with pytest.raises(vlcam.InputError, match="epoch or evaluation"):
        trainer_callback(heatmaps, when="step")
    callback = pickle.loads(pickle.dumps(trainer_callback(heatmaps, when="evaluation")))
    assert callback.when == "evaluation" and callback.heatmaps.writers == (FolderWriter("out"),)
