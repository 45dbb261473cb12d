"""The search for slices: it finds what trying everything finds, and what comes back."""

import itertools
import math
import time

import numpy as np
import pytest
import torch

from ringtest import attributes
from ringtest.data import AuditData
from ringtest.shift import literals, stability
from ringtest.shift.beam import Search


def everything(holds, harm, together, least):
    """Value of each conjunction of at most three literals, by trying all of them."""
    excess = (harm - harm.mean()) / harm.std()
    price = 2 * math.log(holds.shape[1])
    out = {}
    for k in (1, 2, 3):
        for chosen in itertools.combinations(range(holds.shape[1]), k):
            if all(together[i, j] for i, j in itertools.combinations(chosen, 2)):
                rows = holds[:, chosen].all(1)
                if rows.sum() >= least:
                    z = excess[rows].sum() / math.sqrt(rows.sum())
                    out[chosen] = z * abs(z) - k * price
    return out


@pytest.mark.parametrize("seed", range(6))
def test_the_best_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    holds = rng.random((400, 9)) < 0.5
    together = ~np.eye(9, dtype=bool)
    together[0, 1] = together[1, 0] = False
    region = holds[:, [0, 3, 5][: 1 + seed % 3]].all(1)
    harm = rng.normal(size=400) + region * (1.0 + seed % 3)
    found = Search(together, 20, 4)(holds, harm)
    value = everything(holds, harm, together, 20)
    assert found[0] == max(value, key=value.get)
    assert all(c in value for c in found)


def test_the_next_is_ranked_by_rows_that_no_better_one_holds():
    holds = np.zeros((600, 3), dtype=bool)
    holds[:100, 0] = holds[:200, 1] = holds[300:400, 2] = True
    harm = np.zeros(600)
    harm[:100], harm[300:400] = 1.0, 0.8
    together = ~np.eye(3, dtype=bool)
    assert Search(together, 20, 3, plain=True)(holds, harm) == [(0,), (2,)]


def test_a_literal_that_tells_nothing_is_dropped():
    rng = np.random.default_rng(0)
    holds = rng.random((2_000, 20)) < 0.5
    harm = holds[:, 0] * 1.0
    # By chance one half of the region does a little worse.
    harm[holds[:, [0, 7]].all(1)] += 0.2
    harm += rng.normal(size=2_000) * 4
    assert Search(~np.eye(20, dtype=bool), 50, 1, plain=True)(holds, harm)[0] == (0,)


@pytest.mark.parametrize("harm", [np.zeros(300), np.full(300, 0.4)])
def test_nothing_stands_out_where_all_rows_are_alike(harm):
    holds = np.random.default_rng(0).random((300, 5)) < 0.5
    assert Search(~np.eye(5, dtype=bool), 20, 3)(holds, harm) == []
    assert Search(np.zeros((0, 0), dtype=bool), 20, 3)(holds[:, :0], harm) == []


def test_what_comes_back_is_kept_and_chance_is_not():
    rng = np.random.default_rng(3)
    values = {f"c{i}": rng.integers(0, 3, 1_000) for i in range(20)}
    made = literals.make(values, np.arange(1_000), 50)
    harm = rng.normal(size=1_000) + (values["c4"] == 2)
    kept = stability.select(made, np.arange(1_000), harm, None, 50, 0.0, 0)
    assert made.words(kept[0].chosen) == "c4=2"
    assert kept[0].came_back == 1.0
    assert len(kept) <= 3


def test_it_takes_seconds_for_fifty_thousand_rows_and_two_hundred_literals():
    """All 51 searches of half of them, in time of the processor: 3.4 s where this was written."""
    rng = np.random.default_rng(0)
    holds = rng.random((25_000, 200)) < 0.3
    each = tuple(literals.Literal(f"c{i}", 1, f"c{i}=1") for i in range(200))
    made = literals.Literals(each, holds, ~np.eye(200, dtype=bool))
    region = holds[:, 3] & holds[:, 9]
    harm = (rng.random(25_000) < 0.1 + 0.2 * region).astype(float)
    start = time.process_time()
    kept = stability.select(made, np.arange(25_000), harm, None, 50, 0.03, 0)
    spent = time.process_time() - start
    assert made.words(kept[0].chosen) == "c3=1, c9=1"
    assert spent < 20


# -- literals --------------------------------------------------------------------------------------


