"""A gate over one report or a set: a policy and a baseline in, one outcome out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from ringtest.decision import OUTCOME_EXIT, SEVERITY, Outcome, Verdict
from ringtest.errors import ConfigError, Exit, ReportError, close_to
from ringtest.gates import baseline as baselines
from ringtest.policy import Gate, Policy
from ringtest.report import Report, ReportSet, load_report, redecide

AnyReport = Report | ReportSet | str | os.PathLike[str]
AnyPolicy = Policy | str | os.PathLike[str]

SCHEMA_VERSION: Final = 1
"""Version of what :meth:`Gated.as_dict` gives."""


@dataclass(frozen=True)
class Gated:
    """What a gate decided, student by student; every format is written from this."""

    reports: Mapping[str, Report]
    verdicts: Mapping[str, Verdict]
    """Under the gate's policy; by the same names as ``reports``."""
    is_set: bool
    notes: tuple[str, ...] = ()
    """What to know about the comparison; nothing hangs on it."""

    @property
    def outcome(self) -> Outcome:
        """That of the worst student."""
        return max((v.outcome for v in self.verdicts.values()), key=SEVERITY.__getitem__)

    @property
    def exit_code(self) -> Exit:
        """What ``ringtest gate`` exits with."""
        return OUTCOME_EXIT[self.outcome]

    @property
    def worst(self) -> list[str]:
        """Names of the students that the outcome comes from."""
        return [n for n, v in self.verdicts.items() if v.outcome == self.outcome]

    def as_dict(self) -> dict[str, Any]:
        """The decision as plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "outcome": self.outcome,
            "exit_code": int(self.exit_code),
            "students": {name: v.decision() for name, v in self.verdicts.items()},
            "notes": list(self.notes),
        }


def judge(
    report: AnyReport, policy: AnyPolicy | None = None, baseline: AnyReport | None = None
) -> Gated:
    """Decide a report, or all reports of a set, as a gate does.

    Args:
        report: a report, a set, or where one was saved.
        policy: judge by this, or by this gate.toml, instead of the policy stored in the report.
        baseline: the report of what was shipped, or a set, whose students are found by name.

    Raises ReportError for a stored report that cannot be trusted, or a baseline that cannot be
    compared, ConfigError for a policy that cannot be used.
    """
    rules = _rules(policy)
    loaded = report if isinstance(report, Report | ReportSet) else load_report(report)
    old = _baseline(baseline)
    reports = {loaded.student: loaded} if isinstance(loaded, Report) else dict(loaded)
    notes: list[str] = []
    policies = {}
    for name, one in reports.items():
        own = _policy(one, rules)
        if old is not None:
            was = old if isinstance(old, Report) else _of_name(old, name)
            own = replace(own, baseline=baselines.shipped(was, one, own))
            notes += [f"baseline: {note}" for note in baselines.notes(was, one)]
        policies[name] = own
        if rules is not None and set(one.policy.gates) - set(rules.gates):
            notes.append("Gates that the audit was asked for are not in the policy given here.")
    return Gated(
        reports,
        _verdicts(reports, policies),
        isinstance(loaded, ReportSet),
        tuple(dict.fromkeys(notes)),
    )


def _rules(given: object) -> Policy | None:
    if given is None or isinstance(given, Policy):
        return given
    if not isinstance(given, str | os.PathLike):
        problem = f"is a {type(given).__name__}"
        raise ConfigError("policy", problem, "give a ringtest.Policy, or the path of a gate.toml")
    # pydantic takes a third of the time that a gate takes.
    from ringtest.gates.gate_file import load_policy

    return load_policy(given)


def _policy(report: Report, policy: Policy | None) -> Policy:
    """The policy with the report's version of the margins, which its rows carry."""
    if policy is not None:
        return replace(policy, version=report.policy.version)
    # A stored waiver must not live on in the day on which it was stored.
    stored = report.policy
    return replace(stored, today=date.today().isoformat()) if stored.waivers else stored


def _verdicts(reports: dict[str, Report], policies: dict[str, Policy]) -> dict[str, Verdict]:
    """Decide all; a waiver, margin or gate speaks of nothing only if no student at all needs it."""
    found = {name: _decide(report, policies[name]) for name, report in reports.items()}
    needed = {name: _needed(verdict) for name, verdict in found.items()}
    spoken = {name: _spoken(found[name], policies[name]) for name in reports}
    anywhere: set[str] = set().union(*needed.values())
    somewhere: frozenset[str | Gate] = frozenset().union(*spoken.values())
    for name, report in reports.items():
        own = policies[name]
        kept = tuple(w for w in own.waivers if w.id in needed[name] or w.id not in anywhere)
        elsewhere = somewhere - spoken[name]
        if kept != own.waivers or elsewhere:
            found[name] = _decide(report, replace(own, waivers=kept), elsewhere)
    return found


def _decide(
    report: Report, policy: Policy, elsewhere: frozenset[str | Gate] = frozenset()
) -> Verdict:
    if policy == report.policy and not elsewhere:
        return report.verdict
    return redecide(report, policy, elsewhere)


def _needed(verdict: Verdict) -> set[str]:
    return {c.name for c in verdict.checks if c.kind == "waiver" and c.status == "pass"}


def _spoken(verdict: Verdict, policy: Policy) -> frozenset[str | Gate]:
    """Margins and gates that this student has rows for."""
    missed = {c.name for c in verdict.checks if c.kind == "margin" and c.status == "error"}
    gates = {gate for gate, status in verdict.gates if status != "no_match"}
    return frozenset(gates | (policy.overrides.keys() - missed))


def _baseline(given: AnyReport | None) -> Report | ReportSet | None:
    if given is None or isinstance(given, Report | ReportSet):
        return given
    try:
        return load_report(given)
    except ReportError as error:
        raise ReportError(f"baseline {error.field}", error.problem, error.fix) from error


def _of_name(old: ReportSet, name: str) -> Report:
    if name not in old:
        raise ReportError("baseline", f"has no report of {name!r}", close_to(name, list(old)))
    return old[name]
