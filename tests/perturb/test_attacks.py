"""What every attack on inputs promises: one table, a new attack is one row."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringtest import tasks
from ringtest.beside import others
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, SubjectError
from ringtest.model import Model
from ringtest.perturb import losses
from ringtest.perturb.attack import Attack, MisleadingGradient
from ringtest.perturb.captum_robust import Captum
from ringtest.perturb.disagreement import Disagreement
from ringtest.perturb.discrepancy import Discrepancy
from ringtest.perturb.embedding import EmbeddingPGD
from ringtest.perturb.representation import LayerAttack
from ringtest.perturb.transfer import Transfer
from ringtest.trial import prepare


@dataclass(frozen=True)
class Row:
    """One attack: its id, norm, and what makes it stronger."""

    id: str
    norm: float
    gradients: bool = True
    budget: str | None = "steps"
    """The option that makes it stronger; None: there is none."""
    task: str = "classification"
    padding: bool = False
    against: bool = False
    """Whether a teacher takes part, whose outputs count as much as the model's."""

    @property
    def make(self) -> Any:
        return conditions[self.id].make

    @property
    def eps(self) -> float:
        return {np.inf: 0.1, 2: 0.4, 1: 1.5}[self.norm]


TABLE = [
    Row("attack.fgsm", np.inf, budget=None),
    Row("attack.pgd", np.inf, padding=True),
    Row("attack.pgd_l2", 2),
    Row("attack.pgd_l1", 1),
    Row("attack.apgd", np.inf),
    Row("attack.square", np.inf, gradients=False, budget="queries"),
    Row("attack.squared_error", np.inf, task="regression"),
    Row("attack.movement", np.inf, task="regression"),
    Row("attack.movement", np.inf, task="embedding"),
    *(
        Row("attack.discrepancy", np.inf, task=task, against=True)
        for task in ("classification", "regression", "embedding")
    ),
    Row("attack.betrayal", np.inf, against=True),
]
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda r: f"{r.id}-{r.task}")
KINDS = ["images, bounds", "images", "table", "doubles", "halves", "sequence", "masked"]
N = 80


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(kind: str) -> tuple[Tensor, dict[str, Any]]:
    g = rng(7)
    if kind.startswith("images"):
        x = torch.rand(N, 2, 6, 5, generator=g)
        return (x, {"bounds": (0.0, 1.0)}) if kind == "images, bounds" else (4 * x - 1, {})
    shape = (N, 6, 4) if kind in ("sequence", "masked") else (N, 7)
    x = torch.randn(shape, generator=g) * torch.linspace(0.5, 3, shape[-1]) + 2
    x[..., 1] = 4.1  # a constant column
    more = {"mask": torch.arange(6) < torch.randint(2, 7, (N, 1), generator=g)}
    typed = {"doubles": torch.float64, "halves": torch.float16}.get(kind, torch.float32)
    return x.to(typed), more if kind == "masked" else {}


def network(kind: str, seed: int = 3) -> nn.Module:
    """A smooth function of all inputs, but of padding."""
    width = inputs(kind)[0][0].numel()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(width, 12), nn.Tanh(), nn.Linear(12, 4))
    scale = inputs(kind)[0].float().std()
    with torch.no_grad():
        net[1].weight *= 1.5 / scale
    return net


def model(kind: str, seed: int = 3, seen: list[Any] | None = None) -> Any:
    net = network(kind, seed).requires_grad_(False)
    mask = inputs(kind)[1].get("mask")

    def logits(x: Tensor, rows: Tensor | None = None) -> Tensor:
        if seen is not None:
            seen.append((x.detach().clone(), rows))
        x = x.float()
        if mask is not None:
            x = x * (mask if rows is None else mask[rows])[..., None]
        out: Tensor = net(x)
        return out

    return SimpleNamespace(name=f"{kind} {seed}", logits=logits, gradients=True, mask=mask)


