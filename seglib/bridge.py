"""Python inside ``tf.data``: calls that say plainly what went wrong, and that let the program end."""

import atexit
import functools
import threading
import time

import numpy as np

_ending = threading.Event()
_running = set()
_last_call = [0.0]
_register_once = functools.cache(atexit.register)


def call_python(function, inputs, specs):
    """``tf.numpy_function`` whose results have shapes, whose errors are short, and which lets the program end.

    ``function`` takes the ``inputs`` as arrays (strings as bytes), and returns an array for each ``tf.TensorSpec`` of
    ``specs``. A ``ValueError`` of it reaches the user without its causes, which TensorFlow would print in full.

    TensorFlow reads ahead in threads of its own. If Python ended while one of them calls it, both would wait for each
    other, or the program would crash: so at its end calls return zeros, and Python waits until nobody calls any more.
    """
    import tensorflow as tf

    _register_once(_come_to_rest)  # after the libraries that are called: what is registered last runs first

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


def _come_to_rest():
    """Waits until there was no call for a second, a minute at most."""
    _ending.set()
    end = time.monotonic() + 60
    while time.monotonic() < end and (_running or time.monotonic() < _last_call[0] + 1):
        time.sleep(0.02)
