"""nbgrader from end to end, as an instructor runs it: assignments, a release, submissions, marks."""

import os
import subprocess
import sys

import editions
import nbformat
import pytest
from exercises import NOTEBOOKS, SOLUTIONS, is_marked
from nbgrader.api import Gradebook

pytestmark = pytest.mark.long
NAME = SOLUTIONS[0].stem
FULL = 11  # points: one for each star


def nbgrader(folder, *arguments):
    """Runs nbgrader in ``folder``; the process, whose ``stderr`` is the log."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # nbgrader calls alembic by its name
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(NOTEBOOKS.parent)}
    command = [sys.executable, "-m", "nbgrader", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def find(notebook, grade_id):
    """The cell of a ``grade_id``."""
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def answer(notebook, *ids):
    """Writes the right answers of all exercises, or of some, into a notebook."""
    for cell in nbformat.read(SOLUTIONS[0], as_version=4).cells:
        if is_marked(cell, "solution") and (not ids or cell.metadata.nbgrader.grade_id in ids):
            find(notebook, cell.metadata.nbgrader.grade_id).source = cell.source
    return notebook


def submit(folder, student, notebook):
    path = folder / "submitted" / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


def read_marks(folder, student):
    """Points by ``grade_id``."""
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as gradebook:
        submission = gradebook.find_submission_notebook(NAME, NAME, student)
        return {grade.name: grade.score for grade in submission.grades}


@pytest.fixture(scope="module")
def course_folder(tmp_path_factory):
    """What ``make assignments`` lays out, released."""
    folder = tmp_path_factory.mktemp("grading")
    editions.write_assignments(folder)
    done = nbgrader(folder, "generate_assignment", NAME)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def released(course_folder):
    return nbformat.read(course_folder / "release" / NAME / f"{NAME}.ipynb", as_version=4)


def test_what_nbgrader_releases_is_the_students_edition(course_folder, released):
    assert released == nbformat.read(NOTEBOOKS / "exercises" / f"{NAME}.ipynb", as_version=4)
    assert (course_folder / "release" / NAME / "checking.py").is_file()


def break_answers(notebook):
    """A wrong answer in each exercise: the right one, whose result is thrown away."""
    for cell in notebook.cells:
        if is_marked(cell, "solution"):
            lines = [line for line in cell.source.splitlines() if not line.startswith("    return")]
            cell.source = "\n".join(lines).replace("def repair(folder):", "def repair(folder):\n    return")
    return notebook


def swap(notebook, grade_id):
    """Moves the answer of an exercise below its check."""
    cell = find(notebook, grade_id)
    at = notebook.cells.index(find(notebook, f"{grade_id}-check"))
    notebook.cells.remove(cell)
    notebook.cells.insert(at, cell)


def reverse(notebook):
    """Puts the last exercise first."""
    parts = [[]]
    for cell in notebook.cells:
        if cell.source.startswith("## "):
            parts.append([])
        parts[-1].append(cell)
    notebook.cells = sum([parts[0], *reversed(parts[1:])], [])


def test_marks(course_folder, released):
    """Points for what is right, whatever became of the check cells."""
    copies = [nbformat.from_dict(released) for _ in range(8)]
    right, wrong, untouched, kept, forged, deleted, moved, reversed_order = copies
    cell = find(answer(right), "01-iou")
    cell.source = cell.source.replace("    ### BEGIN SOLUTION", "    __import__('os').write(2, b'a log')")  # as of C++
    submit(course_folder, "right", right)
    submit(course_folder, "wrong", break_answers(answer(wrong)))
    submit(course_folder, "untouched", untouched)
    find(answer(kept), "01-iou-check").source = "pass"
    submit(course_folder, "right-check-replaced", kept)
    find(answer(forged, "01-id-map"), "01-iou-check").source = "pass"
    submit(course_folder, "untouched-check-replaced", forged)
    for grade_id in ("01-id-map-check", "01-iou-check"):
        deleted.cells.remove(find(deleted, grade_id))
    submit(course_folder, "checks-deleted", answer(deleted, "01-iou"))
    swap(answer(moved), "01-iou")
    submit(course_folder, "answer-below-check", moved)
    reverse(answer(reversed_order))
    submit(course_folder, "exercises-reversed", reversed_order)

    done = nbgrader(course_folder, "autograde", NAME)
    assert done.returncode == 0, done.stderr
    marks = {path.name: read_marks(course_folder, path.name) for path in (course_folder / "submitted").iterdir()}
    totals = {student: sum(points.values()) for student, points in marks.items()}
    assert totals == {
        "right": FULL,
        "wrong": 0,
        "untouched": 0,
        "right-check-replaced": FULL,
        "untouched-check-replaced": 1,
        "checks-deleted": 2,
        "answer-below-check": FULL - 2,
        "exercises-reversed": FULL,
    }
    graded = nbformat.read(course_folder / "autograded" / "untouched-check-replaced" / NAME / f"{NAME}.ipynb", 4)
    assert "### BEGIN HIDDEN TESTS" in find(graded, "01-iou-check").source


def test_submissions_that_break(course_folder, released):
    """One that does not end loses that exercise; one that nbgrader cannot mark is named, and the others are marked."""
    endless, emptied = (answer(nbformat.from_dict(released)) for _ in range(2))
    cell = find(endless, "01-iou")
    cell.source = cell.source.replace("    ### BEGIN SOLUTION", "    while True:\n        pass")
    submit(course_folder, "broken-endless", endless)
    for grade_id in ("01-iou", "01-iou-check"):
        emptied.cells.remove(find(emptied, grade_id))
    submit(course_folder, "broken-answer-and-check-deleted", emptied)
    (course_folder / "submitted" / "broken-file" / NAME).mkdir(parents=True)
    (course_folder / "submitted" / "broken-file" / NAME / f"{NAME}.ipynb").write_text("{")

    done = nbgrader(course_folder, "autograde", NAME, "--student=broken-*", "--Execute.timeout=25")
    assert done.returncode == 1
    assert read_marks(course_folder, "broken-endless") == {**read_marks(course_folder, "right"), "01-iou-check": 0}
    for student in ("broken-answer-and-check-deleted", "broken-file"):
        assert f"error processing assignment '{NAME}' for student '{student}'" in done.stderr
        assert not sum(read_marks(course_folder, student).values())
