"""The exercises: the student's edition and nbgrader's assignments, both from ``solutions/``, which is the source.

python notebooks/editions.py              # writes exercises/: without solutions, hidden tests and outputs
python notebooks/editions.py assignments  # lays the sources out for nbgrader in build/assignments/
python notebooks/editions.py run          # runs solutions/ and keeps the outputs (run --only 01: one lesson's)
"""

import argparse
import shutil
import sys
from pathlib import Path

import course
import nbformat
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
SOLUTIONS, EXERCISES = HERE / "solutions", HERE / "exercises"
ASSIGNMENTS = HERE.parent / "build" / "assignments"
STEPS = LockCells, ClearSolutions, ClearOutput, ClearHiddenTests, ComputeChecksums, CheckCellMetadata  # as nbgrader's
STUB = "# write your answer here, in place of the next line\nraise NotImplementedError()"
CONFIG = f'''"""nbgrader's settings for this course. Run nbgrader in the folder of this file."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "segmentation"
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}
c.OverwriteCells.add_missing_cells = True  # a check that was deleted comes back
c.Execute.timeout = 60  # seconds for each cell
c.Execute.extra_arguments = ["--IPKernelApp.capture_fd_output=False"]  # else a library's log counts as a failed check
'''


def list_solutions(folder=SOLUTIONS):
    """The notebooks with solutions, in order."""
    return sorted(folder.glob("*.ipynb"))


def clear_solutions(notebook):
    """The student's edition of a notebook with solutions: what ``nbgrader generate_assignment`` releases.

    Args:
        notebook: with nbgrader's metadata; it stays as it is.

    Raises:
        RuntimeError: a solution or a hidden test has no end, or is in a cell that nbgrader's metadata do not mark.
        ValidationError: the metadata are not as nbgrader wants them, such as a ``grade_id`` twice.
    """
    config, cleared = Config(ClearSolutions={"code_stub": {"python": STUB}}), nbformat.from_dict(notebook)
    for step in STEPS:
        cleared, _ = step(config=config).preprocess(cleared, {})
    return cleared


def write_exercises(solutions=SOLUTIONS, out=EXERCISES):
    """Writes the student's edition of each notebook; returns their paths."""
    out.mkdir(exist_ok=True)
    paths = []
    for path in list_solutions(solutions):
        paths.append(out / path.name)
        nbformat.write(clear_solutions(nbformat.read(path, as_version=4)), paths[-1])
    return paths


def write_assignments(out=ASSIGNMENTS, solutions=SOLUTIONS):
    """Writes ``source/<assignment>/`` for each notebook, with the module that it imports, and nbgrader's settings.

    What else is in the folder, such as submissions and the gradebook, stays as it is.
    """
    for path in list_solutions(solutions):
        folder = out / "source" / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
        shutil.copy(HERE / "checking.py", folder)
    (out / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("write", "assignments", "run"), default="write")
    parser.add_argument("--only", metavar="NUMBER", help="run those of one lesson, for example 01")
    options = parser.parse_args(argv)
    if options.command == "run":
        return course.main(["--save", *(["--only", options.only] if options.only else [])], folder=SOLUTIONS)
    elif options.command == "assignments":
        write_assignments()
        print(
            f"{ASSIGNMENTS} is laid out for nbgrader. Copy it to where you keep submissions (`make clean` deletes it),"
        )
        print("and run there: nbgrader generate_assignment 01_data_preparation")
    else:
        print(*(path.relative_to(HERE.parent) for path in write_exercises()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
