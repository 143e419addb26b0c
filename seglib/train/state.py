"""All that changes while a model is trained: to keep it, to put it back, and to average it."""

import contextlib

from keras import ops


def variables_of(model):
    """Every variable of a compiled model and its optimizer: weights, seeds of dropout, moments, the number of the step.

    An optimizer that has no variables yet makes them now.
    """
    build_optimizer(model)
    return [*model.variables, *model.optimizer.variables]


def build_optimizer(model):
    """Lets the optimizer make its variables, if it has not yet, on all devices that the model is on."""
    if not model.optimizer.built:  # the optimizer of half precision would make its own a second time
        strategy = getattr(model, "distribute_strategy", None)  # of TensorFlow alone
        with strategy.scope() if strategy else contextlib.nullcontext():
            model.optimizer.build(model.trainable_variables)


def optimizer_of(model):
    """The optimizer that was asked for; in half precision Keras wraps it in one that scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


@contextlib.contextmanager
def unchanged(model):
    """Whatever is trained within the block, the model and its optimizer are afterwards as they were."""
    variables = variables_of(model)
    before = [ops.convert_to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def swap_average(model):
    """Exchanges the weights with their moving average, where the optimizer keeps one (``use_ema=True``)."""
    optimizer = optimizer_of(model)
    if optimizer.use_ema:
        for weight, average in zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True):
            held = ops.convert_to_numpy(weight)
            weight.assign(average)
            average.assign(held)
