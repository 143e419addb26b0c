"""Does the input keep up? A folder like CamVid: the first batch, images a second, and memory for 100,000 pairs.

    python bench/input.py                    # all three, some two minutes
    python bench/input.py throughput

CamVid is not part of this repository; see bench/camvid_cpu.py for where it is sought.

- **cold**: a new process, from ``import seglib.data`` to the first batch at 360×480, without TensorFlow's own import.
- **throughput**: decoded from JPEG and PNG and resized to 256×256 in every epoch, nothing kept. Against a loader of two
  processes that does the same with Pillow (the same filter), or with OpenCV: INTER_AREA averages over what falls into
  a new pixel, as our filter does; INTER_LINEAR does not and aliases. OpenCV (``pip install opencv-python-headless``) is
  no requirement; without it those two are left out. Each figure is the median of five epochs, taken by turns, and the
  range: pairs/s, and processor milliseconds of all processes and threads, which other programs blur less. The script
  fails if our pairs are not those of Pillow's loader.
- **memory**: ``from_folder`` on links to CamVid's files under 100,000 names, then 50 batches of 256×256.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image
from ranges import form_range

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("SEGLIB_SHARED", ROOT.parent / "shared")) / "data" / "camvid" / "train"
SIZE, BATCH, EPOCHS, LINKS = (256, 256), 8, 5, 100_000

COLD = """
import sys, time
import tensorflow, tensorflow_datasets
began = time.perf_counter()
from seglib import data
camvid = data.from_folder(sys.argv[1] + "/images", sys.argv[1] + "/masks")
next(iter(camvid.batches("train", (360, 480))))
print(f"{time.perf_counter() - began:.2f}")
"""


def measure_cold():
    began = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", COLD, FOLDER], capture_output=True, text=True, check=True)
    whole = time.perf_counter() - began
    print(f"cold: first batch after {run.stdout.split()[-1]} s; with TensorFlow's import and the end {whole:.1f} s")


def read_pillow(files):
    image, mask = (Image.open(path) for path in files)
    width_first = SIZE[::-1]
    image = image.convert("RGB").resize(width_first, Image.Resampling.BILINEAR)
    return np.asarray(image), np.asarray(mask.resize(width_first, Image.Resampling.NEAREST))


def read_opencv(files, name):
    import cv2

    cv2.setNumThreads(1)
    image, mask = cv2.imread(files[0]), cv2.imread(files[1], cv2.IMREAD_UNCHANGED)
    image = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), SIZE[::-1], interpolation=getattr(cv2, name))
    return image, cv2.resize(mask, SIZE[::-1], interpolation=cv2.INTER_NEAREST)


def read_area(files):
    return read_opencv(files, "INTER_AREA")


def read_linear(files):
    return read_opencv(files, "INTER_LINEAR")


def loader(read, files):
    """An epoch of batches from two processes, as a generator function."""
    pool = multiprocessing.get_context("spawn").Pool(2)

    def epoch():
        batch = []
        for pair in pool.imap(read, files, chunksize=BATCH):
            batch.append(pair)
            if len(batch) == BATCH:
                images, masks = zip(*batch, strict=True)
                yield np.stack(images).astype(np.float32), np.stack(masks)
                batch = []

    return epoch


def measure_throughput():
    from seglib import data
    from seglib.data import dataset

    dataset.CACHE_BYTES = 0  # read anew in every epoch
    camvid = data.from_folder(FOLDER / "images", FOLDER / "masks", val=0, test=0)
    batches, files = camvid.batches("train", SIZE, BATCH), camvid.files["train"]
    epochs = {"seglib": lambda: batches, "Pillow, two processes": loader(read_pillow, files)}
    try:
        import cv2  # noqa: F401

        epochs["OpenCV INTER_AREA, two processes"] = loader(read_area, files)
        epochs["OpenCV INTER_LINEAR, two processes"] = loader(read_linear, files)
    except ImportError:
        print("OpenCV is not installed")
    for pair in files[:50]:
        theirs, ours = read_pillow(pair), dataset.read_pair(*pair, camvid.read_mask, SIZE)
        assert all(np.array_equal(*both) for both in zip(theirs, ours, strict=True)), f"{pair} differs from Pillow's"
    turns = {name: [] for name in epochs}
    for _ in range(EPOCHS + 1):  # the first one starts the processes and is not counted
        for name, epoch in epochs.items():
            began, used = time.perf_counter(), count_processor_seconds()
            pairs = sum(len(masks) for _, masks in epoch())
            used = 1000 * (count_processor_seconds() - used) / pairs
            turns[name].append((pairs / (time.perf_counter() - began), used))
    for name, turn in turns.items():
        both = list(zip(turns["seglib"][1:], turn[1:], strict=True))
        faster = form_range([ours / theirs for (ours, _), (theirs, _) in both])
        cheaper = form_range([theirs / ours for (_, ours), (_, theirs) in both])
        rate, cost = map(form_range, zip(*turn[1:], strict=True))
        print(f"throughput: {name}: {rate} pairs/s, {cost} ms; seglib is {faster} × as fast, by processor {cheaper} ×")


def count_processor_seconds():
    """Of this process and those that it has started."""
    import psutil

    here = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (here, *here.children(recursive=True)))


def measure_memory():
    import psutil

    from seglib import data

    def rss():
        return psutil.Process().memory_info().rss / 2**20

    files = data.from_folder(FOLDER / "images", FOLDER / "masks", val=0, test=0)
    next(iter(files.batches("train", SIZE)))
    pairs = files.files["train"]
    with tempfile.TemporaryDirectory() as place:
        for kind in (0, 1):
            folder = Path(place, ("images", "masks")[kind])
            folder.mkdir()
            for i in range(LINKS):
                path = pairs[i % len(pairs)][kind]
                os.symlink(os.path.abspath(path), folder / f"drive{i // 1000:03}_{i:06}{('', '_L')[kind]}{path[-4:]}")
        before, began = rss(), time.perf_counter()
        many = data.from_folder(Path(place, "images"), Path(place, "masks"), groups="^(drive[0-9]+)")
        paired, seconds = rss() - before, time.perf_counter() - began
        batches = iter(many.batches("train", SIZE, BATCH))
        for _ in range(50):
            next(batches)
        batched = rss() - before
        print(
            f"memory: {LINKS:,} pairs in {seconds:.0f} s, {paired:.0f} MiB more than before, {batched:.0f} with batches"
        )


def main():
    if not FOLDER.is_dir():
        sys.exit("skipped: no CamVid here; set SEGLIB_SHARED to the folder that holds data/camvid/train")
    wanted = sys.argv[1:] or ["cold", "throughput", "memory"]
    for what in wanted:
        {"cold": measure_cold, "throughput": measure_throughput, "memory": measure_memory}[what]()


if __name__ == "__main__":
    main()
