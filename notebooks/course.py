"""Runs the lessons, each in a fresh kernel, and writes what they showed as pages: ``make course``.

    python notebooks/course.py             # all lessons; pages in build/course/, appendices as they were committed
    python notebooks/course.py --only 04   # one lesson (A1: the first appendix)
    python notebooks/course.py --pages     # runs nothing; pages of the outputs as committed, in build/site/
    python notebooks/course.py --walk      # two training steps of the GPU settings, on any machine; no pages
    python notebooks/course.py --save      # writes the outputs into the notebooks themselves, ready to commit

A lesson states its result by printing ``claim: <text> · wanted <text> · measured <text>`` (``lesson.claim``).
"""

import argparse
import asyncio
import base64
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from pages import write_pages
from PIL import Image

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
CLAIM = re.compile(r"^claim: (?P<claim>.+?) · wanted (?P<wanted>.+?) · measured (?P<measured>.+?)\s*$", re.M)
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
KEPT_METADATA = ("tags", "jupyter", "cellView", "nbgrader", "alt", "slideshow")
LESSONS = "[0-9A][0-9]_*.ipynb"  # the lessons 01, 02, … and then the appendices A1, A2, …


@dataclass
class Lesson:
    """A lesson and, once it has run, what it showed."""

    path: Path
    notebook: nbformat.NotebookNode
    at: int = 0  # the code cell that runs, or ran last: an index into `cells`
    seconds: float = 0.0
    peak_bytes: int = 0
    claims: list[dict] = field(default_factory=list)

    @property
    def name(self):
        return self.path.stem

    @property
    def is_appendix(self):
        return self.name.startswith("A")

    @property
    def title(self):
        headings = (re.search(r"^# +(.+)", c.source, re.M) for c in self.notebook.cells if c.cell_type == "markdown")
        return next((re.sub("[*`]", "", found[1]) for found in headings if found), self.name)

    @property
    def cells(self):
        return [cell for cell in self.notebook.cells if cell.cell_type == "code" and cell.source.strip()]

    @property
    def figure(self):
        """The figure of the cell tagged ``answer``, else the lesson's first, as PNG in base64; None if it has none."""
        drawn = [cell for cell in self.cells if not has_tag(cell, "hero")]
        cells = sorted(drawn, key=lambda cell: not has_tag(cell, "answer"))
        shown = (output.get("data", {}) for cell in cells for output in cell.outputs)
        return next((data["image/png"] for data in shown if "image/png" in data), None)


def has_tag(cell, tag):
    """Whether a cell has a tag: ``answer``, whose figure is the lesson's answer, and ``hero``, which shows it above."""
    return tag in cell.metadata.get("tags", [])


class LessonError(Exception):
    """A lesson did not run to its end; the message says where and why."""


class Watch(threading.Thread):
    """While a lesson runs: samples the memory of its kernel's processes and keeps the line on the terminal current."""

    def __init__(self, lesson):
        super().__init__(daemon=True)
        self.lesson, self.done, self.start_time = lesson, threading.Event(), time.monotonic()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.done.set()
        self.join()
        self.lesson.seconds = time.monotonic() - self.start_time
        if sys.stdout.isatty():
            print("\r\x1b[K", end="")

    def run(self):
        while not self.done.wait(0.5):
            self.lesson.peak_bytes = max(self.lesson.peak_bytes, children_memory())
            if sys.stdout.isatty():
                elapsed = format_seconds(time.monotonic() - self.start_time)
                where = f"cell {self.lesson.at + 1} of {len(self.lesson.cells)}"
                print(f"\r\x1b[K{self.lesson.name}  {where}  {elapsed}", end="", flush=True)


def children_memory():
    """Bytes of memory that the processes started from here hold together."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def format_seconds(seconds):
    """``75.2`` → ``"1:15"``."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def read_lessons(folder, only=None):
    """The lessons of a folder in order, then its appendices, or those whose number or name starts with ``only``."""
    paths = [path for path in sorted(folder.glob(LESSONS)) if path.stem.startswith(only or "")]
    if not paths:
        raise LessonError(f"no lesson {only} in {folder.name}/" if only else f"no lessons in {folder.name}/")
    return [Lesson(path, nbformat.read(path, as_version=4)) for path in paths]


def check_backend():
    """Refuses a ``KERAS_BACKEND`` that Keras does not know or that is not installed, before a lesson starts."""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in ("tensorflow", "jax", "torch"):
        raise LessonError(f"KERAS_BACKEND (BACKEND of make) must be tensorflow, jax or torch, got {backend!r}")
    if importlib.util.find_spec(backend) is None:
        raise LessonError(f"{backend} is not installed; type: {sys.executable} -m pip install {backend}")


