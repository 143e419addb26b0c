"""Rules of the repository that a reviewer would otherwise check by eye: notebooks, files, and who imports whom."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = sorted((ROOT / "seglib").rglob("*.py"))
MEBIBYTE = 2**20

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# The notebooks


def read_code(path):
    """A notebook's code cells, without empty ones."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def is_printing(cell):
    """Whether a cell shows text: a figure alone is not compared by nbval and does not count."""
    kinds = [(output.output_type, output.get("name")) for output in cell.outputs]
    return ("stream", "stdout") in kinds or any(kind == "execute_result" for kind, _ in kinds)


def is_compared(cell):
    """Whether nbval compares what a cell shows."""
    tags = {tag.lower() for tag in cell.metadata.get("tags", [])}
    marks = re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_(IGNORE_OUTPUT|SKIP)", cell.source)
    return not tags & {"nbval-ignore-output", "nbval-skip"} and not marks


@every_notebook
def test_notebook_is_one_clean_run(path):
    code = read_code(path)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source


@every_notebook
def test_half_of_the_printing_cells_are_compared(path):
    printing = [cell for cell in read_code(path) if is_printing(cell)]
    compared = [cell for cell in printing if is_compared(cell)]
    assert 2 * len(compared) >= len(printing), f"{len(compared)} of {len(printing)}"


@every_notebook
def test_code_cells_are_short(path):
    for cell in read_code(path):
        assert len(cell.source.splitlines()) <= 30, cell.source


@every_notebook
def test_no_more_than_three_code_cells_in_a_row(path):
    kinds = "".join(cell.cell_type[0] for cell in nbformat.read(path, as_version=4).cells)
    assert "cccc" not in kinds, kinds


@every_notebook
def test_first_cell_fetches_the_course_on_colab_and_does_nothing_elsewhere(path):
    address = (ROOT / "notebooks" / "colab.txt").read_text().strip()
    setup = f"""import sys

if "google.colab" in sys.modules:  # elsewhere this cell does nothing
    !git clone -q --depth 1 https://github.com/{address} course
    sys.path.insert(0, "course")"""
    assert read_code(path)[0].source == setup


@every_notebook
def test_notebook_links_to_itself_on_colab(path):
    address = (ROOT / "notebooks" / "colab.txt").read_text().strip()
    links = re.findall(r"colab\.research\.google\.com/github/([^\s)\"\\]+)", path.read_text(encoding="utf-8"))
    assert links and set(links) == {f"{address}/blob/main/notebooks/{path.name}"}


# The files


def list_files():
    """The files that are, or are about to be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):  # a downloaded archive: everything that is not made by a command
        made = re.compile(r"(\.git|\.venv.*|build|data|\..*_cache|__pycache__|\.ipynb_checkpoints|.*\.egg-info)$")
        paths = [path for path in ROOT.rglob("*") if path.is_file()]
        return [path for path in paths if not any(made.match(part) for part in path.relative_to(ROOT).parts)]


def test_no_file_is_large():
    large = {path.name: path.stat().st_size for path in list_files() if path.stat().st_size > 2 * MEBIBYTE}
    assert not large


def test_no_file_names_a_folder_of_one_machine():
    host_path = re.compile(r"(?<![\w.)}\]~$-])/(work|home|root|tmp)/[\w.]+")
    found = []
    for path in list_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in host_path.finditer(text)]
    assert not found


# Who imports whom


class Module(NamedTuple):
    """A module's floor, and the heavy libraries that it may import at its top."""

    floor: int
    heavy: frozenset


def module(floor, heavy=""):
    return Module(floor, frozenset(heavy.split()))


