"""Near copies: planted ones are found, and none among rows that are like each other anyway."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn import datasets
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

import ringtest
from ringtest import AuditData, findings
from ringtest.progress import silent
from ringtest.rows.inputs import Rows
from ringtest.shift import near, near_points

RNG = np.random.default_rng(7)
PLANTED = 30


def near_of(data: AuditData, train: Any = None) -> list[findings.Finding]:
    found = ringtest.leakage(data, train=train, progress=False)
    return [f for f in found if f.kind == "near"]


def gaussian(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# -- data of no copies ----------------------------------------------------------------------------


def bundled(name: str) -> Tensor:
    return torch.tensor(getattr(datasets, f"load_{name}")().data).float()


def one_hot(n: int, of: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(of)
    return np.eye(of)[rng.integers(0, of, (n, columns))].reshape(n, -1)


def housing(n: int = 2000) -> np.ndarray:
    """Skewed, rounded and clumped columns, as of houses in two cities."""
    z = np.random.default_rng(1).normal(size=(n, 7))
    city = z[:, 0] > 0
    return np.stack(
        [
            np.exp(0.4 * z[:, 1] + 1.3).round(4),
            np.clip((28 + 12 * z[:, 2]).round(), 1, 52),
            np.exp(7 + z[:, 3]).round(),
            2 + np.exp(z[:, 4]).round(2),
            34 + 4 * city + (0.3 * z[:, 5]).round(2),
            -118 - 4 * city + (0.3 * z[:, 6]).round(2),
        ],
        axis=1,
    )


def grid(side: int, of: int) -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(side)] * of), axis=-1).reshape(-1, of)


CLEAN = {
    "digits, images": lambda: (bundled("digits").reshape(-1, 1, 8, 8) / 16, "image"),
    "breast cancer": lambda: (bundled("breast_cancer"), "table"),
    "wine": lambda: (bundled("wine"), "table"),
    "diabetes": lambda: (bundled("diabetes"), "table"),
    "iris": lambda: (bundled("iris"), "table"),
    "houses": lambda: (housing(), "table"),
    "one number": lambda: (gaussian(1500, 1), "table"),
    "two numbers": lambda: (gaussian(1500, 2), "table"),
    "64 numbers": lambda: (gaussian(1500, 64), "table"),
    "600 numbers": lambda: (gaussian(1500, 600), "table"),
    "grid": lambda: (grid(6, 4), "table"),
    "binary": lambda: (grid(2, 10), "table"),
    "one-hot": lambda: (one_hot(1500, 10, 5), "table"),
    "categories and an age": lambda: (
        np.c_[one_hot(1500, 10, 4), RNG.integers(18, 90, 1500)],
        "table",
    ),
    "categories and a number": lambda: (
        np.c_[one_hot(1500, 10, 3), RNG.normal(size=1500)],
        "table",
    ),
    "a smooth curve": lambda: (
        np.sin(np.linspace(0, 20, 1500)[:, None] * np.arange(1, 21) / 3),
        "table",
    ),
    "windows of a walk": lambda: (
        np.lib.stride_tricks.sliding_window_view(RNG.normal(size=1500).cumsum(), 32)[..., None],
        "sequence",
    ),
    "tokens": lambda: (RNG.zipf(1.3, (1500, 20)) % 1000, "tokens"),
    "sentences from a template": lambda: (
        np.stack([RNG.integers(10 * i, 10 * i + 5, 1500) for i in range(8)], axis=1),
        "tokens",
    ),
}


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_near_where_rows_are_like_that_anyway(name: str) -> None:
    values, modality = CLEAN[name]()
    x = torch.as_tensor(np.array(values.tolist()))
    assert near_of(AuditData(x if modality == "tokens" else x.float(), modality=modality)) == []


def test_heavy_columns_give_hardly_any_false_alarm() -> None:
    """Pixels as a table: a dark corner that is lit once in a thousand rows is far from all else."""
    found = near_of(AuditData(bundled("digits")))
    assert sum(f.count for f in found) <= 2


# -- planted copies -------------------------------------------------------------------------------


def pictures(size: int = 32) -> Tensor:
    x = bundled("digits").reshape(-1, 1, 8, 8)[:900] / 16
    big = torch.nn.functional.interpolate(x, size=(size, size), mode="bicubic")
    return big.clamp(0, 1)


def jpeg(images: Tensor, quality: int) -> Tensor:
    out = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8)).save(
            file, "JPEG", quality=quality
        )
        out.append(torch.tensor(np.asarray(Image.open(file)) / 255).float()[None])
    return torch.stack(out)


def edited(rows: Tensor) -> Tensor:
    changed = rows.clone()
    changed[:, rows.shape[1] // 2] = 5000
    return changed


def noisy(rows: Tensor, size: float) -> Tensor:
    return rows + size * gaussian(rows.numel(), 1, 9).reshape(rows.shape)


def words(length: int) -> Tensor:
    return torch.tensor(np.random.default_rng(3).zipf(1.3, (900, length)) % 2000)


COPIES = {
    "table with noise of a hundredth": (lambda: gaussian(900, 12), lambda x: noisy(x, 0.01)),
    "wide table with noise": (lambda: gaussian(900, 700), lambda x: noisy(x, 0.1)),
    "rounded table": (lambda: gaussian(900, 12), lambda x: (x * 100).round() / 100),
    "narrow table, rounding of floats": (lambda: gaussian(900, 3), lambda x: x * (1 + 1e-6)),
    "images with noise": (pictures, lambda x: noisy(x, 0.01)),
    "JPEG, quality 75": (pictures, lambda x: jpeg(x, 75)),
    "JPEG, quality 50": (pictures, lambda x: jpeg(x, 50)),
    "darker and of less contrast": (pictures, lambda x: 0.7 * x + 0.05),
    "one token of 20": (lambda: words(20), edited),
    "one token of 60": (lambda: words(60), edited),
}


@pytest.mark.parametrize("where", ["inputs", "train"])
@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found(kind: str, where: str) -> None:
    make, copied = COPIES[kind]
    x = make()
    train, own = x[:450], x[450:]
    if where == "train":
        (found,) = near_of(AuditData(torch.cat([own, copied(train[:PLANTED])])), train)
        assert found.between == "inputs and train"
        assert found.count == PLANTED
        assert found.examples[0] == (450, 0)
    else:
        (found,) = near_of(AuditData(torch.cat([own, copied(own[:PLANTED])])))
        assert found.between == "inputs"
        # Both rows of a pair are counted.
        assert found.count == 2 * PLANTED
        assert found.examples[0] == (0, 450)


def test_shifted_images_are_not_found_and_nobody_says_so() -> None:
    x = pictures()
    assert near_of(AuditData(torch.cat([x, x[:PLANTED].roll(1, -1)]))) == []


def test_a_train_that_is_a_noisy_copy_of_all_the_data_is_found() -> None:
    x = gaussian(600, 12)
    (found,) = near_of(AuditData(x), noisy(x, 0.01))
    assert found.count == 600


def test_a_row_may_have_several_copies() -> None:
    x = gaussian(600, 12)
    copies = torch.cat([noisy(x[:10], 0.001 * (i + 1)) for i in range(5)])
    (found,) = near_of(AuditData(torch.cat([x, copies])))
    assert found.count == 60


def test_equal_rows_do_not_hide_a_near_one() -> None:
    """A row is compared with others, never with itself or its equals."""
    x = gaussian(600, 12)
    data = AuditData(torch.cat([x, x[:20], noisy(x[:5], 0.001)]))
    found = {f.kind: f for f in ringtest.leakage(data, progress=False)}
    assert found["exact"].count == 20
    assert found["near"].count == 10
    assert found["near"].examples == tuple((i, 620 + i) for i in range(5))


def test_copies_with_another_label_are_told_and_counted_by_class() -> None:
    x, y = gaussian(600, 12), np.arange(600) % 3
    data = AuditData(
        torch.cat([x, noisy(x[:30], 0.001)]), np.concatenate([y, (y[:30] + (y[:30] == 2)) % 3])
    )
    found = {f.kind: f for f in ringtest.leakage(data, progress=False)}
    assert found["labels"].count == 10
    assert found["near"].classes == {"0": 30, "1": 20, "2": 10}


def test_copies_within_a_cluster_have_been_allowed_for() -> None:
    x = gaussian(600, 12)
    rows = torch.cat([x, noisy(x[:30], 0.001)])
    assert near_of(AuditData(rows, cluster=np.r_[np.arange(600), np.arange(30)])) == []
    assert near_of(AuditData(rows, cluster=np.arange(630)))[0].count == 60


def test_tokens_of_another_length_are_compared_and_padding_does_not_count() -> None:
    x = words(20)
    padded = torch.cat([x[:450], torch.zeros(450, 30, dtype=torch.int64)], dim=1)
    mask = torch.zeros(450, 50, dtype=torch.bool)
    mask[:, :20] = True
    own = torch.cat([x[450:], edited(x[:PLANTED])])
    (found,) = near_of(AuditData(own), AuditData(padded, mask=mask))
    assert found.count == PLANTED


def test_flat_images_are_left_to_equality() -> None:
    x = torch.cat([pictures(), torch.linspace(0, 1, 50).reshape(50, 1, 1, 1).expand(-1, 1, 32, 32)])
    assert near_of(AuditData(x)) == []


def test_few_rows_are_said_not_to_be_searched() -> None:
    found = findings.find(AuditData(gaussian(near.LEAST - 1, 12)), "full", silent)
    assert [u.reason for u in found.unchecked if "near" in u.check] == [
        f"near copies: inputs have under {near.LEAST} different rows"
    ]


def test_memory_mapped_half_precision_and_masked_sequences_are_read(tmp_path: Any) -> None:
    values = gaussian(600, 20).reshape(600, 10, 2).numpy().astype(np.float16)
    values = np.concatenate([values, values[:5]])
    values[600:, 9] = 7  # a step that does not count
    np.save(tmp_path / "x.npy", values)
    mask = np.ones((605, 10), dtype=bool)
    mask[600:, 9] = mask[:5, 9] = False
    (found,) = near_of(AuditData(np.load(tmp_path / "x.npy", mmap_mode="r"), mask=mask))
    assert found.count == 10


# -- the search itself ----------------------------------------------------------------------------


def searched(x: Tensor, others: Tensor | None, **more: Any) -> near.Pairs:
    space = near_points.make([Rows(x), *([] if others is None else [Rows(others)])], "table")
    of = 0 if others is None else 1
    own, theirs = np.arange(len(x)), np.arange(len(x if others is None else others))
    return near.search(
        space.points(0, own),
        None if others is None else space.points(1, theirs),
        lambda i, j: space.distance(own[i], of, theirs[j]),
        lambda i, j: space.columns(own[i], of, theirs[j]),
        space.cap,
        space.most,
        silent,
    )


@pytest.mark.parametrize("d", [4, 12, 40, 500])
@pytest.mark.parametrize("within", [True, False])
def test_pairs_are_those_of_the_search_of_scikit_learn(
    d: int, within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of the docstring by brute force in float64, over chunks that do not divide n."""
    monkeypatch.setattr(near, "_STEP", 97)
    monkeypatch.setattr(near, "_ANCHORS", 150)
    x, train = gaussian(500, d), gaussian(700, d, 1)
    x = torch.cat([x, noisy((x if within else train)[:60], 0.02)])
    others = x if within else train
    both = x if within else torch.cat([x, train])
    a, b = (((v - both.mean(0)) / both.std(0, correction=0)).double().numpy() for v in (x, others))
    search = NearestNeighbors(n_neighbors=near.K + within, algorithm="brute").fit(b)
    distance, index = search.kneighbors(a)
    distance, index = distance[:, int(within) :], index[:, int(within) :]
    half = near.K // 2
    spread = np.log(distance[:, -1] / distance[:, half - 1])
    k = np.median(sum(1 / i for i in range(half, near.K)) / spread)
    ratios = distance[:, 0] / distance[:, -1]
    chances = np.where(ratios <= 0.3, np.minimum(1, (near.K - 1) * ratios ** min(k, d)), 1)
    hits = np.flatnonzero(stats.false_discovery_control(chances, method="bh") <= near.CHANCE)
    expected = {tuple(sorted((i, index[i, 0])) if within else (i, index[i, 0])) for i in hits}
    found = searched(x, None if within else train)
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    if d > 4:
        assert len(expected) == 60
    if d <= near_points.WIDE:  # a projection has other dimensions
        assert found.dimensions == pytest.approx(k, rel=0.01)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_dimension_is_that_of_even_rows(d: int) -> None:
    x = torch.rand(3000, d, generator=torch.Generator().manual_seed(0))
    turned = x @ torch.linalg.qr(gaussian(30, 30)).Q[:d]
    assert searched(turned, None).dimensions == pytest.approx(d, rel=0.2)


