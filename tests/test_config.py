"""audit.toml and gate.toml: what is accepted, and the one line about what is not."""

import json
import subprocess
import sys
import tomllib

import jsonschema
import pytest

from ringtest import config as configs
from ringtest.errors import ConfigError
from ringtest.gates.gate_file import GateFile

WHOLE = """
task = "regression"
[[teacher]]
load = "models:first"
[[teacher]]
factory = "models:build"
weights = "second.safetensors"
[[student]]
name = "small"
load = "models:small"
[[student]]
name = "smaller"
factory = "nets.zoo:build"
weights = "smaller.safetensors"
[[reference]]
load = "models:sibling"
[data]
load = "data:rows"
[audit]
layers = ["encoder.*", "pool"]
seed = 3
max_rows = 0
cells = [["probe.*", "noise.input"], ["similarity.cka", "attack.pgd@0.1"]]
[[gate]]
measure = "similarity.cka"
margin = 1
[[gate]]
measure = "outputs.*"
margin = 0.05
condition = "shift.corruption.*"
slice = "site=3"
"""
SMALL = """
[teacher]
load = "models:teacher"
[student]
load = "models:student"
[data]
load = "data:rows"
"""


@pytest.fixture
def read(tmp_path):
    """Write text as audit.toml and load it."""

    def load(text: str) -> configs.AuditFile:
        path = tmp_path / "audit.toml"
        path.write_text(text, "utf-8")
        return configs.load(path)

    return load


@pytest.fixture
def refusal(read):
    """The message about a text."""

    def message(text: str) -> str:
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


def test_everything_that_the_design_shows_is_read(read):
    config = read(WHOLE)
    assert config.task == "regression"
    assert [t.load for t in config.teacher] == ["models:first", None]
    assert [s.name for s in config.student] == ["small", "smaller"]
    assert config.is_set
    assert config.reference[0].load == "models:sibling"
    assert config.audit.layers == ["encoder.*", "pool"]
    assert config.audit.cells[0] == ["probe.*", "noise.input"]
    assert [g.gate().margin for g in config.gate] == [1.0, 0.05]
    assert config.gate[1].gate().slice == "site=3"


def test_defaults(read):
    config = read(SMALL)
    assert (config.task, config.audit.layers, config.audit.seed) == ("classification", "auto", 0)
    assert not config.is_set
    assert config.gate == config.reference == config.audit.cells == []
    assert read(SMALL.replace("[student]", '[student]\nname = "tiny"')).is_set


def test_what_was_asked_for_goes_into_the_report_as_plain_values(read):
    asked = read(WHOLE).as_dict()
    assert json.loads(json.dumps(asked)) == asked
    assert asked["student"][1]["weights"] == "smaller.safetensors"
    assert "exported" not in asked["student"][1]


