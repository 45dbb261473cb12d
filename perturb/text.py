"""Conditions that change the texts of which a tokenizer makes the inputs.

A new one is one class that says what becomes of a text.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch

from ringtest.blocks import seed_from
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.measure import NotMeasurable
from ringtest.perturb import typos
from ringtest.perturb.scale import is_positive
from ringtest.rows.inputs import Rows

if TYPE_CHECKING:
    from ringtest.model import Model


class ChangedTexts(Condition):
    """Base: every text is changed by itself, then all are tokenised anew, once.

    Severity is the share of the text that is hit, above 0 and at most 1. What becomes of a text
    depends on the text, the audit's seed and the number of its row in the data as given: on no
    other row, nor on which rows are sampled. Masks and whatever else goes along are those of the
    changed texts.

    Raises ConfigError, when made, for a severity that is no such share.
    """

    users_own = True
    usual: ClassVar[tuple[float, ...]]
    """Severities where none is asked for; the first is that of an instance without one."""
    _rows: Rows | None = None
    _why: str = ""
    """Why there are none."""

    def __init__(self, name: str | None = None, severity: float | None = None) -> None:
        if severity is not None and not (is_positive(severity) and severity <= 1):
            fix = f"give a share above 0, such as {self.kind}@{self.usual[0]:g}"
            raise ConfigError(f"severity of {self.kind}", f"is {severity!r}", fix)
        super().__init__(name, severity)

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Self]:
        """The usual severities, or the one that a cell says, for data with texts."""
        if data.texts is None:
            return ()
        return [cls(severity=s) for s in (cls.usual if severity is None else (severity,))]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Change the texts and tokenise them. Raises DataError if there are none.

        A tokenizer that cannot take the changed ones, or makes no token of one of them, is told of
        each model: the audit goes on.
        """
        if data.texts is None:
            fix = "give AuditData(..., texts=..., tokenizer=...)"
            raise DataError("texts", f"are missing, and {self.key} needs them", fix)
        share = self.usual[0] if self.severity is None else self.severity
        seed = seed_from(rng)
        rows = zip(data.texts, data.rows.numbers.tolist(), strict=True)
        made = [self.changed(text, share, np.random.default_rng([seed, row])) for text, row in rows]
        try:
            self._rows, self._why = data.tokenised(made), ""
        except DataError as error:
            self._rows, self._why = data.rows, str(error)

    def subject(self, model: Model) -> Model:
        """The model itself. Raises NotMeasurable if there is nothing to show it."""
        if self._why:
            raise NotMeasurable(f"cannot be shown the changed texts ({self._why})")
        return model

    def start(self, data: AuditData) -> Rows:
        """The rows of the changed texts."""
        assert self._rows is not None, "fit comes first"
        return self._rows

    @staticmethod
    @abstractmethod
    def changed(text: str, share: float, rng: np.random.Generator) -> str:
        """What becomes of a text of which about such a share is hit."""


@condition
class Characters(ChangedTexts):
    """Typing errors: every letter is hit by chance, with the severity as its probability.

    A letter that is hit changes places with the next one, is dropped, is doubled, or becomes its
    neighbour on a QWERTY keyboard: one of those that can be, each as likely. Digits, punctuation
    and spaces stay. The last letter of a word is never dropped, so no word vanishes. Targets count
    as still right.
    """

    kind = "text.characters"
    about = "letters swapped, dropped, doubled or mistyped"
    source = "Belinkov & Bisk 2018, arXiv:1711.02173; Pruthi et al. 2019, arXiv:1905.11268"
    usual = (0.05, 0.1)

    @staticmethod
    def changed(text: str, share: float, rng: np.random.Generator) -> str:
        """The text with its typing errors."""
        draws = rng.random(len(text)).tolist()
        hit = [c.isalpha() and draw < share for c, draw in zip(text, draws, strict=True)]
        out, i = [], 0
        while i < len(text):
            # Of two neighbours that are both hit, each has an error of its own.
            paired = hit[i] and i + 1 < len(text) and text[i + 1].isalpha() and not hit[i + 1]
            after = text[i + 1] if paired else ""
            out.append(typos.made(text[i], after, rng) if hit[i] else text[i])
            i += 1 + len(after)
        return "".join(out)


@condition
class Dropout(ChangedTexts):
    """Words left out: every word is dropped by chance, with the severity as its probability.

    A word is what stands between spaces, with its punctuation. At least one of each text stays, and
    one with a letter or digit if there are any: of punctuation a tokenizer may make nothing.
    Targets count as still right.
    """

    kind = "text.dropout"
    about = "words left out at random"
    source = "Iyyer et al. 2015, doi:10.3115/v1/P15-1162 (there for training)"
    usual = (0.1, 0.3)

    @staticmethod
    def changed(text: str, share: float, rng: np.random.Generator) -> str:
        """The text without the words that were dropped."""
        words = re.findall(r"\s*\S+", text)
        stays = rng.random(len(words)) >= share
        if stays.all():
            return text
        told = np.array([any(map(str.isalnum, word)) for word in words])
        told = told if told.any() else ~told
        if not (stays & told).any():
            stays[rng.choice(told.nonzero()[0])] = True
        return "".join(word for word, kept in zip(words, stays, strict=True) if kept).strip()


@condition
class Case(ChangedTexts):
    """Words in another case: every word is hit by chance, with the severity as its probability.

    A word that is hit is written in capitals, in small letters, or with the case of each letter at
    random: one of those that differ from the word, each as likely. Words without letters that have
    a case stay. Targets count as still right. A tokenizer that knows no case gives the clean rows.
    """

    kind = "text.case"
    about = "words in capitals, in small letters or in mixed case"
    usual = (0.3, 1.0)

    @staticmethod
    def changed(text: str, share: float, rng: np.random.Generator) -> str:
        """The text with its words in another case."""
        pieces = re.findall(r"\s+|\S+", text)
        hit = (rng.random(len(pieces)) < share).tolist()
        made = zip(pieces, hit, strict=True)
        return "".join(_recased(piece, rng) if struck else piece for piece, struck in made)


def _recased(word: str, rng: np.random.Generator) -> str:
    """A word in another case, if it has one."""
    upper = (rng.random(len(word)) < 0.5).tolist()
    mixed = "".join(c.upper() if up else c.lower() for c, up in zip(word, upper, strict=True))
    others = [made for made in (word.upper(), word.lower(), mixed) if made != word]
    return others[int(rng.integers(len(others)))] if others else word


@condition
class Truncation(ChangedTexts):
    """The end cut off. Severity is the share of the words, at least one; the first always stays.

    Words are those of ``text.dropout``. Targets count as still right. Nothing is random here.
    """

    kind = "text.truncation"
    about = "the last words of each text cut off"
    usual = (0.2, 0.5)

    @staticmethod
    def changed(text: str, share: float, rng: np.random.Generator) -> str:  # noqa: ARG004 - protocol
        """The text up to where it is cut off."""
        words = re.findall(r"\s*\S+", text)
        kept = min(len(words) - 1, round((1 - share) * len(words)))
        return "".join(words[: max(1, kept)]) if len(words) > 1 else text