def make_client(lesson, stopped):
    """What executes a lesson. On Ctrl-C it sets the event ``stopped`` and shuts the kernel down."""

    def stop(task):
        stopped.set()
        task.cancel()

    def on_start(**_):  # in place of nbclient's own handler, which makes Ctrl-C look like a kernel that died
        with contextlib.suppress(NotImplementedError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop, asyncio.current_task())

    def on_cell(cell, **_):
        lesson.at = next((i for i, other in enumerate(lesson.cells) if other is cell), lesson.at)

    return NotebookClient(
        lesson.notebook,
        kernel_name="python3",
        timeout=None,
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],  # the libraries' own logs are no part of a lesson
        record_timing=False,
        coalesce_streams=True,  # else one cell's prints are split by chance
        resources={"metadata": {"path": str(lesson.path.parent)}},
        on_notebook_start=on_start,
        on_cell_start=on_cell,
    )


def run_lesson(lesson, env):
    """Executes a lesson in a fresh kernel and fills in its outputs, seconds, peak memory and claims.

    Raises:
        LessonError: a cell failed, or the kernel died.
        KeyboardInterrupt: Ctrl-C; the kernel has been shut down.
    """
    stopped = threading.Event()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            with Watch(lesson):
                make_client(lesson, stopped).execute(env={**os.environ, **env}, stderr=log)
        except CellExecutionError:
            traceback = lesson.cells[lesson.at].outputs[-1].get("traceback", [])
            raise LessonError(describe_failure(lesson, "\n".join(traceback))) from None
        except (DeadKernelError, asyncio.CancelledError):
            if stopped.is_set():
                raise KeyboardInterrupt from None
            log.seek(0)
            why = f"The kernel died. Was there enough memory? The end of its log:\n{''.join(log.readlines()[-8:])}"
            raise LessonError(describe_failure(lesson, why)) from None
    show_answer(lesson)
    lesson.claims = read_claims(lesson)


def read_claims(lesson):
    """What the outputs of a lesson claim: a list of mappings with ``claim``, ``wanted`` and ``measured``."""
    return [found.groupdict() for text in streams(lesson, "stdout") for found in CLAIM.finditer(text)]


def show_answer(lesson):
    """Lets the cell tagged ``hero`` show the figure of this run; returns that as a small PNG, None if there is none."""
    png = None
    for output in (output for cell in lesson.cells if has_tag(cell, "hero") for output in cell.outputs):
        if lesson.figure and "image/png" in output.get("data", {}):
            png = shrink_figure(lesson.figure)
            output.data["image/png"] = base64.b64encode(png).decode()
    return png


def shrink_figure(figure, width=1200):
    """A figure, PNG in base64, as a PNG of 256 colours and at most ``width`` pixels."""
    drawn, file = Image.open(io.BytesIO(base64.b64decode(figure))).convert("RGBA"), io.BytesIO()
    small = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    small.thumbnail((width, width))
    small.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def streams(lesson, name):
    """The texts that a lesson wrote to ``"stdout"`` or ``"stderr"``, one for each output."""
    outputs = (output for cell in lesson.cells for output in cell.outputs)
    return [output.text for output in outputs if output.output_type == "stream" and output.name == name]


def describe_failure(lesson, traceback):
    """Lesson, cell, source and traceback, coloured only where a terminal reads it."""
    traceback = traceback if sys.stderr.isatty() else ANSI.sub("", traceback)
    where = f"{lesson.path.name}, code cell {lesson.at + 1} of {len(lesson.cells)}, failed:"
    return f"{where}\n\n{textwrap.indent(lesson.cells[lesson.at].source, '    ')}\n\n{traceback.rstrip()}"


def save_outputs(lesson):
    """Writes a lesson that has run back to its file, without what differs from one clean run to the next.

    The figure of its answer is written to ``figures/``, where ``lesson.show_answer`` finds it in later runs.

    Raises:
        LessonError: a cell wrote to stderr, which no lesson should show.
    """
    for at, cell in enumerate(lesson.cells):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                lesson.at = at
                raise LessonError(describe_failure(lesson, f"It wrote to stderr:\n{output.text}"))
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    for cell in lesson.notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT_METADATA if key in cell.metadata}
    metadata = lesson.notebook.metadata
    metadata.pop("widgets", None)
    metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata["language_info"] = {"name": "python"}
    nbformat.write(lesson.notebook, lesson.path)
    if png := show_answer(lesson):
        figures = lesson.path.parent / "figures"
        figures.mkdir(exist_ok=True)
        (figures / f"{lesson.name[:2]}.png").write_bytes(png)


def summarise(lessons):
    """What ``results.json`` holds: the lessons, what they measured, and the versions they ran with."""
    versions = {"python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "lessons": [
            {
                "lesson": lesson.name,
                "title": lesson.title,
                "seconds": round(lesson.seconds, 1),
                "peak_bytes": lesson.peak_bytes,
                "claims": lesson.claims,
            }
            for lesson in lessons
        ],
        "seconds": round(sum(lesson.seconds for lesson in lessons), 1),
        "peak_bytes": max(lesson.peak_bytes for lesson in lessons),
        "processors": os.cpu_count(),
        "versions": versions,
    }


