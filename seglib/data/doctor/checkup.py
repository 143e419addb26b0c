"""The mask doctor: ``check`` reads every pair of a dataset once and says what is wrong, where, and what to do."""

import os
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor

from seglib.data.dataset import SPLITS
from seglib.data.doctor import contents, places, sets
from seglib.data.doctor.case import Case
from seglib.data.doctor.examine import Look, examine
from seglib.data.doctor.pictures import take_pictures
from seglib.data.doctor.report import SEVERITIES, Report

FINDERS = (*contents.FINDERS, *places.FINDERS, *sets.FINDERS)


def check(dataset):
    """Reads all pairs of a dataset and reports what is wrong with them.

    Args:
        dataset: a :class:`~seglib.data.Dataset` from any source. Of pairs that lie in files also the files themselves
            are judged (loss, values in between, encodings); of other sources what comes out of them.

    Returns:
        A :class:`~seglib.data.doctor.Report`: ``print`` it, ``show()`` it, ask whether it is ``clean`` (no error and
        no warning; notes do not count), and take the files of its ``findings``. The same data give the same report.

    Example:
        >>> report = data.check(mine)      # doctest: +SKIP
        >>> print(report)                  # doctest: +SKIP
        >>> report.show()                  # doctest: +SKIP
    """
    looks = _look_at_all(dataset)
    case = Case(dataset.labels, looks, dataset.unpaired)
    out_of_step = list(places.find_out_of_step(dataset, looks))
    finders = [find for find in FINDERS if not (out_of_step and find in places.FINDERS)]
    findings = out_of_step + [finding for find in finders for finding in find(case)]
    findings = tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
    return Report(
        name=dataset.name,
        labels=dataset.labels,
        counts=dataset.counts,
        sizes=Counter(look.size for look in looks if look.size),
        forms=Counter(look.form for look in looks if look.readable and look.mask_size),
        class_pixels={split: case.class_pixels(split) for split in case.splits()},
        void_pixels={split: case.void_pixels(split) for split in case.splits()},
        findings=findings,
        pictures=take_pictures(dataset, looks, findings),
    )


def _look_at_all(dataset):
    from tqdm import tqdm

    total = sum(dataset.counts.values())
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool, tqdm(total=total, desc="checking", disable=None, delay=2) as bar:
        waiting, looks = deque(), []
        for arguments in _visit(dataset):
            waiting.append(pool.submit(examine, *arguments))
            if len(waiting) >= 2 * threads:  # pairs of no file wait in memory
                looks.append(waiting.popleft().result())
                bar.update()
        for future in waiting:
            looks.append(future.result())
            bar.update()
    return looks


def _visit(dataset):
    """The arguments of :func:`examine` for each pair."""
    for split in SPLITS:
        if dataset.files.get(split):
            for i, (image, mask) in enumerate(dataset.files[split]):
                yield Look(split, i, str(image), str(mask)), dataset.read_mask
        elif dataset.counts.get(split):
            for i, pair in enumerate(dataset.split(split).as_numpy_iterator()):
                name = f"{dataset.name} {split}[{i}]"
                yield Look(split, i, name, f"{name} mask"), dataset.labels.check_ids, pair["image"], pair["mask"]
