"""An audit that was stopped goes on: whatever is kept, the report is the same outside timing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import FEW
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, ReportSet, load_report, road
from ringtest.cells.store import Store
from ringtest.cli import main
from ringtest.errors import Exit, Interrupted, ReportError, SubjectError
from ringtest.files import CELLS, LOCK

MODELS = """
import torch
from torch import nn


def build(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


def teacher(): return [build(0), build(1)]
def student(): return build(0)
def other(): return build(7)
"""
DATA = """
import torch
from ringtest import AuditData


def rows():
    x = torch.randn(150, 5, generator=torch.Generator().manual_seed(1))
    return AuditData(x, x[:, :3].argmax(1), unlabelled={"far": 2 * x[:110].flip(1) + 1})
"""
CONFIG = """
[teacher]
load = "models:teacher"
[[student]]
name = "copy"
load = "models:student"
[[student]]
name = "other"
load = "models:other"
[data]
load = "rows:rows"
"""
CHILD = """
import os, signal, sys, time
from pathlib import Path

# A shell that started the tests in the background would have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from ringtest.cli import main
from ringtest.cells.store import Store

pause, deadly, few = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3].splitlines()
if few:
    sys.path.append(few[0])
    from quick import only_under, undrawn

    held = only_under(*few[1:]), undrawn()
    for each in held:
        each.__enter__()
write, replace, count = Store.write, os.replace, 0


def slowly(*given):
    write(*given)
    time.sleep(pause)


def dies(source, target):
    # A file is written whole, but not in its place: the moment of the worst luck.
    global count
    count += 1
    if count == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)


Store.write, os.replace = slowly, dies
raise SystemExit(main(sys.argv[4:]))
"""
SUPPORT = Path(__file__).parents[1] / "support"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in (("models.py", MODELS), ("rows.py", DATA), ("audit.toml", CONFIG)):
        (folder / name).write_text(text)
    return folder


def asked(project: Path, out: Path) -> list[str]:
    return ["audit", str(project / "audit.toml"), "--out", str(out), "-q"]


def start(
    project: Path, out: Path, *more: str, pause: float = 0.0, deadly: int = 0, few: bool = False
) -> subprocess.Popen[str]:
    """An audit in a process of its own, with a rest after every cell.

    With ``few`` it looks under few conditions and draws no pages.
    """
    how = [str(pause), str(deadly), "\n".join([str(SUPPORT), *FEW]) if few else ""]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *how, *asked(project, out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what it said on stderr."""
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def cells(out: Path) -> int:
    return len(list((out / CELLS).glob("*.cell")))


def wait_for(process: subprocess.Popen[str], out: Path, count: int) -> None:
    """Until so many cells are kept, or it has ended."""
    while process.poll() is None and cells(out) < count:
        time.sleep(0.002)


def found(out: Path) -> tuple[str, dict[str, bytes]]:
    """Reports without timing as text, and all pages."""
    reports = {}
    for file in sorted(out.glob("*/report.json")):
        data = json.loads(file.read_text())
        del data["timing"]
        reports[file.parent.name] = data
    pages = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.html"))}
    return json.dumps(reports), pages


def half_written(out: Path) -> list[Path]:
    return [p for p in out.rglob(".*") if p.name != LOCK]


def uninterrupted(project: Path, out: Path, few: bool) -> tuple[Any, int]:
    """What an audit without any interruption writes, and how many cells it keeps."""
    assert finish(start(project, out, few=few)) == (0, "")
    assert isinstance(load_report(out), ReportSet)
    return found(out), cells(out)


@pytest.fixture(scope="module")
def whole(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int]:
    """The whole audit, with its pages."""
    return uninterrupted(project, tmp_path_factory.mktemp("whole") / "out", few=False)


@pytest.fixture(scope="module")
def little(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int]:
    """The same under few conditions, without pages."""
    return uninterrupted(project, tmp_path_factory.mktemp("little") / "out", few=True)


# -- killed, in processes of their own -----------------------------------------------------------


