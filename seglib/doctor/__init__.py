"""The mask doctor: ``check(dataset)`` says what is wrong with a dataset, in which files, and what to do about it.

Every pair is read once and becomes a few facts (``examine``), among them where its mask fits the image best
(``align``) and a thumbnail (``copies``); the facts of all pairs are judged together (``judge``).
"""

from seglib.data.doctor.checkup import check
from seglib.data.doctor.report import Finding, Report

__all__ = ["Finding", "Report", "check"]
