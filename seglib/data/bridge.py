"""Python inside ``tf.data``: calls that say plainly what went wrong, and that let the program end."""

import atexit
import threading
import time

import tensorflow as tf

_ending = threading.Event()
_running = set()
_last_call = [0.0]


def call_python(function, inputs, outputs, empty):
    """``tf.numpy_function``, but a ``ValueError`` of it is one line, and a loop left early lets the program end.

    TensorFlow would print the whole chain of an error's causes. And it reads ahead in threads of its own: if Python
    ended while one of them calls it, both would wait for each other for ever. So when the program ends, calls give
    ``empty()`` from then on, and Python waits until nobody calls any more.

    Args:
        function: called with NumPy arrays (and bytes for strings), gives NumPy arrays.
        inputs: list of tensors.
        outputs: the dtype, or tuple of dtypes, of what it gives.
        empty: a function without arguments that gives arrays of the right shapes at once.

    Returns:
        A tensor, or a list of them, of unknown shape.
    """

    def call(*arrays):
        if _ending.is_set():
            return empty()
        token = object()
        _running.add(token)
        try:
            return function(*arrays)
        except ValueError as error:
            raise type(error)(str(error)) from None
        finally:
            _last_call[0] = time.monotonic()
            _running.discard(token)

    return tf.numpy_function(call, inputs, outputs)


@atexit.register
def _come_to_rest(quiet=0.3, limit=10.0):
    _ending.set()
    end = time.monotonic() + limit
    while time.monotonic() < end and (_running or time.monotonic() < _last_call[0] + quiet):
        time.sleep(0.02)