def test_chance_is_kept_on_even_rows() -> None:
    """Pairs of uniform rows below t, counted over 200 sets, are as many as were allowed for."""
    seen = 0
    for seed in range(200):
        x = torch.rand(300, 3, generator=torch.Generator().manual_seed(seed))
        seen += len(searched(x, None).first)
    # 200 sets with .01 allowed for in each, of pairs that may be seen from both sides.
    assert seen <= 8


def test_more_candidates_than_are_looked_at_are_said_to_be_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near, "MOST_CANDIDATES", 20)
    x = gaussian(600, 12)
    (found,) = near_of(AuditData(x), noisy(x, 0.01))
    assert found.count == 20
    assert "at least 20" in found.words


MEMORY = """
import resource, sys, numpy as np, torch
from ringtest import AuditData, leakage
torch.set_num_threads(1)
leakage(AuditData(torch.randn(500, 20)), progress=False)
x = torch.randn({n}, {d})
data = AuditData(x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
leakage(data, progress=False)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
@pytest.mark.parametrize(("n", "d"), [(12_000, 64), (4_000, 3_000)])
def test_memory_is_bounded(n: int, d: int) -> None:
    """All distances would take 576 and 64 MB, a standardised copy of the second 48 MB and more."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY.format(n=n, d=d)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 220
