"""Do members, asked the same, write the same? Their texts against shuffled prompts.

:func:`diversity` compares, :func:`verdict` and :func:`words` say what it found. ``answers`` checks
what was written, ``ngrams`` turns it into vectors, ``pairs`` and ``scan`` compare these,
``prompt_null`` is the null, ``scores`` are the numbers with their intervals.
"""

from ringtest.ensembles.texts.hivemind import TextDiversity, diversity, verdict, words

__all__ = ["TextDiversity", "diversity", "verdict", "words"]
