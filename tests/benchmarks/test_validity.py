"""The validity bench on a handful of specimens: every step, in under a minute."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ringtest import AuditData
from ringtest.cells.store import pack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def root():
    """The bench is no part of the package: it runs from the root of a checkout."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT))
    yield
    sys.path[:] = before


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """All cases of the tiny world, its truths, and the folder of the tables."""
    threads = torch.get_num_threads()
    try:
        from benchmarks.validity import cache, report, statistics, steps

        # Intervals of this test's tables are read by nobody.
        resamples, statistics.RESAMPLES = statistics.RESAMPLES, 100
        torch.set_num_threads(1)
        folder, cache.FOLDER = cache.FOLDER, tmp_path_factory.mktemp("cache")
        out = tmp_path_factory.mktemp("results")
        steps.train(None, ["tiny"])
        truths, divergences = steps.truths(None, ["tiny"])
        steps.look(None, ["tiny"])
        cases = steps.judge(None, ["tiny"], truths)
        frame = report.verdicts(cases, divergences, out)
        report.held_out(cases, out)
        yield cases, truths, frame, out
        cache.FOLDER, statistics.RESAMPLES = folder, resamples
    finally:
        torch.set_num_threads(threads)


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["view"] == "members") & frame["elsewhere"]].set_index("name")


def test_truth_is_measured_where_no_audit_looks(bench):
    _, truths, _, _ = bench
    by_family = {}
    for t in truths.values():
        by_family.setdefault(t.family, []).append(t)
    assert all(t.truth == "sound" for t in by_family["sibling"] + by_family["distilled"])
    assert min(t.fall for t in by_family["clean only"] + by_family["memoriser"]) > 0.12
    # The same function falls as the member it was made of.
    assert by_family["permuted"][0].fall == pytest.approx(by_family["clone"][0].fall)


def test_faults_are_found_and_the_same_function_is_never_flagged(bench):
    frame = chosen(bench[2])
    assert (frame[frame["truth"] == "fractured"]["label"] == "fractured").mean() >= 0.8
    planted = frame[frame["planted"]]
    assert len(planted) == 3
    assert (planted["label"] == "sound").all()
    assert not (frame[frame["truth"] == "sound"]["label"] == "fractured").any()


def test_strength_ranks_faults_above_the_honest(bench):
    from benchmarks.validity import tables

    known = tables.counted(chosen(bench[2]).reset_index())
    assert tables.area(known, "strength") > 0.95
    # A column of noise does no such thing: the area is not 1 by construction.
    noise = np.random.default_rng(0).permutation(known["strength"])
    assert tables.area(known.assign(noise=noise), "noise") < 0.9


def test_every_view_and_both_kinds_of_floors_have_their_table(bench):
    _, _, frame, out = bench
    text = (out / "verdicts.md").read_text("utf-8")
    for name in ("3 members, unlabelled", "single teacher, 2 references", "PGD-CE accuracy"):
        assert name in text
    assert "Floors from other families" in (out / "heldout.md").read_text("utf-8")
    assert len(pd.read_csv(out / "verdicts.csv.gz")) == len(frame) == 10 * frame["name"].nunique()
    for picture in ("strength.svg", "families.svg", "ratios.svg"):
        assert (out / picture).stat().st_size > 5_000


def test_what_is_cached_is_found_again_and_judged_anew(bench, monkeypatch):
    from benchmarks.validity import audits, cases
    from benchmarks.validity.worlds import load

    known = {name: t for (_, name), t in bench[1].items()}

    def refuse(*_args, **_kwargs):
        raise AssertionError("models were run again")

    monkeypatch.setattr(audits, "run", refuse)
    world = load("tiny")
    again = cases.of_chunk(world, audits.chunks(world)[0], known, audits.VIEWS)
    before = chosen(bench[2])
    for case in again:
        if case.elsewhere and case.view == "members":
            assert cases.decided(case)["label"] == before.loc[case.truth.name, "label"]


def test_another_set_from_elsewhere_is_all_that_is_looked_at_again(bench, monkeypatch):
    from benchmarks.validity import audits, kept
    from benchmarks.validity.worlds import load

    world = load("tiny")
    chunk = audits.chunks(world)[0]
    run, asked = audits.run, []
    monkeypatch.setattr(audits, "run", lambda *a: asked.append(a[-1]) or run(*a))
    data = audits.audit_data(world)
    name, rows = next(iter(data.unlabelled.items()))
    other = AuditData(*world.data, unlabelled={name: rows[:60]}, **world.audit)
    cells = kept.cells(world, chunk, audits.case(world, chunk, other))
    (again,) = asked
    assert again == {f"shift.unlabelled.{name}"}
    whole = kept.cells(world, chunk, audits.case(world, chunk))
    assert len(asked) == 1
    for view, by_condition in cells.items():
        for key, content in by_condition.items():
            same = pack(content) == pack(whole[view][key])
            assert same == (key not in again), (view, key)


def test_floors_come_from_honest_specimens_alone(bench):
    from benchmarks.validity import calibrate

    found = calibrate.bounds(bench[0])
    floors = calibrate.floors(found)
    worse = found.assign(bound=np.where(found["truth"] == "fractured", 99.0, found["bound"]))
    assert calibrate.floors(worse) == floors
    lenient = found.assign(bound=np.where(found["truth"] == "sound", 99.0, found["bound"]))
    assert min(calibrate.floors(lenient).values()) == 99.0


def test_intervals_respect_families():
    from benchmarks.validity.statistics import rate

    hits = np.array([True] * 50 + [False] * 50)
    alone = rate(hits, np.arange(100))
    together = rate(hits, np.repeat(["a", "b"], 50))
    assert alone[0] == together[0] == 0.5
    # Two families that differ wholly say next to nothing; a hundred specimens of their own do.
    assert together[2] - together[1] > 0.9
    assert alone[2] - alone[1] < 0.25
    # Nothing seen in three families is no proof of nothing.
    assert rate(np.zeros(60, bool), np.repeat([1, 2, 3], 20))[2] > 0.5
