"""Conditions that move the data: splits, corruptions, off support; group and leakage checks.

==================  ===============================================================  ===========
module              conditions                                                       role
==================  ===============================================================  ===========
corruption          ``shift.corruption.*``: noise, blur, ... at severities 1 to 5     context
corruption_tables   ``shift.corruption.*``: missing, units, swapped, drift, rounding context
corruption_tokens   ``shift.corruption.*``: token_noise, token_dropout, truncation   context
off_support         ``shift.off_support.*``: Gaussian, mixed, noise, spectrum         off support
off_support_images  ``shift.off_support.*``: patches, phases                          off support
off_support_tokens  ``shift.off_support.*``: shuffled, random                         off support
certified           ``shift.certified.NAME``: what the teacher may vouch for          certified
unlabelled          ``shift.unlabelled.NAME``: the user's sets without targets        unlabelled
invariance          ``shift.invariance.NAME``: the user's invariances                 invariance
==================  ===============================================================  ===========

Measures: ``score`` (the benchmark, by condition and slice), ``agreement`` and ``consistency`` of
outputs, ``divergence`` (where a model parts from the teacher; on request), ``domain`` (is an
unlabelled set elsewhere at all?).

The corruptions of tables and tokens are on request (``on_request``). ``images`` (operations on
batches of images), ``tokens``, ``tables`` and ``common`` are what they share.
"""
