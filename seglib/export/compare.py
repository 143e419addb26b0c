"""Whether the exported files say what the Keras model says, how large they are and how fast."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seglib.export.run import load
from seglib.metrics import ConfusionMatrix


@dataclass(frozen=True)
class Parity:
    """One exported file beside the Keras model.

    Attributes:
        format: as in :func:`save`; ``"keras"`` is the model itself.
        miou: mean IoU over the images, in [0, 1].
        miou_difference: from that of the Keras model.
        largest_difference: of a logit from the Keras model's, over all pixels, classes and images.
        size: bytes of the file, or of all files of the folder; of the Keras model, of its weights.
        share: ``size`` as a share of the weights in float32.
        milliseconds: for one image, the median of 20, or of fewer where these would take longer than two seconds,
            after 3 that do not count.
    """

    format: str
    miou: float
    miou_difference: float
    largest_difference: float
    size: int
    share: float
    milliseconds: float


def parity(model, paths, dataset, size, split="test", count=None):
    """Asks the Keras model and the exported files, each in its own runtime, about the same images.

    Args:
        model: the Keras model.
        paths: of the files that :func:`save` wrote of it.
        dataset: a :class:`~seglib.data.Dataset`, whose pairs are asked about one by one, in the order of the split.
        size: ``(height, width)`` that the pairs are resized to.
        split: of the dataset.
        count: how many of its first pairs; None is all.

    Returns:
        A list of :class:`Parity`, the Keras model first; :func:`table` makes a text of it. Times are of this machine,
        and of what every runtime does unasked: LiteRT computes on one processor, the others on all.

    Raises:
        ValueError: a path that is no exported model, or one that does not take images of the size; no pair to ask.
    """
    askers = [model, *(load(path) for path in paths)]
    scores = [ConfusionMatrix(dataset.labels.num_classes, dataset.labels.ignore_id) for _ in askers]
    largest = np.zeros(len(askers))
    if count is not None and count < 1:
        raise ValueError(f"files are compared on at least 1 pair, got count={count}")
    pairs = dataset.batches(split, size, batch_size=1)
    for images, masks in (pairs if count is None else pairs.take(count)).as_numpy_iterator():
        answers = [asker.predict_on_batch(images) for asker in askers]
        largest = np.maximum(largest, [np.abs(logits - answers[0]).max() for logits in answers])
        for score, logits in zip(scores, answers, strict=True):
            score.update_state(masks, logits)
    mious = [float(score.mean_iou()) for score in scores]
    weights = 4 * model.count_params()
    sizes = [weights, *(_size_of(Path(path)) for path in paths)]
    names = ["keras", *(asker.format for asker in askers[1:])]
    rows = zip(names, mious, largest, sizes, [_milliseconds(asker, images) for asker in askers], strict=True)
    return [Parity(name, miou, miou - mious[0], float(far), n, n / weights, ms) for name, miou, far, n, ms in rows]


def table(rows):
    """The rows of :func:`parity` as text, one line each."""
    head = f"{'format':<15}{'mIoU':>8}{'difference':>12}{'logits differ':>15}{'size':>12}{'share':>8}{'time':>11}"
    lines = [
        f"{row.format:<15}{row.miou:>8.4f}{row.miou_difference:>+12.4f}{row.largest_difference:>15.2g}"
        f"{row.size / 1000:>9,.0f} kB{row.share:>8.0%}{row.milliseconds:>8.1f} ms"
        for row in rows
    ]
    return "\n".join([head, *lines])


def _size_of(path):
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _milliseconds(asker, image, repeats=20, before=3, seconds=2):
    times, began = [], time.perf_counter()
    while len(times) < before + repeats:
        asked = time.perf_counter()
        asker.predict_on_batch(image)
        times.append(1000 * (time.perf_counter() - asked))
        if len(times) > before and time.perf_counter() - began > seconds:
            break
    return float(np.median(times[before:]))
