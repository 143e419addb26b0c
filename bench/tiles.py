"""How much memory does an image of 96 million pixels take, tile by tile? And do tiles say what the whole image would?

    python bench/tiles.py             # 8,000×12,000 pixels; prints, and leaves nothing
    python bench/tiles.py --size 2000 3000

A U-Net of 16 channels and four levels, which learns for a moment on ``cells/tiny``, and a slide stitched from its test
fields. Memory is the most that the process ever had, less what it had with the model in it and one tile seen. The whole
image is compared on a part of 1,024×1,536 pixels, a size that fits.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import seeds
from PIL import Image

from seglib import data, images, models, predict, train

FIELD, TILE = (96, 96), 512
MEBIBYTE = 2**20


def stitch(fields, size, seed=0):
    """A slide of fields laid side by side, each a random one, turned at random: (height, width, 3) uint8."""
    rng, (height, width), side = np.random.default_rng(seed), size, FIELD[0]
    slide = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, side):
        for left in range(0, width, side):
            field = np.rot90(fields[rng.integers(len(fields))], rng.integers(4))
            slide[top : top + side, left : left + side] = field[: height - top, : width - left]
    return slide


def peak():
    """The most memory that this process ever had, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


def train_model(dataset):
    train.seed(0)
    model = models.unet((None, None, 3), dataset.labels.num_classes, filters=16, depth=4)
    seeds.fit(model, dataset.batches("train", FIELD, 6), epochs=4, rate=3e-3)
    return model


def run(kind, file, model_path, out):
    """In a process of its own, so that its memory is its own: prints seconds and MiB."""
    model, labels = predict.load_model(model_path), data.load("cells/tiny").labels
    predict.segment(model, np.zeros((TILE, TILE, 3), np.uint8))
    before, began = peak(), time.perf_counter()
    image = np.load(file, mmap_mode="r") if kind == "npy" else file
    ids = predict.tiled(model, image, TILE, out=out, labels=labels)
    print(f"{ids.shape[0]}×{ids.shape[1]} from .{kind}: {time.perf_counter() - began:.0f} s, "
          f"{peak() - before:.0f} MiB above the {before:.0f} MiB with the model and a tile, "
          f"{Path(out).stat().st_size / MEBIBYTE:.0f} MiB written", flush=True)  # fmt: skip


def compare(model, fields):
    slide = stitch(fields, (1024, 1536), seed=1)
    whole = predict.segment(model, slide)
    for overlap in (64, 0):
        same = (predict.tiled(model, slide, TILE, overlap) == whole).mean()
        print(f"tiles of {TILE} that share {overlap} pixels: {same:.4%} of the ids are those of the whole image")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, nargs=2, default=(8000, 12000), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return run(*options.run)
    dataset = data.load("cells/tiny")
    fields = [pair["image"] for pair in dataset.test.as_numpy_iterator()]
    model = train_model(dataset)
    compare(model, fields)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model.save(folder / "model.keras")
        slide = stitch(fields, options.size)
        np.save(folder / "slide.npy", slide)
        Image.fromarray(slide).save(folder / "slide.png", compress_level=1)
        del slide
        for kind in ("png", "npy"):
            arguments = [kind, folder / f"slide.{kind}", folder / "model.keras", folder / f"{kind}.tif"]
            os.spawnv(os.P_WAIT, sys.executable, [sys.executable, __file__, "--run", *map(str, arguments)])
        same = np.array_equal(*(images.read_mask(folder / f"{kind}.tif") for kind in ("png", "npy")))
        print("both files alike:", same)


if __name__ == "__main__":
    main()
