"""Wrong answers to the exercises, and how to run one exercise by itself."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


class Mistake(NamedTuple):
    """A classic mistake: the right answer with ``old`` replaced by ``new``. Only its own message ``says`` this term."""

    says: str
    old: str
    new: str


# The ``grade_id`` of the answer: its mistakes. The right answer is in the notebook of ``notebooks/solutions``.
MISTAKES = {
    "01-id-map": [
        Mistake("all three channels", ".all(axis=-1)", ".any(axis=-1)"),
        Mistake("unknown colour", "ignore_id, np.uint8", "0, np.uint8"),
        Mistake("start at 1", "enumerate(colours)", "enumerate(colours, 1)"),
        Mistake("argument ignore_id is not used", "shape[:2], ignore_id", "shape[:2], 255"),
        Mistake("not uint8", "ignore_id, np.uint8", "ignore_id"),
    ],
    "01-resizing": [
        Mistake(
            "Width and height are exchanged", "(factor * width, factor * height)", "(factor * height, factor * width)"
        ),
        Mistake("not the pixels", "(~np.isin(resized, mask)).sum()", "len(np.setdiff1d(resized, mask))"),
        Mistake("A share", "int((~np.isin(resized, mask)).sum())", "(~np.isin(resized, mask)).mean()"),
        Mistake("negate it", "~np.isin", "np.isin"),
    ],
    "01-iou": [
        Mistake("Did you mask ignore_id", "true != ignore_id", "true >= 0"),
        Mistake("intersection twice", "np.sum((true == c) | (pred == c))", "np.sum(true == c) + np.sum(pred == c)"),
        Mistake("recall", "(true == c) | (pred == c)", "true == c"),
        Mistake("Dice", "(pred == c)) / union", "(pred == c)) * 2 / (np.sum(true == c) + np.sum(pred == c) or 1)"),
        Mistake("absent class", "np.nan", "0.0"),
        Mistake("only predicted", "if union:", "if (true == c).any():"),
    ],
    "01-split": [
        Mistake(
            "whole groups",
            "np.asarray(groups) == group",
            "np.random.default_rng(seed).permutation(np.asarray(groups) == group)",
        ),
        Mistake("share is of the pairs", "members.sum() <= share * len(groups)", "0 < share * len(groups)"),
        Mistake("seed is not used", "default_rng(seed)", "default_rng()"),
        Mistake("Every seed", "np.random.default_rng(seed).permutation(sorted(set(groups)))", "sorted(set(groups))"),
        Mistake("would still fit", "in_val |= members", "in_val |= members\n        else:\n            break"),
        Mistake("in no split", "np.flatnonzero(~in_val)", "np.flatnonzero(~in_val)[:-1]"),
    ],
    "01-weights": [
        Mistake("Void", "labelled.sum()", "counts.sum()"),
        Mistake("mean is not 1", "return weights / weights.mean()", "return weights"),
        Mistake("1 / share", "1 / np.log(1.02 + labelled / labelled.sum())", "labelled.sum() / labelled"),
        Mistake("rare class", "1 / np.log(", "np.log("),
    ],
    "01-repair": [
        Mistake("pair is lost", 'path.rename(path.with_name(path.name.replace(" final", "")))', "path.unlink()"),
        Mistake("flipped masks", "for finding in examine(folder).findings", "for finding in ()"),
        Mistake("sizes differ", "mask = images.resize_mask(mask,", "unused = (mask,"),
        Mistake("mixed encodings", "mask = streets.LABELS.from_rgb(mask)", "continue"),
        Mistake("not the true one", 'streets.LABELS.id_of("road")', "255"),
    ],
    "04-sizes": [
        Mistake("each loses 2 rows", "        size -= 4", "        size -= 2"),
        Mistake("biases are missing", "kernel * a * b + b", "kernel * a * b"),
        Mistake("concatenation is forgotten", "count(9, 2 * b, b)", "count(9, b, b)"),
        Mistake("Their kernel is 2×2", "count(4, 2 * b, b)", "count(9, 2 * b, b)"),
        Mistake("574 is accepted", "size % 2:", "size < 0:"),
    ],
    "04-merge": [
        Mistake("output channels are doubled", "axis=2", "axis=3"),
        Mistake("no effect", "[kernel, kernel]", "[kernel, 0 * kernel]"),
        Mistake("no mean", "[kernel, kernel]", "[kernel / 2, kernel / 2]"),
        Mistake("All weights are counted", "wide.size - kernel.size", "wide.size"),
    ],
    "04-border": [
        Mistake("for the background alone", "background * w0", "w0"),
        Mistake("not balanced", "np.where(background, 0.5 / background.mean(), 0.5 / (~background).mean())", "1.0"),
        Mistake("squared and then added", "(nearest + second) ** 2", "nearest**2 + second**2"),
        Mistake("second nearest cell is missing", "(nearest + second) ** 2", "nearest**2"),
        Mistake("too narrow", "(2 * sigma**2)", "sigma**2"),
        Mistake("One cell alone", "if len(distances) > 1:", "for distances in [(distances * 2)[:2]]:"),
    ],
    "04-count": [
        Mistake(
            "Components are counted", "sum(owner > 0 and owners.count(owner) > 1 for owner in owners)", "found < 4"
        ),
        Mistake("never found", "> 0.5 * (cell | piece)", "> 0.9 * (cell | piece)"),
        Mistake("touch is enough", "> 0.5 * (cell | piece)", "> 0 * (cell | piece)"),
        Mistake("leave out number 0", "owner > 0 and owners", "owners"),
        Mistake("Corners connect", "label(pred)", "label(pred, np.ones((3, 3)))"),
    ],
    "04-tiles": [
        Mistake(
            "remainder is left out",
            "for y in range(0, height, tile) for x in range(0, width, tile)",
            "for y in range(0, height - tile + 1, tile) for x in range(0, width - tile + 1, tile)",
        ),
        Mistake("border is zero", 'mode="reflect"', 'mode="constant"'),
        Mistake("edge is repeated", 'mode="reflect"', 'mode="symmetric"'),
        Mistake(
            "column by column",
            "for y in range(0, height, tile) for x in range(0, width, tile)",
            "for x in range(0, width, tile) for y in range(0, height, tile)",
        ),
        Mistake("not cropped", "[:height, :width]", ""),
        Mistake("Swap the axes", ".swapaxes(1, 2)", ""),
    ],
    "04-streets": [
        Mistake("use max_steps", "min(150, max_steps)", "max_steps + 1"),
        Mistake("Take the argmax", ".argmax(axis=-1)", ""),
        Mistake("below the bar", "[:, :, ::-1])[:, :, ::-1]", "[:, :, ::-1])"),
        Mistake("trained network that predicts", "network.predict(", "models.unet((None, None, 3), 8, 4, 2).predict("),
    ],
}


class Exercise(NamedTuple):
    """One exercise of a notebook.

    Attributes:
        id: the ``grade_id`` of its answer.
        before: the sources of the code cells that stand before all exercises.
        text: its text cells, as one string; the first line is its heading.
        cells: its code cells.
    """

    id: str
    before: list
    text: str
    cells: list

    @property
    def answer(self):
        """The source of the right answer."""
        return next(cell.source for cell in self.cells if is_marked(cell, "solution"))

    @property
    def check(self):
        """The check cell."""
        return next(cell for cell in self.cells if is_marked(cell, "grade"))

    @property
    def name(self):
        """The name of the function that is asked for; None if no function is."""
        defined = (node for node in ast.parse(self.answer).body if isinstance(node, ast.FunctionDef))
        return next((node.name for node in defined), None)

    def run(self, answer, name=None, function=None):
        """Runs the cells before all exercises and those of this one, with another answer, in a namespace of their own.

        Args:
            answer: the source in place of that of the answer's cell.
            name, function: what ``name`` is when the check begins, in place of what the answer made it.
        """
        namespace = {"__name__": "__main__"}
        for source in self.before:
            exec(source, namespace)
        for cell in self.cells:
            if cell is self.check and name:
                namespace[name] = function(namespace[name])
            exec(answer if is_marked(cell, "solution") else cell.source, namespace)


def is_marked(cell, mark):
    """Whether nbgrader's metadata of a cell say ``"solution"`` or ``"grade"``."""
    return cell.metadata.get("nbgrader", {}).get(mark, False)


def read_exercises(notebook):
    """The exercises of a notebook, in order. Each begins with a heading of the second level."""
    before, exercises = [], []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            exercises.append(([], []))
        if exercises:
            exercises[-1][cell.cell_type == "code"].append(cell)
        elif cell.cell_type == "code":
            before.append(cell.source)
    found = []
    for texts, cells in exercises:
        ids = [cell.metadata.nbgrader.grade_id for cell in cells if is_marked(cell, "solution")]
        found.append(Exercise(*ids, before, "\n".join(cell.source for cell in texts), cells))
    return found


def list_messages(source):
    """The sources of the messages of all assertions in a cell."""
    return [ast.unparse(node.msg) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert) and node.msg]


def count_stars(exercise):
    return len(re.search("★+", exercise.text.partition("\n")[0])[0])
