"""Several devices of one host, and several hosts through JAX: who has which part of a batch, and who is still there."""

import atexit
import contextlib
import hashlib
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

INSIDE = "SEGLIB_INSIDE"  # set in the process that watch() starts
HEARTBEAT = 20  # seconds without a sign of life, after which JAX gives up a host (100 by default)
PATIENCE = 120  # seconds that hosts wait for each other at the beginning


def watch(words, process, processes):
    """Runs this command in a process of its own, and says what it cannot: where a host dies, JAX may end it within C++.

    Returns:
        The exit code of the command. It ends, too, if this process does.

    Raises:
        ConnectionError: the command was ended by a signal.
    """
    command, env = [sys.executable, "-m", "seglib", *words], {**os.environ, INSIDE: "1"}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, start_new_session=True) as child:
        child.wait()
    if child.returncode >= 0:
        return child.returncode
    if child.returncode == -signal.SIGKILL:
        raise ConnectionError(f"process {process} of {processes} was killed from outside; is there too little memory?")
    raise ConnectionError(_describe_loss(process, processes))


@contextlib.contextmanager
def join(address, process, processes):
    """A ``with`` block in which this process is one of several, which find each other at ``"address:port"`` of host 0.

    Call it before JAX computes anything. If the block fails, Python's end does not wait for the other hosts.

    Raises:
        ValueError: an address without a port, a number beyond the count, another backend of Keras than JAX.
        OSError: the port is in use, nobody answers, not all hosts come, or one is lost while the block runs.
    """
    import keras

    host, _, port = address.rpartition(":")
    if not (host and port.isdigit() and 0 <= (process or 0) < (processes or 0) and process is not None):
        found = f"{address}, {process} and {processes}"
        raise ValueError(f"wanted --hosts ADDRESS:PORT, --process 0 to N − 1 and --processes N; got {found}")
    if keras.backend.backend() != "jax":
        raise ValueError(f"several hosts need JAX, this is {keras.backend.backend()}: set KERAS_BACKEND=jax")
    import jax

    threading.Thread(target=_end_with_parent, daemon=True).start()
    _find(host, int(port), process)
    failed = []
    try:
        chosen = {"heartbeat_timeout_seconds": HEARTBEAT, "initialization_timeout": PATIENCE}
        jax.distributed.initialize(address, processes, process, cluster_detection_method="deactivate", **chosen)
        atexit.register(lambda: failed and _leave())
        yield
    except jax.errors.JaxRuntimeError as error:
        failed.append(error)
        if "RESOURCE_EXHAUSTED" in str(error):  # memory
            raise
        raise ConnectionError(f"{_describe_loss(process, processes)} ({str(error).splitlines()[0]})") from None
    except BaseException as error:
        failed.append(error)
        raise


def spread(batch_size):
    """A ``with`` block whose models are trained on all devices, of all hosts; each has an equal part of a batch.

    Under JAX sums are over the whole batch, as on one device. Under TensorFlow each device has a loss, and batch
    statistics, of its part.

    Raises:
        ValueError: a batch that does not divide, or another backend of Keras.
    """
    import keras

    if keras.backend.backend() == "jax":
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)  # Dataset.batches does
        count = distribution.num_model_replicas
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        distribution, count = tf.distribute.MirroredStrategy([device.name for device in devices]), len(devices)
    else:
        raise ValueError(f"several devices need TensorFlow or JAX: {keras.backend.backend()} has none in Keras")
    if batch_size % count:
        raise ValueError(f"a batch of {batch_size} does not divide into equal parts for {count} devices; --batch-size")
    return distribution.scope()


def shard():
    """``(index, count)`` of this process within :func:`spread`, for ``Dataset.batches``; None outside of it."""
    import keras

    if keras.backend.backend() == "jax" and keras.distribution.distribution():
        import jax

        return jax.process_index(), jax.process_count()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return (0, 1) if tf.distribute.has_strategy() else None


def is_first():
    """Whether this process writes files and prints: the only one, or the first of several."""
    return (shard() or (0, 1))[0] == 0


def agree(values):
    """Refuses, on all hosts alike, values that differ between them: a mapping, as for ``json.dump``, of fixed names."""
    import numpy as np
    from jax.experimental import multihost_utils

    signed = [hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest() for value in values.values()]
    own = np.frombuffer(b"".join(signed), np.uint8).reshape(len(signed), -1)
    found = multihost_utils.process_allgather(own).reshape(-1, *own.shape)
    for process, theirs in enumerate(found):
        if other := [name for name, differs in zip(values, (theirs != found[0]).any(-1), strict=True) if differs]:
            way = "give all hosts the same files, versions and options, and an --out that all of them see"
            raise ValueError(f"process {process} and process 0 differ in {', '.join(other)}: {way}")


def describe_versions():
    """The libraries' versions that decide what is computed."""
    return {name: importlib.metadata.version(name) for name in ("keras", "jax", "tensorflow", "numpy")}


def _describe_loss(process, processes):
    again = "start the same command on those that are left (process 0 to N − 1 of N), and it goes on after the last epoch"
    return f"process {process} of {processes} has lost another host, or the network to it; {again}"


def _find(host, port, process):
    """Refuses a port that is in use on host 0, and waits on the others until host 0 answers."""
    if process == 0:
        try:
            return socket.create_server(("", port)).close()
        except OSError as error:
            raise OSError(f"port {port} cannot be opened on this host ({error}); take another one in --hosts") from None
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > end:
                way = "start process 0 there, and let its firewall pass the port"
                raise ConnectionError(f"nobody answers at {host}:{port} for {PATIENCE} s ({error}); {way}") from None
            time.sleep(0.5)


def _end_with_parent():
    """Ends this process with the one that watches it, which holds the other end of standard input."""
    if INSIDE in os.environ and not os.read(0, 1):
        os._exit(1)


def _leave():
    """Ends at once: JAX would wait at the end for hosts that wait for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
