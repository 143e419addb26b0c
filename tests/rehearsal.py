"""Runs every lesson as Colab does, from its own first cell on an empty machine: ``make test-colab``.

    python tests/rehearsal.py                           # shortened trainings, two lessons at a time
    python tests/rehearsal.py --full --only 04          # one lesson as it is
    python tests/rehearsal.py --update pip-freeze.txt   # a new list of what Colab has; then commit it

``.venv-colab`` holds the packages of ``constraints-colab.txt`` that the course uses, and nothing else. Each lesson gets
an empty working folder, a layer over ``.venv-colab`` into which its setup cell installs, and a stand-in for
``google.colab``, which is empty. The clone of the stamped address is redirected to this checkout as it is, uncommitted
changes included. Not rehearsed: a GPU, Colab's page, Drive, and Colab's packages that the course does not use.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

import colab  # noqa: E402
from course import LESSONS  # noqa: E402

LIST = ROOT / "constraints-colab.txt"
REPLICA = ROOT / ".venv-colab"
PYTHONS = ("3.13", "3.12", "3.11")  # Colab's first
AT_ONCE = 2
STEPS = "2"
CELL_SECONDS = 900
HEADER = """# What Colab has before a notebook installs anything; `make test-colab` builds an environment from it.
# `python tests/rehearsal.py --update FREEZE` wrote this from googlecolab/backend-info's pip-freeze.txt.
"""


# What Colab has


def read_versions(path):
    """Mapping from the normalised names of a freeze to their versions; what was built from a folder is left out."""
    # A line is name==1.0 or name @ https://.../name-1.0-py3.whl
    line = re.compile(r"^([\w.-]+)(?:==| @ \S+/[\w.-]+?-)(\d[\w.!+]*)", re.MULTILINE)
    found = line.findall(path.read_text(encoding="utf-8"))
    return {colab.normalise(name): version for name, version in found if not version.endswith(".gz")}


def used_packages():
    """The packages of ``requirements.txt`` that Colab has, and its kernel."""
    return sorted((colab.names(ROOT / "requirements.txt") | {"ipykernel", "ipython"}) & set(read_versions(LIST)))


def update(freeze, path=LIST):
    """Writes the list of what Colab has from a freeze, and says what came, went and changed."""
    old, new = read_versions(path), read_versions(freeze)
    if "tensorflow" not in new:
        raise SystemExit(f"{freeze} has no line tensorflow==...; wanted: pip-freeze.txt of googlecolab/backend-info")
    path.write_text(HEADER + "".join(f"{name}=={new[name]}\n" for name in sorted(new)), encoding="utf-8")
    for name in sorted(old):
        if old[name] != new.get(name):
            print(f"{name} {old[name]} → {new.get(name, 'not there')}")
    print(f"{path.name}: {len(new)} packages; next: make test-colab")


# The environment


def find_python():
    """The interpreter for the replica: Colab's version where there is one, else the newest that the course knows."""
    for version in PYTHONS:
        kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        for command in (f"python{version}", *kept):
            path = shutil.which(command)
            if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
                if version != PYTHONS[0]:
                    print(f"no Python {PYTHONS[0]} here, which Colab has: Python {version} serves")
                return path
    raise SystemExit(f"no Python {', '.join(PYTHONS)} found; Colab has {PYTHONS[0]}")


