"""Attacks that no audit runs by itself are run where a cell names them in full."""

import numpy as np
import pytest
import torch
from quick import only_under
from torch import nn

import ringtest
from ringtest.errors import RingtestError


@pytest.fixture(autouse=True)
def _attacks():
    """Of what an audit does by itself the attacks alone."""
    with only_under("attack.*"):
        yield


def net(seed):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


@pytest.fixture(scope="module")
def data():
    x = torch.rand(150, 6, generator=torch.Generator().manual_seed(0))
    return ringtest.AuditData(x, np.arange(150) % 3, bounds=(0, 1))


def scores(data, *cells, student=None):
    report = ringtest.audit(net(0), student or net(1), data, cells=cells, progress=False)
    rows = [r for r in report.verdict.rows if r.measure == "outputs.score"]
    return {(r.condition, r.severity): r for r in rows}


def test_a_cell_that_names_an_attack_runs_it(data):
    found = scores(data, ("outputs.score", "attack.fgsm@0.07"), ("outputs.score", "attack.pgd_l2"))
    row = found["attack.fgsm", 0.07]
    assert np.isfinite([row.teacher, row.student]).all()
    assert row.status == "context"
    # None: the area over both.
    assert {s for c, s in found if c == "attack.pgd_l2"} == {0.25, 0.5, None}
    # What is not named is not run, and no glob runs everything.
    assert not any(c in ("attack.apgd", "attack.square") for c, _ in found)
    found = scores(data, ("outputs.score", "attack.*"))
    assert {c for c, _ in found if c.startswith("attack.")} == {"attack.pgd"}


@pytest.mark.parametrize("name", ["attack.fgsm@0.10", "attack.fgsm@.1", "attack.fgsm@1e-1"])
def test_a_severity_may_be_written_in_any_way(data, name):
    assert ("attack.fgsm", 0.1) in scores(data, ("outputs.score", name))


def test_a_black_box_is_attacked_without_gradients(data):
    student = net(1)
    found = scores(
        data, ("outputs.score", "attack.square@0.1"), student=lambda x: student(x).detach()
    )
    square = found["attack.square", 0.1]
    assert 0 <= square.student <= found["clean", None].student


@pytest.mark.parametrize("name", ["attack.fgsm@0", "attack.fgsm@-1", "attack.fgsm@nan"])
def test_an_eps_that_is_none_is_told_in_one_line(data, name):
    with pytest.raises(RingtestError, match=r"eps|severity") as caught:
        scores(data, ("outputs.score", name))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("undrawn")
def test_what_is_held_against_the_teacher_is_kept_and_told_even_of_a_single_one(data, tmp_path):
    cells = [("outputs.divergence", "attack.discrepancy@0.1"), ("outputs.betrayal", "attack.pgd")]

    def rows():
        report = ringtest.audit(
            net(0), net(1), data, references=[net(2)], cells=cells, out=tmp_path, progress=False
        )
        kept = report.data["timing"]["cached"].get("attack.discrepancy@0.1", 0)
        return kept, [r for r in report.data["measurements"] if r["measure"] == cells[0][0]]

    (none, first), (all_, again) = rows(), rows()
    assert (none, all_) == (0, 2)  # the score, too
    assert first == again
    (row,) = first
    assert (row["teacher"], row["delta"], row["harm"]) == (None, None, None)
    assert row["student"] > 0
    assert row["params"]["references"] > 0
    assert len(row["params"]["examples"]) == 3
    assert "only member" in row["reason"]
