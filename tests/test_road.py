"""The road end to end, on tables and networks small enough to train here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from quick import only_under
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, Report, ReportSet, blocks, margins
from ringtest.condition import Condition, condition, conditions
from ringtest.errors import ConfigError, DataError, RingtestError
from ringtest.estimate import row_mean
from ringtest.measure import ModelMeasure, Reading, measure, measures
from ringtest.policy import Policy
from ringtest.verdict import decide

N = 200


def table(n: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] + x[:, 3].abs() > 1).long()


def fit(
    seed: int,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    width: int = 16,
    out: int = 3,
) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(6, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, out),
        )
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(150):
            optimiser.zero_grad()
            loss(net(x), y).backward()
            optimiser.step()
        optimiser.zero_grad()
    return net.eval()


def clone(net: nn.Module) -> nn.Module:
    twin = fit(0, torch.randn(2, 6), torch.zeros(2).long(), width=net[0].out_features)
    twin.load_state_dict(net.state_dict())
    return twin


def permuted(net: nn.Module) -> nn.Module:
    """The same function with its hidden units in another order."""
    twin = clone(net)
    with torch.no_grad():
        for here, after in ((0, 2), (2, 4)):
            order = torch.arange(net[here].out_features).flip(0)
            twin[here].weight.copy_(twin[here].weight[order])
            twin[here].bias.copy_(twin[here].bias[order])
            twin[after].weight.copy_(twin[after].weight[:, order])
    return twin


class Mixed(nn.Module):
    """The same function with its last hidden layer turned by an orthogonal matrix."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        width = net[4].in_features
        q = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(9)))[
            0
        ]
        self.body, self.turn = clone(net)[:4], nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, net[4].out_features)
        with torch.no_grad():
            self.turn.weight.copy_(q)
            self.head.weight.copy_(net[4].weight @ q.T)
            self.head.bias.copy_(net[4].bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.turn(self.body(x)))


@pytest.fixture(scope="module")
def nets() -> list[nn.Module]:
    return [fit(seed, *table(800, 1)) for seed in range(4)]


@pytest.fixture(scope="module")
def data() -> AuditData:
    return AuditData(*table(N, 2))


def audit(*args: Any, **more: Any) -> Any:
    return ringtest.audit(*args, **{"progress": False, **more})


def rows(report: Report, **wanted: Any) -> list[Any]:
    """Decided rows whose fields are as wanted."""
    return [r for r in report.verdict.rows if all(getattr(r, k) == v for k, v in wanted.items())]


def keeps(report: Report, group: str) -> bool:
    """Whether a group is judged and passes, by margins that 200 rows suffice for."""
    policy = Policy(overrides={"similarity.cka": 0.15, "outputs.*": 0.1})
    found = decide(report.rows, policy, report.verdict.scope)
    return found.groups[group].status == "pass"


