"""The demo's first section: its ensemble, and where every student stands."""

import math

import pytest
from rich.console import Console

from ringtest.demo import distilled
from ringtest.measurement import Measurement
from ringtest.policy import Policy
from ringtest.report import Report

SHARES = {"careful": (0.963, "partial"), "wide": (0.972, "transferred"), "narrow": (0.951, "not")}


def report(name: str, student: float, answer: str, on_ensemble: bool = True) -> Report:
    rows = [Measurement("outputs.score", "shift", "clean", teacher=0.9, student=0.9)]
    levels = {"mean member": 0.952, "ensemble": 0.971, "oracle": 0.993} if on_ensemble else {}
    share = (student - 0.952) / 0.019
    rows += [
        Measurement("ensemble.waterfall", "ensembles", "clean", statistic=step, teacher=level,
                    student=student, n=700, unit="accuracy",
                    params={"answer": answer, "share": share, "share_interval": [share, share]}
                    if step == "ensemble" else {})
        for step, level in levels.items()
    ]  # fmt: skip
    if on_ensemble:
        rows.append(Measurement("ensemble.diversity", "ensembles", "clean", teacher=1.42,
                                statistic="effective votes", student=math.nan,
                                params={"members": 3, "answer": "some",
                                        "teacher_interval": [1.3, 1.6]}))  # fmt: skip
    return Report.build(
        rows, Policy(), "full", student=name, task="classification",
        subjects={"teacher": {"name": "t", "members": []}, "student": {}, "references": []},
        data={}, not_measured=[], config={},
        environment={"seed": 0}, timing={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def students():
    return {name: report(name, *given) for name, given in SHARES.items()}


@pytest.mark.parametrize("width", [60, 120])
def test_says_votes_levels_shares_and_answers(students, width, capsys):
    distilled.show(students, Console(width=width))
    shown = capsys.readouterr().out
    assert all(len(line) <= width for line in shown.splitlines())
    text = " ".join(shown.split())
    assert text.count("1.4 effective votes of 3 (1.3 to 1.6)") == 1
    for said in ("Mean member 95.2 % → ensemble 97.1 %", "oracle 99.3 %", "58 %", "105 %", "−5 %"):
        assert said in text
    assert (
        "1 took over what the ensemble gains, 1 took over a part of it, 1 took over less than half"
        in text
    )


def test_says_so_where_the_ensemble_gains_nothing(students, capsys):
    again = {name: report(name, *given) for name, given in SHARES.items()}
    for found in again.values():
        for row in found.verdict.rows:
            row.params.pop("share", None)
            row.params |= {"share_reason": "the gain holds 0"} if "answer" in row.params else {}
    distilled.show(again, Console(width=200))
    text = " ".join(capsys.readouterr().out.split())
    assert "cannot be told from 0 on 700 digits" in text
    assert text.count("Not measurable: the gain holds 0.") == 1
    assert "took over what the ensemble gains" not in text


def test_says_nothing_where_there_is_nothing(capsys):
    distilled.show({"a": report("a", 0.9, "open", on_ensemble=False)}, Console())
    assert capsys.readouterr().out == ""
