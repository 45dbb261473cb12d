"""Attacks on layers: exact where a layer is linear, and the same promises as other attacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_nets import Cnn, Transformer
from torch import Tensor, nn

from ringtest import evidence, tasks
from ringtest.compare import guarded
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import SubjectError
from ringtest.evidence import Gathered, Wanted
from ringtest.measure import NotMeasurable, Setting, measures
from ringtest.model import Model, evaluating
from ringtest.perturb.displacement import displacement
from ringtest.perturb.representation import Inside, LayerAttack, guides
from ringtest.trial import prepare

N = 90
ATTACKS = ["attack.representation", "attack.representation_middle", "attack.guide"]


class Linear(nn.Module):
    """Three layers; all but the head are linear, of weights of one's own."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.a = nn.Linear(first.shape[1], first.shape[0])
        self.b = nn.Linear(second.shape[1], second.shape[0])
        self.head = nn.Linear(len(second), 3)
        with torch.no_grad():
            self.a.weight.copy_(first)
            self.b.weight.copy_(second)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.b(self.a(x)))
        return out


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=rng(seed))


def seeded(make: Any) -> Any:
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        return make()


def data(*shape: int, **more: Any) -> AuditData:
    return AuditData(draw(N, *shape, seed=1), np.arange(N) % 3, **more)


def model(net: Any, at: AuditData, name: str = "m") -> Model:
    return prepare(name, "member", net, tasks.make("classification", at), at)


def fitted(id_: str, at: AuditData, eps: float = 0.1, **options: Any) -> Any:
    attack: Any = conditions[id_].make(severity=eps)
    for key, value in options.items():
        setattr(attack, key, value)
    attack.fit([], at, rng())
    return attack


def attacked(attack: Any, own: Model, at: AuditData, seed: int = 2) -> Tensor:
    own.at(at.rows, slice(0, at.n))
    found: Tensor = attack.batch(own, at.inputs, torch.as_tensor(at.targets), rng(seed))
    return found


def codes(own: Model, layer: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return Inside(own, layer).logits(x)


def test_one_unit_moves_by_the_l1_norm_of_its_weights() -> None:
    """In closed form: eps times the sum of |w_i| sd_i, on either side."""
    at = data(8)
    own = model(Linear(draw(5, 8), draw(1, 5)), at)
    assert own.layers is not None
    found = attacked(fitted("attack.representation", at), own, at)
    last = own.layers.last
    moved = (codes(own, last, found) - codes(own, last, at.inputs)).norm(dim=1)
    row = (draw(1, 5) @ draw(5, 8))[0]
    largest = 0.1 * (row.abs() * at.inputs.std(0, correction=0)).sum()
    torch.testing.assert_close(moved, largest.expand(N), rtol=1e-4, atol=0)


def test_many_units_reach_most_of_the_best_corner() -> None:
    """Of the 2^8 corners of the cube one is best, the same for all rows; many hold a climber."""
    at = data(8)
    own = model(Linear(draw(5, 8), draw(6, 5)), at)
    assert own.layers is not None
    unit = at.inputs.std(0, correction=0)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 8) * unit * 0.1
    for id_, layer, weight in (
        ("attack.representation", own.layers.picked[-1], draw(6, 5) @ draw(5, 8)),
        ("attack.representation_middle", own.layers.picked[0], draw(5, 8)),
    ):
        best = (corners @ weight.T).norm(dim=1).max()
        for options, mean, most in (({}, 0.93, 0.3), ({"restarts": 10}, 0.98, 0.9)):
            found = attacked(fitted(id_, at, **options), own, at)
            moved = (codes(own, layer, found) - codes(own, layer, at.inputs)).norm(dim=1)
            assert (moved <= best * (1 + 1e-4)).all()
            assert moved.mean() > mean * best
            assert (moved > 0.95 * best).float().mean() > most


def test_an_identity_moves_by_eps() -> None:
    at = data(8)
    x = at.inputs / at.inputs.std(0, correction=0)
    at = AuditData(x, at.targets)
    own = model(nn.Sequential(nn.Linear(8, 3)), at)
    assert own.layers is not None
    found = attacked(fitted("attack.representation", at, 0.3), own, at)
    assert torch.allclose((found - x).abs(), torch.tensor(0.3), atol=1e-5)
    # In units of the clean RMS of eight units of SD 1, the displacement is eps itself.
    assert displacement(x, found, None).value == pytest.approx(0.3, rel=1e-4)


def test_the_layer_nearest_to_the_middle_is_attacked() -> None:
    at = data(8)
    first, second = draw(5, 8), torch.zeros(4, 5)
    second[0] = 1e-3
    own = model(Linear(first, second), at)
    assert own.layers is not None
    assert own.layers.names == ("a", "input of head")
    names = {id_: fitted(id_, at).seen(own).layer.name for id_ in ATTACKS}
    assert names == {
        "attack.representation": "input of head",
        "attack.representation_middle": "a",
        "attack.guide": "input of head",
    }


