"""What sweeps of linear probes cost: all layers and folds, against scikit-learn called for each.

    python benchmarks/speed/probes.py                    both sizes, about 7 minutes on 2 cores
    python benchmarks/speed/probes.py --rows 512 --layers 2 --width 32 --rounds 1

Synthetic layers whose variances fall as a power of their rank, rotated, with offsets, and classes
that the deeper layers hold more plainly. Both sides are handed the same float32 layers and folds
and predict the rows left out; penalties are the same: 0.01 a row for ridge, 0.003 for logistic.
Both standardise on training rows, but for ringtest's ridge, which does on all rows.
scikit-learn runs with its own tolerances. Each round times ringtest and
then scikit-learn in one process with the same number of threads; the figures are the medians of the
seconds and of the ratios within a round. What scikit-learn has not done after ``--cap`` seconds is
scaled up from the fits that it has done, and the table says how many these were.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from ringtest import blocks, margins
from ringtest.probes import logistic
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import side_by_side
from ringtest.probes.linear import cross_validated

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Sweep:
    """What one way of probing found, and how long it took."""

    seconds: float
    answers: Labels
    """(layers, m) predicted classes; -1 where it was stopped before."""
    done: float = 1.0
    """Share of the fits that were made."""


def layers(rows: int, width: int, count: int, classes: int) -> tuple[list[Tensor], Labels]:
    """Layers (rows, width) of growing decodability, and the labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, size=rows)
    sd = np.arange(1, width + 1) ** -0.5
    out = []
    for number in range(count):
        means = rng.normal(size=(classes, width)) * (0.08 + 0.02 * number)
        spin = np.linalg.qr(rng.normal(size=(width, width)))[0]
        x = (means[y] + rng.normal(size=(rows, width))) * sd @ spin + rng.normal(size=width)
        out.append(torch.from_numpy(x.astype(np.float32)))
    return out, y


def ridge(xs: list[Tensor], y: Labels, fold: Labels) -> Sweep:
    """Ringtest's ridge probes."""
    start = time.perf_counter()
    concept = Concept.of("y", y)
    folds = torch.from_numpy(fold)
    found = side_by_side(lambda x: cross_validated(x, concept.columns, folds).argmax(1), xs)
    return Sweep(time.perf_counter() - start, torch.stack(found).numpy())


def logits(xs: list[Tensor], y: Labels, fold: Labels) -> Sweep:
    """Ringtest's logistic probes."""
    start = time.perf_counter()
    codes = torch.from_numpy(y)
    found = logistic.logits(xs, codes, int(y.max()) + 1, torch.from_numpy(fold))
    return Sweep(time.perf_counter() - start, np.stack([z.argmax(1).numpy() for z in found]))


def theirs(make: Callable[[int], object], cap: float) -> Callable[..., Sweep]:
    """scikit-learn's estimator, made for a number of training rows, fitted layer by fold."""

    def sweep(xs: list[Tensor], y: Labels, fold: Labels) -> Sweep:
        answers = np.full((len(xs), len(y)), -1)
        fits, start = 0, time.perf_counter()
        for number, x in enumerate(xs):
            rows = x.numpy()
            for f in range(fold.max() + 1):
                fit = fold != f
                scaler = StandardScaler().fit(rows[fit])
                model = make(int(fit.sum()))
                model.fit(scaler.transform(rows[fit]), y[fit])
                answers[number, ~fit] = model.predict(scaler.transform(rows[~fit]))
                fits += 1
                if time.perf_counter() - start > cap:
                    break
            else:
                continue
            break
        done = fits / (len(xs) * (fold.max() + 1))
        return Sweep((time.perf_counter() - start) / done, answers, done)

    return sweep


def compare(rows: int, options: argparse.Namespace) -> None:
    """Print the lines of the table for one number of rows."""
    xs, y = layers(rows, options.width, options.layers, options.classes)
    fold = blocks.folds(rows, margins.PROBE_FOLDS)
    penalty = margins.PROBE_RIDGE
    sklearn = {
        "RidgeClassifierCV, one penalty": (
            ridge,
            lambda n: RidgeClassifierCV(alphas=[penalty * n]),
        ),
        "RidgeClassifierCV, three penalties": (
            ridge,
            lambda n: RidgeClassifierCV(alphas=[penalty * n / 10, penalty * n, penalty * n * 10]),
        ),
        "RidgeClassifier": (ridge, lambda n: RidgeClassifier(alpha=penalty * n)),
        "LogisticRegression": (
            logits,
            lambda n: LogisticRegression(C=1 / (logistic.PENALTY * n), max_iter=10_000),
        ),
    }
    for name, (ours, make) in sklearn.items():
        other = theirs(make, options.cap)
        ours(xs, y, fold)  # the first call of a process is slow
        pairs = [(ours(xs, y, fold), other(xs, y, fold)) for _ in range(options.rounds)]
        ratio = statistics.median(b.seconds / a.seconds for a, b in pairs)
        seconds = [statistics.median(p[i].seconds for p in pairs) for i in (0, 1)]
        a, b = pairs[-1]
        seen = b.answers >= 0
        right = [float((s.answers == y)[seen].mean()) for s in (a, b)]
        same = float((a.answers == b.answers)[seen].mean())
        part = "" if b.done == 1 else f" ({100 * b.done:.0f} % of the fits, scaled)"
        print(
            f"| {rows:,} | {name} | {seconds[0]:.2f} | {seconds[1]:.2f}{part} | {ratio:.1f}x | "
            f"{right[0]:.4f} | {right[1]:.4f} | {100 * same:.2f} % |",
            flush=True,
        )


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2_048, 20_000])
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cap", type=float, default=30.0, help="seconds a sweep of scikit-learn")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.layers} layers of width {options.width}, {margins.PROBE_FOLDS} folds, "
        f"{options.classes} classes, {options.threads} threads, median of {options.rounds} rounds\n"
    )
    heads = ["rows", "scikit-learn", "ringtest, s", "its s", "ratio", "accuracy", "its", "same"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)
    with threadpool_limits(options.threads):
        for rows in options.rows:
            compare(rows, options)


if __name__ == "__main__":
    main()
