"""scikit-learn estimators as outputs-only subjects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from ringtest import AuditData, Subject, audit, subjects, tasks
from ringtest.errors import SubjectError
from ringtest.model import Model

N, CLASSES = 140, 4


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(N, 2, 3, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def y(x: torch.Tensor) -> np.ndarray:
    return ((x[:, 0, 0] > 0).long() + 2 * (x[:, 1, 2] > 0).long()).numpy()


@pytest.fixture(scope="module")
def flat(x: torch.Tensor) -> np.ndarray:
    return x.reshape(N, -1).numpy()


def student(given: Any, x: torch.Tensor, y: Any, task: str = "classification") -> Model:
    data = AuditData(x, y, modality="sequence")
    return subjects.students(given, tasks.make(task, data), data)["student"]


def test_probabilities_of_flattened_rows(x: torch.Tensor, y: Any, flat: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(flat, y)
    model = student(pipeline, x, y)
    assert model.capabilities == ["outputs"]
    assert model.probabilities
    np.testing.assert_allclose(
        model.outputs(x).exp().numpy(), pipeline.predict_proba(flat), atol=1e-6
    )


def test_columns_are_classes_not_places(x: torch.Tensor, y: Any, flat: Any) -> None:
    seen = np.isin(y, [0, 2])
    forest = GaussianNB().fit(flat[seen], y[seen])
    found = student(forest, x, y).outputs(x).exp().numpy()
    assert found.shape == (N, CLASSES)
    np.testing.assert_allclose(found[:, [0, 2]], forest.predict_proba(flat), atol=1e-6)
    assert found[:, [1, 3]].max() < 1e-6


def test_as_many_columns_as_the_teacher_has(x: torch.Tensor, y: Any, flat: Any) -> None:
    data = AuditData(x, y, modality="sequence")
    task = tasks.make("classification", data)
    subjects.teacher(nn.Sequential(nn.Flatten(), nn.Linear(6, 7)), task, data)
    model = subjects.students(GaussianNB().fit(flat, y), task, data)["student"]
    assert model.outputs(x).shape == (N, 7)


def test_a_classifier_without_probabilities_votes(x: torch.Tensor, y: Any, flat: Any) -> None:
    svc = LinearSVC().fit(flat, y)
    found = student(svc, x, y).outputs(x).exp()
    assert found.argmax(1).tolist() == svc.predict(flat).tolist()
    assert found.max() == 1


def test_regression_and_embedding(x: torch.Tensor, flat: Any) -> None:
    wide = flat[:, :2] * 2 + 1
    model = student(LinearRegression().fit(flat, wide), x, wide, "regression")
    np.testing.assert_allclose(model.outputs(x).numpy(), wide, atol=1e-5)
    single = student(LinearRegression().fit(flat, wide[:, 0]), x, wide[:, 0], "regression")
    assert single.outputs(x).shape == (N, 1)
    pca = PCA(3).fit(flat)
    np.testing.assert_allclose(
        student(pca, x, None, "embedding").outputs(x).numpy(), pca.transform(flat), atol=1e-5
    )


def test_column_names_that_it_was_fitted_with(x: torch.Tensor, y: Any, flat: Any) -> None:
    frame = pd.DataFrame(flat, columns=list("abcdef"))
    fitted = LogisticRegression().fit(frame, y)
    np.testing.assert_allclose(
        student(fitted, x, y).outputs(x).exp().numpy(), fitted.predict_proba(frame), atol=1e-6
    )


class Unlike:
    """Speaks of parameters, but predicts nothing."""

    def get_params(self) -> dict[str, Any]:
        return {}


REFUSED = {
    "not fitted": (lambda x, y: LogisticRegression(), "LogisticRegression that is not fitted"),
    "pipeline not fitted": (lambda x, y: make_pipeline(PCA(2), GaussianNB()), "is not fitted"),
    "words for classes": (
        lambda x, y: GaussianNB().fit(x, np.array(list("abcd"))[y]),
        "has the classes ['a', 'b', 'c', 'd']; fit it to the data's targets",
    ),
    "negative classes": (lambda x, y: GaussianNB().fit(x, y - 1), "has the classes [-1, 0, 1, 2]"),
    "no classifier": (lambda x, y: LinearRegression().fit(x, y), "has no classes_"),
    "only a transform": (lambda x, y: PCA(2).fit(x), "is a PCA without predict()"),
    "several targets": (
        lambda x, y: RandomForestClassifier(3).fit(x, np.stack([y, y], 1)),
        "has no classes_ of one target",
    ),
    "no estimator": (lambda x, y: Unlike(), "is Unlike, no model"),
    "a class": (lambda x, y: GaussianNB, "is the class GaussianNB"),
    "another width": (lambda x, y: GaussianNB().fit(x[:, :2], y), "raised ValueError"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line(x: torch.Tensor, y: Any, flat: Any, case: str) -> None:
    make, says = REFUSED[case]
    with pytest.raises(SubjectError) as caught:
        student(make(flat, y), x, y)
    assert says in str(caught.value)
    assert str(caught.value).startswith("student")
    assert "\n" not in str(caught.value)


def test_dict_inputs_are_none_of_its(y: Any, flat: Any) -> None:
    data = AuditData({"inputs_embeds": flat, "more": flat}, y)
    task = tasks.make("classification", data)
    with pytest.raises(SubjectError, match="takes no dict inputs"):
        subjects.students(GaussianNB().fit(flat, y), task, data)


def test_the_state_that_was_fitted_is_what_is_hashed(x: torch.Tensor, y: Any, flat: Any) -> None:
    def fitted(rows: int) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression()).fit(flat[:rows], y[:rows])

    one, same, other = (student(fitted(n), x, y).weights_hash for n in (N, N, N - 20))
    assert one == same
    assert one != other
    assert student(Subject(fitted(N), version="v2"), x, y).weights_hash == "v2"


def test_a_version_stands_for_the_weights_of_a_callable(x: torch.Tensor, y: Any) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES)).requires_grad_(False)
    assert student(Subject(lambda b: net(b), version="7"), x, y).weights_hash == "7"
    assert student(lambda b: net(b), x, y).weights_hash is None
    # A module's weights speak for themselves.
    assert student(Subject(net, version="7"), x, y).weights_hash != "7"


def test_an_estimator_is_audited_as_outputs_only(x: torch.Tensor, y: Any, flat: Any) -> None:
    teacher = LogisticRegression().fit(flat, y)
    report = audit(
        teacher,
        {"same": teacher, "small": GaussianNB().fit(flat[:40], y[:40])},
        AuditData(x, y, modality="sequence"),
        progress=False,
    )
    for found in report.values():
        assert found.verdict.scope == "outputs-only"
        assert found.verdict.label != "sound"


def test_a_search_is_told_apart_by_what_it_found(x: torch.Tensor, y: Any, flat: Any) -> None:
    from sklearn.model_selection import GridSearchCV

    def found(*strengths: float) -> Any:
        search = GridSearchCV(LogisticRegression(), {"C": list(strengths)}, cv=2)
        return student(search.fit(flat, y), x, y).weights_hash

    assert found(1, 2) is not None
    assert found(1, 1) == found(1)
    assert found(1) != found(0.01)


def test_what_has_no_digest_is_audited_without(
    x: torch.Tensor, y: Any, flat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> str:
        raise ValueError("not today")

    monkeypatch.setattr("joblib.hash", broken)
    model = student(GaussianNB().fit(flat, y), x, y)
    assert model.weights_hash is None
    assert model.capabilities == ["outputs"]
