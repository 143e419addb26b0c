"""What README, teaching.md, CONTRIBUTING and CHANGELOG say: commands, files, links, minutes and answers exist."""

import functools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from course import LESSONS
from exercises import SOLUTIONS, is_marked
from nbgrader.apps import NbGraderApp

import seglib

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
TEACHING, CONTRIBUTING = NOTEBOOKS / "teaching.md", ROOT / "CONTRIBUTING.md"
PAGES = {
    ROOT / "README.md": 150,
    TEACHING: 150,
    CONTRIBUTING: 100,
    ROOT / "CHANGELOG.md": 100,
}  # and the most lines of each
MADE = {"build", "release", "source", "submitted", ".venv"}  # folders that commands make
PROGRAMS = ("make", "python", "nbgrader", "jupytext", "ruff", "source")

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def read(path):
    return path.read_text(encoding="utf-8")


def list_code(path):
    """Inline code, and the lines of sh blocks without their comments."""
    text = read(path)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [*filter(None, lines), *(" ".join(code.split()) for code in re.findall(r"`([^`]+)`", rest))]


def list_commands(path):
    """The commands of a page, as lists of words."""
    return [words for code in list_code(path) if (words := shlex.split(code))[0] in PROGRAMS and len(words) > 1]


def check_command(words):
    """Asserts that a command exists: target, script or program, subcommand and options.

    Those of jupytext are run, below.
    """
    program, first, *rest = words
    if program == "make":
        makefile = read(ROOT / "Makefile")
        assert re.search(rf"^{re.escape(first)}:", makefile, re.MULTILINE)
        assert all(f"$({setting.partition('=')[0]})" in makefile for setting in rest)  # such as BACKEND=jax
    elif program == "python" and first == "-c":
        compile(rest[0], "a command", "exec")
    elif program == "python" and first == "-m":
        source = read(ROOT / rest[0] / "__main__.py")
        assert all(re.search(rf"^def {word}\(", source, re.MULTILINE) for word in rest[1:2])
    elif program == "python":
        words = rest[:1] if first == "make.py" else [word for word in rest if not word.isdigit()]
        assert (ROOT / first).is_file() and all(f'"{word}"' in read(ROOT / first) for word in words)
    elif program == "nbgrader":
        assert first in NbGraderApp().subcommands
    elif program == "ruff":
        subprocess.run([sys.executable, "-m", "ruff", first, "--help"], capture_output=True, check=True)


@every_page
def test_every_command_exists(path):
    commands = list_commands(path)
    for words in commands:
        check_command(words)
    assert len(commands) >= (2 if path.name == "CHANGELOG.md" else 8)


@pytest.mark.parametrize(
    "words", ["make nothing", "python make.py nothing", "python notebooks/course.py --nothing", "nbgrader nothing"]
)
def test_a_command_that_does_not_exist_is_found(words):
    with pytest.raises(AssertionError):
        check_command(words.split())


@every_page
def test_every_file_and_link_exists(path):
    links = re.findall(r"\]\(([^)\s]+)\)", read(path))
    for link in links:
        target, _, anchor = link.partition("#")
        if not link.startswith("http"):
            assert (path.parent / target).exists(), link
            assert not anchor or f'<a id="{anchor}"></a>' in read(path.parent / target), link
    named = [word for code in list_code(path) for word in shlex.split(code)]
    named = [word for word in named if re.fullmatch(r"[\w.<>-]+/[\w./<>-]*|[\w-]+\.(py|md|txt|cff|toml)", word)]
    for name in named:
        found = (folder / name for folder in (path.parent, ROOT))
        assert name.split("/")[0] in MADE or any(place.exists() for place in found) or name == "streets/tiny", name
    assert links and (named or path.name == "CHANGELOG.md")


@every_page
def test_a_page_is_short_and_names_switches_that_are_read(path):
    text = read(path)
    assert len(text.splitlines()) <= PAGES[path]
    code = "".join(read(source) for source in [NOTEBOOKS / "lesson.py", *(ROOT / "seglib").rglob("*.py")])
    assert all(switch in code for switch in re.findall(r"SEGLIB_\w+|TFDS_\w+", text))


