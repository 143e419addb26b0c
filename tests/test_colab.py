"""What Colab and Kaggle meet: the first cell of every lesson, ``colab.prepare``, and the list of what Colab has."""

import ast
import functools
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import colab
import nbformat
import pytest
import rehearsal
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read_code(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


SETUP = read_code(NOTEBOOKS[0])[0]
ADDRESS = (ROOT / "notebooks" / "colab.txt").read_text().strip()


# The first cell


def run_setup(folder, source, times=1, on="google.colab", **env):
    """Runs the cell in an empty folder as Colab or Kaggle does; returns the process, which printed sys.path."""
    script = "import sys\n" + (f"sys.modules[{on!r}] = sys\n" if on else "")
    script += f"source, = sys.argv[1:]\nfor _ in range({times}): exec(source)\nprint(sys.path)"
    ours = ("PYTHONPATH", "KAGGLE_KERNEL_RUN_TYPE")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | env
    command = [sys.executable, "-c", script, source]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def redirect(folder):
    """The variables by which git clones ``folder`` instead of the course on GitHub."""
    key = f"url.{folder.as_uri()}.insteadOf"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": "https://github.com/ada/course"}


@pytest.fixture
def stamped():
    return SETUP.replace(ADDRESS, "ada/course")


@pytest.fixture
def published(tmp_path):
    """A course on GitHub that needs nothing but packaging."""
    folder = tmp_path / "published"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "colab.py").write_bytes((ROOT / "notebooks" / "colab.py").read_bytes())
    (folder / "requirements-colab.txt").write_text("packaging>=1  # there already\n")
    commit(folder, "init", "-q")
    return folder


def commit(folder, *before):
    git = ["git", "-c", "user.name=ada", "-c", "user.email=ada@localhost", "-c", "commit.gpgsign=false"]
    for command in ([*before], ["add", "-A"], ["commit", "-q", "-m", "A course"]):
        if command:
            subprocess.run([*git, *command], cwd=folder, check=True)


@pytest.fixture
def content(tmp_path):
    """The empty folder in which a notebook starts."""
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


def replace_pip(content):
    """Puts a module that does nothing where ``python -m pip`` looks first."""
    (content / "pip.py").write_text("")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_lessons_have_the_same_first_cell_with_the_stamped_address(path):
    assert read_code(path)[0] == SETUP
    assert f'"https://github.com/{ADDRESS}"' in SETUP and len(SETUP.splitlines()) <= 20


def test_elsewhere_the_first_cell_does_nothing(content, stamped):
    done = run_setup(content, stamped, on="")
    assert done.returncode == 0 and done.stderr == "" and not list(content.iterdir())
    assert str(content) not in done.stdout


def test_an_address_that_is_not_stamped_is_one_sentence(content):
    done = run_setup(content, SETUP.replace(ADDRESS, "OWNER/NAME"))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "make colab REPO=owner/name" in done.stderr and not list(content.iterdir())


