"""What a prediction is worth: scores of confusion matrices, outlines, and how sure we are.

``count`` makes a confusion matrix, the functions beside it read scores off one, and :class:`ConfusionMatrix` is the
same as a Keras metric. Outlines are measured by ``boundary_f1``, and within the band that ``trimap`` leaves;
``bootstrap`` gives any score its interval.
"""

from seglib.metrics.boundary import boundary_f1, trimap
from seglib.metrics.certainty import Calibration, bootstrap, calibration
from seglib.metrics.confusion import ConfusionMatrix
from seglib.metrics.scores import (
    accuracy,
    count,
    dice,
    frequency_weighted_iou,
    iou,
    mean_accuracy,
    mean_iou,
    precision,
    recall,
)

__all__ = [
    "Calibration",
    "ConfusionMatrix",
    "accuracy",
    "bootstrap",
    "boundary_f1",
    "calibration",
    "count",
    "dice",
    "frequency_weighted_iou",
    "iou",
    "mean_accuracy",
    "mean_iou",
    "precision",
    "recall",
    "trimap",
]
