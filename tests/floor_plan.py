"""The floor plan of ``seglib``: who may import whom, for the test, and as the README's picture.

python tests/floor_plan.py    # writes seglib/floor_plan.svg
"""

import ast
import textwrap
from html import escape
from pathlib import Path
from typing import NamedTuple

SEGLIB = Path(__file__).resolve().parents[1] / "seglib"


class Room(NamedTuple):
    """A module or folder of ``seglib``.

    Attributes:
        floor: a room imports rooms of lower floors only.
        about: what it is about, in a few words.
        uses: the rooms that it imports, at its top or inside functions.
        heavy: the libraries beyond NumPy and the standard library that it imports at its top.
    """

    floor: int
    about: str
    uses: str = ""
    heavy: str = ""


ROOMS = {
    "labels": Room(0, "class names, colours, ignore id"),
    "images": Room(0, "read, check, resize, write files", "", "PIL"),
    "layers": Room(0, "convolution block, ASPP, any size", "", "keras"),
    "losses": Room(0, "losses with ignored pixels", "", "keras"),
    "class_balance": Room(0, "weights from pixel counts"),
    "bridge": Room(0, "Python inside tf.data"),
    "runs": Room(0, "fingerprints; what a folder holds", "", "keras"),
    "hosts": Room(0, "several devices, several hosts"),
    "metrics": Room(0, "confusion matrix, boundary F1", "", "keras"),
    "crf": Room(0, "dense CRF by mean field", "", "scipy"),
    "regions": Room(0, "connected regions, polygons", "", "scipy"),
    "datasets": Room(1, "streets, cells; others by name", "labels", "tensorflow tensorflow_datasets scipy PIL"),
    "annotations": Room(1, "class lists, shapes, run lengths", "labels images"),
    "augment": Room(1, "one transform for image and mask", "bridge", "keras"),
    "models": Room(1, "FCN, U-Net, DeepLabV3+, SegFormer", "layers", "keras"),
    "viz": Room(1, "overlays, errors, curves", "labels", "matplotlib"),
    "data": Room(
        2,
        "any source: pairs, batches",
        "labels images annotations bridge datasets",
        "tensorflow tensorflow_datasets scipy",
    ),
    "train": Room(
        2,
        "plan, callbacks, learning rates",
        "images losses class_balance bridge runs hosts metrics augment models",
        "keras",
    ),
    "predict": Room(2, "any image, tiles, views, folders", "labels images layers runs", "keras PIL"),
    "checkpoints": Room(2, "trained networks of the lessons", "models"),
    "export": Room(2, "SavedModel, LiteRT, ONNX; parity", "metrics", "keras"),
    "doctor": Room(3, "what is wrong with data, augmentation", "images viz augment data", "keras scipy matplotlib"),
    "demo": Room(3, "a page in the browser", "labels images runs viz checkpoints predict", "keras PIL"),
    "__main__": Room(
        4, "the command line", "labels images metrics runs hosts viz data train checkpoints predict doctor"
    ),
}
LIBRARIES = {  # Okabe & Ito's colours, and a letter for whoever cannot tell them apart
    "keras": ("K", "#D55E00"),
    "tensorflow": ("T", "#E69F00"),
    "matplotlib": ("M", "#0072B2"),
    "scipy": ("S", "#009E73"),
    "PIL": ("P", "#CC79A7"),
}
WIDTH, HEIGHT, GAP, LEFT = 208, 74, 12, 16


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


def draw():
    """The plan as SVG: a row a floor, the highest on top; in a room its name, subject, imports and libraries."""
    floors = [[name for name, room in ROOMS.items() if room.floor == floor] for floor in range(5)]
    rows = [floor[i : i + 4] for floor in reversed(floors) for i in range(0, len(floor), 4)]
    width, height = 4 * (WIDTH + GAP) - GAP + 2 * LEFT, len(rows) * (HEIGHT + GAP) + 44
    shapes, last = [], None
    for number, row in enumerate(rows):
        y = 10 + number * (HEIGHT + GAP)
        floor = ROOMS[row[0]].floor
        if last not in (None, floor):
            middle = y - GAP / 2
            shapes.append(f'<line x1="{LEFT}" y1="{middle:g}" x2="{width - LEFT}" y2="{middle:g}" stroke="#999"/>')
        last = floor
        shapes += [line for i, name in enumerate(row) for line in _draw_room(name, LEFT + i * (WIDTH + GAP), y)]
    x = LEFT
    for library, (letter, colour) in LIBRARIES.items():
        shapes += _draw_dot(letter, colour, x + 8, height - 20)
        shapes.append(f'<text x="{x + 22}" y="{height - 16}" font-size="11">{escape(library)}</text>')
        x += 110
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    style = 'font-family="Helvetica, Arial, sans-serif" fill="#222"'
    title = "<title>The floor plan of seglib: a room imports rooms of lower floors only</title>"
    paper = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([f"{head} {style}>", title, paper, *shapes, "</svg>", ""])


def _draw_room(name, x, y):
    room = ROOMS[name]
    uses = "uses " + (room.uses.replace(" ", ", ") if len(room.uses) < 40 else "nearly all below")
    yield f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="#F6F6F2" stroke="#555"/>'
    yield f'<text x="{x + 10}" y="{y + 20}" font-size="14" font-weight="bold">{escape(name)}</text>'
    yield f'<text x="{x + 10}" y="{y + 37}" font-size="11">{escape(room.about)}</text>'
    for i, line in enumerate(textwrap.wrap(uses, 36) if room.uses else []):
        yield f'<text x="{x + 10}" y="{y + 53 + 13 * i}" font-size="10" fill="#555">{escape(line)}</text>'
    known = [LIBRARIES[library] for library in room.heavy.split() if library in LIBRARIES]
    for i, (letter, colour) in enumerate(reversed(known)):
        yield from _draw_dot(letter, colour, x + WIDTH - 14 - 19 * i, y + 15)


def _draw_dot(letter, colour, x, y):
    style = 'font-size="11" font-weight="bold" fill="white" text-anchor="middle"'
    yield f'<circle cx="{x}" cy="{y}" r="8" fill="{colour}"/>'
    yield f'<text x="{x}" y="{y + 4}" {style}>{letter}</text>'


if __name__ == "__main__":
    (SEGLIB / "floor_plan.svg").write_text(draw(), encoding="utf-8")
