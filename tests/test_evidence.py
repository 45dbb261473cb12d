"""What models show under a condition: block by block, it is what one pass would show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest import AuditData, blocks, evidence, margins, moments, tasks
from ringtest.condition import Clean, Condition
from ringtest.errors import ConfigError, SubjectError
from ringtest.evidence import Wanted
from ringtest.model import Model, evaluating
from ringtest.trial import prepare

ALL = Wanted(outcomes=True, sample=True, layers=True, moments=True)
SIZES = [1, 40, 255, 256, 257, 600]


def mlp(seed: int = 0, width: int = 8) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3)).eval()


class Case:
    """Two models and their data."""

    def __init__(self, n: int, nets: list[nn.Module] | None = None, metric: Any = None) -> None:
        x = torch.randn(n, 5, generator=torch.Generator().manual_seed(2))
        self.data = AuditData(x, (torch.arange(n) % 3).numpy())
        self.task = tasks.make("classification", self.data, metric)
        self.nets = nets or [mlp(0), mlp(1, 6)]
        self.models = [
            prepare(f"m{i}", "member", net, self.task, self.data) for i, net in enumerate(self.nets)
        ]

    def gather(
        self,
        condition: Condition | None = None,
        wanted: Wanted = ALL,
        seed: int = 0,
        models: list[Model] | None = None,
        **more: Any,
    ) -> evidence.Gathered:
        models = self.models if models is None else models
        pairs = [tuple(models[:2])] if len(models) > 1 else []
        with evaluating(models):
            return evidence.gather(
                condition or Clean(), models, pairs, self.data, self.task, wanted, seed, **more
            )


class Shaken(Condition):
    """Random and shared."""

    kind = "test.shaken"

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return x + torch.randn(x.shape, generator=rng)


class Own(Shaken):
    """The same with an input for each model."""

    kind = "test.own"
    scope = "own"


@pytest.mark.parametrize("n", SIZES)
def test_blocks_show_what_one_pass_shows(n: int) -> None:
    case = Case(n)
    found = case.gather()
    assert found.n == n
    for model, net in zip(case.models, case.nets, strict=True):
        seen = found.evidence[model.name]
        with torch.no_grad():
            raw, hidden = net(case.data.inputs), net[:2](case.data.inputs)
        torch.testing.assert_close(seen.outputs, raw.log_softmax(1))
        np.testing.assert_array_equal(seen.predictions, raw.argmax(1).numpy())
        np.testing.assert_array_equal(
            seen.score, (raw.argmax(1).numpy() == case.data.targets).astype(float)
        )
        torch.testing.assert_close(seen.last, hidden)
        assert seen.names == model.layers.names
        assert not seen.failed


@pytest.mark.parametrize("n", SIZES)
def test_moments_over_blocks_are_those_of_all_rows(n: int) -> None:
    case = Case(n)
    found = case.gather()
    a, b = (found.evidence[m.name] for m in case.models)
    pair = (a.names[-1], b.names[-1])
    cross = found.cross["m0", "m1"][pair]
    assert cross.n == n
    x, y = a.last.double(), b.last.double()
    torch.testing.assert_close(cross.mean, x.mean(0))
    expected = (x - x.mean(0)).T @ (y - y.mean(0)) / n
    torch.testing.assert_close(cross.covariance, expected, atol=1e-9, rtol=1e-6)
    if n >= 4:
        k = (x - x.mean(0)) @ (x - x.mean(0)).T
        own = moments.ratio(cross.hsic(), a.moments[pair[0]].hsic(), b.moments[pair[1]].hsic())
        assert float(own) == pytest.approx(moments.cka(x, y), rel=1e-6)
        assert float(a.moments[pair[0]].hsic()) == pytest.approx(float(_hsic(k, k)), rel=1e-6)


def _hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741 - the paper's letters
    """Unbiased HSIC by its definition (Song et al. 2012, eq. 5)."""
    n = len(k)
    k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
    return (
        (k @ l).trace() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k @ l).sum() / (n - 2)
    ) / (n * (n - 3))


def test_only_what_is_wanted_is_kept() -> None:
    case = Case(300)
    nothing = case.gather(wanted=Wanted(outcomes=True)).evidence["m0"]
    assert nothing.sample == {}
    assert nothing.outputs.numel() == 0
    assert nothing.score is not None
    last = case.gather(wanted=Wanted(sample=True)).evidence["m0"]
    assert last.names == (case.models[0].layers.last.name,)
    assert last.moments == {}


def test_the_sample_is_bounded_and_outcomes_are_not() -> None:
    n = margins.SAMPLE + 300
    case = Case(n)
    found = case.gather(wanted=Wanted(outcomes=True, sample=True, moments=True))
    seen = found.evidence["m0"]
    assert len(found.rows) == margins.SAMPLE
    assert bool((np.diff(found.rows) > 0).all())
    np.testing.assert_array_equal(found.rows, blocks.sample_rows(n))
    assert seen.score.shape == (n,)
    assert seen.predictions.shape == (n,)
    assert found.cross["m0", "m1"][seen.names[-1], seen.names[-1]].n == n
    for values in (seen.outputs, *seen.sample.values()):
        assert values.shape[0] == margins.SAMPLE
    with torch.no_grad():
        expected = case.nets[0][:2](case.data.inputs[found.rows])
    torch.testing.assert_close(seen.last, expected)
    # A tensor of its own, not a view that keeps all rows alive.
    assert seen.last.untyped_storage().nbytes() == seen.last.numel() * 4


@pytest.mark.parametrize("condition", [Shaken, Own])
def test_draws_depend_on_seed_condition_and_block_alone(condition: type[Condition]) -> None:
    case = Case(300)
    both = case.gather(condition()).evidence
    for model in case.models:
        alone = case.gather(condition(), models=[model]).evidence[model.name]
        assert torch.equal(alone.outputs, both[model.name].outputs)
    turned = case.gather(condition(), models=case.models[::-1]).evidence
    assert torch.equal(turned["m0"].outputs, both["m0"].outputs)
    assert not torch.equal(
        case.gather(condition(), seed=1).evidence["m0"].outputs, both["m0"].outputs
    )
    stronger = case.gather(condition(severity=2.0)).evidence
    assert not torch.equal(stronger["m0"].outputs, both["m0"].outputs)


def test_blocks_have_draws_of_their_own() -> None:
    case = Case(512)
    case.data.inputs[256:] = case.data.inputs[:256]
    seen = case.gather(Shaken()).evidence["m0"].outputs
    assert not torch.allclose(seen[:256], seen[256:])


def test_the_global_generators_are_not_drawn_from() -> None:
    case = Case(300)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    case.gather(Shaken())
    assert torch.equal(torch.get_rng_state(), before)


class Moody(nn.Module):
    """Gives NaN, or raises, where the first feature is large."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = mlp(2), how

    def forward(self, x: Tensor) -> Tensor:
        bad = x[:, :1] > 50
        if self.how == "raises" and bool(bad.any()):
            raise ValueError("out of range")
        return self.net(x) + torch.where(bad, torch.nan, 0.0)


