"""Numbers in sentences have one form, and say no more than they know."""

from __future__ import annotations

import numpy as np

from ringtest.ensembles.measured import share_of
from ringtest.ensembles.waterfall import sentence, waterfall
from ringtest.ensembles.wording import confidence, number, percent, percents, points
from ringtest.estimate import row_mean


def test_what_rounds_to_nothing_has_no_minus():
    assert number(-1e-9, 2) == "0.00"
    assert points(-0.0004) == "+0.0"
    assert percents(-0.004, 0.61) == "0 to 61 %"
    assert percent(-0.0004, 1) == "0.0 %"
    assert points(-0.034) == "-3.4"


def test_a_level_is_told_as_it_was_asked_for():
    """At 99.9 % it used to say that intervals were of 100 %."""
    assert [confidence(v) for v in (0.95, 0.975, 0.999)] == ["95 %", "97.5 %", "99.9 %"]
    rng = np.random.default_rng(0)
    member, both, student = (row_mean(rng.random(200) < p) for p in (0.5, 0.52, 0.5))
    told = sentence(waterfall(member, both, student, level=0.999))
    assert "(99.9 % intervals)" in told
    assert "100 %" not in told
    assert "its 99.9 % interval" in share_of(student - member, both - member, "it", 0.999).reason
