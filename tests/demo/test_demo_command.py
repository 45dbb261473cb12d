"""`ringtest demo`: what it prints and writes, with small models in place of trained ones."""

import os
import subprocess
import sys

import pytest
import torch
from rich.console import Console
from torch import nn

import ringtest
from ringtest import demo as demos
from ringtest.demo import command
from ringtest.errors import Exit
from ringtest.report import ReportSet, load_report


def tiny_demo(seed=0, progress=None) -> demos.Demo:
    """What `build` gives, untrained and small."""
    progress("teacher", 1.0)
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(120, 1, 4, 4, generator=rng)

    def net(k):
        torch.manual_seed(k)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 3)).eval()

    teacher = [net(0), net(1)]
    with torch.no_grad():
        targets = torch.stack([m(x).softmax(1) for m in teacher]).mean(0).argmax(1)
    return demos.Demo(
        teacher=teacher,
        students={"good": net(0), "bad": net(5)},
        truth={"good": "sound", "bad": "fractured"},
        about={"good": "a copy of a member", "bad": "never trained"},
        inputs=x,
        targets=targets,
        production={"upside down": x.flip(2)[:110]},
    )


@pytest.fixture(scope="module")
def shown_demo(tmp_path_factory):
    """Lines and folder of the demo with tiny models."""
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demos, "build", tiny_demo)
        return command.run(out, quiet=True), out


def test_demo_writes_both_sets(shown_demo):
    lines, out = shown_demo
    assert [line.name for line in lines] == ["good", "bad"]
    for name in (command.WITH, command.WITHOUT):
        found = load_report(out / name)
        assert isinstance(found, ReportSet)
        assert list(found) == ["bad", "good"]
    command.claim(out)  # a demo may be replaced by a demo


@pytest.mark.parametrize("width", [80, 140])
def test_demo_prints_one_table(shown_demo, width, capsys):
    lines, out = shown_demo
    command.show(lines, Console(width=width), out)
    shown = capsys.readouterr().out
    for line in lines:
        for word in (line.name, line.planted, line.with_.verdict.label, line.as_planted):
            assert word in shown
    assert "as planted" in shown
    assert f"ringtest gate {out / 'with'}" in shown.replace("\n", "")


def test_leaving_unlabelled_rows_out_is_what_an_audit_without_them_finds():
    built = tiny_demo(progress=lambda _what, _share: None)
    given = {"bounds": built.bounds, "modality": "table"}
    x = built.inputs.flatten(1)
    web = {name: rows.flatten(1) for name, rows in built.production.items()} | {"dark": 0.2 * x}
    # Off support a student of another architecture is excused only by inputs from elsewhere.
    narrower = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)).eval()

    def audit(unlabelled):
        data = ringtest.AuditData(x, built.targets, unlabelled=unlabelled, **given)
        students = {**built.students, "narrower": narrower}
        return ringtest.audit(built.teacher, students, data, progress=False)

    with_, without = audit(web), audit(None)
    excused = [r for r in with_["narrower"].rows if r.null == "band void" and not r.headline]
    assert excused
    less = command.leave_out_unlabelled(with_)
    assert list(less) == list(without)
    for name, derived in less.items():
        run_again = without[name].data
        for section in ("measurements", "verdict", "not_measured", "policy", "subjects"):
            assert derived.data[section] == run_again[section], section
        assert derived.data["data"]["unlabelled"] == {}
        assert derived.data["config"]["left_out"] == "shift.unlabelled.*"
        assert "left out" in derived.data["data"]["warnings"][-1]
        assert with_[name].data["measurements"] != run_again["measurements"]


@pytest.mark.slow
def test_the_real_demo_finds_what_was_planted(tmp_path):
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-m", "ringtest", "demo", "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == Exit.PASS, done.stderr
    assert done.stderr == ""
    assert "6 of 6 as planted" in done.stdout
