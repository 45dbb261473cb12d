"""Honest siblings of the digits teacher: how many does the audit flag?

Slow: twenty networks are trained as the members were, with other seeds, and audited at once.
"""

from __future__ import annotations

from collections import Counter

import pytest

import ringtest
from ringtest.demo import build, digits, training

SIBLINGS = 20


@pytest.mark.slow
def test_twenty_siblings_are_not_flagged(capsys: pytest.CaptureFixture[str]) -> None:
    """At most 1 of 20 flagged, at least 17 sound, with unlabelled inputs."""
    demo = build(0)
    seeds = list(range(10_000, 10_000 + SIBLINGS))
    siblings = training.train_members(digits.load(0), seeds)
    data = ringtest.AuditData(
        demo.inputs, demo.targets, bounds=demo.bounds, unlabelled=demo.production
    )
    students = {f"sibling {i}": model for i, model in enumerate(siblings)}
    reports = ringtest.audit(demo.teacher, students, data, progress=False)
    labels = Counter(report.verdict.label for report in reports.values())
    with capsys.disabled():
        print(f"\n{SIBLINGS} siblings with unlabelled inputs: {dict(labels)}")
    assert labels["fractured"] <= 1
    assert labels["sound"] >= 17
