"""The store: exact round trips, keys that tell apart what must be told apart, nothing trusted."""

from __future__ import annotations

import copy
import dataclasses
import errno
import importlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

import ringtest
from ringtest import AuditData, road
from ringtest.cells import versions
from ringtest.cells.keys import Keys
from ringtest.cells.store import Store, Unstorable, pack, unpack
from ringtest.compare import Failure
from ringtest.errors import ReportError
from ringtest.estimate import Estimate, row_mean
from ringtest.files import LOCK, held
from ringtest.likeness import Likeness
from ringtest.measure import ModelMeasure, Reading, measure, measures
from ringtest.measurement import Measurement

# -- what a cell holds -------------------------------------------------------------------------

numbers = st.floats() | st.integers() | st.booleans() | st.none() | st.text()
arrays = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5),
)
scalars = st.floats().map(np.float64) | st.integers(-9, 9).map(np.int64)
estimates = st.builds(
    Estimate,
    value=st.floats(),
    influence=hnp.arrays(np.float64, st.integers(0, 6)),
    n=st.integers(0, 9),
    method=st.sampled_from(["bootstrap", "jackknife"]),
    df=st.none() | st.floats(),
)
readings = st.builds(Reading, estimates, st.text(), st.none() | st.text(), st.floats())
likenesses = st.builds(
    Likeness,
    estimates,
    st.none() | estimates,
    st.none() | estimates,
    st.lists(st.floats(), max_size=3).map(tuple),
    st.floats(),
    st.none() | st.floats(),
)
failures = st.builds(Failure, st.sampled_from(["error", "not_measurable"]), st.text())
contents = st.dictionaries(
    st.text(), st.lists(readings, max_size=3) | likenesses | failures | arrays | scalars | numbers
)


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and (a.tobytes() == b.tobytes() or np.array_equal(a, b, equal_nan=True))
    if isinstance(a, float):
        return a.hex() == b.hex()
    return bool(a == b)


@given(contents)
def test_content_comes_back_bit_by_bit(content: dict[str, Any]) -> None:
    assert same(unpack(pack(content)), content)


def test_rows_of_layer_pairs_come_back() -> None:
    row = Measurement("m", "a", "clean", params={"depth": 0.5, "other": None}, teacher=math.inf)
    (again,) = unpack(pack({"student": [row]}))["student"]
    assert again.as_dict() == row.as_dict()
    assert again.teacher == math.inf
    assert math.isnan(again.se)


def test_equal_arrays_are_kept_once() -> None:
    rows = np.random.default_rng(0).normal(size=10_000)
    alike = [rows, rows.copy(), {"again": rows + 0.0}]
    assert len(pack(alike)) < 1.1 * len(pack([rows]))
    # Equal bytes of another kind or shape are another array.
    others = [rows.view(np.int64), rows.reshape(100, 100), rows.astype(np.float32)]
    back = unpack(pack([*alike, *others]))
    assert [b.dtype for b in back[-3:]] == [np.int64, np.float64, np.float32]
    assert back[-2].shape == (100, 100)
    assert all(np.array_equal(a, b) for a, b in zip(others, back[-3:], strict=True))
    assert np.array_equal(back[2]["again"], rows)


def test_arrays_that_are_not_contiguous_come_back() -> None:
    wide = np.arange(12.0).reshape(3, 4)
    assert same(unpack(pack({"a": wide.T[::2]}))["a"], np.ascontiguousarray(wide.T[::2]))


@pytest.mark.parametrize("odd", [object(), {1}, np.array(["text"]), torch.ones(2), len])
def test_what_cannot_be_held_exactly_is_refused(odd: Any) -> None:
    with pytest.raises(Unstorable):
        pack({"student": [odd]})


def test_a_subclass_is_not_taken_for_its_base() -> None:
    class Richer(Failure):
        pass

    with pytest.raises(Unstorable):
        pack({"student": Richer("error", "why")})


# -- files -------------------------------------------------------------------------------------

