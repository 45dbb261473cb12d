"""One test for every trap of the design that the statistical core could fall into.

Each was seen somewhere; the names say where. Traps of attacks, models and pages are tested there.
"""

import ast
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ringtest import blocks, inference, margins, tasks
from ringtest.compare import Failure, guarded, read
from ringtest.condition import Clean
from ringtest.data import AuditData
from ringtest.errors import ConfigError, Exit
from ringtest.estimate import row_mean
from ringtest.evidence import Wanted, gather
from ringtest.measure import Measure, ModelMeasure, NotMeasurable, measures
from ringtest.measurement import Measurement
from ringtest.moments import Moments, cka
from ringtest.policy import Gate, Policy
from ringtest.probes.cka import Prepared, compare
from ringtest.probes.neighbourhood import Neighbourhood, overlap
from ringtest.registry import Registry
from ringtest.verdict import decide

ROOT = Path(__file__).parents[1]


def headline(group: str, harm: float = 0.0, **more) -> Measurement:
    fields = {
        "teacher": 1.0,
        "student": 1.0 - harm,
        "delta": -harm,
        "harm": harm,
        "se": 0.01,
        "df": 300.0,
        "margin": 0.1,
        "n": 300,
        "headline": True,
        "required": True,
        "null": "paired",
        "group": group,
    }
    condition = "clean" if group == "benchmark" else "shift.off_support"
    return Measurement(f"m.{group}", "probes", condition, **{**fields, **more})


def sound_rows() -> list[Measurement]:
    return [headline(g) for g in ("benchmark", *margins.ALWAYS_REQUIRED)]


# -- batches and shards ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [blocks.BLOCK + 1, 2 * blocks.BLOCK + 3])
def test_batch_mean_of_batch_means(n, seen, setting):
    """A last short block must not weigh as much as a full one."""
    score = np.zeros(n)
    score[n - n % blocks.BLOCK :] = 1
    assert [p.stop - p.start for _, p in blocks.blocks(n)][-1] == n % blocks.BLOCK
    (r,) = measures["outputs.score"].read(
        seen(np.zeros((n, 2)), score=score), setting(np.zeros((n, 2)))
    )
    assert r.estimate.value == pytest.approx((n % blocks.BLOCK) / n)
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_block = Moments()
    for _, part in blocks.blocks(n):
        by_block.merge(Moments().update(x[part]))
    torch.testing.assert_close(by_block.mean, x.mean(0))


def test_padded_distributed_samplers():
    """Every row is in exactly one block, in one fold, and no row is there twice."""
    for n in (1, 255, 256, 257, 1000):
        seen = np.concatenate([np.arange(n)[p] for _, p in blocks.blocks(n)])
        assert seen.tolist() == list(range(n))
        sizes = np.bincount(blocks.folds(n, 20), minlength=20)
        assert sizes.sum() == n
        assert sizes.max() - sizes.min() <= 1
    kept = blocks.sample_rows(5000)
    assert len(np.unique(kept)) == margins.SAMPLE
    assert (np.diff(kept) > 0).all()
    assert not (np.diff(kept) == kept[1] - kept[0]).all()


def test_folds_never_follow_file_order():
    """A file sorted by class, or in runs, would put a class or a run into one fold."""
    fold = blocks.folds(2000, 20)
    for f in range(20):
        rows = np.flatnonzero(fold == f)
        assert rows.max() > 1600
        assert rows.min() < 400
    units = np.arange(2000) // 10
    fold = blocks.folds(2000, 20, units)
    assert all(len(np.unique(fold[units == u])) == 1 for u in np.unique(units))


