"""Does the CRF say what pydensecrf says, in what time and memory? On 20 street scenes of CamVid with noisy labels.

    pip install pydensecrf2 && python bench/crf.py

CamVid is sought below the folder that the environment variable SEGLIB_SHARED names (default: ../shared), in
data/camvid/val. A quarter of the true labels (12, void among them) are drawn anew, and each label has a probability of
½; ten iterations with the default kernels. Times alternate between the two, in one process, each with its lattices;
``refine`` runs in two threads, pydensecrf in one, so that processor time is compared, too. Printed are medians over the
images, of ratios with the quartiles. Fails unless 99.9 % of the labels agree, and all probabilities to 1e-3.
"""

import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from seglib import crf, images

ROOT = Path(__file__).resolve().parents[1]
COUNT, CLASSES = 20, 12


def read(folder, path, rng):
    """An image, and probabilities that are right for about three quarters of its pixels."""
    mask = images.read_mask(folder / "masks" / f"{path.stem}.png").astype(int)
    noisy = np.where(rng.random(mask.shape) < 0.25, rng.integers(0, CLASSES, mask.shape), mask)
    probs = np.where(noisy[..., None] == np.arange(CLASSES), 0.5, 0.5 / (CLASSES - 1))
    return images.read_image(path), probs.astype(np.float32)


def refine_with_pydensecrf(densecrf, probs, image):
    """The same by pydensecrf."""
    height, width, classes = probs.shape
    field = densecrf.DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(np.maximum(probs, crf.FLOOR)).reshape(-1, classes).T))
    field.addPairwiseGaussian(sxy=1, compat=3)
    field.addPairwiseBilateral(sxy=67, srgb=3, rgbim=image.copy(), compat=4)
    return np.array(field.inference(10)).T.reshape(probs.shape)


def timed(function, *arguments):
    """What the function returns, and its seconds: by the clock, of the processor."""
    began = np.array([time.perf_counter(), time.process_time()])
    result = function(*arguments)
    return result, np.array([time.perf_counter(), time.process_time()]) - began


def main():
    try:
        from pydensecrf import densecrf
    except ImportError:
        sys.exit("skipped: pydensecrf is not installed; pip install pydensecrf2 compiles it")
    folder = Path(os.environ.get("SEGLIB_SHARED", ROOT.parent / "shared")) / "data" / "camvid" / "val"
    if not folder.is_dir():
        sys.exit("skipped: no CamVid here; set SEGLIB_SHARED to the folder that holds data/camvid")
    paths, rng = sorted((folder / "images").iterdir()), np.random.default_rng(0)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, COUNT).astype(int)]
    scenes = [read(folder, path, rng) for path in chosen]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    crf.refine(*scenes[0][::-1])
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    equal, largest, ours, theirs = [], 0, [], []
    for image, probs in scenes:
        mine, seconds = timed(crf.refine, probs, image)
        ours.append(seconds)
        other, seconds = timed(refine_with_pydensecrf, densecrf, probs, image)
        theirs.append(seconds)
        equal.append((mine.argmax(axis=-1) == other.argmax(axis=-1)).mean())
        largest = max(largest, np.abs(mine - other).max())
    print(f"{len(scenes)} pictures of {image.shape[0]}×{image.shape[1]}, {CLASSES} classes, 10 iterations")
    print(f"labels that agree: {np.mean(equal):.4%}, in the worst picture {min(equal):.4%}")
    print(f"largest difference of a probability: {largest:.1e}")
    assert np.mean(equal) >= 0.999 and largest <= 1e-3
    for i, name in enumerate(("clock", "processor")):
        mine, other = np.array(ours)[:, i], np.array(theirs)[:, i]
        low, ratio, high = np.percentile(mine / other, (25, 50, 75))
        medians = f"{np.median(mine):.2f} s, pydensecrf {np.median(other):.2f} s"
        print(f"{name}: {medians}; {ratio:.2f} × its time (quartiles {low:.2f}, {high:.2f})")
    print(f"memory above what was there before: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
