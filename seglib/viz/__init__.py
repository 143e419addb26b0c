"""Figures: masks are always shown in the colours of their label map, with a legend, and never interpolated.

Every function draws a new matplotlib figure, which a notebook shows at the end of the cell.
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
from seglib.viz.live import Live
from seglib.viz.pictures import (
    WRONG,
    add_legend,
    error_map,
    error_share,
    overlay,
    show_image,
    show_masks,
    show_overlay,
    show_pairs,
    show_predictions,
    show_worst,
    to_uint8,
)

__all__ = [
    "COLOURS",
    "WRONG",
    "Live",
    "add_legend",
    "error_map",
    "error_share",
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
    "show_seeds",
    "show_trials",
    "show_worst",
    "to_uint8",
]
