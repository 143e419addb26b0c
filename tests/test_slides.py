"""Slides of the lessons: what is shown and what is said, and that nothing is asked of the network."""

import html
import re
import shutil

import nbformat
import pytest
import slides
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_demo import Browser

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
LEAST = {"04": 12, "07": 12}  # slides


def text(source, kind=None):
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}} if kind else {})


def code(kind=None, figure=False, printed=""):
    outputs = [new_output("stream", name="stdout", text=printed)] if printed else []
    outputs += [new_output("display_data", {"image/png": PIXEL})] if figure else []
    metadata = {"slideshow": {"slide_type": kind}} if kind else {}
    return new_code_cell("secret = 1", outputs=outputs, metadata={**metadata, "alt": "a pixel"} if figure else metadata)


def list_cells(*cells):
    """What is selected of the cells, as pairs of slide type and text."""
    made = slides.select_cells(new_notebook(cells=cells))
    return [(slides.find_kind(cell), cell.source) for cell in made]


def test_a_question_is_shown_its_answer_is_said():
    asked = "Of a text.\n\n## Count\n\nA toy of [four](a.md) pixels.\n\n**Predict first.** How many\nare left?\n\nOn."
    answered = "*The answer:* **[two](glossary.md#two)**.\n\n## Later\n\nOther things."
    cells = text("# Title", "slide"), text(asked, "slide"), code("fragment", printed="2"), text(answered, "notes")
    assert list_cells(*cells) == [
        ("slide", "# Title"),
        ("notes", "Of a text."),  # which answers the slide before
        ("slide", "## Count\n\n**Predict first.** How many\nare left?"),
        ("notes", "A toy of four pixels."),
        ("fragment", ""),
        ("notes", "*The answer:* **two**."),
    ]


def test_a_section_without_a_question_is_shown_and_the_next_one_is_not():
    assert list_cells(text("## Summary\n\n- one\n- two\n\n## Exercises\n\n1. do", "slide")) == [
        ("slide", "## Summary\n\n- one\n- two")
    ]


def test_a_figure_gets_the_heading_of_its_section_and_its_alt_text_and_not_what_is_printed_beside_it():
    heading = text("## Look\n\n```python\n# a comment\n```")
    title, figure = slides.select_cells(new_notebook(cells=[heading, code("slide", figure=True, printed="1")]))
    assert title.source == "## Look" and slides.find_kind(figure) == "-"
    (output,) = figure.outputs
    assert output.metadata == {"image/png": {"alt": "a pixel"}}


def test_unmarked_cells_and_badges_are_left_out():
    badges = "# Title\n\n[![Open](a.svg)](https://b) [![Open](c.svg)](https://d)\n\n**The question.** Why?"
    assert list_cells(text(badges, "slide"), text("## More"), code(printed="1")) == [
        ("slide", "# Title\n\n**The question.** Why?")
    ]


def write(folder, *cells):
    nbformat.write(new_notebook(cells=cells), folder / "01_one.ipynb")


@pytest.mark.parametrize(
    ("cell", "message"),
    [(text("**Predict first.** Is $a$ 1?", "slide"), "a formula"), (code("slide"), "no outputs: make course")],
)
def test_what_cannot_be_shown_is_refused_with_lesson_and_cell(tmp_path, capsys, cell, message):
    write(tmp_path, text("# One"), cell)
    assert slides.main(tmp_path, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "01_one.ipynb: cell 1 is marked" in error and message in error


def test_without_reveal_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(slides.importlib.util, "find_spec", lambda name: None)
    write(tmp_path, text("# One", "slide"))
    assert slides.main(tmp_path, tmp_path / "out") == 1
    assert "pip install sphinx-revealjs" in capsys.readouterr().err


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("slides")
    assert slides.main(out=out) == 0
    return out


def test_the_lessons_slides_hold_their_figures_with_alt_texts(built):
    assert {path.stem for path in built.glob("*.html")} == set(LEAST)
    for name, least in LEAST.items():
        page = (built / f"{name}.html").read_text(encoding="utf-8")
        assert len(re.findall(r"<section\b", page)) // 2 >= least  # each slide is a stack of one
        (path,) = slides.HERE.glob(f"{name}_*.ipynb")
        marked = [cell for cell in nbformat.read(path, 4).cells if slides.find_kind(cell) in ("slide", "fragment", "-")]
        wanted = [cell.metadata.alt for cell in marked if "alt" in cell.metadata]
        shown = [html.unescape(alt) for alt in re.findall(r'<img alt="([^"]*)" src="data:image/png', page)]
        assert min(map(len, shown)) >= 40 and set(wanted) <= set(shown) and len(shown) >= 8
        assert "import keras" not in page and "](" not in re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)


def test_the_slides_ask_the_network_for_nothing(built):
    for path in [*built.glob("*.html"), *built.rglob("*.css")]:
        content = path.read_text(encoding="utf-8")
        asked = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)="([^"]*)"', content)
        asked += re.findall(r"""(?:@import\s+(?:url\()?|url\()\s*['"]?([^'")\s;]+)""", content)
        for address in asked:
            place = re.sub(r"[?#].*", "", address)
            assert address.startswith(("data:", "#")) or (path.parent / place).is_file(), f"{path.name}: {address[:80]}"


@pytest.mark.slow
def test_each_slide_fits_in_a_browser_which_sends_no_request(built, tmp_path):
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver are not installed")
    browser = Browser(tmp_path)
    try:
        for name, least in LEAST.items():
            browser.call("POST", "/url", {"url": (built / f"{name}.html").as_uri()})
            browser.find(".reveal.ready")
            heights = (
                "return Reveal.getSlides().map(s => { const at = Reveal.getIndices(s); Reveal.slide(at.h, at.v, 9);"
            )
            heights += " return s.scrollHeight })"
            found = browser.call("POST", "/execute/sync", {"script": heights, "args": []})
            assert len(found) >= least and max(found) <= 720, found
        assert not browser.list_requests()
    finally:
        browser.stop()
