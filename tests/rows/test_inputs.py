"""Every form in which rows come in: dicts, data sets, memory maps, layouts, normalisation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

import ringtest
from ringtest import AuditData
from ringtest.errors import DataError, SubjectError
from ringtest.rows import datasets
from ringtest.rows.sampling import stratified
from tests.support.steady import STEADY

N = 200


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(n: int = N, width: int = 5) -> Tensor:
    return torch.randn(n, width, generator=rng())


class Pairs(Dataset[Any]):
    """(input, target) by index; ``noise`` changes an item on every reading."""

    def __init__(self, x: Any, y: Any, noise: float = 0.0) -> None:
        self.x, self.y, self.noise, self.reads = x, y, noise, 0

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> Any:
        self.reads += 1
        x = {k: v[i] for k, v in self.x.items()} if isinstance(self.x, dict) else self.x[i]
        return (x + self.noise * self.reads if self.noise else x), self.y[i]


def audited(teacher: Any, student: Any, data: AuditData, **more: Any) -> ringtest.Report:
    report = ringtest.audit(teacher, student, data, progress=False, **more)
    assert isinstance(report, ringtest.Report)
    return report


def values(report: ringtest.Report) -> list[tuple[Any, ...]]:
    """Judged rows, and what outputs alone show: a wrapper names and picks its layers otherwise."""
    rows = [r for r in report.rows if r.headline or r.measure.startswith("outputs.")]
    assert len(rows) > 10
    return [(r.measure, r.condition, r.severity, r.harm, r.se, r.status) for r in rows]


def same(a: ringtest.Report, b: ringtest.Report) -> bool:
    return repr(values(a)) == repr(values(b))


# -- data sets ----------------------------------------------------------------------------------


def test_a_dataset_brings_inputs_and_targets() -> None:
    x, y = table(), torch.arange(N) % 3
    state = torch.get_rng_state()
    data = AuditData(Pairs(x, y))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(data.inputs, x)
    assert data.targets.tolist() == y.tolist()
    assert data.fingerprint == AuditData(x, y).fingerprint


def test_a_dataset_of_dicts_with_labels() -> None:
    """What the Hugging Face libraries give: rows are dicts, the target is one of their keys."""

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return 30

        def __getitem__(self, i: int) -> Any:
            return {"input_ids": [i, i + 1], "attention_mask": [1, i % 2], "labels": i % 3}

    class Listed(Rows):
        def __getitem__(self, i: int) -> Any:
            return {k: torch.tensor(v) for k, v in super().__getitem__(i).items()}

    data = AuditData(Listed())
    assert data.inputs.tolist() == [[i, i + 1] for i in range(30)]
    assert data.mask is not None
    assert data.mask[:, 1].tolist() == [i % 2 == 1 for i in range(30)]
    assert data.targets.tolist() == [i % 3 for i in range(30)]


def test_a_large_dataset_is_read_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "IN_MEMORY", 100)
    x, y = table(), torch.arange(N) % 3
    data = AuditData(Pairs(x, y), unlabelled={"web": Pairs(x[:150] + 1, y[:150])})
    assert torch.equal(data.inputs, x)
    assert torch.equal(data.elsewhere["web"].main, x[:150] + 1)
    assert data.fingerprint == AuditData(x, y, unlabelled={"web": x[:150] + 1}).fingerprint


COIN = itertools.count()


class Tupled(Dataset[Any]):
    """Thirty items, each made by a function of its number."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return 30

    def __getitem__(self, i: int) -> Any:
        return self.item(i)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Failing(Pairs):
    def __getitem__(self, i: int) -> Any:
        if i == 150:
            raise OSError("image 150 is broken")
        return super().__getitem__(i)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a stream": ({"inputs": Stream()}, "inputs", "map-style"),
    "an empty data set": ({"inputs": Pairs(table(0), [])}, "inputs", "empty"),
    "an augmented data set": (
        {"inputs": Pairs(table(), torch.arange(N) % 3, noise=0.1)},
        "inputs",
        "augmentation",
    ),
    "a data set that fails": (
        {"inputs": Failing(table(), torch.arange(N) % 3)},
        "inputs",
        "image 150 is broken",
    ),
    "a ragged data set": (
        {"inputs": Pairs([torch.zeros(3 + i % 2) for i in range(9)], torch.arange(9))},
        "inputs",
        "one shape",
    ),
    "items of three parts": (
        {"inputs": Tupled(lambda i: (torch.ones(3), i, i))},
        "inputs",
        "3 parts",
    ),
    "items of two inputs": (
        {"inputs": Tupled(lambda i: ((torch.ones(3), torch.ones(2)), i))},
        "inputs",
        "several inputs",
    ),
    "an augmentation by chance": (
        {"inputs": Tupled(lambda i: (torch.ones(3) * (1 + (next(COIN) % 3 == 0)), i))},
        "inputs",
        "augmentation",
    ),
    "labels in words": ({"inputs": Tupled(lambda i: (torch.ones(3), "cat"))}, "inputs", "reading"),
    "an additive mask": (
        {
            "inputs": {
                "input_ids": torch.ones(9, 3).long(),
                "attention_mask": torch.full((9, 3), -1e9),
            }
        },
        "inputs['attention_mask']",
        "0 and 1",
    ),
    "a mask of NaN": (
        {"inputs": torch.ones(9, 3).long(), "mask": np.full((9, 3), np.nan)},
        "mask",
        "0 and 1",
    ),
    "a mask in words": ({"inputs": torch.ones(9, 3).long(), "mask": "all"}, "mask", "no mask"),
    "masked values": (
        {"inputs": np.ma.masked_greater(table().numpy(), 1)},
        "inputs",
        "masked values",
    ),
    "inputs of eight bits": (
        {"inputs": torch.ones(9, 3).to(torch.float8_e4m3fn)},
        "inputs",
        "float8",
    ),
    "endless bounds": ({"inputs": table(), "bounds": (-9, np.inf)}, "bounds", "finite"),
    "a set out of bounds": (
        {"inputs": table(), "bounds": (-9, 9), "unlabelled": {"far": table() + 99}},
        "bounds",
        "far",
    ),
    "a table by semicolons": (
        {"inputs": table(), "groups": Path(__file__).with_name("semicolons.csv")},
        "groups",
        "semicolons",
    ),
    "targets twice": (
        {"inputs": Pairs(table(), torch.arange(N) % 3), "targets": torch.arange(N) % 3},
        "targets",
        "twice",
    ),
    "a dict that does not say": (
        {"inputs": {"a": table(), "b": table()}},
        "inputs",
        "main=",
    ),
    "an unknown main": ({"inputs": {"a": table()}, "main": "b"}, "main", "did you mean|known: a"),
    "main without a dict": ({"inputs": table(), "main": "a"}, "main", "no dict"),
    "a dict out of step": (
        {"inputs": {"pixel_values": table(), "size": torch.ones(3)}},
        "inputs['size']",
        "has 3 rows",
    ),
    "a dict with NaN": (
        {"inputs": {"inputs_embeds": torch.full((9, 2, 2), torch.nan)}},
        "inputs['inputs_embeds']",
        "NaN",
    ),
    "unlabelled of other keys": (
        {
            "inputs": {"input_ids": torch.ones(9, 3).long(), "attention_mask": torch.ones(9, 3)},
            "unlabelled": {"web": {"input_ids": torch.ones(9, 3).long()}},
        },
        "unlabelled['web']",
        "attention_mask",
    ),
    "an empty mask": (
        {
            "inputs": {
                "input_ids": torch.ones(9, 3).long(),
                "attention_mask": torch.zeros(9, 3).long(),
            }
        },
        "mask",
        "single step",
    ),
    "images that look turned": ({"inputs": torch.zeros(9, 8, 8, 3)}, "layout", "NHWC"),
    "an unknown layout": ({"inputs": torch.zeros(9, 3, 8, 8), "layout": "CHWN"}, "layout", "NCHW"),
    "a layout of a table": ({"inputs": table(), "layout": "NCHW"}, "layout", "no images"),
    "normalise one number": ({"inputs": table(), "normalise": 3}, "normalise", "mean"),
    "normalise two of five": (
        {"inputs": table(), "normalise": ([0.0, 1.0], 1.0)},
        "normalise",
        "5 values",
    ),
    "normalise by zero": ({"inputs": table(), "normalise": (0.0, 0.0)}, "normalise", "above 0"),
    "normalise by NaN": ({"inputs": table(), "normalise": (np.nan, 1.0)}, "normalise", "mean"),
    "normalise tokens": (
        {"inputs": torch.ones(9, 3).long(), "normalise": (0.0, 1.0)},
        "normalise",
        "tokens",
    ),
    "groups in no table": ({"inputs": table(), "groups": "groups.xlsx"}, "groups", ".csv"),
    "groups in no file": ({"inputs": table(), "groups": "groups.csv"}, "groups", "not there"),
    "cluster of no column": ({"inputs": table(), "cluster": "patient"}, "cluster", "no group"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line_that_names_the_field(case: str) -> None:
    arguments, field, word = REFUSED[case]
    with pytest.raises(DataError, match=word) as caught:
        AuditData(**arguments)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


# -- memory maps --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_a_memory_map_stays_where_it_is(tmp_path: Path, mode: Any) -> None:
    array = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(N, 5))
    array[:] = table().numpy()
    array.flush()
    mapped = np.memmap(tmp_path / "x", dtype=np.float32, mode=mode, shape=(N, 5))
    data = AuditData(mapped, torch.arange(N) % 3)
    assert data.inputs.data_ptr() == mapped.ctypes.data  # type: ignore[attr-defined]
    assert torch.equal(data.inputs, table())
    half = AuditData(mapped[N // 2 :])
    assert half.inputs.data_ptr() == mapped[N // 2 :].ctypes.data


@pytest.mark.usefixtures("few")
def test_an_audit_of_a_memory_map_is_that_of_the_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", table(120).double().numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    y = torch.arange(120) % 3
    nets = [nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)) for _ in range(2)]
    assert same(
        audited(nets[0], nets[1], AuditData(mapped, y)),
        audited(nets[0], nets[1], AuditData(table(120), y)),
    )


# -- groups from files --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_groups_and_concepts_come_from_files(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"site": ["n", "s"] * (N // 2), "age": np.arange(N) % 7})
    path = tmp_path / f"meta.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    data = AuditData(table(), groups=path, concepts=str(path), cluster="age")
    expected = AuditData(table(), groups=frame, concepts=frame, cluster=frame.age)
    assert data.fingerprint == expected.fingerprint
    assert list(data.groups) == ["site", "age"]


def test_a_csv_loses_nothing(tmp_path: Path) -> None:
    """What a reader guesses: 01 and 1 are two sites, NA is a region, a day is a day."""
    days = pd.date_range("2024-01-01", periods=N)
    frame = pd.DataFrame(
        {
            "site": ["01", "1"] * (N // 2),
            "region": ["NA", "EU"] * (N // 2),
            "day": days.strftime("%Y-%m-%d"),
            "size": np.arange(N),
            "share": np.arange(N) / 8,
        }
    )
    frame.to_csv(tmp_path / "with index.csv")
    frame.assign(day=days).to_parquet(tmp_path / "meta.parquet")
    from_csv = AuditData(table(), groups=tmp_path / "with index.csv").groups
    from_parquet = AuditData(table(), groups=tmp_path / "meta.parquet").groups
    assert list(from_csv) == list(frame.columns)
    assert set(from_csv["site"]) == {"01", "1"}
    assert set(from_csv["region"]) == {"NA", "EU"}
    assert from_csv["size"].dtype.kind == "i"
    assert from_csv["share"].dtype.kind == "f"
    for name in from_csv:
        assert np.array_equal(from_csv[name].astype(str), from_parquet[name].astype(str)), name


def test_columns_of_a_table_and_lists_are_taken() -> None:
    class Column:
        def __init__(self, values: list[Any]) -> None:
            self.values = values

        def __len__(self) -> int:
            return len(self.values)

        def __getitem__(self, i: int) -> Any:
            return self.values[i]

    rows = [[i, i + 1, 7] for i in range(30)]
    plain = AuditData(torch.tensor(rows), torch.arange(30) % 3)
    assert AuditData(Column(rows), torch.arange(30) % 3).fingerprint == plain.fingerprint
    data = AuditData({"input_ids": Column(rows), "attention_mask": Column([[1, 1, 1]] * 30)})
    assert torch.equal(data.inputs, plain.inputs)


@cache
def audited_tokens(dtype: torch.dtype) -> ringtest.Report:
    """The same tokens as numbers of a type."""
    x, y = torch.randint(50, (120, 6), generator=rng()), torch.arange(120) % 3

    def reader(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(24, 3))

    return audited(reader(0), reader(1), AuditData(x.to(dtype), y))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_small_tokens_are_tokens(dtype: torch.dtype) -> None:
    """Memory maps keep tokens small; embeddings take none of the small types."""
    assert same(audited_tokens(dtype), audited_tokens(torch.int64))


def test_rows_that_were_trained_on_are_told() -> None:
    data = AuditData(table(), train=torch.cat([table()[:7], table() + 1]))
    assert "inputs: 7 of 200 rows stand in train, too" in data.warnings
    assert not AuditData(table(), train=table() + 1).warnings


def test_slices_within_one_cluster_say_so() -> None:
    x, y = table(300), torch.arange(300) % 3
    nets = [nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)) for _ in range(2)]
    data = AuditData(x, y, groups={"src": np.arange(300) % 2}, cluster="src")
    report = audited(nets[0], nets[1], data)
    (row,) = (r for r in report.rows if r.group == "slice transfer")
    assert row.status == "not_measurable"
    assert "independent clusters" in row.reason


def test_gaps_in_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("site\n" + "a\n" * (N - 1) + '""\n')
    with pytest.raises(DataError, match=r"groups\['site'\]: 1 rows hold no value"):
        AuditData(table(), groups=tmp_path / "meta.csv")


# -- samples ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 6), min_size=1, max_size=300), st.integers(1, 300), st.integers(0))
def test_a_sample_keeps_the_shares(labels: list[int], size: int, seed: int) -> None:
    y = np.array(labels)
    kept = stratified(len(y), size, [y], seed % 2**32)
    assert len(kept) == len(set(kept.tolist())) == min(size, len(y))
    assert (np.diff(kept) > 0).all()
    for value, count in zip(*np.unique(y, return_counts=True), strict=True):
        got = int((y[kept] == value).sum())
        assert got <= count
        if len(np.unique(y)) * 5 <= size:
            assert abs(got - count * min(1, size / len(y))) <= 1 + len(np.unique(y))
            assert got >= 1


def test_a_sample_is_of_everything() -> None:
    x = torch.arange(1000.0).reshape(500, 2)
    y, site = np.arange(500) % 5, np.arange(500) % 2
    data = AuditData(
        x,
        y,
        groups={"site": site},
        concepts={"row": np.arange(500)},
        cluster=np.arange(500) // 2,
        unlabelled={"web": x[:80], "shop": x + 1},
    )
    part = data.sample(100, seed=3)
    rows = part.rows.kept
    assert rows is not None
    assert part.n == 100
    assert torch.equal(part.inputs, x[torch.from_numpy(rows)])
    assert part.targets.tolist() == y[rows].tolist()
    assert part.concepts["row"].tolist() == rows.tolist()
    assert part.groups["site"].tolist() == site[rows].tolist()
    assert np.bincount(part.targets * 2 + part.groups["site"]).tolist() == [10] * 10
    assert len(set(part.cluster)) == part.cluster.max() + 1
    assert {k: len(v) for k, v in part.elsewhere.items()} == {"web": 80, "shop": 100}
    assert torch.equal(part.elsewhere["web"].main, x[:80])
    assert part.fingerprint != data.fingerprint
    assert part.fingerprint == data.sample(100, seed=3).fingerprint
    assert part.fingerprint != data.sample(100, seed=4).fingerprint
    assert data.n == 500
    assert data.sample(0) is data
    assert data.sample(500) is data
    assert any("stratified sample of 100 of 500 rows" in w for w in part.warnings)
    again = part.sample(20).rows.kept
    assert again is not None
    assert set(again.tolist()) <= set(rows.tolist())


@pytest.mark.usefixtures("few")
def test_an_audit_reads_a_sample() -> None:
    x, y = table(400), torch.arange(400) % 3
    nets = [nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)) for _ in range(2)]
    report = audited(nets[0], nets[1], AuditData(x, y), max_rows=150, seed=5)
    assert report.data["data"]["n"] == 150
    assert max(r.n for r in report.rows) == 150
    assert same(report, audited(nets[0], nets[1], AuditData(x, y).sample(150, 5), seed=5))
    for wrong in (-1, 2.5, True, "all"):
        with pytest.raises(ringtest.RingtestError, match="max_rows"):
            audited(nets[0], nets[1], AuditData(x, y), max_rows=wrong)


