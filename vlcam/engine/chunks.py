"""How much is run or held at a time, so that memory has a bound: the limits that methods share."""

CHUNK_BYTES = 256 * 2**20
"""How much memory the gradients of one batched backward pass may take at the layer."""

CHUNK_NUMBERS = 2**22
"""How many numbers the images of one forward pass may hold: 16 MiB in 32 bits, about 28 images of 224 pixels a side."""

MOST_ROWS = 64
"""The most images in one forward pass."""


def count_chunk(limit: int, each: int) -> int:
    """How many of something that takes ``each`` fit into a limit; one always does.

    >>> count_chunk(100, 30), count_chunk(100, 300), count_chunk(100, 0)
    (3, 1, 100)
    """
    return max(1, limit // max(1, each))


def count_rows(numbers: int) -> int:
    """How many images, or layers' outputs, of so many numbers go through the model in one forward pass."""
    return min(MOST_ROWS, count_chunk(CHUNK_NUMBERS, numbers))


def count_targets(size: int) -> int:
    """How many targets go into one backward pass, if the gradients of each take so many bytes."""
    return count_chunk(CHUNK_BYTES, size)