@pytest.mark.slow
def test_the_round_trip_through_text_changes_nothing(tmp_path):
    shutil.copy(NOTEBOOKS / "04_unet.ipynb", tmp_path)
    (tmp_path / "build").mkdir()
    for words in list_commands(CONTRIBUTING):
        if words[0] == "jupytext":
            line = [word.replace("notebooks/", "") for word in words[1:]]
            subprocess.run([sys.executable, "-m", "jupytext", "-q", *line], cwd=tmp_path, check=True)
    assert (tmp_path / "build" / "04.py").is_file()
    assert (tmp_path / "04_unet.ipynb").read_bytes() == (NOTEBOOKS / "04_unet.ipynb").read_bytes()


# For instructors


def list_tables(path):
    """The tables of a page, each as a list of rows of cells, without the head."""
    tables = re.findall(r"(?:^\|.*\n)+", read(path), re.MULTILINE)
    return [[[c.strip() for c in row[1:-1].split("|")] for row in table.splitlines()][2:] for table in tables]


@functools.cache
def read_lesson(name):
    """A lesson's headings, and all that it says or prints."""
    cells = nbformat.read(NOTEBOOKS / name, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    printed = [output.get("text", "") for cell in cells for output in cell.get("outputs", [])]
    return re.findall(r"^#+ (.+)$", "\n".join(texts), re.MULTILINE), "\n".join(texts + printed)


def read_minutes(name):
    stated = re.search(r"\*\*Time\.\*\* About (an hour|\d+ minutes)", read_lesson(name)[1])[1]
    return 60 if stated == "an hour" else int(stated.split()[0])


def test_the_minutes_are_those_that_the_lessons_state():
    lessons, _, sessions, term, _ = list_tables(TEACHING)
    stated = {name[:2]: read_minutes(name) for name in (path.name for path in NOTEBOOKS.glob(LESSONS))}
    assert {re.match(r"\[(\w\w) ", row[0])[1]: int(row[1]) for row in lessons} == stated
    for row in sessions:
        assert sum(stated[name] for name in re.findall(r"\b[01A]\d\b", row[1])) == int(row[2])
    assert {row[1][:2]: int(row[2]) for row in term[:-1]} == stated


def test_the_plans_add_up():
    _, afternoon, sessions, term, _ = list_tables(TEACHING)
    *minutes, total = (int(row[0].strip("*")) for row in afternoon)
    assert sum(minutes) == total
    assert all(int(row[2]) + int(row[3]) == int(row[4]) for row in sessions)
    assert {int(row[2].replace("–", "0")) + int(row[3]) for row in term} == {90}
    assert [int(row[0]) for row in term] == list(range(1, len(term) + 1))


def test_the_points_are_those_of_the_exercises():
    term = {row[1][:2]: row[4] for row in list_tables(TEACHING)[3]}
    for path in SOLUTIONS:
        graded = [cell for cell in nbformat.read(path, as_version=4).cells if is_marked(cell, "grade")]
        assert term[path.name[:2]] == str(sum(cell.metadata.nbgrader.points for cell in graded)), path.name


def test_the_answers_are_those_of_the_sections_they_name():
    rows = list_tables(TEACHING)[4]
    assert {re.search(r"\((\w\w)_", row[0])[1] for row in rows} == {path.name[:2] for path in NOTEBOOKS.glob("*.ipynb")}
    for section, _, answer in rows:
        title, name = re.fullmatch(r"\[(.+)\]\((.+)\)", section).groups()
        headings, text = read_lesson(name)
        assert title in headings, section
        for number in re.findall(r"[−+]?\d+(?:[.,]\d+)*", answer):
            assert number in text, f"{section}: {number}"


def test_the_data_that_are_drawn_before_class_are_those_that_the_lessons_load():
    drawn = re.search(r"data\.load\(n\) for n in (\(.*?\))", read(TEACHING))[1]
    sources = "".join(read_lesson_code(path) for path in NOTEBOOKS.glob(LESSONS))
    loaded = set(re.findall(r'data\.load\("((?:streets|cells)/\w+)"', sources)) | {"streets/tiny"}
    assert loaded == set(re.findall(r"'(.+?)'", drawn))


def read_lesson_code(path):
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")


# Versions


def test_changelog_citation_and_package_have_one_version():
    newest, date = re.search(r"^## \[(.+?)\] - (.+)$", read(ROOT / "CHANGELOG.md"), re.MULTILINE).groups()
    cited = yaml.safe_load(read(ROOT / "CITATION.cff"))
    assert newest == seglib.__version__ == cited["version"] and date == cited["date-released"]
    assert cited["cff-version"] == "1.2.0" and cited["license"] == "Apache-2.0" and "doi" not in cited
    assert {"message", "title", "authors"} <= set(cited)
