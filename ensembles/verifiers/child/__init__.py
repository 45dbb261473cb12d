"""What runs in the two processes of :class:`ringtest.ensembles.verifiers.UnitTests`.

Only the standard library is imported here, and of ringtest nothing outside this folder: both
processes start without it and without installed packages.
"""