def kill_and_go_on(
    project: Path, out: Path, whole: tuple[Any, int], count: int, delay: float, few: bool = False
) -> None:
    """Kill once ``count`` cells are kept and ``delay`` seconds have passed, and run again."""
    process = start(project, out, pause=0.01, few=few)
    wait_for(process, out, count)
    time.sleep(delay)
    process.kill()
    code, _ = finish(process)
    assert code in (-signal.SIGKILL, 0)
    assert code == 0 or count <= cells(out) <= whole[1]
    kept = cells(out)
    assert finish(start(project, out, few=few)) == (0, "")
    assert found(out) == whole[0]
    assert not half_written(out)
    assert cells(out) == whole[1]
    timing = json.loads((out / "copy" / "report.json").read_text())["timing"]
    assert sum(timing["cached"].values()) == kept


POINTS = int(os.environ.get("RINGTEST_KILLS", "10"))
"""Random points in all; the closing words of the issue rest on 20."""


@pytest.mark.slow
@pytest.mark.parametrize("point", range(POINTS))
def test_killed_at_a_random_point(
    project: Path, tmp_path: Path, whole: tuple[Any, int], point: int
) -> None:
    rng = np.random.default_rng(point)
    count, delay = int(rng.integers(0, whole[1] + 1)), float(rng.uniform(0, 0.05))
    kill_and_go_on(project, tmp_path / "out", whole, count, delay)


def test_killed_with_some_cells_kept(
    project: Path, tmp_path: Path, little: tuple[Any, int]
) -> None:
    kill_and_go_on(project, tmp_path / "out", little, 20, 0.005, few=True)


@pytest.mark.slow
@pytest.mark.parametrize("write", ["first cell", "a cell", "last cell", "report", "page", "set"])
def test_killed_in_the_middle_of_a_write(
    project: Path, tmp_path: Path, whole: tuple[Any, int], write: str
) -> None:
    last = whole[1]
    places = {"first cell": 1, "a cell": 17, "last cell": last, "report": last + 1}
    deadly = {**places, "page": last + 4, "set": last + 5}[write]
    out = tmp_path / "out"
    assert finish(start(project, out, deadly=deadly))[0] == -signal.SIGKILL
    assert len(half_written(out)) == 1
    assert cells(out) == min(deadly - 1, last)
    assert finish(start(project, out)) == (0, "")
    assert found(out) == whole[0]
    assert not half_written(out)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("undrawn", "few")
def test_a_signal_is_130_with_what_is_kept_and_how_to_go_on(
    project: Path, tmp_path: Path, little: tuple[Any, int], number: signal.Signals
) -> None:
    out = tmp_path / "out"
    # It mostly rests: Python ignores an interrupt that falls into a finaliser.
    process = start(project, out, pause=0.2, few=True)
    wait_for(process, out, 8)
    process.send_signal(number)
    code, said = finish(process)
    assert code == Exit.INTERRUPTED
    assert said.count("\n") == 1
    kept = cells(out)
    assert said.startswith(f"interrupted: {kept} of {little[1]} cells are kept in {out}; ")
    assert not half_written(out)
    command = shlex.split(said.split("`")[1])
    assert command[0] == "ringtest"
    assert main([*command[1:], "-q"]) == Exit.PASS
    # Another number of threads here than there would be another key, and another report.
    assert load_report(out)["copy"].data["verdict"]


