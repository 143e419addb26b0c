"""The pages of ``make site``: their links, what they load, and what a browser shows of them, where there is one."""

import functools
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import course
import nbformat
import pytest
from browser import Browser, find_missing, wait_for
from floor_plan import ROOMS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(path.stem for path in NOTEBOOKS.glob(course.LESSONS))
EXERCISES = sorted(path.stem for path in (NOTEBOOKS / "exercises").glob("*.ipynb"))
IMAGE = re.compile(r'<img[^>]*?alt="([^"]*)"')
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """The ids of a page, where its links lead, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded = set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.add(attributes["href"])
        if tag in LOADED and LOADED[tag] in attributes:
            self.loaded.add(attributes[LOADED[tag]])

    handle_startendtag = handle_starttag


@functools.cache
def read_page(path):
    return Page(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the repository as it is. Sphinx turns a warning into an error, and that is the exit code."""
    out = tmp_path_factory.mktemp("built") / "site"
    assert course.main(["--pages"], out=out) == 0
    return out


def list_pages(site):
    """The pages with an outline; those that Sphinx adds, such as the index of names, are tested with the others."""
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


def test_every_file_has_its_page(site):
    wanted = {"index.html", "data/README.html", "notebooks/glossary.html", "notebooks/exercises/README.html"}
    wanted |= {f"notebooks/{name}.html" for name in LESSONS} | {
        f"notebooks/exercises/{name}.html" for name in EXERCISES
    }
    wanted |= {f"seglib.{room}.html" for room in ROOMS if room != "__main__"}
    wanted |= {"bench/README.html"} if (ROOT / "bench" / "README.md").exists() else set()
    assert wanted <= {path.relative_to(site).as_posix() for path in list_pages(site)}


def test_links_and_anchors_hold(site):
    broken = []
    for path in list_pages(site):
        for link in read_page(path).links | read_page(path).loaded:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme in ("http", "https", "data", "mailto"):
                continue
            if not target.is_file():
                broken.append(f"{path.name}: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read_page(target).ids:
                broken.append(f"{path.name}: {link}, which has no such anchor")
    assert not broken


def test_links_of_the_sources_lead_to_files():
    """A page drops a link to a file that has no page, so that a wrong name would not be seen there."""
    paths = [*NOTEBOOKS.glob("*.md"), *NOTEBOOKS.glob("*/README.md"), ROOT / "data/README.md", ROOT / "bench/README.md"]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    for path in [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("*/*.ipynb")]:
        cells = nbformat.read(path, as_version=4).cells
        texts[path] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    links = [(path, link) for path, text in texts.items() for link in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)]
    assert links and not [(path.name, link) for path, link in links if not (path.parent / link).exists()]


