"""Attacks of captum.robust through the adapter: its traps, each set first and then disarmed."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from captum.robust import FGSM, PGD, AttackComparator, MinParamPerturbation
from oracles import oracle
from torch import Tensor, nn

import ringtest
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.perturb import losses
from ringtest.perturb.captum_comparator import compared, conditions_of
from ringtest.perturb.captum_robust import Captum, disarmed
from ringtest.perturb.captum_search import Smallest, smallest

Trained = tuple[nn.Module, Tensor, Tensor]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(function: Any) -> Any:
    return SimpleNamespace(logits=lambda x, rows=None: function(x), gradients=True)


def run(condition: Any, net: Any, x: Tensor, y: Tensor, seed: int = 1, **more: Any) -> Tensor:
    condition.fit([], AuditData(x, y.numpy(), **{"bounds": (0.0, 1.0), **more}), rng())
    found: Tensor = condition.batch(model(net), x, y, rng(seed))
    return found


def ours(kind: str, eps: float, net: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
    attack: Any = conditions[kind].make(severity=eps)
    attack.losses = {"ce": losses.LOSSES["ce"]}
    for name, value in options.items():
        setattr(attack, name, value)
    return run(attack, net, x, y)


def accuracy(net: Any, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((net(x).argmax(1) == y).double().mean())


@pytest.fixture(scope="module")
def digits(digits_cnn: Any) -> Trained:
    net, x, y = digits_cnn()
    return net, x[:150], y[:150]


# -- the attacks --------------------------------------------------------------------------------


def test_its_pgd_in_linf_breaks_what_ours_breaks_from_the_same_start(digits: Trained) -> None:
    net, x, y = digits
    found = run(Captum(PGD, severity=0.08), net, x, y)
    mine = ours("attack.pgd", 0.08, net, x, y)
    # Ours leave the batch when they are broken, and keep the worst point: no example fewer.
    right = [net(z).argmax(1) == y for z in (found, mine)]
    assert not (right[1] & ~right[0]).any()
    assert (right[0] != right[1]).sum() <= 2
    assert 0.05 < accuracy(net, found, y) < 0.7
    # Where nobody is broken before the last step, the points are the same.
    both = right[0] & right[1]
    same = (found - mine).abs().flatten(1).amax(1) < 1e-5
    assert same[both].double().mean() > 0.5
    assert torch.equal(found, run(Captum(PGD, severity=0.08), net, x, y))
    assert not torch.equal(found, run(Captum(PGD, severity=0.08), net, x, y, seed=2))


def test_its_fgsm_is_that_of_foolbox(digits: Trained) -> None:
    fb = oracle("foolbox")
    net, x, y = digits
    theirs = fb.attacks.LinfFastGradientAttack(random_start=False)(
        fb.PyTorchModel(net, bounds=(0, 1), device="cpu"), x, y, epsilons=0.1
    )[1]
    right = net(x).argmax(1) == y
    found = run(Captum(FGSM, severity=0.1), net, x, y)
    worse = losses.margin(net(theirs), y) < losses.margin(net(x), y)
    kept = right & worse
    assert kept.sum() > 100
    torch.testing.assert_close(found[kept], theirs[kept], rtol=0, atol=1e-6)
    # What is wrong as it is, or would be less wrong, is left.
    assert torch.equal(found[~kept], x[~kept])


@pytest.mark.parametrize("start", [False, True])
def test_l2_goes_along_the_gradient_and_not_along_its_signs(digits: Trained, start: bool) -> None:
    net, x, y = digits
    eps = 0.6
    attack = PGD(net, nn.CrossEntropyLoss(reduction="none"), 0.0, 1.0)
    attack.zero_thresh = attack.fgsm.zero_thresh = 0.0
    signs = attack.perturb(x, eps, 2.5 / 20 * eps, 20, y, norm="L2")
    found = run(Captum(PGD, severity=eps, norm="L2", random_start=start), net, x, y)
    best = ours("attack.pgd_l2", eps, net, x, y, random_start=start)
    assert accuracy(net, signs, y) > accuracy(net, best, y) + 0.1, "the trap is no longer set"
    assert accuracy(net, found, y) == pytest.approx(accuracy(net, best, y), abs=0.02)
    assert torch.linalg.vector_norm((found - x).flatten(1), dim=1).max() <= eps * (1 + 1e-4)
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_default_loss_would_attack_the_wrong_way(digits: Trained) -> None:
    """-log(output) rises with an output below 0, as log-probabilities are."""
    net, x, y = digits

    def logits(z: Tensor) -> Tensor:
        out: Tensor = net(z).log_softmax(1)
        return out

    theirs = FGSM(logits, lower_bound=0.0, upper_bound=1.0).perturb(x, 0.1, y)
    assert accuracy(net, theirs, y) >= accuracy(net, x, y), "the trap is no longer set"
    found = run(Captum(FGSM(net), severity=0.1), logits, x, y)
    assert accuracy(net, found, y) < accuracy(net, x, y) - 0.3


def test_a_mean_loss_is_read_row_by_row(digits: Trained) -> None:
    net, x, y = digits
    plain = run(Captum(PGD, severity=0.05), net, x, y)
    for mean in (
        Captum(PGD, severity=0.05, loss=nn.CrossEntropyLoss()),
        Captum(PGD(net, nn.CrossEntropyLoss()), severity=0.05),
    ):
        assert torch.equal(run(mean, net, x, y), plain)
    with pytest.raises(ConfigError, match=r"loss: gave \(\) for \d+ rows; return one value a row"):
        run(Captum(FGSM, severity=0.05, loss=nn.functional.cross_entropy), net, x, y)


def test_small_gradients_are_no_robustness(digits: Trained) -> None:
    """Logits times 1e-9 have the same answers, and gradients below captum's threshold."""
    net, x, y = digits

    def faint(z: Tensor) -> Tensor:
        out: Tensor = net(z) * 1e-9
        return out

    theirs = FGSM(faint, nn.CrossEntropyLoss(reduction="none")).perturb(x, 0.1, y)
    assert torch.equal(theirs, x), "the trap is no longer set"
    found = run(Captum(FGSM, severity=0.1), faint, x, y)
    assert accuracy(net, found, y) < accuracy(net, x, y) - 0.2


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("bounds", [(-1.0, 3.0), None])
def test_eps_is_in_the_units_of_the_data(bounds: Any, norm: str) -> None:
    x = torch.rand(80, 5, generator=rng()) * torch.tensor([1.0, 2.0, 0.5, 1.0, 0.0])
    weights = torch.randn(5, 3, generator=rng(1))
    y = (x @ weights).argmax(1)
    eps = 0.1
    found = run(Captum(PGD, severity=eps, norm=norm), lambda z: z @ weights, x, y, bounds=bounds)
    unit = torch.full((5,), 4.0) if bounds else x.std(0, correction=0)
    moved = (found - x) / torch.where(unit > 0, unit, 1.0)
    size = moved.abs().amax(1) if norm == "Linf" else torch.linalg.vector_norm(moved, dim=1)
    assert 0.99 * eps < size.max() <= eps * (1 + 1e-4)
    if bounds is None:
        assert torch.equal(found[:, 4], x[:, 4]), "a constant column stays"
    else:
        assert found.min() >= -1


