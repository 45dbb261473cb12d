"""Conditions that the user brings, ``audit(..., conditions=[...])``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, road, tasks, trial
from ringtest.cells.keys import Keys
from ringtest.condition import Condition, conditions
from ringtest.errors import ConfigError, DataError
from ringtest.evidence import Wanted, gather
from ringtest.perturb.noise import InputNoise
from ringtest.perturb.pgd import PGD
from ringtest.shift.unlabelled import Unlabelled


class Times(Condition):
    """Inputs times a factor."""

    kind = "test.times"

    def __init__(self, factor: Any, name: str | None = None, severity: Any = None) -> None:
        super().__init__(name, severity)
        self.factor = factor

    def fit(self, subjects: Any, data: AuditData, rng: torch.Generator) -> None:
        self.fitted = data.inputs.mean(0)

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return x * self.factor


class Other(Times):
    pass


class Elsewhere(Times):
    role = "off_support"


class Certain(Times):
    role = "certified"


class Clean(Times):
    role = "clean"


class Away(Times):
    kind = "shift.unlabelled"
    role = "unlabelled"


class Promised(Times):
    role = "invariance"


class Passing(Times):
    kind = "attack.pgd"


class Words(Times):
    tasks = ("embedding",)


class Nameless(Condition):
    pass


def unlabelled_as_context() -> Condition:
    found = Unlabelled("away", severity=2.0)
    vars(found)["role"] = "context"
    return found


def net(seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def data() -> AuditData:
    x = torch.randn(110, 4, generator=torch.Generator().manual_seed(0))
    return AuditData(x, (x[:, 0] > 0).long(), unlabelled={"away": x + 1})


def audit(*conditions: Any, **more: Any) -> Any:
    given = {"progress": False, "conditions": list(conditions), **more}
    return ringtest.audit(net(0), net(1), data(), **given)


def case(*conditions: Any, **more: Any) -> Any:
    return road.prepare(net(0), net(1), data(), conditions=list(conditions), **more)


def test_it_is_looked_under_with_what_its_role_has() -> None:
    mine = Times(-1.0)
    before = dict(vars(mine))
    report = audit(mine)
    (row,) = [r for r in report.verdict.rows if r.condition == "test.times"]
    assert (row.measure, row.status) == ("outputs.score", "context")
    with torch.no_grad():
        right = net(1)(-data().inputs).argmax(1) == torch.as_tensor(data().targets)
    assert row.student == pytest.approx(float(right.double().mean()))
    assert report.data["config"]["conditions"] == ["test.times"]
    assert vars(mine) == before, "the user's own instance is fitted by nobody"
    plain = audit()
    assert "conditions" not in plain.data["config"]
    rest = [r.as_dict() for r in report.rows if r.condition != "test.times"]
    assert [r.as_dict() for r in plain.rows] == rest, "nothing else changes"


def test_a_cell_can_name_it_and_a_known_kind_can_have_another_severity() -> None:
    found = case(
        Times(2.0, "twice"),
        PGD(severity=0.2),
        cells=[("probe.decodability", "test.times.twice"), ("outputs.score", "attack.pgd@0.2")],
    )
    stages = {s.condition.key: {m.id for m in s.measures} for s in found.plan.stages}
    assert stages["test.times.twice"] >= {"probe.decodability", "outputs.score"}
    assert {"attack.pgd@0.03", "attack.pgd@0.1", "attack.pgd@0.2"} <= stages.keys()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["noise.input"], r"conditions\[0\]: is str; give an instance"),
        ([InputNoise], r"conditions\[0\]: is the class InputNoise; give an instance"),
        ([Times(1.0), InputNoise(severity=0.1)], r"conditions\[1\]: noise.input@0.1 is looked at"),
        (
            [Times(1.0, severity=0.1), Other(1.0, severity=0.2)],
            r"conditions\[1\]: test.times is a c",
        ),
        ([Times(1.0), Times(2.0)], r"conditions\[1\]: test.times is looked at already"),
        ([Words(1.0)], r"conditions\[0\]: test.times means nothing for classification"),
        ([Elsewhere(1.0)], r"role: 'off_support' cannot be brought"),
        ([Certain(1.0)], r"role: 'certified' cannot be brought"),
        ([Clean(1.0)], r"role: 'clean' cannot be brought"),
        ([Away(1.0, "away", severity=2.0)], r"'unlabelled' cannot .* as AuditData\(unlabelled="),
        ([Promised(1.0)], r"role: 'invariance' cannot .* as AuditData\(invariances="),
        ([Passing(1.0, severity=0.2)], r"attack.pgd is a condition of the audit's own; give ano"),
        ([unlabelled_as_context()], r"shift.unlabelled.away is a condition of the audit's own"),
        ([Nameless()], r"kind of Nameless is None"),
        ([Times(1.0, severity="strong")], r"severity: is 'strong'"),
        ([Times(1.0, severity=float("nan"))], r"severity: is nan"),
        ([Times(1.0, name=3)], r"name: is 3"),  # type: ignore[arg-type]
        (Times(1.0), r"conditions: are Times; give a list"),
    ],
)
def test_what_cannot_be_looked_under_is_told_in_one_line(given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        ringtest.audit(net(0), net(1), data(), conditions=given, progress=False)
    assert "\n" not in str(caught.value)


def keys(*conditions: Any) -> dict[str, str | None]:
    return dict(Keys(case(*conditions))._keys)


def test_cells_are_known_by_all_that_could_change_them() -> None:
    name = "outputs.score@test.times"
    keys(Times(1.0))  # looking at a source loads the packages above it, which then can be told
    plain = keys()
    once, twice = keys(Times(2.0)), keys(Times(3.0))
    assert None not in once.values()
    assert once[name] == keys(Times(2.0))[name] != twice[name]
    assert {k: v for k, v in once.items() if k != name} == plain
    tensor = keys(Times(torch.tensor(2.0)))[name]
    assert None not in (tensor, keys(Times({"by": (np.ones(2), nn.Linear)}))[name])
    assert tensor == keys(Times(torch.tensor(2.0)))[name] != keys(Times(torch.tensor(3.0)))[name]
    # A callable, an object: what it does cannot be told.
    assert keys(Times(lambda: 2.0))[name] is None
    assert keys(Times([object()]))[name] is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (torch.zeros(4), torch.ones(4)),
        (np.zeros(4), np.ones(4)),
        ({"a": (1, torch.zeros(2))}, {"a": (1, torch.ones(2))}),
        (nn.ReLU, nn.Tanh),
        (frozenset({1}), frozenset({2})),
    ],
)
def test_what_a_class_holds_is_told(before: Any, after: Any, monkeypatch: Any) -> None:
    name = "outputs.score@test.times"
    found = []
    for value in (before, before, after):
        monkeypatch.setattr(Times, "held", value, raising=False)
        found.append(keys(Times(1.0))[name])
    assert None not in found
    assert found[0] == found[1] != found[2]
    monkeypatch.setattr(Times, "held", object())
    assert keys(Times(1.0))[name] is None


def test_what_is_ours_can_always_be_told() -> None:
    names = ("attack.apgd", "attack.square", "attack.minimal_l2", "attack.discrepancy")
    names = tuple(n for n in names if n in {kind.id for kind in conditions})
    told = Keys(case(cells=[("outputs.score", n) for n in names]))._keys
    assert len(names) > 2
    assert None not in told.values()


def made(factor: float) -> Condition:
    class Local(Times):
        def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
            return x * factor

    return Local(1.0)


@pytest.mark.usefixtures("asked_alone", "undrawn")
def test_a_class_that_holds_variables_of_a_function_is_computed_anew(tmp_path: Path) -> None:
    assert keys(made(2.0))["outputs.score@test.times"] is None
    scores = {}
    for factor in (1.0, -1.0):
        report = audit(made(factor), out=tmp_path)
        (row,) = [r for r in report.verdict.rows if r.condition == "test.times"]
        scores[factor] = row.student
    assert scores[1.0] == pytest.approx(1 - scores[-1.0], abs=0.3)
    assert scores[1.0] != scores[-1.0]


@pytest.mark.usefixtures("asked_alone", "undrawn")
def test_an_audit_goes_on_with_the_users_conditions(tmp_path: Path) -> None:
    first, again = (audit(Times(2.0), out=tmp_path) for _ in range(2))
    assert sum(again.data["timing"]["cached"].values()) == case(Times(2.0)).plan.cells
    assert [r.as_dict() for r in first.rows] == [r.as_dict() for r in again.rows]


class Careless(Times):
    """Works in place, and draws from the global state."""

    scope = "own"

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        assert y is not None
        y.zero_()
        return x.mul_(self.factor).add_(torch.rand(()))


def looked_under(condition: Condition, given: AuditData) -> list[Any]:
    task = tasks.make("classification", given)
    models = [trial.prepare(n, "member", net(0), task, given) for n in "ab"]
    found = gather(condition, models, [], given, task, Wanted(outcomes=True, sample=True), 0)
    return [e.outputs for e in found.evidence.values()]


def test_a_careless_condition_spoils_neither_data_nor_other_models() -> None:
    given = data()
    rows, targets = given.inputs.clone(), np.array(given.targets)
    one, other = looked_under(Careless(2.0), given)
    assert torch.equal(given.inputs, rows)
    assert np.array_equal(given.targets, targets)
    assert torch.equal(one, other), "the same model, shown the same"
    torch.rand(3)
    assert torch.equal(one, looked_under(Careless(2.0), data())[0])


class Wrong(Times):
    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return self.factor(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [lambda x: x[:5], lambda x: x / 0, lambda x: x.long()])
def test_a_condition_that_gives_something_else_is_told(make: Any) -> None:
    with pytest.raises(DataError, match=r"condition test\.times: (gave|turned)"):
        looked_under(Wrong(make), data())
