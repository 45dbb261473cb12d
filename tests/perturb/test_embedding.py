"""The attack on embeddings against its closed form, its budget, and what must not be touched."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy.stats import kstest
from torch import Tensor, nn

import ringtest
from ringtest import tasks
from ringtest.condition import Clean
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, SubjectError
from ringtest.evidence import Wanted, gather
from ringtest.model import Model, evaluating
from ringtest.perturb.embedding import EmbeddingPGD
from ringtest.perturb.geometry import L2
from ringtest.perturb.tokenwise import TokenL2
from ringtest.trial import prepare

WORDS, LENGTH, N = 40, 9, 120
OPEN, CLOSE, PAD = 1, 2, 0


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seeded(make: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return make()


def sentences() -> dict[str, Tensor]:
    """Rows of 3 to 7 words in a frame, then padding."""
    g = rng(1)
    count = torch.randint(3, LENGTH - 1, (N, 1), generator=g)
    place = torch.arange(LENGTH)
    ids = torch.randint(3, WORDS, (N, LENGTH), generator=g)
    ids[:, 0] = OPEN
    ids = torch.where(place == count + 1, CLOSE, torch.where(place > count + 1, PAD, ids))
    return {"input_ids": ids, "attention_mask": (place <= count + 1).long()}


class Bag(nn.Module):
    """A hidden layer on the mean of the embeddings."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.place = nn.Embedding(LENGTH, width)  # called first, and not on tokens
        self.embed = nn.Embedding(WORDS, width)
        self.fc, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].float()
        places = self.place(torch.arange(input_ids.shape[1]).expand_as(input_ids))
        mean = ((self.embed(input_ids) + 0.1 * places) * mask).sum(1) / mask.sum(1)
        out: Tensor = self.head(torch.tanh(self.fc(mean)))
        return out


