"""gate.toml: what is accepted, and the one line about what is not."""

from datetime import date

import jsonschema
import pytest

from ringtest import config as configs
from ringtest.errors import ConfigError
from ringtest.gates.gate_file import load_policy
from ringtest.policy import Gate, Policy, Waiver

WHOLE = """
alpha = 0.01
min_n = 200
inconclusive = "warn"
require = ["function", "global geometry", "function"]

[margins]
"similarity.*" = 0.1
"outputs.score" = 0.02

[[gate]]
measure = "outputs.score"
condition = "noise.*"
margin = 0.05

[[gate]]
measure = "attack.minimal"
statistic = "mean*"
margin = 0.01

[[waiver]]
id = "CI-7"
match = { measure = "similarity.cka", student = "tiny*" }
statement = "Accepted by the owner of tiny until it is distilled again."
expires = 2026-12-31
"""
WAIVER = (
    '[[waiver]]\nid = "a"\nmatch = { group = "twins" }\nstatement = "s"\nexpires = 2026-12-31\n'
)


@pytest.fixture
def load(tmp_path):
    """Read a gate.toml with this content."""

    def read(text, today=date(2026, 6, 1)):
        path = tmp_path / "gate.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_policy(path, today)

    return read


def test_everything_that_a_gate_file_can_say(load):
    assert load(WHOLE) == Policy(
        alpha=0.01,
        min_n=200,
        overrides={"similarity.*": 0.1, "outputs.score": 0.02},
        gates=(
            Gate("outputs.score", 0.05, "noise.*"),
            Gate("attack.minimal", 0.01, statistic="mean*"),
        ),
        require=("function", "global geometry"),
        inconclusive="warn",
        waivers=(
            Waiver(
                "CI-7",
                "Accepted by the owner of tiny until it is distilled again.",
                "2026-12-31",
                measure="similarity.cka",
                student="tiny*",
            ),
        ),
        today="2026-06-01",
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "\ufeff"])
def test_an_empty_file_is_the_default(load, text):
    assert load(text) == Policy()


def test_today_is_today(load):
    assert load(WAIVER, None).today == date.today().isoformat()
    assert load("alpha = 0.01", None).today == ""


WRONG = {
    "unknown key": ("alhpa = 0.1", "gate.toml: alhpa: is no known key; did you mean alpha"),
    "alpha of 0": ("alpha = 0", "alpha: is 0; it must be greater than or equal to 0.000001"),
    "alpha NaN": ("alpha = nan", "alpha: is nan; give a finite number"),
    "alpha in words": ('alpha = "small"', "alpha: is 'small'; give a number"),
    "alpha true": ("alpha = true", "alpha: is True; give a number"),
    "min_n of 1": ("min_n = 1", "min_n: is 1; it must be greater than or equal to 2"),
    "min_n of 2.5": ("min_n = 2.5", "min_n: is 2.5; give a whole number"),
    "unknown mode": ('inconclusive = "exit"', "inconclusive: 'exit' is not known; did you mean ex"),
    "mode as a number": ("inconclusive = 3", "inconclusive: 3 is not known"),
    "unknown group": ('require = ["functon"]', "'functon' is no group; did you mean function"),
    "one group": ('require = "function"', "require: is 'function'; give a list"),
    "group as a number": ("require = [1]", "require[0]: is 1; give text"),
    "margin of 0": ('[margins]\n"a" = 0', "margins.a: is 0; it must be greater than 0"),
    "margin NaN": ('[margins]\n"a" = nan', "margins.a: is nan; give a finite number"),
    "margins in words": ('margins = "wide"', "margins: is 'wide'; give a table"),
    "one gate": ('[gate]\nmeasure = "a"', "gate: is one table; write [[gate]]"),
    "one waiver": (WAIVER.replace("[[waiver]]", "[waiver]"), "write [[waiver]]"),
    "broken": ("alpha =", "is broken TOML"),
    "binary": (b"\xff\xfe\x00alpha", "is no UTF-8 text"),
    "waiver twice": (WAIVER + WAIVER, "waiver 'a': stands twice; rename"),
    **{
        f"waiver without {key}": (
            "\n".join(line for line in WAIVER.splitlines() if not line.startswith(key)),
            f"waiver[0].{key}: is missing; add {key} = ",
        )
        for key in ("id", "match", "statement", "expires")
    },
    "match of nothing": (
        WAIVER.replace('{ group = "twins" }', "{}"),
        "waiver[0].match: is {}; give at least one of measure, condition, slice, group or student",
    ),
    "match by an unknown key": (
        WAIVER.replace("group =", "groop ="),
        "match.groop: is no known key; did you mean group?",
    ),
    "match by a number": (WAIVER.replace('"twins"', "3"), "match.group: is 3; give text"),
    "match by nothing": (WAIVER.replace('"twins"', '""'), "match.group: is empty"),
    "match in words": (WAIVER.replace('{ group = "twins" }', '"twins"'), "'twins'; give a table"),
    "match by wildcards": (
        WAIVER.replace('"twins"', '"*"'),
        "waiver 'a': matches everything; name",
    ),
    "unreadable statement": (
        WAIVER.replace('"s"', '"\\u200b"'),
        "waiver 'a'.statement: is '\\u200b'; give text that can be read",
    ),
    "alpha too small": ("alpha = 1e-17", "alpha: is 1e-17; it must be greater than or equal"),
    "min_n too large": (f"min_n = {10**30}", "min_n: is 1000"),
    "empty statement": (WAIVER.replace('"s"', '"  "'), "waiver[0].statement: is empty"),
    "statement as a number": (WAIVER.replace('"s"', "1"), "waiver[0].statement: is 1; give text"),
    "date in quotes": (
        WAIVER.replace("2026-12-31", '"2026-12-31"'),
        "waiver[0].expires: is '2026-12-31'; give a date without quotes",
    ),
    "date with a time": (WAIVER.replace("2026-12-31", "2026-12-31T10:00:00"), "give a date"),
    "no such date": (WAIVER.replace("2026-12-31", "2026-02-31"), "is broken TOML"),
    "never expires": (WAIVER.replace("2026-12-31", "false"), "expires: is False; give a date"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(load, name):
    text, said = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "gate.toml" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "gates.toml").write_text("")
    with pytest.raises(ConfigError, match=r"is not there; did you mean gates\.toml"):
        load_policy(tmp_path / "gate.toml")


def test_the_schema_takes_and_refuses_the_same():
    import tomllib

    schema = configs.schema()["gate.toml"]
    validator = jsonschema.Draft202012Validator(schema)
    values = tomllib.loads(WHOLE)
    # JSON has no dates.
    values["waiver"][0]["expires"] = "2026-12-31"
    validator.validate(values)
    for key, bad in (("alpha", 0), ("inconclusive", "exit"), ("margins", {"a": 0}), ("x", 1)):
        assert not validator.is_valid({key: bad})
