"""A model is given back after an interrupt at any place, to a forked child, and beside other threads."""

import gc
import hashlib
import os
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack

import vlcam
from tests.support.tiny import snapshot
from vlcam.engine import restore
from vlcam.engine.draws import PrivateDraws
from vlcam.engine.restore import Undo, close_batches, preserve_model, undo_after_errors
from vlcam.engine.run_once import pause_recording, paused, run_once
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification


class Small(nn.Module):
    """A conv layer, a batch norm that counts, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.look, self.last = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        cells = self.norm(self.conv(photos)).relu().flatten(2).mT
        return self.last(self.look(cells, cells, cells)[0].mean(1))  # type: ignore[no-any-return]


def _is_checking(frame: Any) -> bool:
    """Whether the tests' type checker is at work on functions made at run time, which nobody else has, and whose lock it would keep."""
    while frame is not None and "/vlcam/" not in frame.f_code.co_filename:
        if any(one in frame.f_code.co_filename for one in ("beartype", "jaxtyping", "<string>")):
            return True
        frame = frame.f_back
    return False


class Interrupt:
    """A profiler that counts what is called and returned from, or raises KeyboardInterrupt once, at a place of that number."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.count = at, 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if frame.f_code is Interrupt.run.__code__ or _is_checking(frame):
            return
        self.count += 1
        if self.count == self.at:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def run(self, action: Callable[[], Any]) -> BaseException | None:
        """Run an action under this profiler; the interrupt, if it came."""
        gc.disable()
        sys.setprofile(self)
        try:
            action()
        except KeyboardInterrupt as stop:
            return stop
        finally:
            sys.setprofile(None)
            gc.enable()
        return None


def is_free() -> bool:
    """Whether another thread gets its turn."""
    found: list[bool] = []

    def take() -> None:
        found.append(restore._ONE_AT_A_TIME.acquire(timeout=2))
        if found[0]:
            restore._ONE_AT_A_TIME.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]


def choose_places(count: int, many: int) -> list[int]:
    """Places to interrupt at, from 1."""
    return random.Random(0).sample(range(1, count + 1), min(many, count))


def state_of(model: nn.Module) -> dict[str, Any]:
    return snapshot(model) | {
        "modes": [one for one in _get_current_function_mode_stack() if getattr(one, "on", True)],
        "paused": paused.get(),
        "open": len(restore._list_open()),
    }


def explaining(model: nn.Module) -> Callable[[], Any]:
    """All contexts that change something, one inside another."""

    def use() -> None:
        with preserve_model(model) as undo:
            undo.add_hook(model.register_forward_hook, lambda *_: None)
            undo.add_hook(model.register_forward_pre_hook, lambda *_: None)
            with preserve_model(model), run_once(model.get_submodule("conv"), []), pause_recording():
                model.get_submodule("conv")(torch.ones(1, 3, 5, 5))

    return use


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it may come within a finaliser
@pytest.mark.parametrize("many", [100, pytest.param(1500, marks=pytest.mark.extended)])
def test_an_interrupt_at_any_place_leaves_nothing(many: int) -> None:
    model = Small().train()
    model.norm.eval()
    model.last.requires_grad_(False)
    use, before = explaining(model), state_of(model)
    use()
    counter = Interrupt()
    counter.run(use)
    assert counter.count > 300 and state_of(model) == before
    for at in choose_places(counter.count, many):
        Interrupt(at).run(use)
        assert state_of(model) == before, at
    assert is_free()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_while_the_interrupt_is_remembered_the_model_is_given_back_as_well() -> None:
    model = Small().train()
    use, before = undo_after_errors(explaining(model)), state_of(model)
    counter = Interrupt()
    counter.run(use)
    for at in choose_places(counter.count - 20, 100):
        stop = Interrupt(at).run(use)  # its traceback holds on to every context, as an interactive session does
        assert state_of(model) == before, (at, stop)
    assert is_free()


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_explanations_may_be_interrupted_anywhere() -> None:
    model = Small().train()
    task = Classification(model, ["a", "b", "c"], preprocess=vlcam.Preprocess(16), layer="conv")
    photo = vlcam.scenes.make(1).image(16)
    vlcam.explain(task, photo)
    before, counter = state_of(model), Interrupt()
    counter.run(lambda: vlcam.explain(task, photo))
    left = 0
    for at in choose_places(counter.count, 300):
        Interrupt(at).run(lambda: vlcam.explain(task, photo))
        left += state_of(model) != before
    assert left == 0


def test_a_mode_that_comes_back_late_does_nothing_and_goes() -> None:
    late, model = PrivateDraws(3), Small()
    with preserve_model(model):
        late.__enter__()
        late.switch_off()
    torch._C._push_on_torch_function_stack(late)  # as a generator of PyTorch's does when an interrupt is forgotten
    torch.manual_seed(5)
    found = torch.rand(3)
    torch.manual_seed(5)
    with preserve_model(model):
        pass
    assert _get_current_function_mode_stack() == [] and torch.equal(found, torch.rand(3))


def test_a_step_that_fails_keeps_no_other_from_being_taken() -> None:
    done: list[int] = []
    undo = Undo()
    undo.callback(done.append, 1)
    undo.callback(lambda: 1 // 0)
    undo.callback(done.append, 2)
    with pytest.raises(ZeroDivisionError):
        undo.run()
    assert done == [2, 1]


FORKED = """
    import os, sys, threading, torch, vlcam
    from vlcam.tasks import bundled
    torch.set_num_threads(1)
    task, photo = bundled.classifier(), vlcam.scenes.make(1).image(48)
    task.model.train()
    inside, go_on = threading.Event(), threading.Event()
    hook = task.model.register_forward_hook(lambda *_: inside.set() or go_on.wait(60) and None)
    other = threading.Thread(target=lambda: vlcam.explain(task, photo))
    other.start()
    inside.wait(60)
    child = os.fork()
    if not child:
        hook.remove()
        clean = all(one.training for one in task.model.modules()) and all(one.requires_grad for one in task.model.parameters())
        hooks = sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in task.model.modules())
        vlcam.explain(task, photo)
        os._exit(0 if clean and not hooks else 3)
    go_on.set()
    other.join()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_meanwhile_has_its_own_turn_and_the_model_as_it_was() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKED)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def explain_in_threads(many: int) -> set[str]:
    """The digests of the maps of two models that two threads explain, ``many`` times each; the second thread draws numbers too."""
    tasks = bundled.classifier(), bundled.captioner()
    photo = vlcam.scenes.make(1).image(48)
    found: dict[int, set[str]] = {0: set(), 1: set()}
    switches = set()

    def go_on(which: int) -> None:
        for _ in range(many):
            maps = vlcam.explain(tasks[which], photo, method="gradcam").maps
            found[which].add(hashlib.sha256(maps.numpy().tobytes()).hexdigest())
            switches.add(
                (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.backends.mha.get_fastpath_enabled())
            )

    threads = [threading.Thread(target=go_on, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(switches) == 1
    alone = {
        hashlib.sha256(vlcam.explain(task, photo, method="gradcam").maps.numpy().tobytes()).hexdigest()
        for task in tasks
    }
    return found[0] | found[1] | alone


def test_two_threads_get_the_maps_of_one() -> None:
    assert len(explain_in_threads(5)) == 2


@pytest.mark.extended
def test_two_threads_get_the_maps_of_one_every_time() -> None:
    assert len(explain_in_threads(250)) == 2


def test_a_batched_computation_that_was_cut_short_is_left() -> None:
    torch._C._vmapmode_increment_nesting()  # as torch.autograd.grad(is_grads_batched=True) does, and didn't come to undo
    close_batches()
    close_batches()
    assert torch.rand(2).shape == (2,)