def test_naive_second_moments():
    """X'X - n mu mu' in float32 has nothing left at a column mean of a million."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=g, dtype=torch.float64) * 0.1 + 1e6
    m = Moments().update(x[:100]).merge(Moments().update(x[100:]))
    want = torch.cov(x.T, correction=0)
    torch.testing.assert_close(m.covariance, want, rtol=1e-5, atol=1e-9)
    naive = x.T @ x / 400 - torch.outer(x.mean(0), x.mean(0))
    assert float((naive - want).abs().max()) > 1e-5


# -- similarities ----------------------------------------------------------------------------------


def test_knn_that_drops_column_0_as_self(rng):
    """With duplicate rows the first of the list may be a copy; dropping it keeps 'self' in."""
    x = np.repeat(rng.normal(size=(25, 4)), 3, axis=0)
    groups = torch.as_tensor(blocks.folds(75, 20))
    made = Neighbourhood(torch.as_tensor(x), 5, groups)
    assert not bool((made.index == torch.arange(75)[:, None]).any())
    whole, _ = overlap(made, made)
    assert whole == pytest.approx(1)
    order = rng.permutation(75)
    again = Neighbourhood(torch.as_tensor(x[order]), 5, groups)
    other = Neighbourhood(torch.as_tensor((x[:, :2] ** 2)[order]), 5, groups)
    plain = Neighbourhood(torch.as_tensor(x[:, :2] ** 2), 5, groups)
    # order of rows decides nothing, copies or not
    assert overlap(again, other)[0] == pytest.approx(overlap(made, plain)[0], abs=1e-6)


def test_one_moved_row_drives_cka_so_it_is_never_evidence_alone(rng):
    x = torch.as_tensor(rng.normal(size=(1000, 10)))
    y = x.clone()
    y[3] *= 1e5
    assert abs(cka(x, y)) < 0.1
    assert Prepared(y).heaviest > 0.99
    rows = [replace(r, harm=2.0) if r.group == "global geometry" else r for r in sound_rows()]
    assert decide(rows, Policy()).label == "inconclusive"


def test_cka_is_never_bootstrapped(rng):
    """A copied row comes back as an off-diagonal pair: the bootstrap of nothing said .475."""
    x, y = rng.normal(size=(2, 100, 300))
    rows = rng.integers(0, 100, size=(20, 100))
    draws = [cka(torch.as_tensor(x[r]), torch.as_tensor(y[r])) for r in rows]
    e = compare(Prepared(torch.as_tensor(x)), Prepared(torch.as_tensor(y)))
    assert np.mean(draws) > 0.2
    assert e.method == "jackknife"
    assert abs(e.value) < 4 * inference.standard_error(e)


# -- gates that passed wrongly ---------------------------------------------------------------------


@pytest.mark.parametrize("field", ["harm", "se", "df", "margin"])
def test_nan_passed(field):
    """`if value > threshold: fail` lets NaN through."""
    for value in (math.nan, math.inf, -math.inf):
        for i in range(5):
            rows = sound_rows()
            rows[i] = replace(rows[i], **{field: value})
            v = decide(rows, Policy(gates=(Gate(rows[i].measure, 0.5),)))
            assert v.label == "inconclusive"
            assert v.exit_code != Exit.PASS
            assert v.rows[i].status == "not_measurable"
            assert field == "margin" or v.gates[0][1] != "pass"


class Crashes(ModelMeasure):
    """A measure with a bug."""

    id = "test.crash"
    about = "crashes"
    range = (0.0, 1.0)
    group = "twins"
    needs = frozenset({"sample"})

    def read(self, evidence, at):
        raise ZeroDivisionError("oops")


def test_a_crashed_check_passed(seen, setting):
    found = read(Crashes(), {"s": seen(np.zeros((9, 2)))}, ["s"], setting(np.zeros((9, 2))))["s"]
    assert isinstance(found, Failure)
    assert found.status == "error"
    assert "ZeroDivisionError: oops" in found.reason
    rows = [
        replace(r, status="error", harm=math.nan, se=math.nan) if r.group == "twins" else r
        for r in sound_rows()
    ]
    v = decide(rows, Policy())
    assert v.label == "inconclusive"
    assert any("could not be measured" in r for r in v.reasons)


def test_a_skipped_check_passed():
    assert decide(sound_rows()[:-1], Policy()).label == "inconclusive"
    v = decide(sound_rows(), Policy(gates=(Gate("usage.*", 0.1),)))
    assert v.gates[0][1] == "no_match"
    assert v.exit_code == Exit.ERROR


def test_the_printed_verdict_and_the_exit_code_disagreed():
    """Both are read off one decision, and the label's own code is never improved on by a gate."""
    for harm, code in ((0.0, Exit.PASS), (0.1, Exit.INCONCLUSIVE), (0.9, Exit.FAIL)):
        rows = [sound_rows()[0], *(headline(g, harm) for g in margins.ALWAYS_REQUIRED)]
        for gates in ((), (Gate("m.twins", 5.0),)):
            v = decide(rows, Policy(gates=gates))
            assert v.exit_code == code
            assert (v.label == "sound") == (v.exit_code == Exit.PASS)


def test_an_unseeded_bootstrap():
    """Neither the global state nor an earlier call changes a standard error."""
    e = row_mean(np.sin(np.arange(50.0)))
    first = inference.standard_error(e)
    inference._counts.cache_clear()
    np.random.seed(1)  # noqa: NPY002 - the state that must not matter
    torch.manual_seed(5)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert inference.standard_error(e) == first
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_a_bootstrap_of_nothing_returned_0():
    for values in ([], [0.7]):
        e = row_mean(np.array(values))
        assert math.isnan(inference.standard_error(e))
    row = headline("twins", se=math.nan)
    assert decide([row], Policy()).rows[0].status == "not_measurable"


