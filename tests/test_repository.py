"""Rules of the repository that a reviewer would otherwise check by eye: notebooks, files, and who imports whom."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pytest
from floor_plan import ROOMS, draw, find_imports

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
def test_a_cell_that_loads_data_is_not_compared(path):
    """Where the data are not yet on the disk it says that it draws them."""
    for cell in read_code(path):
        loads = re.search(r"^\S.*\bdata\.load\(", cell.source, re.MULTILINE)  # not inside a function
        assert not loads or not is_compared(cell), cell.source


@every_notebook
def test_code_cells_are_short(path):
    for cell in read_code(path):
        assert len(cell.source.splitlines()) <= 30, cell.source


@every_notebook
def test_no_more_than_three_code_cells_in_a_row(path):
    kinds = "".join(cell.cell_type[0] for cell in nbformat.read(path, as_version=4).cells)
    assert "cccc" not in kinds, kinds


@every_notebook
def test_notebook_links_to_itself_on_colab_and_kaggle(path):
    address = (ROOT / "notebooks" / "colab.txt").read_text().strip()
    first = nbformat.read(path, as_version=4).cells[0].source
    links = re.findall(r"\((https://[^\s)]+)\)(?= |$)", first, re.MULTILINE)
    page = f"{address}/blob/main/notebooks/{path.name}"
    assert links == [
        f"https://colab.research.google.com/github/{page}",
        f"https://kaggle.com/kernels/welcome?src=https://github.com/{page}",
    ]


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


FREE = sys.stdlib_module_names | {"numpy"}


def check_imports(name, source, package="seglib"):
    """What is wrong with the imports of one file of the room ``name``, as sentences, and the rooms that it imports."""
    if name not in ROOMS:
        return [f"seglib.{name} is not in the floor plan"], set()
    room, wrong, used = ROOMS[name], [], set()
    for imported, at_top in find_imports(ast.parse(source), package):
        first, _, rest = imported.partition(".")
        other = rest.partition(".")[0]
        if first != "seglib":
            if at_top and first not in FREE | {*room.heavy.split()}:
                wrong.append(f"{name} imports {first} at its top")
        elif other not in ROOMS:
            if other and not other.startswith("__"):
                wrong.append(f"{name} imports seglib.{other}, which is not in the floor plan")
        elif other != name:
            used.add(other)
            if ROOMS[other].floor >= room.floor:
                wrong.append(f"{name} imports {other}, which is not on a lower floor")
            elif other not in room.uses.split():
                wrong.append(f"{name} imports {other}, which the floor plan does not say")
    return wrong, used


def test_imports_are_those_of_the_floor_plan():
    wrong, used = [], {name: set() for name in ROOMS}
    for path in SOURCES:
        parts = path.relative_to(ROOT / "seglib").with_suffix("").parts
        if parts == ("__init__",):
            continue
        found, others = check_imports(parts[0], path.read_text(encoding="utf-8"), ".".join(["seglib", *parts[:-1]]))
        wrong += [f"{path.relative_to(ROOT)}: {sentence}" for sentence in found]
        used.setdefault(parts[0], set()).update(others)
    assert not wrong
    assert {name: sorted(others) for name, others in used.items()} == {
        name: sorted(room.uses.split()) for name, room in ROOMS.items()
    }


def test_the_picture_of_the_floor_plan_is_of_today():
    assert (ROOT / "seglib" / "floor_plan.svg").read_text(encoding="utf-8") == draw()
    assert "seglib/floor_plan.svg" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("data", "from seglib import labels\nfrom seglib.datasets import streets", ""),
        ("data", "def f():\n    from seglib import viz", "does not say"),
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
        ("predict", "from seglib import models", "does not say"),
        ("data", "import seglib.helpers", "not in the floor plan"),
        ("helpers", "", "not in the floor plan"),
    ],
)
def test_check_imports(name, source, message):
    wrong, _ = check_imports(name, source, "seglib.datasets" if name == "datasets" else "seglib")
    assert message in wrong[0] if message else not wrong


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("seglib", "tensorflow tensorflow_datasets keras matplotlib scipy PIL"),
        ("seglib.labels", "tensorflow tensorflow_datasets keras matplotlib scipy PIL"),
        ("seglib.class_balance", "tensorflow tensorflow_datasets keras matplotlib scipy PIL"),
        ("seglib.images", "tensorflow tensorflow_datasets keras matplotlib scipy"),
        ("seglib.data", "matplotlib seglib.viz seglib.doctor pycocotools"),
        ("seglib.train", "matplotlib seglib.viz tensorflow_datasets"),
    ],
)
def test_a_module_works_where_what_it_must_not_import_is_missing(module, absent):
    script = f"import sys; sys.modules.update(dict.fromkeys({absent.split()!r})); import {module}"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


# What is installed, and what the documentation says


def test_the_package_and_the_course_want_the_same_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    packaged = [*project["dependencies"], *(extras["course"] + extras["export"] + extras["coco"])]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines]
    assert sorted(line for line in wanted if line) == sorted(x for x in packaged if not x.startswith("seglib"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "seglib").as_posix())
def test_examples_run(path):
    if ">>>" not in path.read_text(encoding="utf-8"):
        return
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0 < result.attempted


def test_no_docstring_sends_the_reader_elsewhere():
    elsewhere = re.compile(r"(arguments?|parameters|errors|result)[^.]{0,30} (are|is) (those|that) of", re.I)
    found = [f"{path.name}: {m[0]}" for path in SOURCES for m in elsewhere.finditer(path.read_text(encoding="utf-8"))]
    assert not found