class Counted(nn.Module):
    """Counts the batches of a block's size that it sees."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.net(x)


# -- an ensemble --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble(nets: list[nn.Module], data: AuditData) -> ReportSet:
    students = {
        "clone": clone(nets[0]),
        "permuted": permuted(nets[0]),
        "mixed": Mixed(nets[0]),
        "sibling": nets[3],
        "untrained": clone(nets[0]).apply(_reset),
    }
    found = audit(nets[:3], students, data)
    assert isinstance(found, ReportSet)
    return found


def _reset(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        with torch.no_grad():
            module.weight.copy_(
                torch.randn(module.weight.shape, generator=torch.Generator().manual_seed(3))
            )


def test_every_student_has_a_report(ensemble: ReportSet) -> None:
    assert list(ensemble) == ["clone", "permuted", "mixed", "sibling", "untrained"]
    assert all(report.student == name for name, report in ensemble.items())
    assert set(ensemble.frame()["name"]) == set(ensemble)


@pytest.mark.parametrize("name", ["clone", "permuted", "mixed", "sibling"])
def test_an_honest_student_is_not_accused(ensemble: ReportSet, name: str) -> None:
    verdict = ensemble[name].verdict
    assert verdict.label in ("sound", "inconclusive")
    assert verdict.scope == "full"
    assert not [r for r in verdict.rows if r.status in ("fail", "error")]


def test_an_untrained_student_is_below_the_benchmark(ensemble: ReportSet) -> None:
    assert ensemble["untrained"].verdict.label == "below-benchmark"
    assert not ensemble["untrained"].verdict.matched


@pytest.mark.parametrize("name", ["permuted", "mixed"])
def test_what_keeps_the_function_and_the_geometry_moves_no_headline(
    ensemble: ReportSet, name: str
) -> None:
    """None of the judged measures may see the order of units or a turn of the axes."""
    # Off support a student of another architecture (mixed) is context beside the differences.
    theirs, mine = (
        {(r.measure, r.condition): r for r in ensemble[n].verdict.rows if r.group}
        for n in ("clone", name)
    )
    assert mine.keys() == theirs.keys()
    assert len(mine) >= 8
    compared = 0
    for key, row in mine.items():
        # Floors for another architecture are wider, so another transformation may come nearest;
        # and units at one scale are no rotation of each other, so another form may be kinder.
        if all(row.params.get(k) == theirs[key].params.get(k) for k in ("largest", "form")):
            compared += 1
            assert row.student == pytest.approx(theirs[key].student, abs=2e-3), key
    assert compared >= len(mine) - 4


def test_a_report_is_plain_json_and_comes_back(ensemble: ReportSet, tmp_path: Any) -> None:
    ensemble["clone"].save(tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert "NaN" not in text
    again = ringtest.load_report(tmp_path)
    assert isinstance(again, Report)
    assert again.data == ensemble["clone"].data


def test_every_measured_context_has_a_finite_interval(ensemble: ReportSet) -> None:
    for row in ensemble["sibling"].verdict.rows:
        assert row.n > 0 or row.reason or row.status != "context"
        if row.headline and row.status in ("pass", "fail", "inconclusive"):
            assert math.isfinite(row.ci_low)
            assert math.isfinite(row.ci_high)


def test_two_runs_differ_in_their_timing_only(nets: list[nn.Module]) -> None:
    """Also with the same data object, whose notices must not pile up, and other global seeds."""
    data = AuditData(table(N, 2)[0], 2 * table(N, 2)[1], groups={"g": np.arange(N) % 3})
    wide = [fit(s, *table(300, 1), out=5) for s in range(2)]
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        report = audit(wide, wide[0], data).data
        assert report.pop("timing")["total"] > 0
        found.append(json.dumps(report, sort_keys=True))
    assert found[0] == found[1]


def test_the_seed_changes_the_draws(nets: list[nn.Module], data: AuditData) -> None:
    a, b = (audit(nets[0], nets[1], data, seed=s) for s in (0, 1))
    assert a.data["measurements"] != b.data["measurements"]
    assert a.data["environment"]["seed"] == 0


def test_the_teacher_is_looked_at_once_for_all_students(
    nets: list[nn.Module], data: AuditData
) -> None:
    """As many passes of the teacher for three students as for one, and one pass a condition."""
    teacher, alone, counts = Counted(nets[0]), Counted(nets[0]), []
    case = ringtest.road.prepare(teacher, nets[1], data)
    shared = [s for s in case.plan.stages if s.condition.scope == "shared"]
    for net, students in ((alone, nets[1]), (teacher, dict(zip("abc", nets[1:], strict=True)))):
        net.seen.clear()
        audit(net, students, data)
        counts.append(sum(n == N for n in net.seen))
    assert counts[0] == counts[1]
    attacks = [s for s in case.plan.stages if s.condition.scope == "own"]
    assert len(shared) <= counts[0] <= len(shared) + len(attacks) * (2 + 2 * 21)


def test_models_are_left_as_they_were(nets: list[nn.Module], data: AuditData) -> None:
    student = clone(nets[0]).train()
    student[2].weight.requires_grad_(False)
    student[0].weight.grad = torch.ones_like(student[0].weight)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    rng, inputs = torch.get_rng_state(), data.inputs.clone()
    audit(nets[0], student, data)
    assert all(m.training for m in student.modules())
    assert [p.requires_grad for p in student.parameters()].count(False) == 1
    assert bool((student[0].weight.grad == 1).all())
    assert student[4].weight.grad is None
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(data.inputs, inputs)


# -- a single teacher, and less than a whole model ----------------------------------------------


def test_a_clone_of_a_single_teacher_is_sound(nets: list[nn.Module]) -> None:
    report = audit(nets[0], clone(nets[0]), AuditData(*table(700, 2)))
    assert report.verdict.label == "sound"
    assert any("own drift is unknown" in r for r in report.verdict.reasons)


def test_a_single_teacher_accuses_nobody_by_geometry(
    nets: list[nn.Module], data: AuditData
) -> None:
    other = fit(11, *table(800, 1), width=9)
    report = audit(nets[0], other, data)
    assert report.verdict.label != "fractured"
    for name in ("global geometry", "local geometry", "function"):
        assert report.verdict.groups[name].status != "fail"


def test_outputs_alone_are_never_sound(nets: list[nn.Module], data: AuditData) -> None:
    twin = clone(nets[0])
    report = audit(nets[:2], lambda x: twin(x), data)
    assert report.verdict.scope == "outputs-only"
    assert report.verdict.label == "inconclusive"
    assert any("outputs alone" in r.lower() for r in report.verdict.reasons)
    assert keeps(report, "function")
    assert not rows(report, measure="similarity.cka")
    # A function of arrays, on both sides.
    both = audit(lambda x: nets[0](x).detach().numpy(), lambda x: twin(x).detach().numpy(), data)
    assert both.verdict.scope == "outputs-only"
    assert both.verdict.label == "inconclusive"


class Stepped(nn.Module):
    """A fake-quantised model: no gradient comes through."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x.detach() * 64).round() / 64)


