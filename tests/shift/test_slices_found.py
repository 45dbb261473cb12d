"""Slices found: what is planted and nothing else, judged on rows that were not searched."""

import math
import tomllib

import numpy as np
import pytest
import torch
from scipy import stats

from ringtest import attributes, reports, rules
from ringtest.cli import main
from ringtest.compare import pair
from ringtest.data import AuditData
from ringtest.errors import DataError
from ringtest.estimate import row_mean
from ringtest.measure import NotMeasurable, Reading, measures
from ringtest.pvalues import benjamini_hochberg
from ringtest.report import load_report
from ringtest.shift import slices_found
from ringtest.shift.slices_found import Halves
from tests.support.sliced import told, world

FOUND = measures["slices.discovered"]


def slices(readings):
    return [r for r in readings if r.slice is not None]


def rows(reading, at):
    return rules.mask(reading.params["where"], attributes.columns(at.data))


def jaccard(a, b):
    return (a & b).sum() / (a | b).sum()


# -- what is found ---------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", ["one", "two", "cluster"])
def test_what_is_planted_is_found_and_nothing_else(planted):
    hits = 0
    for seed in range(3):
        evidence, at, harm = world(2_000, seed, planted)
        found = slices(FOUND.read(evidence, at))
        assert all(harm[rows(r, at)].mean() > slices_found.MARGIN for r in found)
        hits += max((jaccard(rows(r, at), harm > 0) for r in found), default=0) >= 0.7
    assert hits == 3


def test_nothing_is_found_of_an_honest_student():
    """Nine runs: at a rate of .1 a run, three with a false one are as rare as .05."""
    assert sum(bool(slices(FOUND.read(*world(1_000, seed)[:2]))) for seed in range(9)) < 3


def test_numbers_are_those_of_rows_that_were_not_searched():
    evidence, at, _ = world(2_000, 0, "one")
    readings = FOUND.read(evidence, at)
    halves = Halves.of(at, 2_000)
    assert not set(halves.searched) & set(halves.held)
    for reading in slices(readings):
        held = np.intersect1d(halves.held, np.flatnonzero(rows(reading, at)))
        assert reading.estimate.n == len(held)
        assert reading.estimate.value == pytest.approx(evidence.score[held].mean())
        assert reading.teacher.value == pytest.approx(evidence.beside.typical[held].mean())
        assert reading.params["rows"] == rows(reading, at).sum()
        harm = evidence.beside.typical[held] - evidence.score[held]
        test = stats.ttest_1samp(harm, slices_found.MARGIN, alternative="greater")
        # The error is a bootstrap's.
        assert math.log10(reading.params["p"]) == pytest.approx(math.log10(test.pvalue), rel=0.15)
        assert reading.params["p"] <= reading.params["p adjusted"] <= slices_found.FDR
    # What is changed there changes neither what is found nor in what order.
    evidence.score[halves.held] = 0.0
    again = slices(FOUND.read(evidence, at))
    assert {r.slice for r in slices(readings)} <= {r.slice for r in again}


def test_a_share_of_rows_lies_in_no_slice_and_says_what_was_looked_at():
    evidence, at, _ = world(2_000, 0, "one")
    whole, share, *found = FOUND.read(evidence, at)
    held = Halves.of(at, 2_000).held
    assert whole.estimate.value == pytest.approx(evidence.score[held].mean())
    inside = np.any([rows(r, at) for r in found], axis=0)
    assert share.estimate.value == pytest.approx(1 - inside[held].mean())
    assert share.params["found"] == len(found) > 0
    assert share.params["conditions"] > len(found)


def repeated(n, planted, times, size):
    """Every row some times, in clusters of so many rows."""
    evidence, at, _ = world(n, 1, planted, worse=0.9)
    data = AuditData(
        at.data.inputs.repeat_interleave(times, 0), np.repeat(at.data.targets, times),
        groups={k: np.repeat(v, times) for k, v in at.data.groups.items()},
        cluster=np.arange(n * times) // size,
    )  # fmt: skip
    scores = (np.repeat(v, times) for v in (evidence.score, evidence.beside.typical))
    return told(*scores, data)


def test_clusters_stay_whole_and_count_once():
    evidence, at = repeated(800, "one", 5, 5)
    halves = Halves.of(at, 4_000)
    assert not set(at.units[halves.searched]) & set(at.units[halves.held])
    (found,) = (r for r in slices(FOUND.read(evidence, at)) if r.slice == "site=b")
    assert found.estimate.n == 5 * found.estimate.units == 5 * found.teacher.units
    held = np.intersect1d(halves.held, np.flatnonzero(rows(found, at)))[::5]
    harm = evidence.beside.typical[held] - evidence.score[held]
    test = stats.ttest_1samp(harm, slices_found.MARGIN, alternative="greater")
    assert math.log10(found.params["p"]) == pytest.approx(math.log10(test.pvalue), rel=0.15)
    with pytest.raises(NotMeasurable, match="15 independent clusters"):
        FOUND.read(*repeated(300, "one", 5, 50))


