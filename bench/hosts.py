"""Do several hosts learn what one does, what happens when one dies, and what does it cost to hand over a batch?

    KERAS_BACKEND=jax python bench/hosts.py            # all five
    KERAS_BACKEND=jax python bench/hosts.py equal|killed|rounding|cost|paper

Hosts are processes on this one, with a device each, that talk over loopback: what is equal and what is said is that of
several hosts, the time is not. A small U-Net with batch normalisation is trained on 16 drawn pairs of 32×48 pixels.

- equal: 1, 2 and 4 processes, batches of 4 in all, 3 epochs: losses, and a confusion matrix with the same weights.
- killed: ``python -m seglib train`` on two, five times; one is killed (SIGKILL) at a random moment; how long until the
  other has ended, and with which words; then one goes on alone, and its losses are compared with those of one that
  nobody killed.
- rounding: one such host that nobody kills, and the same one compiled without most of XLA's optimisations, which adds
  up in another order: how far do losses part that differ by rounding alone?
- cost: a training step with one device, within ``hosts.spread`` and without it.
- paper: the share of its own speed that a device keeps among 8, 64 and 512, computed, not run. A device has eight
  images, computes for as long as was measured, and sends its gradient in float32 around a ring: 2 (n - 1) / n times its
  bytes, at the link's bandwidth, without latency, and not while it computes.
"""

import csv
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EPOCHS, BATCH, SIZE, STEPS = 3, 4, (32, 48), 30
KILLS, PAUSE = 5, 1  # a host is killed in a random epoch, up to a second after its beginning
COMMAND = "--classes ground,thing --filters 2 --crop 32 32 --scale 1 --batch-size 4 --steps 24 --epochs 12"


