"""Does a Ray cluster write the masks that one process writes, also where a worker dies, and what does it cost?

    python bench/cluster.py            # 400 images, two workers; wants pip install "seglib[ray]"

The U-Net checkpoint segments 400 drawn images of 128×192 without Ray, and on a cluster of this machine with a worker
for each of two cores. One worker is killed (SIGKILL) when 100 masks are written. All files of both folders
are compared.
"""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from seglib import checkpoints, predict
from seglib.predict import cluster

COUNT, SIZE, WORKERS, KILLED = 400, (128, 192), 2, 100


def draw_images(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(COUNT):
        small = rng.integers(0, 256, (8, 12, 3), np.uint8)
        Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC).save(folder / f"{i:03}.png")
    return sorted(folder.iterdir())


def tell_process(model, path):
    """``predict.segment``, which leaves the number of the process that it runs in."""
    Path(os.environ["SEGLIB_PIDS"], str(os.getpid())).touch()
    return predict.segment(model, path)


def kill_one(pids, out, killed):
    while len([*out.glob("[0-9]*.png")]) < KILLED:
        time.sleep(0.05)
    killed.append(int(next(pids.iterdir()).name))
    os.kill(killed[0], signal.SIGKILL)


def segment(paths, out, spread=None):
    model, labels = checkpoints.load("unet"), predict.find_labels(checkpoints.FOLDER / "unet", 8)
    began = time.perf_counter()
    found = predict.segment_files(model, paths, out, labels, tell_process if spread else predict.segment, None, spread)
    return len(found.written), time.perf_counter() - began


def main():
    folder, killed = Path(tempfile.mkdtemp()), []
    try:
        pids = folder / "pids"
        pids.mkdir()
        paths = draw_images(folder / "images")
        os.environ.update(cluster.SETTINGS | {"SEGLIB_PIDS": str(pids), "PYTHONPATH": os.pathsep.join(sys.path)})
        count, seconds = segment(paths, folder / "plain")
        print(f"without Ray: {count} masks in {seconds:.0f} s", flush=True)
        from ray.cluster_utils import Cluster

        head = Cluster(initialize_head=True, head_node_args={"num_cpus": WORKERS, "include_dashboard": False})
        with cluster.connect(head.address) as spread:
            killer = threading.Thread(target=kill_one, args=(pids, folder / "out", killed), daemon=True)
            killer.start()
            count, seconds = segment(paths, folder / "out", spread)
        head.shutdown()
        files = [{path.name: path.read_bytes() for path in (folder / out).iterdir()} for out in ("plain", "out")]
        equal = sum(files[1].get(name) == content for name, content in files[0].items())
        started = len([*pids.iterdir()])
        print(f"with {WORKERS} workers, {len(killed)} killed, {started} in all: {count} masks in {seconds:.0f} s;")
        print(f"{equal} of {len(files[0])} files have equal bytes, {len(files[1]) - len(files[0])} more are there")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
