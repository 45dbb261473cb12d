"""Recordings from files: .npz arrays, .json and .jsonl texts and lists; never a pickle."""

from __future__ import annotations

import difflib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from ringtest.ensembles.candidates import Candidates, even
from ringtest.ensembles.recorded.record import as_candidates, with_field
from ringtest.ensembles.texts import answers
from ringtest.ensembles.verifiers import Arithmetic, JsonSchema, UnitTests, verify
from ringtest.errors import DataError, close_to
from ringtest.progress import Progress

LARGEST: Final = 1 << 30
"""Bytes of a file, and of all that an .npz unpacks to, that are read at all."""
VERIFIERS: Final[Mapping[str, Callable[[], Any]]] = {
    "arithmetic": lambda: Arithmetic(answer="truth"),
    "json_schema": JsonSchema,
    "unit_tests": UnitTests,
}
"""Verifiers by name. An item is the other fields of a line: ``truth``, ``schema``, ``tests``."""
_BROKEN: Final = (
    ValueError, OSError, EOFError, KeyError, MemoryError, NotImplementedError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What a damaged archive may raise; a header that lies of its size, MemoryError."""
_COLUMNS: Final = ("correct", "answers", "scores")
_SAMPLES: Final = (*_COLUMNS, "texts")
"""What there is of each sample; all other fields of a line belong to the item."""


def load_answers(field: str, path: Path) -> list[list[list[str]]]:
    """Members' answers from a file, as ``answers[member][prompt][sample]``.

    Args:
        field: name for messages, such as ``recorded.answers``.
        path: .json: the nested lists; .jsonl: a line a prompt, ``{"answers": [...]}`` or the bare
            list, with a list of samples for each member.

    Raises DataError, in one line that names the file.
    """
    prompts = _prompts(field, path)
    if path.suffix == ".json":
        return _texts_of(field, path, prompts)
    for number, found in enumerate(prompts, start=1):
        if not isinstance(found, list) or not all(isinstance(member, list) for member in found):
            what = f"line {number} has no list of samples for each member"
            _refuse(field, path, what, '{"answers": [["member 0", ...], ["member 1", ...]]}')
        if len(found) != len(prompts[0]):
            what = f"line {number} has {len(found)} members, line 1 has {len(prompts[0])}"
            _refuse(field, path, what, "give all members in every line")
    turned = [[prompt[m] for prompt in prompts] for m in range(len(prompts[0]))]
    return _texts_of(field, path, turned)


def load_own_answers(field: str, path: Path) -> list[list[str]]:
    """A student's answers, [prompt][sample]: the same files, with its samples alone."""
    return _texts_of(field, path, [_prompts(field, path)])[0]


def _texts_of(field: str, path: Path, found: Any) -> list[list[list[str]]]:
    made: list[list[list[str]]] = with_field(
        f"{field} ({path.name})", lambda: answers.checked(found)
    )
    return made


def _prompts(field: str, path: Path) -> Any:
    """What the file says: of .jsonl a list of prompts."""
    _check(field, path, ".json", ".jsonl")
    if path.suffix == ".json":
        return _json(field, path)
    return [x.get("answers") if isinstance(x, dict) else x for x in _lines(field, path)]


def load_candidates(
    field: str, path: Path, verifier: Any = None, progress: Progress | bool = False
) -> Candidates:
    """Candidates from a file.

    Args:
        field: name for messages, such as ``recorded.candidates``.
        path: .npz with arrays ``correct``, ``answers``, ``scores`` (items, samples); .json: an
            object with lists of the same names; .jsonl: a line an item, an object with lists.
        verifier: called as verifier(item, text): what scores the samples then; the text is that of
            ``texts``, or of ``answers`` where there is none, and the item a dict of the line's
            other fields, such as ``truth``. None: the file's scores.
        progress: of the verifier.

    Raises DataError, in one line that names the file and the field of it.
    """
    columns, items = _columns(field, path)
    texts = columns.pop("texts", None)
    if verifier is None:
        _check_names(field, path, columns, items)
    else:
        if columns.get("scores") is not None:
            _refuse(field, path, "has scores, and a verifier is named", "leave one of them out")
        read = columns.get("answers") if texts is None else texts
        if read is None:
            _refuse(field, path, "has no texts for the verifier", "add texts, or answers")
        # What is wrong with the rest is told before a verifier is asked, which may take hours
        told = as_candidates(f"{field} ({path.name})", columns)
        listed = _texts(read)
        shape = with_field(
            f"{field} ({path.name})",
            lambda: (len(listed), even("texts", listed) if listed else 0),
        )
        if shape != told.correct.shape:
            what = f"texts of shape {shape} is not that of correct, {told.correct.shape}"
            _refuse(field, path, what, "give one for each sample")
        columns["scores"] = with_field(
            f"{field} ({path.name})",
            lambda: verify(verifier, items, listed, progress=progress),
        )
    return as_candidates(f"{field} ({path.name})", columns)


def _check_names(
    field: str, path: Path, columns: dict[str, Any], items: list[dict[str, Any]]
) -> None:
    """Refuse what is nearly the name of a column that is missing, where no verifier reads it."""
    missing = [name for name in _COLUMNS if columns.get(name) is None]
    for key in items[0] if items else ():
        if difflib.get_close_matches(key, missing, 1, 0.8):
            _refuse(field, path, f"{key} is no column", close_to(key, missing))


def load_scores(field: str, path: Path) -> Any:
    """(items, samples) ``scores`` of a file that holds nothing else that is read."""
    columns, _ = _columns(field, path)
    if columns.get("scores") is None:
        _refuse(field, path, "has no scores", "add scores, (items, samples)")
    return columns["scores"]


def _columns(field: str, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a file says of the samples, by column, and of each item."""
    _check(field, path, ".npz", ".json", ".jsonl")
    if path.suffix == ".npz":
        found = _arrays(field, path)
    elif path.suffix == ".json":
        found = _json(field, path)
    else:
        found = _turned(field, path, _lines(field, path))
    if not isinstance(found, dict):
        _refuse(field, path, "is no object of lists", 'write {"correct": [[...], ...], ...}')
    columns = {k: v for k, v in found.items() if k in _SAMPLES}
    others = {k: v for k, v in found.items() if k not in _SAMPLES}
    lengths = [len(v) for v in found.values() if hasattr(v, "__len__")]
    for key, value in others.items():
        if not hasattr(value, "__len__") or len(value) != lengths[0]:
            _refuse(field, path, f"{key} has not one value an item", "give as many as items")
    items = [{k: v[i] for k, v in others.items()} for i in range(lengths[0] if lengths else 0)]
    return columns, items


def _turned(field: str, path: Path, lines: list[Any]) -> dict[str, Any]:
    """Lines as columns; every line has the same fields."""
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict):
            _refuse(field, path, f"line {number} is no object", 'write {"correct": [...], ...}')
        if line.keys() != lines[0].keys():
            odd = sorted(line.keys() ^ lines[0].keys())[0]
            what = f"line {number} and line 1 differ in {odd}"
            _refuse(field, path, what, "give every item the same fields")
    return {key: [line[key] for line in lines] for key in lines[0]}


def _texts(rows: Any) -> Any:
    """Samples as texts: an answer that is a number is written out."""
    listed = rows.tolist() if isinstance(rows, np.ndarray) else rows
    if not isinstance(listed, list) or not all(isinstance(row, list) for row in listed):
        return listed
    return [[v if isinstance(v, str) else str(v) for v in row] for row in listed]


def _arrays(field: str, path: Path) -> dict[str, Any]:
    try:
        # Opened apart from NumPy, which takes a file that is no .npz for a pickle.
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                _refuse(field, path, f"unpacks to more than {LARGEST:,} bytes", "split it")
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except _BROKEN as why:
        what = f"cannot be read as arrays ({_short(why)})"
        _refuse(field, path, what, "write it with numpy.savez; pickles are not loaded", why)
    for name, value in found.items():
        if not isinstance(value, np.ndarray) or value.ndim == 0:
            _refuse(field, path, f"{name} is no array", "write it with numpy.savez")
        if value.dtype.kind not in "biufUS":
            what = f"{name} is of type {str(value.dtype)[:40]}"
            _refuse(field, path, what, "give booleans, numbers or texts")
    return found


def _json(field: str, path: Path) -> Any:
    return _parsed(field, path, _read(field, path), "")


def _lines(field: str, path: Path) -> list[Any]:
    """A value a line, empty lines left out; at least one."""
    # Not splitlines(): JSON texts may hold other ends of lines than \n
    lines = [line for line in _read(field, path).split("\n") if line.strip()]
    if not lines:
        _refuse(field, path, "is empty", "give a line an item")
    return [_parsed(field, path, x, f"line {i}: ") for i, x in enumerate(lines, start=1)]


def _parsed(field: str, path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(field, path, f"{where}no JSON ({_short(error)})", "mend it", error)


def _read(field: str, path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        _refuse(field, path, f"cannot be read ({_short(error)})", "save it as UTF-8", error)


def _check(field: str, path: Path, *forms: str) -> None:
    """Refuse a file that is not there, of another form, or too large."""
    try:
        there, found = path.exists(), path.is_file()
    except OSError as error:  # a name that is too long
        raise DataError(field, f"{str(path)[:60]}: {error.strerror}", "name a file") from error
    if there and not found:
        raise DataError(field, f"{path} is no file", "name a file")
    if not found:
        near = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(field, f"{path} is not there", close_to(path.name, near))
    if path.suffix not in forms:
        *others, last = forms
        known = f"{', '.join(others)} or {last}"
        _refuse(field, path, "is of no known form", f"name a {known} file")
    if path.stat().st_size > LARGEST:
        _refuse(field, path, f"has more than {LARGEST:,} bytes", "split it")


def _short(error: BaseException) -> str:
    return str(error)[:120] or type(error).__name__


def _refuse(
    field: str, path: Path, what: str, fix: str, why: BaseException | None = None
) -> NoReturn:
    raise DataError(f"{field} ({path.name})", what, fix) from why
