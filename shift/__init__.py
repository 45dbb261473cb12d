"""Conditions that move the data: splits, corruptions, off support; group and leakage checks.

===================  ==============================================================  ===========
module               conditions                                                      role
===================  ==============================================================  ===========
corruption           ``shift.corruption.*``: noise, blur, ... at severities 1 to 5    context
corruption_noise     ... on request: shot, impulse and speckle noise                 context
corruption_blur      ... on request: defocus, glass, motion and zoom blur            context
corruption_weather   ... on request: snow, frost, fog, spatter                       context
corruption_digital   ... on request: elastic, pixelate, JPEG, saturate               context
corruption_tables    ... on request: missing, units, swapped, drift, rounding        context
corruption_tokens    ... on request: token_noise, token_dropout, truncation          context
rewritten            ``shift.rewritten.NAME``: a nuisance written in as that of       context
                     another class; made by the user of a callable
off_support          ``shift.off_support.*``: Gaussian, mixed, noise, spectrum       off support
off_support_images   ``shift.off_support.*``: patches, phases                        off support
off_support_tokens   ``shift.off_support.*``: shuffled, random                       off support
off_support_tables   ``shift.off_support.columns``: independent columns              context
certified            ``shift.certified.NAME``: what the teacher may vouch for        certified
strongest            ``shift.strongest.NAME``: as strong as the teacher bears it;    context
                     in every audit
unlabelled           ``shift.unlabelled.NAME``: the user's sets without targets      unlabelled
invariance           ``shift.invariance.NAME``: the user's invariances               invariance
===================  ==============================================================  ===========

What is judged off support are the strengths of a fixed list; others are context.

Splits, on request only: rows of the benchmark as they are, role context.

==============  ========================================================================
module          conditions
==============  ========================================================================
split_groups    ``shift.split.group.A=x&B=y``, ``.left_out.A=x``, ``.group_fold.A=1of5``
split_time      ``shift.split.time.A@share``, ``.time_fold.A=1of5``
split_cluster   ``shift.split.cluster.1of4``, ``.rare``, ``.rare.A&B``
split_tilt      ``shift.split.tilt.A@strength``, ``.weighted.NAME``
split_labels    ``shift.split.labels.uniform``, ``.labels.0=0.5``, ``.labels.dirichlet@1``
split_spurious  ``shift.split.spurious.A``, ``.spurious.A@strength``
==============  ========================================================================

================  =====================================================================  ==========
module            measures                                                               read
================  =====================================================================  ==========
score             ``outputs.score``: the benchmark, by condition and slice               always
agreement         ``outputs.agreement`` of student and members                           always
consistency       ``outputs.consistency`` of a model with itself                         always
domain            ``shift.domain_auc``: is an unlabelled set elsewhere at all?           always
divergence        ``outputs.divergence`` and others: where a model leaves the teacher    on request
fidelity          ``outputs.fidelity``, where the teacher is right, and wrong            always
kl                ``outputs.kl``: KL divergence from the teacher, both ways              always
agreement_change  ``outputs.agreement_change``: agreement beside that on clean rows      on request
proper_scores     ``outputs.loss``, ``outputs.brier``                                    on request
calibration       ``outputs.calibration``: ECE, and its square without bias              always
worst_group       ``outputs.worst_group``, with an interval that minds the choice        on request
corruption_error  ``outputs.corruption_error``: errors over the teacher's                on request
strongest         ``shift.strongest_strength``: how strong that was                     there
size              ``shift.size``: how far inputs were moved, if at all                   on request
================  =====================================================================  ==========

Checks before any number (``ringtest.leakage``): ``leakage`` (exact copies, groups on both sides,
order in time) and ``leakage_near`` (near copies; ``near`` searches, ``near_points`` says where rows
lie).

``on_request`` is what corruptions share that no audit looks under by itself, ``light`` those of
images among them; ``splits`` says how rows are drawn; ``two_samples`` holds the tests behind
``size``. ``images`` and ``images_*`` (operations on batches of images: filters, random fields,
resampling, JPEG), ``graded`` (transformations at any strength), ``sequences``, ``tokens``,
``tables`` and ``common`` are what they use.
"""