REFUSED = {
    "misspelt key": (
        SMALL.replace("[teacher]\nload", "[teacher]\nlod"),
        "audit.toml: teacher.lod: is no known key; did you mean load?",
    ),
    "key of a list": (
        SMALL + '[[gate]]\nmeasure = "a"\nmargin = 1\n[[gate]]\nmargn = 1',
        "audit.toml: gate[1].margn: is no known key; did you mean margin, measure?",
    ),
    "misspelt table": (
        SMALL.replace("[student]", "[studnet]"),
        "audit.toml: studnet: is no known key; did you mean student, audit?",
    ),
    "missing table": (
        SMALL.replace('[data]\nload = "data:rows"', ""),
        "audit.toml: data: is missing; add [data] with load",
    ),
    "misspelt task": (
        'task = "clasification"' + SMALL,
        "audit.toml: task: 'clasification' is not known; did you mean classification?",
    ),
    "later task": ('task = "causal-lm"' + SMALL, "'causal-lm' comes with a later version; known:"),
    "text for a number": (
        SMALL + '[audit]\nseed = "0"',
        "audit.toml: audit.seed: is '0'; give a whole number",
    ),
    "truth for a number": (SMALL + "[audit]\nseed = true", "audit.seed: is True; give a whole"),
    "negative seed": (SMALL + "[audit]\nseed = -1", "audit.seed: is -1; it must be greater than"),
    "number for layers": (SMALL + "[audit]\nlayers = 3", 'audit.layers: is 3; give "auto", or a'),
    "no layers": (SMALL + "[audit]\nlayers = []", 'audit.layers: is []; give "auto", or a list'),
    "text for a table": (
        "teacher = 'models:teacher'" + SMALL.replace('[teacher]\nload = "models:teacher"', ""),
        "audit.toml: teacher: is 'models:teacher'; give a table",
    ),
    "number for a table": (
        "teacher = [1]" + SMALL.replace('[teacher]\nload = "models:teacher"', ""),
        "audit.toml: teacher[0]: is 1; give a table",
    ),
    "cell of one": (SMALL + '[audit]\ncells = [["a"]]', 'is [\'a\']; give pairs ["measure", "cond'),
    "cell of numbers": (SMALL + "[audit]\ncells = [[1, 2]]", "audit.cells[0][0]: is 1; give text"),
    "margin is NaN": (
        SMALL + '[[gate]]\nmeasure = "a"\nmargin = nan',
        "audit.toml: gate[0].margin: is nan; give a finite number",
    ),
    "margin is infinite": (SMALL + '[[gate]]\nmeasure = "a"\nmargin = inf', "give a finite number"),
    "gate without margin": (
        SMALL + '[[gate]]\nmeasure = "a"',
        "audit.toml: gate[0].margin: is missing; add margin = 0.1",
    ),
    "one gate in single brackets": (
        SMALL + '[gate]\nmeasure = "a"',
        "gate: is one table; write [[gate]]",
    ),
    "no module:callable": (
        SMALL.replace("models:student", "models.student"),
        "audit.toml: student.load: is 'models.student'; write \"module:callable\"",
    ),
    "student without a name": (
        SMALL.replace("[student]", '[[student]]\nname = "a"\nload = "b:c"\n[[student]]'),
        "audit.toml: student[1].name: is missing; of several students each needs one",
    ),
    "students of one name": (
        SMALL.replace(
            "[student]", '[[student]]\nname = "a"\nload = "b:c"\n[[student]]\nname = "a"'
        ),
        "audit.toml: student.name: 'a' stands twice; rename",
    ),
    "two ways at once": (
        SMALL.replace("[student]", '[student]\nfactory = "a:b"'),
        "audit.toml: student: names load and factory; give one of",
    ),
    "no way": (
        SMALL.replace('load = "models:student"', 'weights = "w"'),
        "audit.toml: student: names no model; give one of load",
    ),
    "weights with load": (
        SMALL.replace("[student]", '[student]\nweights = "w"'),
        "audit.toml: student.weights: goes with factory, not with load",
    ),
    "factory without weights": (
        SMALL.replace('load = "models:student', 'factory = "models:student'),
        "audit.toml: student.weights: is missing; add weights",
    ),
    "empty weights": (
        SMALL.replace('load = "models:student"', 'factory = "a:b"\nweights = ""'),
        "audit.toml: student.weights: is empty; fill it in",
    ),
    "dtype with load": (
        SMALL.replace("[student]", '[student]\ndtype = "float16"'),
        "audit.toml: student.dtype: goes with hf, not with load; leave it out",
    ),
    "unknown dtype": (
        SMALL.replace('load = "models:student"', 'hf = "folder"\ndtype = "bf16"'),
        "audit.toml: student.dtype: is 'bf16'; did you mean bfloat16",
    ),
    "hf and exported": (
        SMALL.replace('load = "models:teacher"', 'hf = "t"\nexported = "t.pt2"'),
        "audit.toml: teacher: names hf and exported; give one of load",
    ),
    "max_rows": (
        SMALL + "[audit]\nmax_rows = -1",
        "audit.toml: audit.max_rows: is -1; it must be greater than or equal to 0",
    ),
    "reference copies": (
        SMALL + '[audit]\nreferences = "auto"',
        "audit.toml: audit.references: 'auto' comes with a later version",
    ),
    "another word for references": (
        SMALL + '[audit]\nreferences = "many"',
        "audit.toml: audit.references: 'many' is not known; known: auto",
    ),
    "empty file": ("", "audit.toml: teacher: is missing; add [teacher] with load"),
    "broken TOML": ("[teacher\n", "audit.toml: is broken TOML: Expected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_file_key_value_and_fix_in_one_line(refusal, name):
    text, expected = REFUSED[name]
    message = refusal(text)
    assert expected in message
    assert message.startswith("audit.toml: ")
    assert "\n" not in message
    assert "pydantic" not in message


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "audit.toml").write_text(SMALL, "utf-8")
    (tmp_path / "latin.toml").write_bytes(b'task = "\xe9"')
    for name, expected in (
        ("audti.toml", "is not there; did you mean audit.toml"),
        ("latin.toml", "latin.toml: is no UTF-8 text"),
        ("", "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=expected.replace("?", r"\?")):
            configs.load(tmp_path / name)


def test_schemas_accept_what_is_accepted_and_nothing_else():
    schemas = configs.schema()
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    audit = jsonschema.Draft202012Validator(schemas["audit.toml"])
    for text in (WHOLE, SMALL):
        audit.validate(tomllib.loads(text))
    for name in ("misspelt key", "misspelt task", "text for a number", "missing table"):
        assert not audit.is_valid(tomllib.loads(REFUSED[name][0]))
    gate = jsonschema.Draft202012Validator(schemas["gate.toml"])
    gate.validate({"alpha": 0.01, "min_n": 200, "gate": [{"measure": "a", "margin": 0.1}]})
    assert not gate.is_valid({"alpha": 2})


def test_gate_file_is_checked_like_the_other():
    found = configs.parse(GateFile, "gate.toml", {"gate": [{"measure": "a", "margin": 2}]})
    assert found.gate[0].gate().margin == 2.0
    with pytest.raises(ConfigError, match=r"gate.toml: alhpa: is no known key; did you mean alpha"):
        configs.parse(GateFile, "gate.toml", {"alhpa": 0.1})
    with pytest.raises(ConfigError, match=r"gate.toml: alpha: is 0.7; it must be less than 0.5"):
        configs.parse(GateFile, "gate.toml", {"alpha": 0.7})


def test_controls_are_one_or_several(read):
    assert read(SMALL).control == []
    one = read(SMALL + '[control]\nload = "models:control"\n')
    assert [c.load for c in one.control] == ["models:control"]
    two = read(SMALL + '[[control]]\nload = "m:a"\n[[control]]\nevidence = "c.npz"\n')
    assert [c.evidence for c in two.control] == [None, "c.npz"]
    form = configs.schema()["audit.toml"]
    for found in (one, two):
        jsonschema.validate(found.as_dict(), form)


def test_controls_that_are_none_are_refused(refusal):
    assert "audit.toml: control: " in refusal(SMALL + "[control]\n")
    said = refusal(SMALL + '[control]\nlaod = "m:a"\n')
    assert "control.laod: is no known key; did you mean load" in said
    assert "control" in refusal("control = 3\n" + SMALL)


def test_reading_a_config_imports_no_torch():
    path = [p for p in sys.path if p]
    load = "import ringtest.config; print('torch' in sys.modules)"
    code = f"import sys; sys.path[:0] = {path!r}; {load}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