# -- layouts and normalisation ------------------------------------------------------------------


class ChannelsLast(nn.Module):
    """A model that takes (b, height, width, channels)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 3
        assert x.is_contiguous()
        return self.inner(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


def convnets() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        for _ in range(2)
    ]


def pictures(n: int = 120) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=rng(1))


def test_channels_last_is_audited_as_channels_first() -> None:
    """Conditions, invariances and sets from elsewhere see one picture, models their own layout."""
    a, b = convnets()
    x, y = pictures(), torch.arange(120) % 3
    first = AuditData(
        x,
        y,
        bounds=(0, 1),
        invariances={"mirror": lambda v: v.flip(3)},
        unlabelled={"dark": x * 0.3},
    )
    last = AuditData(
        x.permute(0, 2, 3, 1),
        y,
        bounds=(0, 1),
        layout="NHWC",
        invariances={"mirror": lambda v: v.flip(2)},
        unlabelled={"dark": x.permute(0, 2, 3, 1) * 0.3},
    )
    found, other = (
        values(r) for r in (audited(a, b, first), audited(ChannelsLast(a), ChannelsLast(b), last))
    )
    # Convolutions of the two layouts differ in their last bits on some processors.
    for one, two in zip(found, other, strict=True):
        assert (*one[:3], one[-1]) == (*two[:3], two[-1])
        assert one[3:5] == pytest.approx(two[3:5], rel=1e-5, abs=1e-6, nan_ok=True)


def test_normalisation_outside_the_model_is_that_inside() -> None:
    """(x - mean) / std between inputs and models: bounds and eps stay in raw units."""
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.25])

    class Inside(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner((x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))  # type: ignore[no-any-return]

    a, b = convnets()
    x, y = pictures(), torch.arange(120) % 3
    raw = AuditData(x, y, bounds=(0, 1))
    outside = AuditData(x, y, bounds=(0, 1), normalise=(mean, std))
    inside, other = audited(Inside(a), Inside(b), raw), audited(a, b, outside)
    assert same(inside, other)
    assert raw.fingerprint != outside.fingerprint
    assert other.data["data"]["eps_unit"] == "the legal range 0 to 1 before normalisation"
    assert inside.data["data"]["eps_unit"] == "the legal range 0 to 1"


def test_the_unit_of_eps_is_told() -> None:
    assert AuditData(table()).eps_unit == "the standard deviation of each column"
    assert AuditData(pictures()).eps_unit == "the standard deviation of each channel"
    assert AuditData(table().reshape(N, 5, 1)).eps_unit == "the standard deviation of each feature"
    assert AuditData(table(), bounds=(-9, 9)).eps_unit == "the legal range -9 to 9"
    assert "tokens" in AuditData(torch.ones(9, 3).long()).eps_unit


@pytest.mark.parametrize("shape", [(9, 3, 8, 8), (9, 64, 4, 4), (9, 1, 28, 28), (9, 4, 4, 4)])
def test_channels_first_needs_no_word(shape: tuple[int, ...]) -> None:
    assert AuditData(torch.zeros(shape)).layout == "NCHW"


# -- dicts --------------------------------------------------------------------------------------


class Reader(nn.Module):
    """An encoder of tokens in the manner of transformers: keywords, a mask, states of all steps."""

    def __init__(self, seed: int, width: int = 12) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(60, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 24, 0.0, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        ignored = ~attention_mask.bool()
        states = self.layer(self.words(input_ids), src_key_padding_mask=ignored)
        return {"last_hidden_state": states}


class Wholesale(nn.Module):
    """The same, given the dict itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, batch: dict[str, Tensor]) -> Any:
        assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
        return self.inner(batch["input_ids"], batch["attention_mask"])


