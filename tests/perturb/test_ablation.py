"""Parts of the last hidden layer gone: what is lost is what was there, and no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest import evidence, tasks
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.evidence import Evidence, Wanted
from ringtest.measure import NotMeasurable, Setting, measures
from ringtest.model import Model, evaluating
from ringtest.trial import prepare

N, D = 300, 10


class Readout(nn.Module):
    """Its last hidden layer is a fixed map of the inputs."""

    def __init__(self, width: int = D) -> None:
        super().__init__()
        self.head = nn.Linear(width, 2)
        self.mix = torch.eye(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x @ self.mix)
        return out


def rows() -> AuditData:
    """Ten units of unequal spread and mean; the class is the sign of unit 3 alone."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=g) * torch.linspace(0.5, 5, D) + torch.linspace(-40, 40, D)
    y = (x[:, 3] > x[:, 3].mean()).long().numpy()
    return AuditData(x, y)


def model(at: AuditData, net: nn.Module) -> Model:
    return prepare("m", "member", net, tasks.make("classification", at), at)


def looked(id_: str, severity: float | None, own: Model, at: AuditData, seed: int = 0) -> Evidence:
    condition = conditions[id_].make(severity=severity)
    task = tasks.make("classification", at)
    wanted = Wanted(sample=True, layers=True)
    with evaluating([own]):
        found = evidence.gather(condition, [own], (), at, task, wanted, seed).evidence["m"]
    assert not found.failed, found.failed
    return found


def decoded(found: Evidence, at: AuditData) -> Any:
    task = tasks.make("classification", at)
    setting = Setting(at, task, conditions["clean"].make(), np.arange(N), None, 0)
    entry: Any = measures["probe.decodability"]
    return entry.read(found, setting)[-1]


def test_units_are_lost_at_the_rate_that_was_asked_for() -> None:
    at = rows()
    own = model(at, Readout())
    clean = looked("clean", None, own, at)
    assert decoded(clean, at).estimate.value > 0.9
    lost, seeds = 0, 60
    for seed in range(seeds):
        found = looked("ablate.units", 0.3, own, at, seed)
        still = (found.last == found.last[0]).all(0)
        assert int(still.sum()) == 3
        assert torch.equal(found.last[:, ~still], clean.last[:, ~still])
        torch.testing.assert_close(found.last[0, still], clean.last.mean(0)[still])
        lost += bool(still[3])
        if seed < 8:
            # The concept sits in one unit: without it there is chance, with it everything.
            score = decoded(found, at).estimate.value
            assert (score < 0.65) if still[3] else (score > 0.9)
    assert abs(lost - 0.3 * seeds) < 3 * (0.3 * 0.7 * seeds) ** 0.5


def test_all_units_are_everything() -> None:
    at = rows()
    found = looked("ablate.units", 1.0, model(at, Readout()), at)
    assert (found.last == found.last[0]).all()
    assert (found.outputs == found.outputs[0]).all()
    # Nothing is no number.
    assert not np.isfinite(decoded(found, at).estimate.value)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("id_", ["ablate.directions", "ablate.subspace"])
def test_directions_are_projected_out_around_the_mean(id_: str, turned: bool) -> None:
    at, net = rows(), Readout()
    if turned:
        net.mix = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(1))).Q
    own = model(at, net)
    clean = looked("clean", None, own, at).last.double()
    found = looked(id_, 3, own, at).last.double()
    centred, left = clean - clean.mean(0), found - clean.mean(0)
    before, after = torch.linalg.svdvals(centred), torch.linalg.svdvals(left)
    assert (after[-3:] < 1e-4 * after[0]).all()
    assert after[-4] > 0.05 * after[0]
    # A projection: what is left and what is gone are orthogonal, so squares add up.
    gone = centred - left
    torch.testing.assert_close(
        left.square().sum(1) + gone.square().sum(1), centred.square().sum(1), rtol=1e-4, atol=1e-4
    )
    if id_ == "ablate.directions":
        torch.testing.assert_close(after[:7], before[3:], rtol=1e-4, atol=1e-4)
    else:
        # Any three directions: not the largest.
        assert after[0] > 1.05 * before[3]


@pytest.mark.parametrize("id_", ["ablate.directions", "ablate.subspace"])
@pytest.mark.parametrize("k", [D, 1000])
def test_without_all_directions_a_layer_is_constant(id_: str, k: int) -> None:
    at = rows()
    found = looked(id_, k, model(at, Readout()), at)
    assert (found.last == found.last[0]).all()
    assert not np.isfinite(decoded(found, at).estimate.value)


@pytest.mark.parametrize("id_", ["ablate.units", "ablate.directions", "ablate.subspace"])
def test_a_dead_layer_has_not_survived(id_: str) -> None:
    class Dead(nn.Module):
        """Constant but for rounding, in the layer that its head reads."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(D, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(1000 + 1e-6 * x[:, :1] * torch.ones(D))
            return out

    at = rows()
    condition: Any = conditions[id_].make(severity=1)
    condition.fit([], at, torch.Generator().manual_seed(0))
    with pytest.raises(NotMeasurable, match=r"no unit in layer .* that varies"):
        condition.subject(model(at, Dead()))
    # One unit that varies is something to lose.
    one = Readout()
    one.mix = torch.zeros(D, D)
    one.mix[3, 3] = 1
    looked(id_, 1, model(at, one), at)


def test_a_unit_that_was_a_direction_leaves_nothing_for_a_probe_to_standardise() -> None:
    """Constant units would be given 1e-15 of it, and a probe would read the class from that."""
    at = rows()
    x = torch.zeros(N, D)
    x[:, 3] = 30 * torch.tensor(at.targets).float() + 7
    x[:, 5] = torch.randn(N, generator=torch.Generator().manual_seed(1))
    at = AuditData(x, at.targets)
    own = model(at, Readout())
    assert decoded(looked("clean", None, own, at), at).estimate.value > 0.9
    assert decoded(looked("ablate.directions", 1, own, at), at).estimate.value < 0.7
    # The second direction is another.
    found = looked("ablate.subspace", 1, own, at)
    assert not (found.last == found.last[0]).all()


def test_positions_are_edited_one_by_one_and_so_is_their_mean() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(D, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x).mean(1)

    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, 4, D, generator=g) + torch.randn(N, 1, D, generator=g)
    mask = torch.arange(4) < torch.randint(1, 5, (N, 1), generator=g)
    at = AuditData(x, np.arange(N) % 2, mask=mask)
    own = model(at, Steps())
    before = looked("clean", None, own, at)
    for id_, severity in (("ablate.units", 0.4), ("ablate.directions", 4)):
        found = looked(id_, severity, own, at)
        left = found.last.double() - before.last.double().mean(0)
        assert int((torch.linalg.svdvals(left) > 1e-4).sum()) == 6
        assert not torch.equal(found.outputs, before.outputs)
