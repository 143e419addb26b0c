"""Sphinx's settings for the pages of the course; ``write_pages`` of course.py lays out the sources beside this file."""

import re
from importlib.util import find_spec
from pathlib import Path

from nbformat import v4

HERE = Path(__file__).resolve().parent
ADDRESS = (HERE / "notebooks" / "colab.txt").read_text(encoding="utf-8").strip()
STAMPED = not ADDRESS.startswith("OWNER/")

project = html_title = "Semantic segmentation"
html_theme = "sphinx_book_theme"
html_theme_options = {"show_navbar_depth": 1, "home_page_in_toc": True, "navbar_persistent": []}
if STAMPED:
    html_theme_options |= {"repository_url": f"https://github.com/{ADDRESS}", "repository_branch": "main"}
    html_theme_options |= {
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }
html_sourcelink_suffix = ""  # a notebook is downloaded by its own name
html_static_path = [str(Path(find_spec("jupyter_server_mathjax").origin).with_name("static"))]
exclude_patterns = ["notebooks/solutions", "localization"]  # the latter: MathJax's menu in other languages
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_code_prompt_show = "Show a solution"
napoleon_attr_annotations = False
suppress_warnings = [
    "toc",
    "myst.xref_missing",
]  # a link to what is no page becomes text; tests/test_site.py checks the others
mathjax_path = "MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
mathjax2_config = {
    "tex2jax": {"processClass": "tex2jax_process|mathjax_process|math|output_area"},
    "HTML-CSS": {  # the only font that the package carries; the theme's boxes would lift formulas off the line
        **{"availableFonts": [], "imageFont": None, "webFont": "STIX-Web"},
        "styles": {"span.math": {"display": "inline", "overflow": "visible"}},
    },
}


def fit_cells(notebook, solved):
    """The cells of a page: no set-up, alt texts where myst-nb reads them, a solution folded below its exercise."""
    for cell, solution in zip(notebook.cells, solved.cells, strict=True):
        tags, outputs = cell.metadata.get("tags", []), solution.get("outputs", [])
        alts = [output.get("metadata", {}).get("image/png", {}).get("alt") for output in outputs]
        alt = next((text for text in [cell.metadata.get("alt"), *alts] if text), "figure")
        hidden = {"setup": "remove-cell", "hero": "remove-input"}
        cell.metadata = {"tags": [hidden[tag] for tag in tags if tag in hidden], "mystnb": {"image": {"alt": alt}}}
        is_answer = solution.metadata.get("nbgrader", {}).get("solution")
        if cell.cell_type == "code" and not is_answer:
            cell.outputs = outputs
        yield cell
        if is_answer:
            solution.update(id=f"{cell.id}-solution", metadata={"tags": ["hide-input"]})
            yield solution


def fit_source(app, name, content):
    """What a page shows of its file: Sphinx's event ``source-read``. What readers download is the file as it is."""
    path = Path(app.env.doc2path(name))
    if path.suffix == ".ipynb":
        solved = HERE / "notebooks" / "solutions" / path.name if path.parent.name == "exercises" else path
        notebook = v4.reads(content[0])
        notebook.cells = list(fit_cells(notebook, v4.reads(solved.read_text(encoding="utf-8"))))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":  # badges ask the network for their pictures
                cell.source = re.sub(r"\[!(\[[^]]*\])\(http\S*\)\](\(\S*\))", r"\1\2" if STAMPED else "", cell.source)
        notebook.metadata.language_info.pygments_lexer = "ipython3"  # others do not know "!git"
        content[0] = v4.writes(notebook)
    elif path.suffix == ".md":
        content[0] = re.sub(r'<a id="([\w-]+)"></a>', r"[]{#\1}", content[0])


def setup(app):
    app.connect("source-read", fit_source)
    app.connect("autodoc-skip-member", lambda *of: (of[3].__doc__ or "").startswith("Alias for field number") or None)