class Linear(Bag):
    """Linear in the mean of the embeddings."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].float()
        out: Tensor = self.head((self.embed(input_ids) * mask).sum(1) / mask.sum(1))
        return out


def labels() -> Tensor:
    """Three kinds of word, and which of them stands most often."""
    ids = sentences()["input_ids"]
    kinds = torch.stack([((ids > 2) & (ids % 3 == k)).sum(1) for k in range(3)], 1)
    return kinds.argmax(1)


@cache
def trained(seed: int = 0, width: int = 8) -> Bag:
    def make() -> Bag:
        net = Bag(width)
        optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(**sentences()), labels()).backward()
            optimiser.step()
        optimiser.zero_grad()
        return net.eval()

    return seeded(make, seed)  # type: ignore[no-any-return]


def data(targets: Any = None) -> AuditData:
    return AuditData(sentences(), labels().numpy() if targets is None else targets)


def model(net: Any, at: AuditData) -> Model:
    return prepare("m", "member", net, tasks.make("classification", at), at)


def attacked(
    net: Any, at: AuditData, eps: float, part: Any = slice(None)
) -> tuple[Model, EmbeddingPGD, Tensor]:
    """The view of the attacked model, the attack, and the inputs of the block."""
    attack = EmbeddingPGD(severity=eps)
    subject = net if isinstance(net, Model) else model(net, at)
    attack.fit([], at, rng(3))
    view = attack.subject(subject)
    view.at(at.rows, part)
    x = attack.batch(view, at.inputs[part], torch.as_tensor(at.targets)[part], rng(4))
    return view, attack, x


def spread(net: Any, at: AuditData) -> float:
    """Standard deviation of the embeddings of all words of the data."""
    table = net.get_input_embeddings() if hasattr(net, "get_input_embeddings") else net.embed
    with torch.no_grad():
        words: Tensor = table(at.inputs[at.inputs > CLOSE])
    return float((words - words.mean(0)).square().sum(1).mean().sqrt())


def shown(view: Model, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What an embedding layer hands on, and what the model answers."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _m, _a, out: seen.append(out.detach().clone()))
    try:
        with torch.no_grad():
            out = view.outputs(x)
    finally:
        handle.remove()
    return seen[0], out


def test_every_token_has_the_euclidean_ball_of_a_row() -> None:
    centre, point, slope = torch.randn(3, 50, 7, 4, generator=rng())
    point[:, 0] = centre[:, 0]  # steps never leave what is fixed
    unit = torch.tensor([0.0, 1, 2, 0.5, 1, 1, 3]).view(1, 7, 1).expand(50, 7, 1)
    ball = TokenL2(centre, unit, 0.4, None)
    apart = L2(centre.flatten(0, 1), unit.flatten(0, 1), 0.4, None)
    for name, args in (("project", [point]), ("steepest", [point, slope])):
        ours = getattr(ball, name)(*args).flatten(0, 1)
        torch.testing.assert_close(ours, getattr(apart, name)(*(a.flatten(0, 1) for a in args)))
    assert ball.holds(ball.project(point), torch.float32).all()
    assert not ball.holds(point, torch.float32).any()
    offset = (ball.start(rng(1)) - centre) / unit.clamp(min=0.1) / 0.4
    assert (offset[:, 0] == 0).all()
    lengths = offset[:, 1:].norm(dim=2).flatten().numpy()
    assert kstest(lengths**4, "uniform").pvalue > 0.01
    # One token too far is too far for its row.
    far = ball.project(point)
    far[3, 2] += 1
    assert (~ball.holds(far, torch.float32)).nonzero().flatten().tolist() == [3]


def test_rows_may_have_budgets_of_their_own() -> None:
    centre, point = torch.randn(2, 5, 5, 4, generator=rng())
    eps = torch.tensor([0.1, 0.5, 1.0, 2.0, 0.01])
    ball = TokenL2(centre, torch.ones(()), eps, None)
    found = ball.project(point)
    for row, size in enumerate(eps):
        alone = TokenL2(centre[[row]], torch.ones(()), float(size), None)
        torch.testing.assert_close(found[[row]], alone.project(point[[row]]))
    assert ball.holds(found, torch.float32).all()


def test_a_linear_model_falls_as_far_as_it_can() -> None:
    """Each free token moves by eps along the difference of two weights: margins fall by known."""
    net, at = seeded(lambda: Linear(classes=2)), data()
    with torch.no_grad():
        z = net(**sentences())
    y = z.argmax(1)
    at = data(y.numpy())
    view, _, x = attacked(net, at, 0.3)
    gap = net.head.weight.detach().diff(dim=0).norm()
    free, counted = (at.inputs > CLOSE).sum(1), sentences()["attention_mask"].sum(1)
    reach = 0.3 * spread(net, at) * gap * free / counted
    can = (z.diff(dim=1)[:, 0].abs()) < reach
    with torch.no_grad():
        broken = view.outputs(x).argmax(1) != y
    assert 0.2 < can.float().mean() < 0.95
    assert not (broken & ~can).any()
    assert (broken == can).float().mean() > 0.98


@pytest.mark.parametrize("eps", [0.03, 0.5])
def test_eps_is_kept_and_frame_and_padding_stay(eps: float) -> None:
    net, at = trained(), data()
    view, _, x = attacked(net, at, eps)
    assert torch.equal(x, at.inputs)
    moved = shown(view, net.embed, x)[0] - net.embed(x).detach()
    length, limit = moved.norm(dim=2), eps * spread(net, at)
    assert (length <= limit * (1 + 1e-5)).all()
    assert (length[at.inputs <= CLOSE] == 0).all()
    words = length[at.inputs > CLOSE]
    # Most tokens use most of it: one that resists moves on to the sphere.
    assert (words > 0.5 * limit).float().mean() > 0.3
    assert set(at.frame_tokens.tolist()) == {PAD, OPEN, CLOSE}


def test_what_the_mask_leaves_out_stays_though_it_is_a_word_elsewhere() -> None:
    net, rows = trained(), sentences()
    rows["input_ids"] = torch.where(rows["input_ids"] == PAD, 7, rows["input_ids"])
    at = AuditData(rows, labels().numpy())
    assert at.frame_tokens.tolist() == [OPEN, CLOSE]
    view, _, x = attacked(net, at, 0.1)
    length = (shown(view, net.embed, x)[0] - net.embed(x).detach()).norm(dim=2)
    padding = rows["attention_mask"] == 0
    assert (length[padding] == 0).all()
    assert (length[(x == 7) & ~padding] > 0).any()


def test_the_score_falls_with_eps_and_further_than_under_noise() -> None:
    net, at = trained(), data()
    found = []
    for eps in (0.001, 0.05, 0.1, 0.3):
        view, _, x = attacked(net, at, eps)
        with torch.no_grad():
            found.append(float((view.outputs(x).argmax(1) == labels()).float().mean()))
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.9
    assert found[-1] < 0.3
    # The same distance in random directions does next to nothing.
    centre = net.embed(x).detach()
    unit = spread(net, at) * (at.inputs > CLOSE)[:, :, None].float()
    noise = TokenL2(centre, unit, 0.3, None).start(rng())
    view.function.shown = noise  # type: ignore[attr-defined]
    with torch.no_grad():
        noisy = float((view.outputs(x).argmax(1) == labels()).float().mean())
    assert noisy > found[-1] + 0.5


def test_eps_is_relative_to_the_models_own_scale() -> None:
    """A table ten times as large, read by weights a tenth as large, is the same model."""
    net = trained()
    large = Bag(8)
    large.load_state_dict(net.state_dict())
    with torch.no_grad():
        large.embed.weight *= 10
        large.place.weight *= 10
        large.fc.weight /= 10
    at = data()
    found = []
    for each in (net, large.eval()):
        view, _, x = attacked(each, at, 0.1)
        with torch.no_grad():
            found.append(view.outputs(x))
    assert ((found[0] - found[1]).abs().amax(1) < 1e-2).float().mean() > 0.95


def test_rows_do_not_depend_on_their_company() -> None:
    """Examples leave the batch one by one, and their masks with them."""
    net, at = trained(), data()
    half = torch.arange(N // 2)
    whole, _, x = attacked(net, at, 0.1)
    # The same draws for the first half, other rows behind them.
    part = torch.cat([half, torch.arange(N // 2, N).flip(0)])
    other, _, again = attacked(net, at, 0.1, part)
    a, b = whole.function.shown[half], other.function.shown[half]  # type: ignore[attr-defined]
    assert torch.equal(x[half], again[half])
    assert ((a - b).abs() > 1e-4).float().mean() < 0.02


def test_the_model_and_the_random_state_are_left_as_they_were() -> None:
    net, at = trained(), data()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.train()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    view, _, x = attacked(net, at, 0.1)
    first = shown(view, net.embed, x)[0]
    with torch.inference_mode():
        again, _, _ = attacked(net, at, 0.1)
    assert torch.equal(first, shown(again, net.embed, x)[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all("forward" not in vars(m) for m in net.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    # The model itself, beside the view, knows nothing of it.
    plain = model(net.eval(), at)
    plain.at(at.rows, slice(None))
    with torch.no_grad():
        torch.testing.assert_close(plain.raw(x), net(**sentences()))


def test_what_captures_show_is_the_moved_models() -> None:
    net, at = trained(), data()
    task = tasks.make("classification", at)
    subject = prepare("m", "member", net, task, at, ["*"])
    wanted = Wanted(outcomes=True, sample=True, layers=True)
    assert subject.layers is not None
    assert "embed" in subject.layers.names
    with evaluating([subject]):
        clean, moved = (
            gather(c, [subject], (), at, task, wanted, 0).evidence["m"]
            for c in (Clean(), EmbeddingPGD(severity=0.3))
        )
    assert clean.score is not None
    assert moved.score is not None
    assert moved.score.mean() < clean.score.mean() - 0.5
    blind = prepare("m", "student", lambda **rows: net(**rows), task, at)
    shown = gather(EmbeddingPGD(), [blind], (), at, task, wanted, 0).evidence["m"]
    assert shown.failed == "gives no gradients of its layers"
    for name in subject.layers.names:
        same = torch.equal(moved.sample[name], clean.sample[name])
        assert same == (name == "place"), name
    # Means over the words of a row that moved by at most eps move by at most eps.
    far = (moved.sample["embed"] - clean.sample["embed"]).norm(dim=1)
    assert (far <= 0.3 * spread(net, at) * (1 + 1e-5)).all()


class Onehot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(WORDS, 3)

    def forward(self, input_ids: Tensor) -> Tensor:
        out: Tensor = self.head(nn.functional.one_hot(input_ids, WORDS).float().mean(1))
        return out


def test_models_that_cannot_be_attacked_are_told_in_one_line() -> None:
    at = data()
    flat = Bag(8)
    nn.init.constant_(flat.embed.weight, 0.5)
    net = trained()
    for given, why in (
        (lambda input_ids, attention_mask: net(input_ids, attention_mask), "gives no gradients of"),
        (seeded(Onehot), "no torch.nn.Embedding"),
        (flat, "same embedding for all tokens"),
    ):
        with pytest.raises(SubjectError, match=why) as told:
            attacked(given, at, 0.1)
        assert "\n" not in str(told.value)
        assert "leave attack.embedding out" in str(told.value)
    detached = model(net, at)
    detached.layer_gradients = False
    with pytest.raises(SubjectError, match="gives no gradients of its layers"):
        attacked(detached, at, 0.1)
    with pytest.raises(DataError, match="targets: are missing"):
        EmbeddingPGD().batch(model(net, at), at.inputs, None, rng())
    with pytest.raises(DataError, match=r"inputs: are torch.float32"):
        EmbeddingPGD().batch(model(net, at), at.inputs.float(), torch.ones(N), rng())
    with pytest.raises(ConfigError, match="give an eps above 0"):
        EmbeddingPGD(severity=0.0)


def test_it_runs_only_where_it_is_asked_for() -> None:
    assert not list(EmbeddingPGD.defaults(data()))
    assert [c.key for c in EmbeddingPGD.asked(data())] == [
        "attack.embedding@0.03",
        "attack.embedding@0.1",
    ]
    assert not list(EmbeddingPGD.asked(AuditData(torch.rand(N, 3), np.arange(N) % 2)))
    assert not list(EmbeddingPGD.asked(AuditData(sentences())))


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH,
        num_labels=3,
    )
    net = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(6 if p.ndim > 1 else 1)
    return net


def test_a_transformer_of_hugging_face_is_attacked() -> None:
    net = seeded(bert)
    with torch.no_grad():
        y = net(**sentences()).logits.argmax(1)
    at = data(y.numpy())
    view, _, x = attacked(net, at, 0.3)
    layer = net.bert.embeddings.word_embeddings
    moved, out = shown(view, layer, x)
    length = (moved - layer(x).detach()).norm(dim=2)
    assert (length <= 0.3 * spread(net, at) * (1 + 1e-5)).all()
    assert (length[at.inputs <= CLOSE] == 0).all()
    assert (out.argmax(1) != y).float().mean() > 0.2


@pytest.mark.usefixtures("asked_alone")
def test_an_audit_reads_any_measure_under_it() -> None:
    cells = [
        ("outputs.score", "attack.embedding@0.1"),
        ("similarity.cka", "attack.embedding@0.1"),
    ]
    report = ringtest.audit(
        [trained(), trained(1)], trained(2, 5), data(), cells=cells, progress=False
    )
    rows = {r.measure: r for r in report.rows if r.condition == "attack.embedding"}
    clean = next(r for r in report.rows if r.measure == "outputs.score" and r.condition == "clean")
    assert rows["outputs.score"].student < clean.student - 0.1
    assert rows["outputs.score"].teacher < clean.teacher - 0.1
    assert all(r.status == "context" and np.isfinite(r.student) for r in rows.values())
    assert set(rows) == {"outputs.score", "similarity.cka"}


class Twice(Linear):
    """The same function, by two looks at the tokens, after a look at others."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.embed(input_ids[:, :1])
        super().forward(input_ids, attention_mask)
        return super().forward(input_ids, attention_mask)


