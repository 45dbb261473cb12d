"""Verifiers: what they accept, and that whatever fails is neither a pass nor a silent 0."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ringtest.ensembles.verifiers import (
    Arithmetic,
    JsonSchema,
    Rejected,
    json_schema,
    numbers,
    verify,
)
from ringtest.errors import ConfigError, DataError

ITEMS = [{"answer": 1}, {"answer": 2}]
CANDIDATES = [["1", "2", "3"], ["1", "2", "3"]]


# -- verify ---------------------------------------------------------------------------------------


def test_scores_stand_where_their_candidates_stand() -> None:
    told: list[float] = []
    found = verify(Arithmetic(), ITEMS, CANDIDATES, progress=lambda _, share: told.append(share))
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 1, 0]])
    assert found.dtype == np.float64
    assert told == sorted(told)
    assert told[-1] == 1


def test_workers_give_the_same_and_are_bounded() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def slow(item: int, candidate: int) -> float:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.001)
        with lock:
            now -= 1
        return (item * 10 + candidate) / 1000

    items, candidates = list(range(50)), [list(range(10))] * 50
    found = verify(slow, items, candidates, workers=3)
    np.testing.assert_array_equal(found, np.arange(500).reshape(50, 10) / 1000)
    assert 1 < most <= 3


def test_a_verifier_says_rejected_and_everything_else_it_raises_is_an_error() -> None:
    def refuses(item: Any, candidate: str) -> float:
        raise Rejected("too long")

    np.testing.assert_array_equal(verify(refuses, ITEMS, CANDIDATES), np.zeros((2, 3)))


def raises(item: Any, candidate: str) -> float:
    if candidate == "3":
        raise KeyError("no such thing")
    return 1.0


def gives(value: Any) -> Any:
    return lambda item, candidate: value if candidate == "3" else 1.0


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("verifier", "said"),
    [
        (raises, "verifier: item 0, sample 2: raised KeyError: 'no such thing'"),
        (gives(float("nan")), "verifier: item 0, sample 2: gave nan"),
        (gives(1.5), "verifier: item 0, sample 2: gave 1.5"),
        (gives(-0.1), "verifier: item 0, sample 2: gave -0.1"),
        (gives(float("inf")), "verifier: item 0, sample 2: gave inf"),
        (gives(None), "verifier: item 0, sample 2: gave NoneType"),
        (gives("1"), "verifier: item 0, sample 2: gave str"),
        (gives(np.ones(1)), "verifier: item 0, sample 2: gave ndarray"),
    ],
)
def test_what_is_no_score_names_the_item_and_the_sample(
    verifier: Any, said: str, workers: int
) -> None:
    with pytest.raises(DataError) as error:
        verify(verifier, ITEMS, CANDIDATES, workers=workers)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_an_item_without_an_answer_is_no_wrong_candidate() -> None:
    with pytest.raises(DataError, match="item 1, sample 0: answer: is missing"):
        verify(Arithmetic(), [{"answer": 1}, {}], CANDIDATES)


def test_recorded_scores_are_taken_as_they_are() -> None:
    scores = np.array([[3.5, -2, 0], [1, 1, 1]])
    found = verify(scores, ITEMS, CANDIDATES)
    np.testing.assert_array_equal(found, scores)
    assert found is not scores
    np.testing.assert_array_equal(verify(scores > 0, ITEMS, CANDIDATES), scores > 0)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([[1, 2, 3], [4, np.nan, 6]], "item 1, sample 1: the recorded score is nan"),
        ([[1, 2, np.inf], [4, 5, 6]], "item 0, sample 2: the recorded score is inf"),
        ([[1, 2], [3, 4]], r"shape \(2, 2\) for candidates of shape \(2, 3\)"),
        ([["a"] * 3] * 2, "neither callable nor an array"),
        (None, r"shape \(\)"),
    ],
)
def test_recorded_scores_that_cannot_be_used(scores: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        verify(scores, ITEMS, CANDIDATES)


@pytest.mark.parametrize(
    ("items", "candidates", "said"),
    [
        ([], [], "items: there are none"),
        (ITEMS, CANDIDATES[:1], "candidates: has 1 rows for 2 items"),
        (ITEMS, [["1"], ["1", "2"]], "candidates: item 1 has 2 samples, item 0 has 1"),
        (ITEMS, [[], []], "candidates: there are no samples"),
        (ITEMS, ["abc", "def"], "candidates: item 0 has no list of samples"),
    ],
)
def test_candidates_of_no_shape(items: Any, candidates: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        verify(Arithmetic(), items, candidates)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_workers_are_a_whole_number(workers: Any) -> None:
    with pytest.raises(ConfigError, match="workers"):
        verify(Arithmetic(), ITEMS, CANDIDATES, workers=workers)


# -- arithmetic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: 5 (since 2+3=5)", 5),
        ("That makes seven (3+4=7).", 7),
        ("Undefined (x = 1/0)", None),
        ("5", 5),
        ("  -5. ", -5),
        ("\u22125", -5),
        ("+.5", Fraction(1, 2)),
        ("x = 5", 5),
        ("5 = x", 5),
        ("x=\u22122", -2),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("1\u202f000", 1000),
        ("1{,}000", 1000),
        ("1_000", 1000),
        ("007", 7),
        ("1e3", 1000),
        ("0.1", Fraction(1, 10)),
        ("50%", Fraction(1, 2)),
        (r"12.5\%", Fraction(1, 8)),
        ("3/4", Fraction(3, 4)),
        ("3 1/2", Fraction(7, 2)),
        ("-3 1/2 cups", Fraction(-7, 2)),
        ("2 + 3 * 4", 14),
        ("(2 + 3) × 4", 20),
        ("-2**2", -4),
        ("2^3^2", 512),
        ("2^{-1}", Fraction(1, 2)),
        ("4 ** 0.5", 2),
        ("10 ÷ 4", Fraction(5, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"\frac34", Fraction(3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"3\frac{1}{2}", Fraction(7, 2)),
        (r"2 \cdot 3", 6),
        (r"$\left(2+3\right) \times 2$", 10),
        (r"The answer is $\boxed{42}$, not 43.", 42),
        (r"\boxed{1} and then \boxed{\frac{1}{2}}", Fraction(1, 2)),
        (r"\boxed{5 \text{ apples}}", 5),
        (r"\boxed{x = 5}", 5),
        ("So 3 * 4 = 12.\n#### 12", 12),
        ("**Answer:** 7 of 9", 7),
        ("The answer to question 3 is 7.", 7),
        ("The final answer is: $1,200.", 1200),
        ("<answer>5</answer>", 5),
        ("That makes 12 * 4 = 48 apples for 3 people", 48),
        ("The total = 48. So he needs 3 boxes.", 3),
        ("48 apples and 5 pears", 5),
        ("- 5 apples", 5),
        ("between 3-5", 5),
        ("7, on the 2nd", 7),
        ("3 + 4 -> 7", 7),
        ("$$x = 3$$", 3),
        # No one value
        ("", None),
        ("five", None),
        ("x > 5", None),
        (r"x \leq 5", None),
        ("5 ± 1", None),
        ("NaN", None),
        ("inf", None),
        ("1/0", None),
        ("answer: 1/(2-2)", None),
        ("(-8) ** 0.5", None),
        ("1,5", None),
        ("12,34", None),
        (r"\boxed{}", None),
        (r"\boxed{5", None),
        (r"5 = \boxed{x}", None),
        ("5 % 2", None),
        ("3(4)", None),
        # Bombs
        ("9**9**9", None),
        ("9**9**9**9", None),
        ("2**100000", None),
        ("((((9**999)**999)**999)**999)", None),
        ("1e999999999", None),
        ("1e-999999999", None),
        ("1" * 5000, None),
        ("(" * 5000 + "1" + ")" * 5000, None),
        ("-" * 5000 + "1", None),
    ],
)
def test_the_forms_of_an_answer(text: str, expected: Fraction | None) -> None:
    begun = time.monotonic()
    assert numbers.final_value(text) == expected
    assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "abs(-5)", "x", "[1]", "1 if 1 else 2", "(lambda: 1)()", "1 < 2", "'1'",
     "1 // 2", "5 and 6", "~1", "1j", "0x10", "1;2", "f'{1}'", "True", "1, 2", "a.b", "2 @ 3"],
)  # fmt: skip
def test_nothing_but_arithmetic_has_a_value(text: str) -> None:
    assert numbers.value(text) is None


@pytest.mark.parametrize("text", ["1" * 20_000, "1," * 10_000, "9" * 150 + "**" + "9" * 40,
                                  "1 " * 10_000, "\\frac{" * 3000, "\\boxed{" * 3000, "=1" * 10_000,
                                  "answer " * 3000, "<a" * 10_000])  # fmt: skip
def test_long_answers_are_quick(text: str) -> None:
    begun = time.monotonic()
    numbers.final_value(text)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("options", "expected", "candidate", "score"),
    [
        ({}, 1, "1.0", 1),
        ({}, 0.1, "1/10", 1),
        ({}, "1/3", "0.3333", 0),
        ({"rtol": 1e-3}, "1/3", "0.3333", 1),
        ({"rtol": 0}, 10**12, str(10**12 + 1), 0),
        ({}, 1_000_000, "1000001", 0),
        ({"atol": 0.5}, 10, "10.5", 1),
        ({"atol": 0.5}, 10, "10.51", 0),
        ({}, "#### 18", "He has 18.", 1),
        ({}, np.int64(3), "3", 1),
        ({}, np.float32(0.5), "50%", 1),
        ({}, 0, "-0", 1),
        ({}, 5, "I do not know", 0),
    ],
)
def test_answers_are_compared_exactly_or_within_a_tolerance(
    options: dict[str, Any], expected: Any, candidate: str, score: float
) -> None:
    assert Arithmetic(**options)({"answer": expected}, candidate) == score
    assert Arithmetic(**options)(expected, candidate) == score


@pytest.mark.parametrize("answer", ["none", "", None, True, float("nan"), float("inf"), [1]])
def test_an_expected_answer_that_is_no_number(answer: Any) -> None:
    with pytest.raises(DataError, match=r"answer: .* is no number"):
        Arithmetic()({"answer": answer}, "5")


@pytest.mark.parametrize("options", [{"rtol": -1}, {"atol": float("nan")}, {"rtol": float("inf")}])
def test_tolerances_that_are_none(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Arithmetic(**options)


# -- JSON -----------------------------------------------------------------------------------------

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("candidate", "score"),
    [
        ('{"name": "Ada", "age": 36}', 1),
        (' {"name": "Ada"}\n', 1),
        ('{"name": "Ada", "age": 36.5}', 0),
        ('{"name": "ada"}', 0),
        ('{"age": 36}', 0),
        ('{"name": "Ada", "more": 1}', 0),
        ("[]", 0),
        ("", 0),
        ('Here: {"name": "Ada"}', 0),
        ("{'name': 'Ada'}", 0),
        ('{"name": "Ada",}', 0),
        ('{"name": "Ada", "name": "Bob"}', 0),
        ('{"name": "Ada", "age": NaN}', 0),
        ('```json\n{"name": "Ada"}\n```', 0),
    ],
)
def test_candidates_against_a_schema(candidate: str, score: float) -> None:
    assert JsonSchema(schema=PERSON)(None, candidate) == score
    assert JsonSchema()({"schema": PERSON}, candidate) == score


@pytest.mark.parametrize(
    "candidate",
    ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, "[" * 65 + "]" * 65,
     "[" * 100 + "]" * 100, '{"a":' * 65 + "1" + "}" * 65, '"' + "x" * 20_000 + '"',
     '{"a": {"b": 1, "b": 2}}', "\ud800", "1 2", "\0"],
)  # fmt: skip
def test_what_no_schema_makes_right(candidate: str) -> None:
    assert JsonSchema(schema=True)(None, candidate) == 0


@pytest.mark.parametrize("candidate", ["[" * 64 + "]" * 64, '"' + "[" * 500 + '"', r'"\"[["', "0"])
def test_brackets_in_texts_are_no_depth(candidate: str) -> None:
    assert JsonSchema(schema=True)(None, candidate) == 1


def test_a_fence_is_taken_off_where_it_may_stand() -> None:
    fenced = JsonSchema(schema=PERSON, fenced=True)
    assert fenced(None, '```json\n{"name": "Ada"}\n```') == 1
    assert fenced(None, '{"name": "Ada"}') == 1
    assert fenced(None, '```json\n{"name": "Ada"}\n```\nDone.') == 0


def test_a_schema_may_point_into_itself_and_nowhere_else() -> None:
    tree = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}
    assert JsonSchema(schema=tree)(None, "[[], [[]]]") == 1
    assert JsonSchema(schema=tree)(None, "[[], [1]]") == 0
    with pytest.raises(DataError, match="schema: cannot be applied"):
        JsonSchema(schema={"$ref": "http://localhost:9/none.json"})(None, "1")


@pytest.mark.parametrize("schema", [{"type": "strin"}, {"required": "name"}, "text", 3])
def test_a_schema_that_is_none(schema: Any) -> None:
    with pytest.raises(DataError, match="schema: is"):
        JsonSchema(schema=schema)
    with pytest.raises(DataError, match="item 0, sample 0: schema: is"):
        verify(JsonSchema(), [{"schema": schema}], [["1"]])


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(json_schema.importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"needs jsonschema.*ringtest\[verifiers\]"):
        JsonSchema(schema=PERSON)