def sentences(n: int = 120, length: int = 9, pad: int = 0) -> dict[str, Tensor]:
    """[CLS] words [SEP] padding, as a tokenizer gives them."""
    g = rng(4)
    ids = torch.randint(5, 60, (n, length), generator=g)
    ends = torch.randint(3, length, (n,), generator=g)
    at = torch.arange(length)
    ids[:, 0] = 1
    ids[at == ends[:, None]] = 2
    mask = (at <= ends[:, None]).long()
    ids = torch.where(mask.bool(), ids, 0)
    ids, mask = (nn.functional.pad(v, (0, pad)) for v in (ids, mask))
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def test_padding_changes_nothing() -> None:
    """The mask drives pooling, conditions and distances: three more columns of padding are none."""
    members = [Reader(0), Reader(1)]
    plain = audited(members, Reader(2), AuditData(sentences()), task="embedding")
    padded = audited(members, Reader(2), AuditData(sentences(pad=3)), task="embedding")
    compared = 0
    for row, other in zip(plain.rows, padded.rows, strict=True):
        assert (row.measure, row.condition) == (other.measure, other.condition)
        # Random draws have the inputs' shape, so padded inputs are disturbed by other draws.
        if row.condition == "clean":
            assert other.student == pytest.approx(row.student, abs=1e-5, nan_ok=True)
            compared += 1
    assert compared > 10
    assert {r.condition for r in plain.rows} >= {
        "shift.off_support.shuffled",
        "shift.off_support.random",
    }


