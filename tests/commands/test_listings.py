"""The tables of the command line, for models of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ringtest import AuditData, Subject, save_evidence
from ringtest.commands import listings
from ringtest.road import prepare


@pytest.mark.parametrize("layers", [True, False])
def test_the_layers_of_stored_evidence_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layers: bool
) -> None:
    x = torch.randn(120, 5, generator=torch.Generator().manual_seed(1))
    held = {"hidden": x[:, :4], "deep": x[:, :2]} if layers else {}
    save_evidence(tmp_path / "s.npz", x[:, :3], held)
    teacher = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    data = AuditData(x, torch.arange(120) % 3)
    listings.show_layers(prepare(teacher, Subject(evidence=tmp_path / "s.npz"), data))
    shown = capsys.readouterr().out.partition("student")[2]
    if layers:
        for word in ("hidden", "deep", "(n, 4)", "(n, 2)", "stored evidence"):
            assert word in shown
    else:
        assert "Only outputs can be seen: the evidence holds no layers." in shown
    assert "owns parameters" not in shown
