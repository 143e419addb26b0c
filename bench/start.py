"""How long until there is something to see? Drawing a dataset, loading one that is there, the README's first mask.

    git worktree add ../older 683a39d                          # the last revision that draws in one process
    python bench/start.py drawing --against ../older           # streets/full; some five minutes on two cores
    python bench/start.py drawing cells/tiny --scenes 120
    python bench/start.py load
    python bench/start.py first --course                       # and `make course`, for the ratio: ten minutes

Everything is timed in new processes, the sides by turns, in seconds of the clock: it should be the only work of the
machine, whose load is printed.

- **drawing**: the scenes that TFDS writes, TensorFlow's import not counted: in one process, in as many as there are
  processors, and by an older checkout. The SHA-256 of all that is read back must be the same of all.
- **load**: what ``from seglib import data`` and ``data.load("streets/tiny")``, drawn before, take after the imports of
  TensorFlow and TFDS; seconds of a processor, too, which other work lengthens less.
- **first**: the README's command for a first mask, which must be the same each time, without the installation.
"""

import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ranges import form_range

ROOT = Path(__file__).resolve().parents[1]
DRAW = """
import hashlib, os, sys, tempfile, time
import tensorflow as tf
from seglib.datasets import cells, drawn, streets
name, config, scenes, count = sys.argv[1:]
module, maker = {"streets": (streets, streets.Streets), "cells": (cells, cells.Cells)}[name]
left, splits = int(scenes), {}
for split, seeds in module.SPLITS.items():
    splits[split], left = seeds[:left], left - len(seeds[:left])
module.builder.SPLITS = {split: seeds for split, seeds in splits.items() if seeds}
if count != "all":
    drawn.count_processors = lambda: int(count)
digest = hashlib.sha256()
with tempfile.TemporaryDirectory() as folder:
    builder = maker(config=config, data_dir=folder)
    began, before = time.perf_counter(), sum(os.times()[:4])
    builder.download_and_prepare()
    seconds, processor = time.perf_counter() - began, sum(os.times()[:4]) - before
    for split in module.builder.SPLITS:
        for example in builder.as_dataset(split=split).as_numpy_iterator():
            for array in tf.nest.flatten(example):
                digest.update(array.tobytes())
print(seconds, processor, digest.hexdigest())
"""
LOAD = """
import sys, time, tensorflow
times = [(time.perf_counter(), time.process_time())]
for step in sys.argv[1:]:
    exec(step)
    times.append((time.perf_counter(), time.process_time()))
print(*(after - before for a, b in zip(times, times[1:]) for before, after in zip(a, b)))
"""


def run_new(code, *arguments, folder=ROOT):
    """The last line that a new process prints, as words; it imports the seglib of ``folder``."""
    env = {**os.environ, "PYTHONPATH": str(Path(folder).resolve()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, env=env, check=True
    )
    return run.stdout.splitlines()[-1].split()


def measure_drawing(options):
    name, _, config = options.dataset.partition("/")
    sides = {"one process": (ROOT, "0"), "all processors": (ROOT, "all")}
    if options.against:
        sides = {"older": (options.against, "all"), **sides}
    seconds, processor, digests = {side: [] for side in sides}, {side: [] for side in sides}, set()
    for _ in range(options.rounds):
        for side, (folder, count) in sides.items():
            took, spent, digest = run_new(DRAW, name, config, str(options.scenes), count, folder=folder)
            seconds[side].append(float(took))
            processor[side].append(float(spent))
            digests.add(digest)
            print(f"{side}: {float(took):.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    assert len(digests) == 1, f"what was drawn differs: {digests}"
    first = next(iter(sides))
    for what, figures in {"clock": seconds, "processor": processor}.items():
        for side, values in figures.items():
            ratios = [before / after for before, after in zip(figures[first], values, strict=True)]
            told = f"{form_range(values, '.2f')} s, {first} / this: {form_range(ratios, '.2f')}"
            print(f"{options.dataset}, {options.scenes} scenes, {what}, {side}: {told}")
    print(f"the same bytes {digests.pop()}")


def measure_load(options):
    from seglib import data

    data.load("streets/tiny")
    steps = ("import tensorflow_datasets", "from seglib import data", load := "data.load('streets/tiny')", load)
    figures = [[*map(float, run_new(LOAD, *steps))] for _ in range(options.rounds)]
    clock, processor = (list(zip(*(row[i::2] for row in figures), strict=True)) for i in (0, 1))
    for i, step in enumerate(steps):
        print(f"{step}: {form_range(clock[i], '.2f')} s, of a processor {form_range(processor[i], '.2f')} s")


def measure_first(options):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    words = shlex.split(re.search(r"^python (-m seglib predict unet \S+)", readme, re.MULTILINE)[1])
    seconds, masks = [], set()
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            subprocess.run([sys.executable, *words, "--out", folder], cwd=ROOT, capture_output=True, check=True)
            seconds.append(time.perf_counter() - began)
            masks.add((Path(folder) / "street.png").read_bytes())
    assert len(masks) == 1
    print(f"first mask: {form_range(seconds, '.2f')} s")
    if options.course:
        began = time.perf_counter()
        subprocess.run([sys.executable, "notebooks/course.py"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        whole = time.perf_counter() - began
        print(f"make course: {whole:.0f} s; first mask / make course: {statistics.median(seconds) / whole:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    for name, run, rounds in (("drawing", measure_drawing, 3), ("load", measure_load, 7), ("first", measure_first, 3)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--rounds", type=int, default=rounds)
        if name == "drawing":
            command.add_argument("dataset", nargs="?", default="streets/full")
            command.add_argument("--scenes", type=int, default=560)
            command.add_argument("--against", type=Path, help="the folder of an older checkout")
        elif name == "first":
            command.add_argument("--course", action="store_true")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
