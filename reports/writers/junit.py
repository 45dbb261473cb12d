"""JUnit XML: what CI systems show as test results.

A suite is a student, a case is a check. Whatever keeps the gate from passing is a failure or an
error, also what is undecided: a skipped case looks green. What a waiver or the policy lets through
is skipped, with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from ringtest.reports import view

if TYPE_CHECKING:
    from ringtest.decision import Check, CheckStatus, Verdict
    from ringtest.gates.gating import Gated

ELEMENT: Final[dict[CheckStatus, str]] = {
    "waived": "skipped",
    "note": "skipped",
    "warn": "skipped",
    "inconclusive": "error",
    "fail": "failure",
    "error": "error",
}
_COUNTED: Final = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def render(gated: Gated) -> str:
    """One document; names and messages are free of whatever XML cannot hold."""
    root = ET.Element("testsuites", name="ringtest gate")
    totals = dict.fromkeys(("tests", "failures", "errors"), 0)
    for name, verdict in gated.verdicts.items():
        suite = _suite(name, verdict)
        root.append(suite)
        for key in totals:
            totals[key] += int(suite.get(key, "0"))
    for key, count in totals.items():
        root.set(key, str(count))
    ET.indent(root, " ")
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(student: str, verdict: Verdict) -> ET.Element:
    found = [ELEMENT.get(c.status) for c in verdict.checks]
    suite = ET.Element("testsuite", name=view.student(student), tests=str(len(found)))
    for attribute, element in _COUNTED.items():
        suite.set(attribute, str(found.count(element)))
    facts = ET.SubElement(suite, "properties")
    for name, value in (
        ("outcome", verdict.outcome),
        ("exit_code", str(int(verdict.exit_code))),
        ("label", verdict.label),
        ("policy_hash", verdict.policy_hash),
    ):
        ET.SubElement(facts, "property", name=name, value=value)
    suite.extend(_case(student, check) for check in verdict.checks)
    return suite


def _case(student: str, check: Check) -> ET.Element:
    where = ", ".join(view.clean(part) for part in (check.slice, check.detail) if part)
    name = view.clean(check.name) + (f" [{where}]" if where else "")
    case = ET.Element("testcase", classname=f"{view.student(student)}.{check.kind}", name=name)
    element = ELEMENT.get(check.status)
    if element is not None:
        message = view.clean(check.message)
        ET.SubElement(case, element, type=check.status, message=message).text = message
    return case
