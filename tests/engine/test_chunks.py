"""How much is run at a time."""

import pytest

from vlcam.engine import chunks
from vlcam.engine.chunks import count_chunk, count_rows, count_targets


def test_as_many_as_fit_and_one_always() -> None:
    assert [count_chunk(100, each) for each in (1, 30, 100, 101, 10**9, 0)] == [100, 3, 1, 1, 1, 100]


def test_images_and_targets_have_limits_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_rows(3 * 224 * 224) == 27 and count_rows(1) == chunks.MOST_ROWS and count_rows(10**9) == 1
    assert count_targets(2**20) == 256 and count_targets(2**40) == 1
    monkeypatch.setattr(chunks, "CHUNK_NUMBERS", 10)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 10)
    assert count_rows(3) == count_targets(3) == 3
