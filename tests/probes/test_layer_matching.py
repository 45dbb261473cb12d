"""Matching layers: the right one is found, and choosing the best of many is paid for."""

import gc
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from ringtest import inference, margins
from ringtest.blocks import BLOCK
from ringtest.measure import NotMeasurable, measures
from ringtest.moments import Moments, cka, ratio
from ringtest.probes import layer_matching
from ringtest.probes.layer_matching import Layers, match, permuted, u_centred
from ringtest.probes.layer_pairs import similarities

ENTRY = measures["similarity.layer_matching"]


def network(g, x, depth=6, width=12):
    """Layers of a random network on the rows of x, each bent away from the one before."""
    layers, h = {}, x
    for i in range(depth):
        w = g.normal(size=(h.shape[1], width)) / math.sqrt(h.shape[1])
        h = np.tanh(2.5 * h @ w)
        layers[f"layer {i}"] = torch.as_tensor(h)
    return layers


def shuffled(g, layers, noise=0.1):
    """The same layers under other names in another order, each turned, scaled and disturbed."""
    order = g.permutation(len(layers))
    names = list(layers)
    out, truth = {}, {}
    for place, i in enumerate(order):
        rows = layers[names[i]].numpy()
        turn = linalg.qr(g.normal(size=(rows.shape[1],) * 2))[0]
        moved = 7.0 * (rows + noise * g.normal(size=rows.shape)) @ turn + 2.0
        out[f"part {place}"] = torch.as_tensor(moved)
        truth[names[i]] = f"part {place}"
    return out, truth


# -- the function ----------------------------------------------------------------------------------


def test_a_copy_with_its_layers_in_another_order_is_matched_right():
    for seed in range(5):
        g = np.random.default_rng(seed)
        teacher = network(g, g.normal(size=(150, 8)))
        student, truth = shuffled(g, teacher)
        found = match(teacher, student, permutations=99)
        assert found.best == truth
        assert found.p.tolist() == [0.01] * 6
        assert found.p_any == 0.01
        order = [list(student).index(truth[t]) for t in teacher]
        assert found.order == pytest.approx(stats.spearmanr(range(6), order).statistic)


def test_numbers_of_layers_and_widths_may_differ(rng):
    teacher = network(rng, rng.normal(size=(150, 8)), depth=4)
    student, truth = shuffled(rng, teacher)
    student["more"] = torch.as_tensor(rng.normal(size=(150, 40)))
    found = match(teacher, student, permutations=19)
    assert found.cka.shape == (4, 5)
    assert found.best == truth
    back = match(student, teacher, permutations=19)
    assert back.cka.shape == (5, 4)
    assert back.p[-1] > 0.05  # nothing in the teacher is like it
    assert back.p[:-1].tolist() == [0.05] * 4


def test_every_pair_has_its_debiased_cka(rng, seen):
    """Against the other road to it, running sums, and against the heat map."""
    x = rng.normal(size=(60, 8))
    teacher, student = network(rng, x, 3), network(rng, x, 2, width=600)
    found = match(teacher, student, permutations=1)
    for (i, a), (j, b) in itertools.product(*(enumerate(v.values()) for v in (teacher, student))):
        assert float(found.cka[i, j]) == pytest.approx(cka(a, b), abs=1e-10)
    pairs = similarities(seen(teacher), seen(student), {})
    assert found.cka.flatten().tolist() == pytest.approx(list(pairs.values()), abs=1e-12)


def test_permuted_gram_matrices_give_the_cka_of_permuted_rows(rng):
    x = rng.normal(size=(40, 8))
    teacher, student = Layers(network(rng, x, 2), None), Layers(network(rng, x, 3), None)
    as_seen, found = permuted(teacher, student, 2, 5)
    layers = [[v.x for v in m.each] for m in (teacher, student)]
    want = [[cka(a, b) for b in layers[1]] for a in layers[0]]
    np.testing.assert_allclose(as_seen, want, atol=1e-12)
    g = layer_matching.blocks.generator(5, "layer matching")
    for k in range(2):
        order = torch.randperm(40, generator=g)
        # Row i of the matrix is row order[i] of the student.
        want = [[cka(a, b[order]) for b in layers[1]] for a in layers[0]]
        np.testing.assert_allclose(found[k], want, atol=1e-12)


def test_unrelated_networks_of_many_layers_are_not_matched():
    """P-values of the best of 8 layers are uniform, of each layer and of all pairs together.

    Held against permutations of one pair at a time, as if the best had not been chosen, unrelated
    networks look matched several times as often.
    """
    one, together, naive = [], [], []
    for seed in range(100):
        g = np.random.default_rng(seed)
        teacher, student = (network(g, g.normal(size=(40, 6)), depth=6) for _ in range(2))
        found = match(teacher, student, permutations=39, seed=seed)
        one.append(float(found.p[seed % 6]))
        together.append(found.p_any)
        seen, chance = permuted(Layers(teacher, None), Layers(student, None), 39, seed)
        naive.append((1 + int((chance >= seen).sum(0).min())) / 40)
    for p in (one, together):
        assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)
        # Discrete p-values, lifted to the upper end of their steps, are uniform to a step.
        assert stats.kstest(np.array(p) - 0.0125, "uniform").pvalue > 0.01
    assert np.mean(np.array(naive) <= 0.05) > 0.15


