"""The commands without make, with programs that only say that they ran."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """A copy of make.py in a folder of its own, and the commands that it runs; a command that names "bad" fails."""
    for name in ("make.py", "requirements.txt", "requirements-test.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "make", raising=False)
    import make

    commands = []

    def run(command, cwd, env):
        commands.append((" ".join(command).replace(str(tmp_path), "."), env))
        return SimpleNamespace(returncode=3 if any(Path(part).name == "bad" for part in command) else 0)

    monkeypatch.setattr(make.subprocess, "run", run)
    monkeypatch.setattr(make.venv, "create", lambda folder, with_pip: folder.mkdir())
    yield SimpleNamespace(main=make.main, commands=commands, folder=tmp_path)
    del sys.modules["make"]


def test_it_installs_once_and_again_when_the_requirements_change(ran):
    ran.main(["setup"])
    packages, itself = (command for command, _ in ran.commands)
    assert packages.endswith("-r ./requirements.txt -r ./requirements-test.txt -c ./constraints.txt")
    assert itself.endswith("install --no-deps -e .")
    ran.main(["setup"])
    assert len(ran.commands) == 2
    later = (ran.folder / ".venv" / ".installed").stat().st_mtime + 1
    os.utime(ran.folder / "constraints.txt", (later, later))
    ran.main(["--venv", ".venv", "--needs", "requirements.txt", "setup"])
    assert len(ran.commands) == 4 and "requirements-test.txt" not in ran.commands[2][0]


def test_an_installation_that_failed_is_not_taken_for_one(ran):
    (ran.folder / "bad").touch()
    with pytest.raises(SystemExit) as ended:
        ran.main(["--needs", "bad", "setup"])
    assert ended.value.code == 3
    assert not (ran.folder / ".venv" / ".installed").exists()


def test_other_pythons_are_refused(ran, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit, match="needs Python 3.11, 3.12 or 3.13.*\n.*make setup PYTHON=.*py -3.12 make.py"):
        ran.main(["setup"])
    assert not (ran.folder / ".venv").exists()


def test_each_command_runs_what_it_names(ran):
    ran.main(["setup"])
    del ran.commands[:]
    ran.main(["course", "--only", "04"])
    ran.main(["site"])
    ran.main(["assignments"])
    ran.main(["slides"])
    ran.main(["check"])
    ran.main(["test"])
    python = "./.venv/Scripts/python.exe" if os.name == "nt" else "./.venv/bin/python"
    tests = f"{python} -m pytest -q -n 2 --dist loadfile -m"
    lint = [f"{python} -m ruff check -q .", f"{python} -m ruff format -q --check ."]
    assert [command for command, _ in ran.commands] == [
        f"{python} notebooks/course.py --only 04",
        f"{python} notebooks/course.py --pages",
        f"{python} notebooks/editions.py assignments",
        f"{python} notebooks/slides.py",
        *lint,
        f"{tests} not slow and not long tests",
        *lint,
        f"{tests} not long tests --nbval --nbval-current-env notebooks",
    ]
    env = ran.commands[-1][1]
    assert (env["SEGLIB_PROFILE"], env["SEGLIB_RUNS"], env["OMP_NUM_THREADS"]) == ("cpu", "", "1")


def test_a_command_that_fails_ends_with_its_code(ran):
    ran.main(["setup"])
    with pytest.raises(SystemExit) as ended:
        ran.main(["pytest", "bad"])
    assert ended.value.code == 3


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("target", ["setup", "site", "test", "check", "lint", "assignments", "slides"])
def test_make_calls_them(target, monkeypatch):
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # what `make test` hands to a make within it
        monkeypatch.delenv(name, raising=False)
    command = ["make", "--dry-run", target, "VENV=elsewhere"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "make.py --venv elsewhere " in printed and printed.split()[-1] == target