def test_without_gradients_no_attack_is_required(nets: list[nn.Module], data: AuditData) -> None:
    report = audit(nets[:2], Stepped(clone(nets[0])), data)
    assert report.verdict.scope == "no-gradient"
    assert report.verdict.label in ("sound", "inconclusive")
    told = [r for r in report.verdict.rows if r.condition == "attack.pgd"]
    assert [(r.measure, r.severity) for r in told] == [
        ("outputs.score", 0.03),
        ("outputs.score", 0.1),
    ]
    for row in told:
        assert row.status == "not_measurable"
        assert row.reason == "student gives no gradients"
        assert not any((row.headline, row.required, row.measured))
    missing = [n for n in report.data["not_measured"] if "gradient" in n["reason"]]
    assert [n["condition"] for n in missing] == ["attack.pgd"] * 2
    assert not any(n["required"] for n in missing)
    assert keeps(report, "global geometry")
    # Of what is made from the members alone it is asked.
    shared = rows(report, condition="attack.disagreement", measure="outputs.kl")
    assert [r.status for r in shared] == ["context"] * 2


def test_what_a_member_cannot_be_asked_is_told_of_every_student(
    nets: list[nn.Module], data: AuditData
) -> None:
    found = audit(
        [nets[0], Stepped(clone(nets[1]))],
        {"a": nets[2], "b": nets[3]},
        data,
        cells=[("usage.attribution", "clean")],
    )
    for report in found.values():
        told = [r for r in report.rows if r.reason.startswith("teacher[1] gives no gradients")]
        between = ("outputs.calibration", "outputs.fidelity", "outputs.kl", "outputs.score")
        assert {(r.measure, r.condition, r.severity) for r in told} == {
            *((m, "attack.disagreement", 0.1) for m in between),
            ("usage.attribution", "clean", None),
            ("outputs.score", "attack.pgd", 0.03),
            ("outputs.score", "attack.pgd", 0.1),
        }
        assert {r.status for r in told} == {"not_measurable"}
        assert not any(r.headline or r.required for r in told)
        missing = [n for n in report.data["not_measured"] if "gradients" in n["reason"]]
        assert len(missing) == len(told), "each is told once"


def test_what_only_a_cell_asks_is_told_of_a_student_that_cannot(
    nets: list[nn.Module], data: AuditData
) -> None:
    """Of what is read by default the scope speaks; it would be a hundred rows."""
    twin = clone(nets[3])
    report = audit(
        nets[:2], lambda x: twin(x), data, cells=[("probe.decodability", "noise.input@0.1")]
    )
    told = [r for r in report.verdict.rows if "shows only its outputs" in r.reason]
    assert [(r.measure, r.condition, r.severity) for r in told] == [
        ("probe.decodability", "noise.input", 0.1)
    ]
    assert report.verdict.scope == "outputs-only"


def test_a_student_that_fails_away_from_the_benchmark_never_passes_there(
    nets: list[nn.Module], data: AuditData
) -> None:
    class Brittle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = clone(nets[0])

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) + torch.where(x.abs().amax(1, keepdim=True) > 4.2, torch.nan, 0.0)

    kept = data.inputs.abs().amax(1) < 4.2
    inside = AuditData(data.inputs[kept], data.targets[kept.numpy()])
    found = audit(nets[:2], {"brittle": Brittle(), "clone": clone(nets[0])}, inside)
    assert found["brittle"].verdict.label != "sound"
    broken = [r for r in found["brittle"].verdict.rows if r.status == "error"]
    assert {r.condition for r in broken} >= {"shift.off_support"}
    assert all("NaN" in r.reason for r in broken)
    assert not rows(found["clone"], status="error")


