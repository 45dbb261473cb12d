"""Corruptions of tables: each against what numpy, pandas or scikit-learn make of the same rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from quick import only_under
from scipy.stats import binomtest
from sklearn.impute import SimpleImputer
from torch import Tensor, nn

import ringtest
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.shift import corruption_tables, tables
from ringtest.shift.corruption_tables import (
    FACTORS,
    Drift,
    Missing,
    Rounding,
    Swapped,
    TableCorruption,
    Units,
)

NO_MODEL: Any = None
N = 801
REAL, AGE, FLAG, HOT, CONSTANT = slice(0, 12), 12, 13, slice(14, 17), 17
"""Columns of the table: real numbers, whole ones, codes, a category one-hot, one value."""
KINDS = [k.make for k in conditions if issubclass(k.make, TableCorruption)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(dtype: torch.dtype = torch.float32) -> Tensor:
    g = rng(5)
    real = torch.randn(N, 12, generator=g) * torch.logspace(-2, 3, 12) + 5
    age = torch.randint(18, 90, (N, 1), generator=g).float()
    flag = (torch.rand(N, 1, generator=g) < 0.3).float()
    hot = nn.functional.one_hot(torch.randint(3, (N,), generator=g), 3).float()
    return torch.cat([real, age, flag, hot, torch.full((N, 1), 2.5)], 1).to(dtype)


X = rows()
QUANTITIES = [*range(12), AGE]


def run(condition: Any, x: Tensor = X, seed: int = 1, **more: Any) -> Tensor:
    condition.fit([], AuditData(x, **more), rng(9))
    out: Tensor = condition.batch(NO_MODEL, x, None, rng(seed))
    return out


def columns_hit(condition: Any, x: Tensor = X) -> list[int]:
    return (run(condition, x) != x).any(0).nonzero().flatten().tolist()


def test_columns_are_what_they_hold() -> None:
    codes = pd.DataFrame(X.numpy()).apply(lambda c: (c % 1 == 0).all() and c.nunique() <= 20)
    assert tables.codes(X).tolist() == codes.tolist()
    assert tables.quantities(X).nonzero().flatten().tolist() == QUANTITIES
    # Few different numbers are codes however far apart; twenty-one are none.
    far = torch.tensor([[0.0, 0.0, 0.5], [9000.0, 1.0, 1.5]]).repeat(30, 1)
    far[:21, 1] = torch.arange(21)
    assert tables.codes(far).tolist() == [True, False, False]


@pytest.mark.parametrize("n", [N, N - 1])
def test_medians_are_those_of_numpy(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = X[:n]
    monkeypatch.setattr(tables.common, "POOL_NUMBERS", 4 * n)  # several parts
    whole = [AGE, FLAG, *range(14, 17)]
    expected = np.median(x.numpy(), axis=0)
    expected[whole] = np.percentile(x.numpy(), 50, axis=0, method="lower")[whole]
    np.testing.assert_allclose(tables.medians(x).numpy(), expected, rtol=1e-6)


def test_missing_values_are_what_an_imputer_fills_in() -> None:
    for severity, share in enumerate(Missing.strengths, 1):
        made = run(Missing(severity=severity))
        hit = made != X
        # Only cells that hold their median already cannot show that they were hit.
        assert binomtest(int(hit[:, REAL].sum()), N * 12, share).pvalue > 1e-3
        holes = torch.where(hit, torch.nan, X).numpy()
        fitted = SimpleImputer(strategy="median").fit(X.numpy())  # N is odd
        np.testing.assert_allclose(made.numpy(), fitted.transform(holes), rtol=1e-6)
    assert not hit[:, CONSTANT].any()
    assert hit[:, AGE].any()
    assert hit[:, FLAG].any()


def test_units_multiply_whole_columns() -> None:
    seen: set[float] = set()
    for severity, share in enumerate(Units.strengths, 1):
        made = run(Units(severity=severity))
        factors = made[:, QUANTITIES].double() / X[:, QUANTITIES].double()
        spread = factors.max(0).values - factors.min(0).values
        assert (spread < 1e-5 * factors.mean(0)).all(), "all rows alike"
        hit = [f for f in factors.mean(0).tolist() if abs(f - 1) > 0.01]
        assert len(hit) == int(np.ceil(share * 13))
        seen |= {min(FACTORS, key=lambda f: abs(np.log(f / h))) for h in hit}
        assert all(min(abs(h / f - 1) for f in FACTORS) < 1e-4 for h in hit)
        rest = [i for i in range(X.shape[1]) if i not in QUANTITIES]
        assert torch.equal(made[:, rest], X[:, rest])
    assert len(seen) > 2


def test_swapped_columns_change_places_by_pairs() -> None:
    for severity, share in enumerate(Swapped.strengths, 1):
        made = run(Swapped(severity=severity))
        come = [
            next(j for j in range(X.shape[1]) if torch.equal(made[:, i], X[:, j]))
            for i in range(X.shape[1])
        ]
        moved = [i for i, j in enumerate(come) if i != j]
        assert len(moved) == 2 * int(np.ceil(share * 6))  # 13 quantities are 6 pairs
        assert all(come[come[i]] == i for i in moved)
        assert set(moved) <= set(QUANTITIES)


def test_drift_is_some_standard_deviations_of_one_column() -> None:
    signs = set()
    for draw in range(12):
        moves = [run(Drift(f"draw{draw}", severity=s)).double() - X.double() for s in range(1, 6)]
        (column,) = set().union(*[(m.abs() > 0).any(0).nonzero().flatten().tolist() for m in moves])
        by = [float(m[:, column].mean()) for m in moves]
        assert all(
            float(m[:, column].std()) < 1e-3 * abs(b) for m, b in zip(moves, by, strict=True)
        )
        in_sd = np.array(by) / X[:, column].double().std(correction=0).item()
        signs.add(float(np.sign(in_sd[0])))
        np.testing.assert_allclose(np.abs(in_sd), Drift.strengths, rtol=1e-4)
        assert len(set(np.sign(in_sd))) == 1
    assert signs == {-1.0, 1.0}


def test_rounding_leaves_as_many_levels_as_it_says() -> None:
    for severity, levels in enumerate(Rounding.strengths, 1):
        made = run(Rounding(severity=severity))
        low, high = X.numpy().min(0), X.numpy().max(0)
        for c in QUANTITIES:
            grid = np.linspace(low[c], high[c], int(levels), dtype=np.float64)
            if c == AGE:
                grid = grid.round()
            error = np.abs(made[:, c].numpy()[:, None] - grid).min(1)
            assert error.max() < 1e-5 * high[c]
            step = (high[c] - low[c]) / (levels - 1)
            away = (made[:, c] - X[:, c]).abs().max()
            assert away <= step / 2 + 1e-5 * high[c] + (0.5 if c == AGE else 0)
        assert (made[:, AGE] % 1 == 0).all()
        rest = [i for i in range(X.shape[1]) if i not in QUANTITIES]
        assert torch.equal(made[:, rest], X[:, rest])


# -- what all of them promise ----------------------------------------------------------------------

EACH = [pytest.param(k, s, id=f"{k.kind}@{s}") for k in KINDS for s in range(1, 6)]


def test_the_table_of_kinds_is_whole() -> None:
    assert {k.kind.removeprefix("shift.corruption.") for k in KINDS} == {
        "missing", "units", "swapped", "drift", "rounding",
    }  # fmt: skip
    for kind in KINDS:
        assert kind.role == "context"
        assert kind.scope == "shared"
        assert "Strength:" in (kind.__doc__ or "")


@pytest.mark.parametrize(("kind", "severity"), EACH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_contract(kind: Any, severity: int, dtype: torch.dtype) -> None:
    x = rows(dtype)
    before, state = x.clone(), torch.get_rng_state()
    made = run(kind(severity=severity), x)
    assert (made.shape, made.dtype) == (x.shape, dtype)
    assert made.isfinite().all()
    assert torch.equal(run(kind(severity=severity), x), made)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert (made != x).any()
    assert torch.equal(made[:, CONSTANT], x[:, CONSTANT])
    low, high = float(x.min()), float(x.max())
    inside = run(kind(severity=severity), x, bounds=(low, high))
    assert inside.min() >= low
    assert inside.max() <= high
    # Rows are on their own.
    condition = kind(severity=severity)
    condition.fit([], AuditData(x), rng(9))
    other = torch.cat([x[:50], x[50:].flip(0)])
    assert torch.equal(condition.batch(NO_MODEL, other, None, rng(1))[:50], made[:50])


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_severities_grow_and_hit_what_the_milder_ones_hit(kind: Any) -> None:
    sd = X.std(0).clamp(min=1e-9)
    moved = [float(((run(kind(severity=s)) - X) / sd).abs().mean()) for s in range(1, 6)]
    assert all(a < b for a, b in pairwise(moved)), moved
    hit = [set(columns_hit(kind(severity=s))) for s in range(1, 6)]
    assert all(a <= b for a, b in pairwise(hit))


@pytest.mark.parametrize("kind", [Units, Swapped, Drift], ids=lambda k: k.kind)
def test_columns_hang_on_the_name_and_on_nothing_else(kind: Any) -> None:
    def chosen(name: str | None, seed: int) -> Tensor:
        condition = kind(name, severity=1)
        condition.fit([], AuditData(X), rng(seed))
        out: Tensor = condition.batch(NO_MODEL, X, None, rng(seed))
        return out

    assert torch.equal(chosen(None, 1), chosen(None, 2))
    assert len({tuple(chosen(f"draw{i}", 1)[0].tolist()) for i in range(6)}) > 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_columns_can_be_named(kind: Any) -> None:
    named = [2, FLAG]
    hit = columns_hit(kind(severity=5, columns=named))
    assert hit
    assert set(hit) <= set(named)
    with pytest.raises(DataError, match=r"columns of .*: name 18, and the table has 18; give 0 to"):
        run(kind(severity=1, columns=[0, 18]))
    for wrong in ("age", [0.5], [-1], [True], torch.tensor([1]), []):
        with pytest.raises(ConfigError, match="columns of") as caught:
            kind(severity=1, columns=wrong)
        assert "\n" not in str(caught.value)


def test_a_swap_needs_two_columns() -> None:
    with pytest.raises(ConfigError, match="give at least 2"):
        Swapped(severity=1, columns=[3, 3])


OTHERS = {
    "images": AuditData(torch.rand(20, 1, 4, 4)),
    "sequence": AuditData(torch.rand(20, 4, 3)),
    "tokens": AuditData(torch.randint(9, (20, 4))),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_they_are_offered_where_they_mean_something(kind: Any) -> None:
    data = AuditData(X)
    assert not list(kind.defaults(data))
    assert [c.severity for c in kind.asked(data)] == [1, 2, 3, 4, 5]
    assert [c.key for c in kind.asked(data, 2.0)] == [f"{kind.kind}@2"]
    for other in OTHERS.values():
        assert not list(kind.asked(other))
        with pytest.raises(DataError, match=r"inputs: are .* is for a table") as caught:
            kind(severity=1).fit([], other, rng())
        assert "\n" not in str(caught.value)
    # A table of codes alone has no unit, no drift and no levels.
    codes = AuditData(X[:, [FLAG, *range(14, 17)]])
    assert bool(list(kind.asked(codes))) == (kind is Missing)
    assert bool(list(kind.asked(AuditData(X[:, :1])))) == (kind is not Swapped)
    for wrong in (None, 0, 1.5, 6, float("nan")):
        with pytest.raises(ConfigError, match="give a whole number from 1 to 5") as said:
            kind(severity=wrong)
        assert "\n" not in str(said.value)


def net(seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def test_an_audit_runs_where_a_cell_asks_and_shows_all_models_the_same() -> None:
    z = (X[:, REAL] - X[:, REAL].mean(0)) / X[:, REAL].std(0)
    data = AuditData(z, net(0)(z).argmax(1))
    cells = [
        ("outputs.score", "shift.corruption.units"),
        ("outputs.score", "shift.corruption.drift@3"),
    ]
    with only_under():
        report = ringtest.audit(net(0), net(1), data, cells=cells, progress=False)
    found = {(r.condition, r.severity): r for r in report.rows if r.measure == "outputs.score"}
    assert {s for c, s in found if c == "shift.corruption.units"} == {1, 2, 3, 4, 5, None}
    assert {s for c, s in found if c == "shift.corruption.drift"} == {3}
    assert not any("missing" in c for c, _ in found)
    drift = Drift(severity=3)
    drift.fit([], data, rng())
    with torch.no_grad():
        shown = drift.batch(NO_MODEL, z, None, rng())
        right = [(net(i)(shown).argmax(1).numpy() == data.targets).mean() for i in range(2)]
    row = found["shift.corruption.drift", 3]
    assert [row.teacher, row.student] == pytest.approx(right)
    assert row.status == "context"
    plain = ringtest.audit(net(0), net(1), data, progress=False)
    ids = {r.condition for r in plain.rows}
    assert not ids & {k.kind for k in KINDS}
    with pytest.raises(ConfigError, match="give a whole number from 1 to 5"):
        ringtest.audit(
            net(0), net(1), data, cells=[("outputs.score", "shift.corruption.units@9")],
            progress=False,
        )  # fmt: skip


def test_a_share_is_rounded_up_and_not_for_the_rounding_of_floats() -> None:
    assert corruption_tables._part(0.3, 10) == 3
    assert corruption_tables._part(0.1 + 0.2, 10) == 3
    assert corruption_tables._part(0.1, 4) == 1
    assert corruption_tables._part(0.25, 4) == 1