# -- what cannot be measured -----------------------------------------------------------------------


def test_what_cannot_be_sliced_says_why():
    evidence, at, _ = world(150, 0)
    with pytest.raises(NotMeasurable, match="75 and 75 rows"):
        FOUND.read(evidence, at)
    score = np.ones(400)
    data = AuditData(torch.zeros(400, 3), np.arange(400) % 2, groups={"id": np.arange(400)})
    data.targets = np.zeros(400, dtype=int)
    data.groups = {"id": np.array([f"row {i}" for i in range(400)])}
    with pytest.raises(NotMeasurable, match="to slice by: target: constant; id: 200 labels"):
        FOUND.read(*told(score, score, data))
    evidence, at, _ = world(400, 0)
    evidence.score[3] = np.nan
    with pytest.raises(NotMeasurable, match="no finite score"):
        FOUND.read(evidence, at)
    evidence.beside = None
    with pytest.raises(NotMeasurable, match="no other member"):
        FOUND.read(evidence, at)


def test_columns_that_tell_nothing_are_named():
    more = {
        "groups": {"id": np.array([f"{i}" for i in range(1_000)]) + "x", "same": np.ones(1_000)}
    }
    evidence, at, _ = world(1_000, 0, **more)
    skipped = FOUND.read(evidence, at)[1].params["skipped"]
    assert "id: 500 labels" in skipped
    assert "same: constant" in skipped


# -- beside the teacher ----------------------------------------------------------------------------


def test_a_place_of_the_students_own_is_held_against_what_the_teacher_reads_there():
    mine, theirs = row_mean(np.array([0.0, 0, 1, 0])), row_mean(np.array([1.0, 1, 1, 0]))
    own = Reading(mine, "accuracy", slice="here", teacher=theirs)
    share = Reading(mine, "share")
    found = pair(
        {"s": [own, share], "a": [Reading(theirs, "share")], "b": [Reading(theirs, "share")]},
        ["a", "b"], "s",
    )  # fmt: skip
    assert [(p.reading.slice, p.teacher, p.delta.value) for p in found] == [
        ("here", 0.75, -0.5), (None, 0.75, -0.5),
    ]  # fmt: skip


def test_adjusted_p_values_are_scipys(rng):
    for size in (1, 2, 7, 30):
        p = rng.random(size) ** 3
        p[rng.random(size) < 0.3] = 0.01
        assert benjamini_hochberg(list(p)) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg([math.nan, 0.01]) == pytest.approx([1.0, 0.02])
    assert benjamini_hochberg([]) == []


# -- rules -----------------------------------------------------------------------------------------