@pytest.mark.parametrize("id_", ATTACKS)
@pytest.mark.parametrize(("make", "shape"), [(Cnn, (1, 8, 8)), (Transformer, (9, 4))])
def test_promises_of_every_attack(make: Any, shape: tuple[int, ...], id_: str) -> None:
    bounds = (-6.0, 6.0) if make is Cnn else None
    mask = None if make is Cnn else torch.arange(9) < torch.randint(3, 10, (N, 1), generator=rng())
    at = data(*shape, bounds=bounds, mask=mask)
    net = seeded(make)
    own = model(net, at)
    eps = 0.02 if bounds else 0.2
    attack = fitted(id_, at, eps)
    net.train()
    state = torch.get_rng_state()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with evaluating([own]):
        found, again = attacked(attack, own, at), attacked(fitted(id_, at, eps), own, at)
        other = attacked(fitted(id_, at, eps), own, at, seed=3)
        layer = attack.seen(own).layer
        clean, moved = codes(own, layer, at.inputs), codes(own, layer, found)
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    offset = (found - at.inputs).abs()
    unit = torch.tensor(12.0) if bounds else at.inputs.std((0, 1), correction=0)
    assert (offset <= eps * unit * (1 + 1e-5) + 1e-6).all()
    assert bounds is None or (found.min() >= bounds[0] and found.max() <= bounds[1])
    if mask is not None:
        assert (offset[~mask] == 0).all(), "padding was moved"
    if id_ == "attack.guide":
        aim = clean[guides(torch.as_tensor(at.targets), rng(2))]
        left = (moved - aim).norm(dim=1) / (clean - aim).norm(dim=1)
        assert (left <= 1 + 1e-5).all()
        assert left.mean() < 0.9
        torch.testing.assert_close(torch.cat(attack.left["m"]).float(), left, rtol=1e-3, atol=1e-3)
    else:
        # Beside random points of the same cube.
        noise = (2 * torch.rand(at.inputs.shape, generator=rng()) - 1) * eps * unit
        noise = noise if mask is None else noise * mask[..., None]
        with evaluating([own]):
            random = codes(own, layer, at.inputs + noise)
        assert ((moved - clean).norm(dim=1) > (random - clean).norm(dim=1)).float().mean() > 0.95
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_rows_do_not_depend_on_their_company() -> None:
    at = data(8)
    own = model(Linear(draw(5, 8), draw(6, 5)), at)
    whole = attacked(fitted("attack.representation", at), own, at)
    changed = AuditData(torch.cat([at.inputs[:40], at.inputs[40:].flip(0)]), at.targets)
    other = attacked(fitted("attack.representation", at), own, changed)
    assert ((whole - other)[:40].abs() > 1e-5).float().mean() < 0.01


def test_guides_are_of_another_class_and_the_same_for_all() -> None:
    y = torch.tensor([0, 0, 0, 1, 2, 2] * 20)
    found = guides(y, rng())
    assert (y[found] != y).all()
    assert torch.equal(found, guides(y, rng()))
    assert not torch.equal(found, guides(y, rng(1)))
    # Every row of another class is as likely: a row of class 1 is led to 0 in 3 of 5 cases.
    many = torch.cat([y[guides(y, rng(s))][y == 1] for s in range(60)])
    assert float((many == 0).float().mean()) == pytest.approx(0.6, abs=0.05)
    with pytest.raises(NotMeasurable, match="one class"):
        guides(torch.zeros(5), rng())


def reading(attack: Any, own: Model, at: AuditData) -> Any:
    task = tasks.make("classification", at)
    with evaluating([own]):
        found: Gathered = evidence.gather(attack, [own], (), at, task, Wanted(outcomes=True), 0)
    setting = Setting(at, task, attack, np.arange(at.n), at.cluster, 0)
    entry: Any = measures["representation.guided"]
    assert entry.applies(attack, at, task)
    return guarded(found.evidence["m"], lambda e: entry.read(e, setting))


def test_how_near_a_guide_was_reached() -> None:
    """Within an eps of four SDs a linear code reaches any guide; within next to none, nothing."""
    at = AuditData(draw(300, 8, seed=1), np.arange(300) % 3)
    own = model(Linear(draw(5, 8), draw(2, 5)), at)
    values = [
        reading(conditions["attack.guide"].make(severity=eps), own, at)[0].estimate
        for eps in (4, 0.3, 1e-4)
    ]
    assert values[0].value < 0.1
    assert 0.2 < values[1].value < 0.9
    assert 0.99 < values[2].value <= 1
    assert [v.n for v in values] == [300] * 3


def test_a_block_of_one_class_is_not_measurable() -> None:
    at = AuditData(draw(300, 8, seed=1), np.sort(np.arange(300) % 2))
    own = model(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), at)
    told = reading(conditions["attack.guide"].make(severity=0.1), own, at)
    assert told.status == "not_measurable"
    assert "shuffle" in told.reason


@pytest.mark.parametrize("id_", ATTACKS)
def test_a_model_without_layers_is_told_in_one_line(id_: str) -> None:
    at = data(8)
    net = Linear(draw(5, 8), draw(6, 5))
    black = model(lambda x: net(x), at)
    assert black.gradients
    attack = fitted(id_, at)
    assert attack.beyond(black) == "shows only its outputs"
    with pytest.raises(SubjectError, match=f"m: shows only its outputs; leave {id_} out"):
        attacked(attack, black, at)


def test_the_table_holds_every_attack_on_layers() -> None:
    """The one on two models' layers has a file of its own: test_inside.py."""
    every = {k.id for k in conditions if issubclass(k.make, LayerAttack)}
    assert set(ATTACKS) == every - {"attack.discrepancy_inside"}
    for id_ in ATTACKS:
        kind: Any = conditions[id_].make
        assert not list(kind.defaults(data(8)))
        assert [c.key for c in kind.asked(data(8))] == [f"{id_}@0.03", f"{id_}@0.1"]
        assert not list(kind.asked(AuditData(torch.ones(9, 3, dtype=torch.long), np.arange(9))))