def test_models_take_a_dict_by_keyword_or_whole() -> None:
    whole = [Wholesale(Reader(0)), Wholesale(Reader(1))]
    data = AuditData(sentences())
    by_keyword = audited([Reader(0), Reader(1)], Reader(2), data, task="embedding")
    assert same(by_keyword, audited(whole, Wholesale(Reader(2)), data, task="embedding"))


def test_frames_and_padding_are_never_moved() -> None:
    data = AuditData(sentences())
    assert data.frame_tokens.tolist() == [0, 1, 2]
    from ringtest.condition import conditions

    x = data.inputs
    still = torch.isin(x, torch.tensor([0, 1, 2]))
    seen = 0
    for kind in conditions:
        for condition in kind.make.defaults(data) if kind.make.kind != "clean" else ():
            condition.fit([STEADY], data, rng(1))
            changed = condition.batch(None, x.clone(), None, rng(2))  # type: ignore[arg-type]
            assert torch.equal(changed[still], x[still])
            assert not torch.equal(changed, x)
            assert not torch.isin(changed[~still], torch.tensor([0, 1, 2])).any()
            seen += 1
    assert seen == 10


def test_without_a_frame_all_tokens_are_words() -> None:
    x = torch.randint(50, (80, 6), generator=rng())
    assert AuditData(x).frame_tokens.tolist() == []
    assert AuditData(torch.ones(80, 6).long()).frame_tokens.tolist() == []