def test_a_condition_that_crashes_on_a_model_costs_its_rows_only(
    nets: list[nn.Module], data: AuditData
) -> None:
    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            if len(grad) > 2:
                raise NotImplementedError("only two rows")
            return grad

    class Fussy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = clone(nets[0])

        def forward(self, x: Tensor) -> Tensor:
            return self.net(NoBackward.apply(x))

    report = audit(nets[:2], Fussy(), data)
    failed = rows(report, condition="attack.pgd", status="error")
    assert failed
    assert "only two rows" in failed[0].reason
    assert keeps(report, "global geometry")


# -- other tasks --------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["two columns", "whole numbers"])
def test_regression(whole: bool) -> None:
    def values(x: Tensor) -> Tensor:
        y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].abs()], 1)
        return (3 * y[:, 1]).round() if whole else y

    x, xt = table(N, 2)[0], table(800, 1)[0]
    y = values(xt).reshape(800, -1)
    columns = y.shape[1]
    nets = [fit(s, xt, y, nn.functional.mse_loss, out=columns) for s in range(2)]
    targets = values(x)
    data = AuditData(x, targets.long() if whole else targets)
    found = audit(nets, {"member": nets[0], "constant": _Constant(columns)}, data, "regression")
    assert found["member"].verdict.label in ("sound", "inconclusive")
    assert not rows(found["member"], status="fail")
    assert not rows(found["member"], status="error")
    assert found["constant"].verdict.label == "below-benchmark"
    (benchmark,) = rows(found["member"], group="benchmark", headline=True)
    with torch.no_grad():
        error = (nets[0](x) - targets.reshape(N, -1)).square().mean(0)
    variance = targets.reshape(N, -1).var(dim=0, unbiased=False)
    assert benchmark.student == pytest.approx(float(1 - (error / variance).mean()), rel=1e-4)


class _Constant(nn.Module):
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.head = nn.Linear(6, columns)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def test_embeddings_of_other_widths_without_targets(nets: list[nn.Module]) -> None:
    teacher = [net[:4] for net in nets[:2]]
    wider = nn.Linear(16, 40, bias=False)
    with torch.no_grad():
        wider.weight.copy_(torch.eye(40)[:, :16])
    with torch.random.fork_rng():
        torch.manual_seed(5)
        unrelated = nn.Sequential(nn.Linear(6, 9), nn.Sigmoid(), nn.Linear(9, 12))
    students = {
        "clone": clone(nets[0])[:4],
        "wider": nn.Sequential(*clone(nets[0])[:4], wider),
        "unrelated": unrelated,
    }
    found = audit(teacher, students, AuditData(table(N, 2)[0]), "embedding")
    for name in ("clone", "wider"):
        assert found[name].verdict.matched, name
        assert found[name].verdict.label in ("sound", "inconclusive")
        assert not rows(found[name], status="fail")
    assert found["unrelated"].verdict.label == "below-benchmark"
    wide, narrow = (
        rows(found[n], group="benchmark", headline=True)[0].student for n in ("wider", "clone")
    )
    assert wide == pytest.approx(narrow, abs=1e-5)


# -- data with everything -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(nets: list[nn.Module]) -> Report:
    x, y = table(260, 2)
    data = AuditData(
        x,
        y,
        groups={"half": np.where(x[:, 4] > 0, "up", "down"), "site": np.arange(260) % 2},
        concepts={"sign": (x[:, 5] > 0).numpy()},
        invariances={"mirror": lambda z: z * torch.tensor([1.0, 1, 1, -1, 1, 1])},
        cluster=np.arange(260) // 2,
        bounds=(-8.0, 8.0),
        unlabelled={"same": table(220, 77)[0], "far": 2 + table(150, 78)[0]},
    )
    report = audit(
        nets[:2],
        nets[3],
        data,
        references=[nets[2]],
        cells=[("probe.*", "noise.input")],
    )
    assert isinstance(report, Report)
    return report


def test_nothing_breaks_with_everything_given(everything: Report) -> None:
    assert not rows(everything, status="error")
    assert len(everything.data["subjects"]["references"]) == 1
    assert everything.data["data"]["unlabelled"] == {"same": 220, "far": 150}
    assert everything.data["data"]["groups"]["site"] == {"0": 130, "1": 130}


