"""Verifiers: what says of a sampled candidate whether it is right, as a number in [0, 1].

Three real ones that run none of a candidate's code in this process, and :func:`verify`, which
asks any verifier of all candidates, or takes scores that were recorded.
"""

from ringtest.ensembles.verifiers.arithmetic import Arithmetic
from ringtest.ensembles.verifiers.json_schema import JsonSchema
from ringtest.ensembles.verifiers.unit_tests import Outcome, UnitTests
from ringtest.ensembles.verifiers.verify import Rejected, Verifier, verify

__all__ = [
    "Arithmetic",
    "JsonSchema",
    "Outcome",
    "Rejected",
    "UnitTests",
    "Verifier",
    "verify",
]
