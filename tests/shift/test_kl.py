"""KL both ways, beside scipy and torch on random Dirichlets, and where it is infinite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from ringtest import AuditData, compare, evidence, tasks
from ringtest.condition import Clean
from ringtest.evidence import Wanted
from ringtest.model import evaluating
from ringtest.shift.kl import FORWARD, KL, REVERSE
from ringtest.trial import prepare

N, K = 200, 6


def dirichlets(seed: int, count: int = 1) -> list[np.ndarray]:
    g = np.random.default_rng(seed)
    drawn = [g.dirichlet(np.full(K, 0.5), size=N) for _ in range(count)]
    return [np.maximum(p, 1e-6) / np.maximum(p, 1e-6).sum(1, keepdims=True) for p in drawn]


def read(setting, members, student, logits=False):
    """Readings by model, of models that look their rows up: (n, K) probabilities or logits."""
    x = torch.arange(N, dtype=torch.float32)[:, None]
    y = np.arange(N) % K
    data = AuditData(x, y)
    task = tasks.make("classification", data)

    def says(table):
        held = torch.as_tensor(table, dtype=torch.float32)
        return lambda z: held[z[:, 0].long()]

    models = [prepare(f"m{i}", "member", says(p), task, data) for i, p in enumerate(members)]
    models.append(prepare("s", "student", says(student), task, data))
    assert all(m.probabilities != logits for m in models)
    wanted = Wanted(outcomes=True, teacher=True)
    with evaluating(models):
        found = evidence.gather(Clean(), models, [], data, task, wanted, 0).evidence
    at = setting(x, y)
    names = [m.name for m in models]
    return compare.read(KL(), found, names, at)


def values(readings):
    return {r.statistic: r.estimate.value for r in readings}


def test_both_directions_are_scipys_and_torchs(setting):
    a, b, c, s = dirichlets(0, 4)
    found = read(setting, [a, b, c], s)
    # A member is held against the mean of the others.
    mean = (b + c) / 2
    got = values(found["m0"])
    assert got[FORWARD] == pytest.approx(entropy(mean, a, axis=1).mean(), rel=1e-4)
    assert got[REVERSE] == pytest.approx(entropy(a, mean, axis=1).mean(), rel=1e-4)
    # A single teacher says all there is.
    got = values(read(setting, [a], s)["s"])
    p, q = torch.tensor(a), torch.tensor(s)
    kl = torch.nn.functional.kl_div
    assert got[FORWARD] == pytest.approx(float(kl(q.log(), p, reduction="batchmean")), rel=1e-4)
    assert got[REVERSE] == pytest.approx(float(kl(p.log(), q, reduction="batchmean")), rel=1e-4)
    assert got[FORWARD] != pytest.approx(got[REVERSE], rel=1e-2), "nothing tells the ways apart"


def test_a_copy_is_at_0_and_a_single_member_has_nobody_beside_it(setting):
    (a,) = dirichlets(1)
    found = read(setting, [a], a)
    assert values(found["s"]) == pytest.approx({FORWARD: 0.0, REVERSE: 0.0}, abs=1e-6)
    assert all(r.estimate.value >= 0 for r in found["s"])
    assert found["m0"].status == "not_measurable"
    assert "no other member" in found["m0"].reason


def without(p: np.ndarray, rows: slice, column: int) -> np.ndarray:
    out = p.copy()
    out[rows, column] = 0.0
    out /= out.sum(1, keepdims=True)
    return out


def test_a_probability_of_0_is_infinite_one_way_and_no_number_takes_its_place(setting):
    a, s = dirichlets(2, 2)
    never = without(s, slice(0, 7), 2)
    found = {r.statistic: r for r in read(setting, [a], never)["s"]}
    assert np.isnan(found[FORWARD].estimate.value)
    assert found[FORWARD].reason == (
        "infinite: on 7 of 200 rows it gives probability 0 to a class that the teacher holds "
        "possible"
    )
    with np.errstate(divide="ignore"):
        assert np.isinf(entropy(a, never, axis=1)).sum() == 7
    assert found[REVERSE].estimate.value == pytest.approx(
        entropy(never, a, axis=1).mean(), rel=1e-4
    )
    # The other way round the other side is told.
    found = {r.statistic: r for r in read(setting, [never], a)["s"]}
    assert "on 7 of 200 rows the teacher gives probability 0" in found[REVERSE].reason
    assert found[FORWARD].estimate.value == pytest.approx(
        entropy(never, a, axis=1).mean(), rel=1e-4
    )


def test_what_both_rule_out_is_nothing_and_one_member_that_does_not_is_enough(setting):
    a, b, s = dirichlets(3, 3)
    rows = slice(0, 9)
    a0, b0, s0 = (without(p, rows, 4) for p in (a, b, s))
    got = values(read(setting, [a0], s0)["s"])
    assert got[FORWARD] == pytest.approx(entropy(a0, s0, axis=1).mean(), rel=1e-4)
    assert got[REVERSE] == pytest.approx(entropy(s0, a0, axis=1).mean(), rel=1e-4)
    # Of three members m0 alone rules nothing out: the mean of m0 and m1 does not either.
    found = {r.statistic: r for r in read(setting, [a, b0, s0], s)["m2"]}
    assert "on 9 of 200 rows it gives probability 0" in found[FORWARD].reason
    assert found[REVERSE].estimate.value == pytest.approx(
        entropy(s0, (a + b0) / 2, axis=1).mean(), rel=1e-4
    )


def test_sure_logits_are_large_and_not_infinite(setting):
    g = np.random.default_rng(4)
    a, s = (60 * g.normal(size=(N, K)) for _ in range(2))
    got = values(read(setting, [a], s, logits=True)["s"])
    p, q = (torch.tensor(v, dtype=torch.float32).double().log_softmax(1) for v in (a, s))
    assert float(q.min()) < -150, "the trap is no longer set"
    forward = torch.nn.functional.kl_div(q, p, reduction="batchmean", log_target=True)
    assert got[FORWARD] == pytest.approx(float(forward), rel=1e-4)


def test_the_pair_is_not_measurable_where_either_side_is_infinite(setting):
    a, b, s = dirichlets(5, 3)
    found = read(setting, [a, b], without(s, slice(0, 3), 0))
    rows = compare.context_rows(
        KL(), Clean(), compare.pair(found, ["m0", "m1"], "s", level=True), seed=0
    )
    assert [r.status for r in rows] == ["not_measurable", "context"]
    assert "infinite" in rows[0].reason
    assert np.isfinite([rows[1].teacher, rows[1].student, rows[1].ci_low]).all()


def test_it_means_nothing_for_values(setting):
    at = setting(np.zeros((9, 2), dtype=np.float32), np.arange(9.0), task="regression")
    assert not KL().applies(Clean(), at.data, at.task)
