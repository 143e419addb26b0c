"""Figures: masks are always shown in the colours of their label map, with a legend, and never interpolated.

Every ``show_…`` but :func:`show_image` draws a new matplotlib figure, which a notebook shows at the end of the cell.
"""

from seglib.viz.charts import (
    COLOURS,
    show_calibration,
    show_class_shares,
    show_confusion,
    show_history,
    show_importance,
    show_intervals,
    show_seeds,
    show_trials,
)
from seglib.viz.pictures import (
    add_legend,
    overlay,
    show_image,
    show_masks,
    show_overlay,
    show_pairs,
    show_predictions,
    show_worst,
)
from seglib.viz.report import show_report

__all__ = [
    "COLOURS",
    "add_legend",
    "overlay",
    "show_calibration",
    "show_class_shares",
    "show_confusion",
    "show_history",
    "show_image",
    "show_importance",
    "show_intervals",
    "show_masks",
    "show_overlay",
    "show_pairs",
    "show_predictions",
    "show_report",
    "show_seeds",
    "show_trials",
    "show_worst",
]