def test_a_model_that_embeds_its_tokens_twice_is_no_stronger() -> None:
    once, twice = seeded(Linear), seeded(Twice)
    at = data(once(**sentences()).argmax(1).numpy())
    found = []
    for net in (once, twice):
        view, _, x = attacked(net, at, 0.3)
        with torch.no_grad():
            found.append(view.outputs(x))
    torch.testing.assert_close(*found)
    view.at(at.rows, slice(10))
    with pytest.raises(SubjectError, match="other tokens than those that were moved"):
        view.outputs(at.inputs[:10])


def test_padding_is_no_part_of_the_scale_though_it_is_a_word_elsewhere() -> None:
    net, rows, scales = seeded(Linear), sentences(), []
    rows["input_ids"] = torch.where(rows["input_ids"] == PAD, 7, rows["input_ids"])
    for extra in (0, 30):
        more = {k: nn.functional.pad(v, (0, extra)) for k, v in rows.items()}
        more["input_ids"][:, LENGTH:] = 7
        view, _, _ = attacked(net, AuditData(more, labels().numpy()), 0.1)
        scales.append(view.function.scale)  # type: ignore[attr-defined]
    assert scales[0] == pytest.approx(scales[1])


def test_what_a_model_declares_padding_stays_without_a_mask() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(WORDS, 8, padding_idx=PAD), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.embed(x).mean(1))
            return out

    net, at = seeded(Padded), AuditData(sentences()["input_ids"], labels().numpy())
    subject, attack = model(net, at), EmbeddingPGD(severity=0.3)
    attack.fit([subject], at, rng(3))
    view = attack.subject(subject)
    view.at(at.rows, slice(None))
    x = attack.batch(view, at.inputs, labels(), rng(4))
    length = (shown(view, net.embed, x)[0] - net.embed(x).detach()).norm(dim=2)
    assert (length[x == PAD] == 0).all()
    assert (length[x > CLOSE] > 0).any()


def test_nan_beside_the_tokens_is_no_strength() -> None:
    class Fragile(Linear):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            z = super().forward(input_ids, attention_mask)
            moved = (self.embed(input_ids) - self.embed.weight[input_ids]).abs().amax((1, 2)) > 1e-6
            return torch.where(moved[:, None], torch.nan, z)

    net = seeded(Fragile)
    with torch.no_grad():
        at = data(net(**sentences()).argmax(1).numpy())
    task = tasks.make("classification", at)
    found = gather(EmbeddingPGD(), [model(net, at)], (), at, task, Wanted(outcomes=True), 0)
    assert "NaN" in found.evidence["m"].failed
