"""What do the defaults of ``python -m seglib train`` reach, beside recipes that were chosen by hand for the same data?

    python bench/defaults.py membrane    # the defaults, and those of bench/membrane.py, on the same 16 and 4 slices
    python bench/defaults.py camvid      # trained for 5 minutes, and bench/camvid_cpu.py --pretrained for as long

The data are sought as those scripts do. Membranes: the command sees the 16 slices alone, cuts its own validation and
test slices from them, and is scored on the other four by the Dice coefficient of the membrane. CamVid: it sees the
folders ``train`` and ``val``, and chooses the epoch by ``val``, as the script's recipe was; both are scored on it
at the images' own 360×480. Nothing is written.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import camvid_cpu
import membrane
import seeds

from seglib import __main__ as command_line
from seglib import data, labels, predict, runs


def train_membrane(folder):
    """``(Dice, seconds)`` of the defaults, then of the script."""
    found = seeds.find_shared("membranes", "membrane") / "membrane"
    pairs = data.from_folder(found / "images", found / "masks", ids=labels.BINARY_255, val=0.2, test=0)
    held_out = list(pairs.split("val").as_numpy_iterator())
    for kind, column in (("images", 0), ("masks", 1)):
        (folder / kind).mkdir()
        for pair in pairs.files["train"]:
            shutil.copy(pair[column], folder / kind)
    began = time.perf_counter()
    words = ["train", folder / "images", folder / "masks", "--out", folder / "run"]
    if command_line.main([*map(str, words)]):
        raise SystemExit(1)
    seconds = time.perf_counter() - began
    best = folder / "run" / "best.keras"
    model = predict.Scaled(predict.load_model(best), runs.read_note(best)["scale"])
    yield membrane.score(model, held_out)[2], seconds
    began = time.perf_counter()
    model = membrane.train_on(pairs, seed=0)
    seconds = time.perf_counter() - began
    yield membrane.score(model, held_out)[2], seconds


def train_camvid(folder):
    """``(mean IoU, seconds)`` of the defaults, then of the script."""
    found = seeds.find_shared("CamVid", "camvid") / "camvid"
    val, names = camvid_cpu.read(found / "val"), ",".join([*camvid_cpu.CLASSES.names, "void"])
    began = time.perf_counter()
    words = ["train", found / "*/images/*", found / "*/masks/*", "--classes", names, "--minutes", 5, "--out", folder]
    if command_line.main([*map(str, words)]):
        raise SystemExit(1)
    seconds = time.perf_counter() - began
    best = folder / "best.keras"
    model = predict.Scaled(predict.load_model(best), runs.read_note(best)["scale"])
    yield camvid_cpu.score(model, val, None), seconds
    began = time.perf_counter()
    model = camvid_cpu.fit(camvid_cpu.PRETRAINED, camvid_cpu.read(found / "train"), 300, by_steps=False)
    seconds = time.perf_counter() - began
    yield camvid_cpu.score(model, val, camvid_cpu.PRETRAINED.score_size), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", choices=("membrane", "camvid"))
    with tempfile.TemporaryDirectory() as folder:
        run = {"membrane": train_membrane, "camvid": train_camvid}[parser.parse_args().data]
        (ours, seconds), (script, others) = run(Path(folder))
    print(f"defaults {ours:.3f} in {seconds:.0f} s, script {script:.3f} in {others:.0f} s: {ours / script:.2f} × its")


if __name__ == "__main__":
    main()
