"""Learning rates: schedules, and how to find the highest that works."""

import math

import keras
import numpy as np
from keras import ops

from seglib.train.state import optimizer_of, unchanged


def poly(rate, steps, warmup=0, power=0.9):
    """The "poly" learning-rate schedule (Chen et al. 2018, DeepLab v2, section 4.1), with a linear warm-up before it.

    ``rate · (1 − step / steps)^power``; during the first ``warmup`` steps, ``rate · (step + 1) / warmup`` at most.

    Args:
        rate: the highest learning rate.
        steps: the step at which it reaches zero: epochs times batches in an epoch.
        warmup: steps of linear rise.
        power: 0.9 in DeepLab.

    Returns:
        A ``keras.optimizers.schedules.LearningRateSchedule``.

    Raises:
        ValueError: a rate that is not above 0, no step at all, or as many steps of warm-up as steps.
    """
    return Poly(rate, steps, warmup, power)


def cosine(rate, steps, warmup=0):
    """A learning rate that falls as half a cosine (Loshchilov & Hutter 2017, equation 5), after a linear warm-up.

    ``rate · (1 + cos(π step / steps)) / 2``. With a warm-up of about a third of the steps it is the rise and fall of
    "one cycle" (Smith & Topin 2018); the fall has begun by then, and the highest rate is about three quarters of
    ``rate``. Arguments, result and errors are those of :func:`poly`.
    """
    return Cosine(rate, steps, warmup)


class _Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """``rate · shape(share of the steps that is left)``, with the warm-up; classes because Keras saves schedules so."""

    def __init__(self, rate, steps, warmup=0):
        if not 0 < rate < math.inf:
            raise ValueError(f"a learning rate is a number above 0, got {rate}")
        if steps < 1 or not 0 <= warmup < steps:
            raise ValueError(f"wanted at least 1 step and fewer steps of warm-up than steps, got {steps} and {warmup}")
        self.rate, self.steps, self.warmup = rate, steps, warmup

    def __call__(self, step):
        step = ops.cast(step, "float32")
        left = ops.maximum(1 - step / self.steps, 0.0)
        rise = ops.minimum((step + 1) / max(self.warmup, 1), 1.0)
        return self.rate * self.shape(left) * rise

    def get_config(self):
        return {"rate": self.rate, "steps": self.steps, "warmup": self.warmup}


@keras.saving.register_keras_serializable("seglib")
class Poly(_Schedule):
    """What :func:`poly` returns."""

    def __init__(self, rate, steps, warmup=0, power=0.9):
        super().__init__(rate, steps, warmup)
        self.power = power

    def shape(self, left):
        return left**self.power

    def get_config(self):
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable("seglib")
class Cosine(_Schedule):
    """What :func:`cosine` returns."""

    def shape(self, left):
        return (1 - ops.cos(math.pi * left)) / 2


def find_rate(model, batches, low=1e-6, high=1.0, steps=60):
    """A learning-rate range test (Smith 2017, section 3.3): a step at each of ``steps`` rates, from low to high.

    The rates are spaced evenly in their logarithm. A good rate is a few times below the one at which the loss is
    lowest, where it still falls fast. Where the loss explodes the test ends early. Afterwards the model and its
    optimizer are as before.

    Args:
        model: compiled, its optimizer with a number for a rate and not a schedule.
        batches: a ``tf.data.Dataset`` of batches, gone through again if there are too few.
        low, high: the first and the last rate.
        steps: how many rates are tried.

    Returns:
        ``(rates, losses)``, float64 arrays of up to ``steps``: each rate, and the loss of its batch before the step.

    Raises:
        ValueError: an optimizer with a schedule, or not 0 < low < high.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"wanted rates 0 < low < high, got {low} and {high}")
    optimizer = optimizer_of(model)
    if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError("the optimizer has a schedule: compile with a number for a rate, which this test replaces")
    rates, losses, stream = np.geomspace(low, high, steps), [], iter(batches.repeat())
    with unchanged(model):
        for rate in rates:
            optimizer.learning_rate = rate
            losses.append(float(model.train_on_batch(*next(stream), return_dict=True)["loss"]))
            model.reset_metrics()  # else a loss is the mean of those before it
            if not losses[-1] < 4 * min(losses):
                break
    return rates[: len(losses)], np.array(losses)