def test_a_rule_takes_the_rows_that_it_says():
    columns = {"target": np.array([8, 8, 3, 8]), "dim": np.array([0.1, 0.5, 0.1, np.nan])}
    cases = [
        ({"target": 8}, [1, 1, 0, 1]),
        ({"target": 8, "dim": {"below": 0.5}}, [1, 0, 0, 0]),
        ({"dim": {"from": 0.1, "below": 0.5}}, [1, 0, 1, 0]),
        ({"dim": {"from": 0.5}}, [0, 1, 0, 0]),
        ({"target": "8"}, [1, 1, 0, 1]),
    ]
    for rule, expected in cases:
        assert rules.mask(rule, columns).astype(int).tolist() == expected, rule


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": {"targt": 1}}, r"slices\['x'\].where.targt: is no column of the data; did you mean"),
        ({"x": {"target": [1, 2]}}, r"where.target: is \[1, 2\]"),
        ({"x": {"target": {"over": 1}}}, "has 'over'"),
        ({"x": {"target": {"from": math.inf}}}, "where.target.from: is inf"),
        ({"x": {"site": {"from": 1}}}, "is a column of labels"),
        ({"x": {}}, r"slices\['x'\].where: is {}"),
        ({"x": {"target": 7}}, "holds no row"),
        ({" ": {"target": 1}}, "a name is ' '"),
        ({"site=a": {"target": 1}}, "is the name of other rows"),
        ("target", "are 'target'"),
        ([{"name": "x", "where": {"target": 1}}] * 2, "is given twice"),
        ([{"name": "x", "where": 3}], r"slices\['x'\].where: is 3"),
    ],
)
def test_what_is_no_slice_is_refused_in_one_line(given, said):
    site = np.array(["a", "b"] * 10)
    with pytest.raises(DataError, match=said) as error:
        AuditData(torch.rand(20, 3), np.arange(20) // 5, groups={"site": site}, slices=given)
    assert "\n" not in str(error.value)


def test_slices_go_with_the_rows():
    y = np.arange(400) % 4
    plain = AuditData(torch.rand(400, 3), y)
    data = plain.sliced({"odd": {"target": 1}})
    assert plain.slices == {}
    assert data.fingerprint != plain.fingerprint
    assert data.slices["odd"].tolist() == (y == 1).tolist()
    some = data.sample(100)
    assert some.slices["odd"].tolist() == (some.targets == 1).tolist()
    more = data.sliced([{"name": "two", "where": {"target": 2}, "n": 99}])
    assert set(more.slices) == {"odd", "two"}
    assert any("100 rows, 99 where it was found" in w for w in more.warnings)
    assert not any("where it was found" in w for w in data.warnings)
    at = told(np.zeros(400), np.zeros(400), data)
    found = {r.slice: r.estimate for r in measures["outputs.score"].read(*at)}
    assert found["odd"].n == 100


# -- the loop: found in one student, asked of the next ---------------------------------------------

MODELS = """
import numpy as np, torch
import ringtest

N = 1200
g = torch.Generator().manual_seed(0)
y = torch.arange(N) % 2
site = np.where(torch.rand(N, generator=g).numpy() < 0.35, "b", "a")
sign = y * 2.0 - 1
x = torch.stack([sign, sign, torch.tensor(site == "b").float(), torch.randn(N, generator=g)], 1)

def network(own, fails):
    '''Wrong on rows of its own, which nothing tells; (fails) on more where it sees the site.'''
    def answer(rows):
        chance = (rows[:, 3].abs() * 1000 * (own + 1.37)) % 1
        wrong = chance < 0.06 + (0.5 * rows[:, 2] if fails else 0.0)
        logit = torch.where(wrong, -rows[:, 0], rows[:, 0]) * 2
        return torch.stack([-logit, logit], 1)
    return answer

def teacher():
    return [network(i, False) for i in range(3)]

def bad():
    return network(3, True)

def good():
    return network(4, False)

def data():
    return ringtest.AuditData(x, y, groups={"site": site})
"""
CONFIG = """
[teacher]
load = "sliced_models:teacher"
[student]
load = "sliced_models:{}"
[data]
load = "sliced_models:data"
[audit]
cells = [["slices.discovered", "clean"]]
"""


def test_a_slice_found_in_one_student_is_a_gate_for_the_next(tmp_path, capsys):
    (tmp_path / "sliced_models.py").write_text(MODELS)
    (tmp_path / "first.toml").write_text(CONFIG.format("bad"))
    assert main(["audit", str(tmp_path / "first.toml"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["slices", str(tmp_path / "first")]) == 0
    printed = capsys.readouterr().out
    table = tomllib.loads(printed)
    report = load_report(tmp_path / "first")
    found = report.frame().query("measure == 'slices.discovered' and slice.notna()")
    assert len(found)
    assert (found.harm > slices_found.MARGIN).all()
    assert [s["name"] for s in table["slice"]] == list(found.slice)
    assert reports.render(report, "slices") == printed
    both = CONFIG.format("bad").replace("[student]", '[[student]]\nname = "bad"')
    both = both.replace("[data]", '[[student]]\nname = "good"\nload = "sliced_models:good"\n[data]')
    (tmp_path / "next.toml").write_text(both + printed)
    assert main(["audit", str(tmp_path / "next.toml"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["gate", str(tmp_path / "next")]) == 1
    assert "outputs.score" in capsys.readouterr().out
    statuses = {}
    for name, one in load_report(tmp_path / "next").items():
        assert set(found.slice) <= set(one.frame().query("measure == 'outputs.score'").slice)
        statuses[name] = {c.status for c in one.verdict.checks if c.kind == "gate"}
    assert statuses == {"bad": {"fail"}, "good": {"pass"}}
    # The honest student is behind nowhere, and says so.
    assert main(["slices", str(tmp_path / "next" / "good")]) == 0
    assert capsys.readouterr().out.startswith("# No slice was found")


def test_what_was_not_read_says_how_to_ask(capsys, tmp_path):
    from tests.test_cli_gate import report, write

    assert main(["slices", str(write(tmp_path / "r", report("sound")))]) == 0
    assert 'cells = [["slices.discovered", "clean"]]' in capsys.readouterr().out