def data(kind: str, task: str) -> AuditData:
    x, more = inputs(kind)
    with torch.no_grad():
        out = model(kind).logits(x)
    targets: Any = None
    if task == "classification":
        targets = out.argmax(1).numpy()
        targets[:5] = (targets[:5] + 1) % 4
    elif task == "regression":
        targets = (out + 0.2 * torch.randn(out.shape, generator=rng(5))).double().numpy()
    return AuditData(x, targets, **more)


def fitted(row: Row, kind: str, **options: Any) -> tuple[Any, AuditData]:
    at = data(kind, row.task)
    attack = row.make(severity=row.eps)
    options = {"queries": 60} if row.budget == "queries" and not options else options
    options = {"steps": 8} if row.id == "attack.apgd" and not options else options
    for name, value in options.items():
        setattr(attack, name, value)
    attack.fit(teacher(kind, row.task, at) if row.against else [], at, rng(1))
    return attack, at


def teacher(kind: str, task: str, at: AuditData) -> list[Any]:
    """Two members, which lie near the model."""
    made = tasks.make(task, at)
    out = [canonical(model(kind, seed), made) for seed in (3, 5)]
    for member in out:
        member.role, member.task, member.outputs = "member", made, member.logits
    return out


def canonical(of: Any, task: Any) -> Any:
    """Outputs in the task's form, as those of a prepared model are."""

    def logits(x: Tensor, rows: Tensor | None = None) -> Tensor:
        out: Tensor = task.canonical(of.logits(x, rows), False)
        return out

    return SimpleNamespace(**{**vars(of), "logits": logits})


def run(attack: Any, at: AuditData, of: Any, x: Tensor | None = None, seed: int = 2) -> Tensor:
    y = None if at.targets is None else torch.as_tensor(at.targets)
    if isinstance(attack, Discrepancy) and not isinstance(of, Model):
        of = canonical(of, attack._task)
    found: Tensor = attack.batch(of, at.inputs if x is None else x, y, rng(seed))
    return found


def damage(row: Row, kind: str, at: AuditData, x: Tensor) -> Tensor:
    """(n,) how far each example gave way, computed anew."""
    with torch.no_grad():
        z, clean = model(kind).logits(x).double(), model(kind).logits(at.inputs).double()
    if row.against:
        return apart(row, kind, at, x)
    if row.task == "classification":
        return losses.deficit(z, torch.as_tensor(at.targets))
    if row.task == "embedding":
        z, clean = (v / v.norm(dim=1, keepdim=True) for v in (z, clean))
        return (z - clean).square().sum(1)
    y = torch.as_tensor(at.targets)
    origin = y if row.id == "attack.squared_error" else clean
    return ((z - origin) / y.std(0, correction=0)).square().sum(1)


def apart(row: Row, kind: str, at: AuditData, x: Tensor) -> Tensor:
    """(n,) how far model and teacher were driven apart."""
    with torch.no_grad():
        z = model(kind).logits(x).double()
        # As many as a member is held against: of two one, by the seed of ``run``.
        (member,) = others(teacher(kind, row.task, at), "", rng(2).initial_seed())
        other, clean = member.logits(x).double(), member.logits(at.inputs).double()
    if row.task == "regression":
        return ((z - other) / torch.as_tensor(at.targets).std(0, False)).square().mean(1)
    if row.task == "embedding":
        return 1 - torch.cosine_similarity(z, other, dim=1)
    p, q = other.softmax(1), z.softmax(1)
    kl = (p * (p / q).log()).sum(1)
    if row.id == "attack.discrepancy":
        return kl
    word = clean.argmax(1)
    assert (p.argmax(1) == word).all(), "the teacher gave way"
    return kl / (1 + kl) + (z.argmax(1) != word)