def test_a_weak_relation_is_found():
    """The calibration costs some power, not all of it."""
    p = []
    for seed in range(20):
        g = np.random.default_rng(seed)
        x = g.normal(size=(80, 6))
        other = x + 1.5 * g.normal(size=x.shape)
        p.append(match(network(g, x), network(g, other), permutations=39, seed=seed).p_any)
    assert np.mean(np.array(p) <= 0.05) > 0.8


def test_rows_of_one_cluster_are_no_evidence_for_a_match():
    """Codes that vary between clusters only: permuting rows would call any two of them matched."""
    p, wrong = [], []
    for seed in range(60):
        g = np.random.default_rng(seed)
        units = np.repeat(np.arange(30), 4)
        inputs = (g.normal(size=(30, 6))[units] + 0.05 * g.normal(size=(120, 6)) for _ in "ab")
        both = [network(g, x, 3) for x in inputs]
        p.append(match(*both, permutations=19, seed=seed, units=units).p_any)
        wrong.append(match(*both, permutations=19, seed=seed).p_any)
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert np.mean(np.array(wrong) <= 0.05) > 0.3


def test_same_seed_same_answer_and_more_rows_than_the_null_holds(rng, monkeypatch):
    teacher = network(rng, rng.normal(size=(150, 8)))
    student, truth = shuffled(rng, teacher)
    monkeypatch.setattr(layer_matching, "_NULL_ROWS", 50)
    first, again, other = (match(teacher, student, permutations=49, seed=s) for s in (1, 1, 2))
    assert Layers(teacher, None).free == 50
    assert torch.equal(first.chance, again.chance)
    assert not torch.equal(first.chance, other.chance)
    assert first.best == truth  # on all rows


def test_order_says_whether_deeper_matches_deeper():
    def made(values):
        return layer_matching.Matching(
            ("a", "b", "c"),
            ("x", "y", "z"),
            torch.tensor(values),
            torch.ones(3),
            1.0,
            torch.ones(3),
        )

    up = made([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]])
    assert up.order == pytest.approx(1)
    assert up.best == {"a": "x", "b": "y", "c": "z"}
    assert replace(up, cka=up.cka.flip(0)).order == pytest.approx(-1)
    assert math.isnan(made([[0.9, 0.1, 0.1]] * 3).order)


def test_bad_input_is_refused_with_the_layer(rng):
    good = network(rng, rng.normal(size=(60, 4)), 2)
    for rows, why in (
        (torch.ones(60, 3), "no unit of layer dead varies"),
        (torch.full((60, 3), math.nan), "layer dead holds NaN or infinity"),
        (torch.eye(60), "all rows of layer dead lie equally far apart"),
    ):
        with pytest.raises(NotMeasurable, match=why):
            match(good, {**good, "dead": rows})
    few = {k: v[:19] for k, v in good.items()}
    with pytest.raises(NotMeasurable, match="19 rows of layer layer 0 are fewer than 20"):
        match(few, few)
    with pytest.raises(NotMeasurable, match="12 independent rows are fewer than 20"):
        match(good, good, units=np.arange(60) % 12)
    with pytest.raises(ValueError, match="60 rows of the teacher beside 50"):
        match(good, {k: v[:50] for k, v in good.items()})


def test_u_centred_rows_sum_to_nothing(rng):
    u = u_centred(torch.as_tensor(rng.normal(size=(30, 5)) + 4), "l")
    assert float(u.sum(0).abs().max()) < 1e-12
    assert float(u.norm()) == pytest.approx(1)
    assert float(u.diagonal().abs().max()) == 0


# -- the measure -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def raw(seen, setting):
    def read(student, teacher, **more):
        m = len(next(iter(student.values())))
        at = setting(np.zeros((m, 1), np.float32), **more)
        a, b = (ENTRY.prepare(seen(v), at) for v in (student, teacher))
        e = ENTRY.compare(a, b)
        return ENTRY.raw(e.value), e

    return read


def test_a_copy_in_any_order_has_one_and_unrelated_networks_nothing(raw):
    found = []
    for seed in range(10):
        g = np.random.default_rng(seed)
        teacher = network(g, g.normal(size=(100, 8)))
        assert raw(shuffled(g, teacher, noise=0)[0], teacher)[0] == pytest.approx(1, abs=1e-9)
        found.append(raw(network(g, g.normal(size=(100, 8))), teacher)[0])
    # The best of six is .03 or so by chance; what is left has no sign.
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(10) + 0.002
    assert max(map(abs, found)) < 0.1