def build_replica(python):
    """Makes ``.venv-colab`` if the list or the interpreter changed; returns its folder of packages."""
    stamp = REPLICA / "made-from.txt"
    wanted = f"{python}\n{used_packages()}\n{LIST.read_text(encoding='utf-8')}"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"setting up {REPLICA.name} from {LIST.name} (1-4 minutes)...", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", str(REPLICA)], check=True)
        run_python = [str(REPLICA / "bin" / "python"), "-m", "pip", "install", "-q", "-c", str(LIST)]
        done = subprocess.run([*run_python, *used_packages()], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{REPLICA.name} could not be set up; pip says:\n{done.stderr.strip()[-2000:]}")
    (packages,) = REPLICA.glob("lib/python*/site-packages")
    found = {colab.normalise(path.name.split("-")[0]) for path in packages.glob("*.dist-info")}
    if strange := found - set(read_versions(LIST)) - {"pip"}:
        raise SystemExit(f"not in {LIST.name}, but pulled in: {', '.join(sorted(strange))}; is the list complete?")
    stamp.write_text(wanted, encoding="utf-8")
    return packages


def publish(folder):
    """Makes a repository of this checkout's files; returns the variables by which git clones it instead of GitHub's."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        raise SystemExit(f"{ROOT} is no git checkout, so there is nothing to clone")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    address = (folder / "notebooks" / "colab.txt").read_text(encoding="utf-8").strip()
    if address == "OWNER/NAME":
        colab.stamp(address := "course/rehearsal", folder / "notebooks")
    git = ["git", "-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "The checkout as it is"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    redirected = {"KEY": f"url.{folder.as_uri()}.insteadOf", "VALUE": f"https://github.com/{address}"}
    return {"GIT_CONFIG_COUNT": "1", **{f"GIT_CONFIG_{name}_0": value for name, value in redirected.items()}}


def make_machine(folder, python, packages):
    """A machine for one lesson: its Python, which installs into itself and sees the replica, as a kernel of its own."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder / "layer")], check=True)
    (own,) = (folder / "layer").glob("lib/python*/site-packages")
    (own / "replica.pth").write_text(f"{packages}\n", encoding="utf-8")
    (own / "google" / "colab").mkdir(parents=True)
    (own / "google" / "colab" / "__init__.py").write_text('"""A stand-in."""\n', encoding="utf-8")
    kernel = [str(folder / "layer" / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.append("--IPKernelApp.exec_lines=import google.colab")  # as there: it is in sys.modules from the start
    spec = {"argv": kernel, "display_name": "Colab", "language": "python"}
    shown = folder.parent / "kernels" / folder.name
    shown.mkdir(parents=True)
    (shown / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    (folder / "content").mkdir()


# The lessons


async def run_lesson(path, folder, env, cell_seconds):
    """Executes a lesson on its machine; returns its seconds, and None or the failing cell, its source and the error."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    begun = []
    client = NotebookClient(
        notebook,
        kernel_name=folder.name,
        timeout=cell_seconds,
        startup_timeout=180,
        resources={"metadata": {"path": str(folder / "content")}},
        on_cell_start=lambda cell, **_: begun.append(cell) if cell.cell_type == "code" else None,
    )
    start, wrong = time.monotonic(), None
    try:
        await client.async_execute(env=env, stderr=subprocess.DEVNULL)
    except CellExecutionError as error:
        wrong = f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        wrong = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    seconds = time.monotonic() - start
    source = begun[-1].source if begun else "the kernel did not start"
    return seconds, wrong and (f"code cell {len(begun)} of {len(code)}", source, re.sub(r"\x1b\[[0-9;]*m", "", wrong))


async def rehearse(folder, env, python, packages, options):
    """Runs the lessons, two at a time, each on a machine of its own; returns rows (lesson, seconds, error)."""
    paths = sorted((folder / "published" / "notebooks").glob(LESSONS))
    paths = [path for path in paths if path.name.startswith(options.only or "")]
    if not paths:
        raise SystemExit(f"no lesson {options.only} in notebooks/; for example: --only 04")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(path):
        async with gate:
            machine = folder / path.stem
            machine.mkdir()
            await asyncio.to_thread(make_machine, machine, python, packages)
            seconds, wrong = await run_lesson(path, machine, env, None if options.full else CELL_SECONDS)
            shutil.rmtree(machine, ignore_errors=True)
            print(f"{path.stem}  {seconds:.0f} s  {'failed' if wrong else 'ran to its end'}", flush=True)
            return path.stem, seconds, wrong

    return await asyncio.gather(*map(one, paths))


def make_environment(redirection, folder, full):
    """The variables of a lesson: this machine's, without those that lead to the checkout or choose something."""
    ours = re.compile(r"PYTHON|SEGLIB_|KERAS_|JUPYTER|VIRTUAL_ENV|GIT_")
    env = {name: value for name, value in os.environ.items() if not ours.match(name)}
    env |= {"TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    return env | threads | redirection | ({} if full else {"SEGLIB_STEPS": STEPS})


def print_rows(rows):
    """The table, and where each failure was."""
    for name, seconds, wrong in rows:
        print(f"{name:24}{seconds:6.0f} s  {wrong[-1].splitlines()[0][:80] if wrong else 'ran to its end'}")
    for name, _, wrong in rows:
        if wrong:
            where, source, error = wrong
            print(f"\n{name}.ipynb, {where}, failed:\n\n{textwrap.indent(source, '    ')}\n\n{error}")
    failed = sum(wrong is not None for _, _, wrong in rows)
    print(f"\n{len(rows) - failed} passed, {failed} failed")
    return failed


def main(argv=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NUMBER", help="one lesson, for example 04 or A1")
    parser.add_argument("--full", action="store_true", help="trainings are not shortened")
    parser.add_argument("--update", metavar="FREEZE", type=Path, help="write the list of packages from this freeze")
    options = parser.parse_args(argv)
    if options.update:
        return update(options.update)
    python = find_python()
    packages = build_replica(python)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "published").mkdir()
        env = make_environment(publish(folder / "published"), folder, options.full)
        os.environ["JUPYTER_PATH"] = str(folder)
        start = time.monotonic()
        rows = asyncio.run(rehearse(folder, env, python, packages, options))
        failed = print_rows(rows)
        print(f"{time.monotonic() - start:.0f} s beside the installation of {REPLICA.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
