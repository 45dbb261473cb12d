"""scikit-learn's estimators, and whatever follows their protocol, as outputs-only models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ringtest.errors import SubjectError
from ringtest.tasks import AnyTask, Classification

_METHODS = {
    "classification": ("predict_proba", "predict"),
    "regression": ("predict",),
    "embedding": ("transform",),
}


def is_estimator(value: Any) -> bool:
    """Whether a value follows scikit-learn's protocol; classes and modules do not."""
    return (
        not isinstance(value, type | nn.Module)
        and callable(getattr(value, "get_params", None))
        and any(hasattr(value, m) for methods in _METHODS.values() for m in methods)
    )


@dataclass
class Estimator:
    """A fitted estimator as a callable on batches.

    Rows are flattened to (b, d). Classifiers give probabilities (b, C) whose columns are the
    classes 0..C-1, with 0 for a class that the estimator never saw, or, without ``predict_proba``,
    1 for the predicted class; regressors give what they predict, transformers their transform.
    """

    name: str
    estimator: Any
    task: AnyTask
    version: str | None = field(init=False)
    """Digest of the fitted estimator, in the place of a weights hash; None if it has none."""

    def __post_init__(self) -> None:
        """Check the estimator; raises SubjectError."""
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        kind = type(self.estimator).__name__
        try:
            check_is_fitted(self.estimator)
        except (NotFittedError, TypeError) as error:
            raise SubjectError(self.name, f"is a {kind} that is not fitted", "fit it") from error
        methods = _METHODS[self.task.name]
        self._method = next((m for m in methods if hasattr(self.estimator, m)), "")
        if not self._method:
            raise SubjectError(
                self.name, f"is a {kind} without {methods[-1]}()", f"{self.task.name} needs it"
            )
        if isinstance(self.task, Classification):
            self._classes = self._checked_classes()
        self.version = _digest(self.estimator)

    def __call__(self, x: Any) -> NDArray[np.float32]:
        """(b, k) float32 outputs for a batch (b, ...) of inputs; raises SubjectError."""
        if not isinstance(x, Tensor):
            raise SubjectError(self.name, "takes no dict inputs", "give the data as one tensor")
        rows: Any = x.detach().cpu().float().reshape(len(x), -1).numpy()
        columns = getattr(self.estimator, "feature_names_in_", None)
        if columns is not None and len(columns) == rows.shape[1]:
            import pandas as pd

            rows = pd.DataFrame(rows, columns=columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = getattr(self.estimator, self._method)(rows)
        found = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
        if not isinstance(self.task, Classification):
            return np.array(found, dtype=np.float32).reshape(len(rows), -1)
        out = np.zeros((len(rows), self._columns()), dtype=np.float32)
        if self._method == "predict":
            out[np.arange(len(rows)), found.astype(np.int64)] = 1
        else:
            out[:, self._classes] = found
        return out

    def _columns(self) -> int:
        """As many as the models before it have, or as the classes need."""
        assert isinstance(self.task, Classification)
        return max(int(self._classes.max()) + 1, self.task.least, self.task.columns or 2)

    def _checked_classes(self) -> NDArray[np.int64]:
        """The classes as columns."""
        given = getattr(self.estimator, "classes_", None)
        if given is None or isinstance(given, list):
            raise SubjectError(self.name, "has no classes_ of one target", "give a classifier")
        classes = np.asarray(given)
        if classes.dtype.kind not in "iub" or classes.min() < 0:
            raise SubjectError(
                self.name,
                f"has the classes {classes[:5].tolist()}",
                "fit it to the data's targets, integers from 0",
            )
        return classes.astype(np.int64)


def _digest(estimator: Any) -> str | None:
    """A digest of what was fitted; None where joblib finds none, and nothing of it is kept."""
    import joblib

    # A search predicts by its best estimator; masked arrays in its table break the digest.
    for fitted in (estimator, getattr(estimator, "best_estimator_", None)):
        try:
            if fitted is not None:
                return str(joblib.hash(fitted))
        except Exception:
            continue
    return None
