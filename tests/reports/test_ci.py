"""action.yml, the example workflows and docs/ci-recipes.md do what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ringtest
from ringtest.gates.gate_file import load_policy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci-recipes.md").read_text("utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


def blocks(language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def project(tmp_path, fakes, monkeypatch):
    """A folder with reports of every outcome, policies, and ringtest on the PATH."""

    def write(name, report):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(report.data))

    identity = {"config": {"layers": "auto", "seed": 0, "identity": {"seed": 0}}}
    rows = fakes.sound().rows
    write("audit", fakes.report(rows, "careful", **identity))
    write("shipped", fakes.report(rows, "before", **identity))
    write("candidate", fakes.inconclusive())
    write("fallen", fakes.report(fakes.fractured().rows, "fallen"))
    gate, _waiver = blocks("toml")
    (tmp_path / "gate.toml").write_text(gate)
    (tmp_path / "strict.toml").write_text('inconclusive = "fail"\n')
    binaries = tmp_path / "bin"
    binaries.mkdir()
    program = binaries / "ringtest"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ringtest "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bash(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """As GitHub runs it."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


# -- the page --------------------------------------------------------------------------------------


def test_commands_of_the_page_give_the_exit_codes_that_it_says(project):
    (console,) = blocks("console")
    found = re.findall(r"^\$ (.*?) +# exit code (\d)$", console, re.MULTILINE)
    assert len(found) == len(console.splitlines()) == 7
    assert {code for _, code in found} == {"0", "1", "2", "3"}
    for command, code in found:
        done = bash(command)
        assert done.returncode == int(code), (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    assert {p.name for p in (project / "out").iterdir()} == {
        "ringtest.xml", "ringtest.md", "ringtest.sarif", "gate.json",
    }  # fmt: skip


def test_snippet_for_any_other_ci(project):
    (script,) = blocks("bash")
    done = bash(script)
    assert done.returncode == 0
    assert "inconclusive: see summary.md" in done.stdout
    assert bash(script.replace("candidate", "fallen")).returncode == 1
    assert bash(script.replace("candidate", "nowhere")).returncode == 2
    done = bash(script.replace("candidate", "audit"))
    assert done.returncode == 0
    assert "see summary.md" not in done.stdout


def test_tables_of_the_page_are_gate_files(project):
    gate, waiver = blocks("toml")
    assert ringtest.gate("audit", load_policy(project / "gate.toml"), baseline="shipped") == 0
    (project / "waived.toml").write_text(gate + waiver)
    found = load_policy(project / "waived.toml")
    assert [w.id for w in found.waivers] == ["AUDIT-12"]
    # Nothing needs it in a sound report.
    assert ringtest.gate("audit", found) == 1


def test_inputs_on_the_page_are_those_of_the_action():
    table = PAGE.split("| input | default | |\n|---|---|---|\n")[1].split("\n\n")[0]
    named = re.findall(r"`([\w-]+)`", " ".join(line.split("|")[1] for line in table.splitlines()))
    assert set(named) == set(ACTION["inputs"])


# -- the action ------------------------------------------------------------------------------------


def step(name: str) -> dict:
    (found,) = [s for s in ACTION["runs"]["steps"] if s.get("name") == name]
    return found


def test_the_action_is_whole():
    assert ACTION["runs"]["using"] == "composite"
    text = (ROOT / "action.yml").read_text("utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    for one in ACTION["runs"]["steps"]:
        assert ("run" in one) != ("uses" in one)
        # Whatever is put into a script by GitHub is a script of whoever chose it.
        assert "${{" not in one.get("run", "")
        assert "run" not in one or one["shell"] == "bash"
        used = set(re.findall(r"\$\{?([A-Z_]{4,})\b", one.get("run", "")))
        runner = {"RUNNER_TEMP", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"}
        assert used - runner == set(one.get("env", {}))
    for value in ACTION["outputs"].values():
        (output,) = re.findall(r"steps\.gate\.outputs\.([\w-]+)", value["value"])
        assert f'echo "{output}=' in step("Gate")["run"]


CODES = {"audit": 0, "fallen": 1, "nowhere": 2, "candidate": 3}


@pytest.mark.parametrize("report", CODES)
@pytest.mark.parametrize("strict", ["true", "false"])
def test_the_action_passes_the_exit_code_on(project, report, strict):
    outputs, summary = project / "outputs", project / "summary"
    summary.write_text("before\n")
    done = bash(
        step("Gate")["run"],
        REPORT=report,
        POLICY="",
        BASELINE="",
        FAIL_ON_INCONCLUSIVE=strict,
        RUNNER_TEMP=str(project),
        GITHUB_OUTPUT=str(outputs),
        GITHUB_STEP_SUMMARY=str(summary),
    )
    code = CODES[report]
    assert done.returncode == (0 if code == 3 and strict == "false" else code), done.stderr
    told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    assert told["exit-code"] == str(code)
    lines = summary.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("# ringtest gate: ")
    assert lines[1].endswith(f"(exit code {code})")
    assert f"(exit code {code})::" in done.stdout
    written = {p.name for p in Path(told["results"]).iterdir()}
    assert written == (
        set() if code == 2 else {"junit.xml", "ringtest.sarif", "summary.md", "gate.json"}
    )


def test_the_action_hands_policy_and_baseline_on(project):
    env = {
        "FAIL_ON_INCONCLUSIVE": "true",
        "RUNNER_TEMP": str(project),
        "GITHUB_OUTPUT": str(project / "o"),
        "GITHUB_STEP_SUMMARY": str(project / "s"),
    }
    run = step("Gate")["run"]
    assert bash(run, REPORT="candidate", POLICY="strict.toml", BASELINE="", **env).returncode == 1
    assert bash(run, REPORT="audit", POLICY="", BASELINE="shipped", **env).returncode == 0
    assert bash(run, REPORT="audit", POLICY="", BASELINE="candidate", **env).returncode == 2
    # A name is a name, whatever it looks like.
    assert bash(run, REPORT="--help", POLICY="", BASELINE="", **env).returncode == 2
    assert bash(run, REPORT="$(touch x)", POLICY="", BASELINE="", **env).returncode == 2
    assert not (project / "x").exists()


def test_the_action_installs_all_that_a_gate_needs(project):
    """With everything else out of reach, all formats are still written."""
    install = step("Install ringtest without what only audits need")["run"]
    assert install.splitlines()[0].split()[-3:] == ["pydantic", "rich", "typer"]
    assert install.splitlines()[1].split()[-2:] == ["--no-deps", '"$PACKAGE"']
    heavy = ("torch", "captum", "seaborn", "sklearn", "pandas", "matplotlib", "numpy", "scipy",
             "jinja2", "safetensors", "tqdm", "filelock", "transformers")  # fmt: skip
    program = f"""
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
from ringtest.cli import main
code = main(["gate", "audit", "--policy", "gate.toml", "--baseline", "shipped", "--annotations",
             "--junit", "j", "--markdown", "m", "--sarif", "s", "--json", "g"])
assert code == 0, code
code = main(["gate", "candidate"])
assert code == 3, code
assert not set({heavy!r}) & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# -- the examples ----------------------------------------------------------------------------------


def test_the_github_example_uses_the_action_as_it_is():
    flow = yaml.safe_load((ROOT / "examples/ci/github-workflow.yml").read_text("utf-8"))
    job = flow["jobs"]["gate"]
    (use,) = [s for s in job["steps"] if "/ringtest@" in s.get("uses", "")]
    assert set(use["with"]) <= set(ACTION["inputs"])
    assert use["with"]["report"] == "audit"
    assert use["uses"].endswith(f"@v{ringtest.__version__}")
    assert use["with"]["upload-sarif"] == "true"
    assert job["permissions"]["security-events"] == "write"
    assert flow["permissions"] == {"contents": "read"}
    assert job["needs"] == "audit"


def test_the_gitlab_example_keeps_results_and_lets_only_exit_code_3_through(project):
    flow = yaml.safe_load((ROOT / "examples/ci/gitlab-ci.yml").read_text("utf-8"))
    job = flow["gate"]
    assert job["allow_failure"] == {"exit_codes": [3]}
    assert job["artifacts"]["when"] == "always"
    assert f'"ringtest=={ringtest.__version__}"' in job["script"][1]
    command = job["script"][-1]
    assert bash(command).returncode == 0
    assert (project / job["artifacts"]["reports"]["junit"]).is_file()
    assert all((project / p).is_file() for p in job["artifacts"]["paths"])
    assert bash(command.replace("audit", "candidate")).returncode == 2  # not comparable
    bare = command.replace(" --baseline shipped/report.json", "")
    assert bash(bare.replace("audit", "fallen")).returncode == 1


def test_examples_are_not_active_here():
    assert not (ROOT / ".github" / "workflows" / "github-workflow.yml").exists()
    assert not (ROOT / ".gitlab-ci.yml").exists()
