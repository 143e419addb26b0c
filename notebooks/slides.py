"""Slides from the lessons' own figures, by nbconvert and reveal.js, as files that need no network: ``make slides``.

    python notebooks/slides.py   # writes build/slides/NN.html for each lesson with cells marked for slides

Which cells are shown, their metadata say, in Jupyter's own way (in JupyterLab: the property inspector, "Slide Type"):

- ``slide`` on a text cell: a slide with its heading and its question ("The question", "Predict first"); without a
  question, with its first section. What stands above the heading goes to the notes of the slide before: the answer.
- ``slide`` on a code cell: a slide with its outputs, below the heading of its section. ``-`` adds them to the slide
  that is there, ``fragment`` after a click. Code is not shown.
- ``notes`` on a text cell: its text up to the next heading goes to the speaker's notes. All other cells are left out.

The committed outputs are shown; nothing is executed. reveal.js comes from the package sphinx-revealjs, since nbconvert
brings none and would fetch it. Formulas are not drawn, as MathJax would be fetched, too, so they are refused.
"""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import nbformat
from course import LESSONS
from nbconvert import SlidesExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "slides"
HEADING = re.compile(r"^#+ +(.+)$", re.M)
QUESTION = re.compile(r"\*\*(?:The question|Predict first)\.\*\*.*?(?=\n\n|\Z)", re.S)
REVEAL = "LICENSE", "dist/reveal.css", "dist/reveal.js", "dist/theme/white.css", "plugin/notes/notes.js"
LINK = re.compile(r"!?\[([^]]*)\]\([^)]*\)")


class SlidesError(Exception):
    """No slides can be made; the message says why."""


def find_kind(cell):
    """The slide type of a cell: ``slide``, ``fragment``, ``notes``, ``-``, or ``skip`` if it has none."""
    return cell.metadata.get("slideshow", {}).get("slide_type", "skip")


def make_text(source, kind):
    """A text cell of the slides. Links lose their targets, which are pages of the course and not of the slides."""
    return new_markdown_cell(LINK.sub(r"\1", source).strip(), metadata={"slideshow": {"slide_type": kind}})


def make_figure(cell, kind):
    """The figures of a code cell, each with its alt text; what the cell printed if it has none."""
    shown = [output for output in cell.outputs if "image/png" in output.get("data", {})] or cell.outputs
    for output in shown:
        if "alt" in cell.metadata:
            output.metadata["image/png"] = {"alt": cell.metadata.alt}
    return new_code_cell(outputs=shown, metadata={"slideshow": {"slide_type": kind}})


def split_text(source):
    """A text cell in four parts: what ends the section before, the heading, what is said, and the question."""
    question = QUESTION.search(source)
    headings = list(HEADING.finditer(source, 0, question.start() if question else len(source)))
    if question:
        start, end = headings[-1].span() if headings else (question.start(), question.start())
        return source[:start], source[start:end], source[end : question.start()], question[0]
    (start, end), stop = (headings[0].span() if headings else (0, 0)), len(source)
    if len(headings) > 1:
        stop = headings[1].start()
    return source[:start], source[start:end], "", source[end:stop]


def select_cells(notebook):
    """The cells of a lesson's slides: marked cells, reduced to what is shown or said.

    Raises:
        SlidesError: a marked cell shows a formula, or a code cell has no outputs.
    """
    cells, heading = [], ""
    for at, cell in enumerate(notebook.cells):
        kind, before = find_kind(cell), heading
        if cell.cell_type == "markdown":
            source = re.sub(r"^\[!\[.*$", "", cell.source, flags=re.M)  # the badges
            titles = HEADING.findall(re.sub(r"```.*?```", "", source, flags=re.S))
            heading = titles[-1] if titles else heading
        if kind == "skip":
            continue
        if cell.cell_type == "code":
            if not cell.outputs:
                raise SlidesError(f"cell {at} is marked for slides and has no outputs: make course, or --save, first")
            if kind == "slide":
                cells.append(make_text(f"## {before}", "slide"))
            cells.append(make_figure(cell, "-" if kind == "slide" else kind))
            continue
        if kind == "notes":
            cells.append(make_text(source[: next((h.start() for h in HEADING.finditer(source)), None)], "notes"))
            continue
        answer, title, said, shown = split_text(source)
        if "$" in title + shown:
            raise SlidesError(f"cell {at} is marked for slides and has a formula, which is not drawn without a network")
        if cells and answer.strip():
            cells.append(make_text(answer, "notes"))
        cells.append(make_text(f"{title or f'## {before}'}\n\n{shown.strip()}", "slide"))
        if said.strip():
            cells.append(make_text(said, "notes"))
    return cells


def write_slides(path, out):
    """Writes the slides of one lesson to ``out``; returns their path, None if no cell is marked."""
    notebook = nbformat.read(path, as_version=4)
    if not (cells := select_cells(notebook)):
        return None
    exporter = SlidesExporter(
        template_file=str(HERE / "slides.html.j2"),
        reveal_url_prefix="reveal.js",
        reveal_theme="white",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    title = HEADING.search(notebook.cells[0].source)
    html, _ = exporter.from_notebook_node(
        new_notebook(cells=cells, metadata={**notebook.metadata, "title": title[1] if title else path.stem})
    )
    written = out / f"{path.stem[:2]}.html"
    written.write_text(html, encoding="utf-8")
    return written


def copy_reveal(out):
    """Copies what the slides load of reveal.js into the folder beside them."""
    package = importlib.util.find_spec("sphinx_revealjs")
    if package is None:
        raise SlidesError(f"reveal.js is not here; type: {sys.executable} -m pip install sphinx-revealjs")
    source, target = Path(package.origin).parent / "_static" / "revealjs", out / "reveal.js"
    for name in REVEAL:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target / name)
    fonts = "dist/theme/fonts/source-sans-pro"  # those of the theme
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)


def main(folder=HERE, out=OUT):
    """Writes the slides of all lessons; returns the exit code."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        copy_reveal(out)
        for path in sorted(folder.glob(LESSONS)):
            try:
                written = write_slides(path, out)
            except SlidesError as error:
                raise SlidesError(f"{path.name}: {error}") from None
            if written:
                print(written)
    except SlidesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
