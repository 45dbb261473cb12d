"""All rows about what was recorded, for one student."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ringtest import compare
from ringtest.compare import Failure
from ringtest.ensembles.recorded import Recorded, steps
from ringtest.errors import DataError, RingtestError, close_to
from ringtest.measure import Measure, NotMeasurable, RecordedMeasure, measures
from ringtest.measurement import Measurement
from ringtest.progress import Progress, silent

Read = Callable[[Recorded, str | None, int], list[Measurement]]


def rows(
    recorded: Recorded, student: str | None, seed: int, say: Progress = silent
) -> list[Measurement]:
    """Context rows of every measure that has something to read.

    Args:
        recorded: of the teacher, and of students by name.
        student: whose rows these are; None, or a name that nothing was recorded of: the teacher's
            alone.
        seed: of everything that is drawn.
        say: told of each measure.

    A measure that crashes leaves a row that says so, never a lost report.
    """
    every = list(_readers())
    found: list[Measurement] = []
    for done, (entry, told_as, read) in enumerate(every):
        say(entry.id, done / len(every))
        try:
            found += read(recorded, student, seed)
        except NotMeasurable as error:
            why = Failure("not_measurable", str(error))
            found.append(compare.failed_row(entry, told_as, why))
        except RingtestError:
            raise
        except Exception as error:
            why = Failure("error", f"{type(error).__name__}: {error}")
            found.append(compare.failed_row(entry, told_as, why))
    say("recordings", 1.0)
    return found


def _readers() -> Iterator[tuple[Measure, str, Read]]:
    """Each measure of recordings, what its rows name as their condition, and what reads it."""
    for entry in measures:
        if isinstance(entry, RecordedMeasure):
            yield entry, entry.told_as, entry.read
    yield measures[steps.MEASURE], steps.TOLD_AS, steps.rows


def check(given: object) -> None:
    """Raise DataError for what is no Recorded."""
    if not isinstance(given, Recorded):
        raise DataError("recorded", f"is a {type(given).__name__}", "give ringtest.Recorded(...)")


def check_names(recorded: Recorded, students: Iterable[str]) -> None:
    """Raise DataError for what is no Recorded, and recordings of a student that there is not."""
    check(recorded)
    known = list(students)
    for name in recorded.students:
        if name not in known:
            raise DataError("recorded", f"there is no student {name!r}", close_to(name, known))
