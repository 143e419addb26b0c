"""Several devices of one host, and several hosts through JAX: who has which part of a batch, and who is still there."""

import atexit
import contextlib
import hashlib
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
    """Runs this command in a process of its own, which ends with this one, and returns its exit code.

    Where a host dies, JAX may end the others within C++: a ConnectionError says in a sentence what has happened.
    """
    command, env = [sys.executable, "-m", "seglib", *map(str, words)], {**os.environ, INSIDE: "1"}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, start_new_session=True) as child:
        child.wait()
    if child.returncode == -signal.SIGKILL:
        raise ConnectionError(f"process {process} of {processes} was killed from outside; is there too little memory?")
    if child.returncode < 0:
        raise ConnectionError(_describe_loss(process, processes))
    return child.returncode


@contextlib.contextmanager
def join(address, process, processes):
    """A ``with`` block, before JAX computes anything, in which this process is one of several.

    ``address`` is ``"address:port"`` of process 0. ValueError: numbers that do not fit, or another backend than JAX.
    OSError: the port is in use, nobody answers there, or a host is lost.
    """
    import keras  # not at the top: the process that only watches does without

    host, _, port = (address or "").rpartition(":")
    if not (host and port.isdigit() and None not in (process, processes) and 0 <= process < processes):
        wanted = "wanted --hosts ADDRESS:PORT, --process 0 to N − 1 and --processes N"
        raise ValueError(f"{wanted}; got {address}, {process} and {processes}")
    if keras.backend.backend() != "jax":
        raise ValueError(f"several hosts need JAX, this is {keras.backend.backend()}: set KERAS_BACKEND=jax")
    import jax

    threading.Thread(target=_end_with_parent, daemon=True).start()
    _find(host, int(port), process)
    try:
        waits = {"heartbeat_timeout_seconds": HEARTBEAT, "initialization_timeout": PATIENCE}
        jax.distributed.initialize(address, processes, process, cluster_detection_method="deactivate", **waits)
        yield
    except BaseException as error:
        atexit.register(os._exit, 1)  # before JAX, which would wait for hosts that wait for this one
        if isinstance(error, jax.errors.JaxRuntimeError):
            raise ConnectionError(f"{_describe_loss(process, processes)} ({str(error).splitlines()[0]})") from error
        raise


def spread(batch_size):
    """A ``with`` block whose models are trained on all devices, of all hosts; each has an equal part of a batch.

    Under JAX sums are over the whole batch; under TensorFlow a loss and batch statistics are those of a device's part.
    ValueError: a batch that does not divide, or another backend.
    """
    import keras

    if (backend := keras.backend.backend()) not in ("jax", "tensorflow"):
        raise ValueError(f"several devices need TensorFlow or JAX: Keras has nothing like it for {backend}")
    if batch_size % len(names := keras.distribution.list_devices()):
        found = f"a batch of {batch_size} does not divide into equal parts for {len(names)} devices"
        raise ValueError(f"{found}; say another --batch-size")
    if backend == "jax":
        return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope()  # batches(shard=) does
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names).scope()


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
    """Whether this process writes files: the only one, or the first of several."""
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
            way = "give all hosts the same files and options, and an --out that all of them see"
            raise ValueError(f"process {process} and process 0 differ in {', '.join(other)}: {way}")


def _describe_loss(process, processes):
    again = "start the command on those that are left, numbered anew from 0, and it goes on after its last whole epoch"
    return f"process {process} of {processes} does not find another host, or has lost it; {again}"


def _find(host, port, process):
    """Refuses a port that is in use on host 0, and waits on the others until host 0 answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found = socket.create_connection((host, port), timeout=5) if process else socket.create_server(("", port))
            return found.close()
        except OSError as error:
            if not process:
                raise OSError(f"port {port} cannot be opened on this host ({error}); take another one") from error
            if time.monotonic() > end:
                way = "start process 0 there, and let its firewall pass the port"
                raise ConnectionError(f"nobody answers at {host}:{port} for {PATIENCE} s ({error}); {way}") from error
            time.sleep(0.5)


def _end_with_parent():
    if INSIDE in os.environ and not os.read(0, 1):  # watch() holds the other end of standard input
        os._exit(1)
