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
    "03-dense": [
        Mistake("biases are missing", "[0] + biases", "[0]"),
        Mistake("keeps its size", '"valid"', '"same"'),
        Mistake("kernel are exchanged", "*size, features", "*size[::-1], features"),
        Mistake("kernel is flipped", "features[None], kernel,", "features[None], kernel[::-1, ::-1],"),
        Mistake(
            "in which order",
            "reshape(*size, features.shape[-1], -1)",
            "reshape(features.shape[-1], *size, -1).transpose(1, 2, 0, 3)",
        ),
    ],
    "03-bilinear": [
        Mistake("not symmetric", "+ 0.5 - factor", "- factor"),
        Mistake("gets darker", "np.outer(line, line)", "np.outer(line, line) / np.outer(line, line).sum()"),
        Mistake("axes are averaged", "np.outer(line, line)", "np.add.outer(line, line) / 2"),
        Mistake("too small", "np.arange(2 * factor) + 0.5 - factor", "np.arange(factor) + 0.5 - factor / 2"),
        Mistake("weights are equal", "1 - distance / factor", "np.ones(2 * factor)"),
    ],
    "03-stack": [
        Mistake("adds kernel − 1 to", "(kernel - 1) * stride", "kernel * stride"),
        Mistake("last layer", "stride *= step", "stride = step"),
        Mistake("as if nothing were downsampled", "(kernel - 1) * stride", "kernel - 1"),
        Mistake(
            "layer's own stride",
            "field += (kernel - 1) * stride\n        stride *= step",
            "stride *= step\n        field += (kernel - 1) * stride",
        ),
        Mistake("rounded up", "(size + 2 * padding - kernel) // step", "-((kernel - size - 2 * padding) // step)"),
        Mistake("zeros on both sides", "2 * padding", "padding"),
    ],
    "03-fuse": [
        Mistake(
            "concatenated",
            "upsampled + skip @ weights + biases",
            "np.concatenate([upsampled, skip @ weights + biases], axis=-1)",
        ),
        Mistake("are repeated", "double(coarse)", "coarse.repeat(2, axis=0).repeat(2, axis=1)"),
        Mistake("no ReLU", "double(coarse)", "double(np.maximum(coarse, 0))"),
        Mistake("mean comes back", "upsampled + skip @ weights + biases", "(upsampled + skip @ weights + biases) / 2"),
        Mistake("biases are missing", " + biases", ""),
        Mistake("do not fit", "[: skip.shape[0], : skip.shape[1]]", ""),
        Mistake("wrong end", "[: skip.shape[0], : skip.shape[1]]", "[-skip.shape[0] :, -skip.shape[1] :]"),
    ],
    "03-ceiling": [
        Mistake("Void pixels", "ids[ids != ignore_id]", "np.where(ids == ignore_id, 0, ids)"),
        Mistake("first pixel", "counts.argmax()", "mask[row, column]"),
        Mistake("accuracy", "np.mean(hits[unions > 0] / unions[unions > 0])", "hits.sum() / matrix.sum()"),
        Mistake("mean recall", "matrix.sum(axis=0) + matrix.sum(axis=1) - hits", "matrix.sum(axis=1)"),
        Mistake(
            "is nowhere", "np.mean(hits[unions > 0] / unions[unions > 0])", "np.mean(hits / np.maximum(unions, 1))"
        ),
        Mistake(
            "One confusion matrix",
            "    matrix = np.zeros(",
            "    if len(masks) > 1:\n        return np.mean([ceiling(one[None], cell, num_classes) for one in masks])\n"
            "    matrix = np.zeros(",
        ),
    ],
    "03-design": [
        Mistake("too coarse", "[1] < stride", "[1] < 4 * stride"),
        Mistake("too many parameters", "(3, 1, 16)", "(3, 1, 64)"),
        Mistake("last map", "[*stack, (1, 1, 32)]", "stack"),
        Mistake("does not see enough", "[0] < field", "[0] < field // 2"),
        Mistake("too thin", "(3, 2, 16)", "(3, 2, 4)"),
        Mistake("not allowed", "(3, 1, 16)", "(9, 1, 16)"),
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