def test_what_leaves_the_budget_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(20, 4, generator=rng())
    weights = torch.randn(4, 2, generator=rng(1))
    y = (x @ weights).argmax(1)
    monkeypatch.setattr(FGSM, "perturb", lambda self, z, **_: z - 0.5 * torch.sign(z))
    with pytest.raises(AssertionError, match="left eps or bounds"):
        run(Captum(FGSM, severity=0.1), lambda z: z @ weights * 50, x, y, bounds=(-9.0, 9.0))


def test_captums_own_attack_is_left_as_it_is(digits: Trained) -> None:
    net, x, y = digits
    attack = PGD(net)
    before, inner = dict(vars(attack)), dict(vars(attack.fgsm))
    state, grads = torch.get_rng_state(), [p.grad for p in net.parameters()]
    net.requires_grad_(True)
    run(Captum(attack, severity=0.05), net, x, y)
    assert (vars(attack), vars(attack.fgsm)) == (before, inner)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is g for p, g in zip(net.parameters(), grads, strict=True))
    net.requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Captum(PGD, severity=0.1, radius=2), "radius: is set by the condition"),
        (lambda: Captum(PGD, severity=0.1, targeted=True), "targeted: is set by"),
        (lambda: Captum(PGD, severity=0.1, norm="L1"), "norm: is 'L1'; give Linf or L2"),
        (lambda: Captum(PGD, severity=-0.1), "is -0.1"),
        (lambda: Captum(FGSM, norm="L2"), "norm: is L2, and fgsm moves in Linf only; give PGD"),
        (lambda: Captum(FGSM(None), norm="L2"), "norm: is L2, and fgsm"),
        (lambda: Captum(PGD, step_num=0), "step_num: is 0; give a whole number from 1"),
        (lambda: Captum(PGD, step_size=-1), "step_size: is -1; give a positive number"),
        (lambda: Captum(PGD, step_nun=9), "step_nun: is no option of pgd; did you mean step_num"),
        (lambda: Captum(PGD(None), foo=1), "foo: is no option of pgd"),
        (lambda: Captum(FGSM, step_num=9), "step_num: is no option of fgsm"),
        (lambda: disarmed(nn.Linear(2, 2), lambda z: z), "attack: is linear; give FGSM or PGD"),
        (lambda: Smallest(nn.Linear(2, 2)), "give a captum.robust.MinParamPerturbation"),
        (lambda: conditions_of(nn.Linear(2, 2)), "give a captum.robust.AttackComparator"),
    ],
)
def test_what_is_no_attack_is_told_in_one_line(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_captum_is_imported_by_nobody_who_does_not_ask() -> None:
    code = (
        "import sys\nfrom ringtest.perturb import captum_comparator, captum_search\n"
        "assert 'captum' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


# -- MinParamPerturbation -----------------------------------------------------------------------


def fade(x: Tensor, by: float) -> Tensor:
    return x * (1 - by)


def searching(net: Any, attack: Any = fade, mode: str = "linear", **more: Any) -> Any:
    return MinParamPerturbation(net, attack, "by", 0.0, 1.0, 0.0625, mode=mode, **more)


@pytest.mark.parametrize("mode", ["linear", "binary"])
def test_each_example_has_the_smallest_value_that_captum_gives_it_alone(
    digits: Trained, mode: str
) -> None:
    net, x, y = digits[0], digits[1][:40], digits[2][:40]
    search = searching(net, mode=mode)
    found = smallest(search, lambda z, rows: net(z), x, y)
    alone = [searching(net).evaluate(x[i : i + 1], target=y[i : i + 1]) for i in range(40)]
    known = [v for _, v in alone if v is not None]
    assert len(set(known)) > 3, "they break at different values"
    assert len(known) < 40, "not all of them break"
    if mode == "linear":
        expected = [np.nan if v is None else v for _, v in alone]
        assert np.array_equal(found.values.numpy(), expected, equal_nan=True)
    for i in range(40):
        value = float(found.values[i])
        at = 0.9375 if np.isnan(value) else value
        assert torch.equal(found.inputs[i], fade(x[i], at))
        right = net(found.inputs[i : i + 1]).argmax(1) == y[i]
        assert bool(right) == np.isnan(value)
        if mode == "binary" and value > 0:
            assert net(fade(x[i : i + 1], value - 0.0625)).argmax(1) == y[i]
    # One value a batch is the smallest of all.
    together = searching(net).evaluate(x, target=y)[1]
    assert together == np.nanmin(found.values.numpy())


def test_halving_and_walking_agree_where_what_breaks_stays_broken() -> None:
    x = torch.linspace(0.02, 7.9, 60)[:, None]
    y = torch.zeros(60, dtype=torch.long)

    def net(z: Tensor) -> Tensor:
        return torch.cat([z, torch.full_like(z, 0.5)], 1)

    asked: dict[str, list[float]] = {"linear": [], "binary": []}
    run = {"linear": 0, "binary": 0}
    found = {}
    for mode, calls in asked.items():

        def attack(z: Tensor, by: float, calls: list[float] = calls) -> Tensor:
            calls.append(by)
            return z * (1 - by)

        def forward(z: Tensor, rows: Tensor, mode: str = mode) -> Tensor:
            run[mode] += len(z)
            return net(z)

        found[mode] = smallest(searching(net, attack, mode), forward, x, y)
    assert torch.equal(*(f.values.nan_to_num(-1) for f in found.values()))
    # By hand: broken where x (1 - k / 16) < .5.
    k = torch.ceil((16 * (1 - 0.5 / x[:, 0])).clamp(min=0) + 1e-6)
    expected = torch.where(x[:, 0] < 0.5, 0.0, k.clamp(max=16) / 16)
    torch.testing.assert_close(found["binary"].values, expected.double())
    assert len(set(asked["binary"])) == len(asked["binary"]), "no parameter is tried twice"
    assert run["binary"] < 0.5 * run["linear"]


def test_attempts_targets_and_answers_of_ones_own(digits: Trained) -> None:
    net, x, y = digits[0], digits[1][:30], digits[2][:30]

    def forward(z: Tensor, rows: Tensor) -> Tensor:
        out: Tensor = net(z)
        return out

    # FGSM of another model than the one under attack: the right one is put in.
    attack = FGSM(nn.Linear(64, 10), lower_bound=0.0, upper_bound=1.0)
    search = MinParamPerturbation(nn.Linear(64, 10), attack, "epsilon", 0.0, 0.2, 0.02)
    fgsm = smallest(search, forward, x, y)
    broken = ~fgsm.values.isnan()
    assert broken.double().mean() > 0.5
    moved = (fgsm.inputs - x).abs().flatten(1).amax(1)
    assert (moved[broken] <= fgsm.values[broken] + 1e-6).all()
    assert (net(fgsm.inputs).argmax(1) != y).equal(broken)

    def noise(z: Tensor, by: float) -> Tensor:
        return z + by * torch.randn_like(z)

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        once = smallest(searching(net, noise), forward, x, y)
        often = smallest(searching(net, noise, num_attempts=5), forward, x, y)
    assert often.values.nan_to_num(1).mean() < once.values.nan_to_num(1).mean()
    # Its own idea of right, which captum asks for once a batch.
    never = searching(net, correct_fn=lambda out, target: False)
    assert (smallest(never, forward, x, y).values == 0).all()
    own = searching(net, correct_fn=lambda out, target: bool((out.argmax(1) == target).all()))
    plain = smallest(searching(net), forward, x, y)
    assert torch.equal(
        smallest(own, forward, x, y).values.nan_to_num(-1), plain.values.nan_to_num(-1)
    )
    with pytest.raises(ConfigError, match="preproc_fn"):
        smallest(searching(net, preproc_fn=lambda z: z), forward, x, y)


def columns(z: Tensor) -> Tensor:
    """Classes 1 where the first column is beyond 1.5, else 0."""
    return torch.stack([1.5 - z[:, 0], z[:, 0] - 1.5], 1)


def test_what_breaks_a_model_beyond_the_bounds_breaks_it_nowhere() -> None:
    x, y = torch.rand(20, 3, generator=rng()), torch.zeros(20, dtype=torch.long)
    search = MinParamPerturbation(columns, lambda z, by: z + by, "by", 0.0, 4.0, 0.5)
    # Bounds of 1: nothing inside breaks it, so what is shown is the last one tried.
    assert torch.equal(run(Smallest(search), columns, x, y), torch.ones_like(x))
    assert smallest(search, lambda z, rows: columns(z), x, y).values.isfinite().all()


def test_a_search_draws_the_same_for_all_models() -> None:
    x, y = torch.rand(40, 3, generator=rng()), torch.zeros(40, dtype=torch.long)
    drawn: list[Tensor] = []

    def noise(z: Tensor, by: float) -> Tensor:
        drawn.append(torch.randn_like(z))
        return z + by * drawn[-1]

    search = MinParamPerturbation(columns, noise, "by", 0.1, 1.3, 0.4)
    seen = []
    for net in (columns, lambda z: columns(z - 0.5)):
        drawn.clear()
        run(Smallest(search), net, x, y, bounds=None)
        seen.append([d.clone() for d in drawn])
    assert len(seen[0]) == len(seen[1]) == 3
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (lambda z, by: (z + by)[:, :1], r"gave \(20, 1\) for inputs of shape \(20, 3\)"),
        (lambda z, by: z / 0, "NaN or infinity in 20 rows"),
    ],
)
def test_a_search_spreads_no_wrong_shape_over_its_examples(attack: Any, says: str) -> None:
    x, y = torch.rand(20, 3, generator=rng()), torch.zeros(20, dtype=torch.long)
    with pytest.raises(DataError, match=says):
        run(Smallest(MinParamPerturbation(columns, attack, "by", 0, 1, 0.25)), columns, x, y)