def print_table(lessons):
    """The table that ends ``make course``: a line for each claim."""
    blank = {"claim": "", "wanted": "", "measured": ""}
    rows = [("lesson", "seconds", "claim", "wanted", "measured")]
    for lesson in lessons:
        lead = (lesson.name, f"{lesson.seconds:.0f}")
        for claim in lesson.claims or [blank]:
            rows.append((*lead, claim["claim"], claim["wanted"], claim["measured"]))
            lead = ("", "")
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    others = sum(widths) - widths[2] + 8
    widths[2] = min(widths[2], max(24, shutil.get_terminal_size((120, 24)).columns - others))
    print()
    for lead, seconds, claim, wanted, measured in rows:
        wrapped = textwrap.wrap(claim, widths[2]) or [""]
        for i, text in enumerate(wrapped):
            parts = (lead, seconds.rjust(widths[1]), text, wanted, measured) if i == 0 else ("", "", text, "", "")
            print("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())


def run_all(lessons, env, after=lambda lesson: None):
    """Runs lessons in order, each with a line when it is done (and, off a terminal, one when it starts)."""
    for lesson in lessons:
        if not sys.stdout.isatty():
            print(f"{lesson.name}  {len(lesson.cells)} cells...", flush=True)
        run_lesson(lesson, env)
        after(lesson)
        result = "{claim}: {measured}".format(**lesson.claims[0]) if lesson.claims else "ran to its end"
        print(f"{lesson.name}  {format_seconds(lesson.seconds)}  {result}", flush=True)


def walk(lessons, env):
    """Runs lessons with two training steps of the GPU settings; the last line counts. Returns the exit code."""
    passed, failed = [], 0
    print("walking the GPU branch of every lesson, two training steps each...", flush=True)
    try:
        run_all(lessons, {**env, "SEGLIB_PROFILE": "gpu", "SEGLIB_STEPS": "2"}, passed.append)
    except LessonError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        failed = 1
    print(f"{len(passed)} passed, {failed} failed", flush=True)
    return failed


def read_and_show(lessons, env, out):
    """Runs lessons, writes their pages and ``results.json``, and prints the table.

    Appendices are only run where there is nothing else; beside lessons they are shown with the outputs they have. So
    are the lessons after one that failed, which the first page names.

    Raises:
        LessonError: a lesson failed, and the pages say so; or the pages have a mistake.
    """
    run, failure = [lesson for lesson in lessons if not lesson.is_appendix] or lessons, None
    try:
        run_all(run, env)
    except LessonError as error:
        failure, failed = error, [lesson for lesson in run if lesson.seconds][-1]
        for cell in failed.cells[failed.at + 1 :]:
            cell.outputs = []
    results = summarise(run)
    show_pages(lessons, out, results, failure)
    if failure:
        raise failure
    (out / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print_table(run)
    print(f"\n{format_seconds(results['seconds'])} in all, peak memory {results['peak_bytes'] / 2**30:.1f} GiB")
    print(f"read it: {os.path.relpath(out / 'index.html')}")


def show_committed(lessons, out):
    """Writes pages of lessons as they were committed.

    Raises:
        LessonError: a lesson has no outputs of a whole run, or the pages have a mistake.
    """
    for lesson in lessons:
        if any(cell.execution_count is None for cell in lesson.cells):
            remedy = f"python notebooks/course.py --save --only {lesson.name[:2]}"
            raise LessonError(f"{lesson.path.name} has not been executed to its end; type: {remedy}")
    show_pages(lessons, out)
    print(f"read it: {os.path.relpath(out / 'index.html')}")


def show_pages(lessons, out, results=None, failure=None):
    for lesson in lessons:
        lesson.claims = lesson.claims or read_claims(lesson)
    if warnings := write_pages(lessons, out, results, failure):
        raise failure or LessonError(f"the pages have mistakes:\n{warnings}")


def main(argv=None, folder=HERE, out=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NUMBER", help="run one lesson, for example 04 or A1")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--pages", action="store_true", help="write pages of the committed outputs; runs nothing")
    modes.add_argument("--walk", action="store_true", help="two training steps of the GPU settings; writes nothing")
    modes.add_argument("--save", action="store_true", help="write the outputs into the notebooks")
    options = parser.parse_args(argv)
    env = {
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # figures are wanted, whatever is set outside
    }
    try:
        check_backend()
        lessons = read_lessons(folder, options.only)
        if options.walk:
            return walk(lessons, env)
        elif options.save:
            run_all(lessons, {**env, "SEGLIB_PROFILE": "cpu"}, save_outputs)
        elif options.pages:
            show_committed(lessons, out or BUILD / "site")
        else:
            read_and_show(lessons, env, out or BUILD / "course")
    except LessonError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