OF_EACH_KIND = (
    "clean",
    "noise.input@0.3",
    "attack.pgd@0.03",
    "shift.corruption.noise@1",
    "shift.off_support.noise@10",
    "shift.off_support.mixed",
    "shift.certified.noise",
    "shift.strongest.noise",
    "shift.unlabelled.far",
    "shift.invariance.mirror",
    "shift.split.group.site=0",
)


@pytest.mark.parametrize(
    "conditions",
    [pytest.param(OF_EACH_KIND, id="one of each kind"),
     pytest.param(("*",), id="all", marks=pytest.mark.slow)],
)  # fmt: skip
def test_any_measure_can_be_read_under_any_condition(conditions: tuple[str, ...]) -> None:
    """The product of all measures and conditions, as context: what is judged stays what it was."""
    x, y = table(120, 5)
    nets = [fit(seed, x, y) for seed in range(3)]
    data = AuditData(
        x,
        y,
        groups={"site": np.arange(120) % 2},
        invariances={"mirror": lambda z: z * torch.tensor([1.0, 1, 1, -1, 1, 1])},
        unlabelled={"far": 2 + table(120, 78)[0]},
    )
    # What no measure is asked for under need not be looked at.
    with only_under(*conditions):
        plain = audit(nets[:2], nets[2], data)
        whole = audit(nets[:2], nets[2], data, cells=[("*", c) for c in conditions])
    assert isinstance(plain, Report)
    assert isinstance(whole, Report)
    assert len(whole.rows) > len(plain.rows)
    judged = [[repr(r) for r in report.rows if r.headline] for report in (plain, whole)]
    assert judged[0] == judged[1]
    assert not rows(whole, status="error")


def test_slices_are_scored(everything: Report) -> None:
    slices = {r.slice for r in rows(everything, measure="outputs.score", condition="clean")}
    assert slices == {None, "half=up", "half=down", "site=0", "site=1"}
    judged = [r for r in rows(everything, group="slice transfer") if r.headline]
    assert {r.slice for r in judged} == {"half", "site"}


def test_a_set_of_benchmark_rows_is_no_shift(everything: Report) -> None:
    same = [r for r in rows(everything, condition="shift.unlabelled.same") if r.group]
    far = [r for r in rows(everything, condition="shift.unlabelled.far") if r.group]
    # Every group beside the drift of the members, and beside that of the references.
    nulls = {(g, null) for g in margins.BAND_GROUPS for null in ("drift", "references")}
    for found in (same, far):
        assert len(found) == len(nulls)
        assert {(r.group, r.null) for r in found} == nulls
    assert all(not r.headline and r.status == "context" for r in same)
    assert all("No shift" in r.reason for r in same)
    assert all(r.headline and r.required for r in far)


def test_the_users_invariance_is_read(everything: Report) -> None:
    found = rows(everything, condition="shift.invariance.mirror")
    assert {"structure.invariance_spread", "outputs.score", "outputs.consistency"} <= {
        r.measure for r in found
    }


def test_references_are_a_second_null(everything: Report) -> None:
    nulls = {r.null for r in rows(everything, condition="shift.off_support", headline=True)}
    assert nulls == {"band", "references"}


def test_extra_cells_are_context(everything: Report) -> None:
    found = [r for r in everything.verdict.rows if r.condition == "noise.input"]
    probes = [r for r in found if r.measure.startswith("probe.")]
    assert {"probe.decodability", "probe.selectivity"} <= {r.measure for r in probes}
    assert {r.severity for r in probes} == {0.1, 0.3}
    assert not any(r.headline for r in probes)
    assert {"target", "sign"} <= {r.concept for r in probes}


def test_clusters_widen_the_intervals(nets: list[nn.Module], data: AuditData) -> None:
    x, y = data.inputs[:50].repeat(4, 1), data.targets[:50]
    y = np.tile(y, 4)
    found = [
        rows(audit(nets[0], nets[1], AuditData(x, y, cluster=c)), group="benchmark", headline=True)[
            0
        ]
        for c in (None, np.tile(np.arange(50), 4))
    ]
    assert found[0].delta == pytest.approx(found[1].delta)
    assert found[1].se == pytest.approx(2 * found[0].se, rel=0.1) or found[0].se == 0
    assert found[1].df == 49


# -- arguments ----------------------------------------------------------------------------------


