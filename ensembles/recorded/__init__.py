"""What was recorded of an ensemble before anything was distilled, and the rows that tell of it.

A file a measure (``selection``, ``verifier``, ``budget``, ``texts``), each a
:class:`~ringtest.measure.RecordedMeasure`; ``steps`` are the rows of ``ensemble.waterfall`` from
samples. ``record`` checks what was recorded, ``files`` reads it, ``recordings`` asks every measure.
"""

from ringtest.ensembles.recorded.record import STUDENT, Recorded, Sampled

__all__ = ["STUDENT", "Recorded", "Sampled"]
