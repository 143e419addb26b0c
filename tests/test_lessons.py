"""How the lessons speak: figures with alt text, terms in the glossary, and cells that may be run twice."""

import base64
import io
import os
import re
from pathlib import Path

import course
import nbformat
import numpy as np
import pytest
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
LESSONS = sorted(path.stem for path in NOTEBOOKS.glob(course.LESSONS))
MOST_CELLS = {"01": 80, "02": 70, "03": 62, "04": 80, "05": 78, "06": 65, "09": 60, "10": 70}
MOST_CELLS |= {"A1": 63, "A2": 50, "A3": 60}  # of the others: 84
TERM = re.compile(r"\*\*(?!\*)(.+?)\*\*", re.DOTALL)
LINK = re.compile(r"\[[^]]+\]\(glossary\.md#([\w-]+)\)")
ENTRY = re.compile(r'- <a id="([\w-]+)"></a>\*\*(.+?)\*\*: .+ \[(\w\w)\]\((\3_\w+\.ipynb)\)')

every_lesson = pytest.mark.parametrize("name", LESSONS)


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def figures(cell):
    return [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def find_alt(cell, output):
    return cell.metadata.get("alt") or output.metadata.get("image/png", {}).get("alt", "")


def find_lone_terms(text, known):
    """The bold terms of a text that lead to no entry of the glossary; bold lead-ins end in a full stop or a colon."""
    found = [" ".join(term.split()) for term in TERM.findall(text)]
    links = {term: LINK.fullmatch(term) for term in found if term[-1] not in ".:"}
    return [term for term, link in links.items() if not link or link[1] not in known]


def list_entries():
    lines = (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8").splitlines()
    return [ENTRY.fullmatch(line) or line for line in lines if line.startswith("-")]


@every_lesson
def test_every_figure_says_in_words_what_it_shows(name):
    lone = [cell.source for cell in read(name).cells for shown in figures(cell) if len(find_alt(cell, shown)) < 40]
    assert not lone


def test_the_glossary_has_a_line_for_each_term_in_order():
    entries = list_entries()
    assert all(isinstance(entry, re.Match) for entry in entries), [e for e in entries if isinstance(e, str)]
    assert len({entry[1] for entry in entries}) == len(entries)
    assert [entry[2].lower() for entry in entries] == sorted(entry[2].lower() for entry in entries)
    assert not [entry[4] for entry in entries if not (NOTEBOOKS / entry[4]).is_file()]


@every_lesson
def test_bold_terms_lead_to_the_glossary(name):
    known = {entry[1] for entry in list_entries()}
    text = "\n\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    assert not find_lone_terms(text, known)


def test_a_term_without_an_entry_is_found():
    text = "**Predict first.** A **[mask](glossary.md#mask)**, a **[map](glossary.md#map)** and a\n**plain term**."
    assert find_lone_terms(text, {"mask"}) == ["[map](glossary.md#map)", "plain term"]


@every_lesson
def test_no_line_of_a_paragraph_becomes_a_list(name):
    """In Markdown a line that begins with "1. " is one, also in the middle of a sentence."""
    text = "\n\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    assert not re.findall(r"^(?!\s*[-*\d]).*\S.*\n1[.)] .*", text, re.MULTILINE)


@every_lesson
def test_a_lesson_has_a_length_that_fits_an_hour(name):
    assert (30 if name.startswith("A") else 50) <= len(read(name).cells) <= MOST_CELLS.get(name[:2], 84)


@every_lesson
def test_predictions_are_answered(name):
    """After "Predict first" comes code, and in the next text "The answer"."""
    texts = [cell.source for cell in read(name).cells if cell.cell_type == "markdown"]
    asked = [i for i, text in enumerate(texts) if "**Predict first" in text]
    assert asked and not [texts[i] for i in asked if "*The answer" not in "".join(texts[i + 1 : i + 3])]


def list_results(cell):
    """What a cell printed, its claims alone where the rest differs from run to run, and its figures, small.

    Two drawings of one figure may differ by a pixel in their layout.
    """
    texts = [output.text for output in cell.outputs if output.output_type == "stream"]
    if course.has_tag(cell, "nbval-ignore-output"):
        texts = [found[0] for text in texts for found in course.CLAIM.finditer(text)]
    shown = [Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) for output in figures(cell)]
    return texts, np.array([picture.convert("RGB").resize((32, 32)) for picture in shown], int)


@pytest.mark.long
@every_lesson
def test_every_cell_runs_twice_with_the_same_result(name, tmp_path):
    (lesson,) = course.read_lessons(NOTEBOOKS, name)
    lesson.path = tmp_path / lesson.path.name  # its working folder
    code = [cell for cell in lesson.notebook.cells if cell.cell_type == "code"]
    lesson.notebook.cells = [nbformat.from_dict(cell) for cell in code for _ in range(2)]
    for cell, number in zip(lesson.notebook.cells, range(2 * len(code)), strict=True):
        cell.id = f"cell-{number}"
    path = os.pathsep.join(map(str, (NOTEBOOKS.parent, NOTEBOOKS)))
    inline = "module://matplotlib_inline.backend_inline"  # which shows figures and then closes them
    course.run_lesson(lesson, {"PYTHONPATH": path, "SEGLIB_PROFILE": "cpu", "MPLBACKEND": inline})
    assert any(figures(cell) for cell in lesson.notebook.cells)
    again = lesson.notebook.cells
    for once, twice in zip(again[::2], again[1::2], strict=True):
        (texts, pictures), (same_texts, same_pictures) = list_results(once), list_results(twice)
        assert texts == same_texts, once.source
        np.testing.assert_allclose(pictures, same_pictures, atol=24, err_msg=once.source)
    assert not list(tmp_path.iterdir())  # and it leaves nothing behind
