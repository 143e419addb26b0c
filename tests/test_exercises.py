"""The exercises: right answers pass, wrong ones are refused for their own reason, and the editions fit their source."""

import copy
import functools
import io
import json
import pickle
import re
import subprocess
import sys

import colab
import editions
import nbformat
import pytest
from exercises import MISTAKES, NOTEBOOKS, SOLUTIONS, count_stars, is_marked, list_messages, read_exercises
from IPython.core.interactiveshell import InteractiveShell

import checking
from seglib import checkpoints
from seglib.datasets import cells, streets

LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
SOURCES = [nbformat.read(path, as_version=4) for path in SOLUTIONS]
EXERCISES = {one.id: one for source in SOURCES for one in read_exercises(source)}
STUDENTS = {one.id: one for source in SOURCES for one in read_exercises(editions.clear_solutions(source))}

every_solution = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
every_exercise = pytest.mark.parametrize("id", EXERCISES)
every_mistake = pytest.mark.parametrize(("id", "mistake"), [(id, one) for id in MISTAKES for one in MISTAKES[id]])


ONCE = [
    (module, name, functools.cache(getattr(module, name)))
    for module, name in ((streets, "draw_scene"), (cells, "draw_cells"), (checkpoints, "load"))
]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """The notebooks add a folder to the path of imports, and draw, load and train the same for every answer."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("SEGLIB_STEPS", "2")
    for replaced in ONCE:
        monkeypatch.setattr(*replaced)


def refuse(exercise, answer, **changed):
    """The sentence by which the check refuses an answer."""
    with pytest.raises(checking.Refused) as refused:
        exercise.run(answer, **changed)
    return str(refused.value)


class Named(pickle.Pickler):
    """Stores a function, or another thing that is called, by its name, because a check's own cannot be pickled."""

    def persistent_id(self, value):
        return getattr(value, "__qualname__", type(value).__qualname__) if callable(value) else None


def store(*values):
    """Values as bytes, to compare them."""
    stored = io.BytesIO()
    Named(stored).dump(values)
    return stored.getvalue()


# Answers


@every_exercise
def test_the_right_answer_passes(id, capsys):
    """The exercise runs alone, and its check in the student's edition and in the source."""
    for exercise in (STUDENTS[id], EXERCISES[id]):
        exercise.run(EXERCISES[id].answer)
        assert capsys.readouterr().out.splitlines()[-1].endswith(": passed")


@every_mistake
def test_a_mistake_is_refused_for_its_own_reason(id, mistake):
    right = EXERCISES[id].answer
    assert right.count(mistake.old) == 1, f"{mistake.old!r} is {right.count(mistake.old)} times in the right answer"
    assert mistake.says in refuse(STUDENTS[id], right.replace(mistake.old, mistake.new))


@every_exercise
def test_a_reason_is_that_of_one_assertion(id):
    terms, messages = [one.says for one in MISTAKES.get(id, [])], list_messages(EXERCISES[id].check.source)
    assert len(terms) == len({*terms}) >= 2
    for term in terms:
        assert sum(term in message for message in messages) <= 1, term  # 0: the doctor's words, for example


@every_exercise
def test_an_untouched_answer_is_told_what_to_write(id):
    sentence = refuse(STUDENTS[id], STUDENTS[id].answer)
    assert sentence.count("raise NotImplementedError()") == 1 and "not written yet" in sentence
    assert EXERCISES[id].name in sentence
    assert "run the cell above" in refuse(STUDENTS[id], "")


@every_exercise
def test_who_only_knows_the_open_numbers_gets_no_points(id):
    """The answer to each call of the open check is learnt by heart and recited in the hidden one."""
    known = []

    def record(function):
        def call(*args, **kwargs):
            asked = store(args, kwargs)
            known.append((asked, copy.deepcopy(function(*args, **kwargs))))
            return known[-1][1]

        return call

    def recite(_):
        return lambda *args, **kwargs: dict(known).get(store(args, kwargs), known[-1][1])

    exercise = EXERCISES[id]
    STUDENTS[id].run(exercise.answer, exercise.name, record)
    assert refuse(exercise, exercise.answer, name=exercise.name, function=recite)


# Checks


def test_a_check_that_fails_is_one_sentence_and_other_errors_keep_their_trace(capsys):
    shell = InteractiveShell()
    shell.run_cell("from checking import check\nwith check('half'):\n    assert 0, 'Too small. Divide by 2'")
    assert capsys.readouterr().out == "half: Too small. Divide by 2\n"
    for fault, words in (("assert 0", "AssertionError"), ("other", "'other' is not defined"), ("1 / 0", "by zero")):
        shell.run_cell(f"with check('half'):\n    {fault}")
        shown = capsys.readouterr().out
        assert "Traceback" in shown and words in shown
    shell.run_cell("with check('half'):\n    raise NotImplementedError('float16 on this device')")
    assert "Traceback" in capsys.readouterr().out


