"""Sphinx's settings for the pages of the course; ``pages.py`` lays out the sources around this file."""

import re
from importlib.util import find_spec
from pathlib import Path

from nbformat import v4

HERE = Path(__file__).resolve().parent
ADDRESS = (HERE / "notebooks" / "colab.txt").read_text(encoding="utf-8").strip()
STAMPED = not ADDRESS.startswith("OWNER/")
BADGE = re.compile(r"\[!(\[[^]]*\])\(http\S*\)\](\(\S*\))")
LINK = re.compile(r"(?<!!)(\[[^][]+\])\((?!\w+:)([^)#\s]+)[^)\s]*\)")
HIDDEN = {"setup": "remove-cell", "hero": "remove-input"}

project = html_title = "Semantic segmentation"
html_theme = "sphinx_book_theme"
html_theme_options = {"show_navbar_depth": 1, "max_navbar_depth": 1, "home_page_in_toc": True, "navbar_persistent": []}
html_theme_options |= {"repository_url": f"https://github.com/{ADDRESS}" * STAMPED, "repository_branch": "main"}
html_theme_options |= {"use_repository_button": STAMPED, "use_issues_button": STAMPED, "footer_content_items": []}
html_theme_options |= {"launch_buttons": {"colab_url": "https://colab.research.google.com"} if STAMPED else {}}
html_sourcelink_suffix = ""  # a notebook is downloaded by its own name
html_static_path = [str(Path(find_spec("jupyter_server_mathjax").origin).with_name("static"))]
exclude_patterns = ["notebooks/solutions", "localization"]  # the latter: MathJax's menu in other languages
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_code_prompt_show, nb_code_prompt_hide = "Show a solution", "Hide the solution"
napoleon_attr_annotations = False
mathjax_path = "MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
mathjax2_config = {
    "tex2jax": {"processClass": "tex2jax_process|mathjax_process|math|output_area"},
    # The only font that the package carries. In the theme's own boxes formulas would stand above the line.
    "HTML-CSS": {"availableFonts": [], "webFont": "STIX-Web", "styles": {"span.math": {"display": "inline"}}},
}


def fit_links(text, folder):
    """Markdown whose links hold in the pages: a file without a page is linked on GitHub, or not at all.

    Badges become words, since their pictures are on the network; anchors in HTML become MyST's.
    """

    def fit(link):
        path = (folder / link[2]).resolve()
        where = f"(https://github.com/{ADDRESS}/blob/main/{path.relative_to(HERE).as_posix()})"
        return link[0] if path.is_file() else link[1] + where if STAMPED else link[1][1:-1]

    text = BADGE.sub(r"\1\2" if STAMPED else "", text)
    return LINK.sub(fit, re.sub(r'<a id="([\w-]+)"></a>', r"[]{#\1}", text))


def fit_cells(notebook, solved):
    """The cells of a page: alt texts where myst-nb reads them, and below an exercise's cell its solution, folded.

    The class of figures keeps the theme from dimming their colours in the dark.
    """
    for cell, solution in zip(notebook.cells, solved.cells, strict=True):
        is_answer = solution.metadata.get("nbgrader", {}).get("solution")
        alts = [output.get("metadata", {}).get("image/png", {}).get("alt") for output in solution.get("outputs", [])]
        alt = next(filter(None, [cell.metadata.get("alt"), *alts]), "figure")
        tags = [HIDDEN[tag] for tag in cell.metadata.get("tags", []) if tag in HIDDEN]
        cell.metadata = {"tags": tags, "mystnb": {"image": {"alt": alt, "classes": "dark-light"}}}
        if cell.cell_type == "code" and not is_answer:
            cell.outputs = solution.outputs
        yield cell
        if is_answer:
            solution.update(id=f"{cell.id}-solution", metadata={"tags": ["hide-input"]})
            yield solution


def fit_source(app, name, content):
    """What a page shows of its file (Sphinx's event ``source-read``). What readers download is the file as it is."""
    path = Path(app.env.doc2path(name))
    if path.suffix == ".ipynb":
        solved = HERE / "notebooks" / "solutions" / path.name if path.parent.name == "exercises" else path
        notebook = v4.reads(content[0])
        notebook.cells = list(fit_cells(notebook, v4.reads(solved.read_text(encoding="utf-8"))))
        for cell in (cell for cell in notebook.cells if cell.cell_type == "markdown"):
            cell.source = fit_links(cell.source, path.parent)
        notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}  # others know no "!git"
        content[0] = v4.writes(notebook)
    elif path.suffix == ".md":
        content[0] = fit_links(content[0], path.parent)


def setup(app):
    app.connect("source-read", fit_source)
    app.connect("autodoc-skip-member", lambda *of: (of[3].__doc__ or "").startswith("Alias for field number") or None)
