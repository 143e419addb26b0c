"""Sphinx's settings for the pages of the course. ``course.write_pages`` copies this file beside the pages' sources."""

import re
from importlib.util import find_spec
from pathlib import Path

from nbformat import v4 as nbformat

HERE = Path(__file__).resolve().parent
ADDRESS = (HERE / "notebooks" / "colab.txt").read_text().strip()
GITHUB = "" if ADDRESS.startswith("OWNER/") else f"https://github.com/{ADDRESS}"  # empty: nobody has stamped it yet

project = html_title = "Semantic segmentation"
html_theme = "sphinx_book_theme"
html_theme_options = {"show_navbar_depth": 1, "home_page_in_toc": True, "navbar_persistent": []}
if GITHUB:
    html_theme_options |= {"repository_url": GITHUB, "repository_branch": "main", "use_repository_button": True}
    html_theme_options["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}
html_sourcelink_suffix = ""  # a notebook is downloaded by its own name
html_static_path = [str(Path(find_spec("jupyter_server_mathjax").origin).with_name("static"))]
exclude_patterns = ["notebooks/solutions", "localization"]  # of MathJax: its menu in other languages
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
autodoc_mock_imports = ["keras", "tensorflow", "tensorflow_datasets"]  # seconds, and none of their docstrings
nb_code_prompt_show = "Show a solution"
suppress_warnings = ["toc"]
mathjax_path = "MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
mathjax2_config = {"tex2jax": {"processClass": "tex2jax_process|mathjax_process|math|output_area"}}


def fit_links(text, folder):
    """Markdown whose links hold in the pages: to a page, else to the file on GitHub, else the words alone."""

    def fit(link):
        path = (folder / link[2]).resolve()
        if path.is_file():
            return link[0]
        return f"[{link[1]}]({GITHUB}/blob/main/{path.relative_to(HERE).as_posix()})" if GITHUB else link[1]

    text = re.sub(r"\[!\[([^]]*)\]\(https?:[^)]*\)\](\([^)]*\))", r"[\1]\2" if GITHUB else "", text)  # badges
    text = re.sub(r'<a id="([\w-]+)"></a>', r"[]{#\1}", text)
    return re.sub(r"(?<!!)\[([^][]+)\]\((?!\w+:|#)([^)#\s]+)[^)]*\)", fit, text)


def fit_cells(notebook, solved):
    """The cells of a page: no set-up, alt texts where myst-nb reads them, a solution folded below its exercise."""
    for cell, solution in zip(notebook.cells, solved.cells, strict=True):
        shown = next((output.metadata for output in cell.get("outputs", []) if "metadata" in output), {})
        alt = cell.metadata.get("alt") or shown.get("image/png", {}).get("alt", "figure")
        hidden = {"setup": "remove-cell", "hero": "remove-input"}
        tags = [hidden[tag] for tag in cell.metadata.get("tags", []) if tag in hidden]
        cell.metadata = {"tags": tags, "mystnb": {"image": {"alt": alt}}}
        is_answer = solution.metadata.get("nbgrader", {}).get("solution")
        if cell.cell_type == "code" and not is_answer:
            cell.outputs = solution.outputs
        yield cell
        if is_answer:
            solution.update(id=f"{cell.id}-solution", metadata={"tags": ["hide-input"]})
            yield solution


def fit_source(app, name, content):
    """Sphinx's event ``source-read``: what a page shows of its file. The file itself is what readers download."""
    path = Path(app.env.doc2path(name))
    if path.suffix == ".ipynb":
        notebook = nbformat.reads(content[0])
        solved = HERE / "notebooks" / "solutions" / path.name if path.parent.name == "exercises" else path
        notebook.cells = list(fit_cells(notebook, nbformat.reads(solved.read_text(encoding="utf-8"))))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = fit_links(cell.source, path.parent)
        notebook.metadata.language_info.pygments_lexer = "ipython3"  # others know no "!git"
        content[0] = nbformat.writes(notebook)
    elif path.suffix == ".md":
        content[0] = fit_links(content[0], path.parent)


def setup(app):
    app.connect("source-read", fit_source)
    app.connect("autodoc-skip-member", lambda *of: (of[3].__doc__ or "").startswith("Alias for field number") or None)
