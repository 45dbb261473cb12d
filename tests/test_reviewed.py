"""What reviewers broke once: each passed, or ended in a raw error, before it was mended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import only_under
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, Exit, RingtestError, subjects, tasks
from ringtest.capture import pooled

N = 150


def net(seed: int = 0, width: int = 8) -> nn.Module:
    """A classifier of five features."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3))


def rows(seed: int = 0, **more: Any) -> AuditData:
    """Inputs with the classes of a linear rule."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 5, generator=rng)
    return AuditData(x, more.pop("targets", x[:, :3].argmax(1)), **more)


def audit(student: Any, data: AuditData | None = None, **more: Any) -> Any:
    """A quiet audit against two members."""
    teacher = more.pop("teacher", [net(1), net(2)])
    return ringtest.audit(teacher, student, data or rows(), progress=False, **more)


def test_names_that_read_alike_are_refused() -> None:
    with pytest.raises(RingtestError, match="two names that read '1'"):
        audit({"1": net(3), 1: net(4)})


@pytest.mark.usefixtures("asked_alone", "undrawn")
def test_a_set_of_two_audits_is_refused(tmp_path: Path) -> None:
    audit({"a": net(1), "b": net(3)}, out=tmp_path / "one")
    audit({"a": net(1), "b": net(3)}, rows(5), out=tmp_path / "two")
    shutil.copy(tmp_path / "two" / "b" / "report.json", tmp_path / "one" / "b" / "report.json")
    with pytest.raises(RingtestError, match="of different audits"):
        ringtest.gate(tmp_path / "one")


@pytest.mark.usefixtures("asked_alone", "undrawn")
def test_fresh_sweeps_away_only_what_an_audit_wrote(tmp_path: Path) -> None:
    theirs = tmp_path / "coverage"
    theirs.mkdir()
    (theirs / "report.json").write_text('{"precious": 1}')
    (theirs / "report.html").write_text("precious")
    audit({"a": net(1), "b": net(3)}, out=tmp_path, fresh=True)
    audit({"a": net(1)}, out=tmp_path, fresh=True)
    assert (theirs / "report.html").read_text() == "precious"
    assert not (tmp_path / "b" / "report.json").exists()


@pytest.mark.usefixtures("asked_alone", "undrawn")
def test_a_folder_belongs_to_its_students_too(tmp_path: Path) -> None:
    audit(net(3), out=tmp_path)
    with pytest.raises(RingtestError, match="belongs to another audit"):
        audit(net(1), out=tmp_path)
    audit(net(3), out=tmp_path)


def test_an_outputs_only_student_takes_nothing_from_the_others() -> None:
    alone = audit({"inside": net(3)})["inside"]
    found = audit({"inside": net(3), "api": lambda x: net(3)(x)})
    assert found["inside"].verdict.groups == alone.verdict.groups
    assert (found["inside"].verdict.scope, found["api"].verdict.scope) == ("full", "outputs-only")
    assert "global geometry" not in found["api"].verdict.groups
    assert found["api"].verdict.label != "sound"


def test_an_outputs_only_reference_is_refused() -> None:
    with pytest.raises(RingtestError, match="shows only its outputs"):
        audit(net(3), references=[lambda x: net(3)(x)])


def test_references_of_another_kind_do_not_accuse() -> None:
    with only_under("shift.off_support.*"):
        found = audit({"like": net(3), "wide": net(3, 16)}, references=[net(7, 16)])
    null = {
        name: {
            r.null: r.headline for r in report.verdict.rows if r.condition == "shift.off_support"
        }
        for name, report in found.items()
    }
    assert null["like"] == {"band": True, "references": False}
    assert null["wide"]["references"] is True
    assert any("another architecture" in reason for reason in found["like"].verdict.reasons)


def test_what_the_teacher_cannot_bear_off_support_says_nothing_of_the_student() -> None:
    class Strict(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.inner = net(seed)

        def forward(self, x: Tensor) -> Tensor:
            if float(x.abs().max()) > 6:
                raise ValueError("out of range")
            out: Tensor = self.inner(x)
            return out

    with only_under("shift.off_support.*"):
        report = audit(Strict(3), teacher=[Strict(1), Strict(2)])
        alone = audit(Strict(3))
    (row,) = (
        r
        for r in report.verdict.rows
        if r.condition == "shift.off_support" and r.measure == "similarity.cka"
    )
    assert row.measured
    assert "shift.off_support.noise@3" not in row.params["conditions"]
    (row,) = (
        r
        for r in alone.verdict.rows
        if r.condition == "shift.off_support" and r.measure == "similarity.cka"
    )
    assert row.status == "error"


@pytest.mark.parametrize("form", ["column", "floats", "bools"])
def test_every_form_of_classes_is_attacked(form: str) -> None:
    y = (rows().targets > 0).astype(int)
    targets = {"column": y[:, None], "floats": y.astype(float), "bools": y.astype(bool)}[form]
    with only_under("attack.*"):
        report = audit(net(3), rows(targets=targets))
    seen = [r.severity for r in report.verdict.rows if r.condition == "attack.pgd"]
    assert seen == [0.03, 0.1, None]  # and the area over both


def test_a_huge_class_is_an_error_at_once() -> None:
    targets = rows().targets.copy()
    targets[0] = 10**9
    with pytest.raises(RingtestError, match="targets reach class 1000000000"):
        audit(net(3), rows(targets=targets))


def test_the_callers_default_dtype_changes_nothing() -> None:
    plain = audit(net(3)).data
    models, data = [net(1), net(2), net(3)], rows()
    torch.set_default_dtype(torch.float64)
    try:
        other = audit(models[2], data, teacher=models[:2]).data
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert plain["integrity"] == other["integrity"]


@pytest.mark.usefixtures("asked_alone")
def test_probabilities_are_said_so() -> None:
    report = audit(nn.Sequential(net(3), nn.Softmax(1)))
    assert "student: outputs are probabilities, not logits" in report.data["data"]["warnings"]


def test_steps_that_do_not_count_are_left_out_of_the_mean() -> None:
    value = torch.arange(24.0).reshape(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = pooled(value, 2, "features", 0, mask)
    assert found is not None
    assert torch.equal(found, torch.stack([value[0, :2].mean(0), value[1, 0]]))

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.embed(x).tanh()).mean(1)
            return out

    tokens = torch.randint(1, 9, (N, 7))
    short = tokens.clone()
    short[:, 4:] = 0
    whole = torch.ones(N, 7, dtype=torch.bool)
    model = Tagger().eval()
    last = {}
    for name, mask_ in (("all", whole), ("some", whole & (torch.arange(7) < 4))):
        data = AuditData(short, torch.arange(N) % 3, mask=mask_)
        task = tasks.make("classification", data)
        (member,) = subjects.teacher(model, task, data)
        from ringtest import evidence
        from ringtest.condition import Clean

        seen = evidence.gather(
            Clean(), [member], [], data, task, evidence.Wanted(True, True), seed=0
        )
        last[name] = seen.evidence["teacher"].last
    want = model.embed(short[:, :4]).tanh().mean(1).detach()
    assert torch.allclose(last["some"], want, atol=1e-6)
    assert not torch.allclose(last["all"], want, atol=1e-3)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"mask": torch.ones(N, 4)}, "mask"),
        ({"unit_ids": np.arange(N)}, "unit_ids"),
        ({"groups": {"g": [[1], [1, 2]] * (N // 2)}}, "groups"),
        ({"groups": {"t": np.array(["NaT"] * N, dtype="datetime64[D]")}}, "groups"),
    ],
)
def test_data_that_cannot_be_used_is_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(RingtestError, match=field):
        rows(**more)


def test_inputs_that_numpy_turned_around_are_taken() -> None:
    x = np.random.default_rng(0).normal(size=(N, 5)).astype(">f4")[::-1]
    assert AuditData(x, np.arange(N) % 3).inputs.shape == (N, 5)
    with pytest.raises(RingtestError, match="inputs"):
        AuditData(torch.eye(5).to_sparse())
    with pytest.raises(RingtestError, match="infinity"):
        AuditData(np.full((N, 5), 1e300))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"layers": 5}, "layers"),
        ({"task": None}, "task"),
        ({"cells": ["probe"]}, "cells"),
        ({"gates": [{"measure": "x"}]}, "gates"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_of_the_wrong_type_are_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(RingtestError, match=field):
        audit(net(3), **more)


def test_a_model_that_ends_the_process_is_an_error() -> None:
    def leave(_x: Tensor) -> Tensor:
        raise SystemExit(0)

    with pytest.raises(RingtestError, match="SystemExit"):
        audit(leave)


@pytest.fixture(scope="module")
def written() -> str:
    """A report, as it is written."""
    return json.dumps(audit(net(1)).data)


@pytest.mark.parametrize("broken", ["twice", "scope", "timing", "harm"])
def test_more_reports_that_never_pass(tmp_path: Path, written: str, broken: str) -> None:
    file = tmp_path / "report.json"
    data = json.loads(written)
    if broken == "twice":
        text = written.replace('"schema_version": 1', '"schema_version": 9, "schema_version": 1', 1)
    else:
        if broken == "scope":
            data["verdict"]["scope"] = "bogus"
        elif broken == "timing":
            data["timing"] = None
        else:
            row = next(r for r in data["measurements"] if r["headline"])
            row["harm"] -= 1
        text = json.dumps(data)
    file.write_text(text)
    with pytest.raises(RingtestError):
        ringtest.gate(tmp_path)


def test_what_is_too_small_says_so() -> None:
    small = rows(unlabelled={"tiny": torch.randn(30, 5) + 3})
    with only_under("shift.unlabelled"):
        reasons = audit(net(3), small).verdict.reasons
    assert any("tiny: 30 rows, at least 100 are needed" in r for r in reasons)
    assert Exit.INCONCLUSIVE == 3