NAME = "similarity.cka@shift.off_support.noise@3"
CONTENT = {"student": [Reading(row_mean(np.arange(50.0)), "score")]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cells")
    store.write(NAME, "key", CONTENT)
    return store


def cell(store: Store) -> Path:
    (file,) = store.folder.iterdir()
    return file


def test_a_cell_is_read_under_its_key_only(store: Store) -> None:
    assert same(Store(store.folder).read(NAME, "key"), CONTENT)
    assert store.read(NAME, "other") is None
    assert store.read(NAME, None) is None
    assert store.read("another@clean", "key") is None
    assert store.kept == {NAME}
    assert NAME in cell(store).name


def test_another_key_takes_the_place_of_the_old(store: Store) -> None:
    store.write(NAME, "new", {"student": 1})
    assert store.read(NAME, "new") == {"student": 1}
    assert store.read(NAME, "key") is None
    assert cell(store).is_file()


def test_without_a_key_nothing_is_written(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "none")
    other.write(NAME, None, CONTENT)
    other.write(NAME, "key", {"student": object()})
    assert not other.folder.exists()
    assert not other.kept


def test_no_altered_byte_is_believed(store: Store) -> None:
    file = cell(store)
    whole = file.read_bytes()
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1
        file.write_bytes(broken)
        found = store.read(NAME, "key")
        # A changed bit in the spelling of the head may mean the same.
        assert found is None or same(found, CONTENT), place
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert store.read(NAME, "key") is None, length


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "text"])
def test_what_is_no_cell_is_missing(store: Store, kind: str) -> None:
    file = cell(store)
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "text":
        file.write_text("[1, 2]\nhello")
    else:
        file.symlink_to("nowhere")
    assert store.read(NAME, "key") is None
    assert not store.has(NAME, "key")


def test_clear_removes_cells_and_nothing_else(store: Store) -> None:
    (store.folder / "notes.txt").write_text("mine")
    store.clear()
    assert [f.name for f in store.folder.iterdir()] == ["notes.txt"]
    Store(store.folder / "none").clear()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_disk_that_takes_no_more_is_said_in_a_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReportError, match=os.strerror(code)) as caught:
        store.write(NAME, "new", CONTENT)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert same(store.read(NAME, "key"), CONTENT)
    assert cell(store).is_file()


def test_a_folder_is_held_by_one_alone(tmp_path: Path) -> None:
    with held(tmp_path / "out"):
        with (
            pytest.raises(ReportError, match="another audit is writing there; wait"),
            held(tmp_path / "out"),
        ):
            pytest.fail("held twice")
        (tmp_path / "out" / "report.json").write_text("")
    with held(tmp_path / "out"):
        pass
    assert {p.name for p in (tmp_path / "out").iterdir()} == {LOCK, "report.json"}


def test_holding_removes_what_was_half_written_and_leaves_no_empty_folder(tmp_path: Path) -> None:
    cells = tmp_path / "cells"
    cells.mkdir()
    half = [cells / ".a.cell.x1.tmp", tmp_path / ".report.json.x2.tmp"]
    mine = [tmp_path / ".mine.tmp", cells / "a.cell"]
    for file in [*half, *mine]:
        file.write_text("")
    with held(tmp_path):
        assert not any(f.exists() for f in half)
    assert all(f.exists() for f in mine)
    with held(tmp_path / "deep" / "out"):
        pass
    assert not (tmp_path / "deep" / "out").exists()


@pytest.mark.parametrize("place", ["cells is a file", "lock is a folder", "no place for folders"])
def test_a_folder_that_cannot_be_written_is_said_in_a_line(tmp_path: Path, place: str) -> None:
    out = tmp_path / "out"
    if place == "no place for folders":
        out = Path("/proc/self/ringtest")
    else:
        out.mkdir()
        if place == "cells is a file":
            (out / "cells").write_text("")
        else:
            (out / LOCK).mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ReportError, match="output folder") as caught:
        audit(out)
    assert "\n" not in str(caught.value)
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != LOCK] == [
        p for p in before if p.name != LOCK
    ]


# -- keys --------------------------------------------------------------------------------------


class Net(nn.Module):
    """Three layers; ``sharp`` changes what it gives, and is no weight."""

    def __init__(self, seed: int, sharp: float = 1.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
            self.head = nn.Linear(6, 2)
        self.sharp = sharp

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)) * self.sharp


def rows(n: int = 60, seed: int = 0, **more: Any) -> AuditData:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return AuditData(x, (x[:, 0] > 0).long(), **more)


def audit(out: Path | None, **changed: Any) -> Any:
    given = {"teacher": [Net(0), Net(1)], "student": Net(2), "data": rows(), "progress": False}
    return ringtest.audit(out=out, **{**given, **changed})