def draw_pairs(folder):
    """Sixteen images of a rectangle, with a row of void."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(16):
        mask = np.zeros(SIZE, np.uint8)
        y, x = rng.integers(4, 20, 2)
        mask[y : y + 10, x : x + 14] = 1
        image = 40 + 100 * mask[..., None] + rng.uniform(0, 40, (*SIZE, 1)) * np.ones(3)
        mask[:2] = 255
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i:02}.png")


def build():
    import keras

    from seglib import losses, metrics, models, train

    train.seed(0)
    model = models.unet((None, None, 3), 2, filters=2, depth=2)
    loss = losses.CompoundLoss({"cross_entropy": 1, "dice": 1})
    model.compile(keras.optimizers.AdamW(3e-3, use_ema=True), loss, metrics=[metrics.ConfusionMatrix(2)])
    return model


def work(folder, address, process, processes):
    """What one process does: it evaluates the initial weights, and trains; the first one writes what came out."""
    from seglib import augment, data, hosts, train

    with hosts.join(address, process, processes), hosts.spread(BATCH):
        pairs = data.from_folder(folder / "images", folder / "masks", ["ground", "thing"], val=6 / 16, test=0)
        model, shard = build(), hosts.shard()
        validation = pairs.batches("val", SIZE, BATCH, shard=shard)
        model.evaluate(validation, verbose=0)
        matrix = model.metrics[1].metrics[0].matrix
        out = folder / f"of-{processes}"
        views = augment.Augment((32, 32), flip=0.5, rotation=20, brightness=20)
        batches = pairs.batches("train", SIZE, BATCH, augment=views, seed=0, shard=shard)
        options = {"validation_data": validation, "shuffle": False, "verbose": 0}
        seen = model.fit(batches, epochs=EPOCHS, callbacks=train.callbacks(model, out), **options).history
    if process == 0:
        seen["matrix"] = matrix.tolist()
        seen["ties"] = count_ties(pairs) if processes == 1 else None
        out.with_suffix(".json").write_text(json.dumps(seen))


def count_ties(pairs):
    """Pixels of validation whose two best logits, by the initial weights, differ by less than 1e-4."""
    images, _ = zip(*pairs.batches("val", SIZE, 1).as_numpy_iterator(), strict=True)
    logits = build().predict(np.concatenate(images), verbose=0)
    return int((np.abs(logits[..., 0] - logits[..., 1]) < 1e-4).sum())


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def compare(folder):
    found = {}
    for processes in (1, 2, 4):
        address = find_port()
        began = time.perf_counter()
        words = [[folder, address, str(process), str(processes)] for process in range(processes)]
        with open(folder / f"of-{processes}.txt", "w") as said:
            started = [
                subprocess.Popen([sys.executable, __file__, "work", *w], stdout=said, stderr=said) for w in words
            ]
        codes = [process.wait() for process in started]
        if any(codes):
            sys.exit((folder / f"of-{processes}.txt").read_text()[-3000:])
        found[processes] = one = json.loads((folder / f"of-{processes}.json").read_text())
        apart = [max(abs(a - b) for a, b in zip(one[k], found[1][k], strict=True)) for k in ("loss", "val_loss")]
        moved = int(np.abs(np.subtract(one["matrix"], found[1]["matrix"])).sum()) // 2
        print(
            f"{processes} processes: losses {np.round(one['loss'], 5)}, apart from one process {apart[0]:.1e},"
            f" in validation {apart[1]:.1e}; pixels in other cells of the matrix {moved} of {np.sum(one['matrix'])},"
            f" near ties {found[1]['ties']}; {time.perf_counter() - began:.0f} s",
            flush=True,
        )


def start(folder, out, process, processes, address, **more):
    words = [sys.executable, "-m", "seglib", "train", folder / "images", folder / "masks", *COMMAND.split()]
    words += ["--out", out, "--hosts", address, "--process", process, "--processes", processes]
    said = open(f"{out}-{process}-of-{processes}.txt", "w")  # noqa: SIM115
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen([*map(str, words)], stdout=said, stderr=said, env=os.environ | kept | more)


def read_log(out):
    if not (out / "log.csv").is_file():
        return []
    return [*csv.DictReader((out / "log.csv").read_text().splitlines())]


def kill(folder):
    """Kills one of two hosts, at KILLS random moments of as many runs, and goes on alone."""
    draw, whole = random.Random(0), folder / "whole"
    start(folder, whole, 0, 1, find_port()).wait()
    for number in range(KILLS):
        out, address, epoch = folder / f"killed-{number}", find_port(), draw.randrange(12)
        first, second = (start(folder, out, process, 2, address) for process in range(2))
        while len(read_log(out)) < epoch:
            if first.poll() is not None:
                sys.exit(Path(f"{out}-0-of-2.txt").read_text()[-3000:])
            time.sleep(0.02)
        time.sleep(draw.uniform(0, PAUSE))
        os.kill(second.pid, signal.SIGKILL)
        began = time.perf_counter()
        first.wait()
        seconds, said = time.perf_counter() - began, Path(f"{out}-0-of-2.txt").read_text().splitlines()[-1]
        logged = len(read_log(out))
        start(folder, out, 0, 1, find_port()).wait()
        logs = [read_log(run) for run in (out, whole)]
        print(
            f"killed after epoch {logged} of {len(logs[1])}: the other ended after {seconds:.1f} s ({said[:60]}…);"
            f" resumed by one, {len(logs[0]) - len(logs[1])} epochs repeated; apart from one that nobody killed:",
            flush=True,
        )
        tell_apart(*logs)


def tell_apart(*logs):
    for name in ("loss", "val_loss"):
        apart = [abs(float(a[name]) - float(b[name])) for a, b in zip(*logs, strict=False)]
        print(f"  {name} by epochs: {' '.join(f'{x:.0e}' for x in apart)}", flush=True)


def recompile(folder):
    outs = [folder / "optimised", folder / "not"]
    for out, flag in zip(outs, "01", strict=True):
        more = {"JAX_DISABLE_MOST_OPTIMIZATIONS": flag, "JAX_COMPILATION_CACHE_DIR": str(out) + "-compiled"}
        start(folder, out, 0, 1, find_port(), **more).wait()
    print("one host with and without most of XLA's optimisations, apart:")
    tell_apart(*map(read_log, outs))


def measure():
    """Steps of one network within ``hosts.spread`` and of one without, in turn."""
    import keras

    from seglib import hosts, losses, models

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (BATCH, 64, 96, 3)).astype(np.float32)
    masks = rng.integers(0, 2, (BATCH, 64, 96)).astype(np.uint8)

    def make():
        model = models.unet((64, 96, 3), 2, filters=8, depth=3)
        model.compile(keras.optimizers.AdamW(1e-3), losses.CompoundLoss({"cross_entropy": 1, "dice": 1}))
        model.train_on_batch(images, masks)
        return model

    def clock(function):
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    import jax

    plain, seconds = make(), {"without": [], "within": [], "hand-over": []}
    with hosts.spread(BATCH):
        spread = make()
    hand_over = jax.make_array_from_process_local_data
    layout = jax.sharding.NamedSharding(jax.sharding.Mesh(jax.devices(), "batch"), jax.sharding.PartitionSpec("batch"))
    for _ in range(STEPS):
        seconds["without"].append(clock(lambda: plain.train_on_batch(images, masks)))
        with hosts.spread(BATCH):
            seconds["within"].append(clock(lambda: spread.train_on_batch(images, masks)))
        seconds["hand-over"].append(clock(lambda: [hand_over(layout, part) for part in (images, masks)]))
    middle = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    print(
        f"medians of {STEPS} steps: {middle['without']:.2f} ms without, {middle['within']:.2f} ms within spread"
        f" ({middle['within'] / middle['without'] - 1:+.1%}); hand-over of a batch alone {middle['hand-over']:.3f} ms,"
        f" {middle['hand-over'] / middle['without']:.2%} of a step"
    )


def scale():
    """Prints each link's shares, for the steps that ``bench/speed.csv`` and ``bench/camvid_gpu.py`` have measured."""
    with open(Path(__file__).with_name("speed.csv")) as file:
        rows = [row for row in csv.DictReader(file) if (row["setting"], row["batch_size"]) == ("float32", "8")]
    slow = statistics.median(float(row["seconds"]) for row in rows)
    links = {"Ethernet of 10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9, "NVLink, 450 GB/s in each direction": 450e9}
    for name, seconds, parameters in (("two cores", slow, 484_264), ("an H200", 8 / 215, 31_050_059)):
        print(f"a U-Net of {parameters:,} parameters on {name}: {1000 * seconds:.1f} ms for eight images")
        for link, bandwidth in links.items():
            sent = {n: 2 * (n - 1) / n * 4 * parameters / bandwidth for n in (8, 64, 512)}
            found = (f"{n} devices {1000 * x:.2f} ms, {seconds / (seconds + x):.1%}" for n, x in sent.items())
            print(f"  {link}:", "; ".join(found))


def main():
    chosen = sys.argv[1:] or ["equal", "killed", "rounding", "cost", "paper"]
    folder = Path(tempfile.mkdtemp())
    try:
        draw_pairs(folder)
        if "equal" in chosen:
            compare(folder)
        if "killed" in chosen:
            kill(folder)
        if "rounding" in chosen:
            recompile(folder)
        if "cost" in chosen:
            measure()
        if "paper" in chosen:
            scale()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
    else:
        main()