def test_nothing_is_loaded_from_the_network(site):
    for path in list_pages(site):
        assert not [address for address in read_page(path).loaded if re.match("(https?:)?//", address)], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_search_knows_terms_and_functions(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert '"aspp"' in index and "lr_range_test" in index


@pytest.mark.parametrize("name", LESSONS)
def test_pages_have_the_alt_texts(site, name):
    wanted = []
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                wanted.append(cell.metadata.get("alt") or output.metadata["image/png"]["alt"])
            else:  # a film is an image in HTML
                wanted += IMAGE.findall(output.get("data", {}).get("text/html", ""))
    page = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert [html.unescape(alt) for alt in IMAGE.findall(page)] == wanted


@pytest.mark.parametrize("name", EXERCISES)
def test_solutions_are_folded_and_not_in_the_download(site, name):
    cells = nbformat.read(NOTEBOOKS / "solutions" / f"{name}.ipynb", as_version=4).cells
    page = (site / "notebooks" / "exercises" / f"{name}.html").read_text(encoding="utf-8")
    folded = re.findall(r"<details.*?</details>", page, re.DOTALL)
    answers = sum(bool(cell.metadata.get("nbgrader", {}).get("solution")) for cell in cells)
    assert answers == sum("Show a solution" in text for text in folded) > 0
    assert "BEGIN SOLUTION" not in re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
    assert "BEGIN HIDDEN TESTS" not in page
    student = (NOTEBOOKS / "exercises" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert (site / "_sources" / "notebooks" / "exercises" / f"{name}.ipynb").read_text(encoding="utf-8") == student


# The address, and what is refused


def write_notebook(folder, executed=True):
    """One lesson with badges and a link to a file that has no page."""
    badges = "".join(
        f"[![Open in {place}](https://{place}.example/badge.svg)](https://{place}.example/github/ada/course) "
        for place in ("Colab", "Kaggle")
    )
    cells = [
        new_markdown_cell(f"# One\n\n{badges}\n\nSee [the code](../seglib/viz.py)."),
        new_code_cell("1", execution_count=1 if executed else None),
    ]
    folder.mkdir()
    nbformat.write(new_notebook(cells=cells), folder / "01_one.ipynb")


def test_a_copy_without_an_address_says_so_and_has_no_dead_button(tmp_path):
    write_notebook(tmp_path / "notebooks")
    (tmp_path / "notebooks" / "colab.txt").write_text("OWNER/NAME\n")
    assert course.main(["--pages"], tmp_path / "notebooks", tmp_path / "out") == 0
    index = re.sub("<[^>]*>", "", (tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert "has no address yet" in index and "make colab REPO=owner/name" in index
    page = (tmp_path / "out" / "notebooks" / "01_one.html").read_text(encoding="utf-8")
    assert "See the code." in page and not re.search("OWNER|Open in|example|colab", page)


def test_with_an_address_pages_lead_to_colab_kaggle_and_github(tmp_path):
    write_notebook(tmp_path / "notebooks")
    (tmp_path / "notebooks" / "colab.txt").write_text("ada/course\n")
    assert course.main(["--pages"], tmp_path / "notebooks", tmp_path / "out") == 0
    assert "no address" not in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    found = read_page(tmp_path / "out" / "notebooks" / "01_one.html")
    assert {
        "https://Colab.example/github/ada/course",  # the words that were badges
        "https://Kaggle.example/github/ada/course",
        "https://colab.research.google.com/github/ada/course/blob/main/notebooks/01_one.ipynb",  # the theme's button
        "https://github.com/ada/course/blob/main/seglib/viz.py",
    } <= found.links
    assert not [address for address in found.loaded if "example" in address]


def test_a_lesson_that_has_not_been_executed_is_refused(tmp_path, capsys):
    write_notebook(tmp_path / "notebooks", executed=False)
    assert course.main(["--pages"], tmp_path / "notebooks", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "01_one.ipynb has not been executed" in error and "course.py --save --only 01" in error
    assert not (tmp_path / "out").exists()


def test_a_link_to_no_anchor_is_refused(tmp_path, capsys):
    write_notebook(tmp_path / "notebooks")
    (tmp_path / "notebooks" / "glossary.md").write_text("# Glossary\n\n[one](01_one.ipynb#two)\n")
    assert course.main(["--pages"], tmp_path / "notebooks", tmp_path / "out") == 1
    assert "'two'" in capsys.readouterr().err


# In a browser, from the files, as after `make course`


@pytest.fixture(scope="module")
def browser(site, tmp_path_factory):
    if missing := find_missing():
        pytest.skip(missing)
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.stop()


@pytest.mark.long
def test_every_page_opens_draws_its_formulas_and_asks_no_network(browser, site):
    drawn = 0
    for path in list_pages(site):
        browser.open(path.as_uri())
        assert "".join(browser.read("h1")).strip(), path.name
        formulas = len(browser.read(".math.notranslate"))
        wait_for(lambda: len(browser.read(".MathJax")) == formulas)  # noqa: B023, it is called here
        assert not browser.read(".MathJax_Error, .merror"), path.name
        assert not [path.name for width in browser.read("article img", "naturalWidth") if not width]
        drawn += formulas
    assert drawn > 100
    assert browser.list_requests("file:") and not browser.list_requests()


@pytest.mark.long
def test_search_finds_aspp(browser, site):
    browser.open(f"{(site / 'search.html').as_uri()}?q=ASPP")
    wait_for(lambda: "05_deeplabv3plus" in json.dumps(browser.read("#search-results a", "href")))


@pytest.mark.long
def test_figures_keep_their_colours_in_the_dark(browser, site):
    browser.open((site / "notebooks" / "06_losses_and_training.html").as_uri())
    script = """
        document.documentElement.dataset.theme = 'dark';
        const figure = getComputedStyle(document.querySelector('.cell_output img'));
        return [getComputedStyle(document.body).backgroundColor, figure.filter];
    """
    background, changed = browser.call("POST", "/execute/sync", {"script": script, "args": []})
    assert max(map(int, re.findall(r"\d+", background)[:3])) < 64 and changed == "none"
    for path in (site / "_images").glob("*.png"):  # and bring their own paper
        assert Image.open(path).convert("RGBA").getchannel("A").getextrema()[0] == 255, path.name