def test_a_metric_is_the_benchmark(nets: list[nn.Module], data: AuditData) -> None:
    def likelihood(p: Tensor, y: Tensor) -> Tensor:
        return p.gather(1, y[:, None])[:, 0]

    report = audit(nets[0], nets[1], data, metric=likelihood)
    (row,) = rows(report, group="benchmark", headline=True)
    with torch.no_grad():
        p = nets[1](data.inputs).softmax(1)
    assert row.student == pytest.approx(float(likelihood(p, torch.tensor(data.targets)).mean()))
    assert row.statistic == "score"
    assert report.data["config"]["metric"] == "likelihood"


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"metric": lambda o, y: o.mean()}, ConfigError, "metric: gave shape"),
        ({"metric": "f1"}, ConfigError, "metric"),
        ({"seed": 0.5}, ConfigError, "seed"),
        ({"seed": True}, ConfigError, "seed"),
        ({"task": "regresion"}, ConfigError, "did you mean regression"),
        ({"layers": ["5"]}, RingtestError, "layers: '5' is no module before the head"),
        ({"cells": [("prob.*", "clean")]}, ConfigError, "no measure matches"),
        ({"cells": [("probe.*", "noise.inputs")]}, ConfigError, "did you mean noise.input"),
        ({"references": "auto"}, ConfigError, "references"),
    ],
)
def test_bad_arguments_are_named(
    nets: list[nn.Module], data: AuditData, changed: dict[str, Any], error: type, says: str
) -> None:
    with pytest.raises(error) as caught:
        audit(nets[0], nets[1], data, **changed)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_must_be_audit_data(nets: list[nn.Module]) -> None:
    with pytest.raises(DataError, match=r"give ringtest\.AuditData"):
        audit(nets[0], nets[1], table(N, 2))


def test_progress_is_told_in_increasing_shares(nets: list[nn.Module], data: AuditData) -> None:
    told: list[tuple[str, float]] = []
    audit(nets[0], nets[1], data, progress=lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == 1.0
    assert {"clean", "noise.input@0.1"} <= {what for what, _ in told}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 30, 99])
def test_few_rows_decide_nothing(nets: list[nn.Module], n: int) -> None:
    report = audit(nets[:2], nets[0], AuditData(*table(n, 2)))
    assert report.verdict.label == "inconclusive"
    assert not [r for r in report.verdict.rows if r.headline and r.status == "pass"]


def test_constant_inputs_and_targets_decide_nothing(nets: list[nn.Module]) -> None:
    report = audit(nets[:2], nets[0], AuditData(torch.ones(120, 6), torch.zeros(120).long()))
    assert report.verdict.label == "inconclusive"


# -- extension ----------------------------------------------------------------------------------


@pytest.fixture
def extended() -> Iterator[None]:
    """A condition and a measure, registered as a user would, and taken out again."""

    @condition
    class Doubled(Condition):
        kind = "mine.doubled"
        about = "inputs times two"

        @classmethod
        def defaults(cls, data: AuditData) -> Iterable[Condition]:
            return [cls(severity=2.0)]

        def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
            return x * (self.severity or 1.0)

    @measure
    class Confidence(ModelMeasure):
        id = "mine.confidence"
        about = "mean largest probability"
        range = (0.0, 1.0)
        unit = "probability"
        needs = frozenset({"sample"})
        on = ("clean", "context")

        def read(self, evidence: Any, at: Any) -> list[Reading]:
            top = evidence.outputs.exp().amax(1).double().numpy()
            return [Reading(row_mean(top, at.sample_units), "confidence")]

    # As if it stood in a notebook.
    Confidence.__module__ = "__main__"
    yield
    del conditions._entries["mine.doubled"]
    del measures._entries["mine.confidence"]


@pytest.mark.usefixtures("extended")
def test_a_registered_condition_and_measure_work_with_nothing_else_touched(
    nets: list[nn.Module], data: AuditData
) -> None:
    report = audit(nets[:2], nets[3], data)
    (here,) = rows(report, measure="mine.confidence", condition="clean")
    (there,) = rows(report, measure="mine.confidence", condition="mine.doubled")
    (score,) = rows(report, measure="outputs.score", condition="mine.doubled")
    with torch.no_grad():
        expected = nets[3](2 * data.inputs).softmax(1).amax(1).mean()
    assert there.student == pytest.approx(float(expected), rel=1e-5)
    assert there.severity == score.severity == 2.0
    assert here.student != there.student
    assert here.status == there.status == "context"


def test_blocks_are_the_unit_of_a_pass(nets: list[nn.Module]) -> None:
    student = Counted(clone(nets[0]))
    audit(nets[0], student, AuditData(*table(blocks.BLOCK + 4, 2)))
    assert max(student.seen) == blocks.BLOCK