def test_steps_that_lead_nowhere_are_refused() -> None:
    search = MinParamPerturbation(columns, fade, "by", 0, 1, 0)
    with pytest.raises(ConfigError, match="arg_step: is 0; give a number above 0"):
        smallest(search, lambda z, rows: columns(z), torch.rand(2, 3), torch.zeros(2).long())


@pytest.mark.parametrize("of", [lambda z: z * torch.nan, lambda z: z[:, :1]])
def test_an_attack_that_gives_nonsense_is_no_robustness(of: Any) -> None:
    class Nonsense(PGD):  # type: ignore[misc]
        def perturb(self, *given: Any, **more: Any) -> Any:
            return of(super().perturb(*given, **more))

    x, y = torch.rand(20, 3, generator=rng()), torch.zeros(20, dtype=torch.long)
    with pytest.raises(DataError, match="attack nonsense: gave"):
        run(Captum(Nonsense, severity=0.1), columns, x, y)


# -- AttackComparator ---------------------------------------------------------------------------


def right(out: Tensor, target: Tensor) -> Tensor:
    return (out.argmax(1) == target).double()


def comparator(net: Any, metric: Any = right) -> Any:
    made = AttackComparator(net, metric)
    made.add_attack(fade, "fade", attack_kwargs={"by": 0.8})
    bounds = {"lower_bound": 0.0, "upper_bound": 1.0}
    fgsm = FGSM(net, nn.CrossEntropyLoss(reduction="none"), **bounds)
    made.add_attack(
        fgsm, "fgsm", attack_kwargs={"epsilon": 0.1}, additional_attack_arg_names=["target"]
    )
    return made


