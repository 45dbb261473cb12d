"""Was there anything to distil, and was it predictions or selection? Members and samples compared.

Functions on arrays, which know nothing of models: what members said of the same items, what was
sampled for them, what a verifier gave. Every number carries the influence of each item, so that
differences are paired and have intervals (:mod:`ringtest.estimate`). Measures on top of them make
rows of a report: ``committee`` and ``steps`` of what models show, ``recorded`` of the rest.

Arrays: ``probabilities`` (member, item, class), ``correct`` (item, sample) booleans, ``scores``
(item, sample) of a verifier, higher for what it believes; items are the independent units. Texts:
``answers[member][prompt][sample]``; prompts are the units.

==========================  ======================================================================
modules                     what they answer
==========================  ======================================================================
diversity, pairwise, ...    how far members differ, from class probabilities: ``diversity.of``
ambiguity                   the same from real values: what their mean gains in squared error
texts                       whether members write the same: ``texts.diversity``
sentences                   an embedder of meaning for it (extra ``texts``)
effective, vendi            what both are told in: effective votes and their words, Vendi score
selection, votes            pass@k, votes, best of n; what a gain comes from: ``selection.gains``
ceiling                     the verifier's ROC, and what it can reach
verifiers                   arithmetic, JSON Schema, unit tests in confined subprocesses
budget                      accuracy over samples, its limits, cost
waterfall                   mean member, ensemble, selected, oracle, and the student among them
transfer                    whether the gain is in the student, held against a control
committee                   measure ``ensemble.diversity``: members, and the student among them
steps                       measure ``ensemble.waterfall``
recorded                    ``ensemble.texts``, ``.selection``, ``.verifier``, ``.budget``, and the
                            waterfall of samples
==========================  ======================================================================

``measured`` (an estimate, or why there is none), ``table``, ``candidates`` and ``wording`` (numbers
in sentences) are what they share.
"""
