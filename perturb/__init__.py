"""Conditions that attack a model: its inputs, representations, weights and activations.

======  ============================================================  ======
module  condition                                                     scope
======  ============================================================  ======
noise   ``noise.input``: Gaussian noise of .1 and .3 of the scale      shared
pgd     ``attack.pgd``: projected gradient descent, Linf, worst case   own
        over cross-entropy and a loss that no temperature can mask
======  ============================================================  ======

``losses`` holds what attacks climb, ``scale`` the units of eps.
"""
