"""Was there anything to distil, and was it predictions or selection? Members and samples compared.

Functions on arrays, which know nothing of models: what members said of the same items, what was
sampled for them, what a verifier gave. Every number carries the influence of each item, so that
differences are paired and have intervals (:mod:`ringtest.estimate`).

Arrays: ``probabilities`` (member, item, class), ``correct`` (item, sample) booleans, ``scores``
(item, sample) of a verifier, higher for what it believes; items are the independent units. Texts:
``answers[member][prompt][sample]``; prompts are the units.

==========================  ======================================================================
modules                     what they answer
==========================  ======================================================================
diversity, pairwise, ...    how far members differ, from class probabilities: ``diversity.of``
texts, ngrams, pairs, ...   whether members write the same: ``texts.diversity``
sentences                   an embedder of meaning for it (extra ``texts``)
effective, vendi            what both are told in: effective votes and their words, Vendi score
selection, votes            pass@k, votes, best of n; what a gain comes from: ``selection.gains``
ceiling                     the verifier's ROC, and what it can reach
verifiers                   arithmetic, JSON Schema, unit tests in confined subprocesses
budget                      accuracy over samples, its limits, cost
waterfall                   mean member, ensemble, selected, oracle, and the student among them
transfer                    whether the gain is in the student, held against a control
==========================  ======================================================================

``measured`` (an estimate, or why there is none), ``table`` and ``candidates`` are what they share.
"""
