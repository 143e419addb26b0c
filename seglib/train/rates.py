"""Learning rates: a warm-up, a lower rate for a pretrained part, and the range test."""

import itertools
import math

import keras
import numpy as np
from keras import ops

from seglib.train.loop import _optimizer_of, unchanged

schedules = keras.optimizers.schedules


@keras.saving.register_keras_serializable("seglib")
class Warmup(schedules.LearningRateSchedule):
    """A linear warm-up before any learning-rate schedule (Goyal et al. 2017, section 2.2).

    ``min((step + 1) / steps, 1) · schedule(step)``. The wrapped schedule runs from step 0, so that it ends where it
    would without a warm-up. DeepLab's "poly" policy is a ``PolynomialDecay`` (Chen et al. 2018, section 4.1). A warm-up
    over a third of the steps of a ``CosineDecay`` (Loshchilov & Hutter 2017, equation 5) resembles "one cycle"
    (Smith & Topin 2018), which also cycles momentum.

    Args:
        schedule: a ``keras.optimizers.schedules.LearningRateSchedule``.
        steps: steps of the linear rise; 0 for none.

    Raises:
        ValueError: no schedule; a polynomial or a cosine whose rate is not a finite number above 0, or that is not
            longer than the warm-up.

    Example:
        >>> from keras.optimizers.schedules import PolynomialDecay
        >>> rate = Warmup(PolynomialDecay(0.1, 100, end_learning_rate=0.0, power=0.9), steps=10)
        >>> [round(float(rate(step)), 4) for step in (0, 9, 50, 100)]
        [0.01, 0.0919, 0.0536, 0.0]
    """

    def __init__(self, schedule, steps):
        if not isinstance(schedule, schedules.LearningRateSchedule):
            raise ValueError(f"wanted a schedule such as keras's CosineDecay(rate, steps), got {schedule!r}")
        if isinstance(schedule, schedules.PolynomialDecay | schedules.CosineDecay):
            rate, total = schedule.initial_learning_rate, schedule.decay_steps
            if not 0 < rate < math.inf:
                raise ValueError(f"a learning rate is a finite number above 0, got {rate}")
            if not 0 <= steps < total:
                raise ValueError(f"the warm-up has to be shorter than the schedule of {total} steps, got {steps}")
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        rise = (ops.cast(step, "float32") + 1) / max(self.steps, 1)
        return self.schedule(step) * ops.minimum(rise, 1.0)

    def get_config(self):
        return {"schedule": schedules.serialize(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        return cls(schedules.deserialize(config["schedule"]), config["steps"])


@keras.saving.register_keras_serializable("seglib")
class DiscriminativeAdamW(keras.optimizers.Adam):
    """AdamW whose rate is lower for a pretrained part: discriminative fine-tuning (Howard & Ruder 2018, section 3.1).

    Weight decay follows each part's own rate (Loshchilov & Hutter 2019)::

        encoder = model.get_layer("encoder")
        rate = Warmup(CosineDecay(2e-3, steps), warmup)
        model.compile(DiscriminativeAdamW(rate, slow=encoder.trainable_variables), loss)

    Args:
        learning_rate: a number or a schedule, for all other weights.
        weight_decay: the share of a weight that a step takes off, per unit of its rate.
        slow: the weights that have the rate times ``factor``; or their names such as ``"stem_conv/kernel"``.
        factor: above 0, at most 1.
        **options: of ``keras.optimizers.Adam``, such as ``use_ema`` or ``clipnorm``.

    Raises:
        ValueError: no slow weights, as of an encoder that is frozen; or another factor.
    """

    def __init__(self, learning_rate=1e-3, weight_decay=4e-3, slow=(), factor=0.1, **options):
        super().__init__(learning_rate, **options)
        self.decay, self.factor = weight_decay, factor
        self.slow = tuple(_name(weight) for weight in slow)
        if not self.slow or not 0 < factor <= 1:
            raise ValueError(f"wanted slow weights and a factor of 0 to 1, got {len(self.slow)} weights and {factor}")

    def update_step(self, gradient, variable, learning_rate):
        name = _name(self._trainable_variables[self._get_variable_index(variable)])
        rate = ops.cast(learning_rate, variable.dtype) * (self.factor if name in self.slow else 1.0)
        self.assign_sub(variable, ops.multiply(variable, rate * self.decay))
        super().update_step(gradient, variable, rate)

    def get_config(self):
        return {**super().get_config(), "weight_decay": self.decay, "slow": list(self.slow), "factor": self.factor}


def freeze(encoder, last):
    """Leaves out of training a network's layers up to the one called ``last``, and all of its batch normalisation."""
    names = [layer.name for layer in encoder.layers]
    for i, layer in enumerate(encoder.layers):
        if i <= names.index(last) or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _name(weight):
    """A weight's name behind its layer's; the path before them changes when a model is loaded."""
    return "/".join(getattr(weight, "path", weight).split("/")[-2:])


def lr_range_test(model, batches, low=1e-6, high=1.0, steps=60):
    """The learning-rate range test (Smith 2017, section 3.3): one training step at each rate, from low to high.

    The rates are evenly spaced in their logarithm; the test ends early when the loss is four times its lowest. A good
    rate is the one at which the loss, averaged over a few steps, has fallen half-way from its first value to its
    lowest: there it falls steeply, and noise moves that place little, unlike the place of the lowest loss. Model and
    optimizer are restored afterwards.

    Args:
        model: compiled, with a number for a learning rate.
        batches: ``(images, masks)`` batches, such as ``Dataset.batches`` returns; repeated as needed.
        low, high: the first and the last rate.
        steps: how many rates are tried.

    Returns:
        ``(rates, losses)``, float64 arrays of up to ``steps``: each rate, and the loss of its batch before the step.

    Raises:
        ValueError: an optimizer with a schedule or a function for a rate, or no batch at all.
    """
    optimizer = _optimizer_of(model)
    if callable(optimizer._learning_rate):
        raise ValueError("the optimizer has a schedule or a function for a rate: compile the model with a number")
    rates, losses = np.geomspace(low, high, steps), []
    epochs = itertools.repeat(batches, steps)  # more than are needed
    with unchanged(model):
        for rate, batch in zip(rates, itertools.chain.from_iterable(epochs), strict=False):
            optimizer.learning_rate = rate
            batch = [np.asarray(part) for part in batch]  # JAX takes no tensors of TensorFlow's
            losses.append(float(model.train_on_batch(*batch, return_dict=True)["loss"]))
            model.reset_metrics()  # else a loss is the mean of those before it
            if not losses[-1] < 4 * min(losses):
                break
    if not losses:
        raise ValueError("there is no batch to take a step with")
    return rates[: len(losses)], np.array(losses)