def test_a_warning_is_no_mistake(capsys):
    """nbgrader gives no points to a check cell that wrote to stderr."""
    with checking.check("half"):
        print("divide by zero", file=sys.stderr)
    assert capsys.readouterr() == ("divide by zero\nhalf: passed\n", "")


# The notebooks


@every_solution
def test_a_notebook_has_what_a_student_needs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lesson = nbformat.read(LESSONS[0], as_version=4).cells
    assert code[0].source == next(cell.source for cell in lesson if cell.cell_type == "code")
    address = (NOTEBOOKS / "colab.txt").read_text().strip()
    page = f"github.com/{address}/blob/main/notebooks/exercises/{path.name}"
    links = re.findall(r"\((https://[^\s)]+)\)(?= |$)", notebook.cells[0].source, re.MULTILINE)
    assert links == [
        f"https://colab.research.google.com/{page.replace('.com', '', 1)}",
        f"https://kaggle.com/kernels/welcome?src=https://{page}",
    ]
    exercises = read_exercises(notebook)
    assert len(exercises) >= 6 and sum("(open-ended)" in one.text for one in exercises) == 1
    for one in exercises:
        assert 1 <= count_stars(one) == one.check.metadata.nbgrader.points <= 3
        assert re.search(r"<details><summary>Hint</summary>\n\n.+\n\n</details>", one.text, re.DOTALL)
        assert one.id.startswith(path.stem[:2]) and one.check.metadata.nbgrader.grade_id == f"{one.id}-check"
        assert '"""' in one.answer and "### BEGIN SOLUTION" in one.answer
        assert "### BEGIN HIDDEN TESTS" in one.check.source


@every_solution
def test_a_notebook_is_one_clean_run(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    shown = [output for cell in code for output in cell.outputs]
    assert {output.get("name") for output in shown} == {"stdout"}
    checks = [cell for cell in code if is_marked(cell, "grade")]
    assert all(cell.outputs[-1].text.endswith(": passed\n") for cell in checks)


def test_mistakes_are_those_of_exercises():
    assert {*MISTAKES} == {*EXERCISES}
    assert sum(map(len, MISTAKES.values())) >= 12


# The editions


def test_the_students_edition_is_what_the_command_makes(tmp_path):
    editions.write_exercises(out=tmp_path)
    for folder in (tmp_path, NOTEBOOKS / "exercises"):
        assert [path.name for path in sorted(folder.glob("*.ipynb"))] == [path.name for path in SOLUTIONS]
    for path in tmp_path.iterdir():
        written, committed = (file.read_text("utf-8") for file in (path, NOTEBOOKS / "exercises" / path.name))
        assert json.loads(written) == json.loads(committed)
        assert not re.search("(BEGIN|END) (SOLUTION|HIDDEN)", written)
        code = [cell for cell in nbformat.reads(written, as_version=4).cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)


def test_a_solution_without_its_end_is_refused():
    notebook = nbformat.read(SOLUTIONS[0], as_version=4)
    cell = next(cell for cell in notebook.cells if is_marked(cell, "solution"))
    cell.source = cell.source.replace("### END SOLUTION", "")
    with pytest.raises(RuntimeError, match="end solution"):
        editions.clear_solutions(notebook)


def test_assignments_keep_what_is_there(tmp_path):
    (tmp_path / "gradebook.db").write_text("marks")
    for _ in range(2):
        editions.write_assignments(tmp_path)
    assert (tmp_path / "gradebook.db").read_text() == "marks"
    for path in SOLUTIONS:
        files = {file.name for file in (tmp_path / "source" / path.stem).iterdir()}
        assert files == {path.name, "checking.py"}


def test_the_address_is_stamped_into_the_exercises_too(tmp_path):
    (tmp_path / "colab.txt").write_text("OWNER/NAME\n")
    for folder in ("exercises", "exercises/.ipynb_checkpoints"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "01.ipynb").write_text("https://github.com/OWNER/NAME")
    assert colab.stamp("ada/course", tmp_path) == [tmp_path / "exercises" / "01.ipynb", tmp_path / "colab.txt"]


@pytest.mark.slow
def test_nbval_runs_the_solutions_and_not_the_exercises():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--nbval", "notebooks"]
    listed = subprocess.run(command, cwd=NOTEBOOKS.parent, capture_output=True, text=True).stdout
    assert "notebooks/solutions/" in listed and "notebooks/exercises/" not in listed
