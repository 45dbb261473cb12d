"""Conditions that attack a model: its inputs, representations, weights and activations.

============  ============================================================  ======
module        condition                                                     scope
============  ============================================================  ======
noise         ``noise.input``: Gaussian noise of .1 and .3 of the scale      shared
pgd           ``attack.pgd``: projected gradient descent, Linf, worst case   own
              over cross-entropy and a loss that no temperature can mask;
              ``attack.pgd_l2``, ``attack.pgd_l1``: in other norms
fgsm          ``attack.fgsm``: one step                                      own
apgd          ``attack.apgd``: steps that each example finds, targets too    own
square        ``attack.square``: random search, needs no gradients           own
discrepancy   ``attack.discrepancy``: furthest from the teacher;             own
              ``attack.betrayal``: another class where the teacher keeps
              its own
transfer      ``attack.transfer.teacher``, ``.reference``: made on these     shared
              ``attack.transfer.member``: made on a member, shown to others  own
real_outputs  ``attack.squared_error``, ``attack.movement``: the largest     own
              error of a regression, the largest movement of any output
============  ============================================================  ======

Of the attacks only ``attack.pgd`` is part of every audit. What they share: ``attack`` (checks, the
budget), ``ascent`` (the search over runs), ``geometry`` and ``sparse`` (balls of three norms inside
the bounds), ``schedules`` (how far a step goes), ``losses`` (what is climbed), ``scale`` (the units
of eps).
"""
