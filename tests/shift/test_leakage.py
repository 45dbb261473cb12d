"""Leakage: equal rows, groups on both sides, times out of order; what an audit says of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, findings, reports, road
from ringtest.errors import ConfigError, DataError
from ringtest.progress import silent

N = 200


def table(n: int = N, seed: int = 0) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def classes(n: int = N) -> np.ndarray:
    return np.arange(n) % 4


def look(data: AuditData, **more: Any) -> findings.Leakage:
    return ringtest.leakage(data, progress=False, **more)


def kinds(found: findings.Leakage) -> list[tuple[str, str, int]]:
    return [(f.kind, f.between, f.count) for f in found]


# -- equal rows -----------------------------------------------------------------------------------


def test_nothing_is_found_in_data_that_have_nothing_in_common() -> None:
    data = AuditData(table(), classes(), train=AuditData(table(seed=1), classes()))
    assert kinds(look(data)) == []


def test_equal_rows_are_counted_and_named_with_what_they_repeat() -> None:
    x = torch.cat([table(), table()[:30], table()[:10]])
    y = np.concatenate([classes(), classes()[:30], (classes() + 1)[:10] % 4])
    found = {f.kind: f for f in look(AuditData(x, y))}
    assert set(found) == {"exact", "labels"}
    assert found["exact"].count == 40
    assert found["exact"].share == pytest.approx(40 / 240)
    assert found["exact"].examples[:2] == ((200, 0), (201, 1))
    assert sum(found["exact"].classes.values()) == 40
    # Only the last ten have another class than the row that they repeat.
    assert found["labels"].count == 10
    assert found["labels"].examples[0] == (230, 0)


def test_rows_that_were_trained_on_are_found_in_inputs_and_in_unlabelled_sets() -> None:
    train = AuditData(torch.cat([table(seed=1), table()[50:60]]), (classes(210) + 1) % 4)
    data = AuditData(table(), classes(), unlabelled={"web": train.inputs[:120]}, train=train)
    found = look(data)
    assert kinds(found) == [
        ("exact", "inputs and train", 10),
        ("labels", "inputs and train", int((classes()[50:60] != train.targets[200:]).sum())),
        ("exact", "unlabelled['web'] and train", 120),
    ]
    first = next(iter(found))
    assert first.examples[0] == (50, 200)
    assert first.words in data.warnings


def test_rows_of_a_sample_are_named_as_in_the_data() -> None:
    x = torch.cat([table(), table()])
    small = AuditData(x).sample(300, seed=3)
    (found,) = look(small)
    assert found.count == small.duplicates > 0
    for again, first in found.examples:
        assert again > first
        assert torch.equal(x[again], x[first])


def test_train_of_another_shape_is_said_not_to_be_compared() -> None:
    found = look(AuditData(table(), train=torch.randn(90, 5)))
    assert kinds(found) == []
    (line,) = found.warnings
    assert "shape (5,)" in line
    assert "(6,)" in line
    assert {u.check for u in found.unchecked} == {"leakage.exact", "leakage.near"}


def test_train_of_integers_is_not_compared_with_real_inputs() -> None:
    found = look(AuditData(table(), train=table().round().long()))
    assert kinds(found) == []
    assert "torch.int64" in found.warnings[0]


def test_another_train_may_be_given() -> None:
    data = AuditData(table(), train=table(seed=1))
    assert kinds(look(data, train=table()[:20])) == [("exact", "inputs and train", 20)]
    assert kinds(look(data)) == []
    assert data.against(table()[:20]).fingerprint != data.fingerprint


# -- groups ---------------------------------------------------------------------------------------


def two(own: dict[str, Any], theirs: dict[str, Any] | None, **more: Any) -> findings.Leakage:
    train = table(seed=1) if theirs is None else AuditData(table(seed=1), groups=theirs)
    return look(AuditData(table(), groups=own, train=train, **more), how="exact")


def patients(first: int, rows_each: int = 4) -> list[str]:
    return [f"p{first + i // rows_each}" for i in range(N)]


@pytest.mark.parametrize("name", ["patient", "patientId", "Subject ID", "origin"])
def test_a_patient_on_both_sides_is_found(name: str) -> None:
    # Patients 45 to 49 stand in both: 5 of 50 values, 20 rows.
    (found,) = two({name: patients(0)}, {name: patients(45)})
    assert (found.kind, found.count, found.column) == ("group", 20, name)
    assert found.values == ("p45", "p46", "p47", "p48", "p49")
    assert "5 of 50 values" in found.words


def test_disjoint_patients_are_nothing() -> None:
    assert kinds(two({"patient": patients(0)}, {"patient": patients(50)})) == []


@pytest.mark.parametrize(
    "values",
    [
        ["north", "south"] * (N // 2),  # a domain
        np.arange(N) % 60,  # an age
        np.linspace(0, 1, N),  # a measurement
    ],
)
def test_columns_that_do_not_tell_single_things_apart_are_no_leak(values: Any) -> None:
    assert kinds(two({"site": values}, {"site": values})) == []


def test_the_cluster_column_counts_whatever_it_is_called() -> None:
    site = np.arange(N) % 12
    (found,) = two({"site": site}, {"site": site}, cluster="site")
    assert found.count == N


def test_numbers_and_texts_of_one_value_are_the_same_patient() -> None:
    (found,) = two({"patient": np.arange(N)}, {"patient": [str(i + 150) for i in range(N)]})
    assert found.count == 50


@pytest.mark.parametrize(
    ("theirs", "says"), [(None, "without groups"), ({"site": ["a"] * N}, "no groups['patient']")]
)
def test_what_train_does_not_say_is_not_checked(theirs: Any, says: str) -> None:
    found = two({"patient": patients(0)}, theirs)
    assert kinds(found) == []
    assert [says in u.reason for u in found.unchecked if u.check == "leakage.groups"] == [True]


# -- time -----------------------------------------------------------------------------------------

DAY = np.datetime64("2024-03-01")


def days(first: int) -> np.ndarray:
    return DAY + np.arange(first, first + N)


TIMES = {
    "datetime64": lambda first: days(first),
    "ISO text": lambda first: days(first).astype(str),
    "number": lambda first: np.arange(first, first + N),
}


@pytest.mark.parametrize("form", TIMES)
def test_rows_of_train_after_the_first_of_the_data_are_counted(form: str) -> None:
    # The data begin on day 190; train ends on day 199: 191 to 199 are later, 190 is not.
    (found,) = two({"date": TIMES[form](190)}, {"date": TIMES[form](0)})
    assert (found.kind, found.between, found.count) == ("time", "train and inputs", 9)
    assert found.share == pytest.approx(9 / N)


@pytest.mark.parametrize("form", TIMES)
@pytest.mark.parametrize("gap", [N, N - 1])
def test_train_that_ends_before_or_with_the_first_of_the_data_is_in_order(
    form: str, gap: int
) -> None:
    assert kinds(two({"date": TIMES[form](gap)}, {"date": TIMES[form](0)})) == []


def test_times_that_cannot_be_read_are_left_out_and_counted() -> None:
    own, theirs = days(190).astype(str), days(0).astype(str)
    own[:3] = "unknown"
    theirs[-4:] = "unknown"
    # The data begin on day 193 now, train ends on day 195.
    (found,) = two({"date": own}, {"date": theirs})
    assert found.count == 2
    assert "3 rows of the data and 4 of train hold no time" in found.words


def test_a_column_of_time_that_holds_words_is_none() -> None:
    words = ["morning", "evening"] * (N // 2)
    assert kinds(two({"time of day": words}, {"time of day": words})) == []


def test_times_and_numbers_are_not_compared() -> None:
    found = two({"date": days(0)}, {"date": np.arange(N)})
    assert kinds(found) == []
    assert "not compared" in found.warnings[0]


# -- the audit ------------------------------------------------------------------------------------


def nets() -> list[nn.Module]:
    made = []
    for seed in range(2):
        torch.manual_seed(seed)
        made.append(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)))
    return made


@pytest.fixture(scope="module")
def ran() -> Any:
    """The data and the report of an audit without a leak, and what its models gave."""
    given: list[Any] = []
    real = road.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(road, "run", lambda *args: given.append(real(*args)) or given[-1])
        a, c = nets()
        report = ringtest.audit(a, c, AuditData(table(), classes()), progress=False)
    return report, given[0]


@pytest.fixture
def audit(ran: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An audit whose models are not run again: what they say does not hang on train."""

    def again(_case: Any, say: Any, _store: Any) -> Any:
        say("clean", 0.5)
        say("verdict", 1.0)
        return copy.deepcopy(ran[1])

    def run(data: AuditData, progress: Any = False, **more: Any) -> Any:
        a, c = nets()
        return ringtest.audit(a, c, data, progress=progress, **more)

    monkeypatch.setattr(road, "run", again)
    return run


