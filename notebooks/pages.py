"""The pages of ``make course`` and ``make site``: lays out their sources, writes the first page, and calls Sphinx."""

import os
import re
import shutil
import string
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

SITE = Path(__file__).resolve().with_name("site")
SHOWN = """
notebooks/*.md notebooks/colab.txt notebooks/exercises/* notebooks/solutions/*.ipynb notebooks/figures/*.png
data/README.md bench/README.md bench/*.png CONTRIBUTING.md CHANGELOG.md
""".split()
CONTENTS = {
    "Lessons": ("notebooks/[0-9]*.ipynb", "notebooks/A*.ipynb"),
    "Exercises": ("notebooks/exercises/*.md", "notebooks/exercises/*.ipynb"),
    "More": ("notebooks/*.md", "data/*.md", "bench/*.md", "C*.md"),
    "The package": ("seglib.*.rst",),
}
CONTENT = ":::{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n:::\n"
MODULE = "{0}\n{1}\n\n.. automodule:: {0}\n   :members:\n{2}"
NO_ADDRESS = """:::{note}
This copy of the course has no address yet, so no page has a button that opens its notebook in Colab or Kaggle. Whoever
keeps the copy types `make colab REPO=owner/name`.
:::"""
FAILED = """:::{{error}}
{}

{}

The lessons after it are shown as they were committed.
:::"""


def write_pages(lessons, out, results=None, failure=None):
    """Writes the pages of lessons, and of what is beside their folder, with Sphinx.

    Args:
        lessons: with the outputs and claims to show.
        out: a folder, which is replaced.
        results: what the run measured (``course.summarise``); None where nothing was run.
        failure: the error of a lesson that did not run to its end.

    Returns:
        What Sphinx warned of; empty if nothing.
    """
    root = lessons[0].path.parents[1]
    with tempfile.TemporaryDirectory() as folder:
        source, pages = Path(folder, "source"), Path(folder, "pages")
        lay_out(lessons, root, source)
        index = string.Template((SITE / "index.md").read_text(encoding="utf-8"))
        filled = index.substitute(fill_index(lessons, source, results, failure))
        (source / "index.md").write_text(filled, encoding="utf-8")
        command = ["sphinx", "-q", "-W", "--keep-going", "-d", Path(folder, "trees"), source, pages]
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run([sys.executable, "-m", *command], cwd=root, env=quiet, capture_output=True, text=True)
        if (pages / "index.html").is_file():
            shutil.rmtree(out, ignore_errors=True)
            shutil.move(pages, out)
    return done.stderr.strip() or "Sphinx failed" if done.returncode else ""


def lay_out(lessons, root, source):
    """Copies what there are pages of to the folder ``source``, each file to its place in the repository ``root``."""
    shutil.copytree(SITE, source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "notebooks").mkdir()
    shutil.copy(SITE.with_name("colab.txt"), source / "notebooks")
    for path in (path for pattern in SHOWN for path in root.glob(pattern)):
        (source / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, source / path.relative_to(root))
    for lesson in lessons:
        nbformat.write(lesson.notebook, source / "notebooks" / lesson.path.name)
    for path in (root / "seglib").glob("[!_]*"):
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            name, more = f"seglib.{path.stem}", "   :imported-members:\n" if path.is_dir() else ""
            (source / f"{name}.rst").write_text(MODULE.format(name, "=" * len(name), more))


def fill_index(lessons, source, results, failure):
    """What ``site/index.md`` has places for: notes, gallery, claims, the machine, and the lists of pages."""
    notes = [FAILED.format(*(quote(str(failure).splitlines()[at]) for at in (0, -1)))] if failure else []
    if (source / "notebooks" / "colab.txt").read_text(encoding="utf-8").startswith("OWNER/"):
        notes.append(NO_ADDRESS)
    gallery, claims, machine = [], [("lesson", "claim", "wanted", "measured"), ["---"] * 4], ""
    for lesson in lessons:
        title, page = quote(lesson.title), f"notebooks/{lesson.path.name}"
        figure = f"notebooks/figures/{lesson.name[:2]}.png"
        link, picture = f"[{title}]({page})", f"[![{title}]({figure})]({page})<br>"
        gallery.append(("  - " if len(gallery) % 3 else "* - ") + picture * (source / figure).is_file() + link)
        lead = link + (f" ({lesson.seconds:.0f} s)" if lesson.seconds else "")
        for claim in lesson.claims:
            claims.append((lead, *(quote(claim[key]) for key in claims[0][1:])))
            lead = ""
    if results:
        versions = " · ".join(f"{name} {version}" for name, version in results["versions"].items())
        machine = (
            f"{results['seconds']:.0f} s in all on {results['processors']} processors, "
            f"peak memory {results['peak_bytes'] / 2**30:.1f} GiB · {versions}"
        )
    contents = ""
    for caption, patterns in CONTENTS.items():
        paths = (path for pattern in patterns for path in sorted(source.glob(pattern)))
        names = "\n".join(path.relative_to(source).as_posix() for path in paths)
        contents += CONTENT.format(caption, names) if names else ""
    return {
        "notes": "\n\n".join(notes),
        "gallery": "\n".join(gallery + ["  -"] * (-len(gallery) % 3)),
        "claims": "\n".join(f"| {' | '.join(row)} |" for row in claims),
        "machine": machine,
        "contents": contents,
    }


def quote(text):
    """Markdown that shows a text letter by letter."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