FLOORS = {
    "__init__": module(0),
    "labels": module(0),
    "images": module(0, "PIL"),
    "layers": module(0, "keras"),
    "losses": module(0, "keras"),
    "class_balance": module(0),
    "metrics": module(0, "keras scipy"),
    "crf": module(0, "scipy"),
    "regions": module(0, "scipy"),
    "lesson": module(0),
    "datasets": module(1, "tensorflow tensorflow_datasets PIL"),
    "augment": module(1, "keras"),
    "models": module(1, "keras"),
    "viz": module(1, "matplotlib"),
    "data": module(2, "tensorflow tensorflow_datasets"),
    "train": module(2, "keras"),
    "predict": module(2, "keras PIL"),
    "export": module(2, "keras"),
    "demo": module(3, "keras PIL"),
    "__main__": module(3, "tensorflow tensorflow_datasets keras matplotlib scipy PIL"),
}
HANDED = {"train", "predict"}  # they are handed a model, and never build one
FREE = sys.stdlib_module_names | {"numpy"}


def find_imports(tree, package):
    """The dotted names that a file imports, each with whether that happens when the file itself is imported.

    Args:
        tree: the parsed file.
        package: the dotted name of the package it is in, for relative imports.
    """
    found = []

    def visit(node, at_top):
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "seglib" else [base]
            found.extend((name, at_top) for name in names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, at_top and not inside)

    visit(tree, True)
    return found


def check_imports(name, source, package="seglib"):
    """What is wrong with the imports of one file of the module ``name``, as sentences."""
    if name not in FLOORS:
        return [f"seglib.{name} is not in the table of floors"]
    wrong = []
    for imported, at_top in find_imports(ast.parse(source), package):
        first, _, rest = imported.partition(".")
        sibling = rest.partition(".")[0]
        if first != "seglib":
            if at_top and first not in FREE | FLOORS[name].heavy:
                wrong.append(f"{name} imports {first} at its top")
        elif sibling not in FLOORS:
            if sibling and not sibling.startswith("__"):
                wrong.append(f"{name} imports seglib.{sibling}, which is not in the table of floors")
        elif sibling != name and FLOORS[sibling].floor >= FLOORS[name].floor:
            wrong.append(f"{name} imports {sibling}, which is not on a lower floor")
        elif sibling == "models" and name in HANDED:
            wrong.append(f"{name} imports models, but it is handed its model")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "seglib").as_posix())
def test_imports_point_down(path):
    parts = path.relative_to(ROOT / "seglib").with_suffix("").parts
    package = ".".join(["seglib", *parts[:-1]])
    assert not check_imports(parts[0], path.read_text(encoding="utf-8"), package)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("data", "from seglib import labels, viz\nfrom seglib.datasets import streets", ""),
        ("datasets", "from seglib.datasets.pen import Pen\nfrom . import sky\nfrom .sky import sun", ""),
        ("datasets", "from .. import data", "not on a lower floor"),
        ("train", "def fit():\n    import tensorflow", ""),
        ("labels", "import json\nimport numpy as np", ""),
        ("labels", "import keras", "imports keras"),
        (
            "labels",
            "class A:\n    try:\n        from keras.utils import x\n    except ImportError: pass",
            "imports keras",
        ),
        ("viz", "from matplotlib import pyplot\nimport tensorflow as tf", "imports tensorflow"),
        ("images", "import cv2", "imports cv2"),
        ("layers", "def f():\n    from seglib.losses import dice", "not on a lower floor"),
        ("models", "from . import data", "not on a lower floor"),
        ("models", "from .viz import show", "not on a lower floor"),
        ("predict", "from seglib import train", "not on a lower floor"),
        ("predict", "from seglib import models", "handed its model"),
        ("data", "import seglib.helpers", "not in the table"),
        ("helpers", "", "not in the table"),
    ],
)
def test_check_imports(name, source, message):
    wrong = check_imports(name, source, "seglib.datasets" if name == "datasets" else "seglib")
    assert message in wrong[0] if message else not wrong


def test_importing_seglib_loads_nothing_heavy():
    heavy = {"tensorflow", "tensorflow_datasets", "keras", "matplotlib", "scipy", "PIL"}
    script = f"import seglib, sys; print(*({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not loaded.split()
