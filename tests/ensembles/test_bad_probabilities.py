"""Probabilities, targets and blocks that are refused: one line names what is wrong, and where."""

import numpy as np
import pytest
import torch

from ringtest.ensembles.diversity import Members, of
from ringtest.errors import DataError


def spoilt(row):
    p = np.full((3, 6, 4), 0.25)
    p[1, 4] = row
    return p


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (spoilt([0.3, 0.3, 0.3, 0.3]), None, "member 1, item 4 sums to 1.2, not 1"),
        (spoilt([1.5, -0.5, 0, 0]), None, "member 1, item 4 has -0.5, below 0"),
        (spoilt([np.nan, 1, 0, 0]), None, "member 1, item 4 has NaN"),
        (spoilt([np.inf, 0, 0, 0]), None, "member 1, item 4 sums to inf"),
        ([np.ones((3, 1)), np.ones((4, 1))], None, r"member 0 has shape \(3, 1\) and member 1"),
        ([[[0.5, 0.5], [1.0]], [[0.5, 0.5], [1.0, 0.0]]], None, "rows of unequal length"),
        ([(np.full((2, 3, 2), 0.5), [0, 1, 0])], None, "rows of unequal length"),
        (np.full((1, 3, 2), 0.5), None, "members: 1 given"),
        (np.ones((2, 3, 1)), None, "classes: 1 given"),
        (np.full((3, 2), 0.5), None, r"of shape \(3, 2\); they must be \(member, item, class\)"),
        (np.full((2, 3, 2), "a"), None, "of type <U1"),
        (np.zeros((2, 0, 3)), None, "no items were given"),
        (np.full((2, 3, 2), 0.5), [0, 1, 2], "item 2 has class 2, and there are 2 classes"),
        (np.full((2, 3, 2), 0.5), [0, -1, 1], "item 1 has class -1"),
        (np.full((2, 3, 2), 0.5), [0, 1], r"targets: of shape \(2,\) for 3 items"),
        (np.full((2, 3, 2), 0.5), [0.0, 1.0, np.nan], "targets: of type float64"),
        (iter([np.full((2, 3, 2), 0.5), np.full((2, 3, 4), 0.25)]), None, "a block of 2 members"),
        (iter([(np.full((2, 1, 2), 0.5), [1]), np.full((2, 1, 2), 0.5)]), None, "for some blocks"),
        (iter([]), None, "no items were given"),
        (7, None, "probabilities: of type int"),
        (torch.full((2, 3, 2), 0.5).bfloat16(), None, r"BFloat16; give .*\.float\(\)"),
        (torch.full((2, 3, 2), 0.5).requires_grad_(), None, r"grad.*; give .*detach\(\)"),
    ],
)
def test_bad_input_is_named_in_one_line(probabilities, targets, message):
    with pytest.raises(DataError, match=message) as caught:
        of(probabilities, targets)
    assert "\n" not in str(caught.value)


def test_a_refused_block_leaves_nothing_and_items_are_counted_on():
    members = Members(["a", "b"])
    members.add(np.full((2, 5, 2), 0.5))
    bad = np.full((2, 3, 2), 0.5)
    bad[1, 2] = 1.0
    with pytest.raises(DataError, match="member 1, item 7 sums to 2"):
        members.add(bad)
    assert members.result().items == 5
    with pytest.raises(DataError, match="names: 2 names for 3 members"):
        Members(["a", "b"]).add(np.full((3, 1, 2), 0.5))
    with pytest.raises(DataError, match="units: of shape"):
        members.result(units=[0, 1])
    with pytest.raises(DataError, match="pair"):
        members.result().pairs["disagreement"].pair(1, 1)
