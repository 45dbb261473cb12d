"""What the three tasks make of outputs and targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from sklearn.metrics import r2_score

from ringtest import AuditData, tasks
from ringtest.errors import ConfigError, DataError, RingtestError, SubjectError

N = 120


def data(targets: object = None, n: int = N) -> AuditData:
    return AuditData(torch.randn(n, 3, generator=torch.Generator().manual_seed(0)), targets)


def logits(k: int = 3) -> torch.Tensor:
    return torch.randn(N, k, generator=torch.Generator().manual_seed(1))


CLASSES = np.arange(N) % 3

REFUSED = {
    "no targets": ("classification", None, "targets"),
    "words": ("classification", np.array(["cat", "dog"] * (N // 2)), "targets"),
    "fractions": ("classification", np.linspace(0, 1, N), "targets"),
    "negative classes": ("classification", CLASSES - 1, "targets"),
    "one-hot classes": ("classification", np.eye(3)[CLASSES], "targets"),
    "regression without targets": ("regression", None, "targets"),
    "regression on words": ("regression", np.array(["1.0"] * N), "targets"),
    "regression on a constant": ("regression", np.ones(N), "targets"),
    "unknown task": ("clasification", CLASSES, "task"),
    "a task to come": ("causal-lm", CLASSES, "task"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line(case: str) -> None:
    name, targets, field = REFUSED[case]
    with pytest.raises((DataError, ConfigError)) as caught:
        tasks.make(name, data(targets))
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_names_the_close_task() -> None:
    with pytest.raises(ConfigError, match="did you mean classification"):
        tasks.make("clasification", data(CLASSES))


@pytest.mark.parametrize(
    "targets",
    [
        CLASSES,
        CLASSES.astype(np.uint8),
        CLASSES.astype(float),
        CLASSES[:, None],
        torch.tensor(CLASSES),
    ],
    ids=["int64", "uint8", "whole floats", "a column", "tensor"],
)
def test_classes_come_in_many_forms(targets: object) -> None:
    task = tasks.make("classification", data(targets))
    assert task.targets is not None
    assert task.targets.dtype == torch.int64
    assert task.targets.tolist() == CLASSES.tolist()


def test_absent_classes_are_noticed_once() -> None:
    found = data(CLASSES * 2)
    for _ in range(2):
        tasks.make("classification", found)
    assert [w for w in found.warnings if "never occur" in w] == [
        "targets: classes [1, 3] never occur"
    ]


@pytest.mark.parametrize("columns", [1, 2])
def test_a_classifier_needs_a_column_a_class(columns: int) -> None:
    with pytest.raises(SubjectError, match=f"gives {columns} output columns"):
        tasks.make("classification", data(CLASSES)).check_columns("student", columns)


def test_models_need_the_same_columns() -> None:
    task = tasks.make("classification", data(CLASSES))
    task.check_columns("teacher", 5)
    with pytest.raises(SubjectError, match="others give 5"):
        task.check_columns("student", 4)


def test_the_mean_of_classifiers_is_the_mean_probability() -> None:
    task = tasks.make("classification", data(CLASSES))
    raw = [logits().requires_grad_(True), (2 * logits()).requires_grad_(True)]
    outputs = task.mean([task.canonical(r, False) for r in raw])
    torch.testing.assert_close(outputs.exp(), (raw[0].softmax(1) + raw[1].softmax(1)) / 2)
    outputs[:, 0].sum().backward()
    assert all(bool(r.grad.abs().sum() > 0) for r in raw if r.grad is not None)
    assert all(r.grad is not None for r in raw)


def test_probabilities_and_logits_give_the_same_outputs() -> None:
    task = tasks.make("classification", data(CLASSES))
    a, b = task.canonical(logits(), False), task.canonical(logits().softmax(1), True)
    torch.testing.assert_close(a, b)
    assert bool(task.canonical(torch.eye(3), True).isfinite().all())


def test_accuracy_and_predictions() -> None:
    task = tasks.make("classification", data(CLASSES))
    outputs = task.canonical(logits(), False)
    np.testing.assert_array_equal(task.predictions(outputs), logits().argmax(1).numpy())
    expected = (logits().argmax(1).numpy() == CLASSES).mean()
    assert float(task.score(outputs, task.targets).mean()) == pytest.approx(expected)


@pytest.mark.parametrize("columns", [1, 2])
def test_the_mean_regression_score_is_r_squared(columns: int) -> None:
    y = logits(columns).double().numpy()
    task = tasks.make("regression", data(y[:, 0] if columns == 1 else y))
    outputs = task.canonical(logits(columns) + 0.3 * torch.ones(columns), False)
    expected = r2_score(y, outputs.numpy(), multioutput="uniform_average")
    assert float(task.score(outputs, task.targets).mean()) == pytest.approx(expected)


def test_a_regression_of_whole_numbers_is_a_regression() -> None:
    task = tasks.make("regression", data(CLASSES))
    assert task.targets is not None
    assert task.targets.shape == (N, 1)
    with pytest.raises(SubjectError, match="targets have 1"):
        task.check_columns("student", 3)


def test_embeddings_average_tokens_and_need_no_targets() -> None:
    task = tasks.make("embedding", data())
    tokens = torch.randn(5, 7, 4)
    torch.testing.assert_close(task.canonical(tokens, False), tokens.mean(1))
    torch.testing.assert_close(task.points(tokens[:, 0]).norm(dim=1), torch.ones(5))
    assert task.targets is None
    with pytest.raises(SubjectError, match="width 1"):
        task.check_columns("student", 1)


def test_a_metric_sees_probabilities_and_scores_rows() -> None:
    def brier(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        assert bool(((p.sum(1) - 1).abs() < 1e-5).all())
        return -(p - torch.nn.functional.one_hot(y, 3)).square().sum(1)

    task = tasks.make("classification", data(CLASSES), brier)
    score = task.score(task.canonical(logits(), False), task.targets)
    assert score.dtype == torch.float64
    assert score.shape == (N,)
    assert task.score_name == "score"


BAD_METRICS = {
    "a mean": lambda o, y: o.mean(),
    "a matrix": lambda o, y: o,
    "words": lambda o, y: ["good"] * len(o),
    "nothing": lambda o, y: None,
    "an error": lambda o, y: 1 / 0,
}


@pytest.mark.parametrize("case", BAD_METRICS)
def test_a_bad_metric_is_named(case: str) -> None:
    task = tasks.make("classification", data(CLASSES), BAD_METRICS[case])
    with pytest.raises(ConfigError) as caught:
        task.score(task.canonical(logits(), False), task.targets)
    assert caught.value.field == "metric"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("task", "metric"), [("classification", "f1"), ("embedding", len)])
def test_a_metric_that_cannot_be_used(task: str, metric: object) -> None:
    with pytest.raises(RingtestError, match="metric"):
        tasks.make(task, data(CLASSES), metric)  # type: ignore[arg-type]


def test_a_small_column_counts_as_much_as_a_large_one() -> None:
    """In raw units a wrong sign of the small column would vanish beside the large one."""
    targets = torch.stack([1e4 * torch.randn(400), torch.randn(400)], 1)
    data = AuditData(torch.randn(400, 3), targets)
    task = tasks.make("regression", data)
    wrong = targets * torch.tensor([1.0, -1.0])
    assert task.score(wrong, task.targets).mean() < 0
    assert (task.points(targets).std(0) - 1).abs().max() < 0.01


def test_divergence_of_classes_is_kl_to_the_reference() -> None:
    task = tasks.make("classification", data(CLASSES))
    z, t = logits().double(), logits(4)[:, 1:].double() * 2
    expected = rel_entr(softmax(t.numpy(), axis=1), softmax(z.numpy(), axis=1)).sum(1)
    found = task.divergence(z.log_softmax(1), t.log_softmax(1))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
    assert task.divergence(z.log_softmax(1), z.log_softmax(1)).abs().max() == 0
    # Where the reference rules a class out, what the model makes of it does not count.
    sure = torch.tensor([[0.0, -torch.inf, -torch.inf]]).double()
    found = task.divergence(torch.tensor([[0.5, 0.25, 0.25]]).double().log(), sure)
    assert found.item() == pytest.approx(np.log(2))


def test_divergence_of_values_is_on_the_scale_of_1_minus_r2() -> None:
    g = np.random.default_rng(0)
    y = g.normal(size=(N, 3)) * [1, 50, 0] + 3  # the last column is constant
    task = tasks.make("regression", data(y))
    guess = y + g.normal(size=(N, 3)) * [0.5, 5, 0]
    found = task.divergence(torch.from_numpy(guess), torch.from_numpy(y))
    assert 1 - float(found.mean()) == pytest.approx(r2_score(y[:, :2], guess[:, :2]))


def test_divergence_of_embeddings_is_1_minus_cosine() -> None:
    task = tasks.make("embedding", data())
    a = torch.tensor([[3.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    b = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    torch.testing.assert_close(task.divergence(a, b), torch.tensor([0.0, 1 - 0.5**0.5, 2.0]))


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_the_mean_of_all_others_is_that_of_each(name):
    targets = CLASSES if name == "classification" else np.random.default_rng(0).normal(size=(N, 3))
    task = tasks.make(name, data(targets))
    said = [task.canonical(3.0 * logits().roll(i, 0).double(), False) for i in range(5)]
    together = task.means_without(said)
    for i in range(5):
        alone = task.mean([s for j, s in enumerate(said) if j != i])
        torch.testing.assert_close(together[i], alone, rtol=1e-12, atol=1e-12)


def test_beside_a_sure_member_the_others_are_still_heard():
    """Sums of probabilities would underflow, and a difference of them leave rounding alone."""
    task = tasks.make("classification", data(CLASSES))
    sure = torch.tensor([[900.0, 0.0, 0.0]]).double().log_softmax(1)
    timid = torch.tensor([[-1200.0, 0.0, 1.0]]).double().log_softmax(1)
    said = [sure, timid, timid.roll(1, 1), timid.roll(2, 1)]
    for i in range(4):
        alone = task.mean([s for j, s in enumerate(said) if j != i])
        found = task.means_without(said)[i]
        assert bool(torch.isfinite(found).all())
        torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-12)