@pytest.mark.parametrize("kind", KINDS)
@ROWS
def test_keeps_eps_and_bounds_and_is_never_milder_than_clean(row: Row, kind: str) -> None:
    attack, at = fitted(row, kind)
    before = at.inputs.clone()
    found = run(attack, at, model(kind))
    assert found.shape == at.inputs.shape
    assert found.dtype == at.inputs.dtype
    assert not found.requires_grad
    assert torch.equal(at.inputs, before)
    x, moved = at.inputs.double(), found.double() - at.inputs.double()
    # The unit of eps, computed anew.
    over = (0, 2, 3) if kind == "images" else tuple(range(x.ndim - 1))
    unit = torch.ones(()) if at.bounds else x.std(dim=over, correction=0, keepdim=True)
    unit = torch.where(x.amax(over, keepdim=True) > x.amin(over, keepdim=True), unit, 0.0)
    rounding = 2 * float(torch.finfo(found.dtype).eps) * float(x.abs().max())
    assert (moved.abs() * (unit == 0)).max() == 0, "what is constant was moved"
    size = torch.where(unit > 0, moved / unit, 0.0).flatten(1)
    size = torch.linalg.vector_norm(size, ord=row.norm, dim=1)
    spare = rounding * (1 if row.norm == np.inf else 10) / float(unit[unit > 0].min())
    assert (size <= row.eps * (1 + 1e-5) + spare).all()
    if at.bounds is not None:
        assert found.min() >= 0
        assert found.max() <= 1
    if at.mask is not None and not row.padding:
        assert (moved.abs()[~at.mask] == 0).all(), "padding was moved"
    clean, after = damage(row, kind, at, at.inputs), damage(row, kind, at, found)
    assert (after >= clean - 1e-5).all()
    assert (after > clean + 1e-3).float().mean() > 0.5, "it does nothing"


@pytest.mark.parametrize("row", [r for r in TABLE if r.budget], ids=lambda r: f"{r.id}-{r.task}")
def test_more_steps_are_not_weaker(row: Row) -> None:
    assert row.budget is not None
    kind = "images, bounds"
    few, many = (
        damage(row, kind, at, run(attack, at, model(kind)))
        for attack, at in (fitted(row, kind, **{row.budget: n}) for n in (4, 60))
    )
    if row.task == "classification":
        few, many = few.clamp(max=0.0), many.clamp(max=0.0)
    assert many.mean() >= few.mean() - 1e-3
    assert (many >= 0).sum() >= (few >= 0).sum()


@pytest.mark.parametrize("row", [r for r in TABLE if r.budget == "steps"], ids=lambda r: r.id)
def test_more_restarts_are_not_weaker(row: Row) -> None:
    kind = "table"
    once, thrice = (
        damage(row, kind, at, run(attack, at, model(kind)))
        for attack, at in (fitted(row, kind, steps=5, restarts=n) for n in (1, 3))
    )
    # The first run is the same, so no example can get better.
    assert (thrice.clamp(max=0.0) >= once.clamp(max=0.0) - 1e-5).all()
    assert row.task == "classification" or (thrice >= once - 1e-5).all()


@ROWS
def test_every_model_starts_at_the_same_points(row: Row) -> None:
    kind = "images, bounds"
    attack, at = fitted(row, kind)
    starts = []
    for seed in (3, 4):
        seen: list[Any] = []
        run(attack, at, model(kind, seed, seen))
        points, rows = seen[1]  # the first look is at the clean rows
        full = torch.full_like(points.new_zeros(at.inputs.shape), torch.nan)
        full[slice(None) if rows is None else rows] = points
        starts.append(full)
    both = ~torch.isnan(starts[0] + starts[1]).flatten(1).any(1)
    assert both.sum() > 10
    assert torch.equal(starts[0][both], starts[1][both])
    assert torch.equal(starts[0][both], at.inputs[both]) == (
        row.id in ("attack.fgsm", "attack.squared_error")
    )


@pytest.mark.parametrize("kind", ["images, bounds", "sequence"])
@ROWS
def test_rows_do_not_depend_on_their_company(row: Row, kind: str) -> None:
    attack, at = fitted(row, kind)
    half = N // 2
    other = torch.cat([at.inputs[:half], at.inputs[half:].flip(0)])
    a, b = run(attack, at, model(kind)), run(attack, at, model(kind), other)
    # Sums of floats may differ in their last bit with the size of a batch.
    assert ((a - b)[:half].abs() > 1e-5).float().mean() < 0.01


