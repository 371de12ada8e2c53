"""The set-up says the same thing everywhere, and nothing in the repository belongs to one machine."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {
    *("README.md", "environment.yml", "artifact", "notebooks", "lambdascale", "traces", "results"),
    *("tests", "Makefile", "pyproject.toml", "LICENSE", ".gitignore", ".ci"),
}
FOREIGN = {
    "the address of a package index": r"https?://\S*(pypi|pythonhosted|/simple\b|/whl\b|conda\.)",
    "a home folder": r"/(home|Users)/(?!someone/)[A-Za-z0-9_.-]+/|/roo[t]/",
    "a token or a key": r"\b(hf|ghp|gho|glpat)[_-][A-Za-z0-9]{20,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\bsk-[A-Za-z0-9]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY",
}
MAX_NOTEBOOK_BYTES = 200_000


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared() -> list[str]:
    return [*project()["dependencies"], *project()["optional-dependencies"]["dev"]]


def pins() -> dict[str, str]:
    lines = (ROOT / "artifact/constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout: there is no list of committed files to look at")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    paths = [Path(name) for name in listing.stdout.split("\0") if name]
    return [path for path in paths if (ROOT / path).is_file()]


def test_the_conda_environment_lists_what_pyproject_declares() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert f"python{project()['requires-python']}" in conda
    packages = [line for line in pip["pip"] if not line.startswith("--")]
    assert sorted(packages) == sorted(declared())
    assert "--constraint artifact/constraints.txt" in pip["pip"]
    (ray,) = project()["optional-dependencies"]["cluster"]
    assert f"'{ray}'" in (ROOT / "environment.yml").read_text(encoding="utf-8")


def test_every_constraint_is_one_name_and_one_version() -> None:
    lines = (ROOT / "artifact/constraints.txt").read_text(encoding="utf-8").splitlines()
    wrong = [x for x in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", x)]
    assert wrong == []
    assert len(pins()) == len(lines)


def test_every_declared_dependency_is_pinned_to_a_version_it_allows() -> None:
    pinned = pins()
    extras = project()["optional-dependencies"]["cluster"]
    for requirement in map(Requirement, [*declared(), *extras]):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"pin {requirement.name} in artifact/constraints.txt"
        assert requirement.specifier.contains(version)


@pytest.mark.skipif(sys.platform != "linux", reason="pins are complete for Linux only")
def test_everything_that_the_dependencies_need_is_pinned() -> None:
    pinned, seen, queue = pins(), set(), [Requirement("lambdascale[dev]")]
    while queue:
        wanted = queue.pop()
        if (wanted.name, *sorted(wanted.extras)) in seen or wanted.name == "torch":
            continue  # what a build of torch needs differs between CPU and CUDA
        seen.add((wanted.name, *sorted(wanted.extras)))
        for line in requires(wanted.name) or ():
            needed = Requirement(line)
            extras = wanted.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                assert canonicalize_name(needed.name) in pinned, f"{wanted.name} needs {line}"
                queue.append(needed)
    assert len(seen) > 100


def test_the_top_level_holds_only_what_a_reader_expects() -> None:
    assert {path.parts[0] for path in tracked()} <= TOP_LEVEL


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_committed_file_holds(kind: str) -> None:
    found = [
        f"{path}:{number}"
        for path in tracked()
        if path.suffix not in {".png", ".pdf"}
        for number, line in enumerate((ROOT / path).read_text("utf-8").splitlines(), 1)
        if re.search(FOREIGN[kind], line)
    ]
    assert found == []


def test_the_scan_finds_what_it_looks_for() -> None:
    samples = {  # put together here, or the scan would find this file
        "the address of a package index": "https:" + "//example.org/simple/torch",
        "a home folder": "/".join(("", "home", "alice", "models")),
        "a token or a key": "hf" + "_" + "a1" * 16,
    }
    for kind, sample in samples.items():
        assert re.search(FOREIGN[kind], sample)


def test_committed_notebooks_stay_small() -> None:
    notebooks = [path for path in tracked() if path.suffix == ".ipynb"]
    large = [path for path in notebooks if (ROOT / path).stat().st_size > MAX_NOTEBOOK_BYTES]
    assert large == []


def test_make_help_lists_every_public_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True)
    listed = re.findall(r"^  make (\S+) +\S", shown.stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony.split())


def test_a_python_that_is_too_old_is_named_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    (tmp_path / "artifact").mkdir()
    for name in ("Makefile", "pyproject.toml", "artifact/constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    command = ["make", "-s", "setup", f"PYTHON={old}", "TORCH=pinned"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{old} is missing or older than 3.11" in done.stderr.splitlines()[0]
    assert not (tmp_path / ".venv").exists()