class Far(Condition):
    """Moves the rows of the second block far away."""

    kind = "test.far"
    keeps_targets = False

    def batch(self, model: Any, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        return x + 100 if len(x) < blocks.BLOCK else x


@pytest.mark.parametrize("how", ["NaN", "raises"])
def test_a_model_that_fails_under_one_condition_says_so_and_leaves_the_others(how: str) -> None:
    case = Case(300, [mlp(0), mlp(1, 6), Moody(how).eval()])
    alone = Case(300).gather(Far()).evidence
    found = case.gather(Far()).evidence
    assert found["m2"].failed
    assert "\n" not in found["m2"].failed
    for name in ("m0", "m1"):
        assert not found[name].failed
        assert torch.equal(found[name].outputs, alone[name].outputs)


def test_a_model_that_fails_on_clean_data_is_an_error_of_the_audit() -> None:
    case = Case(300, [mlp(0), Moody("NaN").eval()])
    case.data.inputs[280, 0] = 60.0
    with pytest.raises(SubjectError, match="m1: gives NaN or infinity in rows 256 to 299"):
        case.gather()
    assert all(len(m._forward_hooks) == 0 for net in case.nets for m in net.modules())


def test_scores_only_where_targets_hold() -> None:
    case = Case(300)
    assert case.gather(Far()).evidence["m0"].score is None
    assert case.gather(Shaken()).evidence["m0"].score is not None


def test_a_bad_metric_stops_the_audit() -> None:
    case = Case(300, metric=lambda o, y: o.mean())
    with pytest.raises(ConfigError, match="metric"):
        case.gather()


def test_every_row_is_ticked_once_for_each_model() -> None:
    case, seen = Case(300), []
    case.gather(tick=seen.append)
    assert sum(seen) == 600
    assert seen == [256, 256, 44, 44]


def test_teacher_and_student_may_be_one_object() -> None:
    net = mlp(0)
    found = Case(300, [net, net]).gather().evidence
    assert torch.equal(found["m0"].last, found["m1"].last)
    assert torch.equal(found["m0"].outputs, found["m1"].outputs)


def test_the_sample_is_deterministic_and_spread() -> None:
    rows = blocks.sample_rows(10_000)
    np.testing.assert_array_equal(rows, blocks.sample_rows(10_000))
    assert len(np.unique(rows)) == margins.SAMPLE
    per_tenth = np.histogram(rows, bins=10, range=(0, 10_000))[0]
    assert per_tenth.min() > 150
    np.testing.assert_array_equal(blocks.sample_rows(7), np.arange(7))


def test_a_layer_that_is_skipped_for_some_inputs_is_an_error() -> None:
    """Rows that no hook filled would be whatever lay in memory."""

    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.extra, self.head = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            h = self.extra(h).relu() if float(x.mean()) < 5 else h
            return self.head(h)

    inputs = torch.cat([torch.randn(256, 4), torch.randn(256, 4) + 10])
    data = AuditData(inputs, torch.arange(512) % 4)
    task = tasks.make("classification", data)
    model = prepare("s", "student", Sometimes(), task, data)
    wanted = evidence.Wanted(outcomes=True, layers=True)
    with pytest.raises(SubjectError, match="layer extra shows nothing"):
        evidence.gather(Clean(), [model], [], data, task, wanted, 0)
