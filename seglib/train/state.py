"""All that changes while a model is trained."""


def variables_of(model):
    """Every variable of a compiled model and its optimizer: weights, seeds of dropout, moments, the number of the step.

    An optimizer that has no variables yet makes them now.
    """
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
