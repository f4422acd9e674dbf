"""The matrix of words by named neurons: its numbers, and the figure."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.examples_of_explanations import TOLD_UNITS, captioning, told
from vlcam.contracts import InputError
from vlcam.explanation.matrix import make_matrix


def test_shares_are_those_of_all_units_that_may_be_claimed_to_see_a_name() -> None:
    found = told()
    matrix = make_matrix(found)
    assert matrix is not None
    assert [found.targets[row].kind for row in matrix.targets].count("caption") == 0 and len(matrix.targets) == 12
    units = dict(zip(matrix.names, matrix.units, strict=True))
    assert units["kite", "object"] == (0, 1) and units["red", "colour"] == (2,)
    assert {name for name, _ in matrix.names} <= {one.name for one in TOLD_UNITS} and ("dog", "object") not in units
    for row, target in enumerate(matrix.targets):
        parts = found.contributions[target].double()
        for column, key in enumerate(matrix.names):
            total = sum(float(parts[unit]) for unit in units[key])
            whole = sum(abs(float(one)) for one in parts if (float(one) > 0) == (total > 0))
            assert matrix.shares[row, column] == pytest.approx(total / whole if whole else 0.0)
            text = (found.neurons or ())[target]
            said = {(one.name, one.category) for one in text.named if one.case in ("supports", "opposes")}
            assert matrix.told[row, column] == (key in said)
    assert matrix.told.any(0).all() and not matrix.told.all()


def test_the_strongest_names_are_kept_in_the_order_of_the_words() -> None:
    matrix = make_matrix(told())
    few = make_matrix(told(), most=2)
    assert matrix is not None and few is not None and len(few.names) == 2
    strongest = np.abs(matrix.shares).max(0)
    kept = {matrix.names[n] for n in np.argsort(-strongest, kind="stable")[:2].tolist()}
    assert set(few.names) == kept
    assert np.all(np.diff(few.shares.argmax(0)) >= 0)


def test_nothing_to_show() -> None:
    assert make_matrix(captioning(named=False)) is None  # no texts
    assert make_matrix(captioning()) is None  # texts that tell no names, as those of earlier versions may be
    empty = told()
    assert make_matrix(replace(empty, neurons=tuple(replace(one, named=()) for one in empty.neurons or ()))) is None
    broken = replace(empty, contributions=torch.full_like(empty.contributions, float("nan")))
    matrix = make_matrix(broken)
    assert matrix is not None and not matrix.shares.any()


def test_figure() -> None:
    found = told()
    picture = found.matrix_figure()
    assert picture.mode == "RGB" and np.asarray(picture).std() > 10
    twice = found.matrix_figure(scale=2.0)
    assert abs(twice.width - 2 * picture.width) < 20 and twice.height > 1.8 * picture.height
    assert found.matrix_figure(names=2).width <= picture.width
    more = replace(found, contributions=-found.contributions)
    assert np.asarray(more.matrix_figure()).tobytes() != np.asarray(picture).tobytes()
    colours = np.asarray(picture).reshape(-1, 3).astype(int)
    assert (colours[:, 0] > colours[:, 2] + 40).any() and (colours[:, 2] > colours[:, 0] + 40).any()


def test_figures_that_can_not_be() -> None:
    with pytest.raises(InputError, match="a matrix needs two targets or more with texts about named neurons"):
        captioning(named=False).matrix_figure()
    for names in (0, True):
        with pytest.raises(InputError, match=f"names={names} was given; expected how many names to show, 1 or more"):
            told().matrix_figure(names=names)
    with pytest.raises(InputError, match=r"scale=0\.0 was given; expected 0\.25 to 8"):
        told().matrix_figure(scale=0.0)
