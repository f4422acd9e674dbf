"""Files changed at random, each in a way that its kind invites: bytes, JSON values, cells, numbers in texts."""

import json
import random
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, 10**400, -(10**400), 0.5, 1e308, -1e308, 5e-324),
    *(
        float("inf"),
        float("-inf"),
        float("nan"),
        "",
        "0",
        "nan",
        "1e999",
        "9" * 5000,
        "x" * 70000,
        "\ud800",
        "\0",
        "../../x",
    ),
    *([], {}, [[]], [None], {"a": 1}, [10**9] * 4, ["x"] * 100),
)
ODD_TEXTS = (
    *(
        "",
        "-1",
        "0",
        "1e999",
        "nan",
        "-inf",
        "9" * 30,
        "9" * 5000,
        "1_0",
        "²",
        "x" * 140000,
        '"',
        "\0",
        "\n",
        ";",
        "../../x",
        "é" * 99,
    ),
    *("999999999", "2147483648", "20000000", "1e308", "5e-324", "0x10", "<a>", "&lt;", "]]>", "<!DOCTYPE a>"),
)


def _choose(rng: random.Random) -> Any:
    return deepcopy(rng.choice(ODD_VALUES))


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced, dropped, doubled or cut off; a number in a header made large."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, kind = rng.randrange(len(found) + 1), rng.randrange(6)
        if kind == 0:
            found[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del found[at : at + rng.choice((1, 4, 100))]
        elif kind == 2:
            found[at:at] = found[at : at + rng.choice((1, 8, 64))]
        elif kind == 3 and rng.random() < 0.3:
            del found[at:]
        elif kind == 4:
            found[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\1\x86\xa0"))
        else:
            found[at % 64 : at % 64 + 1] = bytes([rng.randrange(256)])
    return bytes(found)


def change_json(data: bytes, rng: random.Random) -> bytes:
    """A value somewhere replaced by an odd one, a name dropped or added, or lists put in lists; seldom the text itself is changed."""
    if rng.random() < 0.1:
        return rng.choice(
            (b"[" * 200_000, b'{"a":' * 100_000, b"", b"\xff", b"null", b"[]", b"{}", change_bytes(data, rng))
        )
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        document = _change_value(document, rng)
    return json.dumps(document).encode()


def _change_value(document: Any, rng: random.Random) -> Any:
    places: list[tuple[Any, Any]] = []
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, dict | list):
            keys = list(one) if isinstance(one, dict) else list(range(len(one)))
            places += [(one, key) for key in keys]
            left += [one[key] for key in keys]
    if not places or rng.random() < 0.02:
        return _choose(rng)
    home, key = rng.choice(places)
    action = rng.random()
    if action < 0.75:
        home[key] = _choose(rng)
    elif action < 0.85:
        del home[key]
    elif isinstance(home, dict):
        home[rng.choice(("x", "", *map(str, home)))] = _choose(rng)
    else:
        home.append(rng.choice((home[key], _choose(rng))))
    return document


def change_cells(data: bytes, rng: random.Random) -> bytes:
    """A cell, or what stands between two marks, replaced by an odd text."""
    if rng.random() < 0.1:
        return change_bytes(data, rng)
    parts = re.split(rb"([,;\t\n<> /=]+)", data)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(parts))
        parts[at] = rng.choice(ODD_TEXTS).encode("utf-8", "replace")
    return b"".join(parts)


Change = Callable[[bytes, random.Random], bytes]