def test_an_audit_tells_and_decides_as_before(ran: Any, audit: Any) -> None:
    x, quiet = table(), ran[0]
    train = AuditData(torch.cat([table(seed=1), x[:20] + 1e-5, x[20:30]]))
    told = audit(AuditData(x, classes(), train=train))
    assert quiet.data["measurements"] == told.data["measurements"]
    assert quiet.data["verdict"] == told.data["verdict"]
    assert quiet.data["data"]["leakage"]["findings"] == []
    found = told.data["data"]["leakage"]["findings"]
    assert [(f["kind"], f["count"]) for f in found] == [("exact", 10), ("near", 20)]
    assert found[1]["examples"][0] == [0, N]
    # Each line once, and on the page.
    for f in found:
        assert told.data["data"]["warnings"].count(f["words"]) == 1
    assert "20 of 200 rows have a near copy in train" in reports.html(told)
    jsonschema.Draft202012Validator(reports.schema()).validate(told.data)
    ringtest.Report(json.loads(json.dumps(told.data)))


def test_how_far_to_look_is_an_option(audit: Any) -> None:
    x = table()
    x[180:] = x[:20] + 1e-5
    data = AuditData(x, classes())
    auto, exact = audit(data), audit(data, leakage="exact")
    assert [f["kind"] for f in auto.data["data"]["leakage"]["findings"]] == ["near"]
    assert exact.data["data"]["leakage"]["findings"] == []
    reasons = [u["reason"] for u in exact.data["data"]["leakage"]["not_checked"]]
    assert "not asked for" in reasons
    assert exact.data["config"]["leakage"] == "exact"
    assert "leakage" not in auto.data["config"]
    with pytest.raises(ConfigError, match="leakage: is 'all'"):
        audit(data, leakage="all")


