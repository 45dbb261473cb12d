"""Twins and invariances on codes whose truth is known, and the whitening beneath them."""

import math

import numpy as np
import pytest
import torch

from ringtest import blocks, inference, margins
from ringtest.measure import NotMeasurable, measures
from ringtest.probes.twin_spread import MEAN_OUTPUTS, spread, twins
from ringtest.representations import flat_inputs, standardised, whitener

TWINS, SPREAD = measures["structure.twin_spread"], measures["structure.invariance_spread"]


def symmetric(rng, n=400):
    """Inputs in mirrored pairs that are answered alike."""
    half = rng.normal(size=(n // 2, 3))
    half[:, 0] = np.abs(half[:, 0]) + 1
    x = np.concatenate([half, half * [-1, 1, 1]])
    order = rng.permutation(n)
    x = x[order]
    answer = np.stack([np.abs(x[:, 0]), x[:, 1]], 1)
    return x.astype(np.float32), torch.as_tensor(answer)


def test_one_code_per_behaviour_is_zero_and_unrelated_codes_are_one(rng, seen, setting):
    x, answer = symmetric(rng)
    at = setting(x, shared={MEAN_OUTPUTS: answer})
    unified = answer @ torch.randn(
        2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    unrelated = torch.randn(400, 5, generator=torch.Generator().manual_seed(1))
    (low,), (high,) = TWINS.read(seen(unified), at), TWINS.read(seen(unrelated), at)
    assert low.estimate.value < 0.01
    assert high.estimate.value == pytest.approx(1, abs=0.15)
    assert len(at.shared["twins"]) >= margins.TWIN_PAIRS
    assert inference.standard_error(high.estimate) > 0


def test_twins_agree_in_output_and_lie_far_apart_in_input(rng):
    x, answer = symmetric(rng)
    points = torch.as_tensor(x).double()
    pairs = twins(points, answer)
    median = torch.pdist(points).median()
    apart = (points[pairs[:, 0]] - points[pairs[:, 1]]).norm(dim=1)
    near = (answer[pairs[:, 0]] - answer[pairs[:, 1]]).norm(dim=1)
    assert bool((apart >= margins.TWIN_INPUT * median - 1e-9).all())
    assert bool((near <= margins.TWIN_OUTPUT).all())
    assert len(torch.unique(pairs, dim=0)) == len(pairs)
    assert bool((pairs[:, 0] < pairs[:, 1]).all())


def test_copies_of_a_row_are_not_its_twins(rng):
    """Most rows are one and the same: the median distance is 0, and nothing lies far apart."""
    x = np.zeros((200, 3))
    x[:20] = rng.normal(size=(20, 3))
    assert len(twins(torch.as_tensor(x), torch.zeros(200, 1))) == 0


def test_spread_and_its_jackknife_by_hand(rng):
    rows = torch.as_tensor(rng.normal(size=(100, 4)))
    pairs = torch.as_tensor(np.sort(rng.permutation(100)[:80].reshape(40, 2), axis=1))
    groups = blocks.folds(100, margins.JACKKNIFE_GROUPS)
    e = spread(rows, pairs, groups)
    white = whitener(rows)(rows)
    every = torch.pdist(white).square().mean()
    squared = (white[pairs[:, 0]] - white[pairs[:, 1]]).square().sum(1) / every
    assert e.value == pytest.approx(float(squared.mean()), rel=1e-9)
    left = [
        float(
            np.mean([float(s) for s, p in zip(squared, pairs, strict=True) if g not in groups[p]])
        )
        for g in range(20)
    ]
    want = math.sqrt(19 / 20 * np.sum((left - np.mean(left)) ** 2))
    assert inference.standard_error(e) == pytest.approx(want, rel=1e-9)


def test_too_few_twins_give_no_number_but_a_reason(rng, seen, setting):
    x = rng.normal(size=(150, 3)).astype(np.float32)
    at = setting(x, shared={MEAN_OUTPUTS: torch.as_tensor(x).double() * 50})
    (r,) = TWINS.read(seen(x), at)
    assert math.isnan(r.estimate.value)
    assert "twin pairs" in r.reason


def test_few_clusters_give_few_degrees_of_freedom(rng, seen, setting):
    x, answer = symmetric(rng)
    at = setting(x, shared={MEAN_OUTPUTS: answer}, cluster=np.arange(400) % 6)
    (r,) = TWINS.read(seen(rng.normal(size=(400, 4))), at)
    assert r.estimate.dof <= 5


def moved(rng, seen, setting, before, after):
    at = setting(rng.normal(size=(len(before), 3)).astype(np.float32))
    clean = seen({"mid": before, "last": before})
    return SPREAD.read(seen({"mid": before, "last": after}, clean=clean), at)


def test_a_code_that_does_not_move_is_zero_and_a_shuffled_one_is_one(rng, seen, setting):
    before = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 7
    mid, same = moved(rng, seen, setting, before, before)
    assert same.estimate.value == mid.estimate.value == 0
    _, other = moved(rng, seen, setting, before, before[rng.permutation(300)])
    assert other.estimate.value == pytest.approx(1, abs=0.12)
    _, half = moved(rng, seen, setting, before, 0.5 * (before + before.mean(0)))
    # Every row halves its distance from the mean: a quarter of the variance, of two in a pair
    assert half.estimate.value == pytest.approx(0.25 / 2, abs=0.01)
    assert (same.depth, same.layer) == (1.0, "last")


def test_a_collapsed_layer_is_left_out_but_the_last_one_is_an_error(rng, seen, setting):
    before = rng.normal(size=(60, 3))
    at = setting(before.astype(np.float32))
    dead = np.ones((60, 3))
    clean = seen({"mid": dead, "last": before})
    (only,) = SPREAD.read(seen({"mid": dead, "last": before}, clean=clean), at)
    assert only.layer == "last"
    clean = seen({"last": dead})
    with pytest.raises(NotMeasurable):
        SPREAD.read(seen({"last": dead}, clean=clean), at)


def test_whitening_takes_the_leading_directions_and_drops_constant_units(rng):
    x = np.zeros((200, 6))
    x[:, :3] = rng.normal(size=(200, 3)) * [5, 1, 0.001]
    x[:, 3] = 0.1
    w = whitener(torch.as_tensor(x))
    assert (w.rank, w.constant) == (2, 3)
    white = w(torch.as_tensor(x))
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(2), atol=1e-10)
    pairs = torch.pdist(white).square().mean()
    assert w.random_pair == pytest.approx(float(pairs), rel=1e-10)


def test_whitening_of_wide_layers_keeps_a_quarter_of_the_rows():
    x = torch.randn(40, 300, generator=torch.Generator().manual_seed(0))
    assert whitener(x).rank == 10
    with pytest.raises(NotMeasurable):
        whitener(torch.ones(40, 3))
    with pytest.raises(NotMeasurable):
        whitener(torch.randn(3, 3))


def test_inputs_as_points():
    tokens = torch.tensor([[5, 5, 9], [9, 5, 7]])
    assert flat_inputs(tokens, "tokens").tolist() == [[2, 0, 1], [1, 1, 1]]
    table = torch.tensor([[1.0, 3.0], [3.0, 3.0]])
    assert standardised(table).tolist() == [[-1, 0], [1, 0]]
    image = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flat_inputs(image, "image"), image.reshape(3, 4))


def test_whitening_a_wide_layer_goes_through_the_gram_matrix(rng):
    """More units than rows: the same directions as the singular value decomposition gives."""
    x = torch.as_tensor(rng.normal(size=(80, 5)) @ rng.normal(size=(5, 300)))
    wide, tall = whitener(x), whitener(torch.cat([x, x, x, x]))
    assert wide.rank == tall.rank == 5
    assert torch.allclose(torch.pdist(wide(x)), torch.pdist(tall(x)), atol=1e-8)
