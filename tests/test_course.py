"""The runner of ``make course``, its pages, and the stamping of ``make colab``, tried on small lessons made here."""

import base64
import io
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

pytestmark = pytest.mark.slow

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

FIGURE = "from matplotlib import pyplot as plt\nplt.figure(figsize=(3, 2))\nplt.plot([1, 2, 4]);"
CLAIM = "print('claim: a U-Net beats <one> colour · wanted ≥ 0.2 · measured 0.412')"
LINKS = (
    "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/OWNER/NAME/blob/main/notebooks/01_good.ipynb) "
    "[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
    "(https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/NAME/blob/main/notebooks/01_good.ipynb)"
)


@pytest.fixture
def course(monkeypatch):
    monkeypatch.syspath_prepend(NOTEBOOKS)
    import course

    return course


@pytest.fixture
def no_pages(course, monkeypatch):
    """The course without Sphinx, which takes seconds, for the tests that do not read pages."""
    monkeypatch.setattr(course, "write_pages", lambda lessons, out, *_: out.mkdir(parents=True) or "")


@pytest.fixture
def colab(monkeypatch):
    monkeypatch.syspath_prepend(NOTEBOOKS)
    import colab

    return colab


@pytest.fixture
def folder(tmp_path):
    """An empty notebooks/ folder."""
    path = tmp_path / "notebooks"
    path.mkdir()
    return path


