"""Conditions that attack a model: its inputs, representations, weights and activations.

==============  ============================================================  ======
module          condition                                                     scope
==============  ============================================================  ======
noise           ``noise.input``: Gaussian noise of .1 and .3 of the scale     shared
pgd             ``attack.pgd``: projected gradient descent, Linf, worst case  own
                over cross-entropy and a loss that no temperature can mask;
                ``attack.pgd_l2``, ``attack.pgd_l1``: in other norms
fgsm            ``attack.fgsm``: one step                                     own
apgd            ``attack.apgd``: steps that each example finds, targets too   own
square          ``attack.square``: random search, needs no gradients          own
discrepancy     ``attack.discrepancy``: furthest from the teacher;            own
                ``attack.betrayal``: another class where the teacher keeps
                its own
disagreement    ``attack.disagreement``: where the teacher's members disagree  shared
                most; in every audit of an ensemble that classifies
transfer        ``attack.transfer.teacher``, ``.reference``: made on these    shared
                ``attack.transfer.member``: made on a member, shown to        own
                others
embedding       ``attack.embedding``: for tokens, what the embedding layer    own
                shows of each is moved
text            ``text.characters``, ``text.dropout``, ``text.case``,         shared
                ``text.truncation``: letters mistyped, words left out,
                recased or cut off, before the tokenizer
real_outputs    ``attack.squared_error``, ``attack.movement``: the largest    own
                error of a regression, the largest movement of any output
representation  ``attack.representation``, ``attack.representation_middle``:  own
                the largest movement of a layer; ``attack.guide``: a row's
                code moved onto that of a row of another class
inside          ``attack.discrepancy_inside``: a model's code driven away     own
                from a member's
inner_noise     ``noise.weight``, ``noise.activation``: Gaussian noise        shared
                inside a model, relative to each filter or unit
matched         ``noise.weight_matched``, ``noise.activation_matched``: as    shared
                strong as it takes to move the outputs equally far
ablation        ``ablate.units``, ``ablate.directions``,                      shared
                ``ablate.subspace``: parts of the last hidden layer gone
callables       ``perturb.callable``: any callable on inputs                  shared
                ``attack.callable``: any callable on a model and its inputs   own
transforms      ``perturb.transform``: any transform in the manner of         shared
                torchvision, on blocks, rows or Pillow's images
captum_...      ``attack.captum``: FGSM and PGD of ``captum.robust``          own
                ``attack.captum_smallest``: its ``MinParamPerturbation``      own
                and the attacks of its ``AttackComparator``
==============  ============================================================  ======

The last three rows are made by the user of callables and objects, and handed to
``audit(..., conditions=[...])``: ``captum_robust``, ``captum_search``, ``captum_comparator``.

Of the attacks only ``attack.pgd`` is part of every audit, and ``attack.disagreement`` of those of
ensembles. What they share: ``attack`` (checks, the
budget), ``ascent`` (the search over runs), ``geometry`` and ``sparse`` (balls of three norms inside
the bounds), ``tokenwise`` (a ball for each token), ``schedules`` (how far a step goes), ``losses``
(what is climbed), ``scale`` (the units of eps). ``bench`` runs one attack after another on one
model, for the checks of ``masking``. ``typos`` holds what may become of a letter.
Each can be asked to try harder: ``PGD(severity=0.1, steps=50, restarts=5)``.

What changes a model inside shares ``disturbance`` (the model is never written to) and ``matching``
(the strength of noise that moves outputs by a given amount).

==============  ===================================================================
module          measure, on request
==============  ===================================================================
minimal         ``attack.minimal``, ``attack.minimal_l2``: the smallest eps that
                breaks a row, and accuracy over eps
masking         ``attack.masking``, ``attack.masking_search``: whether an attack
                fails because gradients are masked; read under ``attack.pgd``
single_runs     ``attack.single_runs``: accuracy under single runs of an attack,
                on average and at the worst of each row
smoothing       ``certify.smoothing``: certified radii of the model under noise
displacement    ``representation.displacement``: how far each layer moves
representation  ``representation.guided``: how near ``attack.guide`` came
invariances     ``representation.invariance``: what is left of the user's
                invariances in a disturbed model
inside          ``representation.parted``: how far codes were driven apart
matched         ``noise.strength``: how much noise a matched condition took
==============  ===================================================================
"""