def keys(**changed: Any) -> dict[str, str | None]:
    given = {"teacher": [Net(0), Net(1)], "student": Net(2), "data": rows()}
    case = road.prepare(**{**given, **changed})
    return dict(Keys(case)._keys)


@pytest.fixture(scope="module")
def usual() -> dict[str, str | None]:
    return keys()


def test_every_cell_has_a_key_of_its_own_that_stays(usual: dict[str, str | None]) -> None:
    assert None not in usual.values()
    assert len(set(usual.values())) == len(usual) > 20
    assert keys() == usual


CHANGES: dict[str, Callable[[], dict[str, Any]]] = {
    "a weight of the student": lambda: {"student": Net(3)},
    "an option that is no weight": lambda: {"student": Net(2, sharp=2.0)},
    "the order of members": lambda: {"teacher": [Net(1), Net(0)]},
    "a name": lambda: {"student": {"other": Net(2)}},
    "a reference": lambda: {"references": [Net(5)]},
    "a row": lambda: {"data": rows(61)},
    "a value": lambda: {"data": rows(seed=1)},
    "bounds": lambda: {"data": rows(bounds=(-9.0, 9.0))},
    "a group column": lambda: {"data": rows(groups={"g": np.arange(60) % 2})},
    "the seed": lambda: {"seed": 1},
    "the layers": lambda: {"layers": ["body.1"]},
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_may_change_a_bit_changes_every_key(
    usual: dict[str, str | None], what: str
) -> None:
    found = keys(**CHANGES[what]())
    assert usual.keys() <= found.keys()
    assert not [name for name in usual if found[name] == usual[name]]


def test_threads_and_versions_change_every_key(
    usual: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    assert not set(keys().values()) & set(usual.values())
    monkeypatch.undo()
    monkeypatch.setattr("ringtest.environment.version", lambda package: "0.0.0")
    assert not set(keys().values()) & set(usual.values())


def test_what_is_hooked_besides_changes_the_cells_of_that_condition(
    usual: dict[str, str | None],
) -> None:
    found = keys(cells=[("probe.decodability", "noise.input")])
    other = {name for name in usual if found[name] != usual[name]}
    assert other == {name for name in usual if "@noise.input" in name}


def changed_source(monkeypatch: pytest.MonkeyPatch, module: str) -> dict[str, str | None]:
    true = versions.source
    monkeypatch.setattr(
        versions,
        "source",
        lambda name: (true(name) or "") + "\n#" if name == module else true(name),
    )
    return keys()


@pytest.mark.parametrize(
    ("module", "cells"),
    [
        ("ringtest.probes.twin_spread", {"structure.twin_spread"}),
        ("ringtest.probes.neighbours", {"similarity.neighbours"}),
        ("ringtest.probes.layer_pairs", {"similarity.layer_pairs"}),
        ("ringtest.probes.cka", {"similarity.cka", "similarity.layer_pairs"}),
        ("ringtest.shift.score", {"outputs.score"}),
        ("ringtest.report", set()),
        ("ringtest.verdict", set()),
    ],
)
def test_another_source_of_a_measure_changes_its_own_keys(
    usual: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, module: str, cells: set[str]
) -> None:
    found = changed_source(monkeypatch, module)
    changed = {name for name in usual if found[name] != usual[name]}
    assert {name.partition("@")[0] for name in changed} == cells
    assert changed == {name for name in usual if name.partition("@")[0] in cells}


@pytest.mark.parametrize(
    ("module", "kind"),
    [("ringtest.shift.certified", "shift.certified"), ("ringtest.perturb.pgd", "attack.pgd")],
)
def test_another_source_of_a_condition_changes_its_own_keys(
    usual: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, module: str, kind: str
) -> None:
    found = changed_source(monkeypatch, module)
    changed = {name for name in usual if found[name] != usual[name]}
    assert changed == {name for name in usual if f"@{kind}" in name} != set()


@pytest.mark.parametrize("module", ["ringtest.estimate", "ringtest.moments", "ringtest.stages"])
def test_another_source_of_the_ground_changes_every_key(
    usual: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    found = changed_source(monkeypatch, module)
    assert not [name for name in usual if found[name] == usual[name]]


def test_an_option_set_on_a_class_changes_its_keys(
    usual: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringtest.perturb.pgd import PGD

    monkeypatch.setattr(PGD, "steps", 3)
    found = keys()
    changed = {name for name in usual if found[name] != usual[name]}
    assert changed == {name for name in usual if "@attack.pgd" in name} != set()


def test_what_cannot_be_told_from_another_has_no_key() -> None:
    student = Net(2)
    assert set(keys(student=lambda x: student(x)).values()) == {None}
    scores = keys(metric=lambda outputs, y: (outputs.argmax(1) == y).float())
    assert {n.partition("@")[0] for n, k in scores.items() if k is None} == {
        entry.id for entry in measures if "outcomes" in entry.needs and entry.default
    }
    mirrored = keys(data=rows(invariances={"mirror": lambda x: x * torch.tensor([1, 1, 1, -1.0])}))
    assert {n for n, k in mirrored.items() if k is None} == {
        n for n in mirrored if "@shift.invariance" in n
    }


def test_a_measure_of_a_notebook_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(ModelMeasure):
        id = "mine.top"
        about = "mean largest output"
        range = (0.0, 1.0)
        unit = "share"
        needs = frozenset({"sample"})

        def read(self, evidence: Any, at: Any) -> list[Reading]:
            return [Reading(row_mean(evidence.outputs.amax(1).double().numpy()), "top")]

    measure(Mine)
    try:
        assert keys()["mine.top@clean"] is not None
        monkeypatch.setattr(Mine, "__module__", "__main__")
        found = keys()
        assert [name for name, key in found.items() if key is None] == ["mine.top@clean"]
    finally:
        del measures._entries["mine.top"]


def test_code_written_in_a_notebook_is_told_by_what_it_does() -> None:
    def make(body: str) -> nn.Module:
        space: dict[str, Any] = {"__name__": "__main__", "nn": nn}
        exec(
            "class Cell(nn.Module):\n"
            "    def __init__(self):\n        super().__init__()\n"
            f"    def forward(self, x):\n        return {body}\n",
            space,
        )
        found: nn.Module = space["Cell"]()
        return found

    assert versions.of_module(make("x + 1")) == versions.of_module(make("x + 1"))
    assert versions.of_module(make("x + 1")) != versions.of_module(make("x + 2"))
    assert versions.of_module(make("x.cos()")) != versions.of_module(make("x.sin()"))


def test_code_that_was_loaded_before_its_source_was_edited_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old code must not be kept under the key of the new."""
    file = tmp_path / "edited_later.py"
    file.write_text("def helper():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("edited_later")
    first = versions.Versions().of_modules(["edited_later"])
    file.write_text("def helper():\n    return 22\n")
    stale = versions.Versions().of_modules(["edited_later"])
    importlib.reload(module)
    assert len({first, stale, versions.Versions().of_modules(["edited_later"])}) == 3
    assert module.helper() == 22


def test_what_copying_leaves_on_a_class_is_no_other_code(usual: dict[str, str | None]) -> None:
    for stage in road.prepare([Net(0), Net(1)], Net(2), rows()).plan.stages:
        copy.copy(stage.condition)
    assert keys() == usual


def test_addresses_do_not_make_a_model_another() -> None:
    class Odd(nn.Module):
        def extra_repr(self) -> str:
            return f"act=<function at {hex(id(object()) + len(seen))}>"

    seen: list[int] = []
    first = versions.of_module(Odd())
    seen.append(1)
    assert versions.of_module(Odd()) == first


def test_imports_of_a_type_checker_do_not_count(tmp_path: Path) -> None:
    text = (
        "import ringtest.moments\nfrom typing import TYPE_CHECKING\n"
        "from ringtest import blocks, AuditData\n"
        "if TYPE_CHECKING:\n    from ringtest.report import Report\n"
        "def late():\n    from ringtest.margins import ALPHA\n"
    )
    found = versions._imports(text, "somebody.module")
    assert set(found) == {
        "ringtest.moments",
        "typing",
        "ringtest.blocks",
        "ringtest",
        "ringtest.margins",
    }


def test_relative_imports_of_a_plug_in_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "plugged_in"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("VALUE = 1\n")
    (package / "own.py").write_text("from . import helper\nfrom ringtest.blocks import BLOCK\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = versions.Versions().closure(["plugged_in.own"])
    assert {"plugged_in.own", "plugged_in.helper", "ringtest.blocks"} <= found.keys()
    assert "ringtest.report" not in found