def test_an_attack_keeps_what_goes_along_in_step() -> None:
    """Examples leave an attack's batch one by one; their companions must leave with them."""

    class Scaled(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

        def forward(self, pixel_values: Tensor, gain: Tensor) -> Tensor:
            return self.net(pixel_values * gain[:, None])  # type: ignore[no-any-return]

    x, y = table(N, 6), torch.arange(N) % 3
    gain = torch.where(torch.arange(N) % 2 == 0, 1.0, 3.0)
    data = AuditData({"pixel_values": x, "gain": gain}, y)
    assert data.modality == "table"
    report = audited([Scaled(0), Scaled(1)], Scaled(2), data)
    pgd = [r for r in report.rows if r.condition == "attack.pgd"]
    assert pgd
    assert all(r.status != "error" for r in report.rows), [
        r.reason for r in report.rows if r.status == "error"
    ]
    # Gains of 1 everywhere are no companions at all.
    plain = AuditData(x, y)
    ones = AuditData({"pixel_values": x, "gain": torch.ones(N)}, y)
    nets = [Scaled(0).net, Scaled(1).net, Scaled(2).net]
    assert same(audited([Scaled(0), Scaled(1)], Scaled(2), ones), audited(nets[:2], nets[2], plain))


def test_sets_from_elsewhere_may_be_longer_and_have_their_own_mask() -> None:
    data = AuditData(
        sentences(), unlabelled={"long": sentences(110, 14), "none": sentences(100, 9)}
    )
    report = audited([Reader(0), Reader(1)], Reader(2), data, task="embedding")
    rows = [r for r in report.rows if r.condition == "shift.unlabelled.long" and r.n]
    # A domain probe counts the rows of both sets.
    assert {r.n for r in rows if r.measure != "shift.domain_auc"} == {110}
    assert all(r.status != "error" for r in report.rows)


def test_padding_of_plain_tokens_is_found_elsewhere() -> None:
    """With inputs given as a tensor and a mask, a set's mask is read off the padding token."""
    given_rows, web = sentences(), sentences(100, 12)
    data = AuditData(
        given_rows["input_ids"],
        mask=given_rows["attention_mask"],
        unlabelled={"web": web["input_ids"]},
    )
    assert torch.equal(data.elsewhere["web"].mask, web["attention_mask"].bool())


def test_a_model_that_takes_no_dict_is_told() -> None:
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    with pytest.raises(SubjectError, match="raised"):
        audited(net, net, AuditData({"pixel_values": table(), "size": torch.ones(N)}, [0, 1] * 100))
