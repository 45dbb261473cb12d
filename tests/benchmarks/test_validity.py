"""The validity bench on a handful of specimens: every step, in under a minute."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ringtest import AuditData, road
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


def test_what_is_read_besides_is_what_an_audit_says_of_it(bench, monkeypatch):
    from benchmarks.validity import audits, cache, readings, tables
    from benchmarks.validity.worlds import load

    ids = ("probe.mean_difference", "similarity.rsa", "structure.effective_rank", "similarity.cka")
    monkeypatch.setattr(readings, "measures", [m for m in readings.measures if m.id in ids])
    sample = readings.drawn(tables.counted(chosen(bench[2]).reset_index()), 0.2)
    assert dict(sample["truth"].value_counts()) == {"fractured": 2, "sound": 2}
    asked = readings.Asked("tiny", dict(zip(sample["name"], sample["rank"], strict=True)), 0.2)
    found = readings.harms(asked)
    seen = {(f["name"], f["measure"], f["statistic"], f["place"]): f["harm"] for f in found}
    # Probes need targets, which hold under noise; what needs none is read farther away.
    assert {f["place"] for f in found if f["measure"] == ids[0]} == {"clean", "noise"}
    assert {f["place"] for f in found if f["measure"] == ids[1]} == {"clean", "off support"}
    assert len(seen) == len(found) == 4 * (2 + 2 + 2 * 2 + 2)

    world, name = load("tiny"), sample["name"].iloc[0]
    data = AuditData(*world.data, concepts=dict(world.audit["groups"]), **world.audit)
    case = road.prepare(
        list(cache.teacher(world).values()), audits.models(world)[name], data,
        cells=[(m, "clean") for m in ids],
    )  # fmt: skip
    case = replace(case, plan=replace(case.plan, stages=case.plan.stages[:1]))
    (rows,) = road.run(case, lambda *_: None)[0].values()
    probes = [r.harm for r in rows if r.measure == ids[0] and r.params["depth"] == 1]
    assert len(probes) == 2  # the target, and the group column as a concept
    assert seen[name, ids[0], "", "clean"] == pytest.approx(np.mean(probes))
    (rank,) = [
        r.harm
        for r in rows
        if r.measure == ids[2] and r.statistic == "entropy rank" and r.params["depth"] == 1
    ]
    assert seen[name, ids[2], "entropy", "clean"] == pytest.approx(rank)

    def refuse(*_args, **_kwargs):
        raise AssertionError("models were run again")

    monkeypatch.setattr(readings.evidence, "gather", refuse)
    assert repr(readings.harms(asked)) == repr(found)


def test_the_question_of_measures_has_its_tables_and_its_picture(bench, monkeypatch):
    from benchmarks.validity.questions import measures

    cases, truths, _, out = bench

    def harms(asked):
        lost = {"harm": float("nan"), "reason": "layer 3 has no unit"}
        return [
            {"world": asked.world, "name": name, "place": "clean", "statistic": "", **line}
            for i, name in enumerate(asked.ranks)
            for line in (
                {"measure": "similarity.cka", "harm": 0.1 * i, "reason": ""},
                {"measure": "similarity.rsa", "harm": truths[asked.world, name].fall, "reason": ""},
                {"measure": "usage.made_up", **(lost if i else {"harm": 0.0, "reason": ""})},
            )
        ]

    monkeypatch.setattr(measures.readings, "harms", harms)
    found = measures.answer(None, cases, truths)
    alone, added, lost, sample = found.values()
    assert [m.split(" ")[0] for m in alone["measure"]] == [
        "similarity.cka", "similarity.rsa", "usage.made_up"
    ]  # fmt: skip
    fall = float(alone["AUROC, pooled"][1].split(" ")[0])
    assert fall > 0.9
    assert alone["AUROC, pooled"][2] == "–"
    assert list(added["measure"]) == list(alone["measure"])
    # One world has no others to set a margin: nobody is caught or accused by it.
    assert added["gain"][0].startswith("0.000")
    asked = int(sample["drawn"].sum() + sample["further inconclusive"].sum())
    assert lost[["reason", "readings"]].to_numpy().tolist() == [["layer # has no unit", asked - 1]]
    measures.draw(found, out)
    assert (out / "measures.svg").stat().st_size > 5_000


def test_strength_is_what_a_gain_is_measured_from(bench):
    from benchmarks.validity.adding import two_largest

    frame = bench[2]
    ratios = frame[[c for c in frame if c.startswith("ratio ")]]
    mean = two_largest(ratios.to_numpy(float).T)
    known = frame["strength"].notna().to_numpy()
    assert np.isnan(mean[~known]).all()
    assert mean[known] / (1 + mean[known]) == pytest.approx(frame["strength"][known], abs=1e-9)


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