def test_a_student_that_lost_a_layer_is_lower_though_its_last_layer_is_the_same(rng, raw):
    teacher = network(rng, rng.normal(size=(200, 8)))
    without = {k: v for k, v in teacher.items() if k in ("layer 0", "layer 5")}
    whole, part = raw(teacher, teacher)[0], raw(without, teacher)[0]
    assert part < whole - 0.05


def test_its_error_is_that_of_brute_force(rng, raw):
    teacher = network(rng, rng.normal(size=(30, 4)), 2)
    student = network(rng, rng.normal(size=(30, 4)), 3)
    _, e = raw(student, teacher)
    a, b = Layers(teacher, None), Layers(student, None)
    chance = permuted(a, b, 50, 0)[1].amax(2).mean(0).numpy()

    def value(rows):
        best = [max(cka(t[rows], s[rows]) for s in student.values()) for t in teacher.values()]
        return math.atanh(
            margins.CKA_RELIABILITY * np.mean((np.array(best) - chance) / (1 - chance))
        )

    kept = np.arange(30)
    assert e.value == pytest.approx(value(kept), abs=1e-10)
    deleted = np.array([value(kept != i) for i in kept])
    want = -(deleted - deleted.mean()) * math.sqrt(29 / 30)
    np.testing.assert_allclose(e.influence, want, atol=1e-9)


def test_clusters_and_long_samples(rng, raw, monkeypatch):
    x = rng.normal(size=(240, 5))
    teacher, student = network(rng, x, 2), network(rng, x, 2)
    assert raw(student, teacher)[1].units == 240
    assert raw(student, teacher, cluster=np.arange(240) // 4)[1].units == 60
    monkeypatch.setattr(layer_matching, "_NULL_ROWS", 100)
    assert raw(student, teacher)[1].units == 100
    clustered = raw(student, teacher, cluster=np.arange(240) // 4)[1]
    assert 30 < clustered.units <= 60
    assert inference.standard_error(clustered) > 0


def test_all_layers_are_shown_at_one_scale(rng, seen):
    layers = network(rng, rng.normal(size=(60, 4)), 2)
    plain, scaled = ENTRY.forms(seen(layers)).values()
    assert plain.sample["layer 0"] is layers["layer 0"]
    for rows in scaled.sample.values():
        assert rows.std(0, correction=0).numpy() == pytest.approx(1)
    assert scaled.derived == {}


# -- the sums behind the heat map ------------------------------------------------------------------


def held(moments):
    """Bytes of all memory that running sums keep alive."""
    tensors = [moments.shift_x, moments.shift_y, *moments.sums.values()]
    stores = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(stores.values())


def in_blocks(n, dtype=torch.float64, p=5, q=7):
    g = torch.Generator().manual_seed(n)
    made = Moments(), Moments(), Moments()
    rows = []
    for low in range(0, n, BLOCK):
        x = torch.randn(min(BLOCK, n - low), p, generator=g, dtype=dtype) + 100
        y = torch.cat([x[:, :2] ** 2, torch.randn(len(x), q - 2, generator=g, dtype=dtype)], 1)
        made[0].update(x, y)
        made[1].update(x)
        made[2].update(y)
        rows.append((x, y))
    return made, rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_running_sums_hold_no_rows(dtype):
    """100 blocks are held in the bytes of one, and no block outlives its update."""
    (few, _), (many, rows) = in_blocks(BLOCK, dtype), in_blocks(100 * BLOCK, dtype)
    assert [held(m) for m in few] == [held(m) for m in many]
    assert held(many[0]) == 8 * (5 + 7 + 35 + 5 + 7 + 5 + 7 + 3)
    before = {v.data_ptr() for pair in rows for v in pair}
    del rows
    gc.collect()
    kept = [t for m in many for t in (m.shift_x, m.shift_y, *m.sums.values())]
    assert not before & {t.untyped_storage().data_ptr() for t in kept}
    assert many[0].n == 100 * BLOCK


def test_a_hundred_blocks_are_the_whole():
    made, rows = in_blocks(100 * BLOCK - 9)
    x, y = (torch.cat(v) for v in zip(*rows, strict=True))
    streamed = float(ratio(*(m.hsic() for m in made)))
    assert streamed == pytest.approx(cka(x, y), abs=1e-10)
    a, b = x - x.mean(0), y - y.mean(0)
    # With so many rows the bias is gone, and plain CKA is its own reference.
    plain = (a.T @ b).norm() ** 2 / (a.T @ a).norm() / (b.T @ b).norm()
    assert streamed == pytest.approx(float(plain), abs=1e-3)
