"""What every test shares: no network, the same seeds, and a check that nothing global is left changed."""

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test may download anything
os.environ["NO_COLOR"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # side by side, each has a core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


_STORE = "VLCAM_TESTS_STORE"


def pytest_configure(config: pytest.Config) -> None:
    """One folder for what several tests need and one has to make, shared by all processes of the run."""
    if not hasattr(config, "workerinput"):
        os.environ[_STORE] = tempfile.mkdtemp(prefix="vlcam-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The shared folder goes with the run."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_STORE), ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is imported and collected stays to the end, so the collector of garbage needn't look through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _torch_state() -> dict[str, object]:
    import torch

    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "oneDNN": torch.backends.mkldnn.enabled,
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """Seed torch, and fail the test that leaves one of torch's global switches thrown."""
    import torch

    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():  # where it isn't, torch.manual_seed would note the whole stack
        torch.cuda.manual_seed_all(0)
    before = _torch_state()
    yield
    assert _torch_state() == before


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """A headless browser for the tests of pages; they are skipped on machines without one."""
    from tests.support import browser as headless

    if reason := headless.missing():
        pytest.skip(reason)
    with headless.launched() as browser:
        yield browser
