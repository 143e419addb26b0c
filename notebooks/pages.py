"""The pages of ``make course``: one for each lesson and an index, readable without a network."""

import base64
import io
import logging
import os
import re
import shutil
from html import escape
from pathlib import Path

from jinja2 import pass_context
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from traitlets.config import Config

STYLE = Path(__file__).resolve().with_name("course.css")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="course.css">
</head>
<body class="{kind}">
{body}
</body>
</html>
"""
HOME = '<a href="index.html">All lessons</a>'


class Renderer(IPythonRenderer):
    """Markdown to HTML with formulas as MathML, which browsers draw themselves, and links that hold in the pages."""

    folder = ""  # from the pages to the notebooks

    def link(self, text, url, title=None):
        if found := re.fullmatch(r"([\w.-]+\.ipynb|glossary\.md)(#.*)?", url):
            url = Path(found[1]).stem + ".html" + (found[2] or "")
        elif not re.match(r"[a-z]+:|[#/]", url):
            url = f"{self.folder}/{url}"
        return super().link(text, url, title)

    def image(self, text, url, title=None):
        return escape(text) if url.startswith("http") else super().image(text, url, title)

    def block_math(self, body):
        return f'<span class="formula">{formula(body, "block")}</span>'

    def multiline_math(self, text):
        return self.block_math(re.sub(r"^\$\$|\$\$$|^\\\\?\[|\\\\?\]$", "", text.strip()))

    def latex_environment(self, name, body):
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def inline_math(self, body):
        return formula(body, "inline")


def formula(latex, display):
    """LaTeX as MathML, or its source where the converter does not know it."""
    known = latex.strip().replace("{aligned}", "{align*}")  # the same layout; the converter knows this name
    try:
        mathml = latex_to_mathml(known, display=display)
    except Exception:  # the converter raises many kinds; a formula must not stop a page
        mathml = "\\"
    return f"<code>{escape(latex.strip())}</code>" if "\\" in mathml else mathml


class Exporter(HTMLExporter):
    """Only the cells of a notebook, with its figures embedded."""

    template_name = "basic"

    @pass_context
    def markdown2html(self, context, source):
        attachments = context.get("cell", {}).get("attachments", {})
        path = context["resources"]["path"]
        return render_markdown(source, path, context["resources"]["folder"], attachments)


def render_markdown(source, path, folder, attachments=None):
    """The HTML of Markdown that lies in the folder ``path``, to which ``folder`` leads from the page."""
    renderer = Renderer(
        escape=False, embed_images=True, exclude_anchor_links=True, path=str(path), attachments=attachments or {}
    )
    renderer.folder = folder
    return MarkdownWithMath(renderer=renderer).render(source)


def find_folder(out, folder):
    """How a page in ``out`` names ``folder`` in a link."""
    return Path(os.path.relpath(folder, out)).as_posix()


def render_notebook(lesson, out):
    """The HTML of a lesson's cells, for a page in the folder ``out``. A figure's alt text is its cell's ``alt``."""
    folder = lesson.path.parent
    resources = {"path": folder, "folder": find_folder(out, folder)}
    hidden = {"enabled": True, "remove_input_tags": {"hero", "setup"}}
    exporter = Exporter(config=Config(TagRemovePreprocessor=hidden))
    exporter.log.setLevel(logging.ERROR)
    html = exporter.from_notebook_node(lesson.notebook, resources)[0]
    return html.replace('alt="No description has been provided for this image"', 'alt="figure"')


def write_page(lesson, lessons, out):
    """Writes ``<lesson>.html`` with links to its neighbours in ``lessons``."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STYLE, out / STYLE.name)
    at = lessons.index(lesson)
    before = f'<a rel="prev" href="{lessons[at - 1].name}.html">← {escape(lessons[at - 1].title)}</a>' if at else ""
    after = ""
    if at + 1 < len(lessons):
        after = f'<a rel="next" href="{lessons[at + 1].name}.html">{escape(lessons[at + 1].title)} →</a>'
    links = f"<nav><span>{before}</span>{HOME}<span>{after}</span></nav>"
    body = f"{links}\n<main>\n{render_notebook(lesson, out)}\n</main>\n{links}"
    page = PAGE.format(title=escape(lesson.title), kind="lesson", body=body)
    (out / f"{lesson.name}.html").write_text(page, encoding="utf-8")


def write_glossary(path, out):
    """Writes the glossary, a Markdown file, as ``glossary.html``; nothing where there is no such file."""
    if path.is_file():
        html = render_markdown(path.read_text(encoding="utf-8"), path.parent, find_folder(out, path.parent))
        body = f"<nav><span></span>{HOME}<span></span></nav>\n<main>\n{html}\n</main>"
        (out / "glossary.html").write_text(PAGE.format(title="Glossary", kind="lesson", body=body), encoding="utf-8")


def shrink_figure(figure, width=1200):
    """A figure, PNG in base64, as a PNG of 256 colours and at most ``width`` pixels."""
    drawn, file = Image.open(io.BytesIO(base64.b64decode(figure))).convert("RGBA"), io.BytesIO()
    small = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    small.thumbnail((width, width))
    small.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def draw_thumbnail(lesson):
    """The lesson's figure as a small ``<img>``; empty if it has none."""
    if lesson.figure is None:
        return ""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(shrink_figure(lesson.figure, 480)).decode()}">'


def list_claims(lesson):
    """The ``<li>`` items of what a lesson claims and measured."""
    claims = [{key: escape(text) for key, text in claim.items()} for claim in lesson.claims]
    item = "<li>{claim} <span>wanted {wanted}, measured <b>{measured}</b></span></li>"
    return "".join(item.format(**claim) for claim in claims)


def write_index(lessons, results, out):
    """Writes ``index.html``: a row for each lesson: a figure, claims and measured numbers, seconds if it ran."""
    first = next((lesson for lesson in lessons if lesson.is_appendix), None)
    rows = [
        ('<tr><th colspan="3">appendices</th></tr>\n' if lesson is first else "")
        + f'<tr><td class="figure"><a href="{lesson.name}.html">{draw_thumbnail(lesson)}</a></td>'
        f'<td><h2><a href="{lesson.name}.html">{escape(lesson.title)}</a></h2><ul>{list_claims(lesson)}</ul></td>'
        f'<td class="seconds">{f"{lesson.seconds:.0f} s" if lesson.seconds else ""}</td></tr>'
        for lesson in lessons
    ]
    glossary = '<p><a href="glossary.html">Glossary</a></p>' if (out / "glossary.html").is_file() else ""
    head = "<tr><th></th><th>lesson, what it claims and what was measured</th><th>time</th></tr>"
    versions = " · ".join(f"{name} {version}" for name, version in results["versions"].items())
    measured = (
        f"{results['seconds']:.0f} s in all on {results['processors']} processors, "
        f"peak memory {results['peak_bytes'] / 2**30:.1f} GiB"
    )
    body = f"""<main>
<h1>Semantic segmentation</h1>
<table>
<thead>{head}</thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table>
{glossary}
<footer>{measured} · {escape(versions)}</footer>
</main>"""
    page = PAGE.format(title="Semantic segmentation", kind="index", body=body)
    (out / "index.html").write_text(page, encoding="utf-8")