def write_lesson(folder, name, *cells):
    """Writes a notebook: a string that starts with "# " is a Markdown cell, any other a code cell."""
    made = [new_markdown_cell(c) if c.startswith("# ") else new_code_cell(c) for c in cells]
    nbformat.write(new_notebook(cells=made), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def test_course_writes_pages_and_table(course, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")  # figures are shown even where the reader's environment turns them off
    links = "[next](02_next.ipynb) and [data](../data/README.md)"
    text = f"# A *good* lesson\n{LINKS}\n\n$\\frac{{a}}{{b}}$, a `$5` note, {links}"
    good = write_lesson(folder, "01_good", text, FIGURE, CLAIM, "import os; print(os.path.basename(os.getcwd()))")
    write_lesson(folder, "02_next", "# Next", "1 + 1")
    before = good.read_bytes()
    out = tmp_path / "build" / "course"
    assert course.main([], folder, out) == 0

    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "≥ 0.2" in line)
    assert row.split()[0] == "01_good" and "a U-Net beats <one> colour" in row and row.endswith("0.412")
    assert "peak memory" in printed
    assert good.read_bytes() == before  # the committed notebook is not touched

    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    claim = {"claim": "a U-Net beats <one> colour", "wanted": "≥ 0.2", "measured": "0.412"}
    assert [lesson["claims"] for lesson in results["lessons"]] == [[claim], []]
    assert results["peak_bytes"] > 2**20 and results["seconds"] > 0

    index = (out / "index.html").read_text(encoding="utf-8")
    page = (out / "notebooks" / "01_good.html").read_text(encoding="utf-8")
    assert "A good lesson" in index and "beats &lt;one&gt; colour" in index and "0.412" in index
    assert "peak memory" in index and 'src="../_images/' in page
    assert r"\(\frac{a}{b}\)" in page and ">$5<" in page  # a formula is drawn by MathJax, code stays code
    assert 'href="02_next.html"' in page and "data/README" not in page  # a file that has no page is not linked
    assert "<span></span>notebooks\n" in page  # cwd is the notebooks' folder


def test_failing_cell_stops_the_course(course, folder, tmp_path, capsys):
    write_lesson(folder, "01_bad", "# Bad", "total = 1", "total / 0")
    later = write_lesson(folder, "02_later", "# Later", "open('ran', 'w').close()")
    assert course.main([], folder, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "01_bad.ipynb, code cell 2 of 2" in error
    assert "    total / 0" in error and "ZeroDivisionError: division by zero" in error
    assert "\x1b" not in error  # no colours where no terminal reads them
    assert not (later.parent / "ran").exists()
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "01_bad.ipynb, code cell 2 of 2, failed:" in index and "ZeroDivisionError: division by zero" in index
    assert "ZeroDivisionError" in (tmp_path / "out" / "notebooks" / "01_bad.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "notebooks" / "02_later.html").exists()  # as it was committed
    assert not (tmp_path / "out" / "results.json").exists()


def test_dead_kernel_is_reported(course, no_pages, folder, tmp_path, capsys):
    write_lesson(
        folder,
        "01_dead",
        "# Dead",
        "import os",
        "os.write(2, b'out of luck'), os._exit(9)",
    )
    assert course.main([], folder, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "01_dead.ipynb, code cell 2 of 2" in error and "kernel died" in error and "out of luck" in error


def test_logs_of_libraries_are_no_output(course, folder, tmp_path):
    path = write_lesson(folder, "01_log", "# Log", "import os\nos.write(2, b'I0000 a driver was not found')")
    assert course.main(["--save"], folder, tmp_path / "out") == 0
    assert [output.output_type for output in nbformat.read(path, as_version=4).cells[1].outputs] == ["execute_result"]


def test_walk_sets_the_gpu_profile_and_writes_nothing(course, folder, tmp_path, capsys):
    check = "import os\nassert (os.environ['SEGLIB_PROFILE'], os.environ['SEGLIB_STEPS']) == ('gpu', '2')"
    lesson = write_lesson(folder, "01_walk", "# Walk", check)
    before = lesson.read_bytes()
    assert course.main(["--walk"], folder, tmp_path / "out") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"
    assert lesson.read_bytes() == before and not (tmp_path / "out").exists()


def test_walk_counts_a_failure(course, folder, tmp_path, capsys):
    write_lesson(folder, "01_walk", "# Walk", "1 / 0")
    assert course.main(["--walk"], folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "0 passed, 1 failed" and "ZeroDivisionError" in printed.err


def test_lessons_run_under_the_chosen_backend(course, no_pages, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    write_lesson(folder, "01_one", "# One", "import keras\nassert keras.backend.backend() == 'jax'")
    assert course.main([], folder, tmp_path / "out") == 0


@pytest.mark.parametrize(("backend", "remedy"), [("jaks", "tensorflow, jax or torch"), ("torch", "pip install torch")])
def test_a_backend_that_is_not_there_is_refused_at_once(course, folder, tmp_path, monkeypatch, capsys, backend, remedy):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(course.importlib.util, "find_spec", lambda name: None)
    write_lesson(folder, "01_one", "# One", "open('one', 'w').close()")
    assert course.main([], folder, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert backend in error and remedy in error
    assert not (folder / "one").exists()


def test_only_runs_one_lesson(course, no_pages, folder, tmp_path):
    write_lesson(folder, "01_one", "# One", "open('one', 'w').close()")
    write_lesson(folder, "02_two", "# Two", "open('two', 'w').close()")
    assert course.main(["--only", "02"], folder, tmp_path / "out") == 0
    assert (folder / "two").exists() and not (folder / "one").exists()


def test_appendices_come_after_the_lessons_as_committed_and_the_glossary_has_a_page(course, folder, tmp_path):
    path = write_lesson(folder, "A1_own", "# A1 · Own data", "open('appendix', 'w').close()", CLAIM)
    committed = nbformat.read(path, as_version=4)
    printed = "claim: an appendix keeps its outputs · wanted ≥ 1 · measured 2.000\n"
    committed.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)]
    nbformat.write(committed, path)
    write_lesson(folder, "02_two", "# Two\n[mask](glossary.md#mask)", "1")
    (folder / "glossary.md").write_text('# Glossary\n\n- <a id="mask"></a>**Mask**: ids. [02](02_two.ipynb)\n')
    assert [lesson.name for lesson in course.read_lessons(folder)] == ["02_two", "A1_own"]
    assert course.main([], folder, tmp_path / "out") == 0
    assert not (folder / "appendix").exists()  # it is not run, and has a page all the same
    pages = tmp_path / "out" / "notebooks"
    assert "keeps its outputs" in (pages / "A1_own.html").read_text(encoding="utf-8")
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [lesson["lesson"] for lesson in results["lessons"]] == ["02_two"]
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert index.index("Two") < index.index("Own data") < index.index("glossary.html")
    assert "keeps its outputs" in index
    assert 'href="glossary.html#mask"' in (pages / "02_two.html").read_text(encoding="utf-8")
    glossary = (pages / "glossary.html").read_text(encoding="utf-8")
    assert 'id="mask"' in glossary and 'href="02_two.html"' in glossary


def test_only_runs_an_appendix_by_its_number(course, no_pages, folder, tmp_path):
    write_lesson(folder, "01_one", "# One", "open('one', 'w').close()")
    write_lesson(folder, "A1_own", "# Own", "open('own', 'w').close()")
    assert course.main(["--only", "A1"], folder, tmp_path / "out") == 0
    assert (folder / "own").exists() and not (folder / "one").exists()


@pytest.mark.parametrize("arguments", [[], ["--only", "07"], ["--walk"], ["--pages"]])
def test_no_lessons_is_an_error(course, folder, arguments, capsys):
    assert course.main(arguments, folder) == 1
    assert "no lesson" in capsys.readouterr().err


def test_save_writes_a_clean_run(course, folder, tmp_path):
    path = write_lesson(
        folder, "01_save", "# Save", "print('hello')", "import os\nos.environ['SEGLIB_PROFILE']", "6 * 7"
    )
    messy = nbformat.read(path, as_version=4)
    messy.cells[1].update(execution_count=17)
    kept = {"tags": ["nbval-ignore-output"], "alt": "a word", "slideshow": {"slide_type": "slide"}}
    messy.cells[1].metadata.update({**kept, "execution": {"iopub.status.busy": "2024"}, "scrolled": True})
    messy.metadata.update(
        {"widgets": {"state": {}}, "kernelspec": {"name": "my-venv", "display_name": "mine"}, "accelerator": "GPU"}
    )
    nbformat.write(messy, path)
    assert course.main(["--save"], folder, tmp_path / "out") == 0

    saved = nbformat.read(path, as_version=4)
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert code[0].outputs[0].text == "hello\n"
    assert code[1].outputs[0].data["text/plain"] == "'cpu'"  # what is committed was run with the small settings
    assert code[0].metadata == kept
    assert saved.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "accelerator": "GPU",
    }
    first = path.read_bytes()
    assert course.main(["--save"], folder, tmp_path / "out") == 0
    assert path.read_bytes() == first  # a second clean run changes nothing


def write_answered(folder, *cells):
    """A lesson of a title, the figure above as lessons have it, and other cells, the last of which is the answer."""
    hero = f"import sys\nsys.path.append({str(NOTEBOOKS)!r})\nimport lesson\nlesson.show_answer('made-here', 'streets')"
    path = write_lesson(folder, "01_good", "# A lesson", hero, *cells)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["tags"] = ["hero"]
    notebook.cells[-1].metadata["tags"] = ["answer"]
    nbformat.write(notebook, path)
    return path


def pixels(png):
    return np.array(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), int)


def test_the_answers_figure_stands_at_the_head(course, folder, tmp_path):
    path = write_answered(folder, FIGURE, FIGURE.replace("4", "5"))
    assert course.main(["--save"], folder, tmp_path / "out") == 0
    _, hero, first, answer = (cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)
    shown, wanted, other = (outputs[0]["data"]["image/png"] for outputs in (hero, answer, first))
    assert np.abs(pixels(shown) - pixels(wanted)).max() < 16 < np.abs(pixels(wanted) - pixels(other)).max()
    assert hero[0]["data"]["text/plain"] == "streets"
    assert (folder / "figures" / "01.png").read_bytes() == base64.b64decode(shown)  # what later runs show
    assert course.main([], folder, tmp_path / "out") == 0
    page = (tmp_path / "out" / "notebooks" / "01_good.html").read_text(encoding="utf-8")
    (first_image, *_) = re.findall(r"_images/\w+\.png", page)
    assert (tmp_path / "out" / first_image).read_bytes() == base64.b64decode(shown) and "show_answer" not in page


def test_a_head_without_a_figure_still_makes_a_page(course, folder, tmp_path):
    path = write_answered(folder, "1 + 1")
    assert course.main([], folder, tmp_path / "out") == 0
    assert course.main(["--save"], folder, tmp_path / "out") == 0
    assert pixels(nbformat.read(path, as_version=4).cells[1].outputs[0]["data"]["image/png"]).shape == (1, 1, 3)
    assert not (folder / "figures").exists()


def test_the_lessons_show_their_answers_small_and_without_attachments(course):
    for path in sorted(NOTEBOOKS.glob(course.LESSONS)):
        cells = nbformat.read(path, as_version=4).cells
        (hero,) = [cell for cell in cells if "hero" in cell.metadata.get("tags", [])]
        kept = (NOTEBOOKS / "figures" / f"{path.stem[:2]}.png").read_bytes()
        assert base64.b64decode(hero.outputs[0]["data"]["image/png"]) == kept, path.name
        assert f'lesson.show_answer("{path.stem[:2]}", "' in hero.source and len(kept) < 150_000, path.name
        assert not any("attachment" in cell.source or cell.get("attachments") for cell in cells), path.name


def test_save_refuses_stderr(course, folder, tmp_path, capsys):
    path = write_lesson(folder, "01_loud", "# Loud", "1", "import sys\nprint('a warning', file=sys.stderr)")
    before = path.read_bytes()
    assert course.main(["--save"], folder, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "01_loud.ipynb, code cell 2 of 2" in error and "a warning" in error
    assert path.read_bytes() == before


def make_stamped(folder):
    """A folder of one lesson that names the address three times, and a README."""
    setup = "if COLAB:\n    !git clone -q https://github.com/OWNER/NAME.git\n    %cd NAME"
    lesson = write_lesson(folder, "01_good", f"# Title\n{LINKS} OWNER/NAME-other OTHER-OWNER/NAME", setup)
    (folder / "colab.txt").write_text("OWNER/NAME\n")
    (folder.parent / "README.md").write_text("https://github.com/OWNER/NAME\n")
    return lesson


def test_colab_stamps_every_place_once(colab, folder):
    lesson = make_stamped(folder)
    assert colab.main(["ada/seg.course-2"], folder) == 0
    text = lesson.read_text(encoding="utf-8")
    assert "/github/ada/seg.course-2/blob/main/notebooks/01_good.ipynb" in text
    assert "src=https://github.com/ada/seg.course-2/blob/main/notebooks/01_good.ipynb" in text
    assert "https://github.com/ada/seg.course-2.git" in text
    assert "OWNER/NAME-other OTHER-OWNER/NAME" in text  # other repositories' addresses stay
    assert (folder / "colab.txt").read_text() == "ada/seg.course-2\n"
    assert (folder.parent / "README.md").read_text() == "https://github.com/ada/seg.course-2\n"

    files = [lesson, folder / "colab.txt", folder.parent / "README.md"]
    before = [path.read_bytes() for path in files]
    assert colab.stamp("ada/seg.course-2", folder) == []  # again: nothing changes
    assert [path.read_bytes() for path in files] == before
    assert colab.main(["OWNER/NAME"], folder) == 0  # and back
    assert "github.com/OWNER/NAME.git" in lesson.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "repo",
    ["", "name", "a/b/c", "/b", "a/", "-a/b", "a/..", "a/b c", "a/b;ls", "https://github.com/a/b", "a/b.git", "a/b\n"],
)
def test_colab_refuses_a_malformed_address(colab, folder, repo, capsys):
    lesson = make_stamped(folder)
    before = lesson.read_bytes()
    assert colab.main([repo], folder) == 2
    assert "owner/name" in capsys.readouterr().err
    assert lesson.read_bytes() == before and (folder / "colab.txt").read_text() == "OWNER/NAME\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_cleanly(folder, tmp_path):
    import signal
    import subprocess
    import time

    write_lesson(folder, "01_long", "# Long", "open('started', 'w').close()", "import time\ntime.sleep(60)")
    script = (
        f"import sys, pathlib; sys.path.insert(0, {str(NOTEBOOKS)!r}); import course; f = pathlib.Path(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", script + "sys.exit(course.main([], f, f))", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 30
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and error.strip() == "stopped"
