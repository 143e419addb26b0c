"""Losses added up, for ``model.compile``."""

import inspect

import keras

from seglib.losses.outlines import boundary
from seglib.losses.pixels import cross_entropy, focal
from seglib.losses.regions import dice, lovasz, tversky

TERMS = {term.__name__: term for term in (cross_entropy, focal, dice, tversky, lovasz, boundary)}


@keras.saving.register_keras_serializable("seglib")
class Sum(keras.losses.Loss):
    """A weighted sum of losses, to be handed to ``model.compile`` and saved with the model.

    Args:
        terms: how much of each loss, by its name in this module, as in ``{"cross_entropy": 1, "dice": 0.5}``. A loss
            that is to be set otherwise than by its defaults gets a mapping: ``{"tversky": {"share": 1, "beta": 0.9}}``.
        ignore_id: the id of void pixels.
        class_weights: (num_classes,) weights handed to every term, or None.

    Raises:
        ValueError: an unknown name or setting, no term at all, or class weights that are not positive.

    Example:
        >>> model.compile("adam", loss=losses.Sum({"cross_entropy": 1, "dice": 1}))
    """

    def __init__(self, terms, ignore_id=255, class_weights=None, name="loss"):
        super().__init__(name=name)
        unknown = set(terms) - set(TERMS)
        if unknown or not terms:
            raise ValueError(f"terms must name some of {', '.join(TERMS)}, got {sorted(terms)}")
        self.terms = {term: _to_settings(term, given) for term, given in terms.items()}
        self.ignore_id = ignore_id
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        if self.class_weights is not None and not all(0 < w < float("inf") for w in self.class_weights):
            raise ValueError(f"class weights must be positive numbers, got {self.class_weights}")

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The sum; ``sample_weight`` of ``fit`` weighs pixels (batch, height, width) or whole images (batch,).

        Keras would multiply the finished number by the mean of the weights. Where several devices each compute it for
        their part of a batch (``tf.distribute.MirroredStrategy``), each returns its share of the mean over all.
        """
        return self.call(y_true, y_pred, sample_weight) / _count_replicas()

    def call(self, y_true, y_pred, pixel_weights=None):
        total = 0.0
        for term, settings in self.terms.items():
            settings = dict(settings)
            share = settings.pop("share")
            total += share * TERMS[term](y_true, y_pred, self.ignore_id, self.class_weights, pixel_weights, **settings)
        return total

    def get_config(self):
        return {
            "terms": self.terms,
            "ignore_id": self.ignore_id,
            "class_weights": self.class_weights,
            "name": self.name,
        }


def _count_replicas():
    """On how many devices TensorFlow trains this model at once: it adds up their gradients, and Keras their losses."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def _to_settings(term, given):
    """A share, or a mapping with a share and settings of the loss, as such a mapping."""
    settings = dict(given) if isinstance(given, dict) else {"share": given}
    parameters = inspect.signature(TERMS[term]).parameters
    known = ["share", *list(parameters)[5:]]
    if "share" not in settings or set(settings) - set(known):
        raise ValueError(f"{term} wants a share, or a mapping with a share and any of {known}; got {given}")
    return settings