def test_data_and_how_are_checked() -> None:
    with pytest.raises(DataError, match=r"give ringtest\.AuditData"):
        ringtest.leakage(table())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leakage: is 'all'"):
        look(AuditData(table()), how="all")


def test_shares_of_a_full_search_increase(audit: Any) -> None:
    told: list[float] = []
    data = AuditData(torch.randn(N, 20), classes(), train=torch.randn(N, 20))
    findings.find(data, "full", lambda _, share: told.append(share))
    assert len(told) == 2
    data = AuditData(table(), classes(), train=table(seed=1))
    audit(data, lambda _, share: told.append(share / 10 + 1), leakage="full")
    assert told == sorted(told)
    assert told[-1] == 1.1


def test_large_data_are_not_searched_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from ringtest.shift import leakage_near

    data = AuditData(torch.randn(N, 20))
    assert not [u for u in findings.find(data, "auto", silent).unchecked if "near" in u.check]
    monkeypatch.setattr(leakage_near, "FREE", 1e3)
    (left,) = [u for u in findings.find(data, "auto", silent).unchecked if "near" in u.check]
    assert 'leakage = "full"' in left.reason
    assert not [u for u in findings.find(data, "full", silent).unchecked if "near" in u.check]


@pytest.mark.parametrize(("own", "theirs"), [(int, float), (float, int), (float, float)])
def test_whole_numbers_are_the_same_patient_as_floats(own: type, theirs: type) -> None:
    # A data frame turns a column of integers with a missing one into floats.
    patient = np.arange(N) // 4
    (found,) = two({"patient": patient.astype(own)}, {"patient": (patient + 45).astype(theirs)})
    assert (found.kind, found.count) == ("group", 20)
    assert found.values == ("45", "46", "47", "48", "49")


def test_a_zero_is_a_zero_whatever_its_sign() -> None:
    x = table().relu()
    data = AuditData(x, train=torch.where(x > 0, x, -0.0))
    assert kinds(look(data, how="exact"))[-1] == ("exact", "inputs and train", N)


def test_unlabelled_rows_of_another_length_are_said_not_to_be_compared() -> None:
    tokens = torch.randint(0, 50, (N, 12), generator=torch.Generator().manual_seed(0))
    longer = torch.nn.functional.pad(tokens, (0, 4))
    found = look(AuditData(tokens, unlabelled={"web": longer}, train=tokens), how="exact")
    assert ("leakage.exact", "unlabelled['web']: its rows are of another length than train's") in [
        (u.check, u.reason) for u in found.unchecked
    ]


def test_targets_of_train_are_part_of_the_fingerprint() -> None:
    """Findings of kind ``labels`` are made of them."""
    data = AuditData(table(), classes())
    prints = {
        data.against(AuditData(table(), y)).fingerprint for y in (classes(), (classes() + 1) % 4)
    }
    assert len(prints) == 2