@ROWS
def test_the_model_and_the_random_state_are_left_as_they_were(row: Row) -> None:
    attack, at = fitted(row, "table")
    net = network("table")
    subject = prepare("m", "member", net, tasks.make(row.task, at), at)
    net.train()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = run(attack, at, subject)
    with torch.inference_mode():
        again = run(attack, at, subject)
    assert torch.equal(first, again)
    assert not torch.equal(first, run(attack, at, subject, seed=3)) or row.id == "attack.fgsm"
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(net[1].weight, network("table")[1].weight)


@ROWS
def test_only_gradient_attacks_need_gradients(row: Row) -> None:
    attack, at = fitted(row, "table")
    blind = SimpleNamespace(
        logits=lambda x, rows=None: (8 * model("table").logits(x)).round(), gradients=False
    )
    if row.gradients:
        with pytest.raises(SubjectError, match=f"gives no gradients; leave {row.id} out"):
            run(attack, at, blind)
        blind.gradients = True
        with pytest.raises(SubjectError, match="do not depend"):
            run(
                attack,
                at,
                SimpleNamespace(logits=lambda x, _=None: x.detach()[:, :4], gradients=True),
            )
    else:
        # The answers are a staircase, on which small steps change nothing.
        attack.severity = 1.0
        with torch.no_grad():
            z = blind.logits(run(attack, at, blind))
        y = torch.as_tensor(at.targets)
        assert (z.argmax(1) == y).float().mean() < (
            (blind.logits(at.inputs).argmax(1) == y).float().mean() - 0.1
        )


@pytest.mark.parametrize("eps", [0, -0.1, float("nan"), float("inf"), "0.1"])
@ROWS
def test_an_eps_that_is_no_positive_number_is_refused(row: Row, eps: Any) -> None:
    with pytest.raises(ConfigError, match=rf"severity of {row.id}: is .*; give an eps above 0"):
        row.make(severity=eps)


@ROWS
def test_bad_input_is_told_in_one_line(row: Row) -> None:
    attack, at = fitted(row, "table")
    y = None if at.targets is None else torch.as_tensor(at.targets)
    with pytest.raises(DataError, match=r"inputs: are torch.int64, which .* cannot move") as told:
        attack.batch(model("table"), at.inputs.long(), y, rng())
    assert "\n" not in str(told.value)
    if row.id != "attack.movement" and not row.against:
        with pytest.raises(DataError, match="targets: are missing"):
            attack.batch(model("table"), at.inputs, None, rng())
    with pytest.raises(DataError, match="bounds"):
        AuditData(at.inputs, at.targets, bounds=(0.0, 1.0))


@pytest.mark.parametrize("row", [r for r in TABLE if issubclass(r.make, MisleadingGradient)])
def test_a_loss_gives_one_value_a_row(row: Row) -> None:
    if row.id == "attack.fgsm":
        attack, at = fitted(row, "table")
    else:
        attack, at = fitted(row, "table", steps=3)
    attack.losses = {"mean": nn.functional.cross_entropy}
    with pytest.raises(ConfigError, match=r"losses: one gave shape \(\) for \d+ rows; return one"):
        run(attack, at, model("table"))


@ROWS
def test_it_runs_only_where_it_is_asked_for(row: Row) -> None:
    at = data("table", row.task)
    assert bool(list(row.make.defaults(at))) == (row.id == "attack.pgd")
    usual = [c.key for c in row.make.asked(at)]
    assert usual == [f"{row.id}@{eps:g}" for eps in row.make.usual]
    assert [c.key for c in row.make.asked(at, 0.07)] == [f"{row.id}@0.07"]
    assert not list(row.make.asked(AuditData(torch.ones(9, 3, dtype=torch.long), np.arange(9))))
    assert row.task in row.make.tasks
    assert row.make.gradients == row.gradients
    assert issubclass(row.make, Attack)


def test_the_table_holds_every_attack() -> None:
    """Others have files of their own: layers, embeddings, what many models are shown, captum's."""
    every = {k.id: k.make for k in conditions if issubclass(k.make, Attack)}
    apart = (LayerAttack, Transfer, EmbeddingPGD, Disagreement, Captum)
    assert {r.id for r in TABLE} == {k for k, c in every.items() if not issubclass(c, apart)}


