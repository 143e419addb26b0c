"""The doctor: ``check(dataset)`` says what is wrong with a dataset, in which files, and what to do about it."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from seglib.data.dataset import SPLITS
from seglib.doctor.facts import PairFacts, examine
from seglib.doctor.findings import find_all
from seglib.doctor.report import Finding, Report

__all__ = ["Finding", "Report", "check"]


def check(dataset):
    """Reads every pair of a dataset once and reports what is wrong.

    Args:
        dataset: a :class:`~seglib.data.Dataset` from any source. Of pairs that lie in files also the files themselves
            are judged (loss, values in between, encodings); of other sources what comes out of them.

    Returns:
        A :class:`Report`: ``print`` it, ``show()`` it, ask whether it is ``clean`` (no error and no warning; notes do
        not count), and take the files of its ``findings``. The same data give the same report.
    """
    pairs = _examine_all(dataset)
    return Report(dataset, pairs, find_all(dataset, pairs))


def _examine_all(dataset):
    from tqdm import tqdm

    total, threads = sum(dataset.counts.values()), min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, tqdm(total=total, desc="checking", disable=None, delay=2) as bar:
        waiting, pairs = deque(), []
        for arguments in _visit(dataset):
            waiting.append(pool.submit(examine, *arguments))
            if len(waiting) >= 2 * threads:  # pairs of no file wait in memory
                pairs.append(waiting.popleft().result())
                bar.update()
        pairs += [future.result() for future in waiting]
        bar.update(len(waiting))
    return pairs


def _visit(dataset):
    """The arguments of :func:`examine` for each pair."""
    for split in SPLITS:
        if files := dataset.files.get(split):
            yield from ((PairFacts(split, i, str(image), str(mask)), dataset) for i, (image, mask) in enumerate(files))
        elif dataset.counts.get(split):
            for i, pair in enumerate(dataset.split(split).as_numpy_iterator()):
                name = f"{dataset.name} {split}[{i}]"
                yield PairFacts(split, i, name, f"{name} mask"), dataset, pair["image"], pair["mask"]
