"""Scores of a prediction: confusion matrices, boundaries, confidence intervals and calibration.

:func:`confusion_matrix` counts pixels, the functions beside it read scores off a matrix, and :class:`ConfusionMatrix`
does both as a Keras metric. :func:`boundary_f1` scores boundaries, :func:`trimap` leaves only a band along them, and
:func:`bootstrap` gives any score its confidence interval.
"""

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
