"""What a measure would add, on tables whose answer is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
WORLDS, FAMILIES = 6, 5


@pytest.fixture(scope="module", autouse=True)
def root():
    """The bench is no part of the package: it runs from the root of a checkout."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT))
    from benchmarks.validity import statistics

    resamples, statistics.RESAMPLES = statistics.RESAMPLES, 100
    yield
    statistics.RESAMPLES = resamples
    sys.path[:] = before


def verdicts() -> pd.DataFrame:
    """300 specimens in six worlds: function tells half of the fractured, geometry all but some."""
    rng = np.random.default_rng(0)
    rows = []
    for world in range(WORLDS):
        for truth in ("sound", "fractured"):
            for i in range(25):
                bad, missed = truth == "fractured", i % FAMILIES == 0
                label = "inconclusive" if missed else truth
                rows.append(
                    {
                        "world": f"w{world}", "name": f"{truth}-{i}", "truth": truth,
                        "family": f"{truth} {i % FAMILIES}", "architecture": f"a{i % 4}",
                        "own": i % 2 == 0, "label": label,
                        "ratio function": 2.0 if bad else rng.uniform(0.1, 0.9),
                        "status function": "fail" if bad else "pass",
                        "ratio global geometry": 1.5 if bad and not missed else rng.uniform(0, 0.5),
                        "status global geometry": "fail" if bad and not missed else "pass",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def readings(harm, measure: str = "usage.made_up", place: str = "clean") -> pd.DataFrame:
    frame = verdicts()
    values = [harm(row, np.random.default_rng(i)) for i, row in frame.iterrows()]
    return frame.assign(harm=values, base=True, measure=measure, statistic="", place=place)


def test_a_measure_that_sees_what_is_missed_adds_and_others_do_not():
    from benchmarks.validity.adding import figures

    sees = figures(readings(lambda r, rng: rng.uniform(0, 1) + 3 * (r["truth"] == "fractured")))
    assert sees["auroc"][0] == 1.0
    assert sees["caught"] == sees["open bad"] == 30
    assert sees["alarms"] == 0
    assert sees["said"] == "adds"
    noise = figures(readings(lambda _r, rng: rng.normal()))
    assert noise["said"] != "adds"
    assert noise["caught"] < 10
    constant = figures(readings(lambda _r, _g: 0.0))
    assert constant["gain"] == (0.0, 0.0, 0.0)
    assert constant["said"] == "adds nothing"


def test_a_gain_that_accuses_the_sound_is_told_apart():
    from benchmarks.validity import adding

    found = {
        "gain": (0.1, 0.05, 0.2), "open gain": (0.1, 0.05, 0.2), "sound": 50, "alarms": 2,
        "open sound": 20, "open bad": 20,
    }  # fmt: skip
    assert adding.said(found) == "adds"
    assert adding.said({**found, "alarms": 3}) == "adds, but accuses"
    unsure = {**found, "gain": (0.0, -0.1, 0.1), "open gain": (0.1, -0.1, 0.3)}
    assert adding.said(unsure) == "could not be told"
    assert adding.said({**unsure, "gain": (-0.1, -0.2, 0.1), "open gain": (0.0, -0.1, 0.1)}) == (
        "adds nothing"
    )
    # Where hardly anything is inconclusive, a gain there is luck.
    few = {**found, "gain": (0.0, 0.0, 0.0), "open bad": 3}
    assert adding.said(few) == "could not be told"


def test_margins_come_from_the_sound_of_other_worlds_and_of_the_same_kind():
    from benchmarks.validity.adding import with_margin

    rows = readings(lambda _r, rng: rng.uniform(1, 2))
    before = with_margin(rows)
    here = rows["world"] == "w0"
    own_world = rows.assign(harm=rows["harm"].where(~here | (rows["truth"] != "sound"), 99.0))
    bad = (rows["truth"] == "fractured") & here
    assert with_margin(own_world)["ratio"][bad].equals(before["ratio"][bad])
    faults = rows.assign(harm=rows["harm"].where(rows["truth"] == "sound", 99.0))
    sound = rows["truth"] == "sound"
    assert with_margin(faults)["ratio"][sound].equals(before["ratio"][sound])
    lenient = rows.assign(harm=rows["harm"].where(here | rows["own"] | ~sound, 99.0))
    after = with_margin(lenient)["ratio"]
    assert (after[bad & ~rows["own"]] < 0.1 * before["ratio"][bad & ~rows["own"]]).all()
    assert after[bad & rows["own"]].equals(before["ratio"][bad & rows["own"]])
    assert with_margin(rows[here])["ratio"].isna().all()


def test_what_joins_a_failing_group_is_no_second_one():
    from benchmarks.validity.adding import with_group, with_margin

    rows = with_margin(readings(lambda r, _g: 1.0 + 4 * (r["truth"] == "fractured")))
    missed = rows["bad"] & (rows["label"] == "inconclusive")
    assert with_group(rows, "", banded=False)["flagged"][missed].all()
    # Function is all that fails in them: a measure of function changes nothing.
    assert not with_group(rows, "function", banded=False)["flagged"][missed].any()
    # All that is held against another architecture's band is one group.
    void = "off support (band void)"
    bad = rows["bad"]
    rows[f"ratio {void}"] = np.where(bad, 1.2, 0.3)
    rows[f"status {void}"] = np.where(bad, "fail", "pass")
    rows["status function"] = "pass"
    found = with_group(rows, "", banded=True)
    flagged = found["flagged"]
    assert found["loose"][missed].all()
    assert not flagged[missed & ~rows["own"]].any()
    assert flagged[missed & rows["own"]].all()


def test_a_sample_takes_kinds_in_turn_and_is_the_same_again():
    from benchmarks.validity.readings import EACH, drawn

    known = verdicts()
    sample = drawn(known)
    assert sample.equals(drawn(known))
    assert not sample.duplicated(["world", "name"]).any()
    for (_, truth), mine in sample.groupby(["world", "truth"]):
        base, more = mine[mine["base"]], mine[~mine["base"]]
        assert len(base) == EACH
        assert base["own"].sum() == EACH // 2
        assert base["family"].nunique() == FAMILIES
        assert (more["label"] == "inconclusive").all()
        # All five that are missed, in this sample or beside it; of the sound half as many.
        if truth == "fractured":
            assert (mine["label"] == "inconclusive").sum() == 5
        first = base[base["rank"] < 4]
        assert first["own"].sum() == 2


def test_intervals_all_at_once_are_those_of_one_by_one():
    from benchmarks.validity.statistics import auroc, auroc_by_family, by_family

    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "world": "w", "family": rng.integers(9, size=120), "bad": rng.random(120) < 0.5,
            "a": rng.normal(size=120).round(1), "b": rng.normal(size=120),
        }
    )  # fmt: skip
    assert auroc_by_family(frame, "a") == pytest.approx(by_family(auroc, frame, ["a", "bad"]))
    gained = by_family(lambda a, b, bad: auroc(a, bad) - auroc(b, bad), frame, ["a", "b", "bad"])
    assert auroc_by_family(frame, "a", "b") == pytest.approx(gained)
    # One world above the other: pooled it is a poor score, within each a perfect one.
    far = pd.concat([frame.assign(a=frame["bad"] * 1.0, world=w) for w in ("w", "v")])
    far["a"] += np.where(far["world"] == "w", 5.0, 0.0)
    assert auroc_by_family(far, "a")[0] < 0.9
    assert auroc_by_family(far, "a", within=True) == pytest.approx((1.0, 1.0, 1.0))
