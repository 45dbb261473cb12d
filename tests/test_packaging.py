"""What is packed is what is installed, and every area is in it.

Left to its defaults hatchling builds a wheel without the areas and reports success, so nothing
here trusts a build that merely ended well.
"""

import json
import os
import re
import stat
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HATCH = PYPROJECT["tool"]["hatch"]["build"]
MAPPING = HATCH["targets"]["wheel"]["force-include"]
AREAS = sorted({"ensembles", "perturb", "probes", "reports", "shift", *MAPPING})
ORACLES = re.findall(r"^[a-z].*", (ROOT / "oracles.txt").read_text(encoding="utf-8"), re.MULTILINE)
STEM = f"ringtest-{PYPROJECT['project']['version']}"
HEAVY = ("captum", "matplotlib", "seaborn", "torch")
KEPT = ("HOME", "LANG", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE")


def run(*command: str | Path, cwd: Path, path: str | None = None) -> str:
    """Standard output of a command that is away from the checkout and has to succeed."""
    # Only what a program needs to start: neither a PYTHONPATH nor a switch that colours the output.
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    if path is not None:
        env["PYTHONPATH"] = path
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files_of(folder: str) -> set[str]:
    """The files that belong to an area, relative to the root."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


class Built(NamedTuple):
    """An sdist, and the wheel that was made from it and not from the checkout."""

    sdist: Path
    wheel: Path


class Installed(NamedTuple):
    """An environment in which the wheel is the only ringtest."""

    bin: Path
    site: Path
    cwd: Path

    def python(self, code: str) -> str:
        """What `code` prints in the environment."""
        return run(self.bin / "python", "-I", "-c", code, cwd=self.cwd).strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("dist")
    # With neither --sdist nor --wheel, build makes the wheel from the unpacked sdist.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return Built(out / f"{STEM}.tar.gz", out / f"{STEM}-py3-none-any.whl")


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home = tmp_path_factory.mktemp("clean")
    venv = home / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=home)
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet")
    run(*pip, "--no-index", "--no-deps", built.wheel, cwd=home)
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(scripts / "python", "-I", "-c", query, cwd=home).strip())
    # The dependencies are borrowed from this interpreter. A .pth file only adds the folder: the
    # .pth of an editable ringtest in that folder is not read, so the checkout stays out of reach.
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(lent)) + "\n", encoding="utf-8")
    return Installed(scripts, site, home)


def test_areas_are_mapped_linked_and_excluded_as_links() -> None:
    assert {area: f"ringtest/{area}" for area in AREAS} == MAPPING
    assert sorted(HATCH["exclude"]) == [f"/src/ringtest/{area}" for area in AREAS]
    assert {f"/{area}" for area in AREAS} <= set(HATCH["targets"]["sdist"]["include"])
    links = {p.name: p.readlink() for p in (ROOT / "src/ringtest").iterdir() if p.is_symlink()}
    if (ROOT / ".git").exists():  # an unpacked sdist has no links
        assert links == {area: Path("../..", area) for area in AREAS}


def test_no_area_can_be_imported_by_its_root_name() -> None:
    banned = PYPROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert sorted(banned) == AREAS


def pinned() -> dict[str, str]:
    """The versions in constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", text, flags=re.MULTILINE))
    return {canonicalize_name(name): version for name, version in pins.items()}


def test_every_dependency_is_pinned_inside_its_range() -> None:
    pins = pinned()
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = [line for lines in extras.values() for line in lines]
    for line in project["dependencies"] + wanted + ORACLES:
        requirement = Requirement(line)
        if requirement.name == "ringtest":
            continue
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{line} has no pin in constraints.txt"
        assert requirement.specifier.contains(pin), f"{line} does not allow the tested {pin}"


def test_oracles_are_installed_and_changed_no_version() -> None:
    """They come without what they ask for, so nobody else looks at whether it all goes together."""
    if "RINGTEST_ORACLES" not in os.environ:
        pytest.skip("oracles.txt is installed by `make venv`")
    found = {canonicalize_name(d.name): d.version for d in distributions()}
    pins = pinned()
    assert {name: pins[name] for name in ORACLES} == {name: found.get(name) for name in ORACLES}
    moved = {name: (pins[name], found[name]) for name in pins.keys() & found.keys()}
    # A local build of torch says so behind a plus sign.
    assert not {k: v for k, v in moved.items() if v[0] != v[1].partition("+")[0]}


def test_sdist_holds_each_file_once_and_no_link(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() or member.isdir() for member in members)
    names = [member.name.removeprefix(f"{STEM}/") for member in members if member.isfile()]
    assert len(names) == len(set(names))
    for area in AREAS:
        assert files_of(area) <= set(names)
        assert not [name for name in names if name.startswith(f"src/ringtest/{area}")]
    assert {"LICENSE", "README.md", "pyproject.toml", "tests/test_packaging.py"} <= set(names)
    # .gitignore is there by hatchling's own rule; no other hidden file may be.
    hidden = [name for name in names if any(p.startswith(".") for p in Path(name).parts)]
    assert hidden == [".gitignore"]


def test_wheel_holds_the_package_with_its_areas_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    assert len(names) == len(set(names))
    assert not [e.filename for e in entries if stat.S_ISLNK(e.external_attr >> 16)]
    areas = {f"ringtest/{name}" for area in AREAS for name in files_of(area)}
    ground = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/ringtest").glob("**/*")  # does not follow the links
        if path.is_file() and "__pycache__" not in path.parts
    }
    ground = {name for name in ground if name.split("/")[1] not in AREAS}
    packed = {name for name in names if not name.startswith(f"{STEM}.dist-info/")}
    assert packed == areas | ground
    assert {f"ringtest/{area}/__init__.py" for area in AREAS} <= packed
    assert {"ringtest/__init__.py", "ringtest/py.typed"} <= packed
    assert f"{STEM}.dist-info/licenses/LICENSE" in names


def test_installed_package_is_the_wheel_and_not_the_checkout(installed: Installed) -> None:
    origin = installed.python("import ringtest; print(ringtest.__file__)")
    assert Path(origin) == installed.site / "ringtest" / "__init__.py"
    path = installed.python("import sys; print('\\n'.join(sys.path))").splitlines()
    assert not {str(ROOT), str(ROOT / "src")} & set(path)


@pytest.fixture(scope="module")
def origins(installed: Installed) -> dict[str, list[str | None]]:
    """Area -> its file, and where its root name is found.

    One process for all, as torch alone takes seconds; each area is imported with nothing of
    ringtest loaded before it.
    """
    return json.loads(
        installed.python(
            "import importlib, importlib.util, json, sys\n"
            "found = {}\n"
            f"for area in {AREAS!r}:\n"
            "    for name in [m for m in sys.modules if m.partition('.')[0] == 'ringtest']:\n"
            "        del sys.modules[name]\n"
            "    file = importlib.import_module('ringtest.' + area).__file__\n"
            "    root = importlib.util.find_spec(area)\n"
            "    found[area] = file, root and str(root)\n"
            "print(json.dumps(found))"
        )
    )


@pytest.mark.parametrize("area", AREAS)
def test_area_imports_from_the_wheel(
    installed: Installed, origins: dict[str, list[str | None]], area: str
) -> None:
    file, with_root_name = origins[area]
    assert file is not None
    assert Path(file) == installed.site / "ringtest" / area / "__init__.py"
    assert with_root_name is None


def test_every_module_imports_from_the_wheel(installed: Installed) -> None:
    code = (
        "import importlib, pkgutil, ringtest\n"
        "for found in pkgutil.walk_packages(ringtest.__path__, 'ringtest.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        print(importlib.import_module(found.name).__name__)"
    )
    names = set(installed.python(code).splitlines())
    assert {f"ringtest.{area}" for area in AREAS} | {"ringtest.cli"} <= names


@pytest.mark.parametrize("how", ["module", "script"])
def test_demo_explains_itself_when_installed(installed: Installed, how: str) -> None:
    start: dict[str, list[str | Path]] = {
        "module": [installed.bin / "python", "-I", "-m", "ringtest"],
        "script": [installed.bin / "ringtest"],
    }
    told = run(*start[how], "demo", "--help", cwd=installed.cwd)
    assert "--out" in told


@pytest.mark.parametrize(
    "code",
    [
        "import ringtest; assert ringtest.__file__",  # None for a folder without __init__.py
        "import sys; sys.argv = ['ringtest', '--help']; from ringtest.cli import main\n"
        "try: sys.exit(main())\n"
        "except SystemExit as stop: assert not stop.code, stop.code",
    ],
    ids=["import", "help"],
)
def test_start_is_light(tmp_path: Path, code: str) -> None:
    report = f"\nimport sys; print('loaded:', *[m for m in {HEAVY!r} if m in sys.modules])"
    told = run(sys.executable, "-c", code + report, cwd=tmp_path, path=str(ROOT / "src"))
    assert told.splitlines()[-1].strip() == "loaded:"