@pytest.mark.usefixtures("few")
def test_two_audits_in_one_folder_are_an_error_of_the_second(
    project: Path, tmp_path: Path, little: tuple[Any, int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = start(project, out, pause=0.05, few=True)
    wait_for(first, out, 1)
    code = main(asked(project, out))
    said = capsys.readouterr().err
    assert code == Exit.ERROR
    assert said.startswith(f"error: output folder {out}: another audit is writing there; wait")
    assert said.count("\n") == 1
    assert finish(first) == (0, "")
    assert found(out) == little[0]


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_nothing_is_corrupt(
    project: Path, tmp_path: Path, whole: tuple[Any, int]
) -> None:
    """A limit on the size of files, as the kernel enforces it: cells pass, the report does not."""
    out = tmp_path / "out"
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))\n"

    def run(limit: int, *more: str) -> tuple[int, str]:
        script = limited.format(limit) + CHILD
        done = subprocess.run(
            [sys.executable, "-c", script, "0", "0", "", *asked(project, out), *more],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
        )
        return done.returncode, done.stderr

    for limit, file, kept in ((100, ".cell", 0), (60_000, "report.json", whole[1])):
        code, said = run(limit)
        assert code == Exit.ERROR
        assert said.startswith("error: ")
        assert f"{file}: File too large; free space or name another folder" in said
        assert said.count("\n") == 1
        assert not list(out.rglob("report.*"))
        assert not half_written(out)
        assert cells(out) == kept
    assert finish(start(project, out)) == (0, "")
    assert found(out) == whole[0]
    code, said = run(60_000, "--fresh")
    assert code == Exit.ERROR
    assert found(out) == whole[0]  # the old reports are whole


# -- the same in this process, on more kinds of audits -------------------------------------------


def table(n: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0).long()


class Net(nn.Module):
    """A small network that counts the batches of other sizes than a trial's."""

    def __init__(self, seed: int, out: int = 3, width: int = 16) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 16), nn.ReLU()
            )
            self.head = nn.Linear(16, out)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.head(self.body(x))


class Brittle(Net):
    """Gives NaN where inputs are large."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.where(x.abs().amax(1, keepdim=True) > 5, torch.nan, 0.0)


class Fused(nn.Module):
    """A transformer, whose fast path depends on what is hooked inside."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
            self.encoder = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


def everything() -> dict[str, Any]:
    x, y = table(260, 2)
    data = AuditData(
        x,
        y,
        groups={"half": np.where(x[:, 4] > 0, "up", "down"), "site": np.arange(260) % 2},
        concepts={"sign": (x[:, 5] > 0).numpy()},
        invariances={"mirror": lambda z: z * torch.tensor([1.0, 1, 1, -1, 1, 1])},
        cluster=np.arange(260) // 2,
        bounds=(-8.0, 8.0),
        unlabelled={"same": table(220, 77)[0], "far": 2 + table(150, 78)[0][[0] * 9 + [1] * 141]},
    )
    return {
        "teacher": [Net(0), Net(1)],
        "student": {"a": Net(3), "b": Net(4, width=9), "c": lambda x: x[:, :3]},
        "references": [Net(5)],
        "data": data,
        "cells": [("probe.[dk]*", "noise.input"), ("structure.twin_spread", "noise.input")],
    }


def several() -> dict[str, Any]:
    given = everything()
    del given["student"]["c"]  # by which nothing could be kept
    return given


def regression() -> dict[str, Any]:
    x = table(120, 2)[0]
    targets = torch.stack([x[:, 0] * x[:, 1], x[:, 2]], 1)
    nets = [Net(s, out=2) for s in range(3)]
    data = AuditData(x, targets)
    return {"teacher": nets[:2], "student": nets[2], "data": data, "task": "regression"}


def embedding() -> dict[str, Any]:
    nets = [Net(s, out=5).body for s in range(3)]
    data = AuditData(table(120, 2)[0], unlabelled={"far": 1 + table(110, 3)[0]})
    return {"teacher": nets[:2], "student": nets[2], "data": data, "task": "embedding"}


def failing() -> dict[str, Any]:
    x, y = table(160, 2)
    kept = x.abs().amax(1) < 4.5
    data = AuditData(x[kept], y[kept])
    return {"teacher": [Net(0), Net(1)], "student": {"a": Brittle(0), "b": Net(2)}, "data": data}


def transformer() -> dict[str, Any]:
    x = torch.randn(110, 5, 8, generator=torch.Generator().manual_seed(0))
    data = AuditData(x, (x[:, 0, 0] > 0).long())
    layers = ["encoder.layers.0.linear1", "encoder.layers.1"]
    return {"teacher": Fused(0), "student": Fused(1), "data": data, "layers": layers}


KINDS = {f.__name__: f for f in (several, everything, regression, embedding, failing, transformer)}


