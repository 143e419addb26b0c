"""What is drawn for training: a function of seed and epoch alone."""

import sys
import traceback

import numpy as np
import tensorflow as tf

from seglib.bridge import call_python

# What is drawn in an epoch: the order of the pairs, for ``augment``, for ``mix``, and which pairs come twice.
ORDER, PAIRS, BATCHES, REPEATS = range(4)


def draw_epochs(items, count, held, seed, epoch, repeats=None):
    """Another order in each iteration: ``(item, (2,) int32 seed of its draws, int64 number of the epoch)``.

    ``items`` are a ``tf.data.Dataset`` of ``count`` in a fixed order; the next one is drawn from as many as are
    ``held``. ``epoch`` is the number of the first iteration, and ``repeats`` as for ``Dataset.batches``: by systematic
    sampling an item wanted 2.3 times comes twice or three times.
    """
    wanted = None if repeats is None else _count_before(repeats, count)

    def next_epoch():
        nonlocal epoch
        number, epoch = epoch, epoch + (not _is_building())
        return [np.int64(number)]

    def draw_epoch(number):
        # Every shuffle mixes in a seed of the graph: the program's, unless this function's own graph gets one.
        tf.compat.v1.get_default_graph().seed = 1
        order = tf.cast(_draw_seeds(1, seed, number, ORDER)[0, 0], tf.int64)
        draws = tf.data.Dataset.from_tensor_slices(_draw_seeds(count, seed, number, PAIRS))
        numbers = tf.data.Dataset.from_tensors(number).repeat()
        chosen = items
        if wanted is not None:
            grid = tf.random.stateless_uniform((), _draw_seeds(1, seed, number, REPEATS)[0], dtype=tf.float64)
            before = tf.cast(tf.minimum(tf.floor(wanted + grid), count), tf.int64)
            times = tf.data.Dataset.from_tensor_slices(before[1:] - before[:-1])
            chosen = tf.data.Dataset.zip(items, times).flat_map(
                lambda item, n: tf.data.Dataset.from_tensors(item).repeat(n)
            )
        return tf.data.Dataset.zip(chosen, draws, numbers).shuffle(held, seed=order, reshuffle_each_iteration=False)

    number = tf.TensorSpec((), tf.int64)
    epochs = tf.data.Dataset.from_tensors(0).map(lambda _: call_python(next_epoch, [], [number])[0])
    return epochs.flat_map(draw_epoch).apply(tf.data.experimental.assert_cardinality(count))


def draw_batch_seed(seed, epoch, number):
    """The (2,) int32 seed of what is drawn for the batch of this number in this epoch."""
    return _draw_seeds(1, seed, epoch, BATCHES, number)[0]


def _count_before(repeats, count):
    """How often the items before each are wanted, and all: (count + 1,) float64, rising from 0 to ``count``."""
    repeats = np.asarray(repeats, np.float64)
    if repeats.shape != (count,) or not (np.isfinite(repeats).all() and repeats.min() >= 0 and repeats.any()):
        found = f"{repeats.shape} from {repeats.min(initial=np.inf):g} to {repeats.max(initial=-np.inf):g}"
        raise ValueError(f"repeats must be {count} finite numbers of at least 0, not all 0, one a pair; got {found}")
    before = np.cumsum([0, *repeats])
    return before / before[-1] * count


def _is_building():
    """Whether Keras takes a batch only to build a model from its shapes: under JAX and torch ``fit`` begins so."""
    frames = (frame for stack in sys._current_frames().values() for frame, _ in traceback.walk_stack(stack))
    return any(frame.f_code.co_name in ("_symbolic_build", "_maybe_symbolic_build") for frame in frames)


def _draw_seeds(count, seed, epoch, *numbers):
    """(count, 2) int32 from 0: random seeds, by the numbers alone. Those of ``fold_in`` are alike for neighbours."""
    folded = tf.stack([tf.constant(seed, tf.int64), epoch])
    for number in numbers:
        folded = tf.random.fold_in(folded, tf.cast(number, tf.int64))
    return tf.random.stateless_uniform((count, 2), folded, 0, tf.int32.max, tf.int32)
