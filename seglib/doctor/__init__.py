"""The doctor: ``check(dataset)`` says what is wrong with a dataset, in which files, and what to do about it;
``audit(layer)`` says whether an augmentation keeps image and mask together."""

from seglib.doctor.augmentation import Audit, audit
from seglib.doctor.facts import examine_all
from seglib.doctor.findings import find_all
from seglib.doctor.report import Finding, Report

__all__ = ["Audit", "Finding", "Report", "audit", "check"]


def check(dataset):
    """Reads every pair of a dataset once and reports what is wrong.

    Args:
        dataset: a :class:`~seglib.data.Dataset` from any source. Of pairs that lie in files also the files themselves
            are judged (loss, values in between, encodings); of other sources what comes out of them.

    Returns:
        A :class:`Report`: ``print`` it, ``show()`` it, ask whether it is ``clean`` (no error and no warning; notes do
        not count), and take the files of its ``findings``. The same data give the same report.
    """
    pairs = examine_all(dataset)
    return Report(dataset, pairs, find_all(dataset, pairs))