def text(report: Any) -> str:
    reports = dict(report) if isinstance(report, ReportSet) else {"": report}
    return json.dumps({n: {**r.data, "timing": None} for n, r in reports.items()})


@pytest.mark.usefixtures("undrawn", "few")
def test_whatever_is_kept_the_report_is_the_same(tmp_path: Path) -> None:
    the_same_whatever_is_kept(tmp_path, regression)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("undrawn")
def test_whatever_is_kept_of_a_whole_audit(tmp_path: Path, kind: str) -> None:
    the_same_whatever_is_kept(tmp_path, KINDS[kind])


def the_same_whatever_is_kept(tmp_path: Path, given: Callable[[], dict[str, Any]]) -> None:
    """Remove shares of the cells, and go on each time."""
    expected = text(ringtest.audit(**given(), progress=False))
    out = tmp_path / "out"
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.3, 0.8, 1.0):
        files = sorted((out / CELLS).glob("*.cell"))
        for file in rng.permutation(np.array(files, dtype=object))[: round(share * len(files))]:
            file.unlink()
        # What was drawn before must not matter.
        torch.manual_seed(int(100 * share))
        assert text(ringtest.audit(**given(), out=out, progress=False)) == expected, share
    again = ringtest.audit(**given(), out=out, progress=False)
    assert text(again) == expected
    assert text(load_report(out)) == expected


@pytest.mark.parametrize("alone", ["clean", "others"])
@pytest.mark.usefixtures("undrawn", "few")
def test_the_clean_rows_alone_and_the_rest_alone(tmp_path: Path, alone: str) -> None:
    """The two ways in which the clean evidence may be missing or be all that there is."""
    out = tmp_path / "out"
    expected = text(ringtest.audit(**several(), out=out, progress=False))
    for file in (out / CELLS).iterdir():
        if ("@clean" in file.name) == (alone == "clean"):
            continue
        file.unlink()
    assert text(ringtest.audit(**several(), out=out, progress=False)) == expected


@pytest.mark.usefixtures("undrawn", "few")
def test_a_finished_audit_runs_no_model_again(tmp_path: Path) -> None:
    def given() -> dict[str, Any]:
        return {"teacher": [Net(0), Net(1)], "student": Net(2), "data": AuditData(*table(300, 1))}

    first, second = given(), given()
    ringtest.audit(**first, out=tmp_path, progress=False)
    shares: list[float] = []
    report = ringtest.audit(**second, out=tmp_path, progress=lambda _, share: shares.append(share))
    assert max(first["student"].seen) == 256
    assert max(second["student"].seen) < 40  # the trial of a few rows
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    cached = report.data["timing"]["cached"]
    assert sum(cached.values()) == road.prepare(**given()).plan.cells


@pytest.mark.usefixtures("undrawn", "few")
def test_only_what_is_missing_is_looked_at(tmp_path: Path) -> None:
    def given() -> dict[str, Any]:
        return {"teacher": [Net(0), Net(1)], "student": Net(2), "data": AuditData(*table(300, 1))}

    ringtest.audit(**given(), out=tmp_path, progress=False)
    (file,) = (tmp_path / CELLS).glob("outputs.agreement@shift.off_support.mixed.*")
    file.unlink()
    again = given()
    report = ringtest.audit(**again, out=tmp_path, progress=False)
    # The clean rows and those of one condition, 300 each: two blocks each.
    assert sorted(n for n in again["student"].seen if n >= 40) == [44, 44, 256, 256]
    stages = road.prepare(**given()).plan.stages
    missing = {
        s.condition.key
        for s in stages
        if report.data["timing"]["cached"].get(s.condition.key) != len(s.entries)
    }
    assert missing == {"shift.off_support.mixed"}


