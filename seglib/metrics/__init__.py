"""Scores of a prediction: confusion matrices, boundaries, confidence intervals and calibration."""

from seglib.metrics.boundary import boundary_f1, trimap
from seglib.metrics.certainty import Calibration, bootstrap, calibration
from seglib.metrics.confusion import (
    ConfusionMatrix,
    accuracy,
    confusion_matrix,
    dice,
    frequency_weighted_iou,
    iou,
    mean_accuracy,
    mean_iou,
    precision,
    recall,
)
