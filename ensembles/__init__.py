"""Was there anything to distil, and was it predictions or selection? Members and samples compared.

Functions on arrays, which know nothing of models: what members said of the same items, what was
sampled for them, what a verifier gave. Every number carries the influence of each item, so that
differences are paired and have intervals (:mod:`ringtest.estimate`).

Arrays: ``probabilities`` (member, item, class), ``correct`` (item, sample) booleans, ``scores``
(item, sample) of a verifier, higher for what it believes; items are the independent units.
"""