@pytest.mark.usefixtures("undrawn", "few")
def test_an_error_is_tried_again_and_never_kept(tmp_path: Path) -> None:
    ringtest.audit(**failing(), out=tmp_path, progress=False)
    (tmp_path / CELLS / "x").touch()
    kept = {f.name for f in (tmp_path / CELLS).iterdir()}
    report = ringtest.audit(**failing(), out=tmp_path, progress=False)["a"]
    broken = {(r.measure, r.condition) for r in report.rows if r.status == "error"}
    assert broken
    assert not [k for k in kept for m, c in broken if k.startswith(f"{m}@{c}@3")]
    assert {f.name for f in (tmp_path / CELLS).iterdir()} == kept


@pytest.mark.usefixtures("undrawn", "few")
def test_a_broken_cell_is_computed_again(tmp_path: Path) -> None:
    expected = text(ringtest.audit(**regression(), out=tmp_path, progress=False))
    files = sorted((tmp_path / CELLS).iterdir())
    for i, file in enumerate(files):
        body = bytearray(file.read_bytes())
        body[len(body) // 2] ^= 255
        file.write_bytes(body if i % 2 else body[: i * 9])
    report = ringtest.audit(**regression(), out=tmp_path, progress=False)
    assert text(report) == expected
    assert report.data["timing"]["cached"] == {}
    assert sorted((tmp_path / CELLS).iterdir()) == files


@pytest.mark.usefixtures("undrawn", "few")
def test_fresh_computes_everything_anew(tmp_path: Path) -> None:
    expected = text(ringtest.audit(**regression(), out=tmp_path, progress=False))
    report = ringtest.audit(**regression(), out=tmp_path, progress=False, fresh=True)
    assert report.data["timing"]["cached"] == {}
    assert text(report) == expected


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ringtest.audit(**regression(), progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn", "few")
def test_what_has_no_weights_to_be_known_by_is_computed_each_time(tmp_path: Path) -> None:
    net = Net(2)
    given = {"teacher": [Net(0), Net(1)], "data": AuditData(*table(120, 1)), "progress": False}
    first = ringtest.audit(student=lambda x: net(x), out=tmp_path, **given)
    assert not (tmp_path / CELLS).exists()
    second = ringtest.audit(student=lambda x: net(x), out=tmp_path, **given)
    assert text(first) == text(second)


def test_an_audit_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    def broken(x: Tensor) -> Tensor:
        if len(x) > 100:
            raise RuntimeError("too many rows")
        return x[:, :3]

    out = tmp_path / "deep" / "out"
    data = AuditData(*table(120, 1))
    with pytest.raises(SubjectError, match="too many rows"):
        ringtest.audit(Net(0), broken, data, out=out, progress=False)
    assert not out.exists()


@pytest.mark.usefixtures("undrawn", "few")
def test_an_interruption_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(what: str, share: float) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(Interrupted) as caught:
        ringtest.audit(**regression(), out=out, progress=stop)
    total = road.prepare(**regression()).plan.cells
    assert str(caught.value) == f"{cells(out)} of {total} cells are kept in {out}"
    assert 0 < cells(out) < total
    assert caught.value.resumable
    # Another audit's report stays until it is replaced, and would be in the way.
    ringtest.audit(**regression(), out=out, progress=False)
    with pytest.raises(Interrupted) as caught:
        ringtest.audit(**regression(), out=out, progress=stop, seed=5, fresh=True)
    assert not caught.value.resumable
    assert load_report(out).data["config"]["seed"] == 0
    with pytest.raises(KeyboardInterrupt) as plain:
        ringtest.audit(**regression(), progress=stop)
    assert not isinstance(plain.value, Interrupted)


@pytest.mark.usefixtures("undrawn", "few")
def test_a_disk_that_fills_up_between_cells_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write = Store.write
    count = 0

    def full(*given: Any) -> None:
        nonlocal count
        count += 1
        if count == 9:
            raise ReportError("cell", "No space left on device", "free space")
        write(*given)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(ReportError, match="No space left"):
        ringtest.audit(**regression(), out=out, progress=False)
    monkeypatch.undo()
    assert cells(out) == 8
    report = ringtest.audit(**regression(), out=out, progress=False)
    assert sum(report.data["timing"]["cached"].values()) == 8
    assert text(report) == text(ringtest.audit(**regression(), progress=False))
