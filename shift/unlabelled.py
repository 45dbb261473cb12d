"""The user's inputs from elsewhere, without targets: the sharpest condition known."""

from __future__ import annotations

from collections.abc import Iterable

from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import DataError, close_to
from ringtest.rows.inputs import Rows


@condition
class Unlabelled(Condition):
    """The rows of ``data.unlabelled[name]`` as they are: another set of rows than the data's."""

    kind = "shift.unlabelled"
    about = "inputs from elsewhere that the user gave without targets"
    role = "unlabelled"
    keeps_targets = False
    keeps_rows = False

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """One instance for each set."""
        return [cls(name) for name in data.unlabelled or ()]

    def start(self, data: AuditData) -> Rows:
        """The rows of the set. Raises DataError if the data have none of that name."""
        sets = data.elsewhere
        if self.name is None or self.name not in sets:
            raise DataError(
                f"unlabelled[{self.name!r}]", "is not given", close_to(str(self.name), sets)
            )
        return sets[self.name]
