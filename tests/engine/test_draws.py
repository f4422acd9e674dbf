"""Random numbers of vlcam's own: the same as from the process's generators, which stay as they are."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from vlcam.engine.draws import PrivateDraws
from vlcam.engine.weights import randomise_weights


def draw() -> list[torch.Tensor]:
    """One of everything that draws, in a fixed order."""
    like = torch.zeros(3, 4)
    layers = [nn.Linear(3, 4), nn.Conv2d(2, 3, 3), nn.LSTM(2, 3), nn.Embedding(3, 2), nn.MultiheadAttention(4, 2)]
    return [
        torch.rand(3),
        torch.randn(2, 2, dtype=torch.float64),
        torch.randint(9, (4,)),
        torch.randperm(5),
        torch.normal(0.0, 1.0, (3,)),
        torch.bernoulli(torch.full((5,), 0.5)),
        torch.multinomial(torch.ones(6), 3),
        torch.rand_like(like),
        torch.randn_like(like),
        torch.empty(4).uniform_(2, 3),
        torch.empty(4).exponential_(),
        nn.init.trunc_normal_(torch.empty(4)),
        nn.init.xavier_uniform_(torch.empty(4, 2)),
        F.dropout(torch.ones(30), 0.3),
        nn.Dropout(0.5)(torch.ones(30)),
        *(parameter.detach() for layer in layers for parameter in layer.parameters()),
    ]


def test_the_numbers_are_those_of_the_same_seed_and_the_generator_stays() -> None:
    before = torch.get_rng_state()
    with PrivateDraws(5):
        mine = draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert all(torch.equal(one, other) for one, other in zip(mine, draw(), strict=True))


def test_without_a_seed_they_go_on_from_where_the_generator_stands() -> None:
    torch.rand(7)
    with PrivateDraws():
        mine = draw()
    assert all(torch.equal(one, other) for one, other in zip(mine, draw(), strict=True))


def test_a_generator_that_was_given_is_used() -> None:
    with PrivateDraws(5):
        found = torch.rand(3, generator=torch.Generator().manual_seed(8))
    assert torch.equal(found, torch.rand(3, generator=torch.Generator().manual_seed(8)))


def test_dropout_in_eval_mode_and_on_no_device_draws_nothing() -> None:
    with PrivateDraws(5), torch.device("meta"):
        assert nn.Linear(3, 4).weight.is_meta
    with PrivateDraws(5):
        assert torch.equal(F.dropout(torch.ones(4), 0.5, training=False), torch.ones(4))
        assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(5)))


def test_another_thread_draws_no_number_twice() -> None:
    stop, ready = threading.Event(), threading.Event()
    drawn: list[float] = []

    def go_on() -> None:
        while not stop.is_set():
            drawn.append(float(torch.rand(1, dtype=torch.float64)))
            ready.set()

    thread = threading.Thread(target=go_on)
    thread.start()
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    try:
        for seed in range(20):
            ready.clear()
            with randomise_weights(model, seed):
                ready.wait(30)
    finally:
        stop.set()
        thread.join()
    assert len(drawn) > 20 and len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("seed", [0, 3])
def test_untrained_weights_are_those_of_the_seed(seed: int) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(1, 2, 3))
    before = [one.clone() for one in model.parameters()]
    with randomise_weights(model, seed):
        found = [one.detach().clone() for one in model.parameters()]
    torch.manual_seed(seed)
    other = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(1, 2, 3))
    assert all(torch.equal(one, two) for one, two in zip(found, other.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))
