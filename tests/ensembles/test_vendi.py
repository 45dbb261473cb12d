"""The Vendi score: golden values and vendi-score."""

import warnings

import numpy as np
import pytest
from oracles import oracle

from ringtest.ensembles import vendi
from ringtest.ensembles.diversity import of
from ringtest.errors import DataError


@pytest.mark.parametrize(
    ("similarity", "value"),
    [
        (np.eye(4), 4.0),
        (np.ones((4, 4)), 1.0),
        (np.kron(np.eye(2), np.ones((3, 3))), 2.0),
        ([[1, 0.5], [0.5, 1]], np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))),
    ],
)
def test_golden_values(similarity, value):
    assert vendi.score(np.array(similarity, dtype=float)) == pytest.approx(value, rel=1e-9)


def test_scores_are_those_of_vendi_score(rng):
    theirs = oracle("vendi_score.vendi")
    p = rng.dirichlet(np.full(4, 0.5), size=(6, 90))
    found = of(p)
    kernel = 1 - np.nan_to_num(found.pairs["disagreement"].values)
    x = rng.normal(size=(7, 30))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it names scipy.sparse.csr
        assert found.vendi.value == pytest.approx(theirs.score_K(kernel))
        assert vendi.score(x @ x.T) == pytest.approx(theirs.score_K(x @ x.T))


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.array([[1, 0.2], [0.3, 1]]), "not symmetric"),
        (2 * np.eye(2), "diagonal of 1"),
        (np.array([[1, 0.9, 0], [0.9, 1, 0.9], [0, 0.9, 1]]), "negative eigenvalue"),
    ],
)
def test_what_is_no_similarity_is_refused(similarity, message):
    with pytest.raises(DataError, match=message):
        vendi.score(similarity)
