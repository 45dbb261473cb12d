"""Entanglement of concepts, on networks whose truth is known and against a slow plain version."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from ringtest import blocks, inference, margins
from ringtest.condition import Clean
from ringtest.data import AuditData
from ringtest.measure import NotMeasurable, measures
from ringtest.probes import entanglement
from ringtest.probes.erasure import noise

ENTRY = measures["structure.entanglement"]
OWN, REST = "R^2 lost beyond a random subspace", "R^2 of the rest lost beyond a random subspace"
D = 20


def read(code, concepts, seen, setting, targets=None, **more):
    """Readings by pair and statistic; an embedding task has no target of its own."""
    task = "embedding" if targets is None else more.pop("task", "classification")
    x = np.zeros((len(code), 2), dtype=np.float32)
    at = setting(x, targets, task=task, concepts=concepts, **more)
    return {(r.concept, r.statistic): r for r in ENTRY.read(seen(code), at)}


def values(found):
    return {key: r.estimate.value for key, r in found.items()}


class Net(torch.nn.Module):
    """x to a sum of some inputs, over a hidden layer of both signs of given directions."""

    def __init__(self, directions, weights):
        super().__init__()
        width = len(directions)
        self.first = torch.nn.Linear(D, 2 * width, bias=False)
        self.head = torch.nn.Linear(2 * width, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.cat([directions, -directions]))
            self.head.weight.copy_(torch.cat([weights, -weights])[None])

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return self.head(hidden), hidden


def networks():
    """Both answer x0 + x1 + x2; one keeps x0 and x1 apart, the other holds their sum alone."""
    eye = torch.eye(D)
    apart = Net(eye, (torch.arange(D) < 3).float())
    shared = Net(torch.cat([(eye[0] + eye[1])[None], eye[2:]]), (torch.arange(D - 1) < 2).float())
    return apart, shared


def test_one_direction_for_two_concepts_is_told_from_two_by_equal_outputs(rng, seen, setting):
    x = torch.as_tensor(rng.normal(size=(600, D))).float()
    concepts = {"a": x[:, 0].double().numpy(), "b": x[:, 1].double().numpy()}
    found = {}
    with torch.no_grad():
        (out, apart), (same, shared) = (net(x) for net in networks())
    torch.testing.assert_close(out, same, atol=1e-6, rtol=0)
    for name, hidden in (("apart", apart), ("shared", shared)):
        found[name] = values(read(hidden, concepts, seen, setting))
    for pair in ("a -> b", "b -> a"):
        for statistic in (OWN, REST):
            # Chance takes one of 40 directions; of the shared one b is half, and all of it goes.
            assert found["apart"][pair, statistic] == pytest.approx(-1 / 40, abs=0.03)
            assert found["shared"][pair, statistic] == pytest.approx(0.5 * (1 - 1 / 38), abs=0.08)


def tied(rng, n, strength):
    """Two concepts at a correlation, and directions that mean nothing."""
    a = rng.normal(size=n)
    b = strength * a + math.sqrt(1 - strength**2) * rng.normal(size=n)
    return a, b, rng.normal(size=(n, 18))


def test_concepts_that_the_data_tie_are_told_from_concepts_that_the_code_ties(rng, seen, setting):
    a, b, other = tied(rng, 800, 0.8)
    rest = b - 0.8 * a
    tidy = np.column_stack([a, b, other]) @ np.linalg.qr(rng.normal(size=(20, 20)))[0]
    tangled = np.column_stack([a / a.std() + rest / rest.std(), other, rng.normal(size=800)])
    got = values(read(tidy, {"a": a, "b": b}, seen, setting))
    # Any code loses the square of the correlation, chance a twentieth; the rest of b stays.
    assert got["a -> b", OWN] == pytest.approx(0.64 - 1 / 20, abs=0.06)
    assert got["a -> b", REST] == pytest.approx(-1 / 20, abs=0.03)
    got = values(read(tangled, {"a": a, "b": b}, seen, setting))
    assert got["a -> b", REST] > 0.4


def test_what_another_concept_determines_has_no_rest(rng, seen, setting):
    n = 400
    shade = rng.integers(0, 4, size=n)
    code = np.column_stack([np.eye(4)[shade], rng.normal(size=(n, 12))])
    code[:, :4] += 0.2 * rng.normal(size=(n, 4))
    found = read(code, {"shade": shade, "dark": shade // 2}, seen, setting)
    gone = found["shade -> dark", REST]
    assert math.isnan(gone.estimate.value)
    assert "shade determines dark" in gone.reason
    # The other way round two of three directions stay open.
    assert not found["dark -> shade", REST].reason
    assert found["shade -> dark", "accuracy lost beyond a random subspace"].estimate.value > 0.3


def plain(x, b, classes, fold, erased):
    """(m,) scores of b: whitening by eigenvalues, scikit-learn's ridge, one fold after the other.

    Args:
        x: (m, d) rows of more rows than units.
        b: from a fold to the (m, q) columns as they are seen from outside it.
        classes: (m,) codes, or None for values, whose squared errors are given.
        fold: (m,) fold of each row.
        erased: from a fold and its outside to the columns to be erased there.
    """
    x = (x - x.mean(0)) / x.std(0)
    out = np.empty(len(x))
    for f in range(5):
        outside, inside = fold != f, fold == f
        known, mean = x[outside], x[outside].mean(0)
        z = erased(f, outside)
        spectrum, v = np.linalg.eigh(np.cov(known.T, bias=True))
        root, back = v @ np.diag(spectrum**-0.5) @ v.T, v @ np.diag(spectrum**0.5) @ v.T
        c = root @ (known - mean).T @ (z - z.mean(0)) / len(known)
        keep = np.eye(x.shape[1]) - (back @ c @ np.linalg.pinv(c, rcond=1e-9) @ root).T
        probe = Ridge(margins.PROBE_RIDGE * len(known))
        probe.fit((known - mean) @ keep, b(f)[outside])
        told = probe.predict((x[inside] - mean) @ keep).reshape(inside.sum(), -1)
        if classes is not None:
            out[inside] = told.argmax(1) == classes[inside]
        else:
            out[inside] = ((told - b(f)[inside].reshape(told.shape)) ** 2).sum(1)
    return out


def losses(x, a, b, classes, fold, rank):
    """(m,) what the measure says of each row."""

    def scores(erased):
        found = plain(x, b, classes, fold, erased)
        if classes is not None:
            return found
        own = np.array([np.atleast_1d(b(f)[i]) for i, f in enumerate(fold)])
        return 1 - found / own.var(0).sum()

    def random(draw):
        def columns(f, outside):
            rng = blocks.generator(0, "entanglement", f, rank, draw)
            return noise(int(outside.sum()), rank, rng).numpy()

        return columns

    chance = [scores(random(draw)) for draw in range(entanglement.DRAWS)]
    return np.mean(chance, axis=0) - scores(lambda _, outside: a[outside])


def test_every_reading_against_a_plain_version(rng, seen, setting):
    """A class and a value, all four statistics, each with its error."""
    n = 200
    kind = rng.integers(0, 3, size=n)
    size = rng.normal(size=n) + 0.5 * (kind == 1)
    x = rng.normal(size=(n, 9))
    x[:, 0] += 2 * size
    x[:, 1] += 4 * (kind == 1) + size
    x[:, 2] -= 5 * (kind == 2)
    x = x * np.exp(rng.normal(size=9)) + 4
    cluster = np.arange(n) % 50
    found = read(x, {"kind": kind, "size": size}, seen, setting, cluster=cluster)
    fold, hot = blocks.folds(n, 5, cluster), np.eye(3)[kind]

    def rest(b, a):
        def of(f):
            one = np.column_stack([np.ones(n), a])
            return b - one @ np.linalg.lstsq(one[fold != f], b[fold != f], rcond=None)[0]

        return of

    cases = {
        ("kind -> size", OWN): (hot, lambda f: size, None, 2),
        ("kind -> size", REST): (hot, rest(size, hot), None, 2),
        ("size -> kind", "accuracy lost beyond a random subspace"): (size, lambda f: hot, kind, 1),
        ("size -> kind", REST): (size, rest(hot, size), None, 1),
    }
    assert cases.keys() == found.keys()
    for key, (a, b, classes, rank) in cases.items():
        lost = losses(x, a.reshape(n, -1), b, classes, fold, rank)
        r = found[key]
        assert r.reason == ""
        assert r.estimate.value == pytest.approx(lost.mean(), abs=1e-9)
        assert r.estimate.units == 50
        summed = np.bincount(cluster, lost - lost.mean()) / n
        error = math.sqrt(50 / 49 * (summed**2).sum())
        assert math.sqrt((r.estimate.influence**2).sum()) == pytest.approx(error, rel=1e-7)
        assert inference.standard_error(r.estimate) > 0
        assert (r.layer, r.depth) == ("last", 1.0)


def test_a_layer_of_more_units_than_rows_is_read_in_its_leading_axes(rng, seen, setting):
    """What is planted in 10 directions of 500 units is found, with as many rows as units or not."""
    for n in (300, 700):
        latent = rng.normal(size=(n, 10))
        mix = rng.normal(size=(9, 500))
        apart = latent @ np.concatenate([mix, rng.normal(size=(1, 500))])
        shared = np.column_stack([latent[:, 0] + latent[:, 1], latent[:, 2:]]) @ mix
        concepts = {"a": latent[:, 0], "b": latent[:, 1]}
        low, high = (
            values(read(rows, concepts, seen, setting))["a -> b", OWN] for rows in (apart, shared)
        )
        assert low == pytest.approx(-0.1, abs=0.06)
        assert high == pytest.approx(0.5 * (1 - 1 / 9), abs=0.1)


def test_copies_and_constant_units_change_little(rng, seen, setting):
    """Copies weigh in the ridge penalty; they are no directions that could be drawn at random."""
    a, b, other = tied(rng, 400, 0.0)
    code = np.column_stack([a + b, other]).astype(np.float32)
    more = np.column_stack([code, 3 * code, np.full((400, 2), 0.1)]).astype(np.float32)
    one, two = (values(read(c, {"a": a, "b": b}, seen, setting)) for c in (code, more))
    assert two["a -> b", OWN] == pytest.approx(one["a -> b", OWN], abs=0.01)


# -- what cannot be measured -----------------------------------------------------------------------


def test_a_concept_that_the_layer_lost_is_no_untangled_one(rng, seen, setting):
    a, b, other = tied(rng, 400, 0.0)
    code = np.column_stack([a, other])
    found = read(code, {"a": a, "b": b}, seen, setting)
    for r in found.values():
        assert math.isnan(r.estimate.value)
        assert "b cannot be decoded" in r.reason


def test_a_concept_that_takes_most_directions_has_no_fair_comparison(rng, seen, setting):
    kind = rng.integers(0, 4, size=400)
    size = rng.normal(size=400)
    code = np.column_stack([np.eye(4)[kind][:, :3] * 5, size]) + 0.1 * rng.normal(size=(400, 4))
    found = read(code, {"kind": kind, "size": size}, seen, setting)
    assert "takes 3 of 4 directions" in found["kind -> size", OWN].reason
    assert math.isnan(found["kind -> size", OWN].estimate.value)
    assert not found["size -> kind", REST].reason


def test_a_concept_without_values_leaves_the_other_pairs_alone(rng, seen, setting):
    a, b, other = tied(rng, 300, 0.0)
    code = np.column_stack([a, b, other])
    concepts = {"a": a, "b": b, "same": np.ones(300)}
    found = read(code, concepts, seen, setting)
    without = read(code, {"a": a, "b": b}, seen, setting)
    assert len(found) == 12
    for key, r in found.items():
        if "same" in key[0]:
            assert "same has one value only" in r.reason
            assert math.isnan(r.estimate.value)
        else:
            assert r.estimate.value == without[key].estimate.value


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        ("one concept", "two usable concepts"),
        ("four clusters", "fewer than 5 folds"),
        ("nan", "NaN or infinity"),
        ("constant", "no unit"),
    ],
)
def test_what_is_not_measurable_says_why(rng, seen, setting, damage, match):
    a, b, other = tied(rng, 100, 0.0)
    code, concepts, more = np.column_stack([a, b, other]), {"a": a, "b": b}, {}
    if damage == "one concept":
        concepts["b"] = np.ones(100)
    elif damage == "four clusters":
        more["cluster"] = np.arange(100) % 4
    elif damage == "nan":
        code[5, 3] = np.nan
    else:
        code[:] = 0.1
    with pytest.raises(NotMeasurable, match=match):
        read(code, concepts, seen, setting, **more)


def test_it_applies_where_there_are_two_concepts():
    x = np.zeros((60, 2), dtype=np.float32)
    from ringtest import tasks

    def applies(targets, **more):
        data = AuditData(x, targets, **more)
        task = tasks.make("embedding" if targets is None else "classification", data)
        return ENTRY.applies(Clean(), data, task)

    y, c = np.arange(60) % 2, np.arange(60) % 3
    assert applies(y, concepts={"c": c})
    assert applies(None, concepts={"c": c, "y": y})
    assert not applies(y)
    assert not applies(None, concepts={"c": c})
