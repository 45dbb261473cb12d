"""Metadata as users have it: arrays with names beside them as WILDS has, and files."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ringtest import AuditData
from ringtest.commands.audits import ask
from ringtest.errors import DataError
from ringtest.rows.metadata import described

N = 240
FIELDS = ["hospital", "slide", "y"]
MAP = {"hospital": [f"Hospital {i}" for i in range(3)], "y": ["normal", "tumor"]}


def inputs() -> torch.Tensor:
    return torch.randn(N, 3, generator=torch.Generator().manual_seed(0))


TARGETS = np.arange(N) % 2
ARRAY = np.stack([np.arange(N) % 3, np.arange(N) // 2, TARGETS], 1)


@pytest.mark.parametrize("form", ["array", "tensor", "float tensor", "data set"])
def test_an_array_of_codes_as_wilds_has_it(form: str) -> None:
    more: dict[str, Any] = {"metadata_fields": FIELDS, "metadata_map": MAP}
    groups: Any = ARRAY
    if form == "tensor":
        groups = torch.from_numpy(ARRAY)
    if form == "float tensor":
        groups = torch.from_numpy(ARRAY).float()
    if form == "data set":
        groups = SimpleNamespace(metadata_array=torch.from_numpy(ARRAY), **more)
        more = {}
    data = AuditData(inputs(), TARGETS, groups=groups, **more)
    assert list(data.groups) == ["hospital", "slide"]
    assert data.groups["hospital"][:4].tolist() == [
        "Hospital 0",
        "Hospital 1",
        "Hospital 2",
        "Hospital 0",
    ]
    assert data.groups["slide"].tolist() == (np.arange(N) // 2).tolist()
    assert "groups['y'] repeats the targets, and is left out" in data.warnings


def test_names_may_be_missing_or_a_dict_and_another_y_stays() -> None:
    codes = np.stack([10 + np.arange(N) % 2, np.arange(N) % 5], 1)
    names = {"year": {10: "2002", 11: "2013", 12: "never"}}
    data = AuditData(inputs(), TARGETS, codes, metadata_fields=("year", "y"), metadata_map=names)
    assert data.groups["year"][:2].tolist() == ["2002", "2013"]
    assert data.groups["y"].tolist() == (np.arange(N) % 5).tolist()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"groups": ARRAY}, "groups: is an array whose columns have no names; name its 3 columns"),
        (
            {"groups": ARRAY[:, 0], "metadata_fields": ["a"]},
            r"groups: is an array of shape \(240,\)",
        ),
        ({"groups": ARRAY, "metadata_fields": ["a", "b"]}, "has 2 names; groups have 3 columns"),
        ({"groups": ARRAY, "metadata_fields": "abc"}, "metadata_fields: is 'abc'"),
        ({"groups": ARRAY, "metadata_fields": ["a", "a", "b"]}, "'a' stands twice"),
        ({"groups": ARRAY[:9], "metadata_fields": FIELDS}, "has 9 rows, inputs have 240"),
        (
            {"groups": ARRAY, "metadata_fields": FIELDS, "metadata_map": {"hospitl": []}},
            "'hospitl' is no field; did you mean hospital",
        ),
        (
            {"groups": ARRAY, "metadata_fields": FIELDS, "metadata_map": {"hospital": ["a", "b"]}},
            r"metadata_map\['hospital'\]: has no name for code 2",
        ),
        ({"groups": ARRAY, "metadata_fields": FIELDS, "metadata_map": ["a"]}, "is a list"),
        ({"groups": {"a": TARGETS}, "metadata_fields": ["a"]}, "is given beside a dict"),
        ({"metadata_map": MAP}, "metadata_map: is given beside no groups"),
    ],
)
def test_arrays_that_do_not_fit(more: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        AuditData(inputs(), TARGETS, **more)
    assert "\n" not in str(error.value)


TABLE = pd.DataFrame({"site": ["01", "1", "2"] * (N // 3), "day": pd.date_range("2020", periods=N)})


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_files_of_every_kind_say_the_same(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"meta.{kind}"
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="the extra parquet")
        TABLE.to_parquet(path)
    else:
        TABLE.to_csv(path, sep="," if kind == "csv" else "\t", index=False)
    data = AuditData(inputs(), TARGETS, groups=path)
    assert data.groups["site"].tolist() == TABLE["site"].tolist()
    assert data.groups["day"].astype(str).tolist() == TABLE["day"].dt.date.astype(str).tolist()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_of_another_length_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"meta.{kind}"
    TABLE[:-2].to_csv(path, index=False) if kind == "csv" else TABLE[:-2].to_parquet(path)
    with pytest.raises(DataError, match=rf"meta.{kind} has 238 rows, inputs have 240"):
        AuditData(inputs(), TARGETS, groups=path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meta.parquet"
    path.write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in ("pyarrow", "fastparquet"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(__import__("sys").modules, "pyarrow", raising=False)
    with pytest.raises(DataError, match=r"needs pyarrow; pip install 'ringtest\[parquet\]'"):
        AuditData(inputs(), TARGETS, groups=path)


TOML = """
[teacher]
load = "models_here:teacher"
[student]
load = "models_here:teacher"
[data]
load = "models_here:rows"
"""
MODULE = """
import numpy as np, torch
from ringtest import AuditData
def teacher(): return torch.nn.Linear(3, 2)
def rows():
    x = torch.randn(240, 3, generator=torch.Generator().manual_seed(0))
    return AuditData(x, np.arange(240) % 2, {"own": np.arange(240) % 2})
"""


def configured(folder: Path, more: str) -> AuditData:
    (folder / "models_here.py").write_text(MODULE)
    (folder / "audit.toml").write_text(TOML + more)
    TABLE.to_csv(folder / "meta.csv", index=False)
    found: AuditData = ask(folder / "audit.toml").arguments["data"]
    return found


def test_audit_toml_names_files_beside_it(tmp_path: Path) -> None:
    data = configured(tmp_path, 'groups = "meta.csv"\nconcepts = "meta.csv"\ncluster = "site"\n')
    assert list(data.groups) == ["own", "site", "day"]
    assert list(data.concepts) == ["site", "day"]
    assert len(np.unique(data.cluster)) == 3
    assert any("groups['site']: under 100 rows" in w for w in data.warnings)
    plain = configured(tmp_path, "")
    assert list(plain.groups) == ["own"]
    assert plain.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('groups = "mta.csv"', "mta.csv is not there; did you mean meta.csv"),
        ('groups = "audit.toml"', "is no .csv, .tsv or .parquet file"),
        ('groups = "meta.csv"\ncluster = "sit"', "'sit' is no group; did you mean site"),
    ],
)
def test_what_audit_toml_may_not_name(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        configured(tmp_path, more)


def test_columns_do_not_replace_those_of_the_data() -> None:
    data = AuditData(inputs(), TARGETS, {"a": TARGETS}, cluster=np.arange(N) // 2)
    with pytest.raises(DataError, match="have a column 'a' already; rename one"):
        described(data, groups={"a": TARGETS})
    with pytest.raises(DataError, match="have one already"):
        described(data, cluster="a")
    assert described(data, groups={"b": TARGETS}).groups.keys() == {"a", "b"}
    assert data.groups.keys() == {"a"}