@pytest.mark.parametrize("id_", ["attack.pgd_l2", "attack.pgd_l1", "attack.apgd", "attack.square"])
def test_a_linear_model_falls_as_far_as_the_dual_norm(id_: str) -> None:
    g = rng()
    x = torch.randn(300, 8, generator=g)
    weights = torch.randn(8, 2, generator=g)
    y = (x @ weights).argmax(1)
    eps = {"attack.pgd_l2": 0.6, "attack.pgd_l1": 0.9}.get(id_, 0.3)
    attack = conditions[id_].make(severity=eps)
    at = AuditData(x, y.numpy())
    attack.fit([], at, rng())
    found = run(attack, at, SimpleNamespace(logits=lambda z, _=None: z @ weights, gradients=True))
    unit, gap = x.std(0, correction=0), weights[:, 0] - weights[:, 1]
    order = {"attack.pgd_l2": 2, "attack.pgd_l1": np.inf}.get(id_, 1)
    reach = eps * torch.linalg.vector_norm(gap * unit, ord=order)
    can = losses.margin(x @ weights, y) < reach
    broken = (found @ weights).argmax(1) != y
    assert 0.2 < can.float().mean() < 0.95
    assert not (broken & ~can).any()
    assert (broken == can).float().mean() > 0.99


def test_errors_and_movements_of_a_linear_model_are_exact() -> None:
    g = rng()
    x = torch.randn(200, 6, generator=g) * torch.tensor([1.0, 10, 1, 1, 0.1, 1])
    weights = torch.randn(6, 1, generator=g)
    y = (x @ weights + torch.randn(200, 1, generator=g)).numpy()
    at = AuditData(x, y)
    linear = SimpleNamespace(logits=lambda z, _=None: z @ weights, gradients=True)
    reach = 0.1 * ((weights[:, 0] * x.std(0, correction=0)).abs()).sum()
    clean, error = x @ weights, (x @ weights - torch.as_tensor(y)).abs()
    for id_, largest in {
        "attack.squared_error": error + reach,
        "attack.movement": reach.expand(200, 1),
    }.items():
        attack = conditions[id_].make(severity=0.1)
        attack.fit([], at, rng())
        z = run(attack, at, linear) @ weights
        origin = torch.as_tensor(y) if id_ == "attack.squared_error" else clean
        far = (z - origin).abs()
        assert (far <= largest + 1e-4).all()
        assert (far > 0.999 * largest).all()


@pytest.mark.parametrize(("kind", "eps"), [("table", 0.5), ("sequence", 0.3)])
def test_stretches_of_columns_and_steps_do_what_squares_do(kind: str, eps: float) -> None:
    rows = {r.id: r for r in TABLE}
    square, at = fitted(rows["attack.square"], kind, queries=300)
    gradient, _ = fitted(rows["attack.apgd"], kind, steps=20)
    square.severity = gradient.severity = eps
    found, best = (
        (damage(rows[a.kind], kind, at, run(a, at, model(kind))) > 0) for a in (square, gradient)
    )
    clean = damage(rows["attack.square"], kind, at, at.inputs) > 0
    assert best.sum() > clean.sum() + 4
    assert found.sum() >= best.sum() - 2


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_apgd_with_few_classes(classes: int) -> None:
    g = rng()
    x, weights = torch.rand(60, 5, generator=g), torch.randn(5, classes, generator=g)
    y = (x @ weights).argmax(1)
    at = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    attack = conditions["attack.apgd"].make(severity=0.1)
    attack.steps = 10
    attack.fit([], at, rng())
    seen: list[Tensor] = []

    def logits(z: Tensor, rows: Tensor | None = None) -> Tensor:
        seen.append(z)
        return z @ weights

    found = run(attack, at, SimpleNamespace(logits=logits, gradients=True))
    assert ((found @ weights).argmax(1) != y).any()
    # Cross-entropy, DLR and, with more than two classes, each rival; nobody leaves for good here.
    assert len(seen) == 1 + 11 * (2 + (classes - 1 if classes > 2 else 0))
