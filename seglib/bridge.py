"""Python inside ``tf.data``: calls that say plainly what went wrong, and that let the program end."""

import atexit
import functools
import threading
import time

import numpy as np

_ending = threading.Event()
_running = set()
_last_call = [0.0]


def call_python(function, inputs, specs):
    """``tf.numpy_function`` whose results have shapes, whose errors are short, and which lets the program end.

    A ``ValueError`` reaches the user without the chain of its causes, which TensorFlow would print in full. And a
    loop that is left early does not keep the program from ending: TensorFlow reads ahead in threads of its own, and
    if Python ended while one of them calls it, both would wait for each other, or the program would crash. So when the
    program ends, calls return zeros from then on, and Python waits until nobody calls any more.

    Args:
        function: called with NumPy arrays (and bytes for strings); returns a list of arrays, one for each spec.
        inputs: list of tensors.
        specs: list of ``tf.TensorSpec``: shape and dtype of each result; None in a shape is a length not known before.

    Returns:
        A list of tensors with these shapes and dtypes.
    """
    import tensorflow as tf

    _wait_at_exit()

    def call(*arrays):
        if _ending.is_set():
            return [np.zeros([n or 1 for n in spec.shape], spec.dtype.as_numpy_dtype) for spec in specs]
        token = object()
        _running.add(token)
        try:
            return function(*arrays)
        except ValueError as error:
            raise type(error)(str(error)) from None
        finally:
            _last_call[0] = time.monotonic()
            _running.discard(token)

    results = tf.numpy_function(call, inputs, [spec.dtype for spec in specs])
    return [tf.ensure_shape(result, spec.shape) for result, spec in zip(results, specs, strict=True)]


@functools.cache
def _wait_at_exit():
    """Registers the wait once, after the libraries that are called: what is registered last runs first."""
    atexit.register(_come_to_rest)


def _come_to_rest(quiet=1.0, limit=60.0):
    _ending.set()
    end = time.monotonic() + limit
    while time.monotonic() < end and (_running or time.monotonic() < _last_call[0] + quiet):
        time.sleep(0.02)
