"""Concept erasure against the optimality conditions of the paper and the authors' own library."""

import numpy as np
import pytest
import torch
from oracles import oracle
from sklearn.linear_model import LogisticRegression, Ridge

from ringtest import blocks
from ringtest.measure import NotMeasurable
from ringtest.probes import erasure


def layer(rng, m, d, classes=3, live=None):
    """Rows that hold a class in a few directions of unequal scale, with a mean far from 0."""
    codes = rng.integers(0, classes, size=m)
    live = live or d
    x = rng.normal(size=(m, live)) @ np.diag(np.logspace(-1, 1, live))
    x[:, :classes] += 2 * np.eye(classes)[codes]
    x = x @ np.linalg.qr(rng.normal(size=(live, live)))[0]
    if d != live:
        x = x @ rng.normal(size=(live, d))
    return torch.as_tensor(x + 7.0), torch.as_tensor(codes)


def one_hot(codes):
    return torch.nn.functional.one_hot(codes).double()


def covariance(x, z):
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


def correlation(x, z):
    """Largest share of what x and z could at most share."""
    return float(
        covariance(x, z).norm() / ((x - x.mean(0)).norm() * (z - z.mean(0)).norm()) * len(x)
    )


@pytest.mark.parametrize(
    ("m", "d", "live"),
    [(300, 8, None), (300, 60, 12), (60, 59, None), (60, 60, None), (60, 400, 60)],
)
def test_nothing_linear_is_left_of_the_concept(rng, m, d, live):
    """Tall, rank-deficient, square and wide layers."""
    x, codes = layer(rng, m, d, live=live)
    z = one_hot(codes)
    eraser = erasure.fit(x, z)
    assert eraser.rank == 2  # three one-hot columns sum to 1
    assert correlation(x, z) > 1e-3
    assert correlation(eraser(x), z) < 1e-12
    # A projection: what is gone does not come back, and the mean stays.
    torch.testing.assert_close(eraser.lift @ eraser.project, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(eraser(eraser(x)), eraser(x), atol=1e-9, rtol=0)
    torch.testing.assert_close(eraser(x).mean(0), x.mean(0), atol=1e-11, rtol=0)


@pytest.mark.parametrize(("m", "d", "live"), [(500, 12, None), (500, 40, 12), (80, 200, 80)])
def test_it_is_the_eraser_of_the_papers_authors(rng, m, d, live):
    library = oracle("concept_erasure")
    x, codes = layer(rng, m, d, live=live)
    z = one_hot(codes)
    fitter = library.LeaceFitter(d, 3, dtype=torch.float64, shrinkage=False, svd_tol=1e-6)
    theirs = fitter.update(x, z).eraser
    mine = erasure.fit(x, z)
    torch.testing.assert_close(mine(x), theirs(x), atol=1e-6, rtol=0)
    if d <= m:
        new = x[:20] + torch.as_tensor(rng.normal(size=(20, d)))
        torch.testing.assert_close(mine(new), theirs(new), atol=1e-6, rtol=0)


def test_it_is_the_papers_formula(rng):
    """R(x) = x - W^+ P W (x - c), with the square roots taken by numpy, for values."""
    x, _ = layer(rng, 200, 6)
    z = x[:, :2].square() + x[:, 2:4]
    eraser = erasure.fit(x, z)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    a = root @ covariance(x, z).numpy()
    project = a @ np.linalg.pinv(a)
    want = x - (x - x.mean(0)) @ torch.as_tensor(np.linalg.inv(root) @ project @ root).T
    assert eraser.rank == 2
    torch.testing.assert_close(eraser(x), want, atol=1e-9, rtol=0)


def test_probes_of_other_libraries_fall_to_the_mean_and_the_majority(rng):
    x, codes = layer(rng, 400, 8)
    codes[:40] = 0
    before = LogisticRegression(max_iter=2_000).fit(x.numpy(), codes.numpy())
    erased = erasure.fit(x, one_hot(codes))(x).numpy()
    after = LogisticRegression(max_iter=2_000).fit(erased, codes.numpy())
    majority = float(one_hot(codes).mean(0).max())
    assert before.score(x.numpy(), codes.numpy()) > majority + 0.2
    assert after.score(erased, codes.numpy()) == pytest.approx(majority, abs=1e-12)
    assert np.abs(Ridge(alpha=1e-3).fit(erased, one_hot(codes).numpy()).coef_).max() < 1e-8


@pytest.mark.parametrize("norm", ["Mahalanobis", "Euclidean", "random"])
def test_no_other_map_that_erases_moves_less(rng, norm):
    """Orthogonal projection off cov(x, z) erases too, and moves rows further in every norm.

    So does the same surgery after any other whitening: oblique projections off the same columns.
    """
    x, codes = layer(rng, 400, 7)
    z = one_hot(codes)
    s = torch.as_tensor(np.cov(x.numpy().T, bias=True))
    m = rng.normal(size=(7, 7))
    metric = {
        "Mahalanobis": torch.linalg.inv(s),
        "Euclidean": torch.eye(7, dtype=torch.float64),
        "random": torch.as_tensor(m @ m.T),
    }[norm]

    def movement(y):
        return float(((x - y) @ metric * (x - y)).sum(1).mean())

    c = covariance(x, z)
    centred = x - x.mean(0)
    mine = movement(erasure.fit(x, z)(x))
    columns = torch.linalg.svd(c, full_matrices=False)[0][:, :2]
    orthogonal = x - centred @ columns @ columns.T
    assert correlation(orthogonal, z) < 1e-12
    assert mine < 0.99 * movement(orthogonal)
    for _ in range(20):
        # x - C (G C)^+ G (x - c) kills C = cov(x, z) for any G.
        g = torch.as_tensor(rng.normal(size=(2, 7)))
        other = x - centred @ (c @ torch.linalg.pinv(g @ c, rtol=1e-10) @ g).T
        assert correlation(other, z) < 1e-10
        assert mine < movement(other)


def test_random_subspaces_have_the_rank_and_favour_no_whitened_direction(rng):
    x, _ = layer(rng, 300, 6)
    drawn = [erasure.random_subspace(x, 2, blocks.generator(0, "test", i)) for i in range(400)]
    assert {e.rank for e in drawn} == {2}
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    root = torch.as_tensor(vectors @ np.diag(values**0.5) @ vectors.T)
    # In whitened space each is an orthogonal projection, and on average a third of identity.
    inside = [root @ e.project @ e.lift @ torch.linalg.inv(root) for e in drawn]
    for p in inside[:5]:
        torch.testing.assert_close(p, p.T, atol=1e-8, rtol=0)
        torch.testing.assert_close(p @ p, p, atol=1e-8, rtol=0)
    mean = torch.stack(inside).mean(0)
    torch.testing.assert_close(mean, torch.eye(6, dtype=torch.float64) / 3, atol=0.06, rtol=0)


@pytest.mark.parametrize("d", [5, 90])
def test_erasers_follow_any_change_of_units(rng, d):
    """Permuted, rotated or mixed units: erased and then mixed is mixed and then erased."""
    x, codes = layer(rng, 80, d)
    mix = torch.as_tensor(np.linalg.qr(rng.normal(size=(d, d)))[0] * np.logspace(-1, 1, d))
    z = one_hot(codes)
    torch.testing.assert_close(erasure.fit(x @ mix, z)(x @ mix), erasure.fit(x, z)(x) @ mix)
    a, b = (erasure.random_subspace(rows, 1, blocks.generator(3, "test")) for rows in (x, x @ mix))
    torch.testing.assert_close(b(x @ mix), a(x) @ mix)


def test_positions_are_erased_one_by_one_and_types_are_kept(rng):
    x, codes = layer(rng, 100, 5)
    eraser = erasure.fit(x, one_hot(codes))
    tokens = x.reshape(10, 10, 5)
    torch.testing.assert_close(eraser(tokens).reshape(100, 5), eraser(x))
    assert eraser(tokens.float()).dtype == torch.float32
    torch.testing.assert_close(eraser(x.float()), eraser(x).float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(eraser.linear(x[:9] - x[9]), eraser(x[:9]) - eraser(x[9]))
    inside = x.clone().requires_grad_()
    eraser(inside).sum().backward()
    assert inside.grad is not None


def test_copies_and_constant_units_leave_the_rest_alone(rng):
    x, codes = layer(rng, 120, 5)
    z = one_hot(codes)
    more = torch.cat([x, x[:, :2], torch.full((120, 2), 0.1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(erasure.fit(more, z)(more)[:, :5], erasure.fit(x, z)(x))
    assert erasure.Span.of(more).live == 5


def test_a_concept_of_which_nothing_is_there_takes_nothing(rng):
    x, _ = layer(rng, 50, 4)
    assert erasure.fit(x, torch.full((50, 2), 0.1)).rank == 0
    half = torch.as_tensor(rng.normal(size=(25, 4)))
    mirrored = torch.cat([half, -half])
    even = half.square().repeat(2, 1)  # no linear map of mirrored rows tells it
    eraser = erasure.fit(mirrored, even)
    assert eraser.rank == 0
    assert torch.equal(eraser(mirrored), mirrored)


def test_damaged_layers_are_not_measurable(rng):
    x, codes = layer(rng, 50, 4)
    z = one_hot(codes)
    for value in (float("nan"), float("inf")):
        bad = x.clone()
        bad[3, 1] = value
        with pytest.raises(NotMeasurable, match="NaN or infinity"):
            erasure.fit(bad, z)
    with pytest.raises(NotMeasurable, match="no unit"):
        erasure.fit(torch.ones(50, 4), z)
