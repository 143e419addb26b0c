"""Training: one seed for everything, learning rates, and callbacks that keep the best, resume, report and show."""

import keras

from seglib.train.callbacks import callbacks, resume
from seglib.train.memory import try_batch_sizes
from seglib.train.report import Preview, Progress
from seglib.train.schedules import cosine, find_rate, poly

__all__ = ["Preview", "Progress", "callbacks", "cosine", "find_rate", "poly", "resume", "seed", "try_batch_sizes"]


def seed(number):
    """Seeds Python, NumPy and the backend, so that weights and dropout are drawn alike in every run.

    Call it before the model is made. Batches have seeds of their own: see ``seed=`` of ``Dataset.batches``.
    """
    keras.utils.set_random_seed(number)
