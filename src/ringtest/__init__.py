"""ringtest tells whether a distilled model only looks like its teacher.

    report = ringtest.audit(teacher, student, ringtest.AuditData(inputs, targets))
    report.verdict.label    # "sound" | "fractured" | "below-benchmark" | "inconclusive"

Names are loaded on first use: importing ringtest imports neither torch nor captum nor seaborn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ringtest.data import AuditData
    from ringtest.ensemble_report import EnsembleReport
    from ringtest.ensembles.recorded import Recorded
    from ringtest.ensembling import ensemble
    from ringtest.errors import Exit, RingtestError
    from ringtest.findings import leakage
    from ringtest.gates.gate_file import load_policy
    from ringtest.policy import Gate, Policy, Waiver
    from ringtest.report import Report, ReportSet, gate, load_report
    from ringtest.road import audit
    from ringtest.sources.stored import save_evidence
    from ringtest.subjects import Subject

__version__ = "0.1.0"

_HOME: Final = {
    "audit": "ringtest.road",
    "AuditData": "ringtest.data",
    "ensemble": "ringtest.ensembling",
    "EnsembleReport": "ringtest.ensemble_report",
    "Exit": "ringtest.errors",
    "RingtestError": "ringtest.errors",
    "Gate": "ringtest.policy",
    "Policy": "ringtest.policy",
    "Waiver": "ringtest.policy",
    "Recorded": "ringtest.ensembles.recorded",
    "Report": "ringtest.report",
    "ReportSet": "ringtest.report",
    "gate": "ringtest.report",
    "leakage": "ringtest.findings",
    "load_policy": "ringtest.gates.gate_file",
    "load_report": "ringtest.report",
    "save_evidence": "ringtest.sources.stored",
    "Subject": "ringtest.subjects",
}

__all__ = [
    "AuditData",
    "EnsembleReport",
    "Exit",
    "Gate",
    "Policy",
    "Recorded",
    "Report",
    "ReportSet",
    "RingtestError",
    "Subject",
    "Waiver",
    "audit",
    "ensemble",
    "gate",
    "leakage",
    "load_policy",
    "load_report",
    "save_evidence",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ringtest' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
