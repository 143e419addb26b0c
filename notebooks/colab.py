"""Writes the repository's GitHub address into the lessons, and prepares a machine of Colab or Kaggle for them.

The address is kept in ``colab.txt``. The lessons' setup cells, their badges and the README repeat it; this script,
``make colab REPO=owner/name``, replaces the address they have by the new one, as often as it is run. A setup cell
clones the repository and calls ``prepare``.
"""

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ADDRESS = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}/(?!\.{1,2}$)(?!.*\.git$)[A-Za-z0-9._-]{1,100}")


def stamp(repo, folder=HERE):
    """Replaces the address in ``folder/colab.txt`` by ``repo``, everywhere it is repeated.

    Args:
        repo: ``"owner/name"`` as GitHub spells it.
        folder: the folder of the lessons; the README is looked for beside it.

    Returns:
        The paths of the files that changed.

    Raises:
        ValueError: ``repo`` is not of that form; nothing is changed.
    """
    if not ADDRESS.fullmatch(repo):
        raise ValueError(f"REPO must look like owner/name, got {repo!r}; for example: make colab REPO=ada/segmentation")
    kept = folder / "colab.txt"
    old = re.compile(rf"(?<![\w.-]){re.escape(kept.read_text().strip())}(?![\w-]|\.(?!git\b)\w)")
    changed = []
    notebooks = sorted([*folder.glob("*.ipynb"), *folder.glob("[!.]*/*.ipynb")])  # lessons, and their exercises
    for path in [*notebooks, folder.parent / "README.md", kept]:  # colab.txt last: safe to re-run
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if (new := old.sub(repo, text)) != text:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def prepare(root=HERE.parent):
    """Brings a cloned course up to date and installs what the lessons need and this machine lacks.

    Every package that is there keeps its version, but for those that ``requirements-colab.txt`` names: other notebooks,
    and the packages that this kernel has imported, count on them. So the kernel need not be restarted. Where nothing is
    missing, nothing is installed, and no network is needed.

    Args:
        root: the folder of the clone.

    Raises:
        SystemExit: the packages cannot be installed; the message ends with what pip said.
    """
    print("preparing this machine for the course...", flush=True)
    if "seglib" not in sys.modules and _run("git", "-C", root, "pull", "-q", "--ff-only") is not None:
        print(f"{root} was not updated: where this notebook is newer, delete that folder and run this cell again")
    requirements = root / "requirements-colab.txt"
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept.txt"
        kept.write_text("\n".join(_installed_except(names(requirements))), encoding="utf-8")
        error = _run(sys.executable, "-m", "pip", "install", "-q", "-r", requirements, "-c", kept)
    if error is not None:
        sys.exit(f"{requirements.name} could not be installed; is the network on? pip says: {error}")
    importlib.invalidate_caches()


def _run(*command):
    """None, or what a command that failed says is wrong: its first line of stderr that is an error, else the last."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    lines = done.stderr.strip().splitlines() or [""]
    return next((line for line in lines if line.startswith("ERROR")), lines[-1]) if done.returncode else None


def names(requirements):
    """The names of the packages in a file of requirements, normalised."""
    lines = (line.partition("#")[0] for line in requirements.read_text(encoding="utf-8").splitlines())
    return {normalise(found[0]) for line in lines if (found := re.match(r"[\w.-]+", line.strip()))}


def normalise(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed_except(names):
    """A line ``name==version`` for each package that is installed here, without ``names``."""
    found = {}
    for package in importlib.metadata.distributions():  # of two with one name, the first is the one that is imported
        if package.name:
            found.setdefault(normalise(package.name), package.version)
    plain = re.compile(r"\d+(\.\d+)*((a|b|rc|\.?post|\.?dev)\d+)*(\+[\w.]+)?")  # what pip accepts; Debian's may not be
    return [f"{name}=={version}" for name, version in found.items() if name not in names and plain.fullmatch(version)]


def main(argv=None, folder=HERE):
    """The command line: one address; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        changed = stamp(arguments[0] if len(arguments) == 1 else "", folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments[0]}: {len(changed)} files changed" if changed else f"{arguments[0]}: already everywhere")
    return 0


if __name__ == "__main__":
    sys.exit(main())
