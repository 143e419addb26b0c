"""The course's commands for a machine without make, such as one with Windows; the Makefile calls them, too.

    python make.py setup            # installs everything into .venv
    python make.py course           # runs the lessons and writes build/course/index.html (course --only 04: one)
    python make.py site             # writes the same pages from the outputs as committed, into build/site
    python make.py test             # lint, unit tests and the notebooks' outputs
    python make.py check            # lint and the fast unit tests
    python make.py lint             # style and formatting
    python make.py assignments      # lays the exercises out for nbgrader in build/assignments
    python make.py slides           # writes slides of the lessons' marked figures to build/slides
    python make.py pytest …         # some tests, as the others run them: pytest tests/test_crf.py

`course` heeds the environment variables KERAS_BACKEND (tensorflow, jax or torch) and SEGLIB_DATASET, which make's
BACKEND and DATASET set. Each command sets up .venv first if that is missing or older than the requirements. Only
Python's own library is needed here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# PYTHONUTF8: "≥" is written to files and pipes, whatever a system's own encoding is.
ENV = {"PYTHONUTF8": "1", "PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")}
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def find_python(folder):
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def setup(folder, pins, needs):
    """Installs ``needs`` in the versions of ``pins`` into a new environment, unless one is there that is newer."""
    files = [ROOT / name for name in (*needs, pins, "pyproject.toml")]
    stamp = folder / ".installed"
    if stamp.exists() and stamp.stat().st_mtime >= max(file.stat().st_mtime for file in files):
        return
    if not (3, 11) <= sys.version_info < (3, 14):
        sys.exit(
            f"this course needs Python 3.11, 3.12 or 3.13, and {sys.executable} is {sys.version.split()[0]}\n"
            "name another one, for example: make setup PYTHON=python3.12, on Windows: py -3.12 make.py setup"
        )
    print(f"setting up {folder.name} from {pins} (1-3 minutes)...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    install = [find_python(folder), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    run(*install, *(part for name in needs for part in ("-r", ROOT / name)), "-c", ROOT / pins)
    run(*install, "--no-deps", "-e", ROOT)
    stamp.touch()
    print(f"{folder.name} is ready")


def run(*command, **env):
    """Runs a command in the repository's folder, and ends with its exit code if it fails."""
    code = subprocess.run([*map(str, command)], cwd=ROOT, env={**os.environ, **ENV, **env}).returncode
    if code:
        sys.exit(code)


def lint(python):
    """Ruff: style and formatting, notebooks included."""
    run(python, "-m", "ruff", "check", "-q", ".")
    run(python, "-m", "ruff", "format", "-q", "--check", ".")
    print("lint: no findings", flush=True)


def pytest(python, *arguments):
    """Two files of tests at a time, with one thread of every library each."""
    settings = {**dict.fromkeys(THREADS, "1"), "SEGLIB_PROFILE": "cpu", "SEGLIB_DATASET": "", "SEGLIB_RUNS": ""}
    run(python, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *arguments, **settings)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = "setup", "course", "site", "test", "check", "lint", "assignments", "slides", "pytest"
    parser.add_argument("command", choices=commands)
    parser.add_argument("more", nargs=argparse.REMAINDER, help="for course.py or pytest")
    parser.add_argument("--venv", default=".venv", help="the folder of the environment")
    parser.add_argument("--pins", default="constraints.txt", help="the file of exact versions")
    parser.add_argument("--needs", default="requirements.txt requirements-test.txt", help="the files of requirements")
    options = parser.parse_args(argv)
    python = find_python(ROOT / options.venv)
    setup(ROOT / options.venv, options.pins, options.needs.split())
    if options.command == "course":
        run(python, "notebooks/course.py", *options.more)
    elif options.command == "site":
        run(python, "notebooks/course.py", "--pages", *options.more)
    elif options.command == "assignments":
        run(python, "notebooks/editions.py", "assignments")
    elif options.command == "slides":
        run(python, "notebooks/slides.py")
    elif options.command == "pytest":
        pytest(python, *options.more)
    elif options.command != "setup":
        lint(python)
    if options.command == "check":
        pytest(python, "-m", "not slow and not long", "tests")
    elif options.command == "test":
        print("unit tests and the notebooks' outputs...", flush=True)
        pytest(python, "-m", "not long", "tests", "--nbval", "--nbval-current-env", "notebooks")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