def batches(x: Tensor, y: Tensor, size: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
    return [(a, {"target": b}) for a, b in zip(x.split(size), y.split(size), strict=True)]


def test_every_row_weighs_the_same_whatever_the_last_batch(digits: Trained) -> None:
    net, x, y = digits
    # The last, short batch is made of what is wrong.
    order = (net(x).argmax(1) == y).long().argsort(descending=True, stable=True)
    x, y = x[order], y[order]
    made = comparator(net)
    found = compared(made, net, batches(x, y, 147))
    direct = {
        "Original": accuracy(net, x, y),
        "fade": accuracy(net, fade(x, 0.8), y),
        "fgsm": accuracy(net, disarmed(made.attacks["fgsm"].attack_fn, net).perturb(x, 0.1, y), y),
    }
    assert made.summary() == {}, "it is left as it is"
    for name, value in direct.items():
        assert float(found[name]["mean"]) == pytest.approx(value, abs=1e-12)
    for inputs, given in batches(x, y, 147):
        made.evaluate(inputs, **given)
    theirs = float(made.summary()["Original"]["mean"])
    assert abs(theirs - direct["Original"]) > 0.2, "the trap is no longer set"


@pytest.mark.parametrize("start", [False, True])
def test_l2_of_a_comparator_goes_along_the_gradient(start: bool) -> None:
    x = torch.full((30, 4), 0.5)
    weights = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    made = AttackComparator(None, None)
    given = {"radius": 0.1, "step_size": 0.2, "step_num": 9, "norm": "L2", "random_start": start}
    made.add_attack(PGD(None), "pgd", attack_kwargs=given)
    (condition,) = conditions_of(made)
    moved = run(condition, lambda z: z @ weights, x, torch.zeros(30).long()) - x
    # Of a linear model the worst point of the ball is known: against the weights.
    expected = torch.tensor([-0.08, -0.06, 0.0, 0.0]).expand(30, 4)
    torch.testing.assert_close(moved, expected, rtol=0, atol=2e-3 if start else 1e-5)


@pytest.mark.parametrize("loss", [None, nn.MSELoss()])
def test_values_are_attacked_by_their_squared_error(loss: Any) -> None:
    x = torch.rand(40, 3, generator=rng())
    weights = torch.tensor([1.0, -2.0, 0.0])
    y = x @ weights + torch.where(torch.arange(40) % 2 == 0, 0.3, -0.3)
    made = AttackComparator(None, None)
    made.add_attack(FGSM(None, loss), "fgsm", attack_kwargs={"epsilon": 0.1})
    (condition,) = conditions_of(made)
    found = run(condition, lambda z: (z @ weights)[:, None], x, y.double()[:, None], bounds=None)
    way = -torch.sign(y - x @ weights)[:, None] * torch.sign(weights)
    torch.testing.assert_close(found, x + 0.1 * way)


def test_metrics_of_every_form_and_several_attempts(digits: Trained) -> None:
    net, x, y = digits

    def both(out: Tensor, target: Tensor) -> tuple[Tensor, float]:
        return right(out, target), float(right(out, target).mean())

    found = compared(comparator(net, both), net, batches(x, y, 64))["fade"]["mean"]
    expected = accuracy(net, fade(x, 0.8), y)
    assert [float(v) for v in found] == pytest.approx([expected] * 2)
    made = AttackComparator(net, right)
    made.add_attack(lambda z: z + torch.randn_like(z), "noise", num_attempts=3)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        noise = compared(made, net, batches(x, y, 64))["noise"]
    assert noise["min"] < noise["mean"] < noise["max"]
    with pytest.raises(ConfigError, match="hold no rows"):
        compared(made, net, [])


# -- in an audit --------------------------------------------------------------------------------


@pytest.mark.usefixtures("asked_alone")
def test_an_audit_looks_under_all_of_them(digits: Trained) -> None:
    net, x, y = digits
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    mine = [
        Captum(PGD, severity=0.05),
        Captum(PGD, severity=0.1),
        Smallest(searching(net), "fade"),
        *conditions_of(comparator(net)),
    ]
    report = ringtest.audit(net, student, data, conditions=mine, progress=False)
    rows = {
        (r.condition, r.severity): r
        for r in report.verdict.rows
        if r.measure == "outputs.score" and r.slice is None
    }
    assert not [r for r in report.verdict.rows if r.status == "error"]
    # Each model's own worst inputs.
    found = {c.key: run(c, net, x, y) for c in mine}
    fgsm, faded = rows["attack.callable.fgsm", None], rows["perturb.callable.fade", None]
    assert fgsm.teacher == pytest.approx(accuracy(net, found["attack.callable.fgsm"], y))
    assert faded.student == pytest.approx(accuracy(student, fade(x, 0.8), y))
    least = rows["attack.captum_smallest.fade", None]
    values = smallest(searching(net), lambda z, _: net(z), x, y).values
    assert least.teacher == pytest.approx(float(values.isnan().double().mean()))
    strong, weak = (rows["attack.captum.pgd", s] for s in (0.1, 0.05))
    assert strong.teacher < weak.teacher < rows["clean", None].teacher
    area = rows["attack.captum.pgd", None]
    assert area.params["severities"] == [0.0, 0.05, 0.1]


class Backward(FGSM):  # type: ignore[misc]
    def perturb(self, inputs: Any, *given: Any, target: Any, **more: Any) -> Any:
        x = inputs.detach().clone().requires_grad_()
        with torch.enable_grad():
            nn.functional.cross_entropy(self.forward_func(x), target).backward()
        return super().perturb(inputs, *given, target=target, **more)


def test_an_attack_that_calls_backward_leaves_no_gradients() -> None:
    x = torch.rand(8, 4, generator=rng())
    net = nn.Linear(4, 2)
    y = net(x).argmax(1)
    attack = Captum(Backward, severity=0.1)
    attack.fit([], AuditData(x, y.numpy(), bounds=(0.0, 1.0)), rng())
    seen: Any = SimpleNamespace(logits=lambda z, rows=None: net(z), gradients=True, module=net)
    assert not torch.equal(attack.batch(seen, x, y, rng()), x)
    assert [p.grad for p in net.parameters()] == [None, None]
