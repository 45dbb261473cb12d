"""Evidence computed elsewhere: written, read, refused, audited."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringtest import AuditData, Subject, audit
from ringtest.errors import ReportError, SubjectError
from ringtest.sources.stored import Stored, save_evidence

N, M = 150, 120


@pytest.fixture
def rows(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        k: rng.normal(size=(N, d)).astype(np.float32) for k, d in (("out", 3), ("a", 4), ("b", 6))
    }


def test_what_is_written_is_read(tmp_path: Path, rows: dict[str, np.ndarray]) -> None:
    phone = "shift.unlabelled.phone"
    save_evidence(
        tmp_path / "s.npz",
        torch.from_numpy(rows["out"]),
        {"layers/b": rows["b"], "a": torch.from_numpy(rows["a"]).bfloat16()},
        {phone: (rows["out"][:M], {"layers/b": rows["b"][:M], "a": rows["a"][:M]})},
    )
    found = Stored.load("student.evidence", tmp_path / "s.npz")
    assert found.names == ("layers/b", "a")
    assert found.conditions == ("clean", phone)
    assert found.n == N
    np.testing.assert_array_equal(found.outputs(), rows["out"])
    np.testing.assert_array_equal(found.outputs(phone), rows["out"][:M])
    assert list(found.layers(phone)) == ["layers/b", "a"]
    np.testing.assert_array_equal(found.layers()["layers/b"], rows["b"])
    np.testing.assert_allclose(found.layers()["a"], rows["a"], rtol=1e-2)
    assert found.outputs("noise.input") is None
    assert found.layers("noise.input") == {}
    assert [p.name for p in tmp_path.iterdir()] == ["s.npz"]


def test_plain_numpy_writes_it_too(tmp_path: Path, rows: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "s.npz", **{"outputs": rows["out"][:, 0], "layers/a": rows["a"]})
    found = Stored.load("x", tmp_path / "s.npz")
    assert found.outputs().shape == (N,)
    np.savez_compressed(tmp_path / "c.npz", **{"outputs": rows["out"][:, 0], "layers/a": rows["a"]})
    # What is stored counts, not how it is packed.
    assert Stored.load("x", tmp_path / "c.npz").digest == found.digest


def test_the_digest_sees_every_value_and_name(tmp_path: Path, rows: dict[str, np.ndarray]) -> None:
    def digest(name: str = "a", change: float = 0) -> str:
        layer = rows["a"].copy()
        layer[-1, -1] += change
        save_evidence(tmp_path / "s.npz", rows["out"], {name: layer})
        return Stored.load("x", tmp_path / "s.npz").digest

    assert digest() == digest()
    assert len({digest(), digest(change=1e-3), digest(name="b")}) == 3


def with_nan(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value[3, 1] = np.nan
    return value


REFUSED: dict[str, tuple[Any, str]] = {
    "no outputs": (lambda r: {"layers/a": r["a"]}, "holds no 'outputs'"),
    "no outputs there": (
        lambda r: {"outputs": r["out"], "shift.x/layers/a": r["a"]},
        "holds no 'shift.x/outputs'",
    ),
    "another name": (lambda r: {"outputs": r["out"], "logits": r["out"]}, "holds 'logits'"),
    "fewer rows": (
        lambda r: {"outputs": r["out"], "layers/a": r["a"][:9]},
        "layers/a has 9 rows, outputs have 150",
    ),
    "NaN": (lambda r: {"outputs": with_nan(r["out"])}, "outputs is not finite in 1 rows"),
    "NaN in a layer": (
        lambda r: {"outputs": r["out"], "layers/a": with_nan(r["a"])},
        "layers/a is not finite in 1 rows",
    ),
    "tokens": (
        lambda r: {"outputs": r["out"], "layers/a": r["a"][:, None]},
        "layers/a has shape (150, 1, 4); give (rows, columns); pool tokens",
    ),
    "a flat layer": (lambda r: {"outputs": r["out"], "layers/a": r["a"][:, 0]}, "has shape (150,)"),
    "no rows": (lambda r: {"outputs": r["out"][:0]}, "outputs has shape (0, 3)"),
    "classes": (lambda r: {"outputs": r["out"].argmax(1)}, "outputs is int64; give floats"),
    "other layers there": (
        lambda r: {"outputs": r["out"], "layers/a": r["a"], "shift.x/outputs": r["out"]},
        "shows the layers [] under shift.x, ['a'] clean",
    ),
    "another width there": (
        lambda r: {"outputs": r["out"], "shift.x/outputs": r["a"]},
        "shift.x/outputs has rows of (4,), (3,) in the clean ones",
    ),
    "twice": (lambda r: {"outputs": r["out"], "clean/outputs": r["out"]}, "'clean/outputs' twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line(tmp_path: Path, rows: dict[str, np.ndarray], case: str) -> None:
    make, says = REFUSED[case]
    np.savez(tmp_path / "s.npz", **make(rows))
    with pytest.raises(SubjectError) as caught:
        Subject(evidence="s.npz", where=tmp_path).resolve("student")
    assert says in str(caught.value)
    assert caught.value.field == "student.evidence"
    assert "\n" not in str(caught.value)


def test_nothing_is_written_that_could_not_be_read(
    tmp_path: Path, rows: dict[str, np.ndarray]
) -> None:
    with pytest.raises(SubjectError, match="layers/a has 9 rows"):
        save_evidence(tmp_path / "s.npz", rows["out"], {"a": rows["a"][:9]})
    with pytest.raises(SubjectError, match="object; give floats"):
        save_evidence(tmp_path / "s.npz", rows["out"].astype(object))
    with pytest.raises(ReportError, match="No such file or directory"):
        save_evidence(tmp_path / "nowhere" / "s.npz", rows["out"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", ["empty", "truncated", "garbage", "one array", "no arrays"])
def test_broken_files(tmp_path: Path, rows: dict[str, np.ndarray], cut: str) -> None:
    file = tmp_path / "s.npz"
    save_evidence(file, rows["out"], {"a": rows["a"]})
    whole = file.read_bytes()
    single = io.BytesIO()
    np.save(single, rows["out"])
    none = io.BytesIO()
    with zipfile.ZipFile(none, "w") as archive:
        archive.writestr("outputs.npy", b"no array")
    content = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "garbage": b"\x93NUMPY",
        "one array": single.getvalue(),
        "no arrays": none.getvalue(),
    }[cut]
    file.write_bytes(content)
    with pytest.raises(SubjectError, match=r"cannot be read as arrays|holds .*, no array"):
        Stored.load("student.evidence", file)


# -- end to end ----------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body, self.head = nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).relu())

    def evidence(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with torch.no_grad():
            return self(x), {"body": self.body(x).relu()}


def test_stored_evidence_says_what_the_model_would_have_said(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    x = torch.from_numpy(rng.normal(size=(N, 6)).astype(np.float32))
    phone = torch.from_numpy(2 + rng.normal(size=(M, 6)).astype(np.float32))
    data = AuditData(x, (x[:, 0] > 0).long(), unlabelled={"phone": phone})
    nets = [Net(0), Net(1), Net(2)]
    student = nets[2]
    there = {"shift.unlabelled.phone": student.evidence(phone)}
    save_evidence(tmp_path / "s.npz", *student.evidence(x), there)
    report = audit(
        nets[:2],
        {"live": student, "stored": Subject(evidence=tmp_path / "s.npz")},
        data,
        progress=False,
    )

    def values(name: str) -> dict[Any, float]:
        return {
            (r.measure, r.condition, r.statistic): r.student
            for r in report[name].rows
            if r.measure in ("similarity.cka", "outputs.agreement")
            and r.condition in ("clean", "shift.unlabelled.phone")
            and r.student_layer in (None, "input of head", "body")
            and not r.headline
        }

    live, stored = values("live"), values("stored")
    assert len(stored) >= 4
    for key, value in stored.items():
        assert value == pytest.approx(live[key], abs=1e-6), key
    assert report["stored"].verdict.label != "sound"
    # Elsewhere it cannot be seen, and nothing is made up for it.
    unseen = [r for r in report["stored"].rows if r.condition == "shift.off_support"]
    assert {r.group for r in unseen} == {"global geometry", "local geometry", "function"}
    assert all(r.headline and r.required and r.status == "not_measurable" for r in unseen)
    assert all("stored evidence" in r.reason for r in unseen)
    assert any("off_support" in item["condition"] for item in report["stored"].data["not_measured"])