def test_literals_say_what_they_hold_on():
    rng = np.random.default_rng(0)
    columns = {
        "target": np.arange(600) % 3,
        "contrast": rng.random(600),
        "age": rng.integers(0, 90, 600),
        "name": np.array([f"n{i}" for i in range(600)]),
        "same": np.ones(600),
        "rare": np.arange(600) < 5,
        "few": rng.integers(0, 2, 600).astype(bool),
    }
    made = literals.make(columns, np.arange(600), 50)
    words = [e.words for e in made.each]
    assert words[:6] == [
        "target=0", "target=1", "target=2", "low contrast", "middling contrast", "high contrast",
    ]  # fmt: skip
    assert words[-2:] == ["few=False", "few=True"]
    assert [s.split(":")[0] for s in made.skipped] == ["name", "same", "rare"]
    np.testing.assert_array_equal(made.holds[:, 1], columns["target"] == 1)
    low = np.quantile(columns["contrast"], 1 / 3)
    assert (made.holds[:, 3] != (columns["contrast"] < low)).mean() < 0.01
    # Labels of one column exclude each other; two sides of one line make an interval.
    old = next(i for i, e in enumerate(made.each) if e.side == "from")
    young = [i for i, e in enumerate(made.each) if e.side == "below"][-1]
    assert not made.together[0, 1]
    assert not made.together[3, 4]
    assert made.together[0, 3]
    assert made.together[old, young]
    rule = made.rule((old, young))
    assert set(rule["age"]) == {"from", "below"}
    inside = (columns["age"] >= rule["age"]["from"]) & (columns["age"] < rule["age"]["below"])
    np.testing.assert_array_equal(made.holds[:, [old, young]].all(1), inside)


@pytest.mark.parametrize("start", [0.0, 1_990.0, 1.6e9])
def test_numbers_that_lie_far_from_zero_are_cut_as_those_near_it(start):
    """Seconds since 1970 of one hour, say: to four digits they are all the same."""
    values = {"time": start + np.random.default_rng(0).random(1_000) * 3_600}
    made = literals.make(values, np.arange(1_000), 50)
    expected = [200, 800, 400, 600, 600, 400, 800, 200]
    np.testing.assert_allclose(made.holds.sum(0), expected, atol=3)
    assert len({e.words for e in made.each}) == len(made.each) == 8


def test_of_too_many_literals_the_last_columns_are_named():
    labels = np.array([f"v{k:02}" for k in range(40)])
    columns = {f"c{i}": labels[np.arange(3_000) % 40] for i in range(8)}
    made = literals.make(columns, np.arange(3_000), 50)
    assert len(made.each) == 240
    assert made.skipped == tuple(f"c{i}: beyond 256 conditions" for i in (6, 7))


# -- attributes ------------------------------------------------------------------------------------


def test_descriptors_of_images_are_those_of_numpy():
    x = torch.rand(50, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    data = AuditData(x, np.arange(50) % 2, bounds=(0.0, 1.0))
    found = attributes.descriptors(data)
    flat = x.double().numpy()
    np.testing.assert_allclose(found["brightness"], flat.mean((1, 2, 3)))
    np.testing.assert_allclose(found["contrast"], flat.std((1, 2, 3)))
    np.testing.assert_allclose(found["ink"], (flat > 0.5).mean((1, 2, 3)))
    down, across = np.diff(flat, axis=2) ** 2, np.diff(flat, axis=3) ** 2
    steps = [np.concatenate([d.ravel(), a.ravel()]) for d, a in zip(down, across, strict=True)]
    np.testing.assert_allclose(found["edges"], np.sqrt([s.mean() for s in steps]))


def test_descriptors_of_sequences_and_tokens_follow_the_mask():
    g = torch.Generator().manual_seed(0)
    x, length = torch.randn(40, 9, 3, generator=g), torch.arange(40) % 8 + 2
    mask = torch.arange(9)[None, :] < length[:, None]
    found = attributes.descriptors(AuditData(x, np.arange(40) % 2, mask=mask))
    for i in (0, 7, 21):
        own = x[i, : int(length[i])].double().numpy()
        assert found["level"][i] == pytest.approx(own.mean())
        assert found["spread"][i] == pytest.approx(own.std())
        assert found["roughness"][i] == pytest.approx(np.sqrt((np.diff(own, axis=0) ** 2).mean()))
    np.testing.assert_array_equal(found["length"], length.numpy())
    tokens = torch.where(mask, torch.randint(5, 90, (40, 9), generator=g), 0)
    told = attributes.columns(AuditData(tokens, np.arange(40) % 2, mask=mask))
    np.testing.assert_array_equal(told["length"], length.numpy())


def test_clusters_are_those_of_the_inputs_and_the_same_each_time():
    g = torch.Generator().manual_seed(0)
    kind = torch.arange(800) % 4
    for width in (6, 300):
        centre = torch.randn(4, width, generator=g) * 8
        x = centre[kind] + torch.randn(800, width, generator=g)
        found = attributes.clusters(x)
        # Each cluster lies within one kind.
        assert all(len(np.unique(kind[found == c])) == 1 for c in np.unique(found))
        np.testing.assert_array_equal(found, attributes.clusters(x.clone()))
    assert not attributes.clusters(torch.ones(50, 3)).any()


def test_names_that_are_taken_are_qualified():
    both = {"groups": {"target": np.arange(30)}, "concepts": {"site": np.arange(30) % 2}}
    data = AuditData(torch.rand(30, 2), np.arange(30) % 3, **both)
    assert list(attributes.columns(data)) == [
        "target", "group.target", "site", "input.0", "input.1", "input cluster",
    ]  # fmt: skip