def test_resamples_are_not_counted_for_p_values():
    """2,000 resamples cannot give a p below 1/2,001, and Holm over ten rows needs less."""
    e = row_mean(np.random.default_rng(0).normal(1.0, 1.0, size=400))
    p, _ = inference.p_values(e.value, 0.0, inference.standard_error(e), e.dof, 1)
    assert 0 < p < 1e-10


def test_a_mean_of_empty_slices_is_no_benchmark(seen, setting):
    x = np.zeros((30, 2), dtype=np.float32)
    at = setting(x, groups={"site": np.array(["a"] * 29 + ["b"])})
    found = measures["outputs.score"].read(seen(x, score=np.ones(30)), at)
    lone = next(r for r in found if r.slice == "site=b")
    assert lone.estimate.n == 1
    assert math.isnan(inference.standard_error(lone.estimate))


def test_a_model_that_fails_leaves_an_error_and_no_number(seen, setting):
    dead = seen(np.ones((30, 2)))
    dead.failed = "gives NaN or infinity in rows 0 to 29"
    found = guarded(dead, lambda e: row_mean(np.ones(30)))
    assert isinstance(found, Failure)
    assert "NaN" in found.reason
    alive = seen(np.ones((30, 2)), clean=dead)
    assert isinstance(guarded(alive, lambda e: row_mean(np.ones(30))), Failure)


def test_not_measurable_is_no_crash_and_no_pass(seen):
    def nothing(_):
        raise NotMeasurable("no unit varies")

    assert guarded(seen(np.ones((3, 2))), nothing).status == "not_measurable"


# -- the registry ----------------------------------------------------------------------------------


def test_a_second_copy_of_a_measure_is_an_error():
    """`probes.cka` beside `ringtest.probes.cka`, with the root on sys.path."""
    registry: Registry[Measure] = Registry("measure")
    registry.add(Crashes())
    with pytest.raises(ConfigError, match="registered twice"):
        registry.add(Crashes())
    with pytest.raises(ConfigError, match=r"similarity\.cka"):
        measures["similarity.ckaa"]


def test_a_measure_is_found_however_deep_its_file_lies():
    """`ensembles/recorded/` is a room in a room."""
    written = {
        node.name
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(d, ast.Name) and d.id == "measure" for d in node.decorator_list)
    }
    assert {"CKA", "Selection", "Budget"} <= written
    assert written <= {type(entry).__name__ for entry in measures}


def test_deciding_imports_no_torch():
    """Slow start: a gate on a stored report needs neither torch nor captum nor seaborn."""
    code = (
        "import sys, ringtest.verdict, ringtest.report\n"
        "slow = {'torch', 'captum', 'seaborn', 'matplotlib', 'sklearn', 'pandas'}\n"
        "slow &= set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": "src", "PATH": ""},
        cwd=_root(),
    )
    assert done.returncode == 0, done.stderr


def _root():
    from pathlib import Path

    return Path(__file__).parents[1]


# -- what a model shows ----------------------------------------------------------------------------


def test_nan_in_a_representation_never_reaches_a_measure():
    from ringtest import subjects
    from ringtest.errors import SubjectError

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)

        def forward(self, x):
            h = self.fc1(x)
            return self.fc2(torch.where(x[:, :1] > 5, torch.nan, h).nan_to_num()) + 0 * h.sum()

    data = AuditData(
        torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), np.arange(40) % 2
    )
    task = tasks.make("classification", data)
    (model,) = subjects.teacher(Net(), task, data, "auto")
    assert bool(
        torch.isfinite(
            gather(Clean(), [model], [], data, task, Wanted(sample=True), 0)
            .evidence[model.name]
            .last
        ).all()
    )
    with torch.no_grad():
        model.module.fc1.weight[0, 0] = math.nan
    with pytest.raises(SubjectError, match="NaN"):
        gather(Clean(), [model], [], data, task, Wanted(sample=True), 0)


def sources():
    """Everything that is shipped, as syntax trees."""
    for area in ("src/ringtest", "probes", "perturb", "shift", "reports", "ensembles"):
        for file in (ROOT / area).rglob("*.py"):
            yield file, ast.parse(file.read_text("utf-8"))


def test_torchvision_in_the_core():
    """It clashes with CPU builds of torch, so nothing of ours may need it."""
    for file, tree in sources():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] == "torchvision" for n in names), file


def test_seaborn_boxplot():
    """Deprecated under matplotlib 3.11: strips, heat maps and lines are used instead."""
    for file, tree in sources():
        called = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        assert "boxplot" not in called, file