def test_a_clone_that_fails_is_one_sentence(content, stamped, tmp_path):
    done = run_setup(content, stamped, **redirect(tmp_path / "nowhere"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "https://github.com/ada/course" in done.stderr and "network" in done.stderr and "fatal" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("on", [{"on": "google.colab"}, {"on": "", "KAGGLE_KERNEL_RUN_TYPE": "Interactive"}])
def test_the_first_cell_runs_twice(content, stamped, published, on):
    if not on["on"]:  # once with pip is enough
        replace_pip(content)
    done = run_setup(content, stamped, times=2, **on, **redirect(published))
    assert done.returncode == 0 and done.stderr == ""
    course = content / "course"
    *_, shown = done.stdout.splitlines()
    assert ast.literal_eval(shown)[:2] == [str(course), str(course / "notebooks")]
    assert shown.count(str(course / "notebooks")) == 1 and "not updated" not in done.stdout


@pytest.mark.slow
def test_a_clone_that_is_older_than_the_notebook_is_brought_up_to_date(content, stamped, published, tmp_path):
    replace_pip(content)
    assert run_setup(content, stamped, **redirect(published)).returncode == 0
    (published / "new.txt").write_text("new\n")
    commit(published)
    assert run_setup(content, stamped, **redirect(published)).returncode == 0
    assert (content / "course" / "new.txt").exists()

    done = run_setup(content, stamped, **redirect(tmp_path / "nowhere"))  # no network: it goes on, and says so
    assert done.returncode == 0 and done.stderr == ""
    assert f"{content / 'course'} was not updated" in done.stdout and "delete that folder" in done.stdout


# What it installs


@pytest.fixture
def course_folder(tmp_path):
    (tmp_path / "requirements-colab.txt").write_text("numpy>=1,<99  # why\n\n# text\nimportlib_resources\n")
    return tmp_path


def test_prepare_lets_pip_change_only_what_the_file_names(course_folder, monkeypatch):
    seen = []

    def run(*command):
        seen.append((command, Path(command[-1]).read_text() if "pip" in command else ""))

    monkeypatch.setattr(colab, "_run", run)
    colab.prepare(course_folder)
    (command, kept) = seen[-1]
    assert command[-4:-1] == ("-r", course_folder / "requirements-colab.txt", "-c")
    lines = kept.splitlines()
    assert f"keras=={importlib.metadata.version('keras')}" in lines
    assert not [line for line in lines if line.startswith(("numpy==", "importlib-resources=="))]


def test_prepare_says_in_a_sentence_that_pip_failed(course_folder, monkeypatch):
    monkeypatch.setattr(colab, "_run", lambda *command: "ERROR: no such thing" if "pip" in command else None)
    with pytest.raises(SystemExit, match=r"requirements-colab.txt .* network .*ERROR: no such thing"):
        colab.prepare(course_folder)


def test_the_error_of_pip_is_the_line_that_says_what_is_wrong():
    script = "import sys; sys.exit('WARNING: slow\\nERROR: Cannot install a and b\\nERROR: see the page on conflicts')"
    assert colab._run(sys.executable, "-c", script) == "ERROR: Cannot install a and b"
    assert colab._run(sys.executable, "-c", "import sys; sys.exit('one\\ntwo')") == "two"
    assert colab._run(sys.executable, "-c", "") is None


def test_prepare_does_not_update_a_course_that_is_in_use(course_folder, monkeypatch):
    seen = []
    monkeypatch.setattr(colab, "_run", lambda *command: seen.append(command[0]))
    monkeypatch.setitem(sys.modules, "seglib", sys)
    colab.prepare(course_folder)
    assert seen == [sys.executable]


def test_versions_that_pip_does_not_accept_are_not_kept(monkeypatch):
    class Package:
        def __init__(self, name, version):
            self.name, self.version = name, version

    packages = [Package("Some_One", "1.0+cu128"), Package("some-one", "0.9"), Package("debian", "2.3.0ubuntu2.1")]
    monkeypatch.setattr(colab.importlib.metadata, "distributions", lambda: [*packages, Package(None, "1")])
    assert colab._installed_except({"other"}) == ["some-one==1.0+cu128"]


# What Colab has, against what the course imports


def find_imports(source):
    """The first names of all modules that a source imports, lines of a notebook's own syntax left out."""
    lines = ("pass" if line.lstrip().startswith(("!", "%")) else line for line in source.splitlines())
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def read_imports():
    """Mapping from each module that a lesson imports, by itself or through ``seglib``, to a file that imports it.

    Without ``seglib.demo`` and ``seglib.predict.cluster``, which no lesson imports.
    """
    sources = {path.name: source for path in NOTEBOOKS for source in ["\n".join(read_code(path))]}
    own = [ROOT / "notebooks" / f"{name}.py" for name in ("lesson", "diagrams", "colab")]
    ours = [*own, *(path for path in (ROOT / "seglib").rglob("*.py") if path.parent.name != "demo")]
    ours = [path for path in ours if path.name != "cluster.py"]
    sources |= {f"{path.parent.name}/{path.name}": path.read_text(encoding="utf-8") for path in ours}
    known = {*sys.stdlib_module_names, "seglib", "lesson", "diagrams", "colab", "google"}
    return {name: path for path, source in sources.items() for name in find_imports(source) if name not in known}


@functools.cache
def find_owners():
    return importlib.metadata.packages_distributions()


def find_lacking(imports, packages):
    """What a machine with these packages lacks, as sentences."""
    owners = find_owners()
    return [
        f"{path} imports {name}, which Colab lacks and requirements-colab.txt too"
        for name, path in imports.items()
        if not packages & {colab.normalise(owner) for owner in owners.get(name, [name])}
    ]


def test_colab_has_or_installs_all_that_the_lessons_import():
    packages = set(rehearsal.read_versions(rehearsal.LIST)) | colab.names(ROOT / "requirements-colab.txt")
    assert not find_lacking(read_imports(), packages)
    assert {"keras", "keras_cv", "PIL", "onnxruntime", "tensorflow_datasets", "IPython"} <= set(read_imports())
    for name, module in {"keras-cv": "keras_cv", "pillow": "PIL", "tf2onnx": "tf2onnx"}.items():
        (sentence,) = find_lacking(read_imports(), packages - {name})
        assert f"imports {module}," in sentence
    assert len(find_lacking({"sewing": "a.py"}, packages)) == 1


def find_unmet(requirements, versions, installed):
    """The requirements that neither Colab's versions nor the same requirement of the setup cell meets."""
    installed = {(colab.normalise(one.name), one.specifier) for one in installed}
    unmet = []
    for one in requirements:
        name = colab.normalise(one.name)
        if (name, one.specifier) not in installed and not one.specifier.contains(versions.get(name, "0")):
            unmet.append(f"{one}: Colab has {versions.get(name, 'none')}; requirements-colab.txt installs no such one")
    return unmet


def test_colab_has_or_installs_what_the_package_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    audited = [line for line in extras["course"] if line.startswith("keras-cv")]  # the others are tools of `make`
    wanted = [*map(Requirement, project["dependencies"] + extras["coco"] + extras["export"] + audited)]
    lines = (ROOT / "requirements-colab.txt").read_text(encoding="utf-8").splitlines()
    installed = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    versions = rehearsal.read_versions(rehearsal.LIST)
    assert not find_unmet(wanted, versions, installed)
    assert len(find_unmet(wanted, versions | {"keras": "3.0"}, installed)) == 1
    (sentence,) = find_unmet(wanted, versions, [one for one in installed if one.name != "importlib_resources"])
    assert sentence.startswith("importlib_resources>=") and "none" in sentence


def test_update_writes_the_list_of_a_new_freeze(tmp_path, capsys):
    kept, freeze = tmp_path / "kept.txt", tmp_path / "pip-freeze.txt"
    kept.write_text("# old\nkeras==3.13.2\nimportlib-resources==6.4.0\ntensorflow==2.20.0\n")
    wheel = "torch @ https://download.pytorch.org/whl/cu128/torch-2.11.0%2Bcu128-cp313-cp313-linux.whl"
    freeze.write_text(f"# new\nKeras==3.14.0\ngoogle-colab @ file:///dist/google-colab-1.0.0.tar.gz\n{wheel}\n")
    with pytest.raises(SystemExit, match="no line tensorflow"):
        rehearsal.update(freeze, kept)
    freeze.write_text(freeze.read_text() + "tensorflow==2.20.0\n")
    rehearsal.update(freeze, kept)
    assert rehearsal.read_versions(kept) == {"keras": "3.14.0", "tensorflow": "2.20.0", "torch": "2.11.0"}
    printed = capsys.readouterr().out
    assert "keras 3.13.2 → 3.14.0" in printed and "importlib-resources 6.4.0 → not there" in printed
